package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile/exponent"
)

// Weights: one pass in place over the scores of a tile, [key][panel]. The exponential is a long
// chain, so four vectors go through it in lockstep: one after the other they would fill the
// scheduler while they wait. The sums run down the lanes on the add pipes.
//
//	V0-V11 four vectors with two scratch registers each, V12 shared scratch,
//	V13 and V14 sums, V15 greatest argument; with AVX-512 the maxima are in V30 and V31
func genWeight(g *gen) {
	g.begin("softmaxTile", "func(s *float32, st *tile.Panel, n int)",
		"softmaxTile turns the scores of n keys for a panel into weights, as [tile.SoftmaxTile].")
	s, st, n := g.ptr("s"), g.ptr("st"), g.ptr("n")
	sum := [2]reg.VecPhysical{g.V(13), g.V(14)}
	g.zero(g.V(12), sum[0], sum[1])
	for h := range 2 {
		g.VMOVUPS(mem(st, offTileMax+g.w()*h), g.V(0))
		g.ceil(g.V(0), g.V(12))
		g.VMOVUPS(g.V(0), mem(st, offTileMax+g.w()*h))
		g.safeMax(g.V(0), g.V(1))
		g.VMOVUPS(g.V(0), mem(st, offOldScale+g.w()*h)) // for the loop
	}
	exponentials := g.exponentials(s, st, offOldScale)
	g.pairs(n, func(k int) {
		exponentials(k)
		for v := range 2 * k {
			g.VMOVUPS(g.V(3*v), mem(s, g.w()*v))
			g.VADDPS(g.V(3*v), sum[v%2], sum[v%2])
		}
		if k == 2 { // nothing comes behind one
			g.ADDQ(I32(4*g.w()), s)
		}
	})

	// Merge the maxima and the sums.
	started, grown, mode := g.GP32(), g.GP32(), g.GP32()
	g.XORL(started, started)
	g.XORL(grown, grown)
	g.VMOVUPS(g.splat(negInf), g.V(4))
	g.VMOVUPS(g.splat(-127), g.V(5))
	for h := range 2 {
		m, M, max, old := g.V(0), g.V(1), g.V(2), g.V(3)
		g.VMOVUPS(mem(st, offTileMax+g.w()*h), m)
		g.VMOVUPS(g.V(4), mem(st, offTileMax+g.w()*h)) // for the next tile
		g.VMOVUPS(mem(st, offMax+g.w()*h), M)
		g.VMAXPS(M, m, max)
		g.VMOVUPS(max, mem(st, offMax+g.w()*h))
		g.orDiffer(M, nil, g.V(4), old, g.V(6), started)
		g.orDiffer(M, max, g.V(4), old, g.V(6), grown)
		for _, x := range []reg.VecPhysical{m, M} {
			// 2^(x-max), or 0 below 2^-126 and for the difference of two infinities: then VMAXPS
			// returns its second source.
			g.VSUBPS(max, x, x)
			g.VMAXPS(g.V(5), x, x)
			g.VCVTPS2DQ(x, x)
			g.VPSLLD(U8(23), x, x)
			g.VPADDD(g.splat(1), x, x)
		}
		g.VMOVUPS(M, mem(st, offOldScale+g.w()*h))
		g.VMOVUPS(m, mem(st, offNewScale+g.w()*h))
		g.VMULPS(mem(st, offSum+g.w()*h), M, M)
		g.VFMADD213PS(M, m, sum[h])
		g.VMOVUPS(sum[h], mem(st, offSum+g.w()*h))
	}
	set := g.label("set")
	g.MOVL(U32(mergeFirst), mode)
	g.TESTL(started, started)
	g.JZ(LabelRef(set))
	g.XORL(mode, mode) // mergeAdd, or mergeRescale
	g.TESTL(grown, grown)
	g.SETNE(mode.As8())
	g.Label(set)
	g.MOVL(mode, mem(st, offMode))
	g.end()
}

// exp2 is the machine of exp2s.
func (g *gen) exp2() machine { return g.machine(g.V(12), 15, g.splat(-exponent.TwoMin)) }

// exp2s is 2^-x of n vectors in lockstep: x is V0, V3, V6, ..., scratch is the two registers behind
// each, V12 is shared and V15 the greatest argument.
func (g *gen) exp2s(m machine, n int) {
	var x, a, b []Op
	for v := range n {
		x, a, b = append(x, g.V(3*v)), append(a, g.V(3*v+1)), append(b, g.V(3*v+2))
	}
	vector.Exp2Neg(m, x, a, b)
}

// ceil rounds m up, -0 to +0.
func (g *gen) ceil(m, zero reg.VecPhysical) {
	const up, noException = 2, 8
	if g.avx512() {
		g.VRNDSCALEPS(U8(up|noException), m, m)
	} else {
		g.VROUNDPS(U8(up|noException), m, m)
	}
	g.VADDPS(zero, m, m)
}

// safeMax turns -Inf into 0, so that -Inf - m is not NaN; t is scratch.
func (g *gen) safeMax(m, t reg.VecPhysical) { g.zeroWhere(m, g.splat(negInf), t) }

// exponentials returns what sets V(3v), for the vectors v of k keys from s on, to the exponentials of their scores less
// the maxima: two vectors from an offset of a base on. It takes V0-V12, V15 and, with AVX-512, V30 and V31.
func (g *gen) exponentials(s, base reg.Register, offset int) func(k int) {
	m := g.exp2()
	max := func(h int) reg.VecPhysical { return g.V(30 + h) }
	if g.avx512() {
		for h := range 2 {
			g.VMOVUPS(mem(base, offset+g.w()*h), max(h))
		}
	} else {
		max = func(h int) reg.VecPhysical {
			g.VMOVUPS(mem(base, offset+g.w()*h), g.V(12))
			return g.V(12)
		}
	}
	return func(k int) {
		for h := range 2 {
			max := max(h)
			for v := h; v < 2*k; v += 2 {
				g.VSUBPS(mem(s, g.w()*v), max, g.V(3*v)) // max - s
			}
		}
		g.exp2s(m, 2*k)
	}
}

// pairs does n keys by twos, and the last one alone.
func (g *gen) pairs(n reg.Register, keys func(k int)) {
	pair, single, done := g.label("pair"), g.label("single"), g.label("done")
	g.SUBQ(U8(2), n)
	g.JL(LabelRef(single))
	g.loop(pair)
	keys(2)
	g.SUBQ(U8(2), n)
	g.JGE(LabelRef(pair))
	g.Label(single)
	g.ADDQ(U8(2), n)
	g.JZ(LabelRef(done))
	keys(1)
	g.Label(done)
}

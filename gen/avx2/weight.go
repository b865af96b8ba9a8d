package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Weights: one pass in place over the scores of a tile, [key][16]. The
// exponential is a long chain, so four vectors go through it in lockstep: one after the
// other they would fill the scheduler while they wait. The sums run down the lanes on the add pipes.
//
//	Y0-Y11 four vectors with two scratch registers each, Y12 shared scratch,
//	Y13 and Y14 sums, Y15 greatest argument
func genWeight(g *gen) {
	g.begin("softmaxTile", "func(s, st *float32, n int)",
		"softmaxTile turns the scores of n keys for 16 queries into weights, as [generic.SoftmaxTile].")
	s, st, n := g.ptr("s"), g.ptr("st"), g.ptr("n")
	sum := [2]reg.VecPhysical{Y(13), Y(14)}
	g.zero(Y(12), sum[0], sum[1])
	for h := range 2 {
		g.VMOVUPS(mem(st, offTileMax+32*h), Y(0))
		g.ceil(Y(0), Y(12))
		g.VMOVUPS(Y(0), mem(st, offTileMax+32*h))
		g.safeMax(Y(0), Y(1))
		g.VMOVUPS(Y(0), mem(st, offOldScale+32*h)) // for the loop
	}
	g.VMOVUPS(g.splat(-twoMin), Y(15))
	keys := func(k int) {
		for h := range 2 {
			g.VMOVUPS(mem(st, offOldScale+32*h), Y(12))
			for v := h; v < 2*k; v += 2 {
				g.VSUBPS(mem(s, 32*v), Y(12), Y(3*v)) // max - s
			}
		}
		g.exp2s(2 * k)
		for v := range 2 * k {
			g.VMOVUPS(Y(3*v), mem(s, 32*v))
			g.VADDPS(Y(3*v), sum[v%2], sum[v%2])
		}
		g.ADDQ(I32(64*k), s)
	}
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

	// Merge the maxima and the sums.
	grown := g.GP32()
	g.XORL(grown, grown)
	for h := range 2 {
		m, M, max, old, bits := Y(0), Y(1), Y(2), Y(3), g.GP32()
		g.VMOVUPS(g.splat(negInf), Y(4))
		g.VMOVUPS(g.splat(-127), Y(5))
		g.VMOVUPS(mem(st, offTileMax+32*h), m)
		g.VMOVUPS(Y(4), mem(st, offTileMax+32*h)) // for the next tile
		g.VMOVUPS(mem(st, offMax+32*h), M)
		g.VMAXPS(M, m, max)
		g.VMOVUPS(max, mem(st, offMax+32*h))
		const notEqual = 4
		g.VCMPPS(U8(notEqual), M, max, old)
		g.VCMPPS(U8(notEqual), M, Y(4), Y(4))
		g.VANDPS(Y(4), old, old)
		g.VMOVMSKPS(old, bits)
		g.ORL(bits, grown)
		for _, x := range []reg.VecPhysical{m, M} {
			// 2^(x-max), or 0 below 2^-126 and for the difference of two infinities: then
			// VMAXPS returns its second source.
			g.VSUBPS(max, x, x)
			g.VMAXPS(Y(5), x, x)
			g.VCVTPS2DQ(x, x)
			g.VPSLLD(U8(23), x, x)
			g.VPADDD(g.splat(1), x, x)
		}
		g.VMOVUPS(M, mem(st, offOldScale+32*h))
		g.VMOVUPS(m, mem(st, offNewScale+32*h))
		g.VMULPS(mem(st, offSum+32*h), M, M)
		g.VFMADD213PS(M, m, sum[h])
		g.VMOVUPS(sum[h], mem(st, offSum+32*h))
	}
	g.MOVL(grown, mem(st, offGrown))
	g.end()
}

// exp2s is 2^-x of n vectors in lockstep, the exp2 of package generic with the sign turned, which
// changes no rounding and makes the subtraction before it and its load one instruction. x is Y0, Y3,
// Y6, ..., scratch is the two registers behind each, Y12 is shared and Y15 the greatest argument.
func (g *gen) exp2s(n int) {
	c := Y(12)
	each := func(f func(x, z, y reg.VecPhysical)) {
		for v := range n {
			f(Y(3*v), Y(3*v+1), Y(3*v+2))
		}
	}
	each(func(x, _, _ reg.VecPhysical) { g.VMINPS(x, Y(15), x) }) // NaN passes: VMINPS returns its second source
	g.VMOVUPS(g.splat(magic2), c)
	each(func(x, z, _ reg.VecPhysical) { g.VSUBPS(x, c, z) })
	each(func(_, z, n reg.VecPhysical) { g.VSUBPS(c, z, n) })
	each(func(x, _, n reg.VecPhysical) { g.VADDPS(n, x, x) }) // -r
	each(func(_, _, y reg.VecPhysical) { g.VMOVUPS(g.splat(t6), y) })
	for _, t := range []float32{t5, t4, t3, t2, t1, 2} {
		g.VMOVUPS(g.splat(t), c)
		each(func(r, _, y reg.VecPhysical) { g.VFNMADD213PS(c, r, y) })
	}
	each(func(_, z, _ reg.VecPhysical) { g.VPSLLD(U8(23), z, z) }) // 2^(n-1)
	each(func(x, z, y reg.VecPhysical) { g.VMULPS(z, y, x) })
}

// ceil rounds m up, -0 to +0.
func (g *gen) ceil(m, zero reg.VecPhysical) {
	const up, noException = 2, 8
	g.VROUNDPS(U8(up|noException), m, m)
	g.VADDPS(zero, m, m)
}

// safeMax turns -Inf into 0, so that -Inf - m is not NaN.
func (g *gen) safeMax(m, t reg.VecPhysical) {
	const notEqual = 4
	g.VCMPPS(U8(notEqual), g.splat(negInf), m, t)
	g.VANDPS(t, m, m)
}

package x86

import (
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile/exponent"
)

// Row softmax is three passes: maximum, exponentials with their sum, quotient. Each is a function
// of its own, so that a long row is cut into short calls.
func genSoftmax(g *gen) {
	g.begin("maximum", "func(x *float32, n int) float32",
		"maximum returns the largest of n elements, ignoring NaN, or -Inf, as [tile.Max].")
	g.max(g.ptr("x"), g.ptr("n"))
	g.result(X(0))
	g.end()

	for _, f := range []struct {
		name, signature, doc string
		store                bool
	}{
		{"expSum", "func(dst, x *float32, n int, m float32, sum, block *[tile.Lanes]float32)", "expSum sets dst[i] = e^(x[i]-m) and adds the lanes of blocks to the 32 of sum, as [tile.ExpSum]; block is room for as many.", true},
		{"sumExp", "func(x *float32, n int, m float32, sum, block *[tile.Lanes]float32)", "sumExp is expSum without dst, as [tile.SumExp].", false},
	} {
		g.begin(f.name, f.signature, f.doc)
		g.expSum(f.store)
		g.end()
	}

	g.begin("div", "func(dst, x *float32, n int, d float32)",
		"div sets dst[i] = x[i] / d for n elements, as [tile.Div].")
	g.VBROADCASTSS(g.param("d"), g.V(0))
	g.elementwise(1, func(v [][]Op) { each(g.VDIVPS, v[0], v[0], group(g.V(0))) })
	g.end()

	g.begin("scale", "func(dst, x *float32, n int, f float32)",
		"scale sets dst[i] = x[i]*f + 0 for n elements, as [tile.Scale].")
	g.VBROADCASTSS(g.param("f"), g.V(0))
	g.zero(g.V(1))
	g.elementwise(1, func(v [][]Op) { each(g.VFMADD213PS, v[0], group(g.V(0)), group(g.V(1))) })
	g.end()
}

var negInf = float32(math.Inf(-1))

// max leaves the maximum of n elements in X0, with -0 as +0. Four accumulators cover the latency of
// VMAXPS. A NaN is the first source, so that VMAXPS returns the second, the maximum so far.
//
//	V0-V3 maxima, V4 elements, V5 mask, V6 -Inf
func (g *gen) max(x, n reg.GPVirtual) {
	block, vecs, vec, tail, done := g.label("block"), g.label("vecs"), g.label("vec"), g.label("tail"), g.label("done")
	g.VMOVUPS(g.splat(negInf), g.V(6))
	for i := range 4 {
		g.VMOVUPS(g.V(6), g.V(i))
	}
	g.SUBQ(I8(4*g.lanes), n)
	g.JL(LabelRef(vecs))
	g.loop(block)
	for i := range 4 {
		g.VMOVUPS(mem(x, g.w()*i), g.V(4))
		g.VMAXPS(g.V(i), g.V(4), g.V(i))
	}
	g.ADDQ(I32(4*g.w()), x)
	g.SUBQ(I8(4*g.lanes), n)
	g.JGE(LabelRef(block))
	g.Label(vecs)
	g.ADDQ(I8(3*g.lanes), n) // n-lanes are left
	g.JL(LabelRef(tail))
	g.Label(vec)
	g.VMOVUPS(mem(x, 0), g.V(4))
	g.VMAXPS(g.V(0), g.V(4), g.V(0))
	g.ADDQ(I8(g.w()), x)
	g.SUBQ(I8(g.lanes), n)
	g.JGE(LabelRef(vec))
	g.Label(tail)
	g.ADDQ(I8(g.lanes), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, g.V(5))
	g.loadTail(mem(x, 0), g.V(5), g.V(4))
	g.fillTail(g.V(4), g.V(5), g.V(6))
	g.VMAXPS(g.V(0), g.V(4), g.V(0))
	g.Label(done)
	g.VMAXPS(g.V(1), g.V(0), g.V(0))
	g.VMAXPS(g.V(3), g.V(2), g.V(2))
	g.VMAXPS(g.V(2), g.V(0), g.V(0))
	if g.avx512() {
		g.VEXTRACTF64X4(U8(1), zmm[0], Y(1))
		g.VMAXPS(Y(1), Y(0), Y(0))
	}
	g.VEXTRACTF128(U8(1), Y(0), X(1))
	g.VMAXPS(X(1), X(0), X(0))
	g.VPERMILPD(U8(1), X(0), X(1))
	g.VMAXPS(X(1), X(0), X(0))
	g.VMOVSHDUP(X(0), X(1))
	g.VMAXSS(X(1), X(0), X(0))
	g.VXORPS(X(1), X(1), X(1))
	g.VADDSS(X(1), X(0), X(0))
}

// expSum: a step of the loop is 32 elements, one vector for each of the accumulators. The lanes of a
// block wait in memory while the tail adds to them.
//
//	V0-V2 constants, V3 m, V4-V7 and V8-V11 a vector each with its scratch,
//	V12-V15 the lanes of the block; in the tail V12 is its mask
func (g *gen) expSum(store bool) {
	var dst reg.GPVirtual
	if store {
		dst = g.ptr("dst")
	}
	x, n, sum, block := g.ptr("x"), g.ptr("n"), g.ptr("sum"), g.ptr("block")
	g.VBROADCASTSS(g.param("m"), g.V(3))
	e := g.exponential(exponent.NegMin, exponent.MagicB)
	exp := func(r int) {
		g.VSUBPS(g.V(3), g.V(r), g.V(r))
		vector.ExpNeg(e, group(g.V(r)), group(g.V(r+1)), group(g.V(r+2)), group(g.V(r+3)))
	}
	lanes := func(emit func(memory Mem, v reg.VecPhysical), at reg.GPVirtual) {
		for i := range g.sums() {
			emit(mem(at, g.w()*i), g.V(12+i))
		}
	}
	load := func(m Mem, v reg.VecPhysical) { g.VMOVUPS(m, v) }
	save := func(m Mem, v reg.VecPhysical) { g.VMOVUPS(v, m) }
	g.blocks(n, func(n reg.GPVirtual) {
		loop, short, vecs, vec, tail, end, add, next := g.label("block"), g.label("short"), g.label("vecs"), g.label("vec"),
			g.label("tail"), g.label("end"), g.label("add"), g.label("next")
		to, s := g.GP64(), g.GP64() // the lanes that the tail adds to
		for i := range g.sums() {
			g.zero(g.V(12 + i))
		}
		g.SUBQ(I8(32), n)
		g.JL(LabelRef(short))
		g.loop(loop)
		for i := range g.sums() {
			r := 4 + 4*(i%2)
			g.VMOVUPS(mem(x, g.w()*i), g.V(r))
			exp(r)
			if store {
				g.VMOVUPS(g.V(r), mem(dst, g.w()*i))
			}
			g.VADDPS(g.V(r), g.V(12+i), g.V(12+i))
		}
		g.SUBQ(I8(-128), x)
		if store {
			g.SUBQ(I8(-128), dst)
		}
		g.SUBQ(I8(32), n)
		g.JGE(LabelRef(loop))
		g.ADDQ(I8(32), n)
		g.JZ(LabelRef(add))
		lanes(save, block)
		g.MOVQ(block, to)
		g.JMP(LabelRef(vecs))
		g.Label(short) // a lane has one element or none: it is added to the sum at once
		g.ADDQ(I8(32), n)
		g.MOVQ(sum, to)
		g.Label(vecs)
		g.MOVQ(to, s)
		g.SUBQ(I8(g.lanes), n)
		g.JL(LabelRef(tail))
		g.Label(vec)
		g.VMOVUPS(mem(x, 0), g.V(4))
		exp(4)
		if store {
			g.VMOVUPS(g.V(4), mem(dst, 0))
			g.ADDQ(I8(g.w()), dst)
		}
		g.VADDPS(mem(s, 0), g.V(4), g.V(4))
		g.VMOVUPS(g.V(4), mem(s, 0))
		g.ADDQ(I8(g.w()), x)
		g.ADDQ(I8(g.w()), s)
		g.SUBQ(I8(g.lanes), n)
		g.JGE(LabelRef(vec))
		g.Label(tail)
		g.ADDQ(I8(g.lanes), n)
		g.JZ(LabelRef(end))
		g.tailMask(n, g.V(12))
		g.loadTail(mem(x, 0), g.V(12), g.V(4))
		exp(4)
		if store {
			g.storeTail(g.V(4), g.V(12), mem(dst, 0))
		}
		g.clearBehind(g.V(4), g.V(12)) // the other lanes add +0, which changes no sum
		g.VADDPS(mem(s, 0), g.V(4), g.V(4))
		g.VMOVUPS(g.V(4), mem(s, 0))
		g.Label(end)
		g.CMPQ(to, sum)
		g.JEQ(LabelRef(next))
		lanes(load, block)
		g.Label(add)
		lanes(func(m Mem, v reg.VecPhysical) { g.VADDPS(m, v, v) }, sum)
		lanes(save, sum)
		g.Label(next)
	})
}

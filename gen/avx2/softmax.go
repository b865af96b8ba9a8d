package main

import (
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Row softmax is three passes: maximum, exponentials with their sum, quotient.
// Each is a function of its own, so that a long row is cut into short calls.
func genSoftmax(g *gen) {
	g.begin("maximum", "func(x *float32, n int) float32",
		"maximum returns the largest of n elements, ignoring NaN, or -Inf, as [generic.Max].")
	g.max(g.ptr("x"), g.ptr("n"))
	g.result(X(0))
	g.end()

	for _, f := range []struct {
		name, signature, doc string
		store                bool
	}{
		{"expSum", "func(dst, x *float32, n int, m float32, sum *float32)", "expSum sets dst[i] = e^(x[i]-m) and adds to the 32 lanes of sum, as [generic.ExpSum].", true},
		{"sumExp", "func(x *float32, n int, m float32, sum *float32)", "sumExp is expSum without dst, as [generic.SumExp].", false},
	} {
		g.begin(f.name, f.signature, f.doc)
		g.expSum(f.store)
		g.end()
	}

	g.begin("div", "func(dst, x *float32, n int, d float32)",
		"div sets dst[i] = x[i] / d for n elements, as [generic.Div].")
	g.VBROADCASTSS(g.param("d"), Y(0))
	g.elementwise(func(x, _, _, _ reg.VecPhysical) { g.VDIVPS(Y(0), x, x) })
	g.end()

	g.begin("scale", "func(dst, x *float32, n int, f float32)",
		"scale sets dst[i] = x[i]*f + 0 for n elements, as [generic.Scale].")
	g.VBROADCASTSS(g.param("f"), Y(0))
	g.zero(Y(1))
	g.elementwise(func(x, _, _, _ reg.VecPhysical) { g.VFMADD213PS(Y(1), Y(0), x) })
	g.end()
}

var negInf = float32(math.Inf(-1))

// max leaves the maximum of n elements in X0, with -0 as +0. Four accumulators cover the latency of VMAXPS. A NaN is the first
// source, so that VMAXPS returns the second, the maximum so far.
//
//	Y0-Y3 maxima, Y4 elements, Y5 mask, Y6 -Inf
func (g *gen) max(x, n reg.GPVirtual) {
	block, vecs, vec, tail, done := g.label("block"), g.label("vecs"), g.label("vec"), g.label("tail"), g.label("done")
	g.VMOVUPS(g.splat(negInf), Y(6))
	for i := range 4 {
		g.VMOVUPS(Y(6), Y(i))
	}
	g.SUBQ(I8(32), n)
	g.JL(LabelRef(vecs))
	g.loop(block)
	for i := range 4 {
		g.VMOVUPS(mem(x, 32*i), Y(4))
		g.VMAXPS(Y(i), Y(4), Y(i))
	}
	g.SUBQ(I8(-128), x)
	g.SUBQ(I8(32), n)
	g.JGE(LabelRef(block))
	g.Label(vecs)
	g.ADDQ(I8(24), n) // n-8 are left
	g.JL(LabelRef(tail))
	g.Label(vec)
	g.VMOVUPS(mem(x, 0), Y(4))
	g.VMAXPS(Y(0), Y(4), Y(0))
	g.ADDQ(I8(32), x)
	g.SUBQ(I8(8), n)
	g.JGE(LabelRef(vec))
	g.Label(tail)
	g.ADDQ(I8(8), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, Y(5))
	g.VMASKMOVPS(mem(x, 0), Y(5), Y(4))
	g.VBLENDVPS(Y(5), Y(4), Y(6), Y(4))
	g.VMAXPS(Y(0), Y(4), Y(0))
	g.Label(done)
	g.VMAXPS(Y(1), Y(0), Y(0))
	g.VMAXPS(Y(3), Y(2), Y(2))
	g.VMAXPS(Y(2), Y(0), Y(0))
	g.VEXTRACTF128(U8(1), Y(0), X(1))
	g.VMAXPS(X(1), X(0), X(0))
	g.VMOVHLPS(X(0), X(0), X(1))
	g.VMAXPS(X(1), X(0), X(0))
	g.VMOVSHDUP(X(0), X(1))
	g.VMAXSS(X(1), X(0), X(0))
	g.VXORPS(X(1), X(1), X(1))
	g.VADDSS(X(1), X(0), X(0))
}

// expSum: a block is 32 elements, one vector for each of the four accumulators.
//
//	Y0-Y2 constants, Y3 m, Y4-Y7 and Y8-Y11 a vector each with its scratch,
//	Y12-Y15 the lanes of the sum; after the blocks Y12 is the mask of the tail
func (g *gen) expSum(store bool) {
	var dst reg.GPVirtual
	if store {
		dst = g.ptr("dst")
	}
	x, n, sum := g.ptr("x"), g.ptr("n"), g.ptr("sum")
	g.VBROADCASTSS(g.param("m"), Y(3))
	g.expConstants(negMin, magicB)
	block, vecs, vec, tail, done := g.label("block"), g.label("vecs"), g.label("vec"), g.label("tail"), g.label("done")
	g.SUBQ(I8(32), n)
	g.JL(LabelRef(vecs))
	for i := range 4 {
		g.VMOVUPS(mem(sum, 32*i), Y(12+i))
	}
	g.loop(block)
	for i := range 4 {
		r := 4 + 4*(i%2)
		g.VMOVUPS(mem(x, 32*i), Y(r))
		g.VSUBPS(Y(3), Y(r), Y(r))
		g.expm(Y(r), Y(r+1), Y(r+2), Y(r+3))
		if store {
			g.VMOVUPS(Y(r), mem(dst, 32*i))
		}
		g.VADDPS(Y(r), Y(12+i), Y(12+i))
	}
	g.SUBQ(I8(-128), x)
	if store {
		g.SUBQ(I8(-128), dst)
	}
	g.SUBQ(I8(32), n)
	g.JGE(LabelRef(block))
	for i := range 4 {
		g.VMOVUPS(Y(12+i), mem(sum, 32*i))
	}
	g.Label(vecs)
	g.ADDQ(I8(24), n) // n-8 are left
	g.JL(LabelRef(tail))
	g.Label(vec)
	g.VMOVUPS(mem(x, 0), Y(4))
	g.VSUBPS(Y(3), Y(4), Y(4))
	g.expm(Y(4), Y(5), Y(6), Y(7))
	if store {
		g.VMOVUPS(Y(4), mem(dst, 0))
		g.ADDQ(I8(32), dst)
	}
	g.VADDPS(mem(sum, 0), Y(4), Y(4))
	g.VMOVUPS(Y(4), mem(sum, 0))
	g.ADDQ(I8(32), x)
	g.ADDQ(I8(32), sum)
	g.SUBQ(I8(8), n)
	g.JGE(LabelRef(vec))
	g.Label(tail)
	g.ADDQ(I8(8), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, Y(12))
	g.VMASKMOVPS(mem(x, 0), Y(12), Y(4))
	g.VSUBPS(Y(3), Y(4), Y(4))
	g.expm(Y(4), Y(5), Y(6), Y(7))
	if store {
		g.VMASKMOVPS(Y(4), Y(12), mem(dst, 0))
	}
	g.VANDPS(Y(12), Y(4), Y(4)) // the other lanes add +0, which changes no sum
	g.VADDPS(mem(sum, 0), Y(4), Y(4))
	g.VMOVUPS(Y(4), mem(sum, 0))
	g.Label(done)
}

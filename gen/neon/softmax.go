package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/vector"
)

// Row softmax is three passes: maximum, exponentials with their sum, quotient.
// Each is a function of its own, so that a long row is cut into short calls.
func genSoftmax(g *gen) {
	g.Begin("maximum", "func(x *float32, n int) float32",
		"maximum returns the largest of n elements, ignoring NaN, or -Inf, as [generic.Max].")
	g.max(g.Param("x"), g.Param("n"))
	g.ResultFloat(0)
	g.RET()

	g.Begin("expSum", "func(dst, x *float32, n int, m float32, sum *float32)",
		"expSum sets dst[i] = e^(x[i]-m) and adds to the 32 lanes of sum, as [generic.ExpSum].")
	g.expSum(true)
	g.RET()

	g.Begin("sumExp", "func(x *float32, n int, m float32, sum *float32)",
		"sumExp is expSum without dst, as [generic.SumExp].")
	g.expSum(false)
	g.RET()

	g.Begin("div", "func(dst, x *float32, n int, d float32)",
		"div sets dst[i] = x[i] / d for n elements, as [generic.Div].")
	d := g.ParamFloat("d")
	g.elementwise(func(x []a64.V) { each(g.FDIV, x, x, []a64.V{d}) })
	g.RET()

	g.Begin("scale", "func(dst, x *float32, n int, f float32)",
		"scale sets dst[i] = x[i]*f + 0 for n elements, as [generic.Scale].")
	f := g.ParamFloat("f")
	g.elementwise(func(x []a64.V) {
		for _, v := range x {
			sum := g.zero()
			g.FMLA(sum, v, f)
			g.MOVV(v, sum)
		}
	})
	g.RET()
}

// max leaves the maximum of n elements in the low lane of V0, with -0 as +0, and returns +0 and
// -Inf.
//
//	V0-V3 maxima, V4-V7 elements, V16-V19 scratch
func (g *gen) max(x, n a64.X) (zero, least a64.V) {
	zero, least = g.zero(), g.splat(negInf)
	for i := range a64.V(4) {
		g.MOVV(i, least)
	}
	g.Blocks(n, 4*lanes, func() {
		g.load(4, 4, x, 0)
		for i := range a64.V(4) {
			g.raise(i, 4+i, 16+i)
		}
		g.ADDI(x, x, 64)
	})
	g.Blocks(n, 1, func() {
		g.LDRepeat(4, x)
		g.raise(0, 4, 16)
		g.ADDI(x, x, 4)
	})
	// No NaN is left, and of zeros the sum makes +0.
	g.FMAX(0, 0, 1)
	g.FMAX(2, 2, 3)
	g.FMAX(0, 0, 2)
	g.FMAXV(0, 0)
	g.FADD(0, 0, zero)
	return zero, least
}

// expSum: a block is 32 elements, a vector for each of the sums; the rest adds to the sums in
// memory.
func (g *gen) expSum(store bool) {
	var dst a64.X
	if store {
		dst = g.Param("dst")
	}
	src, n, sum := g.Param("x"), g.Param("n"), g.Param("sum")
	m, sums := g.ParamFloat("m"), g.group(8)
	exp := func(x []a64.V) {
		g.Sub(x, x, []a64.V{m})
		vector.ExpNeg(g, x, g.group(len(x)), g.group(len(x)), g.group(len(x)))
	}
	for i := 0; i < 8; i += 2 {
		g.LDPQ(sums[i], sums[i+1], mem(sum, 16*i))
	}
	g.Blocks(n, 32, func() {
		for i := 0; i < 8; i += 2 {
			x := g.group(2)
			g.LDPQ(x[0], x[1], mem(src, 16*i))
			exp(x)
			g.Add(sums[i:i+2], sums[i:i+2], x)
			if store {
				g.STPQ(x[0], x[1], mem(dst, 16*i))
			}
		}
		g.ADDI(src, src, 128)
		if store {
			g.ADDI(dst, dst, 128)
		}
	})
	for i := 0; i < 8; i += 2 {
		g.STPQ(sums[i], sums[i+1], mem(sum, 16*i))
	}
	for _, size := range []int{lanes, 1} {
		ld, st := g.LDRQ, g.STRQ
		if size == 1 {
			ld, st = g.LDRS, g.STRS
		}
		x, old := g.V(), g.V()
		g.Blocks(n, size, func() {
			ld(x, mem(src, 0))
			exp([]a64.V{x})
			if store {
				st(x, mem(dst, 0))
				g.ADDI(dst, dst, 4*size)
			}
			ld(old, mem(sum, 0))
			g.FADD(old, old, x)
			st(old, mem(sum, 0))
			g.ADDI(src, src, 4*size)
			g.ADDI(sum, sum, 4*size)
		})
	}
}

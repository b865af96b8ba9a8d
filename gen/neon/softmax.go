package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/vector"
)

// Row softmax is three passes: maximum, exponentials with their sum, quotient.
// Each is a function of its own, so that a long row is cut into short calls.
func genSoftmax(g *gen) {
	g.Begin("maximum", "func(x *float32, n int) float32",
		"maximum returns the largest of n elements, ignoring NaN, or -Inf, as [tile.Max].")
	m, _, _ := g.max(g.Param("x"), g.Param("n"))
	g.ResultFloat(m)
	g.RET()

	g.Begin("expSum", "func(dst, x *float32, n int, m float32, sum, block *[tile.Lanes]float32)",
		"expSum sets dst[i] = e^(x[i]-m) and adds the lanes of blocks to the 32 of sum, as [tile.ExpSum]; block is room for as many.")
	g.expSum(true)
	g.RET()

	g.Begin("sumExp", "func(x *float32, n int, m float32, sum, block *[tile.Lanes]float32)",
		"sumExp is expSum without dst, as [tile.SumExp].")
	g.expSum(false)
	g.RET()

	g.Begin("div", "func(dst, x *float32, n int, d float32)",
		"div sets dst[i] = x[i] / d for n elements, as [tile.Div].")
	d := g.ParamFloat("d")
	g.elementwise(func(x []a64.V) { each(g.FDIV, x, x, []a64.V{d}) })
	g.RET()

	g.Begin("scale", "func(dst, x *float32, n int, f float32)",
		"scale sets dst[i] = x[i]*f + 0 for n elements, as [tile.Scale].")
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

// max returns the maximum of n elements in the low lane, with -0 as +0, and +0 and -Inf.
func (g *gen) max(x, n a64.X) (m, zero, least a64.V) {
	zero, least = g.zero(), g.splat(negInf)
	maxima, t := g.group(4), g.V()
	for _, v := range maxima {
		g.MOVV(v, least)
	}
	g.Blocks(n, 4*lanes, func() {
		v := g.group(4)
		g.load(v, x, 0)
		for i := range v {
			g.raise(maxima[i], v[i], g.V())
		}
		g.ADDI(x, x, 64)
	})
	m = maxima[0]
	v := g.V()
	g.Blocks(n, 1, func() {
		g.LDRepeat(v, x)
		g.raise(m, v, t)
		g.ADDI(x, x, 4)
	})
	// No NaN is left, and of zeros the sum makes +0.
	g.Max(maxima[:2], maxima[:2], maxima[2:])
	g.FMAX(m, m, maxima[1])
	g.FMAXV(m, m)
	g.FADD(m, m, zero)
	return m, zero, least
}

// expSum: a step of the loop is 32 elements, a vector for each of the lanes. The lanes of a block
// wait in memory while the rest adds to them.
func (g *gen) expSum(store bool) {
	var dst a64.X
	if store {
		dst = g.Param("dst")
	}
	src, n, sum, block := g.Param("x"), g.Param("n"), g.Param("sum"), g.Param("block")
	m, all := g.ParamFloat("m"), g.group(8)
	exp := func(x []a64.V) {
		g.Sub(x, x, []a64.V{m})
		vector.ExpNeg(g, x, g.group(len(x)), g.group(len(x)), g.group(len(x)))
	}
	g.sumBlocks(n, func(n a64.X) {
		add := g.NewLabel("add")
		g.clear(all)
		g.Blocks(n, 32, func() {
			for i := 0; i < 8; i += 2 {
				x := g.group(2)
				g.load(x, src, 16*i)
				exp(x)
				g.Add(all[i:i+2], all[i:i+2], x)
				if store {
					g.store(x, dst, 16*i)
				}
			}
			g.ADDI(src, src, 128)
			if store {
				g.ADDI(dst, dst, 128)
			}
		})
		g.CBZ(n, add)
		g.store(all, block, 0)
		s := g.X()
		g.MOV(s, block)
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
				ld(old, mem(s, 0))
				g.FADD(old, old, x)
				st(old, mem(s, 0))
				g.ADDI(src, src, 4*size)
				g.ADDI(s, s, 4*size)
			})
		}
		g.load(all, block, 0)
		g.Label(add)
		for i := 0; i < 8; i += 2 {
			old := g.group(2)
			g.load(old, sum, 16*i)
			g.Add(old, old, all[i:i+2])
			g.store(old, sum, 16*i)
		}
	})
}

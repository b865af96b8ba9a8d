package main

import (
	"math"

	"github.com/selfattn/attn/gen/a64"
)

func genNorm(g *gen) {
	g.Begin("moments", "func(x *float32, n int, m float32, sum, squares *[tile.Lanes]float32)",
		"moments adds the lanes of blocks of x[i]-m and of its square to the 32 of sum and of squares, as [tile.Moments].")
	g.moments()
	g.RET()

	g.Begin("normalize", "func(dst, x, gain, bias *float32, n int, norm *[3]float32)",
		"normalize sets dst[i] = ((x[i]-norm[0])*norm[1] + norm[2])*gain[i] + bias[i] for n elements, as [tile.Normalize].")
	p, norm := g.Param("norm"), g.group(3)
	for i, v := range norm {
		if i > 0 {
			g.ADDI(p, p, 4)
		}
		g.LDRepeat(v, p)
	}
	dst, x, gain, bias, n := g.Param("dst"), g.Param("x"), g.Param("gain"), g.Param("bias"), g.Param("n")
	for _, size := range []int{lanes, 1} {
		ld, st := g.LDRQ, g.STRQ
		if size == 1 {
			ld, st = g.LDRS, g.STRS
		}
		v, f, y, sum := g.V(), g.V(), g.V(), g.V()
		g.Blocks(n, size, func() {
			ld(v, mem(x, 0))
			ld(f, mem(gain, 0))
			ld(sum, mem(bias, 0))
			g.FSUB(v, v, norm[0])
			g.MOVV(y, norm[2])
			g.FMLA(y, v, norm[1])
			g.FMLA(sum, y, f)
			st(sum, mem(dst, 0))
			for _, p := range []a64.X{x, gain, bias, dst} {
				g.ADDI(p, p, 4*size)
			}
		})
	}
	g.RET()
}

// moments: a step of the loop is 32 elements, a vector for each of the lanes.
func (g *gen) moments() {
	x, n, sum, squares, m := g.Param("x"), g.Param("n"), g.Param("sum"), g.Param("squares"), g.ParamFloat("m")
	sums, seconds := g.group(8), g.group(8)
	g.Table("tails", 0, 0, 0, 0, math.MaxUint32, 0, 0, 0, math.MaxUint32, math.MaxUint32, 0, 0,
		math.MaxUint32, math.MaxUint32, math.MaxUint32, 0)
	add := func(i int, d a64.V) {
		g.FADD(sums[i], sums[i], d)
		g.FMLA(seconds[i], d, d)
	}
	tails := g.X()
	g.Address(tails, "tails")
	g.sumBlocks(n, func(n a64.X) {
		done := g.NewLabel("done")
		g.clear(sums)
		g.clear(seconds)
		g.Blocks(n, 32, func() {
			for i := 0; i < 8; i += 2 {
				d := g.group(2)
				g.load(d, x, 16*i)
				g.Sub(d, d, []a64.V{m})
				add(i, d[0])
				add(i+1, d[1])
			}
			g.ADDI(x, x, 128)
		})
		at, mask, d := g.X(), g.V(), g.V()
		for i := range 8 {
			last, next := g.NewLabel("last"), g.NewLabel("next")
			if i < 7 { // the last one is never whole
				g.CMP(n, lanes)
				g.BLT(last)
				g.LDRQ(d, mem(x, 0))
				g.FSUB(d, d, m)
				add(i, d)
				g.ADDI(x, x, 16)
				g.SUBS(n, n, lanes)
				g.B(next)
			}
			g.Label(last)
			g.CBZ(n, done)
			g.loadPart(d, x, n)
			g.ADDL(at, tails, n, 4)
			g.LDRQ(mask, mem(at, 0))
			g.FSUB(d, d, m)
			g.ANDV(d, d, mask) // the other lanes add +0, which changes no sum
			add(i, d)
			g.B(done)
			g.Label(next)
		}
		g.Label(done)
		for i := 0; i < 8; i += 2 {
			old := g.group(2)
			g.load(old, sum, 16*i)
			g.Add(old, old, sums[i:i+2])
			g.store(old, sum, 16*i)
			g.load(old, squares, 16*i)
			g.Add(old, old, seconds[i:i+2])
			g.store(old, squares, 16*i)
		}
	})
}

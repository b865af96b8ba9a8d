package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/layout"
)

// A panel holds 16 queries: [dim][panel]. Rows go in and out by 4x4 transposes.
func genPanel(g *gen) {
	g.Begin("packPanel", "func(dst, src *float32, offset *[tile.MaxPanel]int, dim int, scale float32)",
		"packPanel transposes rows into a panel, times scale, as [tile.PackPanel].")
	g.packPanel()
	g.RET()

	g.Begin("finishPanel", "func(dst *float32, offset *[tile.MaxPanel]int, acc *float32, st *tile.Panel, dim int) int64",
		"finishPanel divides a panel by its sums and writes it as rows, as [tile.FinishPanel].",
		"The result is not 0 if it wrote a NaN.")
	g.finishPanel()
	g.RET()

	g.Begin("hideTile", "func(s *float32, st *tile.Panel, lanes *[tile.Keys]uint32, n int)",
		"hideTile hides keys from the lanes whose bit is not set, as [tile.HideTile].")
	g.hideTile()
	g.RET()
}

// quarters runs body for each group of 4 queries, with pointers to their rows in base.
func (g *gen) quarters(base a64.X, body func(part int, row [4]a64.X)) {
	offset := g.Param("offset")
	var row [4]a64.X
	for i := range row {
		row[i] = g.X()
	}
	for part := range panel / 4 {
		for i := range row {
			g.LDR(row[i], mem(offset, 32*part+8*i))
			g.ADDL(row[i], base, row[i], 2)
		}
		body(part, row)
	}
}

func (g *gen) packPanel() {
	dst0, src, scale := g.Param("dst"), g.Param("src"), g.ParamFloat("scale")
	n, dst, at := g.X(), g.X(), g.X()
	g.quarters(src, func(part int, row [4]a64.X) {
		g.ParamTo(n, "dim")
		g.MOVI(at, 0)
		g.ADDI(dst, dst0, 16*part)
		g.Blocks(n, 4, func() {
			for i := range a64.V(4) {
				g.LDRQX(i, row[i], at)
				g.FMUL(i, i, scale)
			}
			g.ADDI(at, at, 16)
			g.transpose(0, 4)
			for c := range 4 {
				g.STRQ(a64.V(c), mem(dst, 4*panel*c))
			}
			g.ADDI(dst, dst, 4*4*panel)
		})
		g.Blocks(n, 1, func() {
			for i := range 4 {
				g.LDRSX(0, row[i], at)
				g.FMUL(0, 0, scale)
				g.STRS(0, mem(dst, 4*i))
			}
			g.ADDI(at, at, 4)
			g.ADDI(dst, dst, 4*panel)
		})
	})
}

// finishPanel: V4-V7 are scratch of the transpose, V16 the inverse of the sums.
func (g *gen) finishPanel() {
	dst, st := g.Param("dst"), g.Param("st")
	zero, one, nan := g.zero(), g.splat(1), g.zero() // nan is NaN once there was one, as FMAX propagates it
	inverse := a64.V(16)
	n, o, at := g.X(), g.X(), g.X()
	finish := func(d, v a64.V) { // o/L + 0, the addition for -0
		g.ZERO(d)
		g.FMLA(d, v, inverse)
		g.FMAX(nan, nan, d)
	}
	g.quarters(dst, func(part int, row [4]a64.X) {
		g.ParamTo(n, "dim")
		g.ParamTo(o, "acc")
		g.MOVI(at, 0)
		g.ADDI(o, o, 16*part)
		// 0 for the inverse of 0
		g.LDRQ(0, mem(st, layout.Sum+16*part))
		g.FDIV(inverse, one, 0)
		g.FCMEQ(0, 0, zero)
		g.BIC(inverse, inverse, 0)
		g.Blocks(n, 4, func() {
			for c := range a64.V(4) {
				g.LDRQ(4+c, mem(o, 4*panel*int(c)))
				finish(c, 4+c)
			}
			g.transpose(0, 4)
			for i := range a64.V(4) {
				g.STRQX(i, row[i], at)
			}
			g.ADDI(at, at, 16)
			g.ADDI(o, o, 4*4*panel)
		})
		for i := range row {
			g.ADD(row[i], row[i], at)
		}
		g.Blocks(n, 1, func() {
			g.LDRQ(4, mem(o, 0))
			finish(0, 4)
			for i := range row {
				g.STLane(0, i, row[i])
			}
			g.ADDI(o, o, 4*panel)
		})
	})
	x, y := g.X(), g.X()
	g.FCMEQ(nan, nan, nan)
	g.HalfToX(x, nan, 0)
	g.HalfToX(y, nan, 1)
	g.AND(x, x, y)
	g.MVN(x, x)
	g.Result(x)
}

// hideTile: V16-V19 the bits of the lanes, V24-V27 maxima.
func (g *gen) hideTile() {
	s, st, lanes, n := g.Param("s"), g.Param("st"), g.Param("lanes"), g.Param("n")
	hidden, seen, word, table := g.splat(negInf), g.V(), g.X(), g.X()
	var bits []uint32
	for lane := range panel {
		bits = append(bits, 1<<lane)
	}
	g.Table("bits", bits...)
	g.Address(table, "bits")
	g.load(grid(16, 4), table, 0)
	g.load(grid(24, 4), st, layout.TileMax)
	g.Blocks(n, 1, func() {
		g.LDRW(word, mem(lanes, 0))
		g.DUPX(seen, word)
		g.load(grid(0, 4), s, 0)
		for i := range a64.V(4) {
			g.CMTST(4, 16+i, seen)
			g.BIF(i, hidden, 4)
			g.raise(24+i, i, 4)
		}
		g.store(grid(0, 4), s, 0)
		g.ADDI(lanes, lanes, 4)
		g.ADDI(s, s, 4*panel)
	})
	g.store(grid(24, 4), st, layout.TileMax)
}

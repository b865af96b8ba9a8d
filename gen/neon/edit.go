package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/layout"
	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile"
)

// Edits: one pass in place over the scores of a tile, [key][panel], or of a row, for each kind.
func genEdit(g *gen) {
	g.Begin("capTile", "func(s *float32, st *tile.Panel, n int, cap, inverse float32)",
		"capTile caps the scores of n keys for a panel, as [tile.CapTile].")
	g.capTile()
	g.RET()

	g.Begin("capRow", "func(s *float32, n int, cap, inverse float32)",
		"capRow caps n scores of one query, as [tile.CapRow]. It may write to s up to a whole vector.")
	g.capRow()
	g.RET()

	g.Begin("alibiTile", "func(s *float32, st *tile.Panel, position *[tile.MaxPanel]int32, slope *[tile.MaxPanel]float32, n, first int)",
		"alibiTile biases the scores of n keys for a panel by distance, as [tile.AlibiTile].")
	g.alibiTile()
	g.RET()

	g.Begin("alibiRow", "func(s *float32, n, position int, slope float32)",
		"alibiRow biases n scores of one query by distance, as [tile.AlibiRow]. It may write to s up to a",
		"whole vector.")
	g.alibiRow()
	g.RET()

	g.Begin("biasTile", "func(s *float32, st *tile.Panel, bias *float32, offset *[tile.MaxPanel]int, n int)",
		"biasTile adds biases to the scores of n keys for a panel, as [tile.BiasTile].")
	g.biasTile()
	g.RET()

	g.Begin("biasKeys", "func(s *float32, st *tile.Panel, bias *float32, n int)",
		"biasKeys adds the biases of n keys to their scores for a panel, as [tile.BiasKeys].")
	g.biasKeys()
	g.RET()

	g.Begin("scaleTile", "func(s *float32, st *tile.Panel, scale *float32, n int)",
		"scaleTile multiplies the scores or weights of n keys for a panel by the scales of the keys, as [tile.ScaleTile].")
	g.scaleTile()
	g.RET()

	g.Begin("biasRow", "func(s, bias *float32, n int)",
		"biasRow adds biases to n scores of one query, as [tile.BiasRow].")
	g.biasRow()
	g.RET()
}

// tileMaxima loads the maxima of a panel and returns them with what stores them.
func (g *gen) tileMaxima() (maxima []a64.V, store func()) {
	st := g.Param("st")
	maxima = g.group(panel / lanes)
	g.load(maxima, st, layout.TileMax)
	return maxima, func() { g.store(maxima, st, layout.TileMax) }
}

// capped caps n vectors of scores, an even number or one.
func (g *gen) capped(s a64.X, n int, cap, inverse a64.V) []a64.V {
	x := g.group(n)
	if n == 1 {
		g.LDRQ(x[0], mem(s, 0))
	} else {
		g.load(x, s, 0)
	}
	g.Mul(x, x, []a64.V{inverse})
	vector.Tanh(g, x, g.group(n), g.group(n))
	g.Mul(x, x, []a64.V{cap})
	if n == 1 {
		g.STRQ(x[0], mem(s, 0))
	} else {
		g.store(x, s, 0)
	}
	return x
}

func (g *gen) capTile() {
	s, n, cap, inverse := g.Param("s"), g.Param("n"), g.ParamFloat("cap"), g.ParamFloat("inverse")
	maxima, store := g.tileMaxima()
	g.Blocks(n, 1, func() {
		for i, x := range g.capped(s, panel/lanes, cap, inverse) {
			g.raise(maxima[i], x, g.V())
		}
		g.ADDI(s, s, 4*panel)
	})
	store()
}

func (g *gen) capRow() {
	s, n, cap, inverse := g.Param("s"), g.Param("n"), g.ParamFloat("cap"), g.ParamFloat("inverse")
	g.ADDI(n, n, lanes-1)
	g.Blocks(n, 4*lanes, func() {
		g.capped(s, 4, cap, inverse)
		g.ADDI(s, s, 64)
	})
	g.Blocks(n, lanes, func() {
		g.capped(s, 1, cap, inverse)
		g.ADDI(s, s, 16)
	})
}

func (g *gen) alibiTile() {
	s, position, slope, n := g.Param("s"), g.Param("position"), g.Param("slope"), g.Param("n")
	maxima, store := g.tileMaxima()
	positions, slopes, x := g.group(4), g.group(4), g.group(4)
	g.load(positions, position, 0)
	g.load(slopes, slope, 0)
	key, one := g.V(), g.V()
	g.DUPX(key, g.Param("first"))
	t := g.X()
	g.MOVI(t, 1)
	g.DUPX(one, t)
	g.Blocks(n, 1, func() {
		g.load(x, s, 0)
		for i := range x {
			g.distance(positions[i], key, slopes[i], x[i])
			g.raise(maxima[i], x[i], g.V())
		}
		g.store(x, s, 0)
		g.ADDV(key, key, one)
		g.ADDI(s, s, 4*panel)
	})
	store()
}

// distance biases a vector of scores.
func (g *gen) distance(position, key, slope, x a64.V) {
	d := g.V()
	g.SABD(d, position, key)
	g.SCVTF(d, d)
	g.FMLS(x, d, slope)
}

func (g *gen) alibiRow() {
	s, n, slope := g.Param("s"), g.Param("n"), g.ParamFloat("slope")
	position, key, four, x := g.V(), g.V(), g.V(), g.V()
	g.DUPX(position, g.Param("position"))
	t := g.X()
	g.Table("lane", 0, 1, 2, 3)
	g.Address(t, "lane")
	g.LDRQ(key, mem(t, 0))
	g.MOVI(t, lanes)
	g.DUPX(four, t)
	g.ADDI(n, n, lanes-1)
	g.Blocks(n, lanes, func() {
		g.LDRQ(x, mem(s, 0))
		g.distance(position, key, slope, x)
		g.STRQ(x, mem(s, 0))
		g.ADDV(key, key, four)
		g.ADDI(s, s, 16)
	})
}

// biased adds biases to scores, -Inf whatever they are.
func (g *gen) biased(x, bias, factor, inf a64.V) {
	t := g.V()
	g.FCMEQ(t, bias, inf)
	g.FMLA(x, bias, factor)
	g.BIT(x, inf, t)
}

// biasTile transposes the biases of 4 keys for 4 queries at a time.
//
//	V0-V3 biases of a key, V4-V7 scratch
func (g *gen) biasTile() {
	s0, st, bias := g.Param("s"), g.Param("st"), g.Param("bias")
	factor, inf, max, x := g.splat(tile.Log2E), g.splat(negInf), g.V(), g.V()
	n, s, at := g.X(), g.X(), g.X()
	g.quarters(bias, func(part int, row [4]a64.X) {
		g.ParamTo(n, "n")
		g.MOVI(at, 0)
		g.ADDI(s, s0, 16*part)
		g.LDRQ(max, mem(st, layout.TileMax+16*part))
		key := func(c int) {
			g.LDRQ(x, mem(s, 4*panel*c))
			g.biased(x, a64.V(c), factor, inf)
			g.raise(max, x, g.V())
			g.STRQ(x, mem(s, 4*panel*c))
		}
		g.Blocks(n, 4, func() {
			for i := range a64.V(4) {
				g.LDRQX(i, row[i], at)
			}
			g.transpose(0, 4)
			for c := range 4 {
				key(c)
			}
			g.ADDI(at, at, 16)
			g.ADDI(s, s, 4*4*panel)
		})
		for i := range row {
			g.ADD(row[i], row[i], at)
		}
		g.Blocks(n, 1, func() {
			g.ZERO(0)
			for i := range row {
				g.LDLane(0, i, row[i])
				g.ADDI(row[i], row[i], 4)
			}
			key(0)
			g.ADDI(s, s, 4*panel)
		})
		g.STRQ(max, mem(st, layout.TileMax+16*part))
	})
}

// eachKey edits the scores of a panel by a number of each key, and raises the maxima.
func (g *gen) eachKey(numbers string, start func() (edit func(x, number a64.V))) {
	s, number, n := g.Param("s"), g.Param(numbers), g.Param("n")
	maxima, store := g.tileMaxima()
	edit := start()
	f, x := g.V(), g.group(4)
	g.Blocks(n, 1, func() {
		g.LDRepeat(f, number)
		g.load(x, s, 0)
		for i := range x {
			edit(x[i], f)
			g.raise(maxima[i], x[i], g.V())
		}
		g.store(x, s, 0)
		g.ADDI(number, number, 4)
		g.ADDI(s, s, 4*panel)
	})
	store()
}

func (g *gen) scaleTile() {
	g.eachKey("scale", func() func(x, scale a64.V) {
		return func(x, scale a64.V) { g.FMUL(x, x, scale) }
	})
}

func (g *gen) biasKeys() {
	g.eachKey("bias", func() func(x, bias a64.V) {
		factor, inf := g.splat(tile.Log2E), g.splat(negInf)
		return func(x, bias a64.V) { g.biased(x, bias, factor, inf) }
	})
}

func (g *gen) biasRow() {
	s, bias, n := g.Param("s"), g.Param("bias"), g.Param("n")
	factor, inf, b, x := g.splat(tile.Log2E), g.splat(negInf), g.V(), g.V()
	g.Blocks(n, lanes, func() {
		g.LDRQ(b, mem(bias, 0))
		g.LDRQ(x, mem(s, 0))
		g.biased(x, b, factor, inf)
		g.STRQ(x, mem(s, 0))
		g.ADDI(bias, bias, 16)
		g.ADDI(s, s, 16)
	})
	g.Blocks(n, 1, func() {
		g.LDRS(b, mem(bias, 0))
		g.LDRS(x, mem(s, 0))
		g.biased(x, b, factor, inf)
		g.STRS(x, mem(s, 0))
		g.ADDI(bias, bias, 4)
		g.ADDI(s, s, 4)
	})
}

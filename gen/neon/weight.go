package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/layout"
	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile"
)

// Weights: one pass in place over the scores of a tile, [key][panel].
func genWeight(g *gen) {
	g.Begin("softmaxTile", "func(s *float32, st *tile.Panel, n int)",
		"softmaxTile turns the scores of n keys for a panel into weights, as [tile.SoftmaxTile].")
	s, st, n := g.Param("s"), g.Param("st"), g.Param("n")
	max, sums := g.group(4), g.group(4)
	g.clear(sums)
	zero, inf, t := g.zero(), g.splat(negInf), g.V()
	for h := range max {
		g.LDRQ(max[h], mem(st, layout.TileMax+16*h))
		g.ceil(max[h], zero)
		g.STRQ(max[h], mem(st, layout.TileMax+16*h))
		g.zeroWhere(max[h], inf, t) // so that -Inf - max is not NaN
	}
	g.Blocks(n, 1, func() {
		g.Add(sums, sums, g.weights(s, max))
		g.ADDI(s, s, 4*panel)
	})

	// Merge the maxima and the sums.
	m, M, both, u := g.V(), g.V(), g.V(), g.V()
	low, one, started, grown := g.splat(-127), g.splat(1), g.zero(), g.zero()
	for h := range 4 {
		g.LDRQ(m, mem(st, layout.TileMax+16*h))
		g.STRQ(inf, mem(st, layout.TileMax+16*h)) // for the next tile
		g.LDRQ(M, mem(st, layout.Max+16*h))
		g.FMAX(both, M, m)
		g.STRQ(both, mem(st, layout.Max+16*h))
		// started where the old maximum was not -Inf, grown where the new one is also another
		g.FCMEQ(t, M, inf)
		g.ORN(started, started, t)
		g.FCMEQ(u, M, both)
		g.ORRV(t, t, u)
		g.ORN(grown, grown, t)
		for _, v := range []a64.V{m, M} {
			// 2^(v-max), or 0 below 2^-126 and for the difference of two infinities
			g.FSUB(v, v, both)
			g.FMAXNM(v, v, low)
			g.FCVTNS(v, v)
			g.SHL(v, v, 23)
			g.ADDV(v, v, one)
		}
		g.STRQ(M, mem(st, layout.OldScale+16*h))
		g.STRQ(m, mem(st, layout.NewScale+16*h))
		g.LDRQ(t, mem(st, layout.Sum+16*h))
		g.FMUL(t, t, M)
		g.FMLA(t, sums[h], m)
		g.STRQ(t, mem(st, layout.Sum+16*h))
	}
	mode, x, store := g.X(), g.X(), g.NewLabel("mode")
	g.MOVI(mode, tile.MergeRescale)
	g.any(x, grown)
	g.CBNZ(x, store)
	g.MOVI(mode, tile.MergeAdd)
	g.any(x, started)
	g.CBNZ(x, store)
	g.MOVI(mode, tile.MergeFirst)
	g.Label(store)
	g.STRW(mode, mem(st, layout.Mode))
	g.RET()
}

// any makes x other than 0 if a bit of v is set.
func (g *gen) any(x a64.X, v a64.V) {
	g.HalfToX(x, v, 0)
	high := g.X()
	g.HalfToX(high, v, 1)
	g.ORR(x, x, high)
}

// weights turns scores in memory into weights, which it also returns: as many vectors as there are
// maxima, an even number.
func (g *gen) weights(s a64.X, max []a64.V) []a64.V {
	n := len(max)
	x := g.group(n)
	g.load(x, s, 0)
	g.Sub(x, max, x)
	vector.Exp2Neg(g, x, g.group(n), g.group(n))
	g.store(x, s, 0)
	return x
}

// ceil rounds m up, -0 to +0.
func (g *gen) ceil(m, zero a64.V) {
	g.FRINTP(m, m)
	g.FADD(m, m, zero)
}

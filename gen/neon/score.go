package main

import "github.com/selfattn/attn/gen/layout"

// Scores are a matrix product with the queries on the lanes: elements are taken from rows of K in
// place, the panel of queries is packed [dim][panel], the result is [key][panel]. The maximum over
// the keys is then vertical.
func genScore(g *gen) {
	g.Begin("scoreTile", "func(s, st, q, k *float32, dim, stride, small, big, rest int)",
		"scoreTile computes the scores of a panel of queries against the keys of small, big and rest",
		"tiles and raises the maxima, as [generic.ScoreTile].")
	s, st, q := g.Param("s"), g.Param("st"), g.Param("q")
	k := g.rows(g.Param("k"), g.elems("stride"))
	tiles := &gemm{
		gen: g, k: g.Param("dim"), panel: g.X(), singles: g.X(), fours: g.X(),
		elements: k.elements, element: k.element, next: k.next,
	}
	tiles.start = func(rows int) {
		g.clear(grid(0, 4*rows))
		g.MOV(tiles.panel, q)
		k.point(rows)
	}
	tiles.finish = func(rows int) {
		g.load(grid(24, 4), st, layout.TileMax)
		for r := range rows {
			g.store(grid(acc(r), 4), s, 4*panel*r)
			for h := range acc(1) {
				g.raise(24+h, acc(r)+h, 28+h)
			}
		}
		g.store(grid(24, 4), st, layout.TileMax)
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		g.ADDI(s, s, 4*panel*rows)
		k.advance(rows)
	})
	g.RET()
}

package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/layout"
)

// Scores are a matrix product with the queries on the lanes: elements are taken from rows of K in
// place, the panel of queries is packed [dim][panel], the result is [key][panel]. The maximum over
// the keys is then vertical.
func genScore(g *gen) {
	g.Begin("scoreTile", "func(s *float32, st *tile.Panel, q, k *float32, dim, stride, small, big, rest int, ahead *float32, rows, width, wrap int)",
		"scoreTile computes the scores of a panel of queries against the keys of small, big and rest",
		"tiles and raises the maxima, as [tile.ScoreTile]. The last parameters are those of ahead.")
	g.scores(0)
	g.RET()

	g.Begin("scoreUpper", "func(s *float32, st *tile.Panel, q, k *float32, dim, stride, small, big, rest int)",
		"scoreUpper is scoreTile for the second half of the panel alone.")
	g.scores(2)
	g.RET()

	g.Begin("aheadPages", "func(ahead *float32, pages, step int)",
		"aheadPages prefetches a line of each of some pages, step bytes apart: those of what a kernel is about to",
		"read ahead, so that misses of the TLB wait together.")
	p, pages, step := g.Param("ahead"), g.Param("pages"), g.Param("step")
	g.Blocks(pages, 1, func() {
		g.Prefetch(mem(p, 0))
		g.ADD(p, p, step)
	})
	g.RET()
}

func (g *gen) scores(half a64.V) {
	s, st, q := g.Param("s"), g.Param("st"), g.Param("q")
	k := g.rows(g.Param("k"), g.elems("stride"))
	tiles := &gemm{
		gen: g, half: half, k: g.Param("dim"), panel: g.X(), singles: g.X(), fours: g.X(),
		elements: k.elements, element: k.element, next: k.next,
	}
	if half == 0 {
		ahead := g.ahead()
		tiles.next = func(rows, steps int) {
			k.next(rows, steps)
			ahead.read(steps)
		}
	}
	n := 4 - int(half)
	tiles.start = func(rows int) {
		for r := range rows {
			g.clear(grid(acc(r)+half, n))
		}
		g.MOV(tiles.panel, q)
		k.point(rows)
	}
	tiles.finish = func(rows int) {
		g.load(grid(24+half, n), st, layout.TileMax+16*int(half))
		for r := range rows {
			g.store(grid(acc(r)+half, n), s, 4*panel*r+16*int(half))
			for h := half; h < 4; h++ {
				g.raise(24+h, acc(r)+h, 28+h)
			}
		}
		g.store(grid(24+half, n), st, layout.TileMax+16*int(half))
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		g.ADDI(s, s, 4*panel*rows)
		k.advance(rows)
	})
}

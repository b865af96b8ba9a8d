package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/layout"
	"github.com/selfattn/attn/generic/tile"
)

// Values are mixed as a matrix product too: elements are taken from rows of V in
// place, the weights are [key][panel], the result is [column][panel]. The finish merges
// the tile into the columns so far.
func genValue(g *gen) {
	g.Begin("valueTile", "func(acc, p, v *float32, st *tile.Panel, n, upper, stride, small, big, rest int, ahead *float32, rows, width, wrap int)",
		"valueTile mixes the columns of small, big and rest tiles of n values by the weights of a",
		"panel of queries, and upper values more by those of its second half, and merges them into acc,",
		"as [tile.ValueTile]. The last parameters are those of ahead.")
	o, p, v, st := g.Param("acc"), g.Param("p"), g.columns(g.Param("v"), g.elems("stride")), g.Param("st")
	tiles := &gemm{
		gen: g, k: g.Param("n"), upper: "upper", panel: g.X(), singles: g.X(), fours: g.X(),
		elements: v.elements, element: v.element,
	}
	tiles.start = func(cols int) {
		g.clear(grid(0, 4*cols))
		g.MOV(tiles.panel, p)
		v.point(cols)
	}
	ahead := g.ahead()
	tiles.next = func(_, steps int) { ahead.read(steps) }
	// In its first tile O is not read; where no maximum has grown a is 1.
	merge := func(cols, mode int) {
		for h := a64.V(0); h < 4; h += 2 {
			g.load(grid(24, 2), st, layout.NewScale+16*int(h))
			if mode == tile.MergeRescale {
				g.load(grid(26, 2), st, layout.OldScale+16*int(h))
			}
			for c := range cols {
				if mode == tile.MergeFirst {
					g.clear(grid(28, 2))
				} else {
					g.load(grid(28, 2), o, 4*panel*c+16*int(h))
				}
				for i := range a64.V(2) {
					if mode == tile.MergeRescale {
						g.FMUL(28+i, 28+i, 26+i) // O*a
					}
					g.FMLA(28+i, acc(c)+h+i, 24+i) // + o*b
				}
				g.store(grid(28, 2), o, 4*panel*c+16*int(h))
			}
		}
	}
	mode := g.X()
	tiles.finish = func(cols int) {
		done := g.NewLabel("merged")
		g.LDRW(mode, mem(st, layout.Mode))
		for _, m := range []int{tile.MergeAdd, tile.MergeRescale} {
			other := g.NewLabel("other")
			g.CMP(mode, m)
			g.BNE(other)
			merge(cols, m)
			g.B(done)
			g.Label(other)
		}
		merge(cols, tile.MergeFirst)
		g.Label(done)
	}
	g.groups(func(cols int) {
		tiles.tile(cols)
		v.advance(cols)
		g.ADDI(o, o, 4*panel*cols)
	})
	g.RET()
}

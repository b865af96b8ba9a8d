package x86

import (
	. "github.com/mmcloughlin/avo/operand"

	"github.com/selfattn/attn/gen/layout"
	"github.com/selfattn/attn/generic/tile"
)

// Scores are a matrix product with the queries on the lanes: rows of K are broadcast in place, the
// panel of queries is packed [dim][panel], the result is [key][panel]. The maximum over the keys is
// then a vertical VMAXPS.
func genScore(g *gen) {
	g.begin("scoreTile", "func(s *float32, st *tile.Panel, q, k *float32, dim, stride, small, big, rest int, ahead *float32, rows, width, wrap, left int)",
		"scoreTile computes the scores of a panel of queries against the keys of small, big and rest",
		"tiles and raises the maxima, as [tile.ScoreTile]. The last parameters are those of readAhead.")
	g.scores(0)
	g.end()

	g.begin("scoreUpper", "func(s *float32, st *tile.Panel, q, k *float32, dim, stride, small, big, rest int)",
		"scoreUpper is scoreTile for the second half of the panel alone.")
	g.scores(1)
	g.end()

	g.begin("aheadPages", "func(ahead *float32, pages, step int)",
		"aheadPages prefetches a line of each of some pages, step bytes apart: those of what a kernel is about to",
		"read ahead. A prefetch that misses the TLB keeps all that follows it from retiring: many at",
		"once wait together, which takes little longer than one.")
	g.aheadPages()
	g.end()
}

func (g *gen) aheadPages() {
	p, pages, step, page := g.ptr("ahead"), g.ptr("pages"), g.ptr("step"), g.label("page")
	g.Label(page)
	g.PREFETCHT1(mem(p, 0))
	g.ADDQ(step, p)
	g.DECQ(pages)
	g.JNZ(LabelRef(page))
}

func (g *gen) scores(half int) {
	s, st, q0, k0, dim := g.ptr("s"), g.ptr("st"), g.ptr("q"), g.ptr("k"), g.ptr("dim")
	q := g.GP64()
	k := g.rowPointers(g.elems("stride"))
	tiles := &gemm{
		gen:    g,
		half:   half,
		k:      dim,
		load:   func(step, half int) Mem { return mem(q, g.row()*step+g.w()*half) },
		scalar: func(row, step int) Mem { return k.at(row, 4*step) },
		start: func(rows int) {
			for r := range rows {
				for h := half; h < 2; h++ {
					g.zero(g.V(2*r + h))
				}
			}
			g.MOVQ(q0, q)
			g.point(k, k0, rows)
		},
		next: func(rows, steps int) {
			g.ADDQ(I32(g.row()*steps), q)
			g.shift(k, rows, 4*steps)
			if half == 0 {
				g.readAhead(steps)
			}
		},
		finish: func(row int) {
			// The first row takes the maxima so far, each other one the row before it, as the
			// second source: the one that VMAXPS returns when the score is NaN.
			for h := half; h < 2; h++ {
				acc := g.V(2*row + h)
				g.VMOVUPS(acc, mem(s, g.row()*row+g.w()*h))
				if row == 0 {
					g.VMAXPS(mem(st, offTileMax+g.w()*h), acc, acc)
				} else {
					g.VMAXPS(g.V(2*row-2+h), acc, acc)
				}
			}
		},
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		for h := half; h < 2; h++ {
			g.VMOVUPS(g.V(2*rows-2+h), mem(st, offTileMax+g.w()*h))
		}
		g.ADDQ(I32(g.row()*rows), s)
		g.advance(k0, k.stride, rows)
	})
}

// Short names.
const (
	offTileMax  = layout.TileMax
	offMax      = layout.Max
	offSum      = layout.Sum
	offOldScale = layout.OldScale
	offNewScale = layout.NewScale
	offMode     = layout.Mode

	mergeRescale = tile.MergeRescale
	mergeFirst   = tile.MergeFirst

	tileKeys = tile.Keys
)

package main

import . "github.com/mmcloughlin/avo/operand"

// Scores are a matrix product with the queries on the lanes: rows of K are broadcast
// in place, the panel of queries is packed [dim][16], the result is
// [key][16]. The maximum over the keys is then a vertical VMAXPS.
func genScore(g *gen) {
	g.begin("scoreTile", "func(s, st, q, k *float32, dim, stride, fives, sixes, rest int)",
		"scoreTile computes the scores of 16 queries against 5*fives + 6*sixes + rest keys",
		"and raises the tile's maxima, as [generic.ScoreTile].")
	s, st, q0, k0, dim := g.ptr("s"), g.ptr("st"), g.ptr("q"), g.ptr("k"), g.ptr("dim")
	q := g.GP64()
	k := rowPointers{g.GP64(), g.GP64(), g.elems("stride")}
	tiles := &gemm{
		gen:    g,
		k:      dim,
		load:   func(step, half int) Mem { return mem(q, 64*step+32*half) },
		scalar: func(row, step int) Mem { return k.at(row, 4*step) },
		start: func(rows int) {
			g.clear(rows)
			g.MOVQ(q0, q)
			g.point(k, k0, rows)
		},
		next: func(rows, steps int) {
			g.ADDQ(I32(64*steps), q)
			g.shift(k, rows, 4*steps)
		},
		finish: func(row int) {
			// The first row takes the maxima so far, each other one the row before it, as
			// the second source: the one that VMAXPS returns when the score is NaN.
			for h := range 2 {
				acc := Y(2*row + h)
				g.VMOVUPS(acc, mem(s, 64*row+32*h))
				if row == 0 {
					g.VMAXPS(mem(st, offTileMax+32*h), acc, acc)
				} else {
					g.VMAXPS(Y(2*row-2+h), acc, acc)
				}
			}
		},
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		for h := range 2 {
			g.VMOVUPS(Y(2*rows-2+h), mem(st, offTileMax+32*h))
		}
		g.ADDQ(I32(64*rows), s)
		g.advance(k0, k.stride, rows)
	})
	g.end()
}

// Offsets of the fields of generic.Panel.
const (
	offTileMax  = 128 * 0
	offMax      = 128 * 1
	offSum      = 128 * 2
	offOldScale = 128 * 3
	offNewScale = 128 * 4
	offGrown    = 128 * 5
)

package main

import (
	"math"

	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/generic/tile"
)

// Masks: bytes, [query][key], become a bit for each query of a panel, one word a key, or hide the scores of a row. They
// are compared with 0, since a bool may be any byte.
func genHide(g *gen) {
	g.Begin("packMask", "func(lanes *[tile.Keys]uint32, mask *bool, offset *[tile.MaxPanel]int, n int) int",
		"packMask packs the mask of a panel, as [tile.PackMask], for 16 keys or more.")
	g.packMask()
	g.RET()

	g.Begin("hideRow", "func(s *float32, mask *bool, n int) int64",
		"hideRow hides n keys, 16 or more, from the scores of one query, as [tile.HideRow]. The result is not 0 if it hid one.")
	g.hideRow()
	g.RET()
}

// sixteens runs body for each 16 of n keys and moves the pointers to what they have of 4 bytes and of one. Keys that are
// left are the last of 16 that overlap those before.
func (g *gen) sixteens(words, mask, n a64.X, body func()) {
	again, done, t := g.NewLabel("again"), g.NewLabel("done"), g.X()
	g.Label(again)
	g.Blocks(n, 16, func() {
		body()
		g.ADDI(words, words, 64)
		g.ADDI(mask, mask, 16)
	})
	g.CBZ(n, done)
	g.MOVI(t, 16)
	g.SUB(n, n, t)
	g.ADDL(words, words, n, 2)
	g.ADD(mask, mask, n)
	g.MOV(n, t)
	g.B(again)
	g.Label(done)
}

// packMask inserts the bytes of 8 queries, which are all ones or 0, into a plane of bytes, each a bit further left.
func (g *gen) packMask() {
	lanes, mask, offset, n, row := g.Param("lanes"), g.Param("mask"), g.Param("offset"), g.Param("n"), g.X()
	all, any, zero, word := g.splatBits(math.MaxUint32), g.zero(), g.zero(), g.group(4)
	g.sixteens(lanes, mask, n, func() {
		plane, t := g.group(panel/8), g.V()
		for p, plane := range plane {
			for r := range 8 {
				g.LDR(row, mem(offset, 64*p+8*r))
				g.LDRQX(t, mask, row)
				if r == 0 {
					g.CMTSTB(plane, t, t)
					continue
				}
				g.CMTSTB(t, t, t)
				g.SLIB(plane, t, r)
			}
			g.ANDV(all, all, plane)
			g.ORRV(any, any, plane)
		}
		g.ZIP1B(t, plane[0], plane[1])
		g.ZIP1H(word[0], t, zero)
		g.ZIP2H(word[1], t, zero)
		g.ZIP2B(t, plane[0], plane[1])
		g.ZIP1H(word[2], t, zero)
		g.ZIP2H(word[3], t, zero)
		g.store(word, lanes, 0)
	})
	seen, x, end := g.X(), g.X(), g.NewLabel("end")
	g.MOVI(seen, tile.SeenAll)
	g.zeros(x, all)
	g.CBZ(x, end)
	g.MOVI(seen, tile.SeenNone)
	g.HalfToX(x, any, 0)
	g.HalfToX(row, any, 1)
	g.ORR(x, x, row)
	g.CBZ(x, end)
	g.MOVI(seen, tile.SeenSome)
	g.Label(end)
	g.Result(seen)
}

// zeros sets x to something else than 0 if some bit of v is not set.
func (g *gen) zeros(x a64.X, v a64.V) {
	y := g.X()
	g.HalfToX(x, v, 0)
	g.HalfToX(y, v, 1)
	g.AND(x, x, y)
	g.MVN(x, x)
}

func (g *gen) hideRow() {
	s, mask, n, x := g.Param("s"), g.Param("mask"), g.Param("n"), g.X()
	all, hidden, seen, score := g.splatBits(math.MaxUint32), g.splat(negInf), g.group(4), g.group(4)
	g.sixteens(s, mask, n, func() {
		t, half := g.V(), g.V()
		g.LDRQ(t, mem(mask, 0))
		g.CMTSTB(t, t, t)
		g.ANDV(all, all, t)
		g.ZIP1B(half, t, t)
		g.ZIP1H(seen[0], half, half)
		g.ZIP2H(seen[1], half, half)
		g.ZIP2B(half, t, t)
		g.ZIP1H(seen[2], half, half)
		g.ZIP2H(seen[3], half, half)
		g.load(score, s, 0)
		for i := range score {
			g.BIF(score[i], hidden, seen[i])
		}
		g.store(score, s, 0)
	})
	g.zeros(x, all)
	g.Result(x)
}

package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/layout"
	"github.com/selfattn/attn/generic/tile"
)

// Dropout draws four words for a query and four keys, by Philox. UMULL takes the queries in the low half of a vector and UMULL2 those
// in the high one; UZP1 and UZP2 collect the halves of the products.
func genDropout(g *gen) {
	g.Begin("drawTile", "func(lanes *uint32, n int, d *tile.Draw, four int)",
		"drawTile says which weights of a panel and n times four keys stay, as [tile.DrawTile]. The first are keys number",
		"4*four and on.")
	g.drawTile()
	g.RET()
}

// drawTile: V0-V3 the state of a vector of queries, V4-V7 products, V8-V11 the bits of four keys, V16-V19 of each lane.
func (g *gen) drawTile() {
	lanes, n, d, four := g.Param("lanes"), g.Param("n"), g.Param("d"), g.Param("four")
	g.laneBits()
	below, k0, k1, keys := g.V(), g.V(), g.V(), g.X()
	m0, m1 := g.splatBits(tile.PhiloxMul0), g.splatBits(tile.PhiloxMul1)
	batch := g.V()
	g.ADDI(keys, d, layout.DrawBelow)
	g.LDRepeat(below, keys)
	g.ADDI(keys, d, layout.DrawBatch)
	g.LDRepeat(batch, keys)
	g.Blocks(n, 1, func() {
		g.clear(grid(8, 4))
		for v := range 4 {
			g.DUPX(0, four)
			g.LDRQ(1, mem(d, layout.DrawQuery+16*v))
			g.LDRQ(2, mem(d, layout.DrawHead+16*v))
			g.MOVV(3, batch)
			g.ADDI(keys, d, layout.DrawKeys)
			rounds := g.X()
			g.MOVI(rounds, tile.PhiloxRounds)
			g.Blocks(rounds, 1, func() {
				g.LDRepeat(k0, keys)
				g.ADDI(keys, keys, 4)
				g.LDRepeat(k1, keys)
				g.ADDI(keys, keys, 4)
				g.UMULL(4, 0, m0)
				g.UMULL2(5, 0, m0)
				g.UMULL(6, 2, m1)
				g.UMULL2(7, 2, m1)
				g.EORV(1, 1, k0)
				g.EORV(3, 3, k1)
				g.UZP2(0, 6, 7)
				g.UZP2(2, 4, 5)
				g.EORV(0, 0, 1)
				g.EORV(2, 2, 3)
				g.UZP1(1, 6, 7)
				g.UZP1(3, 4, 5)
			})
			for i := range a64.V(4) {
				g.CMHS(i, i, below)
				g.ANDV(i, i, 16+a64.V(v))
				g.ORRV(8+i, 8+i, i)
			}
		}
		for i := range a64.V(4) {
			g.AddLanes(8+i, 8+i)
			g.STRS(8+i, mem(lanes, 4*int(i)))
		}
		g.ADDI(lanes, lanes, 16)
		g.ADDI(four, four, 1)
	})
}

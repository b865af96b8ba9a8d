package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/gen/layout"
	"github.com/selfattn/attn/generic/tile"
)

// Dropout draws four words for a query and four keys, by Philox. A product of 32 bits by 32 takes the lower halves of pairs of
// lanes and fills both, so the queries of a vector become two of pairs, and what a product leaves in the upper
// halves stays there: nothing reads it but shifts of that product. Queries are dealt out as VPUNPCK does, which VSHUFPS undoes.
// Ten rounds are one long chain, of which the CPU takes several at a time: half a panel is about 180 instructions.
func genDropout(g *gen) {
	g.begin("drawTile", "func(lanes *uint32, n int, d *tile.Draw, four int)",
		"drawTile says which weights of a panel and n times four keys stay, as [tile.DrawTile]. The first are keys number",
		"4*four and on.")
	g.drawTile()
	g.end()
}

// A philox is the state of a vector of pairs, and two scratch registers.
type philox struct{ c0, c1, c2, c3, t0, t1 reg.VecPhysical }

// drawTile: V0-V5 and V6-V11 a philox each, V12 and V13 multipliers, V14 and V15 the keys of a round; V14 is in the end the
// least word that drops nothing.
func (g *gen) drawTile() {
	lanes, n, d, keys, twice := g.ptr("lanes"), g.ptr("n"), g.ptr("d"), g.GP64(), g.GP64()
	g.VPBROADCASTD(g.words("philox0", tile.PhiloxMul0), g.V(12))
	g.VPBROADCASTD(g.words("philox1", tile.PhiloxMul1), g.V(13))
	fours := g.label("four")
	g.Label(fours)
	for h := range 2 {
		low, high := g.philox(0), g.philox(6)
		deal := func(m Mem, a, b reg.VecPhysical) {
			g.VMOVUPS(m, low.t0)
			g.VPUNPCKLDQ(low.t0, low.t0, a)
			g.VPUNPCKHDQ(low.t0, low.t0, b)
		}
		deal(mem(d, layout.DrawQuery+g.w()*h), low.c1, high.c1)
		deal(mem(d, layout.DrawHead+g.w()*h), low.c2, high.c2)
		for _, p := range []philox{low, high} {
			g.VPBROADCASTD(g.param("four"), p.c0)
			g.VPBROADCASTD(mem(d, layout.DrawBatch), p.c3)
		}
		g.LEAQ(mem(d, layout.DrawKeys), keys)
		g.MOVQ(U32(tile.PhiloxRounds/2), twice)
		rounds := g.label("rounds")
		g.Label(rounds)
		for i := range 2 {
			g.VPBROADCASTD(mem(keys, 8*i), g.V(14))
			g.VPBROADCASTD(mem(keys, 8*i+4), g.V(15))
			g.philoxRound(&low, &high)
		}
		g.ADDQ(U8(16), keys)
		g.DECQ(twice)
		g.JNZ(LabelRef(rounds))
		g.VPBROADCASTD(mem(d, layout.DrawBelow), g.V(14))
		for i, x := range []reg.VecPhysical{low.c0, low.c1, low.c2, low.c3} {
			g.VSHUFPS(U8(0x88), []reg.VecPhysical{high.c0, high.c1, high.c2, high.c3}[i], x, x)
			g.storeNotBelow(x, g.V(14), g.V(15), h, mem(lanes, 4*i))
		}
	}
	g.ADDQ(U8(16), lanes)
	g.INCQ(g.param("four"))
	g.DECQ(n)
	g.JNZ(LabelRef(fours))
}

func (g *gen) philox(v int) philox {
	return philox{g.V(v), g.V(v + 1), g.V(v + 2), g.V(v + 3), g.V(v + 4), g.V(v + 5)}
}

// philoxRound is a round with the keys in V14 and V15. Products become part of the state as they are, in the place of scratch
// registers: the second round brings them back.
func (g *gen) philoxRound(all ...*philox) {
	for _, p := range all {
		g.VPMULUDQ(g.V(12), p.c0, p.t0)
		g.VPMULUDQ(g.V(13), p.c2, p.t1)
	}
	for _, p := range all {
		g.VPSRLQ(U8(32), p.t1, p.c0)
		g.VPSRLQ(U8(32), p.t0, p.c2)
	}
	for _, p := range all {
		g.xor3(p.c1, g.V(14), p.c0)
		g.xor3(p.c3, g.V(15), p.c2)
		p.c1, p.t1 = p.t1, p.c1
		p.c3, p.t0 = p.t0, p.c3
	}
}

// xor3 sets z to x ^ y ^ z.
func (g *gen) xor3(x, y, z reg.VecPhysical) {
	if g.avx512() {
		g.VPTERNLOGD(U8(0x96), x, y, z)
		return
	}
	g.VPXOR(x, z, z)
	g.VPXOR(y, z, z)
}

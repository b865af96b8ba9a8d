package x86

import (
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A panel holds as many queries as two vectors have lanes: [dim][panel]. Rows go in and out by 8x8
// transposes, in Y registers with any instruction set.
func genPanel(g *gen) {
	g.begin("packPanel", "func(dst, src *float32, offset *int, dim int, scale float32)",
		"packPanel transposes rows into a panel, times scale, as [generic.PackPanel].")
	g.packPanel()
	g.end()

	g.begin("finishPanel", "func(dst *float32, offset *int, acc, st *float32, dim int) int64",
		"finishPanel divides a panel by its sums and writes it as rows, as [generic.FinishPanel].",
		"The result is not 0 if it wrote a NaN. The old scales of st are overwritten.")
	g.finishPanel()
	g.end()

	g.begin("maskTile", "func(s, st *float32, limit *int32, n, first int)",
		"maskTile hides the keys j of a tile with first+j >= limit from a query, as [generic.MaskTile].")
	g.maskTile()
	g.end()
}

// row is the number of bytes of a row of a panel.
func (g *gen) row() int { return 4 * g.Panel() }

// eights runs body for each group of 8 queries, whose elements begin at 8*part in each row of the
// panel.
func (g *gen) eights(body func(part int, row [8]reg.GPVirtual), base reg.GPVirtual) {
	offset := g.ptr("offset")
	for part := range g.Panel() / 8 {
		var row [8]reg.GPVirtual
		for i := range row {
			row[i] = g.GP64()
			g.MOVQ(mem(offset, 64*part+8*i), row[i])
			g.LEAQ(at(base, row[i], 4, 0), row[i])
		}
		body(part, row)
	}
}

// packPanel
//
//	Y0-Y7 rows in, Y8-Y15 columns out
func (g *gen) packPanel() {
	dst0, src := g.ptr("dst"), g.ptr("src")
	g.eights(func(part int, row [8]reg.GPVirtual) {
		block, tail, done := g.label("block"), g.label("tail"), g.label("done")
		i, n, dst := g.GP64(), g.ptr("dim"), g.GP64()
		g.XORQ(i, i)
		g.MOVQ(dst0, dst)
		store := func() {
			g.VBROADCASTSS(g.param("scale"), Y(8))
			for r := range 8 {
				g.VMULPS(Y(8), Y(r), Y(r))
			}
			g.transpose()
			for c := range 8 {
				g.VMOVUPS(Y(8+c), mem(dst, g.row()*c+32*part))
			}
		}
		g.SUBQ(I8(8), n)
		g.JL(LabelRef(tail))
		g.Label(block)
		for r := range 8 {
			g.VMOVUPS(at(row[r], i, 4, 0), Y(r))
		}
		store()
		g.ADDQ(I32(8*g.row()), dst)
		g.ADDQ(I8(8), i)
		g.SUBQ(I8(8), n)
		g.JGE(LabelRef(block))
		g.Label(tail)
		g.ADDQ(I8(8), n)
		g.JZ(LabelRef(done))
		g.tailMask8(n, Y(15))
		for r := range 8 {
			g.VMASKMOVPS(at(row[r], i, 4, 0), Y(15), Y(r))
		}
		store()
		g.Label(done)
	}, src)
}

// finishPanel
//
//	Y0-Y7 columns in, Y8-Y15 rows out
func (g *gen) finishPanel() {
	dst := g.ptr("dst")
	nan := g.resultAddr()
	g.MOVQ(U32(0), nan)
	g.eights(func(part int, row [8]reg.GPVirtual) {
		block, tail, done := g.label("block"), g.label("tail"), g.label("done")
		i, n, acc := g.GP64(), g.ptr("dim"), g.ptr("acc")
		g.XORQ(i, i)
		// The inverse of the sums, 0 for 0, in place of the old scales, which are used up.
		st := g.ptr("st")
		g.zero(Y(0))
		g.VMOVUPS(mem(st, offSum+32*part), Y(1))
		g.VMOVUPS(g.splat(1), Y(2))
		g.VDIVPS(Y(1), Y(2), Y(2))
		g.VCMPPS(U8(notEqual), Y(0), Y(1), Y(1))
		g.VANDPS(Y(1), Y(2), Y(2))
		g.VMOVUPS(Y(2), mem(st, offOldScale+32*part))
		load := func() {
			st, t := g.ptr("st"), g.GP64()
			g.VMOVUPS(mem(st, offOldScale+32*part), Y(11))
			g.zero(Y(8), Y(9))
			for c := range 8 {
				g.VMOVUPS(mem(acc, g.row()*c+32*part), Y(c))
				g.VFMADD213PS(Y(8), Y(11), Y(c)) // + 0 for -0
				g.VCMPPS(U8(unordered), Y(c), Y(c), Y(10))
				g.VORPS(Y(10), Y(9), Y(9))
			}
			g.VMOVMSKPS(Y(9), t.As32())
			g.ORQ(t, nan)
			g.transpose()
		}
		g.SUBQ(I8(8), n)
		g.JL(LabelRef(tail))
		g.Label(block)
		load()
		for r := range 8 {
			g.VMOVUPS(Y(8+r), at(row[r], i, 4, 0))
		}
		g.ADDQ(I32(8*g.row()), acc)
		g.ADDQ(I8(8), i)
		g.SUBQ(I8(8), n)
		g.JGE(LabelRef(block))
		g.Label(tail)
		g.ADDQ(I8(8), n)
		g.JZ(LabelRef(done))
		load()
		g.tailMask8(n, Y(0))
		for r := range 8 {
			g.VMASKMOVPS(Y(8+r), Y(0), at(row[r], i, 4, 0))
		}
		g.Label(done)
	}, dst)
}

// transpose turns the 8x8 block in Y0-Y7 into Y8-Y15.
func (g *gen) transpose() {
	for i := 0; i < 8; i += 2 { // pairs of rows
		g.VUNPCKLPS(Y(i+1), Y(i), Y(8+i))
		g.VUNPCKHPS(Y(i+1), Y(i), Y(9+i))
	}
	for i := 0; i < 8; i += 4 { // fours
		for j := range 2 {
			g.VUNPCKLPD(Y(10+i+j), Y(8+i+j), Y(i+2*j))
			g.VUNPCKHPD(Y(10+i+j), Y(8+i+j), Y(i+2*j+1))
		}
	}
	for i := range 4 { // halves
		g.VPERM2F128(U8(0x20), Y(4+i), Y(i), Y(8+i))
		g.VPERM2F128(U8(0x31), Y(4+i), Y(i), Y(12+i))
	}
}

// maskTile: the limits and maxima of a panel stay in registers.
func (g *gen) maskTile() {
	s, st, limit, n := g.ptr("s"), g.ptr("st"), g.ptr("limit"), g.ptr("n")
	parts := g.Panel() / 8
	limits, maxima := Y, func(part int) reg.VecPhysical { return Y(parts + part) }
	hidden, ones, key, visible, x := Y(15), Y(14), Y(13), Y(12), Y(11)
	for p := range parts {
		g.VMOVUPS(mem(limit, 32*p), limits(p))
		g.VMOVUPS(mem(st, offTileMax+32*p), maxima(p))
	}
	g.VBROADCASTSS(g.words("negInf", math.Float32bits(negInf)), hidden)
	g.VPCMPEQD(ones, ones, ones) // -1
	g.VPBROADCASTD(g.param("first"), key)
	loop := g.label("key")
	g.Label(loop)
	for p := range parts {
		g.VPCMPGTD(key, limits(p), visible)
		g.VBLENDVPS(visible, mem(s, 32*p), hidden, x)
		g.VMOVUPS(x, mem(s, 32*p))
		g.VMAXPS(maxima(p), x, maxima(p))
	}
	g.VPSUBD(ones, key, key)
	g.ADDQ(I32(g.row()), s)
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
	for p := range parts {
		g.VMOVUPS(maxima(p), mem(st, offTileMax+32*p))
	}
}

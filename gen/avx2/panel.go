package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A panel holds 16 queries on the lanes: [dim][16]. Rows go in and out by 8x8 transposes.
func genPanel(g *gen) {
	g.begin("packPanel", "func(dst, src *float32, offset *int, dim int, scale float32)",
		"packPanel transposes 16 rows into a panel, times scale, as [generic.PackPanel].")
	g.packPanel()
	g.end()

	g.begin("finishPanel", "func(dst *float32, offset *int, acc, st *float32, dim int) int64",
		"finishPanel divides a panel by its sums and writes it as 16 rows, as [generic.FinishPanel].",
		"The result is not 0 if it wrote a NaN. The old scales of st are overwritten.")
	g.finishPanel()
	g.end()

	g.begin("maskTile", "func(s, st *float32, limit *int32, n, first int)",
		"maskTile hides the keys j of a tile with first+j >= limit from a query, as [generic.MaskTile].")
	g.maskTile()
	g.end()
}

// halves runs body for both groups of 8 rows, whose elements begin at half*8 in
// each row of the panel.
func (g *gen) halves(body func(half int, row [8]reg.GPVirtual), base reg.GPVirtual) {
	offset := g.ptr("offset")
	for half := range 2 {
		var row [8]reg.GPVirtual
		for i := range row {
			row[i] = g.GP64()
			g.MOVQ(mem(offset, 64*half+8*i), row[i])
			g.LEAQ(at(base, row[i], 4, 0), row[i])
		}
		body(half, row)
	}
}

// packPanel
//
//	Y0-Y7 rows in, Y8-Y15 columns out
func (g *gen) packPanel() {
	dst0, src := g.ptr("dst"), g.ptr("src")
	g.halves(func(half int, row [8]reg.GPVirtual) {
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
				g.VMOVUPS(Y(8+c), mem(dst, 64*c+32*half))
			}
		}
		g.SUBQ(I8(8), n)
		g.JL(LabelRef(tail))
		g.Label(block)
		for r := range 8 {
			g.VMOVUPS(at(row[r], i, 4, 0), Y(r))
		}
		store()
		g.ADDQ(I32(512), dst)
		g.ADDQ(I8(8), i)
		g.SUBQ(I8(8), n)
		g.JGE(LabelRef(block))
		g.Label(tail)
		g.ADDQ(I8(8), n)
		g.JZ(LabelRef(done))
		g.tailMask(n, Y(15))
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
	g.halves(func(half int, row [8]reg.GPVirtual) {
		block, tail, done := g.label("block"), g.label("tail"), g.label("done")
		i, n, acc := g.GP64(), g.ptr("dim"), g.ptr("acc")
		g.XORQ(i, i)
		// The inverse of the sums, 0 for 0, in place of the old scales, which are used up.
		const unordered, notEqual = 3, 4
		st := g.ptr("st")
		g.zero(Y(0))
		g.VMOVUPS(mem(st, offSum+32*half), Y(1))
		g.VMOVUPS(g.splat(1), Y(2))
		g.VDIVPS(Y(1), Y(2), Y(2))
		g.VCMPPS(U8(notEqual), Y(0), Y(1), Y(1))
		g.VANDPS(Y(1), Y(2), Y(2))
		g.VMOVUPS(Y(2), mem(st, offOldScale+32*half))
		load := func() {
			st, t := g.ptr("st"), g.GP64()
			g.VMOVUPS(mem(st, offOldScale+32*half), Y(11))
			g.zero(Y(8), Y(9))
			for c := range 8 {
				g.VMOVUPS(mem(acc, 64*c+32*half), Y(c))
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
		g.ADDQ(I32(512), acc)
		g.ADDQ(I8(8), i)
		g.SUBQ(I8(8), n)
		g.JGE(LabelRef(block))
		g.Label(tail)
		g.ADDQ(I8(8), n)
		g.JZ(LabelRef(done))
		load()
		g.tailMask(n, Y(0))
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

// maskTile
//
//	Y0 -Inf, Y1 ones, Y2 and Y3 limits, Y4 and Y5 maxima, Y6 key, Y7-Y8 scratch
func (g *gen) maskTile() {
	s, st, limit, n := g.ptr("s"), g.ptr("st"), g.ptr("limit"), g.ptr("n")
	g.VMOVUPS(g.splat(negInf), Y(0))
	g.VPCMPEQD(Y(1), Y(1), Y(1)) // -1
	g.VPBROADCASTD(g.param("first"), Y(6))
	for h := range 2 {
		g.VMOVUPS(mem(limit, 32*h), Y(2+h))
		g.VMOVUPS(mem(st, offTileMax+32*h), Y(4+h))
	}
	key := g.label("key")
	g.Label(key)
	for h := range 2 {
		g.VPCMPGTD(Y(6), Y(2+h), Y(7)) // limit > key
		g.VBLENDVPS(Y(7), mem(s, 32*h), Y(0), Y(8))
		g.VMOVUPS(Y(8), mem(s, 32*h))
		g.VMAXPS(Y(4+h), Y(8), Y(4+h))
	}
	g.VPSUBD(Y(1), Y(6), Y(6))
	g.ADDQ(I8(64), s)
	g.DECQ(n)
	g.JNZ(LabelRef(key))
	for h := range 2 {
		g.VMOVUPS(Y(4+h), mem(st, offTileMax+32*h))
	}
}

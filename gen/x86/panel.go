package x86

import (
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A panel holds as many queries as two vectors have lanes: [dim][panel]. Rows go in and out by
// transposes of 4 columns by 4 rows in each half of a Y register, with any instruction set: loads
// that insert a half spare the shuffles across halves, and for what is left a Y register has twice
// as many ports as a Z register.
func genPanel(g *gen) {
	g.begin("packPanel", "func(dst, src *float32, offset *[tile.MaxPanel]int, dim int, scale float32)",
		"packPanel transposes rows into a panel, times scale, as [tile.PackPanel].")
	g.packPanel()
	g.end()

	g.begin("finishPanel", "func(dst *float32, offset *[tile.MaxPanel]int, acc *float32, st *tile.Panel, dim int) int64",
		"finishPanel divides a panel by its sums and writes it as rows, as [tile.FinishPanel].",
		"The result is not 0 if it wrote a NaN. The old scales of st are overwritten.")
	g.finishPanel()
	g.end()

	g.begin("hideTile", "func(s *float32, st *tile.Panel, lanes *[tile.Keys]uint32, n int)",
		"hideTile hides keys from the lanes whose bit is not set, as [tile.HideTile].")
	g.hideTile()
	g.end()
}

// row is the number of bytes of a row of a panel.
func (g *gen) row() int { return 4 * g.Panel }

// eights runs body for each group of 8 queries, whose elements begin at 8*part in each row of the
// panel.
func (g *gen) eights(body func(part int, row [8]reg.GPVirtual), base reg.GPVirtual) {
	offset := g.ptr("offset")
	for part := range g.Panel / 8 {
		var row [8]reg.GPVirtual
		for i := range row {
			row[i] = g.GP64()
			g.MOVQ(mem(offset, 64*part+8*i), row[i])
			g.LEAQ(at(base, row[i], 4, 0), row[i])
		}
		body(part, row)
	}
}

// remainder sets mask, a Y or X register, to the mask of the elements of a parameter that whole
// registers of it leave.
func (g *gen) remainder(param string, mask reg.VecPhysical) {
	n := g.ptr(param)
	g.ANDQ(U8(mask.Size()/4-1), n)
	g.vectorMask(n, mask)
}

// packPanel: registers as in columns, Y8 the scale, X11 the mask of the tail.
func (g *gen) packPanel() {
	dst0, src := g.ptr("dst"), g.ptr("src")
	g.VBROADCASTSS(g.param("scale"), Y(8))
	g.remainder("dim", X(11))
	g.eights(func(part int, row [8]reg.GPVirtual) {
		block, tail, done := g.label("block"), g.label("tail"), g.label("done")
		i, n, dst := g.GP64(), g.ptr("dim"), g.GP64()
		g.XORQ(i, i)
		g.MOVQ(dst0, dst)
		store := func(columns int, mask reg.VecPhysical) {
			g.columns(columns, func(r int) Mem { return at(row[r], i, 4, 0) }, mask)
			for c := range columns {
				g.VMULPS(Y(8), Y(c), Y(c))
				g.VMOVUPS(Y(c), mem(dst, g.row()*c+32*part))
			}
		}
		g.SUBQ(I8(4), n)
		g.JL(LabelRef(tail))
		g.loop(block)
		store(4, nil)
		g.ADDQ(I32(4*g.row()), dst)
		g.ADDQ(I8(4), i)
		g.SUBQ(I8(4), n)
		g.JGE(LabelRef(block))
		g.Label(tail)
		g.ADDQ(I8(4), n)
		g.JZ(LabelRef(done))
		store(3, X(11))
		g.Label(done)
	}, src)
}

// finishPanel takes 8 columns of 4 queries at a time.
//
//	Y0-Y7 as in columns: a half of Y4-Y7 is a column in, Y0-Y3 are rows out
//	Y8 inverse sums, Y9 zero, Y10 not 0 where a NaN was, Y11 the mask of the tail
func (g *gen) finishPanel() {
	dst, st := g.ptr("dst"), g.ptr("st")
	g.remainder("dim", Y(11))
	// The inverse of the sums, 0 for 0, in place of the old scales, which are used up.
	g.zero(Y(9), Y(10))
	g.VBROADCASTSS(g.words("unit", math.Float32bits(1)), Y(3))
	for part := range g.Panel / 8 {
		g.VMOVUPS(mem(st, offSum+32*part), Y(1))
		g.VDIVPS(Y(1), Y(3), Y(2))
		g.VCMPPS(U8(notEqual), Y(9), Y(1), Y(1))
		g.VANDPS(Y(1), Y(2), Y(2))
		g.VMOVUPS(Y(2), mem(st, offOldScale+32*part))
	}
	g.eights(func(part int, row [8]reg.GPVirtual) {
		block, tail, odd, done := g.label("block"), g.label("tail"), g.label("odd"), g.label("done")
		i, n, acc := g.GP64(), g.ptr("dim"), g.ptr("acc")
		g.XORQ(i, i)
		rows := func(columns int, store func(y reg.VecPhysical, m Mem)) {
			for four := range 2 {
				lanes := 32*part + 16*four
				g.VBROADCASTF128(mem(st, offOldScale+lanes), Y(8))
				for c := range 4 {
					y := Y(4 + c)
					g.VMOVUPS(mem(acc, g.row()*c+lanes), X(4+c))
					if c+4 < columns {
						g.VINSERTF128(U8(1), mem(acc, g.row()*(c+4)+lanes), y, y)
					}
					g.VFMADD213PS(Y(9), Y(8), y) // + 0 for -0
				}
				for c := 4; c < 8; c += 2 {
					g.VCMPPS(U8(unordered), Y(c), Y(c+1), Y(0))
					g.VORPS(Y(0), Y(10), Y(10))
				}
				g.transpose(4)
				for r := range 4 {
					store(Y(r), at(row[4*four+r], i, 4, 0))
				}
			}
		}
		g.SUBQ(I8(8), n)
		g.JL(LabelRef(tail))
		g.loop(block)
		rows(8, func(y reg.VecPhysical, m Mem) { g.VMOVUPS(y, m) })
		g.ADDQ(I32(8*g.row()), acc)
		g.ADDQ(I8(8), i)
		g.SUBQ(I8(8), n)
		g.JGE(LabelRef(block))
		g.Label(tail)
		g.ADDQ(I8(8), n)
		g.JZ(LabelRef(done))
		g.CMPQ(n, U8(4)) // half a register, which some CPUs store faster than by a mask
		g.JNE(LabelRef(odd))
		rows(4, func(y reg.VecPhysical, m Mem) { g.VMOVUPS(y.AsX(), m) })
		g.JMP(LabelRef(done))
		g.Label(odd)
		rows(7, func(y reg.VecPhysical, m Mem) { g.VMASKMOVPS(y, Y(11), m) })
		g.Label(done)
	}, dst)
	nan := g.GP64()
	g.VMOVMSKPS(Y(10), nan.As32())
	g.MOVQ(nan, g.resultAddr())
}

// columns transposes elements of 8 rows into the first n of the columns Y0-Y3: 4, or 3 with a mask of
// those that are there, which is not one of Y0 and Y4-Y7, the scratch.
func (g *gen) columns(n int, at func(row int) Mem, mask reg.VecPhysical) {
	for i := range 4 { // rows i and i+4 side by side
		if mask != nil {
			g.VMASKMOVPS(at(i), mask, X(4+i))
			g.VMASKMOVPS(at(i+4), mask, X(0))
			g.VINSERTF128(U8(1), X(0), Y(4+i), Y(4+i))
		} else {
			g.VMOVUPS(at(i), X(4+i))
			g.VINSERTF128(U8(1), at(i+4), Y(4+i), Y(4+i))
		}
	}
	g.transpose(n)
}

// transpose turns the 4x4 blocks in both halves of Y4-Y7 into the first n of Y0-Y3, 3 or 4.
func (g *gen) transpose(n int) { g.transposeFours(Y, n) }

// transposeFours turns the 4x4 blocks in all quarters of registers 4-7 into the first n of 0-3, 3 or 4.
func (g *gen) transposeFours(v func(i int) reg.VecPhysical, n int) {
	g.VUNPCKLPS(v(5), v(4), v(0))
	g.VUNPCKHPS(v(5), v(4), v(2))
	g.VUNPCKLPS(v(7), v(6), v(4))
	g.VUNPCKHPS(v(7), v(6), v(5))
	g.VUNPCKHPD(v(4), v(0), v(1))
	g.VUNPCKLPD(v(4), v(0), v(0))
	if n == 4 {
		g.VUNPCKHPD(v(5), v(2), v(3))
	}
	g.VUNPCKLPD(v(5), v(2), v(2))
}

// hideTile: the maxima of a panel stay in registers.
func (g *gen) hideTile() {
	s, st, lanes, n := g.ptr("s"), g.ptr("st"), g.ptr("lanes"), g.ptr("n")
	maxima := g.V
	x, t, hidden := g.V(2), g.V(3), g.V(4)
	for h := range 2 {
		g.VMOVUPS(mem(st, offTileMax+g.w()*h), maxima(h))
	}
	g.VMOVUPS(g.splat(negInf), hidden)
	where := g.whereBits(lanes, hidden, x, t, g.V(5), g.V(6))
	loop := g.label("key")
	g.Label(loop)
	for h := range 2 {
		where(h, mem(s, g.w()*h))
		g.VMOVUPS(x, mem(s, g.w()*h))
		g.VMAXPS(maxima(h), x, maxima(h))
	}
	g.ADDQ(I8(4), lanes)
	g.ADDQ(I32(g.row()), s)
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
	for h := range 2 {
		g.VMOVUPS(maxima(h), mem(st, offTileMax+g.w()*h))
	}
}

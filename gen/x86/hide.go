package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/generic/tile"
)

// Masks: bytes, [query][key], become a bit for each query of a panel, one word a key, or hide the scores of a row. They
// are compared with 0, since a bool may be any byte.
func genHide(g *gen) {
	g.begin("packMask", "func(lanes *[tile.Keys]uint32, mask *bool, offset *[tile.MaxPanel]int, n int) int",
		"packMask packs the mask of a panel, as [tile.PackMask], for 32 keys or more.")
	g.packMask()
	g.end()

	g.begin("hideRow", "func(s *float32, mask *bool, n int) int64",
		"hideRow hides n keys from the scores of one query, as [tile.HideRow]. The result is not 0 if it hid one.")
	g.hideRow()
	g.end()
}

// packMask doubles a byte of each key for every query and adds 1 where it is hidden, so that 8 queries make a plane of
// bytes. Two or four planes are interleaved and inverted at last. A block takes 64 keys of all queries, a line of the
// cache, as rows a power of two apart share few sets; the rest are 32 keys, the last of which overlap those before. Where
// all queries have the same row, its keys become words 8 at a time.
//
//	Y0-Y7 planes of up to 64 keys, Y8-Y11 scratch, Y12 hidden from some query, Y13 from all, Y14 zero, Y15 ones
func (g *gen) packMask() {
	lanes, mask, offset, n := g.ptr("lanes"), g.ptr("mask"), g.ptr("offset"), g.ptr("n")
	planes := g.Panel / 8
	g.zero(Y(12), Y(14))
	g.VPCMPEQD(Y(15), Y(15), Y(15))
	g.VMOVDQA(Y(15), Y(13))
	row := g.GP64()
	block := func(keys int) {
		halves := keys / 32
		for p := range planes {
			for r := 7; r >= 0; r-- {
				g.MOVQ(mem(offset, 64*p+8*r), row)
				for h := range halves {
					plane, t := Y(planes*h+p), Y(8+h)
					g.VPCMPEQB(at(mask, row, 1, 32*h), Y(14), t)
					if r == 7 {
						g.VPSUBB(t, Y(14), plane)
					} else {
						g.VPADDB(plane, plane, plane)
						g.VPSUBB(t, plane, plane)
					}
				}
			}
		}
		for h := range halves {
			plane := func(p int) reg.VecPhysical { return Y(planes*h + p) }
			for p := range planes {
				g.VPOR(plane(p), Y(12), Y(12))
				g.VPAND(plane(p), Y(13), Y(13))
				g.VPXOR(plane(p), Y(15), plane(p))
			}
			for half := range 2 { // bytes of each 16 keys in the low half of a register and 16 in the high one: 8 of them
				low, high := Y(8), Y(14)
				unpack := func(a, b, dst reg.VecPhysical) {
					if half == 0 {
						g.VPUNPCKLBW(b, a, dst)
					} else {
						g.VPUNPCKHBW(b, a, dst)
					}
				}
				unpack(plane(0), plane(1), low)
				if planes == 4 {
					high = Y(9)
					unpack(plane(2), plane(3), high)
				}
				g.VPUNPCKLWD(high, low, Y(10))
				g.VPUNPCKHWD(high, low, Y(11))
				for i := range 2 {
					key := 32*h + 8*half + 4*i
					g.VMOVDQU(X(10+i), mem(lanes, 4*key))
					g.VEXTRACTI128(U8(1), Y(10+i), mem(lanes, 4*(key+16)))
				}
			}
		}
		g.ADDQ(I32(keys), mask)
		g.ADDQ(I32(4*keys), lanes)
	}
	big, small, last, done := g.label("big"), g.label("small"), g.label("last"), g.label("done")
	rows := g.label("rows")
	g.VPBROADCASTQ(mem(offset, 0), Y(0))
	g.VMOVDQA(Y(15), Y(1))
	for i := range g.Panel / 4 {
		g.VPCMPEQQ(mem(offset, 32*i), Y(0), Y(2))
		g.VPAND(Y(2), Y(1), Y(1))
	}
	g.VPTEST(Y(15), Y(1))
	g.JCC(LabelRef(rows))
	g.ADDQ(mem(offset, 0), mask)
	g.packKeys(lanes, mask, n)
	g.JMP(LabelRef(done))

	g.Label(rows)
	g.SUBQ(I32(64), n)
	g.JL(LabelRef(small))
	g.loop(big)
	block(64)
	g.SUBQ(I32(64), n)
	g.JGE(LabelRef(big))
	g.Label(small)
	g.ADDQ(I32(64), n)
	g.JZ(LabelRef(done))
	again := g.label("again")
	g.Label(again)
	g.SUBQ(I32(32), n)
	g.JGE(LabelRef(last))
	// n - 32 keys behind the last 32: back by as many.
	g.ADDQ(n, mask)
	g.LEAQ(at(lanes, n, 4, 0), lanes)
	g.XORQ(n, n)
	g.Label(last)
	block(32)
	g.TESTQ(n, n)
	g.JNZ(LabelRef(again))
	g.Label(done)

	seen, some := g.GP64(), g.label("some")
	g.MOVQ(U32(tile.SeenAll), seen)
	g.VPTEST(Y(12), Y(12))
	g.JZ(LabelRef(some))
	g.MOVQ(U32(tile.SeenNone), seen)
	g.VPTEST(Y(15), Y(13))
	g.JC(LabelRef(some))
	g.MOVQ(U32(tile.SeenSome), seen)
	g.Label(some)
	g.MOVQ(seen, g.resultAddr())
}

// packKeys packs n keys, 8 or more, of a mask that all queries have, with the registers of packMask.
func (g *gen) packKeys(lanes, mask, n reg.GPVirtual) {
	eight := func() {
		g.VPMOVZXBD(mem(mask, 0), Y(0))
		g.VPCMPEQD(Y(14), Y(0), Y(0))
		g.VPOR(Y(0), Y(12), Y(12))
		g.VPAND(Y(0), Y(13), Y(13))
		g.VPXOR(Y(0), Y(15), Y(0))
		if g.Panel < 32 {
			g.VPSRLD(U8(32-g.Panel), Y(0), Y(0))
		}
		g.VMOVDQU(Y(0), mem(lanes, 0))
	}
	eights, end := g.label("eights"), g.label("end")
	g.SUBQ(I8(8), n)
	g.loop(eights)
	eight()
	g.ADDQ(I8(8), mask)
	g.ADDQ(I8(32), lanes)
	g.SUBQ(I8(8), n)
	g.JGE(LabelRef(eights))
	g.CMPQ(n, I32(-8))
	g.JE(LabelRef(end))
	g.ADDQ(n, mask)
	g.LEAQ(at(lanes, n, 4, 0), lanes)
	eight()
	g.Label(end)
}

// hideRow: V0 the mask, V1 scores, V2 -Inf, V3 zero, V4 scratch. The last vector overlaps the one before.
func (g *gen) hideRow() {
	s, mask, n, bits := g.ptr("s"), g.ptr("mask"), g.ptr("n"), g.GP64()
	g.XORQ(bits, bits)
	g.VMOVUPS(g.splat(negInf), g.V(2))
	g.zero(g.V(3))
	one := func() {
		g.VPMOVZXBD(mem(mask, 0), g.V(0))
		g.VMOVUPS(mem(s, 0), g.V(1))
		g.setWhereZero(g.V(1), g.V(2), g.V(0), g.V(3), g.V(4), bits)
		g.VMOVUPS(g.V(1), mem(s, 0))
	}
	vec, few, scalar, seen, done := g.label("vec"), g.label("few"), g.label("scalar"), g.label("seen"), g.label("done")
	g.SUBQ(I32(g.lanes), n)
	g.JL(LabelRef(few))
	g.loop(vec)
	one()
	g.ADDQ(I32(g.lanes), mask)
	g.ADDQ(I32(g.w()), s)
	g.SUBQ(I32(g.lanes), n)
	g.JGE(LabelRef(vec))
	g.CMPQ(n, I32(-g.lanes))
	g.JE(LabelRef(done))
	g.ADDQ(n, mask)
	g.LEAQ(at(s, n, 4, 0), s)
	one()
	g.JMP(LabelRef(done))
	g.Label(few)
	g.ADDQ(I32(g.lanes), n)
	g.Label(scalar)
	g.CMPB(mem(mask, 0), U8(0))
	g.JNE(LabelRef(seen))
	g.MOVL(U32(0xff800000), mem(s, 0))
	g.MOVQ(U32(1), bits)
	g.Label(seen)
	g.INCQ(mask)
	g.ADDQ(I32(4), s)
	g.DECQ(n)
	g.JNZ(LabelRef(scalar))
	g.Label(done)
	g.MOVQ(bits, g.resultAddr())
}

package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Rotations are bound by loads and stores. A call takes many rows, as a row is a few vectors only. Tails are
// shorter vectors and single pairs rather than masked: a masked store is slow with AVX2, and with AVX-512 what
// it leaves out is not forwarded to the load of what comes next, the other half or the next row.
func genRotary(g *gen) {
	const signature = "func(x, cos, sin *float32, rows, cols, xStride, cosStride, sinStride int)"
	g.begin("rotaryHalves", signature,
		"rotaryHalves rotates the pairs (c, cols+c) of rows of x, as [tile.Rotary].")
	g.rotaryHalves()
	g.end()

	g.begin("rotaryPairs", signature,
		"rotaryPairs rotates the pairs (2*c, 2*c+1) of rows of x, as [tile.Rotary].")
	g.rotaryPairs()
	g.end()
}

// rotaryRows runs step for each row of as many pairs of each of the sizes as there are, until all are done; c
// is the offset of their cosines and sines in bytes. xs are pointers into a row of x.
func (g *gen) rotaryRows(xs []reg.GPVirtual, cos, sin reg.GPVirtual, sizes []int, step func(c reg.GPVirtual, size int)) {
	xStride, cosStride, sinStride := g.elems("xStride"), g.elems("cosStride"), g.elems("sinStride")
	cols, c, n := g.ptr("cols"), g.GP64(), g.GP64()
	row, next := g.label("row"), g.label("next")
	g.Label(row)
	g.XORQ(c, c)
	g.MOVQ(cols, n)
	for _, size := range sizes {
		some, fewer := g.label("some"), g.label("fewer")
		g.SUBQ(I8(size), n)
		g.JL(LabelRef(fewer))
		g.loop(some)
		step(c, size)
		g.ADDQ(I8(4*size), c)
		g.SUBQ(I8(size), n)
		g.JGE(LabelRef(some))
		g.Label(fewer)
		if size > 1 {
			g.ADDQ(I8(size), n)
			g.JZ(LabelRef(next))
		}
	}
	g.Label(next)
	for _, x := range xs {
		g.ADDQ(xStride, x)
	}
	g.ADDQ(cosStride, cos)
	g.ADDQ(sinStride, sin)
	g.DECQ(g.param("rows"))
	g.JNZ(LabelRef(row))
}

// rotaryHalves: the halves of a row are vectors of their own.
//
//	V0 and V1 x0 and x1, V2 cosines, V3 sines, V4 and V5 products
func (g *gen) rotaryHalves() {
	x0, cos, sin := g.ptr("x"), g.ptr("cos"), g.ptr("sin")
	x1 := g.elems("cols")
	g.ADDQ(x0, x1)
	g.rotaryRows([]reg.GPVirtual{x0, x1}, cos, sin, []int{g.lanes, 4, 1}, func(c reg.GPVirtual, size int) {
		v, move := g.V, g.VMOVUPS
		if size < g.lanes {
			v = X
		}
		if size == 1 {
			move = g.VMOVSS
		}
		for i, p := range []reg.GPVirtual{x0, x1, cos, sin} {
			move(at(p, c, 1, 0), v(i))
		}
		g.VMULPS(v(3), v(1), v(4))
		g.VMULPS(v(3), v(0), v(5))
		g.VFMSUB213PS(v(4), v(2), v(0))
		g.VFMADD213PS(v(5), v(2), v(1))
		move(v(0), at(x0, c, 1, 0))
		move(v(1), at(x1, c, 1, 0))
	})
}

// rotaryPairs: x0 and x1 are neighbours in a vector, which VFMADDSUB subtracts from and adds to.
//
//	V0 pairs, V1 the same swapped, V2 cosines, V3 sines, each twice, V4 the order that doubles them
func (g *gen) rotaryPairs() {
	x, cos, sin := g.ptr("x"), g.ptr("cos"), g.ptr("sin")
	g.VMOVUPS(g.words("doubled", 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), g.V(4))
	sizes := []int{4, 1}
	if g.avx512() {
		sizes = []int{8, 4, 1}
	}
	g.rotaryRows([]reg.GPVirtual{x}, cos, sin, sizes, func(c reg.GPVirtual, size int) {
		pairs := at(x, c, 2, 0)
		var v func(int) reg.VecPhysical
		var double func(m Mem, i int)
		switch size {
		case 8:
			v = g.V
			double = func(m Mem, i int) {
				g.VMOVUPS(m, Y(i))
				g.VPERMPS(v(i), v(4), v(i))
			}
		case 4: // of one of two copies each, by the low bits of the order
			v = Y
			double = func(m Mem, i int) {
				g.VBROADCASTF128(m, v(i))
				g.VPERMILPS(v(4), v(i), v(i))
			}
		case 1:
			v = X
			double = func(m Mem, i int) { g.VBROADCASTSS(m, v(i)) }
		}
		if size == 1 {
			g.VMOVSD(pairs, v(0))
		} else {
			g.VMOVUPS(pairs, v(0))
		}
		double(at(cos, c, 1, 0), 2)
		double(at(sin, c, 1, 0), 3)
		g.VPERMILPS(U8(0b10_11_00_01), v(0), v(1))
		g.VMULPS(v(3), v(1), v(1))
		g.VFMADDSUB213PS(v(1), v(2), v(0))
		if size == 1 {
			g.VMOVSD(v(0), pairs)
		} else {
			g.VMOVUPS(v(0), pairs)
		}
	})
}

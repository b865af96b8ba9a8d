package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Values are mixed as a matrix product too: elements of V are broadcast in place, the weights are
// [key][panel], the result is [column][panel]. The finish merges the tile into the columns so far.
func genValue(g *gen) {
	g.begin("valueTile", "func(acc, p, v *float32, st *tile.Panel, n, upper, stride, small, big, rest int, ahead *float32, rows, width, wrap, left int)",
		"valueTile mixes the columns of small, big and rest tiles of n values by the weights of a",
		"panel of queries, and upper values more by those of its second half, and merges them into acc,",
		"as [tile.ValueTile]. The last parameters are those of readAhead.")
	acc, p0, v0, st, n, stride := g.ptr("acc"), g.ptr("p"), g.ptr("v"), g.ptr("st"), g.ptr("n"), g.elems("stride")
	newScale := g.spare // of each half; AVX-512 has registers to keep them
	if g.avx512() {
		newScale = func(h int) reg.VecPhysical { return g.V(30 + h) }
	}
	loadNewScale := func() {
		for h := range 2 {
			g.VMOVUPS(mem(st, offNewScale+g.w()*h), newScale(h))
		}
	}
	if g.avx512() {
		loadNewScale()
	}
	p, v, stride3 := g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(at(stride, stride, 2, 0), stride3)
	tiles := &gemm{
		gen:   g,
		k:     n,
		upper: g.param("upper"),
		load:  func(step, half int) Mem { return mem(p, g.row()*step+g.w()*half) },
		scalar: func(col, step int) Mem {
			switch step {
			case 0:
				return mem(v, 4*col)
			case 3:
				return at(v, stride3, 1, 4*col)
			}
			return at(v, stride, uint8(step), 4*col)
		},
		start: func(cols int) {
			g.clear(2 * cols)
			g.MOVQ(p0, p)
			g.MOVQ(v0, v)
		},
		next: func(_, steps int) {
			g.ADDQ(I32(g.row()*steps), p)
			g.advance(v, stride, steps)
			g.readAhead(steps)
		},
		settle: func() {
			if !g.avx512() {
				loadNewScale()
			}
		},
		finish: func(col int) {
			// o*b + acc; where a maximum has grown o*b + acc*a; in the first tile o*b + 0.
			other, first, store := g.label("other"), g.label("first"), g.label("store")
			g.CMPL(mem(st, offMode), U8(mergeRescale))
			g.JAE(LabelRef(other))
			for h := range 2 {
				g.VFMADD213PS(mem(acc, g.row()*col+g.w()*h), newScale(h), g.V(2*col+h))
			}
			g.JMP(LabelRef(store))
			g.Label(other)
			g.JNE(LabelRef(first))
			for h := range 2 {
				g.VMOVUPS(mem(acc, g.row()*col+g.w()*h), g.spare(2+h))
				g.VMULPS(mem(st, offOldScale+g.w()*h), g.spare(2+h), g.spare(2+h))
				g.VFMADD213PS(g.spare(2+h), newScale(h), g.V(2*col+h))
			}
			g.JMP(LabelRef(store))
			g.Label(first)
			g.zero(g.spare(2))
			for h := range 2 {
				g.VFMADD213PS(g.spare(2), newScale(h), g.V(2*col+h))
			}
			g.Label(store)
			for h := range 2 {
				g.VMOVUPS(g.V(2*col+h), mem(acc, g.row()*col+g.w()*h))
			}
		},
	}
	group := func(cols int) {
		tiles.tile(cols)
		g.ADDQ(I8(4*cols), v0)
		g.ADDQ(I32(g.row()*cols), acc)
	}
	g.groups(group)
	g.end()
}

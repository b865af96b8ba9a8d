package main

import . "github.com/mmcloughlin/avo/operand"

// Values are mixed as a matrix product too: elements of V are broadcast in
// place, the weights are [key][16], the result is [column][16]. The finish merges
// the tile into the columns so far.
func genValue(g *gen) {
	g.begin("valueTile", "func(acc, p, v, st *float32, n, stride, fives, sixes, rest int)",
		"valueTile mixes 5*fives + 6*sixes + rest columns of n values by the",
		"weights of 16 queries and merges them into acc, as [generic.ValueTile].")
	acc, p0, v0, st, n, stride := g.ptr("acc"), g.ptr("p"), g.ptr("v"), g.ptr("st"), g.ptr("n"), g.elems("stride")
	p, v, stride3 := g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(at(stride, stride, 2, 0), stride3)
	tiles := &gemm{
		gen:  g,
		k:    n,
		load: func(step, half int) Mem { return mem(p, 64*step+32*half) },
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
			g.clear(cols)
			g.MOVQ(p0, p)
			g.MOVQ(v0, v)
		},
		next: func(_, steps int) {
			g.ADDQ(I32(64*steps), p)
			g.advance(v, stride, steps)
		},
		finish: func(col int) {
			// o*b + acc, or where a maximum has grown o*b + acc*a.
			grown, store := g.label("grown"), g.label("store")
			for h := range 2 {
				g.VMOVUPS(mem(st, offNewScale+32*h), Y(12+h))
			}
			g.CMPL(mem(st, offGrown), U8(0))
			g.JNE(LabelRef(grown))
			for h := range 2 {
				g.VFMADD213PS(mem(acc, 64*col+32*h), Y(12+h), Y(2*col+h))
			}
			g.JMP(LabelRef(store))
			g.Label(grown)
			for h := range 2 {
				g.VMOVUPS(mem(acc, 64*col+32*h), Y(14+h))
				g.VMULPS(mem(st, offOldScale+32*h), Y(14+h), Y(14+h))
				g.VFMADD213PS(Y(14+h), Y(12+h), Y(2*col+h))
			}
			g.Label(store)
			for h := range 2 {
				g.VMOVUPS(Y(2*col+h), mem(acc, 64*col+32*h))
			}
		},
	}
	group := func(cols int) {
		tiles.tile(cols)
		g.ADDQ(I8(4*cols), v0)
		g.ADDQ(I32(64*cols), acc)
	}
	g.groups(group)
	g.end()
}

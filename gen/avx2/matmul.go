package main

import . "github.com/mmcloughlin/avo/operand"

// The matrix product broadcasts the rows of A in place; B is packed in panels of
// 16 columns. With add the accumulators start from C, which continues the
// chains over blocks of k.
func genMatMul(g *gen) {
	g.begin("matMulTile", "func(c *float32, ldc int, a *float32, lda int, b *float32, k, add, fives, sixes, rest int)",
		"matMulTile computes 16 columns of 5*fives + 6*sixes + rest rows of a product,",
		"as [generic.MatMulTile].")
	c0, a0, b0, k := g.ptr("c"), g.ptr("a"), g.ptr("b"), g.ptr("k")
	b := g.GP64()
	a := rowPointers{g.GP64(), g.GP64(), g.elems("lda")}
	c := rowPointers{c0, g.GP64(), g.elems("ldc")}
	tiles := &gemm{
		gen:    g,
		k:      k,
		load:   func(step, half int) Mem { return mem(b, 64*step+32*half) },
		scalar: func(row, step int) Mem { return a.at(row, 4*step) },
		start: func(rows int) {
			g.MOVQ(b0, b)
			g.point(a, a0, rows)
			g.point(c, c0, rows)
			zero, set := g.label("zero"), g.label("set")
			g.CMPQ(g.param("add"), U8(0))
			g.JE(LabelRef(zero))
			for i := range 2 * rows {
				g.VMOVUPS(c.at(i/2, 32*(i%2)), Y(i))
			}
			g.JMP(LabelRef(set))
			g.Label(zero)
			g.clear(rows)
			g.Label(set)
			// The next tile of C comes from far away.
			far := g.GP64()
			g.MOVQ(c0, far)
			g.advance(far, c.stride, rows)
			for range rows {
				g.PREFETCHT0(mem(far, 0))
				g.ADDQ(c.stride, far)
			}
		},
		next: func(rows, steps int) {
			g.ADDQ(I32(64*steps), b)
			g.shift(a, rows, 4*steps)
		},
		finish: func(row int) {
			for h := range 2 {
				g.VMOVUPS(Y(2*row+h), c.at(row, 32*h))
			}
		},
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		g.advance(a0, a.stride, rows)
		g.advance(c0, c.stride, rows)
	})
	g.end()
}

package x86

import . "github.com/mmcloughlin/avo/operand"

// The matrix product broadcasts the rows of A in place; B is packed in panels of two vectors of
// columns. With add the accumulators start from C, which continues the chains over blocks of k.
func genMatMul(g *gen) {
	g.begin("matMulTile", "func(c *float32, ldc int, a *float32, lda int, b *float32, k, add, small, big, rest int)",
		"matMulTile computes the columns of a panel for the rows of small, big and rest tiles of a",
		"product, as [tile.MatMulTile].")
	c0, a0, b0, k := g.ptr("c"), g.ptr("a"), g.ptr("b"), g.ptr("k")
	b, c, ldc := g.GP64(), g.GP64(), g.elems("ldc")
	a := g.rowPointers(g.elems("lda"))
	tiles := &gemm{
		gen:    g,
		k:      k,
		load:   func(step, half int) Mem { return mem(b, g.row()*step+g.w()*half) },
		scalar: func(row, step int) Mem { return a.at(row, 4*step) },
		start: func(rows int) {
			g.MOVQ(b0, b)
			g.point(a, a0, rows)
			// The next tile of C comes from far away.
			next := g.GP64()
			g.MOVQ(c0, next)
			g.advance(next, ldc, rows)
			for range rows {
				for line := 0; line < g.row(); line += 64 {
					g.PREFETCHT0(mem(next, line))
				}
				g.ADDQ(ldc, next)
			}
			zero, set := g.label("zero"), g.label("set")
			g.CMPQ(g.param("add"), U8(0))
			g.JE(LabelRef(zero))
			g.MOVQ(c0, c)
			for r := range rows {
				for h := range 2 {
					g.VMOVUPS(mem(c, g.w()*h), g.V(2*r+h))
				}
				g.ADDQ(ldc, c)
			}
			g.JMP(LabelRef(set))
			g.Label(zero)
			g.clear(2 * rows)
			g.Label(set)
			g.MOVQ(c0, c)
		},
		next: func(rows, steps int) {
			g.ADDQ(I32(g.row()*steps), b)
			g.shift(a, rows, 4*steps)
		},
		finish: func(row int) {
			for h := range 2 {
				g.VMOVUPS(g.V(2*row+h), mem(c, g.w()*h))
			}
			g.ADDQ(ldc, c)
		},
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		g.advance(a0, a.stride, rows)
		g.MOVQ(c, c0)
	})
	g.end()
}

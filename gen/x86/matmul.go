package x86

import . "github.com/mmcloughlin/avo/operand"

// The matrix product broadcasts the rows of A in place; B is packed in panels of two vectors of
// columns. Tiles are of any height up to Big rows: the rows of a block are dealt out evenly, so that
// no tile is left with a few of them.
//
// While the first tile reads the panel, it prefetches what lies ahead of it into L2, line by line.
func genMatMul(g *gen) {
	g.begin("matMulTile", "func(c *float32, ldc int, a *float32, lda int, b *float32, k int, start *float32, lds, add, ahead, height, higher, tiles int)",
		"matMulTile computes the columns of a panel for tiles of height rows of a product, the first higher ones",
		"of one row more, as [tile.MatMulTile]. While it reads b, it prefetches what lies ahead bytes further on.")
	c0, a0, k, ahead := g.ptr("c"), g.ptr("a"), g.ptr("k"), g.ptr("ahead")
	b, c, ldc := g.GP64(), g.GP64(), g.elems("ldc")
	a := g.rowPointers(g.elems("lda"))
	fetch := func(from, to int) { // the lines of these steps
		for line := g.row() * from; line < g.row()*to; line += 64 {
			g.PREFETCHT1(at(b, ahead, 1, line))
		}
	}
	tiles := &gemm{
		gen:    g,
		k:      k,
		load:   func(step, half int) Mem { return mem(b, g.row()*step+g.w()*half) },
		scalar: func(row, step int) Mem { return a.at(row, 4*step) },
		start: func(rows int) {
			g.MOVQ(g.param("b"), b)
			fetch(0, 4)
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
			g.MOVQ(g.param("start"), next)
			g.TESTQ(next, next)
			g.JZ(LabelRef(zero))
			lds := g.elems("lds")
			for r := range rows {
				for h := range 2 {
					g.VMOVUPS(mem(next, g.w()*h), g.V(2*r+h))
				}
				g.ADDQ(lds, next)
			}
			g.MOVQ(next, g.param("start"))
			g.JMP(LabelRef(set))
			g.Label(zero)
			g.clear(2 * rows)
			g.Label(set)
			g.MOVQ(c0, c)
		},
		next: func(rows, steps int) {
			g.ADDQ(I32(g.row()*steps), b)
			fetch(4-steps, 4)
			g.shift(a, rows, 4*steps)
		},
		finish: func(row int) {
			set := g.label("set")
			g.CMPQ(g.param("add"), U8(0))
			g.JE(LabelRef(set))
			for h := range 2 {
				g.VADDPS(mem(c, g.w()*h), g.V(2*row+h), g.V(2*row+h))
			}
			g.Label(set)
			for h := range 2 {
				g.VMOVUPS(g.V(2*row+h), mem(c, g.w()*h))
			}
			g.ADDQ(ldc, c)
		},
	}
	tile, even := g.label("tile"), g.label("even")
	height := g.GP64()
	g.Label(tile)
	g.MOVQ(g.param("height"), height)
	g.CMPQ(g.param("higher"), U8(0))
	g.JE(LabelRef(even))
	g.INCQ(height)
	g.DECQ(g.param("higher"))
	g.Label(even)
	end := g.label("end")
	for rows := g.Big; rows > 0; rows-- {
		next := g.label("next")
		if rows > 1 {
			g.CMPQ(height, U8(rows))
			g.JNE(LabelRef(next))
		}
		tiles.tile(rows)
		g.advance(a0, a.stride, rows)
		if rows > 1 {
			g.JMP(LabelRef(end))
		}
		g.Label(next)
	}
	g.Label(end)
	g.MOVQ(c, c0)
	g.XORQ(ahead, ahead)
	g.DECQ(g.param("tiles"))
	g.JNZ(LabelRef(tile))
	g.end()
}

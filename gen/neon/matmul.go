package main

// The matrix product takes the elements of A from its rows in place; B is packed in panels of
// four vectors of columns. With add the accumulators start from C, which continues the
// chains over blocks of k.
func genMatMul(g *gen) {
	g.Begin("matMulTile", "func(c *float32, ldc int, a *float32, lda int, b *float32, k, add, small, big, rest int)",
		"matMulTile computes the columns of a panel for the rows of small, big and rest tiles of a",
		"product, as [tile.MatMulTile].")
	c0, b0, k, add := g.Param("c"), g.Param("b"), g.Param("k"), g.Param("add")
	ldc := g.elems("ldc")
	a := g.rows(g.Param("a"), g.elems("lda"))
	c := g.X()
	tiles := &gemm{
		gen: g, k: k, panel: g.X(), singles: g.X(), fours: g.X(),
		elements: a.elements, element: a.element, next: a.next,
	}
	tiles.start = func(rows int) {
		g.MOV(tiles.panel, b0)
		a.point(rows)
		zero, set := g.NewLabel("zero"), g.NewLabel("set")
		g.CBZ(add, zero)
		g.MOV(c, c0)
		for r := range rows {
			g.load(grid(acc(r), 4), c, 0)
			g.ADD(c, c, ldc)
		}
		g.B(set)
		g.Label(zero)
		g.clear(grid(0, 4*rows))
		g.Label(set)
	}
	tiles.finish = func(rows int) {
		for r := range rows {
			g.store(grid(acc(r), 4), c0, 0)
			g.ADD(c0, c0, ldc)
		}
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		a.advance(rows)
	})
	g.RET()
}

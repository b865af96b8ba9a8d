package main

// The matrix product takes the elements of A from its rows in place; B is packed in panels of
// four vectors of columns. Tiles are of any height up to big rows: the rows of a block are dealt out
// evenly, so that no tile is left with a few of them.
//
// While the first tile reads the panel, it prefetches what lies ahead of it into L2, line by line.
func genMatMul(g *gen) {
	g.Begin("matMulTile", "func(c *float32, ldc int, a *float32, lda int, b *float32, k int, start *float32, lds, add, distance, height, higher, tiles int)",
		"matMulTile computes the columns of a panel for tiles of height rows of a product, the first higher ones",
		"of one row more, as [tile.MatMulTile]. While it reads b, it prefetches what lies the distance, in bytes, further on.")
	c0, k, s, distance := g.Param("c"), g.Param("k"), g.Param("start"), g.Param("distance")
	ldc := g.elems("ldc")
	a := g.rows(g.Param("a"), g.elems("lda"))
	higher, count := g.Param("higher"), g.Param("tiles")
	t := g.X()
	tiles := &gemm{
		gen: g, k: k, panel: g.X(), singles: g.X(), fours: g.X(),
		elements: a.elements, element: a.element,
	}
	tiles.next = func(rows, steps int) {
		a.next(rows, steps)
		g.ADD(t, tiles.panel, distance)
		for step := range steps {
			g.Prefetch(mem(t, 4*panel*step))
		}
	}
	tiles.start = func(rows int) {
		g.ParamTo(tiles.panel, "b")
		a.point(rows)
		zero, set := g.NewLabel("zero"), g.NewLabel("set")
		g.CBZ(s, zero)
		g.ParamTo(t, "lds")
		g.LSL(t, t, 2)
		for r := range rows {
			g.load(grid(acc(r), 4), s, 0)
			g.ADD(s, s, t)
		}
		g.B(set)
		g.Label(zero)
		g.clear(grid(0, 4*rows))
		g.Label(set)
	}
	tiles.finish = func(rows int) {
		g.ParamTo(t, "add")
		for r := range rows {
			set := g.NewLabel("set")
			g.CBZ(t, set)
			g.load(grid(24, 4), c0, 0)
			g.Add(grid(acc(r), 4), grid(24, 4), grid(acc(r), 4))
			g.Label(set)
			g.store(grid(acc(r), 4), c0, 0)
			g.ADD(c0, c0, ldc)
		}
	}
	g.Blocks(count, 1, func() {
		even, end := g.NewLabel("even"), g.NewLabel("end")
		g.ParamTo(t, "height")
		g.CBZ(higher, even)
		g.ADDI(t, t, 1)
		g.SUBS(higher, higher, 1)
		g.Label(even)
		for rows := big; rows > 0; rows-- {
			next := g.NewLabel("next")
			if rows > 1 {
				g.CMP(t, rows)
				g.BNE(next)
			}
			tiles.tile(rows)
			a.advance(rows)
			if rows > 1 {
				g.B(end)
			}
			g.Label(next)
		}
		g.Label(end)
		g.MOVI(distance, 0)
	})
	g.RET()

	g.Begin("dequantizePanel", "func(dst *float32, src *int8, scale *float32, rows int)",
		"dequantizePanel converts a panel of so many rows, each column of which has a scale, as [tile.DequantizeInt8].")
	dst, src, n := g.Param("dst"), g.Param("src"), g.Param("rows")
	scales, v := g.group(4), g.group(4)
	g.load(scales, g.Param("scale"), 0)
	int8s := storedTypes[len(storedTypes)-1]
	g.Blocks(n, 1, func() {
		for i := range v {
			int8s.load(g, v[i], mem(src, 4*i))
		}
		each(g.FMUL, v, v, scales)
		g.store(v, dst, 0)
		g.ADDI(src, src, panel)
		g.ADDI(dst, dst, 4*panel)
	})
	g.RET()
}

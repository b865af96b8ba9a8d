package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/vector"
)

// The gradient is five matrix products, on weights and their gradients that are [key][query]: what gen/x86 says of
// them holds here. Columns of a transpose are taken in pieces, as those of values are.
func genGradient(g *gen) {
	g.Begin("gradWeight", "func(p *float32, stride int, s *float32, max, inverse *[tile.MaxPanel]float32, n int)",
		"gradWeight turns the scores of n keys for a panel into weights, as [tile.GradWeight]. The stride is in bytes.")
	g.gradWeight()
	g.RET()

	g.Begin("gradTile", "func(ds, p *float32, apart int, do *float32, start *[tile.MaxPanel]float32, v *float32, dim, stride, small, big, rest int)",
		"gradTile computes the gradients of the scores of a panel with the values of small, big and rest tiles, as",
		"[tile.GradTile]. Rows of ds and of p are so many bytes apart.")
	g.gradTile()
	g.RET()

	g.Begin("gradDrop", "func(ds, p *float32, stride int, start *[tile.MaxPanel]float32, lanes *[tile.Keys]uint32, n int)",
		"gradDrop sets gradients of n keys whose weight is dropped, as [tile.GradDrop]. The stride is in bytes.")
	g.gradDrop()
	g.RET()

	g.Begin("gradCap", "func(ds *float32, stride int, s *float32, n int, inverse float32)",
		"gradCap multiplies gradients by the slopes of a cap, as [tile.GradCap]. The stride is in bytes.")
	g.gradCap()
	g.RET()

	g.Begin("clearTile", "func(x *float32, stride int, lanes *[tile.Keys]uint32, n int)",
		"clearTile clears the lanes of n rows whose bit is not set, as [tile.ClearTile]. The stride is in bytes.")
	g.clearTile()
	g.RET()

	g.Begin("rowsTile", "func(c *float32, apart int, a *float32, lda int, b *float32, ldb, k, small, big, rest int, ahead *float32, rows, width, wrap int)",
		"rowsTile adds a product of small, big and rest tiles of rows to a panel of columns, as [tile.RowsTile]. Rows of c are so",
		"many bytes apart. The last parameters are those of ahead.")
	a, ahead := g.rows(g.Param("a"), g.elems("lda")), g.ahead()
	g.addProduct(&gemm{elements: a.elements, element: a.element, next: func(rows, steps int) {
		a.next(rows, steps)
		ahead.read(steps)
	}}, a.point, a.advance)
	g.RET()

	g.Begin("colsTile", "func(c *float32, apart int, a *float32, lda int, b *float32, ldb, k, small, big, rest int)",
		"colsTile adds a product with a transpose, of small, big and rest tiles of rows, to a panel of columns,",
		"as [tile.ColsTile]. Rows of c are so many bytes apart.")
	cols := g.columns(g.Param("a"), g.elems("lda"))
	g.addProduct(&gemm{elements: cols.elements, element: cols.element, next: func(int, int) {}}, cols.point, cols.advance)
	g.RET()
}

func (g *gen) gradWeight() {
	p, stride, s, max0, inverse0, n := g.Param("p"), g.Param("stride"), g.Param("s"), g.Param("max"), g.Param("inverse"), g.Param("n")
	max, inverse := g.group(4), g.group(4)
	g.load(max, max0, 0)
	g.load(inverse, inverse0, 0)
	g.Blocks(n, 1, func() {
		x := g.group(4)
		g.load(x, s, 0)
		g.Sub(x, max, x)
		vector.Exp2Neg(g, x, g.group(4), g.group(4))
		g.Mul(x, x, inverse)
		g.store(x, p, 0)
		g.ADDI(s, s, 4*panel)
		g.ADD(p, p, stride)
	})
}

func (g *gen) gradTile() {
	ds, p, apart, do, start := g.Param("ds"), g.Param("p"), g.Param("apart"), g.Param("do"), g.Param("start")
	v := g.rows(g.Param("v"), g.elems("stride"))
	tiles := &gemm{
		gen: g, k: g.Param("dim"), panel: g.X(), singles: g.X(), fours: g.X(),
		elements: v.elements, element: v.element, next: v.next,
	}
	tiles.start = func(rows int) {
		for r := range rows {
			g.load(grid(acc(r), 4), start, 0)
		}
		g.MOV(tiles.panel, do)
		v.point(rows)
	}
	tiles.finish = func(rows int) {
		for r := range rows {
			g.load(grid(24, 4), p, 0)
			g.Mul(grid(acc(r), 4), grid(acc(r), 4), grid(24, 4))
			g.store(grid(acc(r), 4), ds, 0)
			g.ADD(p, p, apart)
			g.ADD(ds, ds, apart)
		}
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		v.advance(rows)
	})
}

func (g *gen) gradCap() {
	ds, stride, s, n, inverse := g.Param("ds"), g.Param("stride"), g.Param("s"), g.Param("n"), g.ParamFloat("inverse")
	one := g.splat(1)
	g.Blocks(n, 1, func() {
		g.load(grid(0, 4), s, 0)
		g.load(grid(4, 4), ds, 0)
		for i := range a64.V(4) {
			g.FMUL(i, i, inverse)
			g.ORRV(8+i, one, one)
			g.FMLS(8+i, i, i)
			g.FMUL(4+i, 4+i, 8+i)
		}
		g.store(grid(4, 4), ds, 0)
		g.ADDI(s, s, 4*panel)
		g.ADD(ds, ds, stride)
	})
}

// gradDrop: V20-V23 the start.
func (g *gen) gradDrop() {
	ds, p, stride, start, lanes, n := g.Param("ds"), g.Param("p"), g.Param("stride"), g.Param("start"), g.Param("lanes"), g.Param("n")
	g.load(grid(20, 4), start, 0)
	seen := g.seenLanes(lanes)
	g.Blocks(n, 1, func() {
		g.load(grid(0, 4), ds, 0)
		g.load(grid(4, 4), p, 0)
		g.Mul(grid(4, 4), grid(4, 4), grid(20, 4))
		seen(func(i, mask a64.V) { g.BIF(i, 4+i, mask) })
		g.store(grid(0, 4), ds, 0)
		g.ADD(ds, ds, stride)
		g.ADD(p, p, stride)
	})
}

func (g *gen) clearTile() {
	x, stride, lanes, n := g.Param("x"), g.Param("stride"), g.Param("lanes"), g.Param("n")
	seen := g.seenLanes(lanes)
	g.Blocks(n, 1, func() {
		g.load(grid(0, 4), x, 0)
		seen(func(i, mask a64.V) { g.ANDV(i, i, mask) })
		g.store(grid(0, 4), x, 0)
		g.ADD(x, x, stride)
	})
}

// laneBits loads the bit of each lane of a panel into V16-V19.
func (g *gen) laneBits() {
	var bits []uint32
	for lane := range panel {
		bits = append(bits, 1<<lane)
	}
	table := g.X()
	g.Table("bits", bits...)
	g.Address(table, "bits")
	g.load(grid(16, 4), table, 0)
}

// seenLanes returns a function that calls f for each vector of a panel, with the lanes whose bit of the next word is set.
func (g *gen) seenLanes(lanes a64.X) func(f func(i, mask a64.V)) {
	g.laneBits()
	word, mask, seen := g.X(), g.V(), g.V()
	return func(f func(i, mask a64.V)) {
		g.LDRW(word, mem(lanes, 0))
		g.DUPX(seen, word)
		for i := range a64.V(4) {
			g.CMTST(mask, 16+i, seen)
			f(i, mask)
		}
		g.ADDI(lanes, lanes, 4)
	}
}

// addProduct adds a product of a, which point and advance go through, to columns of c.
func (g *gen) addProduct(tiles *gemm, point func(rows int), advance func(rows int)) {
	c, b, apart := g.Param("c"), g.Param("b"), g.Param("apart")
	tiles.gen, tiles.k, tiles.panel, tiles.stride = g, g.Param("k"), g.X(), g.elems("ldb")
	tiles.singles, tiles.fours = g.X(), g.X()
	tiles.start = func(rows int) {
		g.clear(grid(0, 4*rows))
		g.MOV(tiles.panel, b)
		point(rows)
	}
	tiles.finish = func(rows int) {
		for r := range rows {
			g.load(grid(24, 4), c, 0)
			g.Add(grid(acc(r), 4), grid(24, 4), grid(acc(r), 4))
			g.store(grid(acc(r), 4), c, 0)
			g.ADD(c, c, apart)
		}
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		advance(rows)
	})
}

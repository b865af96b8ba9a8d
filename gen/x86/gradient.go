package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The gradient is five matrix products, none of which needs a transpose but of queries, which are packed as for
// scores: weights and their gradients are [key][query], 64 queries to a row. gradTile computes the latter as scores
// are, from another start; rowsTile adds up the rows of values and keys, as the product with [key][query] as it lies,
// colsTile those of queries, as with its transpose: elements of a column are in neighbouring registers' rows, as
// columns of values are in valueTile.
func genGradient(g *gen) {
	g.begin("gradWeight", "func(p *float32, stride int, s *float32, max, inverse *[tile.MaxPanel]float32, n int)",
		"gradWeight turns the scores of n keys for a panel into weights, as [tile.GradWeight]. The stride is in bytes.")
	g.gradWeight()
	g.end()

	g.begin("gradTile", "func(ds, p *float32, apart int, do *float32, start *[tile.MaxPanel]float32, v *float32, dim, stride, small, big, rest int)",
		"gradTile computes the gradients of the scores of a panel with the values of small, big and rest tiles, as",
		"[tile.GradTile]. Rows of ds and of p are so many bytes apart.")
	g.gradTile()
	g.end()

	g.begin("gradDrop", "func(ds, p *float32, stride int, start *[tile.MaxPanel]float32, lanes *[tile.Keys]uint32, n int)",
		"gradDrop sets gradients of n keys whose weight is dropped, as [tile.GradDrop]. The stride is in bytes.")
	g.gradDrop()
	g.end()

	g.begin("gradCap", "func(ds *float32, stride int, s *float32, n int, inverse float32)",
		"gradCap multiplies gradients by the slopes of a cap, as [tile.GradCap]. The stride is in bytes.")
	g.gradCap()
	g.end()

	g.begin("clearTile", "func(x *float32, stride int, lanes *[tile.Keys]uint32, n int)",
		"clearTile clears the lanes of n rows whose bit is not set, as [tile.ClearTile]. The stride is in bytes.")
	g.clearTile()
	g.end()

	g.begin("rowsTile", "func(c *float32, apart int, a *float32, lda int, b *float32, ldb, k, small, big, rest int, ahead *float32, rows, width, wrap, left int)",
		"rowsTile adds a product of small, big and rest tiles of rows to a panel of columns, as [tile.RowsTile]. Rows of c are so",
		"many bytes apart. The last parameters are those of readAhead.")
	g.rowsTile()
	g.end()

	g.begin("colsTile", "func(c *float32, apart int, a *float32, lda int, b *float32, ldb, k, small, big, rest int)",
		"colsTile adds a product with a transpose, of small, big and rest tiles of rows, to a panel of columns,",
		"as [tile.ColsTile]. Rows of c are so many bytes apart.")
	g.colsTile()
	g.end()
}

// gradWeight is the loop of softmaxTile without sums.
//
//	V0-V11 four vectors with two scratch registers each, V12 shared scratch, V13 and V14 the inverse of the sums,
//	V15 greatest argument; with AVX-512 the maxima are in V30 and V31
func (g *gen) gradWeight() {
	p, stride, s, maxima, inverse, n := g.ptr("p"), g.ptr("stride"), g.ptr("s"), g.ptr("max"), g.ptr("inverse"), g.ptr("n")
	for h := range 2 {
		g.VMOVUPS(mem(inverse, g.w()*h), g.V(13+h))
	}
	exponentials := g.exponentials(s, maxima, 0)
	g.pairs(n, func(k int) {
		exponentials(k)
		for v := range 2 * k {
			g.VMULPS(g.V(13+v%2), g.V(3*v), g.V(3*v))
			to := mem(p, g.w()*(v%2))
			if v >= 2 {
				to = at(p, stride, 1, g.w()*(v%2))
			}
			g.VMOVUPS(g.V(3*v), to)
		}
		if k == 2 { // nothing comes behind one
			g.ADDQ(I32(4*g.w()), s)
			g.LEAQ(at(p, stride, 2, 0), p)
		}
	})
}

func (g *gen) gradTile() {
	ds, p, do0, v0, dim := g.ptr("ds"), g.ptr("p"), g.ptr("do"), g.ptr("v"), g.ptr("dim")
	do := g.GP64()
	v := g.rowPointers(g.elems("stride"))
	tiles := &gemm{
		gen:    g,
		k:      dim,
		load:   func(step, half int) Mem { return mem(do, g.row()*step+g.w()*half) },
		scalar: func(row, step int) Mem { return v.at(row, 4*step) },
		start: func(rows int) {
			start := g.ptr("start")
			for r := range rows {
				for h := range 2 {
					g.VMOVUPS(mem(start, g.w()*h), g.V(2*r+h))
				}
			}
			g.MOVQ(do0, do)
			g.point(v, v0, rows)
		},
		next: func(rows, steps int) {
			g.ADDQ(I32(g.row()*steps), do)
			g.shift(v, rows, 4*steps)
		},
		finish: func(row int) {
			for h := range 2 {
				g.VMULPS(mem(p, g.w()*h), g.V(2*row+h), g.V(2*row+h))
				g.VMOVUPS(g.V(2*row+h), mem(ds, g.w()*h))
			}
			g.ADDQ(g.param("apart"), p)
			g.ADDQ(g.param("apart"), ds)
		},
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		g.advance(v0, v.stride, rows)
	})
}

// gradDrop: V0 and V1 the start, V2 its product, V3-V6 as whereBits wants.
func (g *gen) gradDrop() {
	ds, p, stride, start, lanes, n := g.ptr("ds"), g.ptr("p"), g.ptr("stride"), g.ptr("start"), g.ptr("lanes"), g.ptr("n")
	for h := range 2 {
		g.VMOVUPS(mem(start, g.w()*h), g.V(h))
	}
	where := g.whereBits(lanes, g.V(2), g.V(3), g.V(4), g.V(5), g.V(6))
	loop := g.label("key")
	g.Label(loop)
	for h := range 2 {
		g.VMULPS(mem(p, g.w()*h), g.V(h), g.V(2))
		where(h, mem(ds, g.w()*h))
		g.VMOVUPS(g.V(3), mem(ds, g.w()*h))
	}
	g.ADDQ(I8(4), lanes)
	g.ADDQ(stride, p)
	g.ADDQ(stride, ds)
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
}

// gradCap: V0 the inverse of the cap, V1 ones, V2-V5 tangents and slopes.
func (g *gen) gradCap() {
	ds, stride, s, n := g.ptr("ds"), g.ptr("stride"), g.ptr("s"), g.ptr("n")
	g.VBROADCASTSS(g.param("inverse"), g.V(0))
	g.VMOVUPS(g.splat(1), g.V(1))
	loop := g.label("key")
	g.Label(loop)
	for h := range 2 {
		t, slope := g.V(2+h), g.V(4+h)
		g.VMULPS(mem(s, g.w()*h), g.V(0), t)
		g.VMOVAPS(g.V(1), slope)
		g.VFNMADD231PS(t, t, slope)
		g.VMULPS(mem(ds, g.w()*h), slope, slope)
		g.VMOVUPS(slope, mem(ds, g.w()*h))
	}
	g.ADDQ(I32(g.row()), s)
	g.ADDQ(stride, ds)
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
}

func (g *gen) clearTile() {
	x, stride, lanes, n := g.ptr("x"), g.ptr("stride"), g.ptr("lanes"), g.ptr("n")
	zero, v := g.V(0), g.V(1)
	g.zero(zero)
	where := g.whereBits(lanes, zero, v, g.V(2), g.V(3), g.V(4))
	loop := g.label("key")
	g.Label(loop)
	for h := range 2 {
		where(h, mem(x, g.w()*h))
		g.VMOVUPS(v, mem(x, g.w()*h))
	}
	g.ADDQ(I8(4), lanes)
	g.ADDQ(stride, x)
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
}

// strided are rows that are read four steps at a time: of each some elements, from an offset on.
type strided struct {
	at              reg.GPVirtual // the row of the next step
	stride, stride3 reg.GPVirtual
}

func (g *gen) strided(stride string) strided {
	s := strided{g.GP64(), g.elems(stride), g.GP64()}
	g.LEAQ(at(s.stride, s.stride, 2, 0), s.stride3)
	return s
}

func (s strided) row(step, disp int) Mem {
	switch step {
	case 0:
		return mem(s.at, disp)
	case 3:
		return at(s.at, s.stride3, 1, disp)
	}
	return at(s.at, s.stride, uint8(step), disp)
}

// addRow ends a chain of a row of c, which it leaves.
func (g *gen) addRow(c reg.GPVirtual, row int) {
	for h := range 2 {
		g.VADDPS(mem(c, g.w()*h), g.V(2*row+h), g.V(2*row+h))
		g.VMOVUPS(g.V(2*row+h), mem(c, g.w()*h))
	}
	g.ADDQ(g.param("apart"), c)
}

func (g *gen) rowsTile() {
	c, a0, k, b := g.ptr("c"), g.ptr("a"), g.ptr("k"), g.strided("ldb")
	a := g.rowPointers(g.elems("lda"))
	tiles := &gemm{
		gen:    g,
		k:      k,
		load:   func(step, half int) Mem { return b.row(step, g.w()*half) },
		scalar: func(row, step int) Mem { return a.at(row, 4*step) },
		start: func(rows int) {
			g.clear(2 * rows)
			g.MOVQ(g.param("b"), b.at)
			g.point(a, a0, rows)
		},
		next: func(rows, steps int) {
			g.advance(b.at, b.stride, steps)
			g.shift(a, rows, 4*steps)
			g.readAhead(steps)
		},
		finish: func(row int) { g.addRow(c, row) },
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		g.advance(a0, a.stride, rows)
	})
}

func (g *gen) colsTile() {
	c, a0, k, a, b := g.ptr("c"), g.ptr("a"), g.ptr("k"), g.strided("lda"), g.strided("ldb")
	tiles := &gemm{
		gen:    g,
		k:      k,
		load:   func(step, half int) Mem { return b.row(step, g.w()*half) },
		scalar: func(row, step int) Mem { return a.row(step, 4*row) },
		start: func(rows int) {
			g.clear(2 * rows)
			g.MOVQ(g.param("b"), b.at)
			g.MOVQ(a0, a.at)
		},
		next: func(rows, steps int) {
			g.advance(b.at, b.stride, steps)
			g.advance(a.at, a.stride, steps)
		},
		finish: func(row int) { g.addRow(c, row) },
	}
	g.groups(func(rows int) {
		tiles.tile(rows)
		g.ADDQ(I8(4*rows), a0)
	})
}

package main

import "github.com/selfattn/attn/gen/a64"

// Rotations are bound by loads and stores. A call takes many rows, as a row is a few vectors only.
func genRotary(g *gen) {
	for _, f := range []struct {
		name, doc string
		rotary    func(x, cols a64.X) (step func(size int, rotate rotation))
	}{
		{"rotaryHalves", "rotaryHalves rotates the pairs (c, cols+c) of rows of x, as [tile.Rotary].", g.rotaryHalves},
		{"rotaryPairs", "rotaryPairs rotates the pairs (2*c, 2*c+1) of rows of x, as [tile.Rotary].", g.rotaryPairs},
	} {
		g.Begin(f.name, "func(x, cos, sin *float32, rows, cols, xStride, cosStride, sinStride int)", f.doc)
		x, cos, sin, rows, cols := g.Param("x"), g.Param("cos"), g.Param("sin"), g.Param("rows"), g.Param("cols")
		xStride, cosStride, sinStride := g.elems("xStride"), g.elems("cosStride"), g.elems("sinStride")
		g.Blocks(rows, 1, func() {
			c, s, n := g.X(), g.X(), g.X()
			g.MOV(c, cos)
			g.MOV(s, sin)
			g.MOV(n, cols)
			step := f.rotary(x, cols)
			for _, size := range []int{2 * lanes, lanes, 1} {
				g.Blocks(n, size, func() {
					step(size, func(x0, x1 []a64.V) (y0, y1 []a64.V) { return g.rotate(x0, x1, g.some(c, size), g.some(s, size)) })
					g.ADDI(c, c, 4*size)
					g.ADDI(s, s, 4*size)
				})
			}
			g.ADD(x, x, xStride)
			g.ADD(cos, cos, cosStride)
			g.ADD(sin, sin, sinStride)
		})
		g.RET()
	}
}

type rotation func(x0, x1 []a64.V) (y0, y1 []a64.V)

// rotate returns x0 and x1 rotated.
func (g *gen) rotate(x0, x1, cos, sin []a64.V) (y0, y1 []a64.V) {
	y0, y1 = g.group(len(x0)), g.group(len(x0))
	g.Mul(y0, x1, sin)
	g.Mul(y1, x0, sin)
	for _, v := range y0 {
		g.FNEG(v, v)
	}
	g.MulAdd(y0, x0, cos)
	g.MulAdd(y1, x1, cos)
	return y0, y1
}

// some loads size elements at p: one, a vector or two.
func (g *gen) some(p a64.X, size int) []a64.V {
	v := g.group(max(1, size/lanes))
	switch size {
	case 1:
		g.LDRS(v[0], mem(p, 0))
	case lanes:
		g.LDRQ(v[0], mem(p, 0))
	default:
		g.load(v, p, 0)
	}
	return v
}

// put stores what some has loaded, and moves p on.
func (g *gen) put(v []a64.V, p a64.X, size int) {
	switch size {
	case 1:
		g.STRS(v[0], mem(p, 0))
	case lanes:
		g.STRQ(v[0], mem(p, 0))
	default:
		g.store(v, p, 0)
	}
	g.ADDI(p, p, 4*size)
}

// rotaryHalves: the halves of a row are vectors of their own.
func (g *gen) rotaryHalves(x, cols a64.X) func(int, rotation) {
	first, second := g.X(), g.X()
	g.MOV(first, x)
	g.ADDL(second, x, cols, 2)
	return func(size int, rotate rotation) {
		x0, x1 := rotate(g.some(first, size), g.some(second, size))
		g.put(x0, first, size)
		g.put(x1, second, size)
	}
}

// rotaryPairs: two vectors of pairs become one of x0 and one of x1, and pairs again.
func (g *gen) rotaryPairs(x, _ a64.X) func(int, rotation) {
	at := g.X()
	g.MOV(at, x)
	return func(size int, rotate rotation) {
		if size == 1 {
			x0, x1 := g.group(1), g.group(1)
			g.LDRS(x0[0], mem(at, 0))
			g.LDRS(x1[0], mem(at, 4))
			x0, x1 = rotate(x0, x1)
			g.put(x0, at, 1)
			g.put(x1, at, 1)
			return
		}
		n := size / lanes
		pairs, x0, x1 := g.group(2*n), g.group(n), g.group(n)
		g.load(pairs, at, 0)
		for i := range n {
			g.UZP1(x0[i], pairs[2*i], pairs[2*i+1])
			g.UZP2(x1[i], pairs[2*i], pairs[2*i+1])
		}
		x0, x1 = rotate(x0, x1)
		for i := range n {
			g.ZIP1(pairs[2*i], x0[i], x1[i])
			g.ZIP2(pairs[2*i+1], x0[i], x1[i])
		}
		g.store(pairs, at, 0)
		g.ADDI(at, at, 8*size)
	}
}

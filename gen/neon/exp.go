package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/vector"
)

func genExp(g *gen) {
	g.Begin("exp", "func(dst, x *float32, n int)",
		"exp sets dst[i] = e^x[i] for n elements, as [tile.Exp].")
	g.elementwise(func(x []a64.V) { vector.Exp(g, x, g.group(len(x)), g.group(len(x)), g.group(len(x))) })
	g.RET()
}

// elementwise loads n elements of x, applies op, to two vectors at a time, and stores them to dst.
// The tail goes one by one.
func (g *gen) elementwise(op func(x []a64.V)) {
	dst, src, n := g.Param("dst"), g.Param("x"), g.Param("n")
	block := func(size int, load, store func(x []a64.V)) {
		x := g.group(max(1, size/lanes))
		g.Blocks(n, size, func() {
			load(x)
			op(x)
			store(x)
			g.ADDI(src, src, 4*size)
			g.ADDI(dst, dst, 4*size)
		})
	}
	from, to := mem(src, 0), mem(dst, 0)
	block(2*lanes, func(x []a64.V) { g.load(x, src, 0) }, func(x []a64.V) { g.store(x, dst, 0) })
	block(lanes, func(x []a64.V) { g.LDRQ(x[0], from) }, func(x []a64.V) { g.STRQ(x[0], to) })
	block(1, func(x []a64.V) { g.LDRS(x[0], from) }, func(x []a64.V) { g.STRS(x[0], to) })
}

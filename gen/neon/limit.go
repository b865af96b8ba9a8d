package main

import "github.com/selfattn/attn/gen/a64"

// The limits of the machine that the other kernels are measured against: how many
// FMAs it can do, and how fast it can read.
func genLimit(g *gen) {
	g.Begin("fmaLoop", "func(n int)", "fmaLoop does n steps of 24 independent FMAs of vectors.")
	g.clear(grid(0, 26))
	g.Blocks(g.Param("n"), 1, func() {
		for i := range a64.V(24) {
			g.FMLA(i, 24, 25)
		}
	})
	g.RET()

	g.Begin("readLoop", "func(x *float32, n int)",
		"readLoop loads n elements, a multiple of 32, and does nothing with them.")
	x := g.Param("x")
	g.Blocks(g.Param("n"), 32, func() {
		g.load(grid(0, 8), x, 0)
		for i := range a64.V(8) {
			g.Keep(i)
		}
		g.ADDI(x, x, 128)
	})
	g.RET()
}

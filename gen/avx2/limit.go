package main

import . "github.com/mmcloughlin/avo/operand"

// The limits of the machine that the other kernels are measured against: how many
// FMAs it can do, and how fast it can read.
func genLimit(g *gen) {
	g.begin("fmaLoop", "func(n int)",
		"fmaLoop does n steps of 12 independent FMAs of 8 lanes: 192 flops a step.")
	n := g.ptr("n")
	for i := range 12 {
		g.zero(Y(i))
	}
	g.zero(Y(12), Y(13))
	loop := g.label("loop")
	g.loop(loop)
	for i := range 12 {
		g.VFMADD231PS(Y(12), Y(13), Y(i))
	}
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
	g.end()

	g.begin("readLoop", "func(x *float32, n int)",
		"readLoop loads n elements, a multiple of 64, and does nothing with them.")
	x, n := g.ptr("x"), g.ptr("n")
	loop = g.label("loop")
	g.loop(loop)
	for i := range 8 {
		g.VMOVUPS(mem(x, 32*i), Y(i))
	}
	g.ADDQ(I32(256), x)
	g.SUBQ(I8(64), n)
	g.JG(LabelRef(loop))
	g.end()
}

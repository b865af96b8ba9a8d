package x86

import . "github.com/mmcloughlin/avo/operand"

// The limits of the machine that the other kernels are measured against: how many FMAs it can do,
// and how fast it can read.
func genLimit(g *gen) {
	g.begin("fmaLoop", "func(n int)",
		"fmaLoop does n steps of 12 independent FMAs vectors.")
	n := g.ptr("n")
	for i := range 12 {
		g.zero(g.V(i))
	}
	g.zero(g.V(12), g.V(13))
	loop := g.label("loop")
	g.loop(loop)
	for i := range 12 {
		g.VFMADD231PS(g.V(12), g.V(13), g.V(i))
	}
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
	g.end()

	g.begin("readLoop", "func(x *float32, n int)",
		"readLoop loads n elements, a multiple of 8 vectors, and does nothing with them.")
	x, n := g.ptr("x"), g.ptr("n")
	loop = g.label("loop")
	g.loop(loop)
	for i := range 8 {
		g.VMOVUPS(mem(x, g.w()*i), g.V(i))
	}
	g.ADDQ(I32(8*g.w()), x)
	g.SUBQ(I32(8*g.lanes), n)
	g.JG(LabelRef(loop))
	g.end()
}

package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// genNorm: a row is read three times, twice for its moments and once to be normalized; what it has
// beyond L1 comes from L2.
func genNorm(g *gen) {
	g.begin("moments", "func(x *float32, n int, m float32, sum, squares *[tile.Lanes]float32)",
		"moments adds the lanes of blocks of x[i]-m and of its square to the 32 of sum and of squares, as [tile.Moments].")
	g.moments()
	g.end()

	// V0-V2 norm, V3 mask of the tail, V4 a vector
	g.begin("normalize", "func(dst, x, gain, bias *float32, n int, norm *[3]float32)",
		"normalize sets dst[i] = ((x[i]-norm[0])*norm[1] + norm[2])*gain[i] + bias[i] for n elements, as [tile.Normalize].")
	norm := g.ptr("norm")
	for i := range 3 {
		g.VBROADCASTSS(mem(norm, 4*i), g.V(i))
	}
	dst, x, gain, bias, n := g.ptr("dst"), g.ptr("x"), g.ptr("gain"), g.ptr("bias"), g.ptr("n")
	vec, tail, done := g.label("vec"), g.label("tail"), g.label("done")
	op := func() {
		g.VSUBPS(g.V(0), g.V(4), g.V(4))
		g.VFMADD213PS(g.V(2), g.V(1), g.V(4))
	}
	g.SUBQ(I8(g.lanes), n)
	g.JL(LabelRef(tail))
	g.loop(vec)
	g.VMOVUPS(mem(x, 0), g.V(4))
	g.VMOVUPS(mem(gain, 0), g.V(5))
	op()
	g.VFMADD213PS(mem(bias, 0), g.V(5), g.V(4))
	g.VMOVUPS(g.V(4), mem(dst, 0))
	for _, p := range []reg.GPVirtual{x, gain, bias, dst} {
		g.ADDQ(I8(g.w()), p)
	}
	g.SUBQ(I8(g.lanes), n)
	g.JGE(LabelRef(vec))
	g.Label(tail)
	g.ADDQ(I8(g.lanes), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, g.V(3))
	g.loadTail(mem(x, 0), g.V(3), g.V(4))
	g.loadTail(mem(gain, 0), g.V(3), g.V(5))
	g.loadTail(mem(bias, 0), g.V(3), g.V(6))
	op()
	g.VFMADD213PS(g.V(6), g.V(5), g.V(4))
	g.storeTail(g.V(4), g.V(3), mem(dst, 0))
	g.Label(done)
	g.end()
}

// moments: a step of the loop is 32 elements.
//
//	V0 m, V1 mask of the tail, V4-V7 elements, V8-V11 lanes of the sum, V12-V15 of squares
func (g *gen) moments() {
	x, n, sum, squares := g.ptr("x"), g.ptr("n"), g.ptr("sum"), g.ptr("squares")
	g.VBROADCASTSS(g.param("m"), g.V(0))
	add := func(i int) {
		g.VADDPS(g.V(4+i), g.V(8+i), g.V(8+i))
		g.VFMADD231PS(g.V(4+i), g.V(4+i), g.V(12+i))
	}
	vector := func(i int) {
		g.VMOVUPS(mem(x, g.w()*i), g.V(4+i))
		g.VSUBPS(g.V(0), g.V(4+i), g.V(4+i))
		add(i)
	}
	g.blocks(n, func(n reg.GPVirtual) {
		loop, rest, done := g.label("block"), g.label("rest"), g.label("done")
		for i := range g.sums() {
			g.zero(g.V(8+i), g.V(12+i))
		}
		g.SUBQ(I8(32), n)
		g.JL(LabelRef(rest))
		g.loop(loop)
		for i := range g.sums() {
			vector(i)
		}
		g.SUBQ(I8(-128), x)
		g.SUBQ(I8(32), n)
		g.JGE(LabelRef(loop))
		g.Label(rest)
		g.ADDQ(I8(32), n)
		for i := range g.sums() {
			part, next := g.label("part"), g.label("next")
			if i < g.sums()-1 { // the last one is never whole
				g.CMPQ(n, I8(g.lanes))
				g.JL(LabelRef(part))
				vector(i)
				g.SUBQ(I8(g.lanes), n)
				g.JMP(LabelRef(next))
			}
			g.Label(part)
			g.TESTQ(n, n)
			g.JZ(LabelRef(done))
			g.tailMask(n, g.V(1))
			g.loadTail(mem(x, g.w()*i), g.V(1), g.V(4+i))
			g.VSUBPS(g.V(0), g.V(4+i), g.V(4+i))
			g.clearBehind(g.V(4+i), g.V(1)) // the other lanes add +0, which changes no sum
			add(i)
			g.JMP(LabelRef(done))
			g.Label(next)
		}
		g.Label(done)
		for i := range g.sums() {
			g.VADDPS(mem(sum, g.w()*i), g.V(8+i), g.V(8+i))
			g.VMOVUPS(g.V(8+i), mem(sum, g.w()*i))
			g.VADDPS(mem(squares, g.w()*i), g.V(12+i), g.V(12+i))
			g.VMOVUPS(g.V(12+i), mem(squares, g.w()*i))
		}
	})
}

package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/generic/tile"
)

// Dot reads two vectors once, so it runs at the load limit: four accumulators of 8 lanes are the
// contract's 32 lanes, and they just cover the latency of FMA at one FMA a cycle, which is all that
// two loads a cycle can feed.
//
//	V0-V3 the lanes of a block, V4 and V5 elements, V8 mask of the tail,
//	V9-V12 the lanes of the blocks before
func genDot(g *gen) {
	g.begin("dot", "func(x, y *float32, n int) float32",
		"dot returns the inner product of up to [tile.SumPart] elements of x and y, as [tile.Dot].")
	long, fold := g.label("long"), g.label("fold")
	x, y, n := g.ptr("x"), g.ptr("y"), g.ptr("n")
	g.clear(g.sums())
	g.CMPQ(n, U32(tile.SumBlock))
	g.JG(LabelRef(long))
	dotBlock(g, x, y, n)
	g.Label(fold)
	g.fold()
	g.result(X(0))
	g.end()
	g.Label(long)
	for i := range g.sums() {
		g.zero(g.V(9 + i))
	}
	dotBlocks(g, x, y, n)
	for i := range g.sums() {
		g.VMOVAPS(g.V(9+i), g.V(i))
	}
	g.JMP(LabelRef(fold))

	g.begin("dotAdd", "func(acc *[tile.Lanes]float32, x, y *float32, n int)",
		"dotAdd adds the lanes of the blocks of an inner product to the 32 lanes acc.")
	acc := g.ptr("acc")
	x, y, n = g.ptr("x"), g.ptr("y"), g.ptr("n")
	for i := range g.sums() {
		g.VMOVUPS(mem(acc, g.w()*i), g.V(9+i))
	}
	dotBlocks(g, x, y, n)
	for i := range g.sums() {
		g.VMOVUPS(g.V(9+i), mem(acc, g.w()*i))
	}
	g.end()

	g.begin("fold", "func(acc *[tile.Lanes]float32) float32",
		"fold adds up 32 lanes by halves: lane l to l+16, then 8, 4, 2, 1.")
	acc = g.ptr("acc")
	for i := range g.sums() {
		g.VMOVUPS(mem(acc, g.w()*i), g.V(i))
	}
	g.fold()
	g.result(X(0))
	g.end()
}

// dotBlocks adds the lanes of each block to V9 and on.
func dotBlocks(g *gen, x, y, n reg.GPVirtual) {
	g.blocks(n, func(n reg.GPVirtual) {
		g.clear(g.sums())
		dotBlock(g, x, y, n)
		for i := range g.sums() {
			g.VADDPS(g.V(i), g.V(9+i), g.V(9+i))
		}
	})
}

// blocks runs body for each block of n > 0 elements with its length, which body may destroy.
func (g *gen) blocks(n reg.GPVirtual, body func(n reg.GPVirtual)) {
	again := g.label("again")
	length, whole := g.GP64(), g.GP64()
	g.MOVQ(U32(tile.SumBlock), whole)
	g.Label(again)
	g.MOVQ(n, length)
	g.CMPQ(n, whole)
	g.CMOVQGT(whole, length)
	g.SUBQ(length, n)
	body(length)
	g.TESTQ(n, n)
	g.JNE(LabelRef(again))
}

// dotBlock adds n products to the lanes of V0 and on.
func dotBlock(g *gen, x, y, n reg.GPVirtual) {
	block, tail, done := g.label("block"), g.label("tail"), g.label("done")
	g.SUBQ(I8(32), n)
	g.JL(LabelRef(tail))
	g.loop(block)
	for i := range g.sums() {
		g.VMOVUPS(mem(x, g.w()*i), g.V(4+i))
		g.VFMADD231PS(mem(y, g.w()*i), g.V(4+i), g.V(i))
	}
	g.SUBQ(I8(-128), x)
	g.SUBQ(I8(-128), y)
	g.SUBQ(I8(32), n)
	g.JGE(LabelRef(block))

	g.Label(tail)
	g.ADDQ(I8(32), n)
	g.JZ(LabelRef(done))
	// A tail acts as padded by +0 to all 32 lanes, so a vector beyond the end still adds 0*0, which
	// turns an accumulator of -0 into +0.
	for i := range g.sums() {
		part, next := g.label("part"), g.label("next")
		last, k := i == g.sums()-1, n
		if !last { // which is never full
			g.CMPQ(n, I8(g.lanes))
			g.JL(LabelRef(part))
			g.VMOVUPS(mem(x, g.w()*i), g.V(4))
			g.VFMADD231PS(mem(y, g.w()*i), g.V(4), g.V(i))
			g.SUBQ(I8(g.lanes), n)
			g.JMP(LabelRef(next))
			g.Label(part)
		}
		// n < lanes: masked; the next vectors find n = 0.
		if !last {
			k = g.GP64()
			g.MOVQ(n, k)
			g.XORQ(n, n)
		}
		g.tailMask(k, g.V(8))
		g.loadTail(mem(x, g.w()*i), g.V(8), g.V(4))
		g.loadTail(mem(y, g.w()*i), g.V(8), g.V(5))
		g.VFMADD231PS(g.V(5), g.V(4), g.V(i))
		g.Label(next)
	}
	g.Label(done)
}

// sums is the number of vectors of the 32 lanes of a sum.
func (g *gen) sums() int { return 32 / g.lanes }

// fold adds the 32 lanes of the first registers by halves into the first lane of X0.
func (g *gen) fold() {
	for n := g.sums() / 2; n > 0; n /= 2 { // l + (l+16), and in AVX2 8
		for i := range n {
			g.VADDPS(g.V(i+n), g.V(i), g.V(i))
		}
	}
	if g.avx512() {
		g.VEXTRACTF64X4(U8(1), zmm[0], Y(1)) // 8
		g.VADDPS(Y(1), Y(0), Y(0))
	}
	g.VEXTRACTF128(U8(1), Y(0), X(1)) // 4
	g.VADDPS(X(1), X(0), X(0))
	g.VPERMILPD(U8(1), X(0), X(1)) // 2
	g.VADDPS(X(1), X(0), X(0))
	g.VMOVSHDUP(X(0), X(1)) // 1
	g.VADDSS(X(1), X(0), X(0))
}

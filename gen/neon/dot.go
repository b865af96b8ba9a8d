package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/generic/tile"
)

// Dot reads two vectors once, so it runs at the load limit: the contract's 32 lanes are 8
// accumulators, enough to cover the latency of FMLA on every core.
func genDot(g *gen) {
	g.Begin("dot", "func(x, y *float32, n int) float32",
		"dot returns the inner product of up to [tile.SumPart] elements of x and y, as [tile.Dot].")
	long := g.NewLabel("long")
	x, y, n, lanes, sums := g.Param("x"), g.Param("y"), g.Param("n"), g.group(8), g.group(8)
	g.CMP(n, tile.SumBlock)
	g.BGT(long)
	g.clear(lanes)
	g.dotBlock(x, y, n, lanes)
	g.ResultFloat(g.fold(lanes))
	g.RET()
	g.Label(long)
	g.clear(sums)
	g.dotBlocks(x, y, n, lanes, sums)
	g.ResultFloat(g.fold(sums))
	g.RET()

	g.Begin("dotAdd", "func(acc *[tile.Lanes]float32, x, y *float32, n int)",
		"dotAdd adds the lanes of the blocks of an inner product to the 32 lanes acc.")
	acc := g.Param("acc")
	x, y, n, lanes, sums = g.Param("x"), g.Param("y"), g.Param("n"), g.group(8), g.group(8)
	g.load(sums, acc, 0)
	g.dotBlocks(x, y, n, lanes, sums)
	g.store(sums, acc, 0)
	g.RET()

	g.Begin("fold", "func(acc *[tile.Lanes]float32) float32",
		"fold adds up 32 lanes by halves: lane l to l+16, then 8, 4, 2, 1.")
	acc, lanes = g.Param("acc"), g.group(8)
	g.load(lanes, acc, 0)
	g.ResultFloat(g.fold(lanes))
	g.RET()
}

// dotBlocks adds the 32 lanes of each block to sums.
func (g *gen) dotBlocks(x, y, n a64.X, lanes, sums []a64.V) {
	g.sumBlocks(n, func(n a64.X) {
		g.clear(lanes)
		g.dotBlock(x, y, n, lanes)
		g.Add(sums, sums, lanes)
	})
}

// sumBlocks runs body for each block of n > 0 elements with its length, which body may destroy.
func (g *gen) sumBlocks(n a64.X, body func(n a64.X)) {
	again, length, whole := g.NewLabel("again"), g.X(), g.X()
	g.MOVI(whole, tile.SumBlock)
	g.Label(again)
	g.CMP(n, tile.SumBlock)
	g.CSELLT(length, n, whole)
	g.SUB(n, n, length)
	body(length)
	g.CBNZ(n, again)
}

// dotBlock adds n products to the 32 lanes of sums.
func (g *gen) dotBlock(x, y, n a64.X, sums []a64.V) {
	done := g.NewLabel("done")
	g.Blocks(n, 32, func() {
		for i := 0; i < 8; i += 2 {
			p, q := g.group(2), g.group(2)
			g.load(p, x, 16*i)
			g.load(q, y, 16*i)
			g.MulAdd(sums[i:i+2], p, q)
		}
		g.ADDI(x, x, 128)
		g.ADDI(y, y, 128)
	})
	g.CBZ(n, done)
	// A tail acts as padded by +0 to all 32 lanes, so a vector beyond the end still adds 0*0, which
	// turns an accumulator of -0 into +0.
	zero := g.zero()
	part, t, tail, v := g.X(), g.X(), g.group(2), g.group(2)
	for i, p := range []a64.X{x, y} {
		g.Mask(part, n, 2)
		g.ADDL(part, p, part, 2)
		g.LowBits(t, n, 2)
		g.loadPart(tail[i], part, t)
	}
	g.LSR(n, n, 2)
	var last, beyond [9]string // the part of a vector goes to sum i; sum i is beyond the end
	for i := range 8 {
		last[i], beyond[i+1] = g.NewLabel("last"), g.NewLabel("beyond")
		if i == 7 {
			break // n < 32: the last one is a part
		}
		g.SUBS(n, n, 1)
		g.BLT(last[i])
		g.LDRQ(v[0], mem(x, 16*i))
		g.LDRQ(v[1], mem(y, 16*i))
		g.FMLA(sums[i], v[0], v[1])
	}
	for i := 7; i >= 0; i-- {
		g.Label(last[i])
		g.FMLA(sums[i], tail[0], tail[1])
		g.B(beyond[i+1])
	}
	for i := 1; i < 8; i++ {
		g.Label(beyond[i])
		g.FADD(sums[i], sums[i], zero)
	}
	g.Label(beyond[8])
	g.Label(done)
}

// loadPart loads n < 4 elements into the low lanes of v, and +0 into the others.
func (g *gen) loadPart(v a64.V, p, n a64.X) {
	done, t := g.NewLabel("loaded"), g.X()
	g.ZERO(v)
	g.CMP(n, 1)
	g.BLT(done)
	g.LDRS(v, mem(p, 0))
	g.CMP(n, 2)
	g.BLT(done)
	g.LDRD(v, mem(p, 0))
	g.CMP(n, 3)
	g.BLT(done)
	g.ADDI(t, p, 8)
	g.LDLane(v, 2, t)
	g.Label(done)
}

// fold adds the 32 lanes by halves into the low lane of the first register.
func (g *gen) fold(sums []a64.V) a64.V {
	for n := 4; n > 0; n /= 2 { // 16, 8 and 4
		g.Add(sums[:n], sums[:n], sums[n:2*n])
	}
	sum, t := sums[0], g.V()
	g.EXT8(t, sum, sum) // 2
	g.FADD(sum, sum, t)
	g.FADDP(sum, sum) // 1
	return sum
}

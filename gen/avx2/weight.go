package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Weights: one pass in place over the scores of a tile, [key][16]. The sums run down
// the lanes on the idle add pipes.
//
//	Y0-Y2 constants, Y4-Y7 and Y8-Y11 a vector each with its scratch,
//	Y3 and Y12 the maxima, Y13 and Y14 the sums
func genWeight(g *gen) {
	g.begin("softmaxTile", "func(s, st *float32, n int)",
		"softmaxTile turns the scores of n keys for 16 queries into weights, as [generic.SoftmaxTile].")
	s, st, n := g.ptr("s"), g.ptr("st"), g.ptr("n")
	max, sum := [2]reg.VecPhysical{Y(3), Y(12)}, [2]reg.VecPhysical{Y(13), Y(14)}
	g.zero(Y(15), sum[0], sum[1])
	for h, m := range max {
		g.VMOVUPS(mem(st, offTileMax+32*h), m)
		g.ceil(m, Y(15))
		g.VMOVUPS(m, mem(st, offTileMax+32*h))
		g.safeMax(m, Y(4))
	}
	g.expConstants(twoMin, magic2)
	key := g.label("key")
	g.loop(key)
	for h := range 2 {
		x := Y(4 + 4*h)
		g.VMOVUPS(mem(s, 32*h), x)
		g.VSUBPS(max[h], x, x)
		g.exp2(x, Y(5+4*h), Y(6+4*h), Y(7+4*h))
		g.VMOVUPS(x, mem(s, 32*h))
		g.VADDPS(x, sum[h], sum[h])
	}
	g.ADDQ(I8(64), s)
	g.DECQ(n)
	g.JNZ(LabelRef(key))

	// Merge the maxima and the sums.
	g.VMOVUPS(g.splat(negInf), Y(3))
	for h := range 2 {
		m, M, max := Y(4), Y(5), Y(6)
		g.VMOVUPS(mem(st, offTileMax+32*h), m)
		g.VMOVUPS(Y(3), mem(st, offTileMax+32*h)) // for the next tile
		g.VMOVUPS(mem(st, offMax+32*h), M)
		g.VMAXPS(M, m, max)
		g.VMOVUPS(max, mem(st, offMax+32*h))
		for _, x := range []reg.VecPhysical{m, M} {
			// 2^(x-max), or 0 below 2^-126 and for the difference of two infinities: then
			// VMAXPS returns its second source.
			g.VSUBPS(max, x, x)
			g.VMAXPS(Y(0), x, x)
			g.VCVTPS2DQ(x, x)
			g.VPSLLD(U8(23), x, x)
			g.VPADDD(g.splat(1), x, x)
		}
		g.VMOVUPS(M, mem(st, offOldScale+32*h))
		g.VMOVUPS(m, mem(st, offNewScale+32*h))
		g.VFMADD213PS(Y(15), m, sum[h])
		g.VFMADD231PS(mem(st, offSum+32*h), M, sum[h])
		g.VMOVUPS(sum[h], mem(st, offSum+32*h))
	}
	g.end()
}

// ceil rounds m up, -0 to +0.
func (g *gen) ceil(m, zero reg.VecPhysical) {
	const up, noException = 2, 8
	g.VROUNDPS(U8(up|noException), m, m)
	g.VADDPS(zero, m, m)
}

// safeMax turns -Inf into 0, so that -Inf - m is not NaN.
func (g *gen) safeMax(m, t reg.VecPhysical) {
	const notEqual = 4
	g.VCMPPS(U8(notEqual), g.splat(negInf), m, t)
	g.VANDPS(t, m, m)
}

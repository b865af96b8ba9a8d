package main

import "github.com/selfattn/attn/gen/a64"

// Weights: one pass in place over the scores of a tile, [key][panel].
//
//	V0-V7 two vectors with their scratch, V8-V16 constants, V17-V20 maxima, V28-V31 sums
func genWeight(g *gen) {
	g.Begin("softmaxTile", "func(s, st *float32, n int)",
		"softmaxTile turns the scores of n keys for a panel into weights, as [generic.SoftmaxTile].")
	s, st, n := g.Param("s"), g.Param("st"), g.Param("n")
	e := g.exponential2()
	var max [4]a64.V
	for h := range max {
		max[h] = g.V()
	}
	zero, inf := g.zero(), g.splat(negInf)
	const sums = a64.V(28)
	g.clear(sums, 4)
	for h := range max {
		g.LDRQ(max[h], mem(st, offTileMax+16*h))
		g.ceil(max[h], zero)
		g.STRQ(max[h], mem(st, offTileMax+16*h))
		g.zeroWhere(max[h], inf, 0) // so that -Inf - max is not NaN
	}
	g.Blocks(n, 1, func() {
		for h := 0; h < 4; h += 2 {
			g.LDPQ(0, 4, mem(s, 16*h))
			for i := range a64.V(2) {
				r := 4 * i
				g.FSUB(r, r, max[h+int(i)])
				g.exp2(e, r, r+1, r+2, r+3)
				g.FADD(sums+a64.V(h)+i, sums+a64.V(h)+i, r)
			}
			g.STPQ(0, 4, mem(s, 16*h))
		}
		g.ADDI(s, s, 4*panel)
	})

	// Merge the maxima and the sums.
	m, M, both, t, u := a64.V(0), a64.V(1), a64.V(2), a64.V(3), a64.V(4)
	low, one, started, grown := g.splat(-127), g.splat(1), g.zero(), g.zero()
	for h := range 4 {
		g.LDRQ(m, mem(st, offTileMax+16*h))
		g.STRQ(inf, mem(st, offTileMax+16*h)) // for the next tile
		g.LDRQ(M, mem(st, offMax+16*h))
		g.FMAX(both, M, m)
		g.STRQ(both, mem(st, offMax+16*h))
		// started where the old maximum was not -Inf, grown where the new one is also another
		g.FCMEQ(t, M, inf)
		g.ORN(started, started, t)
		g.FCMEQ(u, M, both)
		g.ORRV(t, t, u)
		g.ORN(grown, grown, t)
		for _, v := range []a64.V{m, M} {
			// 2^(v-max), or 0 below 2^-126 and for the difference of two infinities
			g.FSUB(v, v, both)
			g.FMAXNM(v, v, low)
			g.FCVTNS(v, v)
			g.SHL(v, v, 23)
			g.ADDV(v, v, one)
		}
		g.STRQ(M, mem(st, offOldScale+16*h))
		g.STRQ(m, mem(st, offNewScale+16*h))
		g.LDRQ(t, mem(st, offSum+16*h))
		g.FMUL(t, t, M)
		g.FMLA(t, sums+a64.V(h), m)
		g.STRQ(t, mem(st, offSum+16*h))
	}
	mode, x, store := g.X(), g.X(), g.NewLabel("mode")
	g.MOVI(mode, mergeRescale)
	g.any(x, grown)
	g.CBNZ(x, store)
	g.MOVI(mode, mergeAdd)
	g.any(x, started)
	g.CBNZ(x, store)
	g.MOVI(mode, mergeFirst)
	g.Label(store)
	g.STRW(mode, mem(st, offMode))
	g.RET()
}

// any makes x other than 0 if a bit of v is set.
func (g *gen) any(x a64.X, v a64.V) {
	g.HalfToX(x, v, 0)
	high := g.X()
	g.HalfToX(high, v, 1)
	g.ORR(x, x, high)
}

// exponential2 is the constants of exp2: the least argument, magic, and the polynomial from the
// highest coefficient.
type exponential2 struct {
	least, magic a64.V
	t            [7]a64.V
}

func (g *gen) exponential2() exponential2 {
	e := exponential2{least: g.splat(twoMin), magic: g.splat(magic2)}
	for i, t := range []float32{t6, t5, t4, t3, t2, t1, 2} {
		e.t[i] = g.splat(t)
	}
	return e
}

// exp2 is x = 2^x for x <= 0; a, b and c are scratch.
func (g *gen) exp2(e exponential2, x, a, b, c a64.V) {
	g.FMAX(x, x, e.least) // NaN passes
	g.FADD(a, x, e.magic) // z
	g.FSUB(b, a, e.magic) // n
	g.FSUB(x, x, b)       // r
	g.SHL(a, a, 23)       // 2^(n-1)
	y := e.t[0]
	for i, t := range e.t[1:] {
		sum := []a64.V{b, c}[i%2]
		g.MOVV(sum, t)
		g.FMLA(sum, y, x)
		y = sum
	}
	g.FMUL(x, y, a)
}

// ceil rounds m up, -0 to +0.
func (g *gen) ceil(m, zero a64.V) {
	g.FRINTP(m, m)
	g.FADD(m, m, zero)
}

package main

import (
	"math"

	"github.com/selfattn/attn/gen/a64"
)

// The constants of package generic's exponentials; generic/exp.go explains them.
const (
	magic  = 0x1.8p23
	magicB = magic + 8*127
	magic2 = magic + 126
	perLog = 0x1.715476p3
	ln2Hi  = 0x1.62e4p-4
	ln2Lo  = 0x1.7f7d1cp-23
	e3     = 0x1.555c94p-3
	e4     = 0x1.5563bp-5
	t1     = 0x1.62e43p0
	t2     = 0x1.ebfbdcp-2
	t3     = 0x1.c6af7cp-4
	t4     = 0x1.3b2dep-6
	t5     = 0x1.5f082ep-9
	t6     = 0x1.416b5p-12
	expMin = -104.5
	expMax = 89
	negMin = -88
	twoMin = -126
)

// th[j] + tl[j] is 2^(j/8).
var (
	th = []float32{1, 0x1.172b84p0, 0x1.306fep0, 0x1.4bfdaep0, 0x1.6a09e6p0, 0x1.8ace54p0, 0x1.ae89fap0, 0x1.d5818ep0}
	tl = []float32{0, -0x1.c15742p-27, 0x1.4636e2p-25, -0x1.593abcp-25, 0x1.9fcef4p-26, 0x1.15506ep-27, -0x1.a94b14p-26, -0x1.822dbcp-27}
)

// exponential is the constants of expm and exp.
type exponential struct {
	least, perLog, magic, ln2Hi, ln2Lo, e3, e4, half a64.V
	seven, bytes, first, th, tl                      a64.V
}

func (g *gen) exponential(least, magic float32) exponential {
	e := exponential{
		least: g.splat(least), perLog: g.splat(perLog), magic: g.splat(magic),
		ln2Hi: g.splat(ln2Hi), ln2Lo: g.splat(ln2Lo), e3: g.splat(e3), e4: g.splat(e4), half: g.splat(0.5),
		seven: g.splatBits(7), bytes: g.splatBits(0x04040404), first: g.splatBits(0x03020100),
	}
	e.th, e.tl = g.table(20, "th", th), g.table(22, "tl", tl)
	return e
}

// table loads a table of 8 elements into v and the next register.
func (g *gen) table(v a64.V, name string, table []float32) a64.V {
	var w []uint32
	for _, f := range table {
		w = append(w, math.Float32bits(f))
	}
	t := g.X()
	g.Table(t, name, w...)
	g.load(v, 2, t, 0)
	return v
}

// expm is x = e^x for x <= 0. All of them destroy a, b and c.
func (g *gen) expm(e exponential, x, a, b, c a64.V) {
	g.FMAX(x, x, e.least) // NaN passes
	g.expReduce(e, x, a, b, c)
	g.USHR(a, a, 3) // 2^floor(n)
	g.SHL(a, a, 23)
	g.FMUL(x, b, a)
}

// exp is x = e^x for any x. The scale 2^k comes in two factors, so that a subnormal result is
// rounded once.
func (g *gen) exp(e exponential, most, one, x, a, b, c a64.V) {
	g.FMAX(x, x, e.least)
	g.FMIN(x, x, most)
	g.expReduce(e, x, a, b, c)
	g.SUBV(a, a, e.magic) // 8n
	g.SSHR(c, a, 3)       // k
	g.SSHR(a, a, 4)       // k/2
	g.SUBV(c, c, a)       // k - k/2
	g.SHL(a, a, 23)       // the exponents of 2^(k/2) and 2^(k-k/2)
	g.SHL(c, c, 23)
	g.ADDV(a, a, one)
	g.ADDV(c, c, one)
	g.FMUL(b, b, a)
	g.FMUL(x, b, c)
}

// expReduce leaves e^x / 2^k in b and the biased 8n in the low bits of a.
func (g *gen) expReduce(e exponential, x, a, b, c a64.V) {
	g.MOVV(a, e.magic)
	g.FMLA(a, x, e.perLog) // z = x*perLog + magic
	g.FSUB(b, a, e.magic)  // n
	g.FMLS(x, b, e.ln2Hi)  // r = x - n*ln2Hi
	g.FMLS(x, b, e.ln2Lo)  //       - n*ln2Lo
	g.MOVV(c, e.e3)
	g.FMLA(c, x, e.e4)
	g.MOVV(b, e.half)
	g.FMLA(b, c, x)
	g.FMUL(c, x, x)
	g.FMLA(x, b, c) // p = r + r^2*(1/2 + ...)
	// 2^(j/8) * (1+p) for the j in the low bits of z; byte i of element j of a table is byte 4j+i.
	g.ANDV(b, a, e.seven)
	g.MULV(b, b, e.bytes)
	g.ADDV(b, b, e.first)
	g.TBL2(c, e.th, b)
	g.TBL2(b, e.tl, b)
	g.FMLA(b, c, x)
	g.FADD(b, c, b)
}

// genExp: element-wise, two vectors in flight.
func genExp(g *gen) {
	g.Begin("exp", "func(dst, x *float32, n int)",
		"exp sets dst[i] = e^x[i] for n elements, as [generic.Exp].")
	e, most, one := g.exponential(expMin, magic), g.splat(expMax), g.splat(1)
	g.elementwise(func(x, a, b, c a64.V) { g.exp(e, most, one, x, a, b, c) })
	g.RET()
}

// elementwise loads n elements of x, applies op and stores them to dst. The tail goes one by one.
func (g *gen) elementwise(op func(x, a, b, c a64.V)) {
	dst, x, n := g.Param("dst"), g.Param("x"), g.Param("n")
	g.Blocks(n, 2*lanes, func() {
		g.LDPQ(0, 4, mem(x, 0))
		op(0, 1, 2, 3)
		op(4, 5, 6, 7)
		g.STPQ(0, 4, mem(dst, 0))
		g.ADDI(x, x, 32)
		g.ADDI(dst, dst, 32)
	})
	g.Blocks(n, lanes, func() {
		g.LDRQ(0, mem(x, 0))
		op(0, 1, 2, 3)
		g.STRQ(0, mem(dst, 0))
		g.ADDI(x, x, 16)
		g.ADDI(dst, dst, 16)
	})
	g.Blocks(n, 1, func() {
		g.LDRS(0, mem(x, 0))
		op(0, 1, 2, 3)
		g.STRS(0, mem(dst, 0))
		g.ADDI(x, x, 4)
		g.ADDI(dst, dst, 4)
	})
}

package vector

// The constants of package tile's exponentials; generic/tile/exp.go explains them.
const (
	Magic  = 0x1.8p23
	MagicB = Magic + 8*127
	magic2 = Magic + 126
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
	ExpMin = -104.5
	expMax = 89
	NegMin = -88
	TwoMin = -126
)

// The sum of High and low at j is 2^(j/8).
var (
	High = Table{"th", [8]float32{1, 0x1.172b84p0, 0x1.306fep0, 0x1.4bfdaep0, 0x1.6a09e6p0, 0x1.8ace54p0, 0x1.ae89fap0, 0x1.d5818ep0}}
	low  = Table{"tl", [8]float32{0, -0x1.c15742p-27, 0x1.4636e2p-25, -0x1.593abcp-25, 0x1.9fcef4p-26, 0x1.15506ep-27, -0x1.a94b14p-26, -0x1.822dbcp-27}}
)

// Exp sets x to e^x; a, b and c are scratch. The scale 2^k comes in two factors, so that a subnormal
// result is rounded once.
func Exp[R any](m Machine[R], x, a, b, c []R) {
	m.Max(x, x, m.Const(ExpMin))
	m.Min(x, x, m.Fill(a, expMax))
	b, a = reduce(m, Magic, x, a, b, c)
	// Of 8n and magic's bits above it only the 9 bits behind a shift count, those of an exponent.
	m.ShiftRight(c, a, 3) // k
	m.ShiftRight(a, a, 4) // k/2
	m.SubInt(c, c, a)     // k - k/2
	m.ShiftLeft(a, a, 23) // the exponents of 2^(k/2) and 2^(k-k/2)
	m.ShiftLeft(c, c, 23)
	m.AddInt(a, a, m.Const(1))
	m.AddInt(c, c, m.Const(1))
	m.Mul(b, b, a)
	m.Mul(x, b, c)
}

// ExpNeg sets x to e^x for x <= 0; a, b and c are scratch.
func ExpNeg[R any](m Machine[R], x, a, b, c []R) {
	m.Max(x, x, m.Const(NegMin))
	b, a = reduce(m, MagicB, x, a, b, c)
	m.ShiftRight(a, a, 3) // 2^floor(n)
	m.ShiftLeft(a, a, 23)
	m.Mul(x, b, a)
}

// reduce returns e^x / 2^k, and 8n with magic's bias in the low bits.
func reduce[R any](m Machine[R], magic float32, x, a, b, c []R) (y, z []R) {
	z = m.Step(m.Fill(a, perLog), x, magic) // x*perLog + magic
	m.Sub(b, z, m.Const(magic))             // n
	m.MulSub(x, b, m.Const(ln2Hi))          // r = x - n*ln2Hi
	m.MulSub(x, b, m.Const(ln2Lo))          //       - n*ln2Lo
	y = m.Step(m.Fill(b, e4), x, e3)
	y = m.Step(y, x, 0.5)
	m.Mul(c, x, x)
	m.MulAdd(x, y, c) // p = r + r^2*(1/2 + ...)
	// 2^(j/8) * (1+p) for the j in the low bits of z
	i := m.Index(c, z)
	m.Lookup(y, i, &High)
	m.Lookup(c, i, &low)
	m.MulAdd(c, y, x)
	m.Add(y, y, c)
	return y, z
}

// Exp2Neg sets x to 2^-x for x >= 0, returned; a and b are scratch. It is the exp2 of package generic
// with the sign turned, which changes no rounding and makes the subtraction from a maximum
// one of memory.
func Exp2Neg[R any](m Machine[R], x, a, b []R) {
	m.Min(x, x, m.Const(-TwoMin))
	magic := m.Load(magic2)
	m.Sub(a, magic, x) // z
	m.Sub(b, a, magic) // n
	m.Add(x, x, b)     // -r
	y := m.Fill(b, t6)
	for _, t := range []float32{t5, t4, t3, t2, t1, 2} {
		y = m.StepNeg(y, x, t)
	}
	m.ShiftLeft(a, a, 23) // 2^(n-1)
	m.Mul(x, y, a)
}

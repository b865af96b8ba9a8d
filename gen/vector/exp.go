package vector

import . "github.com/selfattn/attn/generic/tile/exponent"

// The sum of High and low at j is 2^(j/8).
var (
	High = Table{"th", Powers}
	low  = Table{"tl", Rests}
)

// Exp sets x to e^x; a, b and c are scratch. The scale 2^k comes in two factors, so that a subnormal
// result is rounded once.
func Exp[R any](m Machine[R], x, a, b, c []R) {
	m.Max(x, x, m.Const(ExpMin))
	m.Min(x, x, m.Fill(a, ExpMax))
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
	scale(m, x, b, a)
}

// scale sets x to y*2^floor(n), for the biased 8n in the bits of z, which is destroyed.
func scale[R any](m Machine[R], x, y, z []R) {
	m.ShiftRight(z, z, 3) // 2^floor(n)
	m.ShiftLeft(z, z, 23)
	m.Mul(x, y, z)
}

// reduce returns e^x / 2^k, and 8n with magic's bias in the low bits.
func reduce[R any](m Machine[R], magic float32, x, a, b, c []R) (y, z []R) {
	z = m.Step(m.Fill(a, PerLog), x, magic) // x*PerLog + magic
	m.Sub(b, z, m.Const(magic))             // n
	m.MulSub(x, b, m.Const(Ln2Hi))          // r = x - n*Ln2Hi
	m.MulSub(x, b, m.Const(Ln2Lo))          //       - n*Ln2Lo
	return expTable(m, z, x, b, c), z
}

// expTable returns e^r * 2^(j/8) for the j in the low bits of z. r, b and c are destroyed.
func expTable[R any](m Machine[R], z, r, b, c []R) (y []R) {
	y = m.Step(m.Fill(b, E4), r, E3)
	y = m.Step(y, r, 0.5)
	m.Mul(c, r, r)
	m.MulAdd(r, y, c) // p = r + r^2*(1/2 + ...)
	i := m.Index(c, z)
	m.Lookup(y, i, &High)
	m.Lookup(c, i, &low)
	m.MulAdd(c, y, r) // 2^(j/8) * (1+p)
	m.Add(y, y, c)
	return y
}

// Exp2Neg sets x to 2^-x for x >= 0, returned; a and b are scratch. It is the exp2 of package tile
// with the sign turned, which changes no rounding and makes the subtraction from a maximum
// one of memory.
func Exp2Neg[R any](m Machine[R], x, a, b []R) {
	m.Min(x, x, m.Const(-TwoMin))
	magic := m.Load(Magic2)
	m.Sub(a, magic, x) // z
	m.Sub(b, a, magic) // n
	m.Add(x, x, b)     // -r
	y := m.Fill(b, T6)
	for _, t := range []float32{T5, T4, T3, T2, T1, 2} {
		y = m.StepNeg(y, x, t)
	}
	m.ShiftLeft(a, a, 23) // 2^(n-1)
	m.Mul(x, y, a)
}

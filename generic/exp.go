package generic

import "math"

// The exponentials share one scheme, an 8-entry table and a polynomial of
// degree 4: with n the multiple of 1/8 (in log2 units) nearest to the argument,
// r the rest and j = 8n mod 8,
//
//	exp = 2^floor(n) * (th[j] + th[j]*p(r)),  p(r) = exp(r) - 1.
//
// Adding magic = 1.5*2^23 (or 1.5*2^20, whose last place is 1/8) rounds to
// nearest and leaves 8n in the low bits of the sum, where a table look-up and
// two shifts find j and the exponent. Constants that are added to magic keep
// the exponent biased, so that it needs no further addition.
const (
	magic  = 0x1.8p23       // n in units of 1/8
	magicB = magic + 8*127  // the same, with the exponent biased
	magic2 = 0x1.8p20 + 127 // n in units of 1, biased
	perLog = 0x1.715476p3   // 8 * log2 e
	ln2Hi  = 0x1.62e4p-4    // ln 2 / 8, in two parts: n*ln2Hi is exact
	ln2Lo  = 0x1.7f7d1cp-23 //
	e3     = 0x1.555c94p-3  // exp(r) - 1 = r + r^2*(1/2 + r*(e3 + r*e4))
	e4     = 0x1.5563bp-5   //
	t1     = 0x1.62e43p-1   // 2^r - 1 = r*(t1 + r*(t2 + r*(t3 + r*t4))),
	t2     = 0x1.ebfbep-3   // a minimax fit on |r| <= 1/16,
	t3     = 0x1.c6be34p-5  // 0.01 ulp
	t4     = 0x1.3b28bp-7   //
	expMin = -104.5         // below, Exp is 0
	expMax = 89             // above, Exp is +Inf
	negMin = -88            // below, the exponential of softmax is 0
	twoMin = -127           // below, the exponential of attention is 0
)

// th[j] + tl[j] is 2^(j/8).
var (
	th = [8]float32{1, 0x1.172b84p0, 0x1.306fep0, 0x1.4bfdaep0, 0x1.6a09e6p0, 0x1.8ace54p0, 0x1.ae89fap0, 0x1.d5818ep0}
	tl = [8]float32{0, -0x1.c15742p-27, 0x1.4636e2p-25, -0x1.593abcp-25, 0x1.9fcef4p-26, 0x1.15506ep-27, -0x1.a94b14p-26, -0x1.822dbcp-27}
)

// Exp sets dst[i] = e^x[i]. The slices must have the same length, and may be
// the same.
//
// The error is at most 0.60 ulp for normal results and 0.77 ulp for subnormal
// ones. Exp is monotone, Exp(+-0) = 1, results for x <= 0 are at most 1, and
// it overflows to +Inf and underflows to subnormals and +0 where the exact
// value does. NaN gives NaN.
func Exp(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = exp(v)
	}
}

func exp(x float32) float32 {
	if x < expMin { // comparisons let NaN pass
		x = expMin
	}
	if x > expMax {
		x = expMax
	}
	z := FMA(x, perLog, magic)
	n := z - magic
	r := FMA(n, -ln2Hi, x)
	r = FMA(n, -ln2Lo, r)
	y := expTable(z, expPoly(r))
	// 2^k in two factors: the first product is exact, the second rounds once.
	k := int32(math.Float32bits(z)-math.Float32bits(magic)) >> 3
	return y * pow2(k>>1) * pow2(k-k>>1)
}

// expm returns e^x for x <= 0, flushing results below 2^-126 to +0: the
// exponential of row softmax. Otherwise it has the bits of exp.
func expm(x float32) float32 {
	if x < negMin {
		x = negMin
	}
	z := FMA(x, perLog, magicB)
	n := z - magicB
	r := FMA(n, -ln2Hi, x)
	r = FMA(n, -ln2Lo, r)
	return expTable(z, expPoly(r)) * biased(z)
}

// exp2 returns 2^x for x <= 0, flushing results below 2^-126 to +0: the
// exponential of attention. The error is at most 0.60 ulp.
func exp2(x float32) float32 {
	if x < twoMin {
		x = twoMin
	}
	z := x + magic2
	r := x - (z - magic2)
	q := FMA(t4, r, t3)
	q = FMA(q, r, t2)
	q = FMA(q, r, t1)
	return expTable(z, q*r) * biased(z)
}

// expPoly returns e^r - 1 for |r| <= ln 2 / 16.
func expPoly(r float32) float32 {
	q := FMA(e4, r, e3)
	q = FMA(q, r, 0.5)
	return FMA(q, r*r, r)
}

// expTable returns 2^(j/8) * (1 + p) for the j in the low bits of z.
func expTable(z, p float32) float32 {
	j := math.Float32bits(z) & 7
	return th[j] + FMA(th[j], p, tl[j])
}

// biased returns 2^floor(n) for the biased n in the bits of z, or 0 where
// floor(n) is -127.
func biased(z float32) float32 { return math.Float32frombits(math.Float32bits(z) >> 3 << 23) }

// pow2 returns 2^k for -126 <= k <= 127.
func pow2(k int32) float32 { return math.Float32frombits(uint32(k+127) << 23) }

package tile

import "math"

// Exp and expm share one scheme, an 8-entry table and a polynomial of degree 4: with n the multiple
// of 1/8 (in log2 units) nearest to the argument, r the rest and j = 8n mod 8,
//
//	e^x = 2^floor(n) * (th[j] + th[j]*p(r)),  p(r) = e^r - 1.
//
// exp2, whose relative error only has to match that of the products around it, does without the
// table: n is the nearest integer and the polynomial has degree 6, which is fewer instructions.
//
// Adding magic = 1.5*2^23 rounds to nearest and leaves the integer in the low bits of the sum,
// where a table look-up and shifts find it. Constants that are added to magic keep the exponent
// biased, so that it needs no further addition.
const (
	magic  = 0x1.8p23       // n in units of 1/8
	magicB = magic + 8*127  // the same, with the exponent biased
	magic2 = magic + 126    // n in units of 1, with the exponent of 2^(n-1) biased
	perLog = 0x1.715476p3   // 8 * log2 e
	ln2Hi  = 0x1.62e4p-4    // ln 2 / 8, in two parts: n*ln2Hi is exact
	ln2Lo  = 0x1.7f7d1cp-23 //
	e3     = 0x1.555c94p-3  // e^r - 1 = r + r^2*(1/2 + r*(e3 + r*e4)), |r| <= ln 2 / 16
	e4     = 0x1.5563bp-5   //
	t1     = 0x1.62e43p0    // 2 * 2^r = 2 + r*(t1 + r*(t2 + ...)), |r| <= 1/2,
	t2     = 0x1.ebfbdcp-2  // a minimax fit (Lawson's algorithm, coefficients rounded one
	t3     = 0x1.c6af7cp-4  // by one): relative error 0.05 * 2^-24
	t4     = 0x1.3b2dep-6   //
	t5     = 0x1.5f082ep-9  //
	t6     = 0x1.416b5p-12  //
	expMin = -104.5         // below, Exp is 0
	expMax = 89             // above, Exp is +Inf
	negMin = -88            // below, expm is 0
	twoMin = -126           // below, exp2 is 0
)

// th[j] + tl[j] is 2^(j/8).
var (
	th = [8]float32{1, 0x1.172b84p0, 0x1.306fep0, 0x1.4bfdaep0, 0x1.6a09e6p0, 0x1.8ace54p0, 0x1.ae89fap0, 0x1.d5818ep0}
	tl = [8]float32{0, -0x1.c15742p-27, 0x1.4636e2p-25, -0x1.593abcp-25, 0x1.9fcef4p-26, 0x1.15506ep-27, -0x1.a94b14p-26, -0x1.822dbcp-27}
)

// Exp sets dst[i] = e^x[i]. The slices must have the same length, and may be the same.
//
// The error is at most 0.60 ulp for normal results and 0.77 ulp for subnormal ones. Exp is
// monotone, Exp(+-0) = 1, results for x <= 0 are at most 1, and it overflows to +Inf and underflows
// to subnormals and +0 where the exact value does. NaN gives NaN.
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
	return float32(float32(y*pow2(k>>1)) * pow2(k-k>>1))
}

// expm returns e^x for x <= 0, the exponential of row softmax. Arguments whose n, rounded down, is
// below -126 give +0: those below -87.37. Otherwise it has the bits of exp but for a last rounding
// of subnormal results.
func expm(x float32) float32 {
	if x < negMin {
		x = negMin
	}
	z := FMA(x, perLog, magicB)
	n := z - magicB
	r := FMA(n, -ln2Hi, x)
	r = FMA(n, -ln2Lo, r)
	return float32(expTable(z, expPoly(r)) * biased(z))
}

// exp2 returns 2^x for x <= 0, flushing x <= -125.5 to +0: the exponential of attention. The error
// is at most 0.80 ulp.
func exp2(x float32) float32 {
	if x < twoMin {
		x = twoMin
	}
	z := x + magic2
	r := x - (z - magic2)
	y := FMA(t6, r, t5)
	y = FMA(y, r, t4)
	y = FMA(y, r, t3)
	y = FMA(y, r, t2)
	y = FMA(y, r, t1)
	y = FMA(y, r, 2)
	return float32(y * math.Float32frombits(math.Float32bits(z)<<23))
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

// biased returns 2^floor(n) for the biased 8n in the bits of z, or 0 where floor(n) is -127.
func biased(z float32) float32 { return math.Float32frombits(math.Float32bits(z) >> 3 << 23) }

// pow2 returns 2^k for -126 <= k <= 127.
func pow2(k int32) float32 { return math.Float32frombits(uint32(k+127) << 23) }

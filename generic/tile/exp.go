package tile

import (
	"math"

	. "github.com/selfattn/attn/generic/tile/exponent"
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
	x = min(max(x, ExpMin), ExpMax) // NaN passes
	z := FMA(x, PerLog, Magic)
	n := z - Magic
	r := FMA(n, -Ln2Hi, x)
	r = FMA(n, -Ln2Lo, r)
	y := expTable(z, expPoly(r))
	// 2^k in two factors: the first product is exact, the second rounds once.
	k := int32(math.Float32bits(z)-math.Float32bits(Magic)) >> 3
	return float32(float32(y*pow2(k>>1)) * pow2(k-k>>1))
}

// expm returns e^x for x <= 0, the exponential of row softmax. Arguments whose n, rounded down, is
// below -126 give +0: those below -87.37. Otherwise it has the bits of exp but for a last rounding
// of subnormal results.
func expm(x float32) float32 {
	return expBiased(max(x, NegMin))
}

// expBiased returns e^x where floor(n) is from -127, which gives +0, to 128, which gives +Inf.
func expBiased(x float32) float32 {
	z := FMA(x, PerLog, MagicB)
	n := z - MagicB
	r := FMA(n, -Ln2Hi, x)
	r = FMA(n, -Ln2Lo, r)
	return float32(expTable(z, expPoly(r)) * biased(z))
}

// exp2 returns 2^x for x <= 0, flushing x <= -125.5 to +0: the exponential of attention. The error
// is at most 0.80 ulp.
func exp2(x float32) float32 {
	x = max(x, TwoMin)
	z := x + Magic2
	r := x - (z - Magic2)
	y := FMA(T6, r, T5)
	y = FMA(y, r, T4)
	y = FMA(y, r, T3)
	y = FMA(y, r, T2)
	y = FMA(y, r, T1)
	y = FMA(y, r, 2)
	return float32(y * math.Float32frombits(math.Float32bits(z)<<23))
}

// expPoly returns e^r - 1 for |r| <= ln 2 / 16.
func expPoly(r float32) float32 {
	q := FMA(E4, r, E3)
	q = FMA(q, r, 0.5)
	return FMA(q, r*r, r)
}

// expTable returns 2^(j/8) * (1 + p) for the j in the low bits of z.
func expTable(z, p float32) float32 {
	j := math.Float32bits(z) & 7
	return Powers[j] + FMA(Powers[j], p, Rests[j])
}

// biased returns 2^floor(n) for the biased 8n in the bits of z, or 0 where floor(n) is -127.
func biased(z float32) float32 { return math.Float32frombits(math.Float32bits(z) >> 3 << 23) }

// pow2 returns 2^k for -126 <= k <= 127.
func pow2(k int32) float32 { return math.Float32frombits(uint32(k+127) << 23) }

package tile

import "math"

// Max returns the largest element of x, ignoring NaN, or -Inf if there is none.
func Max(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = maxNum(v, m)
	}
	return m + 0 // -0 and +0 compare equal: +0 whichever came first
}

// ExpSum sets dst[i] = e^(x[i]-m), flushed to +0 below about 2^-126, for m = [Max](x) or 0 where
// that is -Inf, and sets sum to the lanes of their sum.
func ExpSum(dst, x []float32, m float32, sum *[Lanes]float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = expm(v - m)
	}
	*sum = sumOf(len(x), func(i int) float32 { return dst[i] })
}

// SumExp is [ExpSum] that stores the sum only.
func SumExp(x []float32, m float32, sum *[Lanes]float32) {
	*sum = sumOf(len(x), func(i int) float32 { return expm(x[i] - m) })
}

// sumOf returns the lanes of the sum of n terms.
func sumOf(n int, term func(i int) float32) [Lanes]float32 {
	return longSum(n, func(first, last int) (acc [Lanes]float32) {
		for i := first; i < last; i++ {
			acc[i%Lanes] += term(i)
		}
		return acc
	})
}

// Div sets dst[i] = x[i] / d, the last step of softmax.
func Div(dst, x []float32, d float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = v / d
	}
}

// Scale sets dst[i] = FMA(x[i], f, +0), the last step of attention: x[i]*f that is never -0 if x[i]
// is 0.
func Scale(dst, x []float32, f float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = FMA(v, f, 0)
	}
}

// SafeMax is the maximum that softmax subtracts: m, or 0 where m is -Inf.
func SafeMax(m float32) float32 {
	if m == float32(math.Inf(-1)) {
		return 0
	}
	return m
}

// LogSum returns m + log(s) rounded to float32, the last step of a log-sum-exp.
func LogSum(m, s float32) float32 {
	if s == 0 {
		return float32(math.Inf(-1))
	}
	return float32(float64(m) + log(float64(s)))
}

// LogSum2 returns the natural logarithm of 2^m * s, rounded to float32: the log-sum-exp of a row of attention
// whose maximum is m and whose sum is s; -Inf if s is 0.
func LogSum2(m, s float32) float32 {
	if s == 0 {
		return float32(math.Inf(-1))
	}
	return float32(float64(float64(m)*math.Ln2) + log(float64(s)))
}

// log returns the natural logarithm of x >= 2^-126, or of NaN, within 3e-16 + 2 ulp of float64. The
// standard library's is assembly on some machines, and its bits are not promised.
func log(x float64) float64 {
	if x != x || x > math.MaxFloat64 {
		return x
	}
	b := math.Float64bits(x)
	// x = f * 2^k with sqrt(1/2) <= f < sqrt(2).
	const sqrtHalf = 0x3fe6a09e667f3bcd
	k := int64(b-sqrtHalf) >> 52
	f := math.Float64frombits(b - uint64(k)<<52)
	// log f = 2*atanh(s) = 2*(s + s^3/3 + s^5/5 + ...), |s| < 0.172
	s := (f - 1) / (f + 1)
	s2 := float64(s * s)
	t := 0.0
	for i := 23; i >= 3; i -= 2 {
		t = float64((t + 1/float64(i)) * s2)
	}
	return float64(float64(k)*math.Ln2) + (2*s + float64(2*s*t))
}

package tile

import "math"

// FMA returns x*y + z rounded once, as the fused multiply-add instructions of every machine do.
//
// The product of two float32 is exact in float64. The sum may not be, and rounding it to float64
// and then to float32 rounds twice; that shows only when the float64 lies on a tie of float32, or
// below its normal range, and then [fmaOdd] decides.
func FMA(x, y, z float32) float32 {
	s := float64(x)*float64(y) + float64(z)
	b := math.Float64bits(s)
	if b&(1<<29-1) == 1<<28 || b<<1 < minNormal<<1 {
		return fmaOdd(x, y, z)
	}
	return float32(s)
}

// minNormal is the float64 encoding of 2^-126, the least normal float32.
const minNormal = (1023 - 126) << 52

// fmaOdd is FMA for all operands: the float64 sum is rounded to odd, which keeps enough of what was
// lost for the second rounding to be right (Boldo and Melquiond, Emulation of FMA and correctly
// rounded sums, 2008).
func fmaOdd(x, y, z float32) float32 {
	p, c := float64(x)*float64(y), float64(z)
	s := p + c
	// Knuth's TwoSum: e is the exact error of s. Every operation is an addition, so there is
	// nothing to fuse.
	t := s - p
	e := (p - (s - t)) + (c - t)
	if e == 0 || e != e {
		return float32(s)
	}
	b := math.Float64bits(s)
	if b&1 == 0 {
		// s is even and inexact: step towards the exact value, to an odd one.
		if math.Signbit(e) == math.Signbit(s) {
			b++
		} else {
			b--
		}
	}
	return float32(math.Float64frombits(b))
}

// maxNum returns the larger of x and the running maximum m, or m if x is NaN.
func maxNum(x, m float32) float32 {
	if x > m {
		return x
	}
	return m
}

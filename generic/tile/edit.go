package tile

import (
	"math"

	. "github.com/selfattn/attn/generic/tile/exponent"
)

// Scores are edited before keys are hidden and weights are made: capped, then biased by position, then by a
// bias for each query and key. Each of these steps has a kernel for the scores of a panel and one for those of a
// row.

// Log2E is the factor of a bias, which makes it a logarithm to base 2 as scores are.
const Log2E = float32(math.Log2E)

// CapTile caps the n*w scores of a tile: s[j*w+r] = cap * tanh(s[j*w+r] * inverse), where inverse is 1/cap. It
// raises st.TileMax[r] to the maximum of the results, ignoring NaN.
//
// With 2^-125 <= cap <= 2^126 and u = 2^-24 the error is, to first order, at most 9.1*u times the exact result,
// small ones included, plus cap * 2^-150, where the quotient underflows, plus 2^-150. Results are from -cap to cap,
// and are these for scores from 8.18*cap up, infinite ones too.
func CapTile(s []float32, st *Panel, n int, cap, inverse float32) {
	w := st.Width
	for j := range n {
		for r := range w {
			s[j*w+r] = capped(s[j*w+r], cap, inverse)
			st.TileMax[r] = maxNum(s[j*w+r], st.TileMax[r])
		}
	}
}

// CapRow is CapTile for the scores of a row. Elements of s beyond its length, up to a multiple of
// 16, may be overwritten.
func CapRow(s []float32, cap, inverse float32) {
	for j, x := range s {
		s[j] = capped(x, cap, inverse)
	}
}

func capped(s, cap, inverse float32) float32 { return float32(cap * tanh(float32(s*inverse))) }

// tanh returns the hyperbolic tangent within 5.06 ulp; it is odd, and from -1 to 1.
func tanh(t float32) float32 {
	if t < -TanhMax { // comparisons let NaN pass
		t = -TanhMax
	}
	if t > TanhMax {
		t = TanhMax
	}
	u := float32(t * t)
	return float32(t*polynomial(&TanhP, u)) / polynomial(&TanhQ, u)
}

func polynomial(c *[5]float32, x float32) float32 {
	y := c[4]
	for i := 3; i >= 0; i-- {
		y = FMA(y, x, c[i])
	}
	return y
}

// AlibiTile biases the scores of the n keys from key number first on, all below 2^30, by their distance from the
// queries, whose positions are between -2^30 and 2^30: s[j*w+r] = FMA(slope[r], -float32(|position[r]-(first+j)|), s[j*w+r]). It
// raises st.TileMax[r] to the maximum of the results, ignoring NaN.
func AlibiTile(s []float32, st *Panel, position *[MaxPanel]int32, slope *[MaxPanel]float32, n, first int) {
	w := st.Width
	for j := range n {
		for r := range w {
			s[j*w+r] = FMA(slope[r], minusDistance(int(position[r])-first, j), s[j*w+r])
			st.TileMax[r] = maxNum(s[j*w+r], st.TileMax[r])
		}
	}
}

// AlibiRow is AlibiTile for the scores of a row, whose keys are counted from the first one of s and the position
// of its query too. Elements of s beyond its length, up to a multiple of 16, may be overwritten.
func AlibiRow(s []float32, position int, slope float32) {
	for j := range s {
		s[j] = FMA(slope, minusDistance(position, j), s[j])
	}
}

func minusDistance(i, j int) float32 { return -float32(max(i-j, j-i)) }

// BiasTile adds a bias to the scores of n keys, that of query r and key j being b = bias[offset[r]+j]: s[j*w+r] =
// FMA(b, Log2E, s[j*w+r]), or -Inf where b is -Inf, whatever the score was. It raises st.TileMax[r] to the
// maximum of the results, ignoring NaN.
func BiasTile(s []float32, st *Panel, bias []float32, offset *[MaxPanel]int, n int) {
	w := st.Width
	for r := range w {
		for j, b := range bias[offset[r]:][:n] {
			s[j*w+r] = plusBias(s[j*w+r], b)
			st.TileMax[r] = maxNum(s[j*w+r], st.TileMax[r])
		}
	}
}

// BiasKeys is BiasTile for queries that share their biases: that of key j is bias[j].
func BiasKeys(s []float32, st *Panel, bias []float32, n int) {
	BiasTile(s, st, bias, new([MaxPanel]int), n)
}

// ScaleTile multiplies the scores or weights of n keys by a scale of each key: s[j*w+r] *= scale[j]. It raises st.TileMax[r] to the
// maximum of the results, ignoring NaN.
func ScaleTile(s []float32, st *Panel, scale []float32, n int) {
	w := st.Width
	for j, x := range scale[:n] {
		for r := range w {
			s[j*w+r] *= x
			st.TileMax[r] = maxNum(s[j*w+r], st.TileMax[r])
		}
	}
}

// BiasRow is BiasTile for the scores of a row. Elements of s beyond its length, up to a multiple of 16,
// may be overwritten, but no element of bias beyond that is read.
func BiasRow(s, bias []float32) {
	for j, b := range bias[:len(s)] {
		s[j] = plusBias(s[j], b)
	}
}

func plusBias(s, b float32) float32 {
	if b == float32(math.Inf(-1)) {
		return b
	}
	return FMA(b, Log2E, s)
}

package generic

import (
	"fmt"

	"github.com/selfattn/attn/generic/tile"
)

// LayerNorm sets dst to (x - mean)/sqrt(variance + eps) * gain + bias for a row x, of which all have the
// same length, but for a gain or bias of nil, which is 1 or none. It panics, before it writes, if lengths differ or dst
// overlaps x without being x.
//
// With lanes and levels as in [Dot], m is the mean of x, rounded, s the sum and q that of the squares of d_i =
// x_i - m, c = s/n and r = 1/sqrt(q/n - c^2 + eps) in float64, and
//
//	dst_i = FMA(FMA(d_i, r, -c*r), gain_i, bias_i), r and -c*r rounded
//
// so that a row with a large mean is as good as any. r is NaN if q overflows. [kernel.LayerNorm] has the bound of the error.
//
// [kernel.LayerNorm]: https://pkg.go.dev/github.com/selfattn/attn/kernel#LayerNorm
func LayerNorm(dst, x, gain, bias []float32, eps float32) {
	checkVectors("LayerNorm", dst, x)
	gain, bias = checkNorm("LayerNorm", "gain", gain, len(x), 1), checkNorm("LayerNorm", "bias", bias, len(x), tile.NegZero)
	var sum, squares [Lanes]float32
	tile.Moments(x, 0, &sum, &squares)
	m := tile.Mean(tile.Fold(&sum), len(x))
	tile.Moments(x, m, &sum, &squares)
	norm := tile.LayerNorm(m, tile.Fold(&sum), tile.Fold(&squares), len(x), eps)
	tile.Normalize(dst, x, gain, bias, &norm)
}

// RMSNorm sets dst to x/sqrt(mean of x^2 + eps) * gain for a row x, as [LayerNorm] with m = c = 0 and without a bias: dst_i =
// FMA(FMA(x_i, r, -0), gain_i, -0).
func RMSNorm(dst, x, gain []float32, eps float32) {
	checkVectors("RMSNorm", dst, x)
	gain = checkNorm("RMSNorm", "gain", gain, len(x), 1)
	var sum, squares [Lanes]float32
	tile.Moments(x, 0, &sum, &squares)
	norm := tile.RMSNorm(tile.Fold(&squares), len(x), eps)
	tile.Normalize(dst, x, gain, checkNorm("RMSNorm", "bias", nil, len(x), tile.NegZero), &norm)
}

// checkNorm returns a gain or bias of n elements, or what stands for nil.
func checkNorm(function, name string, v []float32, n int, none float32) []float32 {
	if v == nil {
		v = make([]float32, n)
		for i := range v {
			v[i] = none
		}
	}
	if len(v) != n {
		panic(fmt.Sprintf("attn: generic.%s: %s has %d elements, want %d", function, name, len(v), n))
	}
	return v
}

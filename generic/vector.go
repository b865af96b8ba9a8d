package generic

import (
	"fmt"

	"github.com/selfattn/attn/generic/tile"
)

// FMA returns x*y + z rounded once, as the fused multiply-add instructions of every machine do.
func FMA(x, y, z float32) float32 { return tile.FMA(x, y, z) }

// Dot returns the inner product of x and y. It panics if their lengths differ.
//
// With u = 2^-24, n = len(x), at most 2^43, and k = min(ceil(n/32) + 5, 99 + n/2^20), the error is at
// most gamma_k * sum |x_i*y_i| + n*2^-149, gamma_k = k*u/(1-k*u), unless a partial sum of the products
// overflows.
func Dot(x, y []float32) float32 {
	if len(x) != len(y) {
		panic(fmt.Sprintf("attn: generic.Dot: x has %d elements, y %d", len(x), len(y)))
	}
	return tile.Dot(x, y)
}

// Exp sets dst[i] = e^x[i]. It panics, before it writes, if the lengths differ or dst overlaps x
// without being x.
//
// The error is at most 0.60 ulp for normal results and 0.77 ulp for subnormal ones. Exp is
// monotone, Exp(+-0) = 1, results for x <= 0 are at most 1, and it overflows to +Inf and underflows
// to subnormals and +0 where the exact value does. NaN gives NaN.
func Exp(dst, x []float32) {
	checkVectors("Exp", dst, x)
	tile.Exp(dst, x)
}

// GELU sets dst[i] = x[i]*Phi(x[i]), with the distribution function Phi of the normal distribution. It
// panics, before it writes, if the lengths differ or dst overlaps x without being x.
//
// For x >= -1 the error is at most 2 ulp, below that 2 ulp or 2^-26*|x|, whichever is larger. Arguments
// below -12.96 give -0.
func GELU(dst, x []float32) {
	checkVectors("GELU", dst, x)
	tile.Gelu(dst, x)
}

// GELUTanh sets dst[i] = x[i]*(1 + tanh(y))/2, y = sqrt(2/pi)*(x[i] + 0.044715*x[i]^3), an approximation of
// GELU. It panics, before it writes, if the lengths differ or dst overlaps x without being x.
//
// The error against this formula is that of [GELU]. Arguments below -10.06 give -0.
func GELUTanh(dst, x []float32) {
	checkVectors("GELUTanh", dst, x)
	tile.GeluTanh(dst, x)
}

// SiLU sets dst[i] = x[i]/(1 + e^-x[i]). It panics, before it writes, if the lengths differ or dst overlaps
// x without being x.
//
// The error is that of [GELU]. Arguments below -88.68 give -0.
func SiLU(dst, x []float32) {
	checkVectors("SiLU", dst, x)
	tile.Silu(dst, x)
}

// Softmax sets dst[i] = e^x[i] / sum_j e^x[j]. It panics, before it writes, if the lengths differ or
// dst overlaps x without being x.
//
// A row that holds a NaN or +Inf becomes NaN; a row of -Inf only, which has no mass to share,
// becomes +0, as a row of attention that sees no key.
//
// With u = 2^-24, n = len(x), at most 2^29, S the mean of max(x) - x[i] weighted by the softmax (at
// most ln n) and b = u*(max(x) - x[i] + S + min(n/32, 94 + n/2^20) + 9), the relative error of a result
// above 2^-126 is at most e^b - 1, which is little more than b.
func Softmax(dst, x []float32) {
	checkVectors("Softmax", dst, x)
	softmax(dst, x)
}

func softmax(dst, x []float32) {
	var sum [Lanes]float32
	tile.ExpSum(dst, x, tile.SafeMax(tile.Max(x)), &sum)
	if s := tile.Fold(&sum); s != 0 {
		tile.Div(dst, dst, s)
	}
}

// SoftmaxGradient sets dx[i] = FMA(y[i], dy[i] - Dot(y, dy), +0): the gradient of what gave the softmax y, from dy, that of
// y. It panics, before it writes, if the lengths differ or dx overlaps y or dy without being it.
func SoftmaxGradient(dx, y, dy []float32) {
	if len(dx) != len(y) || len(dx) != len(dy) {
		panic(fmt.Sprintf("attn: generic.SoftmaxGradient: dx has %d elements, y %d and dy %d", len(dx), len(y), len(dy)))
	}
	for i, x := range [...][]float32{y, dy} {
		if len(x) > 0 && &dx[0] != &x[0] && overlap(dx, x) {
			panic(fmt.Sprintf("attn: generic.SoftmaxGradient: dx overlaps %s without being it", [...]string{"y", "dy"}[i]))
		}
	}
	d := Dot(y, dy)
	for i := range dx {
		dx[i] = FMA(y[i], dy[i]-d, 0)
	}
}

// SoftmaxRows is [Softmax] on each row of a packed matrix with cols columns. It panics, before it
// writes, if the lengths differ or are no multiple of cols, cols is not positive, or dst overlaps x
// without being x.
func SoftmaxRows(dst, x []float32, cols int) {
	checkVectors("SoftmaxRows", dst, x)
	if cols <= 0 || len(x)%cols != 0 {
		panic(fmt.Sprintf("attn: generic.SoftmaxRows: cols is %d, want a divisor of the %d elements of x", cols, len(x)))
	}
	for ; len(x) > 0; dst, x = dst[cols:], x[cols:] {
		softmax(dst[:cols], x[:cols])
	}
}

// LogSumExp returns log(sum_i e^x[i]), -Inf if x is empty or all -Inf, and NaN if x holds a NaN or
// +Inf.
func LogSumExp(x []float32) float32 {
	var sum [Lanes]float32
	m := tile.Max(x)
	tile.SumExp(x, tile.SafeMax(m), &sum)
	return tile.LogSum(m, tile.Fold(&sum))
}

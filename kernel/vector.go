package kernel

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
)

// Backend names the implementation that this process uses: "avx512", "avx2", "neon" or "generic".
func Backend() string { return asm.Backend() }

// Dot returns the inner product of x and y, 0 if they are empty. It panics, with a message that has
// both, if their lengths differ.
//
// With u = 2^-24, n elements, at most 2^43, and k = min(ceil(n/32) + 5, 99 + n/2^20), the error is at
// most gamma_k * sum |x_i*y_i| + n*2^-149, gamma_k = k*u/(1-k*u), unless a partial sum of the products
// overflows.
func Dot(x, y []float32) float32 {
	if len(x) != len(y) {
		panic(fmt.Sprintf("attn: Dot: x has %d elements, y %d", len(x), len(y)))
	}
	return asm.Dot(x, y)
}

// Exp sets dst[i] = e^x[i]. It panics, before it writes, if the lengths differ or dst overlaps x
// without being x.
//
// The error is at most 0.60 ulp for normal and 0.77 ulp for subnormal results. Exp is monotone,
// Exp(±0) = 1, it overflows to +Inf and underflows gradually to +0 where the exact value does, and
// NaN gives NaN.
func Exp(dst, x []float32) {
	checkVectors("Exp", dst, x)
	asm.Exp(dst, x)
}

// Softmax sets dst[i] = e^x[i] / sum_j e^x[j]. It panics, before it writes, if the lengths differ
// or dst overlaps x without being x.
//
// The maximum is subtracted first, so no finite input overflows. A vector with a NaN or +Inf
// becomes all NaN. A vector of -Inf only, or an empty one, has nothing to share: it becomes 0, like
// the attention of a query that sees no key.
//
// With u = 2^-24, n elements, at most 2^29, S the mean of max(x) - x[i] weighted by the softmax (at
// most ln n) and b = u*(max(x) - x[i] + S + min(n/32, 94 + n/2^20) + 9), the relative error of a result
// above 2^-126 is at most e^b - 1, which is little more than b; exponentials below about 2^-126 are 0.
func Softmax(dst, x []float32) {
	checkVectors("Softmax", dst, x)
	softmax(dst, x)
}

// SoftmaxRows is Softmax on each row of a packed matrix with cols columns. It panics, before it
// writes, if the lengths differ or are no multiple of cols, cols is not positive, or dst overlaps x
// without being x.
func SoftmaxRows(dst, x []float32, cols int) {
	checkVectors("SoftmaxRows", dst, x)
	if cols <= 0 {
		panic(fmt.Sprintf("attn: SoftmaxRows: cols is %d, want 1 or more", cols))
	}
	if len(x)%cols != 0 {
		panic(fmt.Sprintf("attn: SoftmaxRows: x has %d elements, want a multiple of %d, cols", len(x), cols))
	}
	if cols <= narrowRow {
		softmaxNarrow(dst, x, cols)
		return
	}
	for ; len(x) > 0; dst, x = dst[cols:], x[cols:] {
		softmax(dst[:cols], x[:cols])
	}
}

// SoftmaxGradient sets dx[i] = y[i] * (dy[i] - sum_j y[j]*dy[j]): from y, a result of [Softmax], and dy, the gradient of a
// loss with respect to that, it gets the gradient with respect to what the softmax was of. It panics, before it writes, if the
// lengths differ or dx overlaps y or dy without being it.
//
// With u = 2^-24, n elements, k of [Dot] and D = sum_j |y[j]*dy[j]|, an element is off by at most u*|dx[i]| + |y[i]| * (u*(|dy[i]| +
// D) + gamma_k*D), to first order and where nothing underflows.
func SoftmaxGradient(dx, y, dy []float32) {
	if len(dx) != len(y) || len(dx) != len(dy) {
		panic(fmt.Sprintf("attn: SoftmaxGradient: dx has %d elements, y %d and dy %d", len(dx), len(y), len(dy)))
	}
	for i, x := range [...][]float32{y, dy} {
		if len(x) > 0 && &dx[0] != &x[0] && overlap(dx, x) {
			panic(fmt.Sprintf("attn: SoftmaxGradient: dx overlaps %s without being it", [...]string{"y", "dy"}[i]))
		}
	}
	norm := tile.Norm{asm.Dot(y, dy), 1, 0}
	for len(dx) > 0 {
		n := min(len(dx), len(zeros))
		asm.Normalize(dx[:n], dy[:n], y[:n], zeros[:n], &norm)
		dx, y, dy = dx[n:], y[n:], dy[n:]
	}
}

// zeros are a bias of nothing.
var zeros [1 << 12]float32

// narrowRow is the most columns of rows that go side by side, as a call for each takes longer.
const narrowRow = 16

// softmaxNarrow takes the exponentials of many rows in one call. A lane of a sum has one element or
// none, so that of the sums only their folding is left.
func softmaxNarrow(dst, x []float32, cols int) {
	const most = 1 << 10
	half := 1 << bits.Len(uint(cols-1)) / 2 // the first step that adds more than zeros
	for n := 0; len(x) > 0; dst, x = dst[n:], x[n:] {
		n = min(most/cols*cols, len(x))
		for i := 0; i < n; i += cols {
			row, to := x[i:][:cols], dst[i:][:cols]
			m := float32(math.Inf(-1))
			for _, v := range row {
				if v > m {
					m = v
				}
			}
			m = tile.SafeMax(m + 0) // -0 becomes +0
			for j, v := range row {
				to[j] = v - m
			}
		}
		var unused [tile.Lanes]float32
		asm.ExpSum(dst[:n], dst[:n], 0, &unused)
		for i := 0; i < n; i += cols {
			row := dst[i:][:cols]
			var sum [narrowRow]float32
			copy(sum[:], row)
			for h := half; h > 0; h /= 2 {
				for l := range h {
					sum[l] += sum[l+h]
				}
			}
			if s := sum[0]; s != 0 {
				for j := range row {
					row[j] /= s
				}
			}
		}
	}
}

func softmax(dst, x []float32) {
	var sum [tile.Lanes]float32
	asm.ExpSum(dst, x, tile.SafeMax(asm.Max(x)), &sum)
	if s := asm.Fold(&sum); s != 0 {
		asm.Div(dst, dst, s)
	}
}

// LogSumExp returns log(sum_i e^x[i]), computed without overflow: -Inf if x is empty or all -Inf,
// NaN if x holds a NaN or +Inf.
//
// With u = 2^-24 and n elements, at most 2^29, the error is at most
// u*(|result| + min(n/32, 94 + n/2^20) + 12 + S), where S is the mean of max(x) - x[i] weighted by the
// softmax.
func LogSumExp(x []float32) float32 {
	var sum [tile.Lanes]float32
	m := asm.Max(x)
	asm.SumExp(x, tile.SafeMax(m), &sum)
	return tile.LogSum(m, asm.Fold(&sum))
}

func checkVectors(function string, dst, x []float32) {
	if len(dst) != len(x) {
		panic(fmt.Sprintf("attn: %s: dst has %d elements, x %d", function, len(dst), len(x)))
	}
	if len(x) > 0 && &dst[0] != &x[0] && overlap(dst, x) {
		panic(fmt.Sprintf("attn: %s: dst overlaps x: both have %d elements, and dst begins %d bytes after x", function, len(x), distance(x, dst)))
	}
}

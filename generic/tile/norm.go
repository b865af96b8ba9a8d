package tile

import "math"

// Moments sets the lanes of the sums of d and of d*d, where d = x[i] - m. Parts of [SumPart] elements go
// to a [LongSum].
func Moments(x []float32, m float32, sum, squares *[Lanes]float32) {
	*sum = sumOf(len(x), func(i int) float32 { return x[i] - m })
	*squares = longSum(len(x), func(first, last int) (acc [Lanes]float32) {
		for i := first; i < last; i++ {
			d := x[i] - m
			acc[i%Lanes] = FMA(d, d, acc[i%Lanes])
		}
		return acc
	})
}

// NegZero is what adds nothing, not even to -0.
var NegZero = math.Float32frombits(1 << 31)

// A Norm is what [Normalize] does to a row besides its gain and bias: y = (x - Norm[0])*Norm[1] + Norm[2].
type Norm = [3]float32

// Normalize sets dst[i] = FMA(FMA(x[i] - norm[0], norm[1], norm[2]), gain[i], bias[i]).
func Normalize(dst, x, gain, bias []float32, norm *[3]float32) {
	dst, gain, bias = dst[:len(x)], gain[:len(x)], bias[:len(x)]
	for i, v := range x {
		dst[i] = FMA(FMA(v-norm[0], norm[1], norm[2]), gain[i], bias[i])
	}
}

// Mean is the mean of n elements with the sum s.
func Mean(s float32, n int) float32 { return float32(float64(s) / float64(n)) }

// LayerNorm is the Norm of a row of n elements with a mean of about m, where s and q are the sums of
// x - m and of their squares: what m lacks of the mean is their mean.
func LayerNorm(m, s, q float32, n int, eps float32) Norm {
	c := float64(s) / float64(n)
	r := scale(float64(q)/float64(n)-float64(c*c), q, eps)
	return Norm{m, float32(r), float32(-c * r)}
}

// RMSNorm is the Norm of a row of n elements with the sum of squares q.
func RMSNorm(q float32, n int, eps float32) Norm {
	return Norm{0, float32(scale(float64(q)/float64(n), q, eps)), NegZero}
}

// scale returns 1/sqrt(v + eps), or NaN where the sum of squares overflows.
func scale(v float64, q, eps float32) float64 {
	if q > math.MaxFloat32 {
		return float64(q - q)
	}
	return 1 / math.Sqrt(max(v, 0)+float64(eps))
}

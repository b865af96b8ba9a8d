// Package naive is attention and the kernels under it as one would first write them in Go: the baseline that
// everything is compared with. Slices must have the lengths that the arguments need.
package naive

import "math"

// Dot returns the inner product of x and y.
func Dot(x, y []float32) float32 {
	var sum float32
	for i, v := range x {
		sum += v * y[i]
	}
	return sum
}

// Exp sets dst[i] = e^x[i].
func Exp(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Exp(float64(v)))
	}
}

// Softmax sets dst[i] = e^x[i] / sum_j e^x[j].
func Softmax(dst, x []float32) {
	m, sum := maximum(x), float32(0)
	for i, v := range x {
		dst[i] = float32(math.Exp(float64(v - m)))
		sum += dst[i]
	}
	for i := range dst {
		dst[i] /= sum
	}
}

// LogSumExp returns log(sum_i e^x[i]).
func LogSumExp(x []float32) float32 {
	m, sum := maximum(x), 0.0
	for _, v := range x {
		sum += math.Exp(float64(v - m))
	}
	return m + float32(math.Log(sum))
}

func maximum(x []float32) float32 {
	m := x[0]
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

// MatMul computes c = a.b of row-major matrices, m x k and k x n.
func MatMul(c, a, b []float32, m, k, n int) {
	clear(c)
	for i := range m {
		row := c[i*n:][:n]
		for p := range k {
			x := a[i*k+p]
			for j, v := range b[p*n:][:n] {
				row[j] += x * v
			}
		}
	}
}

// Attention computes one head of scaled dot-product attention, dst = softmax(q.k^T / sqrt(d)) . v, of row-major
// matrices with rows of d elements. If causal, the queries stand at the end of the keys.
func Attention(dst, q, k, v []float32, d int, causal bool) {
	AttentionIn(make([]float32, len(k)/d), dst, q, k, v, d, causal)
}

// AttentionIn is Attention that is given memory for the weights of a query.
func AttentionIn(weights, dst, q, k, v []float32, d int, causal bool) {
	queries, keys := len(q)/d, len(k)/d
	scale := float32(1 / math.Sqrt(float64(d)))
	for i := range queries {
		w := weights
		if causal {
			w = w[:i+1+keys-queries]
		}
		for j := range w {
			w[j] = scale * Dot(q[i*d:][:d], k[j*d:][:d])
		}
		Softmax(w, w)
		row := dst[i*d:][:d]
		clear(row)
		for j, p := range w {
			for c, x := range v[j*d:][:d] {
				row[c] += p * x
			}
		}
	}
}

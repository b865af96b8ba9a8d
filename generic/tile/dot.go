package tile

// Dot returns the inner product of x and y, which must have the same length.
//
// With u = 2^-24, n = len(x), at most 2^43, and k = min(ceil(n/32) + 5, 99 + n/2^20), the error is at
// most gamma_k * sum |x_i*y_i| + n*2^-149, gamma_k = k*u/(1-k*u), unless a partial sum of the products
// overflows.
func Dot(x, y []float32) float32 {
	y = y[:len(x)]
	sum := longSum(len(x), func(first, last int) [Lanes]float32 { return dotChain(x[first:last], y[first:last]) })
	return Fold(&sum)
}

func dotChain(x, y []float32) (acc [Lanes]float32) {
	for ; len(x) >= Lanes; x, y = x[Lanes:], y[Lanes:] {
		for l := range acc {
			acc[l] = FMA(x[l], y[l], acc[l])
		}
	}
	if len(x) > 0 {
		var px, py [Lanes]float32 // padded by +0: FMA(+0, +0, -0) is +0
		copy(px[:], x)
		copy(py[:], y)
		for l := range acc {
			acc[l] = FMA(px[l], py[l], acc[l])
		}
	}
	return acc
}

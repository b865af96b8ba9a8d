package tile

// Dot returns the inner product of x and y, which must have the same length.
//
// With u = 2^-24, n = len(x), at most 2^28, and k = ceil(n/32) + 5, the error is at most gamma_k * sum
// |x_i*y_i| + n*2^-149, gamma_k = k*u/(1-k*u), unless a partial sum of the products overflows.
func Dot(x, y []float32) float32 {
	var acc [Lanes]float32
	y = y[:len(x)]
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
	return Fold(&acc)
}

// Fold adds up the lanes by halves: lane l to l+16, then 8, 4, 2, 1.
func Fold(sum *[Lanes]float32) float32 {
	v := *sum
	for h := Lanes / 2; h > 0; h /= 2 {
		for l := range h {
			v[l] += v[l+h]
		}
	}
	return v[0]
}

package tile

// Rotary rotates the pairs of each row of x by the angles whose cosines and sines are in the same row of cos
// and sin. Pair c is (x0, x1) = (x[c], x[cos.Dim+c]) or, interleaved, (x[2*c], x[2*c+1]):
//
//	x0' = FMA(x0, cos[c], -float32(x1*sin[c]))
//	x1' = FMA(x1, cos[c], float32(x0*sin[c]))
//
// x.Dim is 2*cos.Dim, not 0. A stride of 0 of cos and sin gives all rows the same angles.
//
// With u = 2^-24 the error of x0' is at most (1+u)*(u*(|x0'| + |x1*sin|) + 2^-149) beside the exact x0', and
// that of x1' has |x0*sin|, unless something overflows: one rounding is that of the product and one that of
// the sum, and each may be of what is subnormal.
func Rotary(x, cos, sin Rows, interleaved bool) {
	for i := range x.Len {
		row, sines := x.Row(i), sin.Row(i)
		for c, f := range cos.Row(i) {
			first, second := c, cos.Dim+c
			if interleaved {
				first, second = 2*c, 2*c+1
			}
			x0, x1 := row[first], row[second]
			row[first] = FMA(x0, f, -float32(x1*sines[c]))
			row[second] = FMA(x1, f, float32(x0*sines[c]))
		}
	}
}

package fuzz

import "math"

// Rotary returns a pair rotated by the angle with these factors, x0*cos - x1*sin and x1*cos + x0*sin, and the error
// bounds of kernel.Rotary: the product is off by u*|x1*sin| + eta, and the FMA by u times the sum with that, which
// is at most u*(|x0'| + u*|x1*sin| + eta), plus eta:
//
//	(1+u) * (u*(|x0'| + |x1*sin|) + 2*eta)
//
// and for x1' with |x0*sin|. The products are exact in float64, and the sum is off by u64 of itself.
func Rotary(x0, x1, cos, sin float32) (want, bound [2]float64) {
	for i, v := range [2][2]float32{{x0, -x1}, {x1, x0}} {
		a, b := float64(v[0])*float64(cos), float64(v[1])*float64(sin)
		want[i] = a + b
		bound[i] = (1+u)*(u*(math.Abs(want[i])+math.Abs(b))+2*eta) + 2*u64*math.Abs(want[i])
		if !(math.Abs(a)+math.Abs(b) <= math.MaxFloat32) {
			bound[i] = math.Inf(1)
		}
	}
	return want, bound
}

package tile

import (
	"math"

	. "github.com/selfattn/attn/generic/tile/exponent"
)

const (
	signBit = math.MaxInt32 + uint32(1)
	absBits = uint32(math.MaxInt32)
)

// Gelu sets dst[i] = x[i]*Phi(x[i]), with the distribution function Phi of the normal distribution.
// The slices must have the same length, and may be the same.
//
// With t = |x| and Phi(-t) = e^(ln(1/2) + t*(c+u)), GELU is x - t*Phi(-t) for x >= 0 and -t*Phi(-t) below.
func Gelu(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = gelu(v)
	}
}

func gelu(x float32) float32 {
	t := math.Float32frombits(math.Float32bits(x) & absBits)
	if t > GeluMax { // comparisons let NaN pass
		t = GeluMax
	}
	square, odd, u := float32(t*t), GeluOdd[0], GeluEven[0]
	for i := range GeluOdd[1:] {
		odd, u = FMA(odd, square, GeluOdd[i+1]), FMA(u, square, GeluEven[i+1])
	}
	u = FMA(odd, t, u)
	positive := math.Float32frombits(min(math.Float32bits(x), signBit)) // x, or -0 if that is negative
	return FMA(-t, expSum(t, GeluC, GeluN, u, GeluBias), positive)
}

// GeluTanh sets dst[i] = x[i]/(1 + e^-2y), y = sqrt(2/pi)*(x[i] + 0.044715*x[i]^3), which is
// x[i]*(1 + tanh(y))/2. The slices must have the same length, and may be the same.
func GeluTanh(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = geluTanh(v)
	}
}

func geluTanh(x float32) float32 {
	if x < GeluTanhMin {
		x = GeluTanhMin
	}
	t := x
	if t > GeluTanhMax {
		t = GeluTanhMax
	}
	u := FMA(GeluTanh3, float32(t*t), GeluTanhLo)
	return x / (expSum(t, GeluTanhC, GeluTanhN, u, MagicB) + 1)
}

// Silu sets dst[i] = x[i]/(1 + e^-x[i]). The slices must have the same length, and may be the same.
func Silu(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = silu(v)
	}
}

func silu(x float32) float32 {
	if x < SiluMin {
		x = SiluMin
	}
	t := x
	if t > SiluMax {
		t = SiluMax
	}
	return x / (expBiased(0-t) + 1)
}

// expSum returns e^(t*(c+u)) times the power of two that bias adds to MagicB; n is c*PerLog. Results from
// 2^128 on are +Inf, and those whose exponent, rounded down, is -127 are +0.
func expSum(t, c, n, u, bias float32) float32 {
	s := float32(u*PerLog) + n
	z := FMA(s, t, bias)
	k := z - bias
	r := FMA(t, c, float32(k*-Ln2Hi))
	r = FMA(k, -Ln2Lo, r)
	r = FMA(t, u, r)
	return float32(expTable(z, expPoly(r)) * biased(z))
}

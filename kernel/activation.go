package kernel

import "github.com/selfattn/attn/asm"

// GELU sets dst[i] = x[i]*Phi(x[i]), where Phi is the distribution function of the standard normal
// distribution: the exact form, with erf. It panics, before it writes, if the lengths differ or dst
// overlaps x without being x.
//
// For x >= -1 the error is at most 2 ulp, below that 2 ulp or 2^-26*|x|, whichever is larger. ±0, +Inf
// and NaN stay what they are; -Inf, and what is below -12.96, where |x|*Phi(x) is less than 2^-123, becomes -0.
func GELU(dst, x []float32) {
	checkVectors("GELU", dst, x)
	asm.Gelu(dst, x)
}

// GELUTanh sets dst[i] = x[i]*(1 + tanh(y))/2, y = sqrt(2/pi)*(x[i] + 0.044715*x[i]^3), the approximation of
// GELU that some models are trained with. It panics, before it writes, if the lengths differ or dst
// overlaps x without being x.
//
// The error against this formula is at most 2 ulp for x >= -1, below that 2 ulp or 2^-26*|x|, whichever is larger. ±0,
// +Inf and NaN stay what they are; -Inf, and what is below -10.06, becomes -0.
func GELUTanh(dst, x []float32) {
	checkVectors("GELUTanh", dst, x)
	asm.GeluTanh(dst, x)
}

// SiLU sets dst[i] = x[i]/(1 + e^-x[i]). It panics, before it writes, if the lengths differ or dst
// overlaps x without being x.
//
// For x >= -1 the error is at most 2 ulp, below that 2 ulp or 2^-26*|x|, whichever is larger. ±0, +Inf
// and NaN stay what they are; -Inf, and what is below -88.68, becomes -0.
func SiLU(dst, x []float32) {
	checkVectors("SiLU", dst, x)
	asm.Silu(dst, x)
}

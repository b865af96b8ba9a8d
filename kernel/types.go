package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
)

// Type is a type of stored elements. Arithmetic is always that of float32.
type Type int

// The types. Elements of Int8 are integers from -127 to 127 times a scale. Of packed weights arithmetic is that of the rounded
// products, which [Dequantize] gives. Attention over a [Cache] takes the integers, and multiplies a score and a weight once by the
// scale of their row.
const (
	Float32  Type = iota
	Float16       // IEEE 754 binary16
	BFloat16      // the upper half of a float32
	Int8
)

// ToFloat16 sets dst[i] to src[i] in IEEE 754 binary16, rounded to nearest even: results below 2^-14 are
// subnormal, 65520 and more becomes Inf, and NaN stays NaN. It panics, before it writes, if the lengths differ.
func ToFloat16(dst []uint16, src []float32) {
	checkSameLength("ToFloat16", len(dst), len(src))
	asm.ToFloat16(dst, src)
}

// FromFloat16 sets dst[i] to the value of src[i], which is exact. It panics, before it writes, if the
// lengths differ.
func FromFloat16(dst []float32, src []uint16) {
	checkSameLength("FromFloat16", len(dst), len(src))
	asm.FromFloat16(dst, src)
}

// ToBFloat16 sets dst[i] to src[i] in bfloat16, the upper half of a float32, rounded to nearest even:
// subnormals are kept, what rounds to 2^128 becomes Inf, and NaN stays NaN. It panics, before it writes,
// if the lengths differ.
func ToBFloat16(dst []uint16, src []float32) {
	checkSameLength("ToBFloat16", len(dst), len(src))
	asm.ToBFloat16(dst, src)
}

// FromBFloat16 sets dst[i] to the value of src[i], which is exact. It panics, before it writes, if the
// lengths differ.
func FromBFloat16(dst []float32, src []uint16) {
	checkSameLength("FromBFloat16", len(dst), len(src))
	asm.FromBFloat16(dst, src)
}

// Quantize sets dst[i] to src[i]/scale rounded to the nearest integer, of two the even one, and returns
// scale = max |src[i]| / 127. Both are rounded quotients, as of IEEE 754. If the scale would be subnormal it
// is 0, and if an element is infinite or NaN it is NaN: then all of dst is 0. It panics, before it writes, if
// the lengths differ.
//
// What [Dequantize] gives is off by at most 0.501*scale.
func Quantize(dst []int8, src []float32) (scale float32) {
	checkSameLength("Quantize", len(dst), len(src))
	scale = tile.ScaleInt8(asm.MaxAbs(src))
	if scale > 0 {
		asm.Quantize(dst, src, scale)
	} else {
		clear(dst)
	}
	return scale
}

// largest is the larger one of m and |x|, or NaN if one of them is.
func largest(m, x float32) float32 {
	x = math.Float32frombits(math.Float32bits(x) &^ (1 << 31))
	if x > m || x != x {
		return x
	}
	return m
}

// Dequantize sets dst[i] = src[i]*scale, rounded once. It panics, before it writes, if the lengths differ.
func Dequantize(dst []float32, src []int8, scale float32) {
	checkSameLength("Dequantize", len(dst), len(src))
	asm.Dequantize(dst, src, scale)
}

func checkSameLength(function string, dst, src int) {
	if dst != src {
		panic(fmt.Sprintf("attn: %s: dst has %d elements, src %d", function, dst, src))
	}
}

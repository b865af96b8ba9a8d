package generic

import (
	"fmt"

	"github.com/selfattn/attn/generic/tile"
)

// Rotary rotates the pairs of a row in place (Su et al., RoFormer, 2021). Pair c of the len(cos) pairs is
// (x0, x1) = (x[c], x[len(cos)+c]) or, interleaved, (x[2*c], x[2*c+1]):
//
//	x0' = FMA(x0, cos[c], -float32(x1*sin[c]))
//	x1' = FMA(x1, cos[c], float32(x0*sin[c]))
//
// What x has behind the pairs stays. Rotary panics, before it writes, if sin has not as many elements as cos, x
// less than twice as many, or x overlaps cos or sin.
//
// With u = 2^-24 the error of x0' is at most (1+u)*(u*(|x0'| + |x1*sin|) + 2^-149) beside the exact x0', and
// that of x1' has |x0*sin|, unless something overflows.
func Rotary(x, cos, sin []float32, interleaved bool) {
	n := len(cos)
	switch {
	case len(sin) != n:
		panic(fmt.Sprintf("attn: generic.Rotary: sin has %d elements, cos %d", len(sin), n))
	case n > len(x)/2:
		panic(fmt.Sprintf("attn: generic.Rotary: x has %d elements, want 2*%d or more", len(x), n))
	case overlap(x, cos):
		panic("attn: generic.Rotary: x overlaps cos")
	case overlap(x, sin):
		panic("attn: generic.Rotary: x overlaps sin")
	}
	row := func(x []float32, n int) tile.Rows { return tile.Rows{Data: x, Len: 1, Dim: n} }
	tile.Rotary(row(x, 2*n), row(cos, n), row(sin, n), interleaved)
}

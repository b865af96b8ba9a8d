package generic

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// A row is rotated as the reference of the kernels does, and the rest of it stays.
func TestRotary(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 3))
	for cols := range 20 {
		for _, interleaved := range []bool{false, true} {
			x, cos, sin := check.Wides(r, 2*cols+3, 20), check.Wides(r, cols, 20), check.Wides(r, cols, 20)
			want := append([]float32(nil), x...)
			tile.Rotary(tile.Rows{Data: want, Len: 1, Dim: 2 * cols}, tile.Rows{Data: cos, Len: 1, Dim: cols}, tile.Rows{Data: sin, Len: 1, Dim: cols}, interleaved)
			Rotary(x, cos, sin, interleaved)
			for i := range x {
				if !check.Same(want[i], x[i]) {
					t.Fatalf("%d pairs: element %d is %g, want %g", cols, i, x[i], want[i])
				}
			}
		}
	}
}

// Wrong arguments panic before anything is written, and what is enough does not.
func TestRotaryArguments(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6}
	before := slices.Clone(x)
	for want, call := range map[string]func(){
		"attn: generic.Rotary: sin has 2 elements, cos 3":          func() { Rotary(make([]float32, 6), x[:3], x[:2], false) },
		"attn: generic.Rotary: x has 5 elements, want 2*3 or more": func() { Rotary(make([]float32, 5), x[:3], x[:3], true) },
		"attn: generic.Rotary: x overlaps cos":                     func() { Rotary(x[:2], x[1:2], []float32{1}, false) },
		"attn: generic.Rotary: x overlaps sin":                     func() { Rotary(x[1:], []float32{1}, x[1:2], false) },
	} {
		require.PanicsWithValue(t, want, call)
		require.Equal(t, before, x, want)
	}
	require.NotPanics(t, func() {
		Rotary(nil, nil, nil, false)
		Rotary(slices.Clone(x[:2]), x[:1], x[:1], true)
		Rotary(x[2:4], x[1:2], x[4:5], true)
	})
}

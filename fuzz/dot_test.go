package fuzz

import (
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func FuzzDot(f *testing.F) {
	// Draws: alignment of x and of y, limit of the length (1: 300, 7: 2^15+100), length, distribution of x.
	for _, n := range []int{0, 1, 7, 31, 32, 33, 64, 127, 128, 129, 256} {
		f.Add(seed(n%16, n%7, 1, n, n%11))
	}
	f.Add(seed(0, 0, 7, 1<<15, 0))    // one call of the assembly
	f.Add(seed(1, 2, 7, 1<<15+77, 4)) // and more
	f.Add(seed(0, 0, 1, 200, 9))      // NaN
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSource(data)
		x, y := s.Int(0, 15), s.Int(0, 15)
		n := s.Length(0, maxLength)
		checkDot(t, s.Fill(make([]float32, x+n))[x:], s.Fill(make([]float32, y+n))[y:])
	})
}

func checkDot(t *testing.T, x, y []float32) {
	got := kernel.Dot(x, y)
	asmtest.Equal(t, []float32{generic.Dot(x, y)}, []float32{got}, "Dot of %d", len(x))
	asmtest.Equal(t, []float32{got}, []float32{kernel.Dot(y, x)}, "Dot of %d, exchanged", len(x))
	want, bound := Dot(x, y)
	within(t, got, want, bound, "Dot of %d", len(x))
}

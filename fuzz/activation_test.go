package fuzz

import (
	"math"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

var activations = []struct {
	name       string
	f, generic func(dst, x []float32)
	bound      func(x float32) (want, bound float64)
}{
	{"GELU", kernel.GELU, generic.GELU, GELU},
	{"GELUTanh", kernel.GELUTanh, generic.GELUTanh, GELUTanh},
	{"SiLU", kernel.SiLU, generic.SiLU, SiLU},
}

func FuzzActivation(f *testing.F) {
	// Draws: which, alignment, limit of the length (1: 300, 7: 2^15+100), length, magnitude (1, 10, 100), distribution.
	for i, n := range []int{0, 1, 7, 8, 9, 31, 33, 127, 128, 129, 256} {
		for which := range activations {
			f.Add(seed(which, n%16, 1, n, i%3, n%11))
		}
	}
	f.Add(seed(0, 3, 7, 1<<15+77, 1, 0)) // more than one call of the assembly
	f.Add(seed(1, 0, 1, 200, 0, 8))      // any bits
	f.Add(seed(2, 0, 1, 200, 0, 9))      // NaN
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSource(data)
		a := activations[s.Int(0, len(activations)-1)]
		offset, n := s.Int(0, 15), s.Length(0, maxLength)
		size := [...]float32{1, 10, 100}[s.Int(0, 2)]
		x := s.Fill(make([]float32, offset+n))[offset:]
		for i := range x {
			x[i] *= size
		}
		want, got := canaries(n+1), canaries(n+1)
		a.generic(want[:n], x)
		a.f(got[:n], x)
		sameMemory(t, want, got, "%s of %d", a.name, n)
		in := append([]float32(nil), x...)
		a.f(in, in)
		asmtest.Equal(t, want[:n], in, "%s of %d in place", a.name, n)
		for i, y := range got[:n] {
			exact, bound := a.bound(x[i])
			if x[i] != x[i] {
				if y == y {
					t.Fatalf("%s(NaN) is %g", a.name, y)
				}
				continue
			}
			if math.IsInf(exact, 0) {
				asmtest.Equal(t, x[i:i+1], got[i:i+1], "%s(%g)", a.name, x[i])
				continue
			}
			within(t, y, exact, bound, "%s(%b)", a.name, x[i])
			if math.Signbit(float64(y)) != math.Signbit(float64(x[i])) {
				t.Fatalf("%s(%b) is %b", a.name, x[i], y)
			}
		}
	})
}

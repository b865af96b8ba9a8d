package fuzz

import (
	"math"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func FuzzExp(f *testing.F) {
	// Draws: alignment, limit of the length (1: 300, 7: 2^15+100), length, magnitude (1, 10, 100), distribution.
	for _, n := range []int{0, 1, 7, 8, 9, 31, 33, 127, 128, 129, 256} {
		f.Add(seed(n%16, 1, n, n%3, n%11))
	}
	f.Add(seed(3, 7, 1<<15+77, 1, 0)) // more than one call of the assembly
	f.Add(seed(0, 1, 200, 2, 0))      // overflow and underflow
	f.Add(seed(0, 1, 200, 0, 8))      // any bits
	f.Add(seed(0, 1, 200, 0, 9))      // NaN
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSource(data)
		offset, n := s.Int(0, 15), s.Length(0, maxLength)
		size := [...]float32{1, 10, 100}[s.Int(0, 2)]
		x := s.Fill(make([]float32, offset+n))[offset:]
		for i := range x {
			x[i] *= size
		}
		checkExp(t, x)
	})
}

func checkExp(t *testing.T, x []float32) {
	n := len(x)
	want, got := canaries(n+1), canaries(n+1)
	generic.Exp(want[:n], x)
	kernel.Exp(got[:n], x)
	sameMemory(t, want, got, "Exp of %d", n)
	in := append([]float32(nil), x...)
	kernel.Exp(in, in)
	asmtest.Equal(t, want[:n], in, "Exp of %d in place", n)

	for i, y := range got[:n] {
		if x[i] != x[i] {
			if y == y {
				t.Fatalf("Exp(NaN) is %g", y)
			}
			continue
		}
		exact, bound := Exp(x[i])
		within(t, y, exact, bound, "Exp(%b)", x[i])
		if (y == 0) != (exact == 0) || math.Signbit(float64(y)) {
			t.Fatalf("Exp(%b) is %b, want %g", x[i], y, exact)
		}
		if x[i] == 0 && y != 1 || x[i] < 0 && y > 1 {
			t.Fatalf("Exp(%b) is %b", x[i], y)
		}
	}

	// Neighbours are in order.
	next := append([]float32(nil), x...)
	for i, v := range x {
		next[i] = math.Nextafter32(v, float32(math.Inf(1)))
	}
	kernel.Exp(next, next)
	for i := range next {
		if next[i] < got[i] {
			t.Fatalf("Exp(%b) is %b, but of the next larger number %b", x[i], got[i], next[i])
		}
	}
}

package asmtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// Edges are the values that break arithmetic: zeros, subnormals, ties, limits, infinities and NaN.
var Edges = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 1 + 0x1p-12, -0x1p-80,
	math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, -0x1p-127,
	math.MaxFloat32, -math.MaxFloat32, 1e30, -1e30, 88.72283, -87.3365, -103.97,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
	math.Float32frombits(0x7fc00fff), math.Float32frombits(0xffffffff), math.Float32frombits(0x7f800001),
}

// Kind is a distribution of test inputs.
type Kind int

// The kinds: normal values, values scaled by powers of two over the whole range, ties and
// near-cancellations, and normal values with edges strewn in.
const (
	Normal Kind = iota
	Wide
	Ties
	WithEdges
	Kinds
)

// Fill sets x to random values of a kind and returns it.
func Fill(r *rand.Rand, x []float32, kind Kind) []float32 {
	for i := range x {
		switch kind {
		case Normal:
			x[i] = float32(r.NormFloat64())
		case Wide:
			x[i] = float32(math.Ldexp(r.NormFloat64(), r.IntN(200)-100))
		case Ties:
			x[i] = float32(r.IntN(1<<12)-1<<11) * 0x1p-12
			if r.IntN(4) == 0 {
				x[i] = 1 + float32(r.IntN(8))*0x1p-12
			}
		case WithEdges:
			x[i] = float32(r.NormFloat64() * 10)
			if r.IntN(9) == 0 {
				x[i] = Edges[r.IntN(len(Edges))]
			}
		}
	}
	return x
}

// SameBits reports whether a and b are the same float32, all NaN being one.
func SameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Equal fails the test unless got and want have the same bits.
func Equal(t testing.TB, want, got []float32, format string, args ...any) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%s: %d elements, want %d", fmt.Sprintf(format, args...), len(got), len(want))
	}
	for i := range want {
		if !SameBits(want[i], got[i]) {
			t.Fatalf("%s: element %d is %g (%#08x), want %g (%#08x)", fmt.Sprintf(format, args...), i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

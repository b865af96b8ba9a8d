package tile

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

// vectors calls f with pairs of vectors of many lengths and kinds.
func vectors(r *rand.Rand, f func(kind string, x, y []float32)) {
	lengths := []int{255, 256, 257, 1000, 4096}
	for n := range 4*Lanes + 2 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		f("normal", check.Normals(r, n, 1), check.Normals(r, n, 1))
		f("wide", check.Wides(r, n, 30), check.Wides(r, n, 30))
		f("tiny", check.Wides(r, n, 1), check.Normals(r, n, 0x1p-140))
		x, y := check.Normals(r, n, 1), check.Normals(r, n, 1)
		copy(x[n/2:], x[:n/2]) // cancels but for the last bits
		for i := range n / 2 {
			y[n/2+i] = -y[i] * (1 + 0x1p-20)
		}
		f("cancelling", x, y)
	}
}

func TestDotBound(t *testing.T) {
	var w check.Worst
	vectors(rand.New(rand.NewPCG(1, 1)), func(kind string, x, y []float32) {
		want, abs := check.ExactDot(0, x, y)
		a, _ := abs.Float64()
		n := len(x)
		w.Check(t, check.Ratio(Dot(x, y), want, check.Gamma((n+Lanes-1)/Lanes+5)*a+float64(n)*0x1p-150), "Dot of %d %s elements", n, kind)
	})
	t.Logf("largest error: %.2f of the bound", w)
}

// Element i goes to lane i mod 32, the lanes fold by halves, and a tail is as if padded by +0.
func TestDotLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for n := range 3 * Lanes {
		x, y := check.Wides(r, n, 20), check.Wides(r, n, 20)
		lane := make([]float32, Lanes)
		for i := range x {
			lane[i%Lanes] = FMA(x[i], y[i], lane[i%Lanes])
		}
		for len(lane) > 1 {
			h := len(lane) / 2
			for l := range h {
				lane[l] += lane[l+h]
			}
			lane = lane[:h]
		}
		if got := Dot(x, y); !check.Same(got, lane[0]) {
			t.Fatalf("n=%d: %g, want %g", n, got, lane[0])
		}
		pad := make([]float32, 4*Lanes)
		if got, padded := Dot(x, y), Dot(append(x, pad...), append(y, pad...)); !check.Same(got, padded) {
			t.Fatalf("n=%d: %g, padded %g", n, got, padded)
		}
	}
}

func TestDotSpecials(t *testing.T) {
	for _, c := range []struct {
		x, y []float32
		want float32
	}{
		{nil, nil, 0},
		{[]float32{check.NegZero}, []float32{1}, 0}, // chains start at +0
		{[]float32{check.PosInf}, []float32{1}, check.PosInf},
		{[]float32{check.PosInf, 1}, []float32{0, 1}, check.NaN},
		{[]float32{check.PosInf, check.NegInf}, []float32{1, 1}, check.NaN},
		{[]float32{1, check.NaN}, []float32{1, 0}, check.NaN},
		{[]float32{math.MaxFloat32, math.MaxFloat32}, []float32{1, 1}, check.PosInf},
	} {
		if got := Dot(c.x, c.y); !check.Same(got, c.want) {
			t.Errorf("Dot(%g, %g) = %g, want %g", c.x, c.y, got, c.want)
		}
	}
}

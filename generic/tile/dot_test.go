package tile

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

// vectors calls f with pairs of vectors of many lengths and kinds.
func vectors(r *rand.Rand, f func(kind string, x, y []float32)) {
	lengths := []int{255, 256, 257, 1000, 1024, 1025, 4096, SumPart + 1}
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
		w.Check(t, check.Ratio(Dot(x, y), want, check.Gamma(min((n+Lanes-1)/Lanes+5, 99+n>>20))*a+float64(n)*0x1p-150), "Dot of %d %s elements", n, kind)
	})
	t.Logf("largest error: %.2f of the bound", w)
}

// levels returns the lanes of a sum of n terms, one element after the other: where a level is full,
// what it holds goes to the next.
func levels(n int, add func(lane float32, i int) float32) [Lanes]float32 {
	var level [4][Lanes]float32
	carry := func(from int) {
		for l := range Lanes {
			level[from+1][l] += level[from][l]
			level[from][l] = 0
		}
	}
	for i := range n {
		level[0][i%Lanes] = add(level[0][i%Lanes], i)
		for k, full := range []int{SumBlock, SumPart, sumSpan * SumPart} {
			if n > SumBlock && (i+1)%full == 0 {
				carry(k)
			}
		}
	}
	if n > SumBlock {
		for k := range 3 {
			carry(k)
		}
		return level[3]
	}
	return level[0]
}

// Element i goes to lane i mod 32, in levels, the lanes fold by halves, and a tail is as if padded
// by +0.
func TestDotLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	lengths := []int{SumBlock - 1, SumBlock, SumBlock + 1, 2*SumBlock + 77, SumPart, SumPart + 1, 2*SumPart + 5000,
		sumSpan * SumPart, sumSpan*SumPart + 3000, 2*sumSpan*SumPart + SumPart + 5}
	for n := range 3 * Lanes {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		x, y := check.Wides(r, n, 20), check.Wides(r, n, 20)
		lanes := levels(n, func(lane float32, i int) float32 { return FMA(x[i], y[i], lane) })
		lane := lanes[:]
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
		if n > SumBlock-4*Lanes {
			continue
		}
		pad := make([]float32, 4*Lanes)
		if got, padded := Dot(x, y), Dot(append(x, pad...), append(y, pad...)); !check.Same(got, padded) {
			t.Fatalf("n=%d: %g, padded %g", n, got, padded)
		}
	}
}

// Products of -0 stay where nothing is added to them, and not in longer vectors.
func TestDotNegativeZero(t *testing.T) {
	for n, want := range map[int]float32{Lanes: float32(math.Copysign(0, -1)), SumBlock: float32(math.Copysign(0, -1)), SumBlock + Lanes: 0, SumPart: 0, SumPart + Lanes: 0} {
		x, y := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i], y[i] = -0x1p-100, 0x1p-100 // the product underflows
		}
		if got := Dot(x, y); !check.Same(got, want) {
			t.Errorf("n=%d: %g, want %g", n, got, want)
		}
	}
}

// Equal terms, of which one chain would lose most.
func TestLongSums(t *testing.T) {
	n := 1 << 26
	if testing.Short() {
		n = 1 << 20
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = 0.1
	}
	if got, want := Dot(x, x), float64(n)*float64(x[0])*float64(x[0]); math.Abs(float64(got)/want-1) > 32*0x1p-24 {
		t.Errorf("Dot of %d equal elements is off by %g u", n, math.Abs(float64(got)/want-1)*0x1p24)
	}
	var lanes [Lanes]float32
	if SumExp(x, x[0], &lanes); math.Abs(float64(Fold(&lanes))/float64(n)-1) > 32*0x1p-24 {
		t.Errorf("SumExp of %d equal elements is %g", n, Fold(&lanes))
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

package generic

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile"
)

// softmax64 returns the softmax of x, its log-sum-exp and the mean of max(x)-x[i] under it, in float64.
func softmax64(x []float32) (p []float64, lse, spread float64) {
	m := math.Inf(-1)
	for _, v := range x {
		m = max(m, float64(v))
	}
	p = make([]float64, len(x))
	sum := 0.0
	for i, v := range x {
		p[i] = math.Exp(float64(v) - m)
		sum += p[i]
	}
	for i, v := range x {
		p[i] /= sum
		if p[i] > 0 {
			spread += p[i] * (m - float64(v))
		}
	}
	return p, m + math.Log(sum), spread
}

// rows calls f with rows of many lengths and spreads.
func rows(r *rand.Rand, f func(x []float32)) {
	for _, n := range []int{1, 2, 3, 31, 32, 33, 64, 100, 1000, 5000} {
		for _, scale := range []float64{0, 0.01, 1, 10, 40, 1e4, 1e30} {
			for _, shift := range []float32{0, 50, -1000, 1e6} {
				x := check.Normals(r, n, scale)
				for i := range x {
					x[i] += shift
				}
				f(x)
			}
		}
	}
}

func TestSoftmaxBound(t *testing.T) {
	var w check.Worst
	rows(rand.New(rand.NewPCG(1, 1)), func(x []float32) {
		want, _, spread := softmax64(x)
		got := make([]float32, len(x))
		Softmax(got, x)
		n, m := float64(len(x)), float64(tile.Max(x))
		sum := 0.0
		for i, p := range got {
			sum += float64(p)
			switch {
			case p > 0x1p-126:
				bound := check.U * (m - float64(x[i]) + n/Lanes + 12)
				w.Check(t, math.Abs(float64(p)-want[i])/want[i]/bound, "softmax of %d elements: x[%d] = %g, max %g", len(x), i, x[i], m)
			case p < 0 || want[i] > 0x1.01p-126:
				t.Fatalf("softmax of %d elements: %g, want %g", len(x), p, want[i])
			}
		}
		w.Check(t, math.Abs(sum-1)/(check.U*(spread+n/Lanes+12)+n*0x1p-126), "softmax of %d elements sums to %g", len(x), sum)
	})
	t.Logf("largest error: %.2f of the bound", w)
}

func TestLogSumExpBound(t *testing.T) {
	var w check.Worst
	rows(rand.New(rand.NewPCG(2, 2)), func(x []float32) {
		_, want, spread := softmax64(x)
		got := LogSumExp(x)
		bound := check.U * (math.Abs(want) + float64(len(x))/Lanes + 12 + spread)
		w.Check(t, math.Abs(float64(got)-want)/bound, "log-sum-exp of %d elements: %g, want %g", len(x), got, want)
	})
	t.Logf("largest error: %.2f of the bound", w)
}

func TestSoftmaxSpecials(t *testing.T) {
	for _, c := range []struct{ x, softmax []float32 }{
		{nil, nil},
		{[]float32{-1e30}, []float32{1}},
		{[]float32{check.NegInf}, []float32{0}},
		{[]float32{check.NegInf, check.NegInf, check.NegInf}, []float32{0, 0, 0}},
		{[]float32{check.NegInf, 3, check.NegInf, 3}, []float32{0, 0.5, 0, 0.5}},
		{[]float32{0, check.NegZero}, []float32{0.5, 0.5}},
		{[]float32{math.MaxFloat32, -math.MaxFloat32}, []float32{1, 0}}, // the difference overflows
		{[]float32{1, check.NaN, 2}, []float32{check.NaN, check.NaN, check.NaN}},
		{[]float32{check.NaN}, []float32{check.NaN}},
		{[]float32{check.NaN, check.NegInf}, []float32{check.NaN, check.NaN}},
		{[]float32{1, check.PosInf}, []float32{check.NaN, check.NaN}},
		{[]float32{check.PosInf, check.NegInf}, []float32{check.NaN, check.NaN}},
	} {
		got := append([]float32(nil), c.x...)
		Softmax(got, got) // in place
		for i := range got {
			if !check.Same(got[i], c.softmax[i]) {
				t.Errorf("softmax of %g is %g, want %g", c.x, got, c.softmax)
				break
			}
		}
	}
	for _, c := range []struct {
		x    []float32
		want float32
	}{
		{nil, check.NegInf},
		{[]float32{check.NegInf, check.NegInf}, check.NegInf},
		{[]float32{0}, 0},
		{[]float32{check.NegInf, -5}, -5},
		{[]float32{math.MaxFloat32, math.MaxFloat32}, math.MaxFloat32}, // ln 2 is far below an ulp
		{[]float32{-1e30}, -1e30},
		{[]float32{1, 1}, float32(1 + math.Ln2)},
		{[]float32{1, check.NaN}, check.NaN},
		{[]float32{1, check.PosInf}, check.NaN},
	} {
		if got := LogSumExp(c.x); !check.Same(got, c.want) {
			t.Errorf("LogSumExp(%g) = %g, want %g", c.x, got, c.want)
		}
	}
}

// Rows are softmaxes of their own, in place, too.
func TestSoftmaxRows(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 4))
	for _, cols := range []int{1, 3, 40} {
		x := check.Normals(r, 7*cols, 3)
		want := make([]float32, len(x))
		for i := 0; i < len(x); i += cols {
			Softmax(want[i:][:cols], x[i:][:cols])
		}
		if SoftmaxRows(x, x, cols); check.Digest(x) != check.Digest(want) {
			t.Errorf("rows of %d are %g, want %g", cols, x, want)
		}
	}
}

package generic

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

// What an edit makes of a score, in the order of the contract; the zero value changes nothing.
func TestRowEdit(t *testing.T) {
	bias := make([]float32, TileKeys+10)
	bias[7], bias[TileKeys+3] = 0.75, check.NegInf
	e := &RowEdit{SoftCap: 2, Slope: 0.125, Position: 11, Bias: bias}
	got := float64(e.Score(3, 7)) * math.Ln2
	want := 2*math.Tanh(3*math.Ln2/2) - 0.125*4 + 0.75
	if !(math.Abs(got-want) <= 1e-6) {
		t.Errorf("a score is edited to %g, want %g", got, want)
	}
	if got := e.Score(check.NaN, TileKeys+3); got != check.NegInf {
		t.Errorf("a score that the bias hides is %g", got)
	}
	for _, x := range []float32{0, 1.5, -3, check.PosInf, check.NegInf} {
		if got := new(RowEdit).Score(x, 5); got != x {
			t.Errorf("%g is edited to %g", x, got)
		}
	}
	if p := AlibiPosition(math.MinInt); p != -1<<30 || AlibiPosition(math.MaxInt) != 1<<30 || AlibiPosition(-5) != -5 {
		t.Errorf("positions are %d to %d", p, AlibiPosition(math.MaxInt))
	}
}

// A row of one-hot values shows the weights: those of edited scores, none for a hidden key, whose value may be
// anything; a bias that is too short panics.
func TestEditedAttentionRow(t *testing.T) {
	const n = TileKeys + 5
	q, k, v := []float32{1}, make([]float32, n), make([]float32, n)
	bias := make([]float32, n)
	for j := range k {
		k[j], v[j] = float32(j%7)/4, float32(j%3)
		if j%5 == 0 {
			bias[j], v[j], k[j] = check.NegInf, check.NaN, check.PosInf
		}
	}
	e := &RowEdit{SoftCap: 1, Slope: 0.01, Position: 100, Bias: bias}
	dst := make([]float32, 1)
	e.AttentionRow(dst, q, k, v, n, 1, 1, 1)
	var sum, mix float64
	for j := range k {
		if j%5 > 0 {
			p := math.Exp2(float64(e.Score(float32(k[j]*Log2Scale(1)), j)))
			sum += p
			mix += p * float64(v[j])
		}
	}
	if !(math.Abs(float64(dst[0])-mix/sum) <= 1e-5) {
		t.Errorf("the mix is %g, want %g", dst[0], mix/sum)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic of a short bias")
		}
	}()
	e.Bias = bias[:n-1]
	e.AttentionRow(dst, q, k, v, n, 1, 1, 1)
}

// Integers with a scale for each row have the mix of their products, in which a scale multiplies a score before it is capped and the weight
// of a value, and no weight of the sum; less scales than keys panic.
func TestScaledAttentionRow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 70))
	const n, dim, vdim = TileKeys + 5, 3, 2
	integers := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.IntN(255) - 127)
		}
		return x
	}
	q, k, v := ties(r, dim), integers(n*dim), integers(n*vdim)
	e := &RowEdit{SoftCap: 2, Position: n, Slope: 1. / 64, KeyScales: make([]float32, n), ValueScales: make([]float32, n)}
	for j := range n {
		e.KeyScales[j], e.ValueScales[j] = float32(j%9)/256, float32(j%11)/64
	}
	dst := make([]float32, vdim)
	e.AttentionRow(dst, q, k, v, n, dim, vdim, 0.5)
	var sum float64
	mix := make([]float64, vdim)
	for j := range n {
		s := 0.0
		for c, x := range q {
			s += float64(x) * float64(k[j*dim+c])
		}
		s = 2*math.Tanh(s*0.5*float64(e.KeyScales[j])/2) - float64(n-j)/64
		sum += math.Exp(s)
		for c := range mix {
			mix[c] += math.Exp(s) * float64(e.ValueScales[j]) * float64(v[j*vdim+c])
		}
	}
	for c := range mix {
		if want := mix[c] / sum; !(math.Abs(float64(dst[c])-want) <= 1e-5) {
			t.Errorf("column %d is %g, want %g", c, dst[c], want)
		}
	}
	for _, short := range []*RowEdit{{KeyScales: e.KeyScales[:n-1]}, {ValueScales: e.ValueScales[:n-1]}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic of too few scales")
				}
			}()
			short.AttentionRow(dst, q, k, v, n, dim, vdim, 0.5)
		}()
	}
}

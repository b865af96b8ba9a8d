package kernel

import (
	"math"
	"testing"

	"github.com/selfattn/attn/generic"
)

// The oracle is float64 arithmetic that carries, with each value, a bound on how far the float32
// computation of the same value may be from it: a running error analysis (Higham, Accuracy and Stability
// of Numerical Algorithms, 2002, section 3.3), for any inputs without overflow.

const u = 0x1p-24 // the unit roundoff of float32

// gamma bounds the relative error of n roundings.
func gamma(n int) float64 { return float64(n) * u / (1 - float64(n)*u) }

// A bounded is a value and a bound of the error that its float32 counterpart has.
type bounded struct{ x, err float64 }

func exact(x []float32) []bounded {
	b := make([]bounded, len(x))
	for i, v := range x {
		b[i].x = float64(v)
	}
	return b
}

func exactRows(rows [][]float32) [][]bounded {
	b := make([][]bounded, len(rows))
	for i, row := range rows {
		b[i] = exact(row)
	}
	return b
}

// innerProduct is a sum of products in which each term meets at most n roundings.
func innerProduct(a, b []bounded, n int) (sum bounded) {
	size := 0.0 // of the float32 terms
	for i := range a {
		sum.x += a[i].x * b[i].x
		sum.err += math.Abs(a[i].x)*b[i].err + a[i].err*math.Abs(b[i].x) + a[i].err*b[i].err
		size += (math.Abs(a[i].x) + a[i].err) * (math.Abs(b[i].x) + b[i].err)
	}
	sum.err += gamma(n)*size + float64(len(a)+n)*0x1p-149
	return sum
}

// projection is the product of rows and a matrix, plus a bias if it is not nil.
func projection(x [][]bounded, w Matrix, bias []float32) [][]bounded {
	y := make([][]bounded, len(x))
	for i := range x {
		row := x[i]
		if bias != nil {
			row = append([]bounded{{x: 1}}, row...)
		}
		for j := range w.Cols {
			var column []float32
			if bias != nil {
				column = append(column, bias[j])
			}
			for k := range w.Rows {
				column = append(column, w.Data[k*w.Stride+j])
			}
			y[i] = append(y[i], innerProduct(row, exact(column), len(row)))
		}
	}
	return y
}

// mergeRoundings bounds the roundings that a term of a sum over n keys meets: the chain
// of a tile, a merge for each tile, and the normalization.
func mergeRoundings(n int) int {
	return min(n, generic.TileKeys) + (n+generic.TileKeys-1)/generic.TileKeys + 3
}

// attentionWeights is the softmax of scale * k.q.
func attentionWeights(q []bounded, k [][]bounded, scale float32) []bounded {
	s := make([]bounded, len(k))
	top := math.Inf(-1)
	for j := range k {
		s[j] = innerProduct(q, k[j], len(q)+2) // the scale is rounded, and multiplied into q
		s[j].x *= float64(scale)
		s[j].err *= math.Abs(float64(scale))
		top = math.Max(top, s[j].x+s[j].err)
	}
	sum, most := 0.0, 0.0
	for j := range s {
		// The difference to the maximum, up to 1 larger in base 2, is rounded; exp2 errs by 0.80 ulp.
		s[j].err += u * (top - s[j].x + s[j].err + 3)
		sum += math.Exp(s[j].x - top)
		most = math.Max(most, s[j].err)
	}
	for j := range s {
		p := math.Exp(s[j].x-top) / sum
		relative := math.Expm1(s[j].err + most + gamma(mergeRoundings(len(s))))
		s[j] = bounded{p, p*relative + 0x1p-124} // flushed below 2^-126
	}
	return s
}

// mixed is the mix of the values by the weights.
func mixed(weights []bounded, v [][]bounded) []bounded {
	if len(v) == 0 {
		return nil
	}
	out := make([]bounded, len(v[0]))
	column := make([]bounded, len(v))
	for c := range out {
		for j := range v {
			column[j] = v[j][c]
		}
		out[c] = innerProduct(weights, column, mergeRoundings(len(v)))
	}
	return out
}

// within fails unless each element of got is within its bound, and returns the largest error / bound.
func within(t testing.TB, want []bounded, got []float32, what string) (worst float64) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i, w := range want {
		d := math.Abs(float64(got[i]) - w.x)
		if !(d <= w.err) {
			t.Fatalf("%s: element %d is %g, want %g within %g, is off by %g", what, i, got[i], w.x, w.err, d)
		}
		worst = math.Max(worst, d/w.err)
	}
	return worst
}

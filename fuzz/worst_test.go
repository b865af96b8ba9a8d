package fuzz

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// The worst errors over fixed inputs, as fractions of their bounds. The bounds hold for every order
// of operations that they allow; an error that doubles, though within its bound, is an order that
// has changed for the worse. One that halves needs a new figure here, or the alarm would be deaf.
func TestWorstErrors(t *testing.T) {
	for _, c := range []struct {
		name      string
		committed [2]float64
		measure   func(r *rand.Rand, n int) float64
	}{
		{"dot product", [2]float64{0.187, 0.00558}, func(r *rand.Rand, n int) float64 {
			x, y := normals(r, n, 1), normals(r, n, 1)
			want, bound := Dot(x, y)
			return Ratio(kernel.Dot(x, y), want, bound)
		}},
		{"sum", [2]float64{0.343, 0.0375}, func(r *rand.Rand, n int) float64 { // of positive terms: nothing cancels
			x, ones := make([]float32, n), make([]float32, n)
			for i := range x {
				x[i], ones[i] = r.Float32(), 1
			}
			want, bound := Dot(x, ones)
			return Ratio(kernel.Dot(x, ones), want, bound)
		}},
		{"matrix product", [2]float64{0.0801, 0.00145}, func(r *rand.Rand, n int) float64 {
			x, y, c := normals(r, n, 1), normals(r, n, 1), make([]float32, 1)
			require.NoError(t, kernel.MatMul(kernel.Matrix{Rows: 1, Cols: 1, Stride: 1, Data: c},
				kernel.Matrix{Rows: 1, Cols: n, Stride: n, Data: x}, kernel.Matrix{Rows: n, Cols: 1, Stride: 1, Data: y}, nil))
			want, bound := Chain(x, y)
			return Ratio(c[0], want, bound)
		}},
		{"exponential", [2]float64{0.959, 0.959}, func(r *rand.Rand, n int) (worst float64) {
			x, y := make([]float32, n), make([]float32, n)
			for i := range x {
				x[i] = float32(r.Float32()*190) - 103 // not fused: the same everywhere
			}
			kernel.Exp(y, x)
			for i := range x {
				want, bound := Exp(x[i])
				worst = max(worst, Ratio(y[i], want, bound))
			}
			return worst
		}},
		{"softmax", [2]float64{0.758, 0.373}, func(r *rand.Rand, n int) (worst float64) {
			x, y := normals(r, n, 4), make([]float32, n)
			kernel.Softmax(y, x)
			want, bound := Softmax(x)
			for i := range x {
				worst = max(worst, Ratio(y[i], want[i], bound[i]))
			}
			return worst
		}},
		{"log-sum-exp", [2]float64{0.668, 0.256}, func(r *rand.Rand, n int) float64 {
			x := normals(r, n, 4)
			want, bound := LogSumExp(x)
			return Ratio(kernel.LogSumExp(x), want, bound)
		}},
		{"attention, scores of 1", [2]float64{0.0955, 0.0137}, func(r *rand.Rand, n int) float64 {
			row := NewRow(r.Uint64(), n, 1)
			return measure(t, row, attendRow(row)).Ratio
		}},
		{"attention, scores of 10", [2]float64{0.115, 0.0607}, func(r *rand.Rand, n int) float64 {
			row := NewRow(r.Uint64(), n, 10)
			return measure(t, row, attendRow(row)).Ratio
		}},
		{"attention, scores of 100", [2]float64{0.0953, 0.071}, func(r *rand.Rand, n int) float64 {
			row := NewRow(r.Uint64(), n, 100)
			return measure(t, row, attendRow(row)).Ratio
		}},
	} {
		for i, most := range []int{60, 2000} { // short and long: errors grow less than bounds
			r := rand.New(rand.NewPCG(6, 6))
			worst := 0.0
			for range 100_000 / most {
				worst = max(worst, c.measure(r, most/2+r.IntN(most/2)))
			}
			t.Logf("%s of up to %d: error at most %.3g of the bound, committed %.3g", c.name, most, worst, c.committed[i])
			require.LessOrEqual(t, worst, 1.0, "%s of up to %d exceeds its bound", c.name, most)
			require.LessOrEqual(t, worst, 2*c.committed[i], "%s of up to %d: the worst error has doubled", c.name, most)
			require.GreaterOrEqual(t, worst, c.committed[i]/2, "%s of up to %d: the committed figure is out of date", c.name, most)
		}
	}
}

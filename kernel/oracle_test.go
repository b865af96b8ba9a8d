package kernel

import (
	"testing"

	"github.com/selfattn/attn/fuzz"
	"github.com/stretchr/testify/require"
)

// Exact results and bounds of their errors are those of package fuzz.

// within fails unless each element of got is within its bound, and returns the largest error / bound.
func within(t testing.TB, want, bound []float64, got []float32, what string) (worst float64) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i, x := range got {
		require.Less(t, bound[i], 1e30, "%s: element %d has no bound", what, i)
		ratio := fuzz.Ratio(x, want[i], bound[i])
		require.LessOrEqual(t, ratio, 1.0, "%s: element %d is %g, want %g within %g", what, i, x, want[i], bound[i])
		worst = max(worst, ratio)
	}
	return worst
}

// withinAttention holds the output of a query that sees the keys k to its bound.
func withinAttention(t testing.TB, q []float32, k, v [][]float32, scale float32, out []float32, what string) float64 {
	t.Helper()
	want, bound := fuzz.Attention(q, k, v, scale)
	return within(t, want, bound, out, what)
}

// withinWeights holds the weights of a query that sees the keys k to theirs: they are the mix of the
// rows of an identity matrix, and their sum is 1.
func withinWeights(t testing.TB, q []float32, k [][]float32, scale float32, weights []float32, what string) float64 {
	t.Helper()
	identity, ones := make([][]float32, len(k)), make([]float32, len(k))
	for j := range k {
		identity[j], ones[j] = make([]float32, len(k)), 1
		identity[j][j] = 1
	}
	if len(k) > 0 {
		sum, bound := fuzz.Mix(weights, ones)
		require.InDelta(t, 1, sum, bound, "%s: sum", what)
	}
	return withinAttention(t, q, k, identity, scale, weights, what)
}

// withinMix holds an output to what the weights of its query make of the values.
func withinMix(t testing.TB, weights []float32, v [][]float32, out []float32, what string) {
	t.Helper()
	want, bound := make([]float64, len(out)), make([]float64, len(out))
	column := make([]float32, len(v))
	for c := range out {
		for j, row := range v {
			column[j] = row[c]
		}
		want[c], bound[c] = fuzz.Mix(weights, column)
	}
	within(t, want, bound, out, what)
}

// withinProduct holds y to the bound of x.w + bias: the chain of [1, x].[bias; w].
func withinProduct(t testing.TB, x []float32, w Matrix, bias, y []float32, what string) float64 {
	t.Helper()
	if bias != nil {
		x = append([]float32{1}, x...)
	}
	want, bound := make([]float64, w.Cols), make([]float64, w.Cols)
	for j := range w.Cols {
		var column []float32
		if bias != nil {
			column = append(column, bias[j])
		}
		for _, row := range w.rows() {
			column = append(column, row[j])
		}
		want[j], bound[j] = fuzz.Chain(x, column)
	}
	return within(t, want, bound, y, what)
}

package fuzz

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// A drawn row has scores of the spread that was asked for, around 0, and values from [0, 1).
func TestNewRow(t *testing.T) {
	for _, size := range []float64{0, 0.01, 1, 30} {
		row := NewRow(7, 20_000, size)
		require.Equal(t, 20_000, row.Keys)
		var mean, square float64
		for _, key := range chunks(row.K, row.Dim) {
			score := 0.0
			for i, x := range key {
				score += float64(row.Scale) * float64(row.Q[i]) * float64(x)
			}
			mean += score / 20_000
			square += score * score / 20_000
		}
		require.InDelta(t, 0, mean, 0.05*size)
		require.InDelta(t, size, math.Sqrt(square), 0.05*size)
		least, most := float32(math.Inf(1)), float32(math.Inf(-1))
		for _, v := range row.V {
			least, most = min(least, v), max(most, v)
		}
		require.True(t, 0 <= least && least < 0.01 && 0.99 < most && most < 1, "values from %g to %g", least, most)
	}
}

// What is measured is the distance from the exact result: it grows by what is added, in any column and in
// either direction.
func TestMeasure(t *testing.T) {
	row := NewRow(3, 50, 2)
	row.V[row.VDim+1] = -4 // the largest magnitude
	want, bound := Attention(row.Q, chunks(row.K, row.Dim), chunks(row.V, row.VDim), row.Scale)
	lo, hi := Hull(row.Q, chunks(row.K, row.Dim), chunks(row.V, row.VDim), row.Scale)
	out := make([]float32, row.VDim)
	widest := 0.0
	for c, x := range want {
		out[c] = float32(x)
		widest = max(widest, bound[c])
	}
	d := measure(t, row, out)
	require.True(t, d.InHull)
	require.Less(t, d.Error, 1.0, "rounding")
	require.InEpsilon(t, widest/(u*4), d.Bound, 1e-9)
	for c := range out {
		for _, off := range []float64{-3, 3} {
			was := out[c]
			out[c] = float32(want[c] + off*bound[c])
			d := measure(t, row, out)
			err := math.Abs(float64(out[c]) - want[c])
			require.InEpsilon(t, err/(u*4), d.Error, 1e-9)
			require.InEpsilon(t, err/bound[c], d.Ratio, 1e-9)
			require.InDelta(t, 3, d.Ratio, 0.5)
			for _, edge := range []struct {
				x  float64
				in bool
			}{{lo[c] - 1e-3, false}, {lo[c], true}, {hi[c], true}, {hi[c] + 1e-3, false}} {
				out[c] = float32(edge.x)
				if y := float64(out[c]); edge.in && (y < lo[c] || y > hi[c]) {
					out[c] = math.Nextafter32(out[c], was) // it was rounded outwards
				}
				require.Equal(t, edge.in, measure(t, row, out).InHull, "column %d is %g in [%g, %g]", c, out[c], lo[c], hi[c])
			}
			out[c] = float32(math.NaN())
			d = measure(t, row, out)
			require.True(t, math.IsInf(d.Error, 1) && math.IsInf(d.Ratio, 1) && !d.InHull)
			out[c] = was
		}
	}
	// A bound of +Inf promises nothing.
	row.Scale = 1e9
	d = measure(t, row, out)
	require.True(t, math.IsInf(d.Bound, 1) && d.Ratio == 0, "%+v", d)
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		got         float32
		want, bound float64
		ratio       float64
	}{
		{1, 1, 0, 0}, {1, 2, 4, 0.25}, {2, 1, 4, 0.25}, {1, 2, 0, math.Inf(1)}, {-1, 1, 1, 2},
		{float32(math.NaN()), 1, 1, math.Inf(1)}, {float32(math.NaN()), math.NaN(), 1, math.Inf(1)},
	} {
		require.Equal(t, c.ratio, Ratio(c.got, c.want, c.bound), "%g for %g within %g", c.got, c.want, c.bound)
	}
}

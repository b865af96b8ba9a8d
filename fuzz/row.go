package fuzz

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A Row is one row of attention: a query of Dim elements, and the keys and values that it sees.
type Row struct {
	Q, K, V   []float32 // K [keys][Dim], V [keys][VDim]
	Dim, VDim int
	Scale     float32
}

// NewRow draws a row with n keys and values of 16 elements. Its scores are normal with the standard
// deviation size, and its values uniform in [0, 1): with one sign, so that rounding errors of sums
// show.
func NewRow(seed uint64, n int, size float64) *Row {
	const dim, vdim = 16, 16
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	row := &Row{
		Q: make([]float32, dim), K: make([]float32, n*dim), V: make([]float32, n*vdim),
		Dim: dim, VDim: vdim, Scale: 0.25, // 1/sqrt(16)
	}
	norm := 0.0
	for i := range row.Q {
		row.Q[i] = float32(r.NormFloat64())
		norm += float64(row.Q[i]) * float64(row.Q[i])
	}
	for i, x := range row.Q {
		row.Q[i] = float32(float64(x) * size / (0.25 * math.Sqrt(norm)))
	}
	for i := range row.K {
		row.K[i] = float32(r.NormFloat64())
	}
	for i := range row.V {
		row.V[i] = r.Float32()
	}
	return row
}

// Keys returns the number of keys.
func (r *Row) Keys() int { return len(r.K) / r.Dim }

// A Deviation is how far a result is from the exact one: the largest over its elements.
type Deviation struct {
	Error, Bound float64 // relative to the largest value of the row, in units of 2^-24
	Ratio        float64 // Error divided by Bound, element by element; at most 1 if the result is right
	InHull       bool    // every element is within [Hull]
}

// Measure compares a result with the exact one. Bound is +Inf, and Ratio 0, where [Attention]
// promises nothing because errors of the scores may be as large as the weights.
func (r *Row) Measure(out []float32) (d Deviation) {
	keys, values := chunks(r.K, r.Dim), chunks(r.V, r.VDim)
	want, bound := Attention(r.Q, keys, values, r.Scale)
	lo, hi := Hull(r.Q, keys, values, r.Scale)
	largest := 0.0
	for _, v := range r.V {
		largest = math.Max(largest, math.Abs(float64(v)))
	}
	d.InHull = true
	for c, x := range out {
		y := float64(x)
		err := math.Abs(y - want[c])
		if y != y {
			err = math.Inf(1)
		}
		d.InHull = d.InHull && lo[c] <= y && y <= hi[c]
		d.Error = math.Max(d.Error, err/(u*largest))
		d.Bound = math.Max(d.Bound, bound[c]/(u*largest))
		if !math.IsInf(bound[c], 1) {
			d.Ratio = math.Max(d.Ratio, Ratio(x, want[c], bound[c]))
		}
	}
	return d
}

func chunks(x []float32, n int) [][]float32 { return slices.Collect(slices.Chunk(x, n)) }

// Ratio returns the error of got divided by its bound. A NaN is infinitely far away.
func Ratio(got float32, want, bound float64) float64 {
	switch {
	case float64(got) == want:
		return 0
	case got != got:
		return math.Inf(1)
	}
	return math.Abs(float64(got)-want) / bound
}

package fuzz

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// What attention must get right by design, on inputs that break designs. The fuzz targets draw
// shapes and values; here are the extremes that they would not meet.

// newRow returns the case of a query with keys and values that are packed.
func newRow(q, k, v []float32, vdim int, scale float32) *Case {
	return &Case{Queries: 1, Keys: len(k) / len(q), Dim: len(q), VDim: vdim, Q: q, K: k, V: v, Scale: scale}
}

// attendRow is kernel.Attention on a row, by one worker.
func attendRow(c *Case) []float32 { return attendRowAs(c, 1) }

// attendRowAs computes several queries like that of the row, as another path may do it, and returns
// the output of the last.
func attendRowAs(c *Case, queries int) []float32 {
	tensor := func(x []float32, dim int) kernel.Tensor {
		return kernel.Tensor{Data: x, Batch: 1, Heads: 1, Len: len(x) / dim, Dim: dim}
	}
	dst := tensor(make([]float32, queries*c.VDim), c.VDim)
	q := tensor(slices.Repeat(c.Q, queries), c.Dim)
	if err := kernel.Attention(dst, q, tensor(c.K, c.Dim), tensor(c.V, c.VDim), &kernel.Options{Scale: c.Scale, Workers: 1}); err != nil {
		panic(err) // the shapes are right
	}
	return dst.Data[len(dst.Data)-c.VDim:]
}

// measure is Measure for the order of kernel.
func measure(t testing.TB, c *Case, out []float32) Deviation {
	t.Helper()
	d, err := c.Measure(&Kernel, out)
	require.NoError(t, err)
	return d
}

// checkCase measures a row, by the path of few queries and by that of panels, which must agree.
func checkCase(t *testing.T, c *Case, format string, args ...any) (out []float32, d Deviation) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	out = attendRow(c)
	asmtest.Equal(t, out, attendRowAs(c, 9), "%s: a panel", what)
	d = measure(t, c, out)
	require.True(t, d.InHull, "%s: %g is outside of the values", what, out)
	require.LessOrEqual(t, d.Ratio, 1.0, "%s: %g", what, out)
	return out, d
}

// long reports whether to take the longest rows, for which the pure Go kernels need half a minute.
func long() bool { return !testing.Short() && kernel.Backend() != "generic" }

// natural is a scale for which scores are exact in the units of the exponential, log 2.
const natural = math.Ln2

func TestNaturalScale(t *testing.T) { require.EqualValues(t, 1, generic.Log2Scale(natural)) }

// Scores from those that vanish to those at which one key takes all.
func TestMagnitudes(t *testing.T) {
	for _, size := range []float64{0, 1e-45, 1e-40, 1e-30, 1, 10, 100, 1e4, 1e30} {
		lengths := []int{1, 2, generic.TileKeys - 1, generic.TileKeys, generic.TileKeys + 1, 3000}
		if long() && (size == 0 || size == 10) {
			lengths = append(lengths, 1_000_000)
		}
		bounded, worst := 0, 0.0
		for _, n := range lengths {
			_, d := checkCase(t, NewRow(1, n, size), "%d keys, scores of %g", n, size)
			if !math.IsInf(d.Bound, 1) {
				bounded++
			}
			worst = max(worst, d.Ratio)
		}
		t.Logf("scores of %g: error at most %.3f of the bound, which %d of %d rows have", size, worst, bounded, len(lengths))
		require.True(t, bounded == len(lengths) || size > 100, "the bound of scores of %g", size)
	}
}

// The maximum rises with each of 10,000 tiles, by a whole unit or rarely, or falls.
func TestCreepingMaxima(t *testing.T) {
	tiles := 100
	if long() {
		tiles = 10_000
	}
	n := tiles * generic.TileKeys
	r := rand.New(rand.NewPCG(1, 1))
	for _, step := range []float32{1. / generic.TileKeys, 0x1p-12, -1. / generic.TileKeys, -0x1p-12} {
		row := newRow([]float32{1}, make([]float32, n), make([]float32, n), 1, natural)
		for j := range n {
			row.K[j], row.V[j] = float32(j)*step, 1+r.Float32()
		}
		_, d := checkCase(t, row, "steps of %g", step)
		t.Logf("%d tiles, steps of %g: error %.2f u, %.3f of the bound", tiles, step, d.Error, d.Ratio)
		require.False(t, math.IsInf(d.Bound, 1))
	}
}

// One key takes all: the output is its value, wherever in a tile, a panel or a call it stands.
func TestNeedles(t *testing.T) {
	const n, dim = 3*generic.TileKeys + 40, 24
	var places []int
	for edge := 0; edge <= n; edge += generic.TileKeys {
		places = append(places, edge-1, edge, edge+1)
	}
	places = append(places, 100, n-17, n-16, n-2, n-1)
	places = slices.DeleteFunc(places, func(j int) bool { return j < 0 })

	r := rand.New(rand.NewPCG(2, 2))
	k, v := make([]float32, n*dim), normals(r, n, 1)
	for j := range n { // of one length, so that no key is as near to another as to itself
		key := normals(r, dim, 1)
		norm := math.Sqrt(float64(generic.Dot(key, key)))
		for i, x := range key {
			k[j*dim+i] = float32(float64(x) / norm)
		}
	}
	for _, j := range places {
		row := newRow(slices.Clone(k[j*dim:][:dim]), k, v, 1, 300)
		out, _ := checkCase(t, row, "needle %d", j)
		// The others have scores that are tens below: weights of e^-20 in all.
		require.InDelta(t, v[j], out[0], 1e-6, "needle %d of %d", j, n)
	}
}

// A constant that is added to all scores changes nothing: no bit where the scores remain exact,
// and otherwise no more than the bounds allow.
func TestShiftInvariance(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	grid := func(n int, unit float32) []float32 { // exact multiples
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.IntN(64)-32) * unit
		}
		return x
	}
	for _, n := range []int{1, 31, generic.TileKeys, generic.TileKeys + 1, 1000} {
		x := grid(n, 1./8)
		want := make([]float32, n)
		kernel.Softmax(want, x)
		for _, shift := range []float32{1, -3.5, 1000, -65536} {
			shifted := slices.Clone(x)
			for i := range shifted {
				shifted[i] += shift
			}
			kernel.Softmax(shifted, shifted)
			asmtest.Equal(t, want, shifted, "Softmax of %d, shifted by %g", n, shift)
		}

		const dim, vdim = 9, 3
		row := newRow(grid(dim, 1./8), grid(n*dim, 1./8), normals(r, n*vdim, 1), vdim, natural)
		row.Q[dim-1] = 1
		set := func(shift float32) {
			for j := range n {
				row.K[j*dim+dim-1] = shift
			}
		}
		set(0)
		exact, _ := checkCase(t, row, "%d keys", n)
		for _, shift := range []float32{1, -3, 1000, -65536} { // integers: all maxima shift by them
			set(shift)
			asmtest.Equal(t, exact, attendRow(row), "attention over %d keys, scores shifted by %g", n, shift)
		}

		row.Scale = 0.7
		set(0)
		_, before := Attention(row.Q, chunks(row.K, dim), chunks(row.V, vdim), row.Scale)
		a, _ := checkCase(t, row, "%d keys", n)
		for _, shift := range []float32{0.5, -7, 100} {
			set(shift)
			_, after := Attention(row.Q, chunks(row.K, dim), chunks(row.V, vdim), row.Scale)
			b, _ := checkCase(t, row, "%d keys, scores shifted by %g", n, shift)
			for c := range a {
				require.InDelta(t, a[c], b[c], before[c]+after[c], "attention over %d keys, shifted by %g", n, shift)
			}
		}
	}
}

// The order of the keys changes nothing but roundings.
func TestKeyPermutation(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, n := range []int{2, 16, generic.TileKeys + 1, 2000} {
		for _, size := range []float64{0, 1, 10, 100} {
			row := NewRow(uint64(n), n, size)
			a, _ := checkCase(t, row, "%d keys, scores of %g", n, size)
			_, before := Attention(row.Q, chunks(row.K, row.Dim), chunks(row.V, row.VDim), row.Scale)
			k, v := chunks(slices.Clone(row.K), row.Dim), chunks(slices.Clone(row.V), row.VDim)
			for to, from := range r.Perm(n) {
				copy(row.K[to*row.Dim:], k[from])
				copy(row.V[to*row.VDim:], v[from])
			}
			b, _ := checkCase(t, row, "%d keys in another order, scores of %g", n, size)
			_, after := Attention(row.Q, chunks(row.K, row.Dim), chunks(row.V, row.VDim), row.Scale)
			for c := range a {
				require.InDelta(t, a[c], b[c], before[c]+after[c], "%d keys, scores of %g", n, size)
			}
		}
	}
}

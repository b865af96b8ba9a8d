package fuzz

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
)

// A fault is a mistake in the arithmetic that package generic defines.
type fault string

const (
	none             fault = "none"
	droppedDimension fault = "last dimension dropped"
	plainScale       fault = "scale without log2 e"
	staleMaximum     fault = "maximum of the first tile kept"
	missedRescale    fault = "sums not rescaled to a larger maximum"
	foreignMaximum   fault = "tile not rescaled to the maximum so far"
	skippedKey       fault = "last key skipped"
	doubledKey       fault = "tile one key too early"
	paddedLanes      fault = "7 padded keys in the sum"
	lostTile         fault = "last tile not in the sum"
	swappedValues    fault = "two values exchanged"
	approximate      fault = "reciprocal of 12 bits"
	halfWeights      fault = "weights of 11 bits"

	lostElement   fault = "first element lost"
	lostLane      fault = "lane of the sum lost"
	noMaximum     fault = "maximum not subtracted"
	preMultiplied fault = "multiplied by log2 e before the subtraction"
	nextFloat     fault = "next number"
)

// attentionRow is generic.AttentionRow with a fault.
func attentionRow(q []float32, k, v [][]float32, scale float32, f fault) []float32 {
	c := generic.Log2Scale(scale)
	if f == plainScale {
		c = scale
	}
	qs := make([]float32, len(q))
	for i, x := range q {
		qs[i] = x * c
	}
	if f == droppedDimension {
		qs[len(q)-1] = 0
	}
	if f == skippedKey {
		k, v = k[:len(k)-1], v[:len(v)-1]
	}
	dim, cols := len(q), len(v[0])
	kFlat, vFlat := slices.Concat(k...), slices.Concat(v...)
	s := make([]float32, generic.TileKeys)
	o, acc := make([]float32, tile.Pad(cols)), make([]float32, cols)
	M, L := float32(math.Inf(-1)), float32(0)
	for first := 0; first < len(k); first += generic.TileKeys {
		n := min(generic.TileKeys, len(k)-first)
		last := first+n == len(k)
		keys, values := kFlat[first*dim:], vFlat[first*cols:]
		if f == doubledKey && first > 0 {
			keys, values = kFlat[(first-1)*dim:], vFlat[(first-1)*cols:]
		}
		if f == swappedValues && last {
			values = slices.Clone(values)
			for i := range cols {
				values[i], values[(n-1)*cols+i] = values[(n-1)*cols+i], values[i]
			}
		}
		tile.RowScores(s, qs, 1, 1, &tile.Rows{Data: keys, Len: n, Dim: dim, Stride: dim}, n*dim)
		m := tile.RowWeights(s[:n])
		if f == halfWeights {
			for i, p := range s[:n] {
				s[i] = math.Float32frombits((math.Float32bits(p) + 1<<12) &^ (1<<13 - 1))
			}
		}
		sum := []float32{0}
		clear(o)
		tile.RowValues(o, s, sum, 1, &tile.Rows{Data: values, Len: n, Dim: cols, Stride: cols}, n*cols)
		l := sum[0]
		if f == paddedLanes && last {
			l += 7 * float32(math.Exp2(-float64(m)))
		}
		if f == lostTile && last && first > 0 {
			l = 0
		}
		next, a, b := generic.Merge(M, m)
		if f == missedRescale && first > 0 {
			a = 1
		}
		if f == foreignMaximum {
			b = 1
		}
		L = generic.MergeSum(L, l, a, b)
		tile.MergeRow(acc, o[:cols], a, b)
		if f != staleMaximum || first == 0 {
			M = next
		}
	}
	inverse := tile.Inverse(L)
	if f == approximate {
		inverse *= 1 + 0x1p-13
	}
	out := make([]float32, cols)
	tile.Scale(out, acc, inverse)
	return out
}

// Faults that a kernel could have exceed the bound of attention, and what has none does not.
//
// Not every fault shows everywhere: each is looked for over sizes of scores, numbers of keys and
// values, of which the one-hot ones make outputs of the weights of single keys. The largest ratios of error
// and bound are logged. An error of a few ulp in the exponential does not reach the bound: only
// tests of the exponential itself can see that.
func TestBoundNotices(t *testing.T) {
	worst := map[fault]float64{}
	for _, size := range []float64{0, 1, 10, 100} {
		for _, keys := range []int{1, 2, generic.TileKeys / 2, generic.TileKeys - 1, generic.TileKeys, generic.TileKeys + 1, 1000} {
			for _, oneHot := range []bool{false, true} {
				r := rand.New(rand.NewPCG(uint64(keys), uint64(size)))
				const dim, cols = 16, 4
				q, k, v := normals(r, dim, size/2), make([][]float32, keys), make([][]float32, keys)
				for j := range k {
					// Scores grow on the whole, so that maxima do.
					k[j], v[j] = normals(r, dim, 1), normals(r, cols, 1)
					for i := range k[j] {
						k[j][i] += q[i] * float32(j) / 2000
					}
					if oneHot {
						clear(v[j])
						for i, probe := range []int{0, keys / 2, keys - 2, keys - 1} {
							if j == probe {
								v[j][i] = 1
							}
						}
					}
				}
				const scale = 0.25
				want, bound := Attention(q, k, v, scale)
				lo, hi := Hull(q, k, v, scale)
				for _, f := range []fault{none, droppedDimension, plainScale, staleMaximum, missedRescale,
					foreignMaximum, skippedKey, doubledKey, paddedLanes, lostTile, swappedValues, approximate, halfWeights} {
					if keys == 1 && f == skippedKey {
						continue
					}
					for i, x := range attentionRow(q, k, v, scale, f) {
						if math.IsInf(bound[i], 1) {
							t.Fatalf("no bound for %d keys and scores of %g", keys, size)
						}
						note(worst, f, x, want[i], bound[i])
						if y := float64(x); f == none && !(lo[i] <= y && y <= hi[i]) {
							t.Fatalf("%g is not between %g and %g", y, lo[i], hi[i])
						}
					}
				}
			}
		}
	}
	demand(t, worst)

	// attentionRow is indeed that of package generic.
	r := rand.New(rand.NewPCG(1, 1))
	q, k, v := normals(r, 8, 3), make([][]float32, 300), make([][]float32, 300)
	for j := range k {
		k[j], v[j] = normals(r, 8, 1), normals(r, 5, 1)
	}
	out := make([]float32, 5)
	generic.AttentionRow(out, q, slices.Concat(k...), slices.Concat(v...), 300, 8, 5, 0.3)
	asmtest.Equal(t, out, attentionRow(q, k, v, 0.3, none), "attentionRow")
}

// The same for the bounds of vectors.
func TestVectorBoundsNotice(t *testing.T) {
	products, softmax, exp := map[fault]float64{}, map[fault]float64{}, map[fault]float64{}
	for _, n := range []int{1, 31, 32, 33, 129, 1000} {
		for _, size := range []float64{0.1, 1, 10, 1e4} {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			x, y := normals(r, n, size), normals(r, n, 1)

			want, bound := Dot(x, y)
			note(products, none, generic.Dot(x, y), want, bound)
			note(products, lostElement, generic.Dot(x[1:], y[1:]), want, bound)
			want, bound = Chain(x, y)
			note(products, none, chain(x, y), want, bound)
			note(products, lostElement, chain(x[1:], y[1:]), want, bound)

			shares, bounds := Softmax(x)
			lse, lseBound := LogSumExp(x)
			for _, f := range []fault{none, lostLane, noMaximum, preMultiplied} {
				m, z := tile.Max(x), slices.Clone(x)
				switch f {
				case noMaximum:
					m = 0
				case preMultiplied:
					for i, v := range x {
						z[i] = m + (float32(v*math.Log2E)-float32(m*math.Log2E))*math.Ln2
					}
				}
				var lanes [generic.Lanes]float32
				tile.ExpSum(z, z, m, &lanes)
				if f == lostLane {
					lanes[(n-1)%generic.Lanes] = 0
				}
				sum := tile.Fold(&lanes)
				tile.Div(z, z, sum)
				for i, p := range z {
					note(softmax, f, p, shares[i], bounds[i])
				}
				note(softmax, f, tile.LogSum(m, sum), lse, lseBound)
			}
		}
	}
	x, y := make([]float32, 100_000), make([]float32, 100_000)
	for i := range x {
		x[i] = float32(i)*0.0019 - 103 // to 87
	}
	generic.Exp(y, x)
	for i := range x {
		want, bound := Exp(x[i])
		note(exp, none, y[i], want, bound)
		note(exp, nextFloat, math.Nextafter32(y[i], 0), want, bound)
	}
	demand(t, products)
	demand(t, softmax)
	demand(t, exp)
}

// note keeps the largest ratio of an error and its bound.
func note(worst map[fault]float64, f fault, got float32, want, bound float64) {
	worst[f] = max(worst[f], Ratio(got, want, bound))
}

// demand fails the test unless every fault exceeded the bound, and correct results did not.
func demand(t *testing.T, worst map[fault]float64) {
	t.Helper()
	for f, r := range worst {
		t.Logf("%s: %.3g times the bound", f, r)
		if (f == none) != (r <= 1) {
			t.Errorf("%s: the error is %.3g times the bound", f, r)
		}
	}
}

func normals(r *rand.Rand, n int, size float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * size)
	}
	return x
}

// Where a bound begins to be infinite, and which zero an activation of -Inf is.
func TestBoundLimits(t *testing.T) {
	for _, f := range activations {
		if want, bound := f.bound(float32(math.Inf(-1))); want != 0 || !math.Signbit(want) || bound != 0 {
			t.Errorf("%s of -Inf is %g within %g, want -0 within 0", f.name, want, bound)
		}
	}
	largest := []float32{math.MaxFloat32}
	if _, bound := Dot(largest, []float32{1}); !math.IsInf(bound, 1) {
		t.Errorf("the bound of a sum that may overflow is %g", bound)
	}
	if _, bound := Dot(largest, []float32{0.75}); !(bound < 1e33) {
		t.Errorf("the bound of a sum that does not overflow is %g", bound)
	}
	c := &Case{Batch: 1, Heads: 1, KVHeads: 1, Queries: 1, Keys: 2, Dim: 1, VDim: 1, Scale: 1, SoftCap: 1, Q: []float32{1}, K: []float32{1, 2},
		V: []float32{math.MaxFloat32, math.MaxFloat32}}
	x, err := c.Exact(&Kernel)
	if err != nil {
		t.Fatal(err)
	}
	if !math.IsInf(x.Out.Bound[0], 1) || !math.IsInf(x.Low[0], -1) || !math.IsInf(x.High[0], 1) {
		t.Errorf("values that overflow are within %g, and from %g to %g", x.Out.Bound[0], x.Low[0], x.High[0])
	}
}

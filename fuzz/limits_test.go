package fuzz

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// What the docstrings of kernel promise in words and formulas, on both sides of its limits.

const (
	maxScore = 2.3e38  // of |scale*q_i| and sum |scale*q_i*k_i|, exclusive
	maxSum   = 0x1p127 // of sum |v|, exclusive
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

// below returns the largest float32 below x.
func below(x float64) float32 {
	y := float32(x)
	if float64(y) >= x {
		y = math.Nextafter32(y, -inf)
	}
	return y
}

// column is a row with keys and values of one element.
func column(q float32, k, v []float32) *Case {
	return newRow([]float32{q}, k, v, 1, 1)
}

func repeat(n int, x ...float32) []float32 {
	y := make([]float32, n)
	for i := range y {
		y[i] = x[i%len(x)]
	}
	return y
}

func TestScoreLimits(t *testing.T) {
	limit := below(maxScore)
	for _, c := range []struct {
		name string
		row  *Case
		want float32
	}{
		{"a scaled query beyond", column(3e38, []float32{1e-38, 2e-38}, []float32{0, 1}), nan}, // scores of 3 and 6
		{"a scaled query within", column(limit, []float32{0, 1e-37}, []float32{0, 1}), 1},
		{"scores beyond, negative", column(1, repeat(40, -math.MaxFloat32), repeat(40, 1)), 0}, // as if hidden
		{"scores within, negative", column(1, repeat(40, -limit), repeat(40, 1)), 1},
		{"scores beyond, positive", column(1, repeat(40, math.MaxFloat32), repeat(40, 1)), nan},
		{"scores within, positive", column(1, repeat(40, limit), repeat(40, 1)), 1},
		{"scores within, far apart", column(1, []float32{limit, -limit}, []float32{3, 4}), 3},
		{"a partial sum beyond", // of scores of 1e38 and 0
			newRow([]float32{1, 1, 1}, []float32{2e38, 2e38, -3e38, 0, 0, 0}, []float32{1, 2}, 1, 1), nan},
		{"a partial sum within",
			newRow([]float32{1, 1, 1}, []float32{1e38, 5e37, -7e37, 0, 0, 0}, []float32{1, 2}, 1, 1), 1},
	} {
		out := attendRow(c.row)
		asmtest.Equal(t, []float32{c.want}, out, "%s", c.name)
		asmtest.Equal(t, out, attendRowAs(c.row, 9), "%s: a panel", c.name)
	}

	// The limit holds however the factors share it, and whatever the signs.
	r := rand.New(rand.NewPCG(1, 7))
	tried := 0
	for range 2000 {
		dim, n := 1+r.IntN(40), 1+r.IntN(20)
		row := newRow(normals(r, dim, 1), normals(r, n*dim, 1), normals(r, n, 1), 1, 1)
		scale, largest := math.Ldexp(1+r.Float64(), r.IntN(200)-100), 0.0
		for _, x := range row.Q {
			largest = math.Max(largest, math.Abs(float64(x)))
		}
		for _, key := range chunks(row.K, dim) {
			sum := 0.0
			for i, x := range key {
				sum += math.Abs(float64(row.Q[i]) * float64(x))
			}
			for i := range key { // now sum |q_i*k_i| is 1
				key[i] = float32(float64(key[i]) / sum)
			}
		}
		// scale*q is at most of the size of the limit, and k what remains.
		size := math.Exp2(r.Float64() * 127.4)
		row.Scale = float32(scale)
		for i, x := range row.Q {
			row.Q[i] = float32(float64(x) / largest * size / scale)
		}
		for i, x := range row.K {
			row.K[i] = float32(float64(x) * largest / size * maxScore * (1 - 0x1p-20))
		}
		infinite := func(x float32) bool { return x-x != 0 }
		if size >= maxScore || slices.ContainsFunc(row.Q, infinite) || slices.ContainsFunc(row.K, infinite) {
			continue
		}
		tried++
		checkCase(t, row, "Dim %d, %d keys, queries of %g", dim, n, size)
		require.False(t, overflows(row.Q, chunks(row.K, dim), chunks(row.V, 1), row.Scale), "the limit of the docstring is within that of the bounds")
	}
	require.Greater(t, tried, 500)
}

func TestValueLimits(t *testing.T) {
	const tile = generic.TileKeys
	for _, c := range []struct {
		name string
		row  *Case
		want float32
	}{
		{"a tile beyond", column(1, repeat(2*tile, 0), append(repeat(tile, 2e36), repeat(tile, -2e36)...)), nan},
		{"all tiles beyond", column(1, repeat(1<<20, 0), repeat(1<<20, 1e33)), inf},
		{"a tile beyond that has no weight later", column(1, append(repeat(tile, 0), 1000), repeat(tile+1, 2e38)), nan},
		{"within", column(1, repeat(2*tile, 0), append(repeat(tile, below(maxSum/2/tile)), repeat(tile, -below(maxSum/2/tile))...)), 0},
		{"all tiles within", column(1, repeat(1<<16, 0), repeat(1<<16, below(0x1p111))), below(0x1p111)},
		{"one value", column(1, []float32{5}, []float32{math.MaxFloat32}), math.MaxFloat32},
	} {
		out := attendRow(c.row)
		if c.want != c.want || math.IsInf(float64(c.want), 0) || c.want == 0 {
			asmtest.Equal(t, []float32{c.want}, out, "%s", c.name)
		} else {
			require.InEpsilon(t, c.want, out[0], 1e-4, c.name)
		}
		asmtest.Equal(t, out, attendRowAs(c.row, 9), "%s: a panel", c.name)
	}

	r := rand.New(rand.NewPCG(2, 7))
	for range 300 {
		n := 1 + r.IntN(3*tile)
		row := column(1, normals(r, n, math.Exp(3*r.NormFloat64())), normals(r, n, 1))
		sum := 0.0
		for _, x := range row.V {
			sum += math.Abs(float64(x))
		}
		for i, x := range row.V {
			row.V[i] = float32(float64(x) / sum * maxSum * (1 - 0x1p-20))
		}
		checkCase(t, row, "%d keys", n)
		require.False(t, overflows(row.Q, chunks(row.K, 1), chunks(row.V, 1), 1), "the limit of the docstring is that of the bounds")
	}
}

// A weight of 0 does not hide a value that is not finite.
func TestWeightlessValues(t *testing.T) {
	for _, score := range []float32{-inf, -200} {
		for _, value := range []float32{nan, inf} {
			row := column(1, []float32{0, score}, []float32{1, value})
			asmtest.Equal(t, []float32{nan}, attendRow(row), "a score of %g, a value of %g", score, value)
			row.V[1] = math.MaxFloat32
			asmtest.Equal(t, []float32{1}, attendRow(row), "a score of %g, a finite value", score)
		}
	}
}

// The bounds in the docstrings are no tighter than the theorems, over lengths and sizes, and hold.
func TestDocumentedBounds(t *testing.T) {
	asmtest.SkipRace(t)
	r := rand.New(rand.NewPCG(3, 7))
	for _, n := range []int{1, 2, 3, 31, 32, 33, 1000, 4096, 1 << 20} {
		for _, size := range []float64{0, 0.01, 1, 10, 30} {
			if n > 1<<12 && size > 0.01 {
				continue // the length is what matters
			}
			x := normals(r, n, size)
			s := newShares(x)
			mean := 0.0
			for _, gap := range s.gap {
				mean += math.Exp(-gap) / s.sum * gap
			}
			require.LessOrEqual(t, mean, math.Log(float64(n))+1e-9)

			want, bound := Softmax(x)
			got := make([]float32, n)
			kernel.Softmax(got, x)
			for i := range x {
				if want[i] < 0x1p-126 {
					continue
				}
				documented := want[i] * math.Expm1(u*(s.gap[i]+mean+float64(n)/32+9))
				if want[i] > 0x1p-90 { // the theorem allows that an exponential is flushed
					require.LessOrEqual(t, bound[i]/oracle(n), documented, "Softmax of %d, size %g, element %d", n, size, i)
				}
				require.LessOrEqual(t, Ratio(got[i], want[i], documented), 1.0, "Softmax of %d, size %g, element %d", n, size, i)
			}

			sum, logBound := LogSumExp(x)
			lse := kernel.LogSumExp(x)
			documented := u * (math.Abs(float64(lse)) + float64(n)/32 + 12 + mean)
			require.LessOrEqual(t, logBound/oracle(n), documented, "LogSumExp of %d, size %g", n, size)
			require.LessOrEqual(t, Ratio(lse, sum, documented), 1.0, "LogSumExp of %d, size %g", n, size)
		}
	}

	for _, keys := range []int{1, 2, 100, generic.TileKeys, generic.TileKeys + 1, 5000, 3 * generic.SpanKeys} {
		for _, size := range []float64{0, 1, 10, 100} {
			row := NewRow(uint64(keys), keys, size)
			scores, largest, least, most, a := []float64{}, 0.0, math.Inf(1), math.Inf(-1), 0.0
			for _, key := range chunks(row.K, row.Dim) {
				dot, sum := 0.0, 0.0
				for i, x := range key {
					p := float64(row.Q[i]) * float64(x)
					dot += p
					sum += math.Abs(p)
				}
				scores = append(scores, dot*float64(row.Scale))
				a = math.Max(a, sum)
			}
			for _, s := range scores {
				least, most = math.Min(least, s), math.Max(most, s)
			}
			low, high := math.Inf(1), math.Inf(-1)
			for _, x := range row.V {
				largest = math.Max(largest, math.Abs(float64(x)))
				low, high = math.Min(low, float64(x)), math.Max(high, float64(x))
			}
			d, tile := float64(row.Dim), math.Min(float64(keys), generic.TileKeys)
			scored := u * (float64(row.Scale)*(d+2)*a + most - least + 3)
			mixed := 2 * u * (tile + min(float64(keys)/generic.TileKeys, generic.SpanKeys/generic.TileKeys) + float64(keys)/generic.SpanKeys + 3) * largest
			documented := scored*(high-low) + mixed
			_, bound := Attention(row.Q, chunks(row.K, row.Dim), chunks(row.V, row.VDim), row.Scale)
			sink := float32(most)
			_, sunk := EditedAttention(row.Q, chunks(row.K, row.Dim), chunks(row.V, row.VDim), row.Scale, &generic.RowEdit{Sink: &sink})
			for _, b := range sunk { // values are from 0 on
				require.LessOrEqual(t, b, 1.01*((scored+u*math.Abs(most))*high+mixed), "%d keys and a sink, scores of %g", keys, size)
			}
			for c := range bound { // the orders that the docstring leaves out are 1%, where errors are below that
				require.LessOrEqual(t, bound[c], 1.01*documented, "%d keys, scores of %g", keys, size)
			}
		}
	}

	// Where scale*log2 e underflows, only the bound of this package holds.
	row := column(1e22, []float32{0, 1e23}, []float32{0, 1})
	row.Scale = 1e-45 // the least subnormal, 1.4e-45: scores of 0 and 1.4
	_, d := checkCase(t, row, "a scale that underflows")
	require.Greater(t, d.Error, 0x1p20)
}

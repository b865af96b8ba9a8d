package generic

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/stretchr/testify/require"
)

// digests are those of the contract's functions, committed once: whatever the machine, the compiler or the version,
// these are the bits.
var digests = map[string]uint64{
	"AttentionRow of few keys": 0x55de53848a64f468,
	"of a tile more":           0x4dc1e251ad083bf5,
	"of several spans":         0xf9cfa3cc7d3e4aef,
	"AttentionGradient":        0x505dccf86eec2b53,
	"with all edits":           0xe59086bf00fa51a9,
	"MatMul":                   0x147cb392eb5ac8d3,
	"LayerNorm and RMSNorm":    0x28a237af8ac6f04a,
	"of 40":                    0xf336774a6a220e5c,
	"of 1000":                  0xfecd989e5bc168bd,
	"Dropout":                  0xcd0332abfdc91fc5,
}

// ties returns n multiples of 1/32, made of integers: equal everywhere.
func ties(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.IntN(129)-64) / 32
	}
	return x
}

// edit returns all that a row can have, for n keys: some hidden, some dropped.
func edit(r *rand.Rand, n, position int) *RowEdit {
	d := Dropout{P: 0.25, Seed: 1<<40 + 7, Offset: 3}
	e := &RowEdit{SoftCap: 1.5, Slope: 1. / 512, Position: position, Bias: ties(r, n), Sink: new(float32), Drops: d.Drops(1, 2, position), Keep: d.Keep()}
	*e.Sink = 0.75
	for j := 5; j < n; j += 11 {
		e.Bias[j] = check.NegInf
	}
	return e
}

func TestDigests(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 70))
	got := map[string]uint64{}
	add := func(name string, results ...[]float32) { got[name] = check.Digest(results...) }

	const dim, vdim = 3, 2
	for name, n := range map[string]int{"AttentionRow of few keys": 7, "of a tile more": TileKeys + 3, "of several spans": 2*SpanKeys + TileKeys + 5} {
		r := rand.New(rand.NewPCG(uint64(n), 70)) // maps have no order
		q, k, v := ties(r, dim), ties(r, n*dim), ties(r, n*(vdim+1))
		plain, edited := make([]float32, vdim), make([]float32, vdim)
		AttentionRow(plain, q, k, v, n, dim, vdim+1, 0.5)
		edit(r, n, n/2).AttentionRow(edited, q, k, v, n, dim, vdim+1, 0.5)
		add(name, plain, edited)
	}

	// Two heads, of which the second has a query less in its last block, and keys behind a unit. Queries share a bias, or none.
	for name, edited := range map[string]bool{"AttentionGradient": false, "with all edits": true} {
		r := rand.New(rand.NewPCG(2, 70))
		const queries, keys = 2*GradientQueries + 5, GradientKeys + 9
		g := gradientOf(r, queries, keys)
		shared := make([]float32, keys)
		biases := [][]float32{shared}
		fill := func(rows ...[]float32) {
			for _, row := range rows {
				copy(row, ties(r, len(row)))
			}
		}
		fill(g.K...)
		fill(g.V...)
		for h, head := range g.Queries {
			for i := range head {
				q := &head[i]
				fill(q.Q, q.O, q.DO)
				q.Sum = 1 + float32(i%8)
				if !edited {
					continue
				}
				q.Edit = edit(r, keys, i+20)
				switch {
				case i%7 < 4: // neighbours
					q.DBias = shared
				case h == 0:
					q.DBias = make([]float32, keys)
					biases = append(biases, q.DBias)
				}
			}
		}
		if g.Queries[1] = g.Queries[1][:queries-1]; edited {
			g.Keep, g.DSlopes, g.DSinks = g.Queries[0][0].Edit.Keep, make([]float64, 2), make([]float64, 2)
			g.Queries[0][9].Sees = func(int) bool { return false }
		}
		all := append(results(g), biases...)
		for _, x := range [][]float64{g.DSlopes, g.DSinks} {
			for _, v := range x {
				all = append(all, []float32{math.Float32frombits(uint32(math.Float64bits(v))), math.Float32frombits(uint32(math.Float64bits(v) >> 32))})
			}
		}
		add(name, all...)
	}

	const m, n, k = 2, 5, 2*ProductTerms + 3
	a, b := ties(r, m*k), ties(r, k*n)
	plain, sum := make([]float32, m*(n+1)), ties(r, m*(n+1))
	MatMul(plain, n+1, a, k, b, n, m, k, n)
	Product{Bias: ties(r, n), Add: true}.MatMul(sum, n+1, a, k, b, n, m, k, n)
	none := ties(r, m*n)
	Product{Bias: ties(r, n)}.MatMul(none, n, nil, 0, nil, n, m, 0, n)
	add("MatMul", plain, sum, none)

	for i, n := range []int{1, 40, 1000} {
		x, gain, bias := ties(r, n), ties(r, n), ties(r, n)
		row := func(f func(dst []float32)) []float32 { dst := make([]float32, n); f(dst); return dst }
		add([]string{"LayerNorm and RMSNorm", "of 40", "of 1000"}[i],
			row(func(dst []float32) { LayerNorm(dst, x, nil, nil, 1e-5) }), row(func(dst []float32) { LayerNorm(dst, x, gain, bias, 0.5) }),
			row(func(dst []float32) { RMSNorm(dst, x, nil, 1e-5) }), row(func(dst []float32) { RMSNorm(dst, x, gain, 0.5) }),
			row(func(dst []float32) { SoftmaxGradient(dst, x, gain) }))
	}

	var drops []float32
	for _, at := range [][3]int{{0, 0, 0}, {3, 0, 1}, {0, 5, 70}, {1, 2, 3}} {
		f := Dropout{P: 0.4, Seed: 42, Offset: 1 << 33}.Drops(at[0], at[1], at[2])
		for key := range 50 {
			drops = append(drops, map[bool]float32{true: 1}[f(key)])
		}
	}
	add("Dropout", drops)

	for name, x := range got {
		t.Logf("%q: %#016x,", name, x)
	}
	require.Equal(t, digests, got)
}

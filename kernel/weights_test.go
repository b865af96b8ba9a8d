package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// weights returns the weights of queries of one head.
func (p *problem) weights(t testing.TB, b, h int, queries ...int) [][]float32 {
	t.Helper()
	n := p.k.Len
	w := Matrix{len(queries), n, n + 1, make([]float32, len(queries)*(n+1))}
	for i := range w.Data {
		w.Data[i] = nan
	}
	require.NoError(t, AttentionWeights(w, p.q, p.k, b, h, queries, &p.o), "%v", p)
	var rows [][]float32
	for i := range queries {
		rows = append(rows, w.Data[i*w.Stride:][:n])
		require.NotEqual(t, w.Data[i*w.Stride+n], w.Data[i*w.Stride+n], "%v: a gap was written", p)
	}
	return rows
}

// An identity matrix of values makes Attention's output the weights themselves.
func TestWeightsAreAttentions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	for _, s := range []shape{
		{2, 4, 2, 20, 100, 8, 100}, {1, 1, 1, 3, edge, 16, edge}, {1, 3, 1, 40, edge + 44, 5, edge + 44}, {1, 2, 2, 1, 1024, 64, 1024}, {1, 1, 1, 60, 40, 8, 40},
	} {
		for _, causal := range []bool{false, true} {
			p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Causal: causal, Workers: 1})
			for n, row := range rows(p.v) {
				clear(row)
				row[n%s.lk] = 1
			}
			p.dst.Data = make([]float32, len(p.dst.Data))
			require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o))
			for n, row := range rows(p.dst) {
				b, h, i := n/s.lq/s.heads, n/s.lq%s.heads, n%s.lq
				asmtest.Equal(t, row, p.weights(t, b, h, i)[0], "%v: member %d head %d query %d", p, b, h, i)
			}
		}
	}
}

// Weights and outputs are within the bounds of package fuzz; a row of weights sums to 1, or to 0 if
// it sees no key; hidden keys weigh nothing whatever they hold.
func TestAttentionBound(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 8))
	worstWeight, worstOut := 0.0, 0.0
	for range trials(60) {
		kvHeads, group := 1+r.IntN(2), 1+r.IntN(3)
		s := shape{1 + r.IntN(2), kvHeads * group, kvHeads, 1 + r.IntN(20), 1 + r.IntN(edge+44), 1 + r.IntN(64), 1 + r.IntN(16)}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Causal: r.IntN(2) == 0, Workers: 1})
		p.o.Scale = pick[float32](r, 0, 1e-3, 1, -1, 10)
		out := p.attend(t)
		b, h, i := r.IntN(s.batch), r.IntN(s.heads), r.IntN(s.lq)
		n := p.seen(i)
		keys, values := view(p.k, b, 1, h/group, 1, 0, n), view(p.v, b, 1, h/group, 1, 0, n)
		query := rows(p.q)[(b*s.heads+h)*s.lq+i]

		if n < s.lk {
			p.k = relaid(r, p.k, gaps)
			for j, row := range rows(p.k) {
				if j%s.lk >= n {
					row[r.IntN(s.dim)] = pick(r, nan, inf, -inf, math.MaxFloat32)
				}
			}
		}
		weights := p.weights(t, b, h, i)[0]
		asmtest.Equal(t, make([]float32, s.lk-n), weights[n:], "%v: hidden keys of query %d", p, i)
		worstWeight = math.Max(worstWeight, withinWeights(t, query, rows(keys), p.scale(), weights[:n], p.String()+" weights"))
		if n > 0 {
			row := out[((b*s.heads+h)*s.lq+i)*s.vdim:][:s.vdim]
			worstOut = math.Max(worstOut, withinAttention(t, query, rows(keys), rows(values), p.scale(), row, p.String()))
			withinMix(t, weights[:n], rows(values), row, p.String()+" by its weights")
		}
	}
	t.Logf("errors at most %.3f (weights) and %.3f (outputs) of the bound", worstWeight, worstOut)
}

// Queries may be any, in any order, and none.
func TestWeightsOfQueries(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 8))
	p := newProblem(r, shape{2, 4, 2, 20, 30, 8, 8}, packedLayout, asmtest.Normal, Options{Causal: true})
	all := p.weights(t, 1, 3, 19, 0, 7, 7)
	for i, query := range []int{19, 0, 7, 7} {
		asmtest.Equal(t, p.weights(t, 1, 3, query)[0], all[i], "query %d", query)
	}
	require.Empty(t, p.weights(t, 0, 0))

	none := newProblem(r, shape{1, 1, 1, 3, 0, 8, 8}, packedLayout, asmtest.Normal, Options{})
	require.Equal(t, [][]float32{{}, {}}, none.weights(t, 0, 0, 0, 2), "no keys")
	none = newProblem(r, shape{1, 1, 1, 0, 3, 8, 8}, packedLayout, asmtest.Normal, Options{})
	require.Empty(t, none.weights(t, 0, 0), "no queries")
}

// A NaN or +Inf in a visible score makes the visible weights NaN.
func TestWeightsOfNaN(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 8))
	for _, bad := range []float32{nan, inf} {
		p := newProblem(r, shape{1, 1, 1, 200, 200, 2, 2}, packedLayout, asmtest.Normal, Options{Causal: true})
		for _, q := range rows(p.q) {
			q[0] = 1
		}
		before := p.weights(t, 0, 0, 50, 150)
		rows(p.k)[60][0] = bad
		after := p.weights(t, 0, 0, 50, 150)
		asmtest.Equal(t, before[0], after[0], "%g: a query that does not see it", bad)
		for j, w := range after[1] {
			require.Equal(t, j <= 150, w != w, "%g: weight %d is %g", bad, j, w)
		}
	}
}

// Rows of many tiles need no new memory.
func TestWeightsAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop values at random under the race detector")
	}
	r := rand.New(rand.NewPCG(5, 8))
	n := 40 * generic.TileKeys
	p := newProblem(r, shape{1, 1, 1, 2, n, 8, 8}, packedLayout, asmtest.Normal, Options{})
	w := newMatrix(r, 2, n, n, asmtest.Normal)
	require.Zero(t, testing.AllocsPerRun(20, func() {
		if err := AttentionWeights(w, p.q, p.k, 0, 0, []int{0, 1}, nil); err != nil {
			t.Fatal(err)
		}
	}))
}

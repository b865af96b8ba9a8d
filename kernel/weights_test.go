package kernel

import (
	"fmt"
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
	return p.scores(t, StageWeights, b, h, queries...)
}

// scores returns the scores of queries of one head after a stage.
func (p *problem) scores(t testing.TB, stage Stage, b, h int, queries ...int) [][]float32 {
	t.Helper()
	n := p.k.Len
	w := Matrix{len(queries), n, n + 1, make([]float32, len(queries)*(n+1))}
	for i := range w.Data {
		w.Data[i] = nan
	}
	show := func() error { return AttentionScores(w, p.q, p.k, b, h, queries, stage, &p.o) }
	if stage == StageWeights {
		show = func() error { return AttentionWeights(w, p.q, p.k, b, h, queries, &p.o) }
	}
	require.NoError(t, show(), "%v", p)
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

// The scores of each stage, in float64, within the error that is promised of them: what the formulas mean.
func TestScoresMean(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 8))
	s := shape{1, 3, 1, 7, edge + 40, 8, 8}
	p := newProblem(r, s, packedLayout, asmtest.Normal, Options{
		Scale: 0.7, SoftCap: 1.5, ALiBi: []float32{0.1, -0.3, 0}, Bias: randomBias(r, s, asmtest.Normal), Start: []int{20}, Causal: true, KeyLen: []int{24},
	})
	const u = 0x1p-24
	for h := range s.heads {
		for i := range s.lq {
			var got [StageWeights][]float32
			for stage := range got {
				got[stage] = p.scores(t, Stage(stage), 0, h, i)[0]
			}
			for j := range s.lk {
				score, size := 0.0, 0.0
				for c, x := range rows(p.k)[j] {
					term := float64(float32(0.7)) * float64(x) * float64(rows(p.q)[h*s.lq+i][c])
					score, size = score+term, size+math.Abs(term)
				}
				bound := u * (float64(s.dim+3)*size + math.Abs(score))
				require.InDelta(t, score, got[StageScores][j], 1.001*bound, "head %d, query %d, key %d", h, i, j)
				score = 1.5 * math.Tanh(score/1.5)
				bound += 10.1 * u * math.Abs(score)
				require.InDelta(t, score, got[StageSoftCap][j], 1.001*bound, "capped: head %d, query %d, key %d", h, i, j)
				if j >= 24 || j > 20+i {
					require.Equal(t, -inf, got[StageBias][j], "head %d, query %d, key %d is hidden", h, i, j)
					continue
				}
				alibi, b := float64(p.o.ALiBi[h])*math.Abs(float64(20+i-j)), p.o.Bias
				bias := float64(b.Data[h*b.HeadStride+i*b.QueryStride+j])
				bound += u * (3*math.Abs(alibi) + 2*math.Abs(bias) + math.Abs(score-alibi) + 2*math.Abs(score-alibi+bias))
				require.InDelta(t, score-alibi+bias, got[StageBias][j], 1.001*bound, "biased: head %d, query %d, key %d", h, i, j)
			}
		}
	}
}

func TestBadStage(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	p := newProblem(r, shape{1, 1, 1, 3, 5, 8, 8}, packedLayout, asmtest.Normal, Options{})
	w := newMatrix(r, 1, 5, 5, asmtest.Normal)
	for _, stage := range []Stage{-1, StageWeights + 1} {
		require.ErrorContains(t, AttentionScores(w, p.q, p.k, 0, 0, []int{1}, stage, nil), fmt.Sprintf("attn: stage is %d, want", stage))
	}
}

// Rows of many tiles need no new memory.
func TestWeightsAllocations(t *testing.T) {
	if asmtest.Race {
		t.Skip("pools drop values at random under the race detector")
	}
	r := rand.New(rand.NewPCG(5, 8))
	n := 40 * generic.TileKeys
	p := newProblem(r, shape{1, 1, 1, 2, n, 8, 8}, packedLayout, asmtest.Normal, Options{})
	w := newMatrix(r, 2, n, n, asmtest.Normal)
	require.Zero(t, testing.AllocsPerRun(20, func() {
		for stage := StageScores; stage <= StageWeights; stage++ {
			if err := AttentionScores(w, p.q, p.k, 0, 0, []int{0, 1}, stage, nil); err != nil {
				t.Fatal(err)
			}
		}
	}))
}

package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// The examples by which self-attention is taught.

// Raw scores 1, 3 and 6 become shares of 100%.
func TestScoresBecomeShares(t *testing.T) {
	x := []float32{1, 3, 6}
	sum := math.Exp(1) + math.Exp(3) + math.Exp(6)
	Softmax(x, x)
	for i, score := range []float64{1, 3, 6} {
		require.InDelta(t, math.Exp(score)/sum, x[i], 1e-6)
	}
	require.InDeltaSlice(t, []float32{.0063775, .0471234, .9464991}, x, 1e-6)
}

// Three words of two dimensions whose scores are small integers.
func TestThreeWords(t *testing.T) {
	q, k, v := []float32{1, 0, 2, 1, 2, 2}, []float32{1, 0, 1, 1, 0, 2}, []float32{1, 2, 0, 1, 2, 0}
	scores := [][]float64{{1, 1, 0}, {2, 3, 2}, {2, 4, 4}}

	s := make([]float32, 9)
	transposed := []float32{k[0], k[2], k[4], k[1], k[3], k[5]}
	require.NoError(t, MatMul(Matrix{3, 3, 3, s}, Matrix{3, 2, 2, q}, Matrix{2, 3, 3, transposed}, nil))
	require.Equal(t, []float32{1, 1, 0, 2, 3, 2, 2, 4, 4}, s)

	words := func(x []float32) Tensor { return Tensor{Data: x, Batch: 1, Heads: 1, Len: 3, Dim: 2} }
	weights, out := make([]float32, 9), make([]float32, 6)
	opts := &Options{Scale: float32(1 / math.Sqrt2)}
	require.NoError(t, AttentionWeights(Matrix{3, 3, 3, weights}, words(q), words(k), 0, 0, []int{0, 1, 2}, opts))
	require.NoError(t, Attention(words(out), words(q), words(k), words(v), opts))
	for i, row := range scores {
		sum := 0.0
		for _, score := range row {
			sum += math.Exp(score / math.Sqrt2)
		}
		total, mix := 0.0, [2]float64{}
		for j, score := range row {
			share := math.Exp(score/math.Sqrt2) / sum
			require.InDelta(t, share, weights[3*i+j], 1e-6, "weight of word %d for word %d", j, i)
			total += float64(weights[3*i+j])
			mix[0] += share * float64(v[2*j])
			mix[1] += share * float64(v[2*j+1])
		}
		require.InDelta(t, 1, total, 1e-6, "row %d", i)
		require.InDeltaSlice(t, mix[:], []float64{float64(out[2*i]), float64(out[2*i+1])}, 2e-6, "word %d", i)
	}
	require.InDeltaSlice(t, []float32{.25, .5, .25}, weights[3:6], .005)

	// The default scale is the same.
	again := make([]float32, 6)
	require.NoError(t, Attention(words(again), words(q), words(k), words(v), nil))
	asmtest.Equal(t, out, again, "default scale")
}

// Attention knows no order: permuting the words permutes the result. With the queries alone
// permuted the bits are the same; with the keys permuted too, sums are taken in another order.
func TestPermutedWords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 6))
	for _, n := range []int{3, 50, 300} {
		p := newProblem(r, shape{1, 1, 1, n, n, 8, 8}, packedLayout, asmtest.Normal, Options{})
		order := r.Perm(n)
		permuted := func(x Tensor) Tensor {
			data := slices.Clone(x.Data)
			for i, j := range order {
				copy(data[i*x.Dim:][:x.Dim], x.Data[j*x.Dim:])
			}
			x.Data = data
			return x
		}
		want := p.dst
		want.Data = p.attend(t)

		queries := *p
		queries.q = permuted(p.q)
		asmtest.Equal(t, flat(permuted(want)), queries.attend(t), "queries permuted")

		words := queries
		words.k, words.v = permuted(p.k), permuted(p.v)
		got := words.attend(t)
		q, k, v := rows(p.q), rows(p.k), rows(p.v)
		for i, j := range order {
			withinAttention(t, q[j], k, v, p.scale(), rows(want)[j], "word")
			withinAttention(t, q[j], k, v, p.scale(), got[i*8:][:8], "word of the permuted text")
		}
	}
}

// Every word reaches every other in one step, however far.
func TestEveryWordReachesEveryOther(t *testing.T) {
	const n, probes = 4096, 16
	r := rand.New(rand.NewPCG(2, 6))
	p := newProblem(r, shape{1, 1, 1, n, n, 4, probes}, packedLayout, asmtest.Normal, Options{})
	if n := trials(1024); n < 1024 { // fewer readers, from both ends
		p.q.Len, p.dst.Len = n, n
	}
	// Value c is 1 at one word and 0 elsewhere: what arrives is the weight of that word.
	clear(p.v.Data)
	var at [probes]int
	for c := range at {
		at[c] = c * (n - 1) / (probes - 1)
		p.v.Data[at[c]*probes+c] = 1
	}
	// Equal scores share equally.
	clear(p.q.Data)
	for i, weight := range p.attend(t) {
		require.Equal(t, float32(1)/n, weight, "word %d from word %d", at[i%probes], i/probes)
	}
	// A query that looks for one word gets it, at any distance.
	for c, j := range at {
		k := p.k
		k.Data = make([]float32, len(p.k.Data))
		k.Data[j*4] = 100
		for i := range p.q.Len {
			p.q.Data[i*4] = 1
		}
		found := *p
		found.k = k
		found.o.Scale = 1
		got := found.attend(t)
		for i := range p.q.Len {
			require.InDelta(t, 1, got[i*probes+c], 0x1p-23, "word %d from word %d", j, i)
		}
	}
}

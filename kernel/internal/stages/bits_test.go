package stages_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/stretchr/testify/require"
)

// A setting is a call, small enough that every row can be held to package generic.
type setting struct {
	heads, kvHeads, queries, keys, dim, vdim int
	stride                                   int // between rows; 0 is [Heads][Len][Dim], packed
	o                                        kernel.Options
}

// fill returns a tensor of normal numbers; the heads of a token are neighbours if stride is not 0.
func fill(r *rand.Rand, heads, n, dim, stride int, size float64) kernel.Tensor {
	t := kernel.Tensor{Batch: 1, Heads: heads, Len: n, Dim: dim, BatchStride: heads * n * dim, HeadStride: n * dim, LenStride: dim}
	if stride > 0 {
		stride = max(stride, heads*dim)
		t.BatchStride, t.HeadStride, t.LenStride = n*stride, dim, stride
	}
	t.Data = make([]float32, t.BatchStride)
	for i := range t.Data {
		t.Data[i] = float32(r.NormFloat64() * size)
	}
	return t
}

func row(t *kernel.Tensor, head, i int) []float32 {
	return t.Data[head*t.HeadStride+i*t.LenStride:][:t.Dim]
}

// sees is what the options say of query i and key j.
func (s *setting) sees(i, j int) bool {
	at := s.keys - s.queries + i
	if s.o.Start != nil {
		at = s.o.Start[0] + i
	}
	w := s.o.Window
	return !(s.o.Causal && j > at) && (w == nil || (w.Left < 0 || at-j <= w.Left) && (w.Right < 0 || j-at <= w.Right))
}

// check holds every row to generic.AttentionRow, for which a hidden key is one with a score of -Inf, by
// one more dimension, and a value of 0.
func (s *setting) check(t *testing.T, r *rand.Rand) {
	q, k := fill(r, s.heads, s.queries, s.dim, s.stride, 1), fill(r, s.kvHeads, s.keys, s.dim, s.stride, 1)
	v, dst := fill(r, s.kvHeads, s.keys, s.vdim, s.stride, 1), fill(r, s.heads, s.queries, s.vdim, s.stride, 1)
	for j := range s.keys { // scores grow on the whole, so that maxima do, and one value is not finite
		row(&k, 0, j)[0] += float32(j) / 100
	}
	if s.keys > 0 {
		row(&v, 0, r.IntN(s.keys))[0] = []float32{1, float32(math.Inf(1)), float32(math.NaN())}[r.IntN(3)]
	}
	s.o.LSE, s.o.Scale = make([]float32, s.heads*s.queries), 0.5
	require.NoError(t, kernel.Attention(dst, q, k, v, &s.o))
	name := fmt.Sprintf("%+v", *s)
	dim := s.dim + 1
	key, value := make([]float32, s.keys*dim), make([]float32, s.keys*s.vdim)
	query, want := make([]float32, dim), make([]float32, s.vdim)
	query[s.dim] = 1
	for head := range s.heads {
		kv := head / (s.heads / s.kvHeads)
		for i := range s.queries {
			sum, most := 0.0, math.Inf(-1)
			copy(query, row(&q, head, i))
			scores := make([]float64, s.keys)
			for j := range s.keys {
				copy(key[j*dim:], row(&k, kv, j))
				copy(value[j*s.vdim:][:s.vdim], row(&v, kv, j))
				if key[j*dim+s.dim] = 0; !s.sees(i, j) {
					key[j*dim+s.dim] = float32(math.Inf(-1))
					clear(value[j*s.vdim:][:s.vdim])
				}
				for c, x := range key[j*dim:][:dim] {
					scores[j] += 0.5 * float64(x) * float64(query[c])
				}
				most = math.Max(most, scores[j])
			}
			generic.AttentionRow(want, query, key, value, s.keys, dim, s.vdim, 0.5)
			asmtest.Equal(t, want, row(&dst, head, i), "%s: head %d, row %d", name, head, i)
			lse := s.o.LSE[head*s.queries+i]
			if math.IsInf(most, -1) {
				require.Equal(t, float32(math.Inf(-1)), lse, "%s: head %d, row %d", name, head, i)
				continue
			}
			for _, x := range scores {
				sum += math.Exp(x - most)
			}
			require.InDelta(t, most+math.Log(sum), lse, 1e-4, "%s: head %d, row %d", name, head, i)
		}
	}

	// The weights are the output for values that are the unit vectors.
	identity := make([]float32, s.keys*s.keys)
	for j := range s.keys {
		identity[j*s.keys+j] = 1
	}
	if s.keys == 0 || s.keys > 2*generic.TileKeys || s.queries == 0 {
		return
	}
	head, i := r.IntN(s.heads), r.IntN(s.queries)
	weights := make([]float32, s.keys)
	require.NoError(t, kernel.AttentionWeights(kernel.Matrix{Rows: 1, Cols: s.keys, Stride: s.keys, Data: weights}, q, k, 0, head, []int{i}, &kernel.Options{
		Scale: 0.5, Causal: s.o.Causal, Window: s.o.Window, Start: s.o.Start}))
	copy(query, row(&q, head, i))
	for j := range s.keys {
		copy(key[j*dim:], row(&k, head/(s.heads/s.kvHeads), j))
		if key[j*dim+s.dim] = 0; !s.sees(i, j) {
			key[j*dim+s.dim] = float32(math.Inf(-1))
		}
	}
	wantWeights := make([]float32, s.keys)
	generic.AttentionRow(wantWeights, query, key, identity, s.keys, dim, s.keys, 0.5)
	asmtest.Equal(t, wantWeights, weights, "%s: weights of head %d, row %d", name, head, i)
}

// Whatever way a call goes through the stages, each row has the bits of package generic.
func TestBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 33))
	const tile, stretch = generic.TileKeys, plan.StretchTiles * generic.TileKeys
	options := []kernel.Options{
		{}, {Causal: true}, {Window: &kernel.Window{Left: 3, Right: 2}}, {Causal: true, Window: &kernel.Window{Left: 20, Right: -1}},
		{Causal: true, Start: []int{-5}}, {Start: []int{tile / 2}, Window: &kernel.Window{Left: tile/2 + 9, Right: 40}},
	}
	for _, s := range []setting{
		// Row by row: one query, few, of a group, with the KV heads of a token side by side.
		{1, 1, 1, 5, 3, 2, 0, kernel.Options{}}, {2, 2, 1, tile + 9, 5, 17, 0, kernel.Options{}},
		{1, 1, 2, 20, 5, 3, 0, kernel.Options{}}, {4, 2, 2, tile + 1, 16, 5, 0, kernel.Options{}},
		{1, 1, 5, 2*tile + 3, 7, 4, 0, kernel.Options{}}, {8, 1, 1, 100, 64, 64, 0, kernel.Options{}},
		{3, 3, 2, tile + 50, 70, 40, 1, kernel.Options{}}, {10, 10, 1, 90, 64, 16, 1, kernel.Options{}}, {1, 1, 1, 40, 9, 9, 1024, kernel.Options{}},
		// Panels, with and without a tail, of several heads in a group, of long rows and of rows far apart.
		{1, 1, 16, 9, 5, 3, 0, kernel.Options{}}, {1, 1, 19, 3, 5, 3, 0, kernel.Options{}}, {2, 1, 19, tile + 30, 6, 7, 0, kernel.Options{}},
		{1, 1, 75, 120, 8, 20, 0, kernel.Options{}}, {3, 1, 47, tile + 70, 16, 5, 0, kernel.Options{}}, {2, 2, 140, 150, 4, 3, 512, kernel.Options{}},
		{1, 1, 20, 90, 1024, 1000, 0, kernel.Options{}}, {1, 1, 33, 2*tile + 5, 3, 33, 0, kernel.Options{}},
		{1, 1, 10, 0, 3, 2, 0, kernel.Options{}}, {1, 1, 3, 0, 3, 2, 0, kernel.Options{}},
	} {
		for i, o := range options {
			s.o = o
			s.o.Workers = 1 + i%2
			s.check(t, r)
		}
	}
	// Keys that are split among items, by one worker and by several.
	for _, o := range []kernel.Options{{Workers: 2}, {Workers: 3, Causal: true}} {
		s := setting{3, 3, 2, 2*stretch + 40, 4, 3, 0, o}
		s.check(t, r)
		s = setting{4, 2, 1, stretch + 1, 5, 2, 1, o}
		s.check(t, r)
	}
}

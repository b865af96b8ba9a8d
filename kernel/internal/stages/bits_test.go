package stages_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

// members is the batch of all settings.
const members = 2

// fill returns a tensor of normal numbers; the heads of a token are neighbours if stride is not 0. Behind it
// is as much memory that belongs to nobody.
func fill(r *rand.Rand, heads, n, dim, stride int) kernel.Tensor {
	t := kernel.Tensor{Batch: members, Heads: heads, Len: n, Dim: dim, BatchStride: heads * n * dim, HeadStride: n * dim, LenStride: dim}
	if stride > 0 {
		stride = max(stride, heads*dim)
		t.BatchStride, t.HeadStride, t.LenStride = n*stride, dim, stride
	}
	size := members * t.BatchStride
	t.Data = make([]float32, size+64*t.LenStride)
	for i := range t.Data {
		t.Data[i] = float32(r.NormFloat64())
	}
	t.Data = t.Data[:size]
	return t
}

func row(t *kernel.Tensor, b, head, i int) []float32 {
	return t.Data[b*t.BatchStride+head*t.HeadStride+i*t.LenStride:][:t.Dim]
}

// sees is what the options say of query i and key j.
func (s *setting) sees(b, head, i, j int) bool {
	at := s.keys - s.queries + i
	if s.o.Start != nil {
		at = s.o.Start[min(b, len(s.o.Start)-1)] + i
	}
	w := s.o.Window
	if m := s.o.Mask; m != nil && !m.Data[b*m.BatchStride+head*m.HeadStride+i*m.QueryStride+j] {
		return false
	}
	return !(s.o.Causal && j > at) && (w == nil || (w.Left < 0 || at-j <= w.Left) && (w.Right < 0 || j-at <= w.Right))
}

// check holds every row to generic.AttentionRow, for which a hidden key is one with a score of -Inf, by
// one more dimension, and a value of 0.
func (s *setting) check(t *testing.T, r *rand.Rand) {
	q, k := fill(r, s.heads, s.queries, s.dim, s.stride), fill(r, s.kvHeads, s.keys, s.dim, s.stride)
	v, dst := fill(r, s.kvHeads, s.keys, s.vdim, s.stride), fill(r, s.heads, s.queries, s.vdim, s.stride)
	for j := range s.keys { // scores grow on the whole, so that maxima do, and one value is not finite
		row(&k, 0, 0, j)[0] += float32(j) / 100
	}
	if s.keys > 0 {
		row(&v, 0, 0, r.IntN(s.keys))[0] = []float32{1, float32(math.Inf(1)), float32(math.NaN())}[r.IntN(3)]
	}
	s.o.LSE, s.o.Scale = make([]float32, members*s.heads*s.queries), 0.5
	behind := slices.Clone(dst.Data[len(dst.Data):cap(dst.Data)])
	require.NoError(t, kernel.Attention(dst, q, k, v, &s.o))
	asmtest.Equal(t, behind, dst.Data[len(dst.Data):cap(dst.Data)], "behind dst")
	name := fmt.Sprintf("%+v", *s)
	dim := s.dim + 1
	key, value := make([]float32, s.keys*dim), make([]float32, s.keys*s.vdim)
	query, want := make([]float32, dim), make([]float32, s.vdim)
	query[s.dim] = 1
	for at := range members * s.heads {
		b, head := at/s.heads, at%s.heads
		kv := head / (s.heads / s.kvHeads)
		for i := range s.queries {
			sum, most := 0.0, math.Inf(-1)
			copy(query, row(&q, b, head, i))
			scores := make([]float64, s.keys)
			for j := range s.keys {
				copy(key[j*dim:], row(&k, b, kv, j))
				copy(value[j*s.vdim:][:s.vdim], row(&v, b, kv, j))
				if key[j*dim+s.dim] = 0; !s.sees(b, head, i, j) {
					key[j*dim+s.dim] = float32(math.Inf(-1))
					clear(value[j*s.vdim:][:s.vdim])
				}
				for c, x := range key[j*dim:][:dim] {
					scores[j] += 0.5 * float64(x) * float64(query[c])
				}
				most = math.Max(most, scores[j])
			}
			generic.AttentionRow(want, query, key, value, s.keys, dim, s.vdim, 0.5)
			asmtest.Equal(t, want, row(&dst, b, head, i), "%s: head %d, row %d", name, head, i)
			lse := s.o.LSE[at*s.queries+i]
			if math.IsInf(most, -1) {
				require.Equal(t, float32(math.Inf(-1)), lse, "%s: head %d, row %d", name, head, i)
				continue
			}
			for _, x := range scores {
				sum += math.Exp(x - most)
			}
			require.InDelta(t, most+math.Log(sum), lse, 1e-4*math.Max(1, math.Abs(most)), "%s: head %d, row %d", name, head, i)
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
	b, head, i := r.IntN(members), r.IntN(s.heads), r.IntN(s.queries)
	weights := make([]float32, s.keys)
	require.NoError(t, kernel.AttentionWeights(kernel.Matrix{Rows: 1, Cols: s.keys, Stride: s.keys, Data: weights}, q, k, b, head, []int{i}, &kernel.Options{
		Scale: 0.5, Causal: s.o.Causal, Window: s.o.Window, Start: s.o.Start, Mask: s.o.Mask}))
	copy(query, row(&q, b, head, i))
	for j := range s.keys {
		copy(key[j*dim:], row(&k, b, head/(s.heads/s.kvHeads), j))
		if key[j*dim+s.dim] = 0; !s.sees(b, head, i, j) {
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
		// Panels, with and without a rest, of several heads in a group, of long rows and of rows far apart.
		{1, 1, 16, 9, 5, 3, 0, kernel.Options{}}, {1, 1, 19, 3, 5, 3, 0, kernel.Options{}}, {2, 1, 19, tile + 30, 6, 7, 0, kernel.Options{}},
		{1, 1, 75, 120, 8, 20, 0, kernel.Options{}}, {3, 1, 47, tile + 70, 16, 5, 0, kernel.Options{}}, {2, 2, 140, 150, 4, 3, 512, kernel.Options{}},
		{1, 1, 20, 90, 1024, 1000, 0, kernel.Options{}}, {1, 1, 33, 2*tile + 5, 3, 33, 0, kernel.Options{}},
		{1, 1, 10, 0, 3, 2, 0, kernel.Options{}}, {1, 1, 3, 0, 3, 2, 0, kernel.Options{}},
		// Dims of which a tile takes several calls: rows, heads side by side, panels with a tail.
		{1, 1, 1, 45, 8192, 3, 0, kernel.Options{}}, {2, 1, 2, 40, 1100, 8192, 0, kernel.Options{}}, {3, 3, 1, 20, 5000, 4100, 1, kernel.Options{}},
		{1, 1, 19, 12, 8191, 2000, 0, kernel.Options{}}, {1, 1, 16, 40, 2, 8190, 0, kernel.Options{}},
	} {
		for i, o := range options {
			s.o = o
			s.o.Workers = 1 + i%2
			if i == 1 && s.keys > 0 { // and a mask
				s.o.Mask = &kernel.Mask{BatchStride: s.heads * s.queries * s.keys, HeadStride: s.queries * s.keys, QueryStride: s.keys,
					Data: make([]bool, members*s.heads*s.queries*s.keys)}
				for i := range s.o.Mask.Data {
					s.o.Mask.Data[i] = i%50 != 0 && r.IntN(5) > 0
				}
			}
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
	// Items with the rows of the one before them, of other heads, or of another sequence that sees other keys: panels, rows, and both.
	for _, queries := range []int{12, 1, 18} {
		const heads, keys = 11, 20
		seen := make([]bool, members*heads*queries*keys)
		for i := range seen {
			seen[i] = true
		}
		mask := &kernel.Mask{Data: seen, BatchStride: heads * queries * keys, HeadStride: queries * keys, QueryStride: keys}
		for _, o := range []kernel.Options{{Start: []int{0, 5}}, {Mask: mask}} {
			s := setting{heads, heads, queries, keys, 64, 60, 0, o}
			s.o.Causal, s.o.Workers = true, 1
			s.check(t, r)
		}
	}
}

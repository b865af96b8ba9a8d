package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// quantized returns the integers of rows that a cache of Int8 stores, and their scales.
func quantized(rows [][]float32) (integers, scales []float32) {
	for _, row := range rows {
		bytes, x := make([]int8, len(row)), make([]float32, len(row))
		scales = append(scales, Quantize(bytes, row))
		Dequantize(x, bytes, 1)
		integers = append(integers, x...)
	}
	return integers, scales
}

// A cache of Int8 has the bits of the contract, which multiplies a score and a weight by the scales of their rows once: in
// panels and by few rows, in place and converted first, on pages of any size, with all that hides keys and edits scores.
func TestCacheInt8(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 81))
	for range trials(400) {
		const kvHeads = 2
		dim, vdim := pick(r, 3, 16, 40, 64, 128), pick(r, 5, 16, 72, 128)
		group, queries := pick(r, 1, 2, 4, 8), pick(r, 1, 1, 2, 5, 17, 40)
		n, page := 1+r.IntN(pick(r, 20, 2*generic.TileKeys+70)), pick(r, 16, 64, generic.TileKeys)
		kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
		k, v := newTensor(r, 1, kvHeads, n, dim, tight, kind), newTensor(r, 1, kvHeads, n, vdim, tight, kind)
		q, dst := newTensor(r, 1, kvHeads*group, queries, dim, tight, asmtest.Normal), newTensor(r, 1, kvHeads*group, queries, vdim, tight, asmtest.Normal)
		o := Options{Workers: 1 + r.IntN(2), Causal: r.IntN(2) == 0, SoftCap: pick[float32](r, 0, 0, 3), Scale: 0.25}
		if r.IntN(3) == 0 {
			o.Window = &Window{r.IntN(n + 1), r.IntN(9) - 1}
		}
		for range r.IntN(2) * q.Heads {
			o.ALiBi, o.Sinks = append(o.ALiBi, r.Float32()), append(o.Sinks, float32(r.NormFloat64()))
		}
		if r.IntN(3) == 0 {
			o.Mask = &Mask{Data: make([]bool, queries*n), QueryStride: n}
			for i := range o.Mask.Data {
				o.Mask.Data[i] = r.IntN(4) > 0
			}
		}
		if r.IntN(3) == 0 {
			o.Bias = &Bias{Data: asmtest.Fill(r, make([]float32, queries*n), asmtest.Normal), QueryStride: n}
		}
		cache := newCache(t, CacheConfig{KVHeads: kvHeads, Dim: dim, VDim: vdim, Type: Int8, Tokens: 4 * (n + page), PageTokens: page})
		s, other := cache.NewSequence(), cache.NewSequence() // whose pages lie between
		for i := 0; i < n; i += page {
			m := min(page, n-i)
			require.NoError(t, s.Append(view(k, 0, 1, 0, kvHeads, i, m), view(v, 0, 1, 0, kvHeads, i, m)))
			require.NoError(t, other.Append(view(k, 0, 1, 0, kvHeads, 0, m), view(v, 0, 1, 0, kvHeads, 0, m)))
		}
		require.NoError(t, cache.Attention(dst, q, []*Sequence{s}, &o))

		integers, keyScales := quantized(rows(k))
		values, valueScales := quantized(rows(v))
		want := make([]float32, vdim)
		for row, got := range rows(dst) {
			h, i := row/queries, row%queries
			e := &generic.RowEdit{SoftCap: o.SoftCap, Position: n - queries + i, Bias: make([]float32, n)}
			if o.ALiBi != nil {
				e.Slope, e.Sink = o.ALiBi[h], &o.Sinks[h]
			}
			for j := range e.Bias {
				if o.Bias != nil {
					e.Bias[j] = o.Bias.Data[i*n+j]
				}
				if w := o.Window; o.Causal && j > e.Position || o.Mask != nil && !o.Mask.Data[i*n+j] ||
					w != nil && (w.Left >= 0 && j < e.Position-w.Left || w.Right >= 0 && j > e.Position+w.Right) {
					e.Bias[j] = float32(math.Inf(-1))
				}
			}
			first := h / group * n
			e.KeyScales, e.ValueScales = keyScales[first:][:n], valueScales[first:][:n]
			clear(want)
			e.AttentionRow(want, rows(q)[row], integers[first*dim:], values[first*vdim:], n, dim, vdim, o.Scale)
			asmtest.Equal(t, want, got, "Dim %d, VDim %d, group %d, query %d of %d, %d keys, pages of %d, kind %d: %+v", dim, vdim, group, i, queries, n, page, kind, o)
		}
	}
}

package generic

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/generic/tile"
)

// AttentionRow is the contract of attention for one query q against the n keys that it sees, the
// rows of k and v that are kStride and vStride apart. It is what the tests hold every
// implementation to, so it is written for reading. It panics, before it writes, if dst or q is empty,
// or k or v does not hold n rows of len(q) and of len(dst) elements.
func AttentionRow(dst, q, k, v []float32, n, kStride, vStride int, scale float32) {
	new(RowEdit).AttentionRow(dst, q, k, v, n, kStride, vStride, scale)
}

// AttentionRow is [AttentionRow] with edited scores. It also panics if a Bias, KeyScales or ValueScales has less than n elements.
func (e *RowEdit) AttentionRow(dst, q, k, v []float32, n, kStride, vStride int, scale float32) {
	if len(dst) == 0 || len(q) == 0 {
		panic(fmt.Sprintf("attn: generic.AttentionRow: dst has %d elements and q %d, want 1 or more", len(dst), len(q)))
	}
	checkRows("AttentionRow", "k", k, n, len(q), kStride)
	checkRows("AttentionRow", "v", v, n, len(dst), vStride)
	for _, x := range []struct {
		name string
		data []float32
	}{{"Bias", e.Bias}, {"KeyScales", e.KeyScales}, {"ValueScales", e.ValueScales}} {
		if x.data != nil && len(x.data) < n {
			panic(fmt.Sprintf("attn: generic.AttentionRow: %s has %d elements, want %d or more, the keys", x.name, len(x.data), n))
		}
	}
	qs := make([]float32, len(q))
	for i, x := range q {
		qs[i] = x * Log2Scale(scale)
	}
	s := make([]float32, TileKeys)
	all := newState(len(dst))
	if e.Sink != nil {
		all.m, all.l = Sink(*e.Sink)
	}
	for first := 0; first < n; first += SpanKeys {
		span := newState(len(dst))
		for j := first; j < min(first+SpanKeys, n); j += TileKeys {
			t := min(TileKeys, n-j)
			tile.RowScores(s, qs, 1, 1, &tile.Rows{Data: k[j*kStride:], Len: t, Dim: len(q), Stride: kStride}, 0)
			e.apply(s[:t], j)
			part := newState(len(dst))
			part.m = tile.RowWeights(s[:t])
			for i := range t {
				if e.hidden(j + i) {
					continue
				}
				if part.l += s[i]; e.drops(j + i) {
					s[i] = 0
				}
				if e.ValueScales != nil {
					s[i] *= e.ValueScales[j+i]
				}
				multiplyAdd(part.o, s[i], v[(j+i)*vStride:])
			}
			span.merge(part)
		}
		all.merge(span)
	}
	tile.Scale(dst, all.o, e.inverse(all.l))
}

// A state is M, L and O of the package comment, of the keys of a tile, of a span or of all.
type state struct {
	m, l float32
	o    []float32
}

// newState returns that of no keys, for values of dim elements.
func newState(dim int) *state { return &state{float32(math.Inf(-1)), 0, make([]float32, dim)} }

// merge makes s that of its keys and those of t, which come behind them.
func (s *state) merge(t *state) {
	var a, b float32
	s.m, a, b = Merge(s.m, t.m)
	s.l = MergeSum(s.l, t.l, a, b)
	tile.MergeRow(s.o, t.o, a, b)
}

// Sink returns the state of a sink with a logit: M = ceil(t) and L = exp2(t-M), t = float32(logit * log2 e). Its O is 0.
func Sink(logit float32) (M, L float32) { return tile.Sink(Log2Scale(logit)) }

// Merge returns the maximum M' of the maxima M and m of two states, integers or infinite, and the
// scales a = 2^(M-M') and b = 2^(m-M'), which are exact, or 0 below 2^-126.
func Merge(M, m float32) (max, a, b float32) { return tile.Merge(M, m) }

// MergeSum returns L' of the package comment or, for an element of O and o, O'.
func MergeSum(L, l, a, b float32) float32 { return tile.MergeSum(L, l, a, b) }

// Log2Scale returns the factor of the queries, scale * log2 e, rounded once.
func Log2Scale(scale float32) float32 { return float32(float64(scale) * math.Log2E) }

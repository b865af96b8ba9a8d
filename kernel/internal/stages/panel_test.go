package stages

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/stretchr/testify/require"
)

// packed is a tensor of one head.
func packed(r *rand.Rand, n, dim int) source.Tensor {
	t := source.Tensor{Data: make([]float32, n*dim), Batch: 1, Heads: 1, Len: n, Dim: dim, LenStride: dim}
	for i := range t.Data {
		t.Data[i] = float32(r.NormFloat64())
	}
	return t
}

// NaN makes a panel compute rows again, but those alone which a hidden key could have harmed, and their
// neighbours in a group of MaxRows: not the rows that a key or value that they see makes NaN.
func TestRepair(t *testing.T) {
	const untouched = 12345
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	r := rand.New(rand.NewPCG(1, 14))
	for _, dim := range []int{3, 16, 40} {
		n := tile.Keys + 2*tile.MaxPanel
		a := &Arguments{Dst: packed(r, n, dim), Q: packed(r, n, dim), K: source.Stored{Tensor: packed(r, n, dim)}, V: source.Stored{Tensor: packed(r, n, dim)}, Queries: n, Scale: 1, Sight: sight.Rule{Causal: true}, Workers: 1}
		forward := NewCall()
		forward.Arguments = *a
		forward.Attention()
		clean := slices.Clone(a.Dst.Data)
		c := newCall(a)
		w := &c.own
		w.join(c)
		var it plan.Item
		c.plan.Item(&it, 0, 1)
		for range 20 {
			bad := it.Row + r.IntN(it.Rows) // a row of the item is the number of the last key that it sees
			for _, x := range []struct {
				data  []float32
				value float32
				first int  // key that is spoiled
				harms bool // the rows that do not see it
			}{
				{nil, 0, 0, false}, {a.K.Data, nan, 0, false}, {a.V.Data, nan, 0, false},
				{a.K.Data, nan, bad, false}, {a.V.Data, nan, bad, true}, {a.V.Data, inf, bad, true},
			} {
				var old float32
				if x.data != nil {
					old, x.data[x.first*dim] = x.data[x.first*dim], x.value
				}
				w.panelItem(&it)
				for row := it.Row; row < min(x.first, it.Row+it.Rows); row++ {
					require.Equal(t, clean[row*dim:][:dim], a.Dst.Data[row*dim:][:dim], "row %d, key %d", row, x.first)
				}
				for i := range a.Dst.Data {
					a.Dst.Data[i] = untouched
				}
				for i := range w.loadPanels(&it) {
					w.repair(&it, &w.panels[i])
				}
				for group := it.Row + it.RestRows; group < it.Row+it.Rows; group += tile.MaxRows {
					again := x.harms && group < x.first
					require.Equal(t, !again, a.Dst.Data[group*dim] == untouched, "row %d, %g in key %d", group, x.value, x.first)
				}
				if x.data != nil {
					x.data[x.first*dim] = old
				}
			}
		}
		w.leave()
		c.Release()
	}
}

// Causal queries that fill panels by more than half score no more keys than some more queries that fill them.
func TestPartialPanels(t *testing.T) {
	const dim = 8
	r := rand.New(rand.NewPCG(7, 14))
	work := func(queries, keys int) (n int, panels bool) {
		a := &Arguments{Dst: packed(r, queries, dim), Q: packed(r, queries, dim), Queries: queries, Scale: 1, Sight: sight.Rule{Causal: true}, Workers: 1}
		a.K.Tensor, a.V.Tensor = packed(r, keys, dim), packed(r, keys, dim)
		c := newCall(a)
		w := &c.own
		w.join(c)
		panels = true
		for i, together := 0, 0; i < c.plan.Items; i += together {
			var it plan.Item
			together = c.plan.Item(&it, i, 0)
			panels = panels && it.RestRows == 0
			for _, p := range w.loadPanels(&it) {
				var seen sight.Cover
				p.sees.Cover(&seen, 0, tile.Keys, &w.lanes)
				n += p.width()*seen.Any.Len() - p.width()/2*seen.Upper
			}
		}
		w.leave()
		c.Release()
		return n, panels
	}
	partial := 0
	for queries := 1; queries < 5*plan.NarrowPanel; queries++ {
		more := (queries + plan.NarrowPanel - 1) / plan.NarrowPanel * plan.NarrowPanel
		for _, keys := range []int{more, more + 5, 3 * more / 2} {
			n, panels := work(queries, keys)
			if m, _ := work(more, keys); panels && queries > more-plan.NarrowPanel/2 {
				require.LessOrEqual(t, n, m, "%d queries beside %d, %d keys", queries, more, keys)
				partial++
			}
		}
	}
	require.Greater(t, partial, 50)
}

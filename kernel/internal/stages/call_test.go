package stages

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/stretchr/testify/require"
)

// A call that has been used for others has the plan and the sequences of a new one, whatever its arguments differ in from
// theirs, and keeps them where these are the same.
func TestPlanned(t *testing.T) {
	defer asm.Use(asm.Backend())
	tensor := func(batch, heads, n, dim int) source.Tensor {
		return source.Tensor{Batch: batch, Heads: heads, Len: n, Dim: dim, BatchStride: heads * n * dim, HeadStride: n * dim, LenStride: dim}
	}
	changes := []func(a *Arguments){
		func(a *Arguments) { asm.Use(asm.Backends()[0]) },
		func(a *Arguments) { asm.Use(asm.Backends()[min(1, len(asm.Backends())-1)]) },
		func(a *Arguments) { a.Q.Batch, a.K.Batch, a.V.Batch = 2, 2, 2 },
		func(a *Arguments) { a.Q.Heads = 8 },
		func(a *Arguments) { a.K.Heads, a.V.Heads = 1, 1 },
		func(a *Arguments) { a.Q.Len, a.Queries = 3, 3 },
		func(a *Arguments) { a.Q.Len, a.Queries = 33, 33 },
		func(a *Arguments) { a.Queries = 80 },
		func(a *Arguments) { a.Queries, a.First = 80, 40 },
		func(a *Arguments) { a.Queries, a.First = 80, 7 },
		func(a *Arguments) { a.K.Len, a.V.Len = 30, 30 }, // where the first queries see no key, if they are causal,
		func(a *Arguments) { a.FirstKey = 5 },
		func(a *Arguments) { a.Q.Dim, a.K.Dim = 64, 64 },
		func(a *Arguments) { a.V.Dim = 48 },
		func(a *Arguments) { a.K.LenStride = 1024 },
		func(a *Arguments) { a.K.HeadStride = 8 },
		func(a *Arguments) { a.V.HeadStride = 8 },
		func(a *Arguments) { a.V.LenStride, a.Q.Len, a.Queries = 512, 80, 80 },
		func(a *Arguments) { a.K.Float16 = make([]uint16, 1) },
		func(a *Arguments) { a.V.Float16 = make([]uint16, 1) },
		func(a *Arguments) { a.Sight.Causal = !a.Sight.Causal },
		func(a *Arguments) { a.Sight.Window = !a.Sight.Window }, // of the query's own key, as it is,
		func(a *Arguments) { a.Sight.Left = 300 },
		func(a *Arguments) { a.Sight.Right = 300 },
		func(a *Arguments) { a.Workers = 2 },
		func(a *Arguments) { a.Sinks = nil },
		func(a *Arguments) { a.LSE = make([]float32, 1) },
		func(a *Arguments) { a.Lengths.Start = []int{100} },
		func(a *Arguments) { a.Lengths.KeyLen = []int{9, 9} },
		func(a *Arguments) { a.Lengths.QueryLen = []int{2, 2} },
		func(a *Arguments) { a.Lengths.QueryOffsets, a.Lengths.KeyOffsets = []int{0, 2, 3}, []int{0, 9, 20} },
	}
	r := rand.New(rand.NewPCG(1, 15))
	backends := asm.Backends()
	used := new(Call)
	for range 5000 {
		a := Arguments{Q: tensor(1, 4, 40, 16), K: source.Stored{Tensor: tensor(1, 2, 300, 16)}, V: source.Stored{Tensor: tensor(1, 2, 300, 32)},
			Queries: 40, Scale: 1, Workers: 1, Sinks: make([]float32, 8)}
		asm.Use(backends[len(backends)-1])
		for range 5 { // each differs from the one before in one thing
			changes[r.IntN(len(changes))](&a)
			fresh := &Call{Arguments: a}
			used.Arguments = a
			fresh.begin()
			used.begin()
			require.Equal(t, fresh.plan, used.plan, "%+v", a)
			require.Equal(t, fresh.sequences, slices.Clone(used.sequences), "%+v", a)
			if used.plan.Items = -1; a.Lengths.None() { // planned again it would be another
				used.begin()
				require.Equal(t, -1, used.plan.Items)
			}
			used.plan.Items = fresh.plan.Items
		}
	}
}

// Once a call is stopped no scores are computed, no values are mixed and no outputs are written, within an item too: of rows with keys
// of one tile, of some stretches and of splits, and of a panel.
func TestStopped(t *testing.T) {
	const dim, untouched = 16, 12345
	r := rand.New(rand.NewPCG(2, 15))
	const stretch = plan.StretchTiles * tile.Keys
	for _, c := range []struct{ n, keys, workers, splits int }{
		{1, tile.Keys, 1, 1}, {1, stretch + 1, 1, 1}, {1, stretch + 1, 2, 2}, {plan.NarrowPanel, stretch, 1, 1},
	} {
		a := Arguments{Dst: packed(r, c.n, dim), Q: packed(r, c.n, dim), K: source.Stored{Tensor: packed(r, c.keys, dim)}, V: source.Stored{Tensor: packed(r, c.keys, dim)},
			Queries: c.n, Scale: 1, Workers: c.workers, Stop: new(atomic.Bool)}
		before := slices.Clone(a.Dst.Data)
		call := newCall(&a)
		call.shareMerges()
		w := &call.own
		w.join(call)
		var it plan.Item
		call.plan.Item(&it, call.plan.Items-1, 1) // the last one writes
		require.Equal(t, c.splits, it.Cut.Splits)
		new(queue.Desk).Share(queue.Call{Items: 1}, task(func(h *queue.Hand) {
			h.Next()
			a.Stop.Store(true)
			if it.RestRows == c.n {
				call.K.Data, call.V.Data = nil, nil // nobody looks at them
				w.rowItem(&it, h)
			} else {
				w.outputs[0] = untouched
				w.panelItem(&it)
				require.Equal(t, float32(untouched), w.outputs[0])
			}
		}))
		require.Equal(t, before, a.Dst.Data, "%+v", c)
	}
}

// A task is one as a function.
type task func(h *queue.Hand)

func (f task) Work(h *queue.Hand) { f(h) }

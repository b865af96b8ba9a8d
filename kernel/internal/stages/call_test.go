package stages

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm"
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
		func(a *Arguments) {},
		func(a *Arguments) { a.Q.Batch, a.K.Batch, a.V.Batch = 2, 2, 2 },
		func(a *Arguments) { a.Q.Heads = 8 },
		func(a *Arguments) { a.K.Heads, a.V.Heads = 1, 1 },
		func(a *Arguments) { a.Q.Len, a.Queries = 3, 3 },
		func(a *Arguments) { a.Queries = 80 },
		func(a *Arguments) { a.Queries, a.First = 80, 40 },
		func(a *Arguments) { a.Queries, a.First = 80, 7 },
		func(a *Arguments) { a.K.Len, a.V.Len = 30, 30 },
		func(a *Arguments) { a.FirstKey = 5 },
		func(a *Arguments) { a.Q.Dim, a.K.Dim = 64, 64 },
		func(a *Arguments) { a.V.Dim = 48 },
		func(a *Arguments) { a.K.LenStride = 1024 },
		func(a *Arguments) { a.K.LenStride, a.K.HeadStride = 32, 16 },
		func(a *Arguments) { a.V.LenStride, a.V.HeadStride = 64, 32 },
		func(a *Arguments) { a.V.LenStride, a.Q.Len, a.Queries = 512, 80, 80 },
		func(a *Arguments) { a.K.Float16 = make([]uint16, 1) },
		func(a *Arguments) { a.V.Float16 = make([]uint16, 1) },
		func(a *Arguments) { a.Sight.Causal = true },
		func(a *Arguments) { a.Sight.Window, a.Sight.Left, a.Sight.Right = true, 3, 3 },
		func(a *Arguments) { a.Sight.Window, a.Sight.Left, a.Sight.Right = true, 3, -5 },
		func(a *Arguments) { a.Sight.Window, a.Sight.Left, a.Sight.Right = true, -1, 3 },
		func(a *Arguments) { a.Workers = 2 },
		func(a *Arguments) { a.Sinks, a.LSE = make([]float32, 8), make([]float32, 1) },
		func(a *Arguments) { a.Lengths.Start = []int{100} },
		func(a *Arguments) { a.Lengths.KeyLen = []int{9, 9} },
		func(a *Arguments) { a.Lengths.QueryLen = []int{2, 2} },
		func(a *Arguments) { a.Lengths.QueryOffsets, a.Lengths.KeyOffsets = []int{0, 2, 3}, []int{0, 9, 20} },
	}
	r := rand.New(rand.NewPCG(1, 15))
	used := new(Call)
	for _, backend := range asm.Backends() {
		asm.Use(backend)
		for range 1000 {
			a := Arguments{Q: tensor(1, 4, 40, 16), K: source.Stored{Tensor: tensor(1, 2, 300, 16)}, V: source.Stored{Tensor: tensor(1, 2, 300, 32)},
				Queries: 40, Scale: 1, Workers: 1}
			if r.IntN(2) == 0 {
				a.Sight.Causal = true
				a.K.Len, a.V.Len = 25, 25 // the first queries see no key
			}
			changes[r.IntN(len(changes))](&a)
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

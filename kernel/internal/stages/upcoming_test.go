package stages

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/stretchr/testify/require"
)

// What is listed is taken once, in order, and no more at a time than was asked for.
func TestTake(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 14))
	for range 500 {
		data := make([]float32, 1000)
		for i := range data {
			data[i] = float32(i)
		}
		var u upcoming
		var want, got []float32
		for range r.IntN(4) {
			rows := tile.Rows{Len: 1 + r.IntN(9), Dim: 1 + r.IntN(3*tile.Piece), Stride: r.IntN(50)}
			rows.Data = data[r.IntN(100):]
			u.rows = append(u.rows, rows)
			for i := range rows.Len {
				want = append(want, rows.Data[i*rows.Stride])
			}
		}
		for u.taken < len(u.rows) {
			pieces := r.IntN(20)
			var some tile.Rows
			u.take(&some, pieces)
			for i := range some.Len {
				got = append(got, some.Data[i*some.Stride])
			}
			require.LessOrEqual(t, some.Len*((some.Dim+tile.Piece-1)/tile.Piece), pieces)
		}
		require.Equal(t, want, got)
		some := tile.Rows{Len: 1}
		u.take(&some, 100)
		require.Zero(t, some.Len)
	}
}

// An item expects the queries and the outputs of the next, and the keys that it begins with if they are of
// another head.
func TestExpect(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 14))
	tensor := func(heads, n, dim int) source.Tensor {
		x := packed(r, heads*n, dim)
		x.Heads, x.Len, x.HeadStride, x.BatchStride = heads, n, n*dim, heads*n*dim
		return x
	}
	const kvHeads, group, queries, keys = 3, 2, 100, 300
	a := &Arguments{Dst: tensor(kvHeads*group, queries, 5), Q: tensor(kvHeads*group, queries, 7), K: source.Stored{Tensor: tensor(kvHeads, keys, 7)}, V: source.Stored{Tensor: tensor(kvHeads, keys, 5)},
		Queries: queries, Scale: 1, Workers: 1}
	c := newCall(a)
	var u upcoming
	for i := 0; i < c.plan.Items; {
		var now, next plan.Item
		n := c.plan.Item(&now, i, 0)
		if i += n; i >= c.plan.Items {
			u.expect(c, &now, nil)
			require.Empty(t, u.rows, "there is no next item")
			break
		}
		c.plan.Item(&next, i, 0)
		u.expect(c, &now, &next)
		listed := u.rows
		if next.Head != now.Head {
			require.Same(t, &a.K.Data[a.K.At(0, next.Head, 0)], &listed[0].Data[0])
			require.Equal(t, [3]int{tile.Keys, 7, 7}, [3]int{listed[0].Len, listed[0].Dim, listed[0].Stride})
			listed = listed[1:]
		}
		require.Len(t, listed, 2*group)
		first, last := next.Row/group, (next.Row+next.Rows-1)/group
		for h := range group {
			for j, x := range []*source.Tensor{&a.Q, &a.Dst} {
				rows := listed[2*h+j]
				require.Same(t, &x.Data[x.At(0, next.Head*group+h, first)], &rows.Data[0])
				require.Equal(t, [3]int{last - first + 1, x.Dim, x.LenStride}, [3]int{rows.Len, rows.Dim, rows.Stride})
			}
		}
	}
}

// An item expects the biases and the masks of its queries with the keys that it begins with, of each head that has its own.
func TestExpectPerQuery(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 14))
	const kvHeads, group, queries, keys = 2, 2, 3 * tile.MaxPanel * 4, tile.Keys + 44
	tensor := func(heads, n int) source.Tensor {
		x := packed(r, heads*n, 8)
		x.Heads, x.Len, x.HeadStride, x.BatchStride = heads, n, n*8, heads*n*8
		return x
	}
	a := &Arguments{Dst: tensor(kvHeads*group, queries), Q: tensor(kvHeads*group, queries), K: source.Stored{Tensor: tensor(kvHeads, keys)},
		V: source.Stored{Tensor: tensor(kvHeads, keys)}, Queries: queries, Scale: 1, Workers: 1}
	a.Sight.Mask = sight.Mask{Data: make([]bool, kvHeads*group*queries*keys), HeadStride: queries * keys, QueryStride: keys}
	a.Bias = Bias{Data: make([]float32, queries*keys), QueryStride: keys}
	c := newCall(a)
	var u upcoming
	next := 0
	for i := 0; ; next++ {
		var now, then plan.Item
		n := c.plan.Item(&now, i, 0)
		if i += n; i >= c.plan.Items {
			break
		}
		c.plan.Item(&then, i, 0)
		u.expect(c, &now, &then)
		listed := u.rows[:len(u.rows)-2*group]
		if then.Head != now.Head {
			listed = listed[1:]
		}
		require.Len(t, listed, 1+group, "the biases of all heads, and the masks")
		require.Same(t, &a.Bias.Data[then.Row/group*keys], &listed[0].Data[0])
		require.Equal(t, [3]int{then.Rows / group, tile.Keys, keys}, [3]int{listed[0].Len, listed[0].Dim, listed[0].Stride})
		for h, mask := range listed[1:] {
			require.Same(t, (*float32)(unsafe.Pointer(&a.Sight.Mask.Data[a.Sight.Mask.Row(0, then.Head*group+h, then.Row/group, 0)])), &mask.Data[0])
			require.Equal(t, [3]int{then.Rows / group, tile.Keys / 4, keys / 4}, [3]int{mask.Len, mask.Dim, mask.Stride})
		}
	}
	require.Positive(t, next, "there is a next item")
	u.begin()
	var it plan.Item
	c.plan.Item(&it, 0, 1)
	u.addPerQuery(c, &it, tile.Keys, keys-tile.Keys)
	require.Equal(t, keys-tile.Keys, u.rows[0].Dim)
	require.Same(t, &a.Bias.Data[it.Row/group*keys+tile.Keys], &u.rows[0].Data[0], "the next tile")
	require.Equal(t, u.rows[:2], u.takeSome(nil, 2, 0))
	require.Equal(t, len(u.rows)-2, u.left())
}

package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/stretchr/testify/require"
)

// packed is a shape of packed tensors.
func packed(batch, heads, kvHeads, queries, keys, dim int) Shape {
	tensor := func(heads, n int) *source.Tensor {
		return &source.Tensor{Batch: batch, Heads: heads, Len: n, Dim: dim, BatchStride: heads * n * dim, HeadStride: n * dim, LenStride: dim}
	}
	s := Shape{Q: tensor(heads, queries), K: tensor(kvHeads, keys), V: tensor(kvHeads, keys), Sight: new(sight.Rule), Workers: 1, Wide: NarrowPanel}
	for b := range batch {
		s.Sequences = append(s.Sequences, sight.Sequence{Batch: b, Queries: queries, Keys: keys, Start: keys - queries})
	}
	return s
}

// tokens is a shape with the heads of a token side by side.
func tokens(s Shape) Shape {
	for _, t := range []*source.Tensor{s.Q, s.K, s.V} {
		t.HeadStride, t.LenStride = t.Dim, t.Heads*t.Dim
	}
	return s
}

func with(s Shape, workers, wide int) Shape {
	s.Workers, s.Wide = workers, wide
	return s
}

// New is the plan of a shape. cuts is memory for its Cuts, or nil.
func New(s Shape, cuts []Cut) (p Plan) {
	p.Cuts = cuts
	p.Set(&s)
	return p
}

func item(p *Plan, i, n int) (it Item) {
	p.Item(&it, i, n)
	return it
}

// What is planned for the shapes that matter, as it is printed.
func TestPlans(t *testing.T) {
	const stretch = StretchTiles * tile.Keys
	for _, c := range []struct {
		name string
		s    Shape
		want string
	}{
		{"prefill, narrow panels", packed(2, 4, 4, 10*NarrowPanel, 1000, 64),
			"80 items for 1 worker; 2 sequences: 160 queries of each of 4 KV heads, 16 an item, 4 items together"},
		{"prefill, wide panels", with(packed(2, 4, 4, 10*NarrowPanel, 1000, 64), 1, tile.MaxPanel),
			"40 items for 1 worker; 2 sequences: 160 queries of each of 4 KV heads, 32 an item, 2 items together"},
		{"a rest", with(packed(1, 1, 1, 4*NarrowPanel+3, 1000, 64), 1, tile.MaxPanel),
			"3 items for 1 worker; 1 sequence: 67 queries of each of 1 KV head, 32 an item, 2 items together, the first 3 row by row"},
		{"a rest that is none", with(packed(1, 1, 1, 4*NarrowPanel+tile.MaxRows+1, 1000, 64), 1, tile.MaxPanel),
			"3 items for 1 worker; 1 sequence: 73 queries of each of 1 KV head, 32 an item, 2 items together"},
		{"values that are far apart", tokens(packed(1, 8, 8, 10*NarrowPanel, 1000, 64)),
			"80 items for 1 worker; 1 sequence: 160 queries of each of 8 KV heads, 16 an item, 8 items together, values copied"},
		{"decoding", packed(1, 8, 8, 1, stretch+1, 64),
			"8 items for 1 worker; 1 sequence: 1 query of each of 8 KV heads, 1 an item, row by row"},
		{"decoding, heads side by side", tokens(packed(1, 8, 8, 1, stretch+1, 64)),
			"1 item for 1 worker; 1 sequence: 1 query of each of 8 KV heads, 1 an item, row by row, 8 KV heads together"},
		{"decoding, groups", packed(1, 8, 2, 1, stretch+1, 64),
			"2 items for 1 worker; 1 sequence: 4 queries of each of 2 KV heads, 4 an item, row by row"},
		{"decoding, split", with(packed(1, 1, 1, 1, 40*stretch, 64), 2, NarrowPanel),
			"40 items for 2 workers; 1 sequence: 1 query of each of 1 KV head, 1 an item, row by row, keys in 40 splits"},
		{"too little for two", with(packed(1, 1, 1, 1, 100, 64), 2, NarrowPanel),
			"1 item for 1 worker; 1 sequence: 1 query of each of 1 KV head, 1 an item, row by row"},
		{"no keys", packed(1, 2, 2, 3, 0, 64),
			"1 item for 1 worker; 1 sequence: 3 queries of each of 2 KV heads, 3 an item, row by row, 2 KV heads together"},
	} {
		require.Equal(t, c.want, New(c.s, nil).String(), c.name)
	}
}

// How few queries go, where both ways were measured and differ.
func TestRestRows(t *testing.T) {
	const narrow, wide = NarrowPanel, tile.MaxPanel
	for _, c := range []struct {
		n, keys, dim, wide int
		causal             bool
		want               int
	}{
		{1, 1, 4, wide, false, 1}, {1, 7, 128, narrow, false, 1}, {4, 4, 16, narrow, false, 4}, {8, 64, 128, wide, false, 8}, // alone, row by row
		{8, 1, 8, narrow, false, 0}, {8, 12, 16, wide, false, 0}, // but for many of them that have little to do
		{narrow + 1, 32, 32, narrow, false, 1}, {narrow + 4, 20, 64, narrow, false, 4}, // beside one more panel
		{narrow + 5, 4, 4, narrow, false, 0}, {narrow + 8, 16, 8, narrow, false, 0}, {narrow + 8, 64, 64, narrow, false, 8},
		{narrow + 1, 4, 16, wide, false, 0}, {narrow + 4, 16, 16, wide, false, 0}, {narrow + 8, 24, 32, wide, false, 0}, {narrow + 4, 7, 64, wide, false, 0}, // beside a wider panel
		{narrow + 1, 32, 32, wide, false, 1}, {narrow + 4, 32, 16, wide, false, 0}, {narrow + 4, 64, 64, wide, false, 4}, {narrow + 8, 64, 64, wide, false, 8},
		{wide + 4, 36, 64, wide, false, 4}, {wide + 8, 4, 4, wide, false, 0}, {wide + 8, 256, 64, wide, false, 8}, // beside one more behind it
		{8, 64, 64, wide, false, 8}, {8, 24, 16, wide, true, 0}, {1, 16, 4, wide, true, 1}, // alone, causal or not
		{narrow + 8, 32, 16, narrow, true, 0}, {narrow + 4, 20, 32, wide, true, 0}, // behind a panel
		{8 * wide, 64, 64, wide, false, 0}, {narrow + tile.MaxRows + 1, 4096, 128, wide, false, 0}, // no rest
		{narrow + 8, 1 << 30, 1024, narrow, false, 8}, // nothing overflows
	} {
		s := with(packed(1, 1, 1, c.n, c.keys, c.dim), 1, c.wide)
		s.Sight.Causal = c.causal
		require.Equal(t, c.want, New(s, nil).Cuts[0].RestRows, "%+v", c)
		s.Scalar = true // where the padding of a panel takes as long as queries
		if rest := c.n % narrow; rest <= tile.MaxRows {
			require.Equal(t, rest, New(s, nil).Cuts[0].RestRows, "%+v", c)
		}
	}
}

// Every query of every head meets every key once, whatever the sequences.
func TestItems(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 31))
	for range 500 {
		kvHeads, group := 1+r.IntN(10), 1+r.IntN(3)
		s := packed(1, kvHeads*group, kvHeads, 1, 1, 1+r.IntN(200))
		if r.IntN(2) == 0 {
			s = tokens(s)
		}
		s.Workers, s.Wide = 1+r.IntN(5), []int{NarrowPanel, tile.MaxPanel}[r.IntN(2)]
		s.Sequences = nil
		for range 1 + r.IntN(4) {
			q := sight.Sequence{Queries: []int{0, 1, 2, 5, 9, 30, 200}[r.IntN(7)], Keys: []int{0, 1, 7, 8, 300, 9000}[r.IntN(6)]}
			s.Sequences = append(s.Sequences, q)
		}
		p := New(s, nil)
		name := fmt.Sprintf("%+v %v", s.Sequences, p)
		seen := map[[3]int]int{} // the next key of a sequence, head and row
		for i := 0; i < p.Items; {
			var it Item
			together := p.Item(&it, i, 0)
			_, first, all, most := p.Run(i)
			require.Equal(t, min(most, first+all-i), together, name)
			n := 1 + r.IntN(together)
			require.Equal(t, n, p.Item(&it, i, n), name)
			q := &s.Sequences[it.Sequence]
			require.Positive(t, it.Rows, name)
			require.Less(t, it.Rows-it.RestRows, tile.MaxPanel*MaxPanels+1, name)
			if it.Heads > 1 || it.Cut.Splits > 1 {
				require.Equal(t, it.Rows, it.RestRows, name)
			}
			require.LessOrEqual(t, it.Heads*it.Cut.Stretch, StretchTiles, name)
			for head := it.Head; head < it.Head+it.Heads; head++ {
				for row := it.Row; row < it.Row+it.Rows; row++ {
					at := [3]int{it.Sequence, head, row}
					require.Equal(t, it.Keys.From, seen[at], "%s: keys in order", name)
					seen[at] = max(1, min(it.Keys.To, q.Keys))
				}
			}
			i += n
		}
		number := -1 // groups are numbered through, each of items of the same queries and KV heads
		for i := 0; i < p.Items; {
			group, first, n, _ := p.Run(i)
			number++
			require.Equal(t, [2]int{number, i}, [2]int{group, first}, name)
			for j := i; j < i+n; j++ {
				require.Equal(t, item(&p, i, 1).Sequence, item(&p, j, 1).Sequence, name)
				require.Equal(t, item(&p, i, 1).Head, item(&p, j, 1).Head, name)
				again, _, _, _ := p.Run(j)
				require.Equal(t, group, again, name)
			}
			i += n
		}
		want := 0
		for sequence, q := range s.Sequences {
			for head := range kvHeads {
				for row := range q.Queries * group {
					require.Equal(t, max(1, q.Keys), seen[[3]int{sequence, head, row}], "%s: sequence %d, head %d, row %d", name, sequence, head, row)
					want++
				}
			}
		}
		require.Len(t, seen, want, name)
		require.LessOrEqual(t, p.Workers, max(1, p.Items), name)
	}
}

// States are kept for the rows of a worker, or for all where keys are split; twice where spans or sinks come before.
func TestStates(t *testing.T) {
	const heads, rows, dim = 8, 3, 20
	pad := tile.Pad(dim)
	for _, c := range []struct {
		queries, workers, keys int
		sinks                  bool
		states, merging        int
	}{
		{rows, 1, tile.Keys, false, rows * pad, 0},
		{rows, 1, tile.Keys, true, 2 * rows * pad, 0},
		{rows, 1, generic.SpanKeys + 1, false, 2 * rows * pad, 0},
		{rows, heads, generic.SpanKeys, false, 0, heads * rows * pad},
		{rows, heads, generic.SpanKeys + 1, false, 0, 2 * heads * rows * pad},
		{4 * NarrowPanel, 1, generic.SpanKeys, false, 0, 0}, // a panel has them itself
		{4 * NarrowPanel, 1, generic.SpanKeys + 1, false, (4 + 1) * NarrowPanel * pad, 0},
	} {
		s := with(packed(1, heads, heads, c.queries, c.keys, dim), c.workers, NarrowPanel)
		s.Sinks = c.sinks
		p := New(s, nil)
		require.Equal(t, [2]int{c.states, c.merging}, [2]int{p.States, p.Merging}, "%+v: %v", c, p)
		require.Equal(t, p.Workers*(p.Scratch.Size()+c.states)+c.merging, p.Memory())
	}
}

// A plan depends on nothing but the shape, and its memory for cuts changes nothing.
func TestPure(t *testing.T) {
	s := packed(3, 8, 2, 100, 500, 64)
	p := New(s, nil)
	require.Equal(t, p, New(s, nil))
	buf := New(packed(9, 1, 1, 1, 1, 8), nil).Cuts
	require.Equal(t, p, New(s, buf))
	require.Zero(t, testing.AllocsPerRun(10, func() { New(s, buf) }))
}

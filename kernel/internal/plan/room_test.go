package plan

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/stretchr/testify/require"
)

// The scratch memory of a worker holds every item, and not more than twice that.
func TestRoom(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 31))
	for range 300 {
		kvHeads, group := 1+r.IntN(10), 1+r.IntN(3)
		s := packed(1, kvHeads*group, kvHeads, 1, 1, 1+r.IntN(200))
		s.V.Dim = 1 + r.IntN(200)
		if r.IntN(2) == 0 {
			s = tokens(s)
		}
		s.Workers, s.Wide = 1+r.IntN(5), []int{NarrowPanel, tile.MaxPanel}[r.IntN(2)]
		s.Sequences = []sight.Sequence{{Queries: 1 + r.IntN(200), Keys: 1 + r.IntN(5000)}, {Queries: 1 + r.IntN(3), Keys: 1 + r.IntN(5000)}}
		p := New(s, nil)
		// What panels and rows that are computed again need whatever the items are.
		need := Scratch{Scores: tile.Keys * tile.MaxPanel, Mixes: tile.MaxRows * tile.Pad(s.V.Dim), Keys: RowKeys * s.K.Dim}
		for i := 0; i < p.Items; {
			var it Item
			n := p.Item(&it, i, 0)
			lanes := it.Heads * NarrowPanel // of rows, packed as a panel is
			if it.RestRows < it.Rows {
				lanes = 0
				panels := it.Rows - it.RestRows
				lanes = panels / s.Wide * s.Wide
				if rest := panels % s.Wide; rest > 0 {
					lanes += p.Width(rest)
				}
			}
			need.Queries = max(need.Queries, lanes*tile.Pad(s.Q.Dim))
			need.Outputs = max(need.Outputs, lanes*tile.Pad(s.V.Dim))
			if it.Cut.CopyValues {
				need.Values = tile.Keys * s.V.Dim
			}
			if it.RestRows > 0 {
				tiles := min(it.Cut.Stretch, CeilDiv(s.Sequences[it.Sequence].Keys, tile.Keys))
				rows := it.Heads * tiles * p.ScoreRows(it.RestRows)
				need.Scores = max(need.Scores, rows*tile.Keys)
				need.Mixes = max(need.Mixes, rows*tile.Pad(s.V.Dim))
			}
			i += n
		}
		for name, room := range map[string][2]int{
			"queries": {need.Queries, p.Scratch.Queries}, "outputs": {need.Outputs, p.Scratch.Outputs}, "values": {need.Values, p.Scratch.Values},
			"scores": {need.Scores, p.Scratch.Scores}, "mixes": {need.Mixes, p.Scratch.Mixes}, "keys": {need.Keys, p.Scratch.Keys},
		} {
			// Lanes are counted in whole wide panels.
			wide := tile.MaxPanel * max(tile.Pad(s.Q.Dim), tile.Pad(s.V.Dim))
			require.True(t, room[0] <= room[1] && room[1] <= 2*room[0]+wide, "%s: need %d, have %d: %v %+v", name, room[0], room[1], p, s.Sequences)
		}
		sc := p.Scratch
		require.Equal(t, sc.Queries+sc.Outputs+sc.Values+sc.Keys+sc.Scores+sc.Mixes, sc.Size())
	}
}

// The work grows with heads, dims, keys and queries, of which few are as slow as five.
func TestWork(t *testing.T) {
	useful := func(heads, queries, keys, dim, vdim int) int {
		s := packed(1, heads, heads, queries, keys, dim)
		s.V.Dim = vdim
		return New(s, nil).Useful
	}
	base := useful(4, 20, 4000, 64, 64)
	require.Greater(t, base, 4)
	for _, more := range []int{useful(8, 20, 4000, 64, 64), useful(4, 40, 4000, 64, 64), useful(4, 20, 8000, 64, 64), useful(4, 20, 4000, 128, 128),
		useful(4, 20, 4000, 120, 8), useful(4, 20, 4000, 8, 120)} {
		if more != base {
			require.InDelta(t, 2*base, more, 2)
		}
	}
	require.Equal(t, base, useful(4, 20, 4000, 120, 8), "the sum of the dims counts")
	require.Equal(t, base, useful(4, 20, 4000, 8, 120), "the sum of the dims counts")
	require.Equal(t, useful(64, 5, 4000, 64, 64), useful(64, 1, 4000, 64, 64))
	require.Less(t, useful(64, 5, 4000, 64, 64), useful(64, 10, 4000, 64, 64))
	require.Equal(t, queue.Useful(2*128*4000*20+3*128*8000*40), func() int { // of all sequences
		s := packed(1, 1, 1, 20, 4000, 64)
		s.Sequences = []sight.Sequence{{Queries: 20, Keys: 4000}, {Queries: 20, Keys: 4000}, {Queries: 40, Keys: 8000}, {Queries: 40, Keys: 8000}, {Queries: 40, Keys: 8000}}
		return New(s, nil).Useful
	}())
}

// Where each choice changes: a query more, a key more, a stride more.
func TestEdges(t *testing.T) {
	plan := func(s Shape) Cut { return New(s, nil).Cuts[0] }
	// A rest of up to MaxRows queries goes row by row, where there are many keys.
	for n := 1; n <= 3*NarrowPanel; n++ {
		rest := n % NarrowPanel
		if rest > tile.MaxRows {
			rest = 0
		}
		require.Equal(t, rest, plan(packed(1, 1, 1, n, 100, 64)).RestRows, "%d queries", n)
	}
	// A wide panel is for more than a narrow one holds.
	p := New(with(packed(1, 1, 1, 100, 100, 64), 1, tile.MaxPanel), nil)
	require.Equal(t, NarrowPanel, p.Width(NarrowPanel))
	require.Equal(t, tile.MaxPanel, p.Width(NarrowPanel+1))
	// Rows that are computed: 1, 4 or 8, and one query's scores as those of 4 where the keys lie pages apart.
	for n, want := range []int{0, 1, 4, 4, 4, 8, 8, 8, 8} {
		require.Equal(t, want, PadRows(n))
		for stride, one := range map[int]int{0: 1, 64: 1, page - 1: 1, page: 4, 3 * page: 4, page + 64: 1} {
			s := packed(1, 1, 1, 1, 100, 64)
			s.K.LenStride = stride
			p := New(s, nil)
			if n == 1 {
				want = one
			}
			require.Equal(t, want, p.ScoreRows(n), "%d rows, keys %d apart", n, stride)
		}
	}
	// Values are copied if their rows are far apart, the panels narrow, and more queries than one block share them.
	for _, c := range []struct {
		stride, queries, wide int
		copied                bool
	}{
		{farRows, blockRows + 1, NarrowPanel, true}, {farRows - 1, blockRows + 1, NarrowPanel, false},
		{farRows, blockRows, NarrowPanel, false}, {farRows, blockRows + 1, tile.MaxPanel, false},
	} {
		s := with(packed(1, 1, 1, c.queries, 100, 64), 1, c.wide)
		s.V.LenStride = c.stride
		require.Equal(t, c.copied, plan(s).CopyValues, "%+v", c)
		require.Equal(t, c.copied, New(s, nil).Scratch.Values > 0, "%+v", c)
	}
	// KV heads go together if those of k or of v are neighbours and one worker reads them, or a whole stretch.
	const stretch = StretchTiles * tile.Keys
	for _, c := range []struct {
		k, v          bool // neighbours
		workers, keys int
		heads         int
	}{
		{false, false, 1, 100, 1}, {true, false, 1, 100, 4}, {false, true, 1, 100, 4}, {true, true, 2, stretch - 1, 1}, {true, true, 2, stretch, 4},
	} {
		s := with(packed(1, 4, 4, 1, c.keys, 64), c.workers, NarrowPanel)
		if apart := tokens(packed(1, 4, 4, 1, c.keys, 64)); c.k {
			s.K.HeadStride, s.K.LenStride = apart.K.HeadStride, apart.K.LenStride
		}
		if apart := tokens(packed(1, 4, 4, 1, c.keys, 64)); c.v {
			s.V.HeadStride, s.V.LenStride = apart.V.HeadStride, apart.V.LenStride
		}
		require.Equal(t, c.heads, plan(s).Heads, "%+v", c)
	}
	// One head is not its own neighbour: its rows may lie as close as heads would.
	one := packed(1, 4, 4, 1, 100, 64)
	one.K.LenStride, one.V.LenStride = one.K.HeadStride, one.V.HeadStride
	require.Equal(t, 1, plan(one).Heads)
	// Few keys are neighbours in any layout.
	require.Equal(t, 4, plan(packed(1, 4, 4, 1, fewKeys/64, 64)).Heads)
	require.Equal(t, 1, plan(packed(1, 4, 4, 1, fewKeys/64+1, 64)).Heads)
	// Keys are split if there are less than four groups of KV heads to a worker, and more than a stretch of keys.
	for _, c := range []struct{ heads, workers, keys, queries, splits int }{
		{7, 2, stretch + 1, 1, 2}, {8, 2, stretch + 1, 1, 1}, {7, 2, stretch, 1, 1}, {7, 1, stretch + 1, 1, 1}, {1, 2, stretch + 1, 9, 1}, {1, 2, 0, 1, 1},
	} {
		p := New(with(packed(1, c.heads, c.heads, c.queries, c.keys, 64), c.workers, NarrowPanel), nil)
		require.Equal(t, c.splits, p.Cuts[0].Splits, "%+v", c)
		shared := 0
		if c.splits > 1 {
			shared = c.heads
		}
		require.Equal(t, shared, p.Shared, "%+v", c)
	}
	two := New(with(packed(2, 3, 3, 1, stretch+1, 64), 2, NarrowPanel), nil)
	require.Equal(t, 6, two.Shared, "KV heads of all sequences")
}

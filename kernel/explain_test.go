package kernel

import (
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/stages"
	"github.com/stretchr/testify/require"
)

// counted returns the tiles of the calls that f makes, and how many workers there were.
func counted(f func()) (t stages.Tiles, workers int) {
	var mutex sync.Mutex
	stages.Count = func(own stages.Tiles) {
		mutex.Lock()
		defer mutex.Unlock()
		workers++
		t.Computed += own.Computed
		t.Masked += own.Masked
	}
	defer func() { stages.Count = nil }()
	f()
	return t, workers
}

// What a call computes is what Explain says, for any options, in each layout.
func TestExplained(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 42))
	check := func(s shape, kind asmtest.Kind, o Options) {
		p := newProblem(r, s, func() layout { return anyLayout(r) }, kind, o)
		got, err := Explain(p.q, p.k, p.v, &p.o)
		require.NoError(t, err)
		ran, workers := counted(func() { p.attend(t) })
		require.Equal(t, []int{ran.Computed, ran.Masked}, []int{got.Computed, got.Masked}, "%v: %v", p, got)
		require.LessOrEqual(t, workers, max(1, got.Workers), "%v", p)
		require.LessOrEqual(t, got.Masked, got.Computed, "%v: %v", p, got)
		require.GreaterOrEqual(t, got.Skipped, 0, "%v: %v", p, got)
		require.Equal(t, Backend(), got.Backend)
	}
	for range trials(300) {
		kvHeads := 1 + r.IntN(3)
		s := shape{1 + r.IntN(2), kvHeads * (1 + r.IntN(4)), kvHeads, 1 + r.IntN(200), 1 + r.IntN(pick(r, 20, 20, 4*edge+44)), 1 + r.IntN(9), 1 + r.IntN(9)}
		if r.IntN(3) == 0 {
			s.lq = 1 + r.IntN(9) // decoding
		}
		check(s, asmtest.Kind(r.IntN(int(asmtest.Kinds))), randomOptions(r, s)) // with NaN: repairs are not counted
	}
	for range trials(10) { // keys that are split among workers
		s := shape{1, 2, 1, 1 + r.IntN(3), plan.StretchTiles*edge + r.IntN(2*plan.StretchTiles*edge), 4, 4}
		check(s, asmtest.Normal, randomOptions(r, s))
	}
}

// The tiles that there are, by hand.
func TestExplainedTiles(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 42))
	const n = generic.TileKeys
	tiles := func(lq, lk int, o Options) [3]int {
		o.Workers = 1
		p := newProblem(r, shape{1, 1, 1, lq, lk, 8, 8}, packedLayout, asmtest.Normal, o)
		got, err := Explain(p.q, p.k, p.v, &p.o)
		require.NoError(t, err)
		return [3]int{got.Computed, got.Masked, got.Skipped}
	}
	mask := &Mask{Data: make([]bool, 4*n)}
	for i := range n { // of the keys of the second tile, and of one of the third
		mask.Data[n+i] = true
	}
	mask.Data[2*n+7] = true
	for _, lq := range []int{1, plan.NarrowPanel} { // rows, and one panel
		require.Equal(t, [3]int{4, 0, 0}, tiles(lq, 4*n, Options{}), "%d queries", lq)
		require.Equal(t, [3]int{1, 0, 3}, tiles(lq, 4*n, Options{KeyLen: []int{n}}), "%d queries: padding", lq)
		require.Equal(t, [3]int{2, 1, 2}, tiles(lq, 4*n, Options{Mask: mask}), "%d queries: mask", lq)
		require.Equal(t, [3]int{0, 0, 0}, tiles(lq, 4*n, Options{KeyLen: []int{0}}), "%d queries: no keys", lq)
		require.Equal(t, [3]int{0, 0, 0}, tiles(lq, 0, Options{}), "%d queries: no keys", lq)
	}
	require.Equal(t, [3]int{0, 0, 0}, tiles(0, 4*n, Options{}), "no queries")
	require.Equal(t, [3]int{3, 0, 1}, tiles(1, 4*n, Options{Causal: true, Start: []int{3*n - 1}}), "one query")
	require.Equal(t, [3]int{2, 0, 2}, tiles(1, 4*n, Options{Window: &Window{n, -1}, Start: []int{3 * n}}), "a window of one query: all of what is read is seen")
	if w := plan.NarrowPanel; true {
		require.Equal(t, [3]int{1, 1, 3}, tiles(w, 4*n, Options{Causal: true, Start: []int{0}}), "causal from the first key")
		require.Equal(t, [3]int{4, 1, 0}, tiles(w, 4*n, Options{Causal: true}), "causal to the last key")
	}
}

// Scratch is what a first call allocates, but for structures of a fixed size.
func TestExplainedScratch(t *testing.T) {
	if asmtest.Race {
		t.Skip("pools drop values at random under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	r := rand.New(rand.NewPCG(3, 42))
	for _, s := range []shape{{1, 8, 8, 1, 300, 1024, 1024}, {1, 8, 8, 7, 300, 1024, 1024}, {1, 1, 1, 67, 70, 1024, 1024}, {1, 1, 1, 67, 300, 64, 1024},
		{1, 8, 8, 7, 301, 1024, 1024}, {1, 1, 1, 64, generic.SpanKeys + 1, 8, 1024}} {
		p := newProblem(r, s, func() layout { return blhd }, asmtest.Normal, Options{Workers: 1})
		if s.lk == 301 {
			p.o.Sinks = make([]float32, s.heads)
		}
		e, err := Explain(p.q, p.k, p.v, &p.o)
		require.NoError(t, err)
		runtime.GC()
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o))
		runtime.ReadMemStats(&after)
		require.InDelta(t, int(after.TotalAlloc-before.TotalAlloc), e.Scratch, 150_000, "%v: %v", p, e)
	}
}

// Explain refuses what Attention does, with its errors.
func TestExplainBad(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 42))
	good := newProblem(r, shape{2, 4, 2, 5, 9, 8, 8}, packedLayout, asmtest.Normal, Options{})
	for _, change := range []func(p *problem){
		func(p *problem) { p.q.Len = -1 }, func(p *problem) { p.k.Data = nil }, func(p *problem) { p.v.Dim = 0 }, func(p *problem) { p.v.Len, p.v.Data = 8, p.v.Data[:2*2*8*8] },
		func(p *problem) { p.o.Scale = nan }, func(p *problem) { p.o.Workers = -1 }, func(p *problem) { p.o.KeyLen = []int{1} }, func(p *problem) { p.o.Mask = new(Mask) },
	} {
		p := *good
		change(&p)
		want := Attention(p.dst, p.q, p.k, p.v, &p.o)
		require.Error(t, want)
		_, err := Explain(p.q, p.k, p.v, &p.o)
		require.Equal(t, want, err)
	}
	p, err := Explain(good.q, good.k, good.v, nil)
	require.NoError(t, err)
	for _, part := range []string{Backend() + ": ", "items for", "sequences: 10 queries of each of 2 KV heads", "tiles of 256 keys: ", " computed, 0 of them masked, 0 skipped; ", "bytes of scratch"} {
		require.Truef(t, strings.Contains(p.String(), part), "%q of %q", part, p)
	}
}

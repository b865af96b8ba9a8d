package kernel

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// isShort reports whether Explain says that p is a short call.
func (p *problem) isShort(t *testing.T) bool {
	t.Helper()
	e, err := Explain(p.q, p.k, p.v, &p.o)
	require.NoError(t, err)
	return strings.HasPrefix(e.Path, "each query alone")
}

// A short call has the bits of one that saves its log-sum-exps, which is none, in any layout and in place.
func TestShort(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 60))
	short := 0
	for range trials(600) {
		kvHeads := 1 + r.IntN(3)
		s := shape{1 + r.IntN(2), kvHeads, kvHeads, 1, 1 + r.IntN(pick(r, 10, 40, edge)), 1 + r.IntN(pick(r, 9, 70)), 1 + r.IntN(pick(r, 9, 70))}
		switch r.IntN(4) {
		case 0:
			s.lq = 2
		case 1:
			s.heads *= 2
		}
		o := Options{Causal: r.IntN(2) == 0, Scale: pick[float32](r, 0, -1, 2), Workers: r.IntN(3)}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Kind(r.IntN(int(asmtest.Kinds))), o)
		if p.isShort(t) {
			short++
		}
		o.LSE = make([]float32, s.batch*s.heads*s.lq)
		saving := p.with(o)
		require.False(t, saving.isShort(t), "%v", saving)
		want := saving.attend(t)
		asmtest.Equal(t, want, p.attend(t), "%v", p)
		if s.dim == s.vdim {
			require.NoError(t, Attention(p.q, p.q, p.k, p.v, &p.o))
			asmtest.Equal(t, want, flat(p.q), "%v in place", p)
		}
	}
	require.Greater(t, 2*short, trials(600), "short calls")
}

// Which calls are short, and that what runs is what Explain says: a short call counts once.
func TestShortLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 60))
	for _, c := range []struct {
		s    shape
		o    Options
		want bool
	}{
		{shape{1, 1, 1, 1, 1, 64, 64}, Options{}, true},
		{shape{2, 3, 3, 1, 9, 64, 64}, Options{Causal: true, Scale: 3, Workers: 2}, true},
		{shape{1, 2, 1, 1, edge, 8, 8}, Options{}, true},
		{shape{1, 1, 1, 2, 1, 256, 256}, Options{Causal: true}, true},
		{shape{1, 1, 1, 1, edge + 1, 8, 8}, Options{}, false},
		{shape{1, 1, 1, 3, 1, 8, 8}, Options{}, false},
		{shape{1, 4, 2, 2, 1, 8, 8}, Options{}, false},
		{shape{1, 1, 1, 1, 1, 257, 8}, Options{}, false},
		{shape{1, 1, 1, 1, 1, 8, 257}, Options{}, false},
		{shape{1, 1, 1, 1, 0, 8, 8}, Options{}, false},
		{shape{1, 16, 16, 1, edge, 64, 64}, Options{}, false}, // too much work
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{SoftCap: 1}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{Window: &Window{-1, -1}}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{Mask: &Mask{Data: []bool{true}}}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{Start: []int{0}}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{KeyLen: []int{1}}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{QueryLen: []int{1}}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{QueryOffsets: []int{0, 1}, KeyOffsets: []int{0, 1}}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{Stats: make([]float32, 2)}, false},
		{shape{1, 1, 1, 1, 1, 8, 8}, Options{Dropout: new(Dropout)}, false},
	} {
		p := newProblem(r, c.s, packedLayout, asmtest.Normal, c.o)
		require.Equal(t, c.want, p.isShort(t), "%v", p)
		if c.o.plain() {
			p.check(t)
		}
		got, err := Explain(p.q, p.k, p.v, &p.o)
		require.NoError(t, err)
		ran, workers := counted(func() { p.attend(t) })
		require.Equal(t, []int{ran.Computed, ran.Masked}, []int{got.Computed, got.Masked}, "%v", p)
		if c.want {
			require.Equal(t, 1, workers, "%v", p)
		}
	}
	apart := newProblem(r, shape{1, 1, 1, 1, 9, 8, 8}, packedLayout, asmtest.Normal, Options{})
	apart.k = Tensor{Data: make([]float32, 8*1024+8), Heads: 1, Len: 9, Dim: 8, LenStride: 1024, HeadStride: 8}
	require.False(t, apart.isShort(t), "keys that share a set of L1")
	apart.check(t)
	apart.k.Len, apart.v = 1, view(apart.v, 0, 1, 0, 1, 0, 1)
	require.True(t, apart.isShort(t), "one key")
	apart.check(t)
}

// A short call of a context that is done leaves dst alone, and refuses what is wrong.
func TestShortContext(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(3, 60)), shape{1, 2, 2, 1, 3, 8, 8}, packedLayout, asmtest.Normal, Options{})
	require.True(t, p.isShort(t))
	ctx, cancel := context.WithCancel(context.Background())
	want := p.attend(t)
	require.NoError(t, AttentionContext(ctx, p.dst, p.q, p.k, p.v, &p.o))
	asmtest.Equal(t, want, flat(p.dst), "%v", p)
	cancel()
	for i := range p.dst.Data {
		p.dst.Data[i] = nan
	}
	require.ErrorIs(t, AttentionContext(ctx, p.dst, p.q, p.k, p.v, &p.o), context.Canceled)
	for _, x := range p.dst.Data {
		require.True(t, x != x)
	}
	require.EqualError(t, AttentionContext(ctx, p.k, p.q, p.k, p.v, &p.o), "attn: dst.Len is 3, want 1 as of q")
}

// Rows of a short call, of one query and of two, equal generic.AttentionRow for each number of keys, between fences and beside
// NaN that a causal mask hides.
func TestShortKeys(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	r := rand.New(rand.NewPCG(4, 60))
	keys, values := newFenced(t), newFenced(t)
	for n := 1; n <= generic.TileKeys; n++ {
		p := newProblem(r, shape{1, 1, 1, 1 + n%2, n, 1 + r.IntN(20), 1 + r.IntN(20)}, packedLayout, asmtest.Normal, Options{Causal: true})
		p.k.Data, p.v.Data = keys.vector(r, flat(p.k)), values.vector(r, flat(p.v))
		require.True(t, p.isShort(t), "%v", p)
		if p.check(t); p.q.Len == 1 {
			continue
		}
		want := p.attend(t)[:p.v.Dim]
		rows(p.k)[n-1][0], rows(p.v)[n-1][0] = nan, inf
		asmtest.Equal(t, want, p.attend(t)[:p.v.Dim], "%v", p)
	}
}

// A call without queries returns at once, however many batch members share their keys.
func TestShortWithoutQueries(t *testing.T) {
	q := Tensor{Batch: math.MaxInt / 64, Heads: 1, Dim: 8}
	k := Tensor{Data: make([]float32, 8), Batch: q.Batch, Heads: 1, Len: 1, Dim: 8, LenStride: 8}
	require.NoError(t, Attention(q, q, k, k, nil))
}

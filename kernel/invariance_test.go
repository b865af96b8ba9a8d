package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// The bits of a row depend on its query and on the keys and values that it sees, and on nothing else.

// Each row alone, one query of one head against its prefix, equals its row of the batch.
func TestRowsAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	for range trials(40) {
		kvHeads, group := 1+r.IntN(3), 1+r.IntN(4)
		s := shape{1 + r.IntN(3), kvHeads * group, kvHeads, 1 + r.IntN(40), 1 + r.IntN(300), 1 + r.IntN(24), 1 + r.IntN(24)}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.WithEdges,
			Options{Causal: r.IntN(3) > 0, Workers: 1 + r.IntN(3)})
		all := p.attend(t)
		for n := range s.batch * s.heads * s.lq {
			b, h, i := n/s.lq/s.heads, n/s.lq%s.heads, n%s.lq
			alone := &problem{
				dst: Tensor{Data: make([]float32, s.vdim), Batch: 1, Heads: 1, Len: 1, Dim: s.vdim},
				q:   view(p.q, b, 1, h, 1, i, 1),
				k:   view(p.k, b, 1, h/group, 1, 0, p.seen(i)),
				v:   view(p.v, b, 1, h/group, 1, 0, p.seen(i)),
				o:   Options{Workers: 1},
			}
			asmtest.Equal(t, all[n*s.vdim:][:s.vdim], alone.attend(t), "%v: member %d head %d row %d", p, b, h, i)
		}
	}
}

// A causal prefill equals its chunks, of one query (decoding) or more, each against the prefix
// that ends with it.
func TestPrefillEqualsDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, s := range []shape{
		{2, 4, 2, 150, 150, 16, 16}, {1, 2, 2, 60, 280, 20, 9}, {1, 8, 1, 33, 140, 8, 8}, {1, 1, 1, 40, 30, 8, 8}, {1, 6, 2, 20, 300, 5, 5},
	} {
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Causal: true})
		require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o))
		for _, chunk := range []int{1, 2, 7, 16} {
			for i := 0; i < s.lq; i += chunk {
				n := min(chunk, s.lq-i)
				part := &problem{
					dst: newTensor(r, s.batch, s.heads, n, s.vdim, anyLayout(r), asmtest.Normal),
					q:   view(p.q, 0, s.batch, 0, s.heads, i, n),
					k:   view(p.k, 0, s.batch, 0, s.kvHeads, 0, p.seen(i+n-1)),
					v:   view(p.v, 0, s.batch, 0, s.kvHeads, 0, p.seen(i+n-1)),
					o:   Options{Causal: true, Workers: 1 + r.IntN(2)},
				}
				want := flat(view(p.dst, 0, s.batch, 0, s.heads, i, n))
				asmtest.Equal(t, want, part.attend(t), "%v: rows %d to %d", p, i, i+n-1)
			}
		}
	}
}

// Few queries against many keys are split over workers by keys.
func TestSplitKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	const span = spanTiles * generic.TileKeys
	for _, lk := range []int{span - 1, span, span + 1, 2*span + 1, 12345, 40000} {
		for _, s := range []shape{{1, 1, 1, 1, lk, 12, 12}, {1, 4, 1, 1, lk, 8, 5}, {1, 6, 2, 2, lk, 4, 8}, {2, 1, 1, 5, lk, 3, 3}} {
			p := newProblem(r, s, func() layout { return anyLayout(r) }, pick(r, asmtest.Normal, asmtest.Wide), Options{Causal: true, Workers: 1})
			p.check(t)
			want := flat(p.dst)
			for _, workers := range []int{2, 3, 8} {
				asmtest.Equal(t, want, p.with(Options{Causal: true, Workers: workers}).attend(t), "%v: %d workers", p, workers)
			}
		}
	}
}

// Strides and alignments are only ways to find the elements.
func TestLayouts(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 3))
	for _, s := range []shape{{2, 4, 2, 37, 140, 17, 24}, {2, 4, 2, 1, 140, 17, 24}} {
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{})
		want := p.attend(t)
		for range trials(64) {
			c := &problem{relaid(r, p.dst, anyLayout(r)), relaid(r, p.q, anyLayout(r)), relaid(r, p.k, anyLayout(r)), relaid(r, p.v, anyLayout(r)), p.o}
			asmtest.Equal(t, want, c.attend(t), "%v", c)
		}
	}
}

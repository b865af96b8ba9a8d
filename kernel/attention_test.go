package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// Attention equals generic.AttentionRow, bit for bit, over everything at random.
func TestAttentionRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range trials(250) {
		kvHeads := 1 + r.IntN(3)
		s := shape{1 + r.IntN(2), kvHeads * (1 + r.IntN(8)), kvHeads, 1 + r.IntN(40), r.IntN(edge + 44), 1 + r.IntN(40), 1 + r.IntN(40)}
		if r.IntN(2) == 0 {
			s.lq = 1 + r.IntN(3) // decoding
		}
		o := Options{Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(4)}
		if r.IntN(3) == 0 {
			o.Scale = r.Float32() * 3
		}
		newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Kind(r.IntN(int(asmtest.Kinds))), o).check(t)
	}
}

// Every dimension from 1 to 40 and chosen ones up to the largest, for keys and for values.
func TestAttentionDims(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	dims := []int{64, 80, 96, 128, 255, 256, 1024}
	for d := 1; d <= 40; d++ {
		dims = append(dims, d)
	}
	for _, d := range dims {
		for _, lq := range []int{1, 5, 18} {
			lk := pick(r, 3, 16, edge+1)
			other := 1 + r.IntN(40)
			kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
			lay := func() layout { return anyLayout(r) }
			newProblem(r, shape{1, 1, 1, lq, lk, d, other}, lay, kind, Options{Workers: 1}).check(t)
			newProblem(r, shape{1, 1, 1, lq, lk, other, d}, lay, kind, Options{Workers: 1, Causal: true}).check(t)
		}
	}
}

// Lengths around the edges of panels, of few rows and of tiles.
func TestAttentionLengths(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	const tile = generic.TileKeys
	i := 0
	for _, lk := range []int{0, 1, 2, 7, 8, 9, 15, 16, 17, tile/2 - 1, tile / 2, tile/2 + 1, tile - 1, tile, tile + 1, 2*tile - 1, 2 * tile, 2*tile + 1, 1000} {
		for _, lq := range []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 130} {
			s := shape{1, 1, 1, lq, lk, 1 + r.IntN(9), 1 + r.IntN(9)}
			for _, causal := range []bool{false, true} {
				if i++; !sampled(i, 3) {
					continue
				}
				newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Kind(r.IntN(int(asmtest.Kinds))),
					Options{Causal: causal, Workers: 1 + r.IntN(3)}).check(t)
			}
		}
	}
}

// One to eight query heads share a key head, so that rows of several heads meet in a panel or a group.
func TestAttentionGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	i := 0
	for group := 1; group <= 8; group++ {
		for _, lq := range []int{1, 2, 3, 4, 8, 9, 17} {
			for _, causal := range []bool{false, true} {
				if i++; !sampled(i, 3) {
					continue
				}
				newProblem(r, shape{2, 2 * group, 2, lq, edge + 12, 8, 5}, func() layout { return anyLayout(r) },
					asmtest.Normal, Options{Causal: causal, Workers: 1 + r.IntN(3)}).check(t)
			}
		}
	}
}

// Queries, keys and values that lie in one projection [Len][3][Heads][Dim] are read where they are.
func TestAttentionFusedProjection(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 2))
	const heads, dim = 3, 20
	for _, n := range []int{1, 2, 30, 150} {
		data := asmtest.Fill(r, make([]float32, n*3*heads*dim), asmtest.Normal)
		part := func(i int) Tensor {
			return Tensor{Data: data[i*heads*dim:], Batch: 1, Heads: heads, Len: n, Dim: dim, HeadStride: dim, LenStride: 3 * heads * dim}
		}
		p := &problem{newTensor(r, 1, heads, n, dim, blhd, asmtest.Normal), part(0), part(1), part(2), Options{Causal: true}}
		p.check(t)
	}
}

// dst may be the queries themselves.
func TestAttentionInPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 2))
	for _, s := range []shape{{2, 4, 2, 70, 90, 16, 16}, {1, 4, 2, 2, edge + 44, 8, 8}, {1, 2, 1, 1, 5000, 8, 8}, {1, 1, 1, 1, 1, 1, 1}} {
		for lay := range layouts {
			for workers := 1; workers <= 3; workers++ {
				p := newProblem(r, s, func() layout { return lay }, asmtest.Normal, Options{Causal: true, Workers: workers})
				want := p.attend(t)
				require.NoError(t, Attention(p.q, p.q, p.k, p.v, &p.o))
				asmtest.Equal(t, want, flat(p.q), "%v in place, layout %d", p, lay)
			}
		}
	}
}

// nil options are the zero value.
func TestAttentionNilOptions(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 2))
	p := newProblem(r, shape{1, 2, 1, 20, 30, 8, 8}, packedLayout, asmtest.Normal, Options{})
	want := p.attend(t)
	require.NoError(t, Attention(p.dst, p.q, p.k, p.v, nil))
	asmtest.Equal(t, want, flat(p.dst), "nil options")
}

// Without queries there is nothing to do, however many keys there are.
func TestAttentionEmpty(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 2))
	for _, s := range []shape{{1, 1, 1, 0, 0, 5, 6}, {2, 2, 1, 0, 4, 5, 6}} {
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{})
		before := slices.Clone(p.dst.Data)
		require.NoError(t, Attention(p.dst, p.q, p.k, p.v, nil), "%v", p)
		asmtest.Equal(t, before, p.dst.Data, "%v", p)
	}
	require.NoError(t, Attention(Tensor{}, Tensor{}, Tensor{}, Tensor{}, nil))
}

// Of the widest rows, too, a hidden key never matters.
func TestWideHidden(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 31))
	for _, lq := range []int{1, 17} {
		p := newProblem(r, shape{1, 1, 1, lq, 70, 1500, maxDim}, packedLayout, asmtest.Normal, Options{Causal: true, Start: []int{40}, Mask: &Mask{Data: make([]bool, 70)}, Workers: 2})
		for j := range p.o.Mask.Data {
			p.o.Mask.Data[j] = j%9 > 0
		}
		want := p.attend(t)
		rows(p.v)[36][4000], rows(p.v)[69][1030], rows(p.k)[9][1499] = nan, inf, nan // hidden by the mask, by causality, by the mask
		asmtest.Equal(t, want, p.attend(t), "%d queries", lq)
		rows(p.v)[39][5000] = nan
		got := p.attend(t)
		for n, v := range p.views() {
			out := got[n*maxDim:][:maxDim]
			require.True(t, v.sees[39] && out[5000] != out[5000])
			out[5000] = want[n*maxDim+5000]
			asmtest.Equal(t, want[n*maxDim:][:maxDim], out, "row %d", n)
		}
	}
}

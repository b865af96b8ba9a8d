package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// With P of 0 no bit changes; otherwise about the share P of the weights is 0, the others are divided by 1 - P, and other seeds, offsets,
// heads and members have other masks.
func TestDropoutShare(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 62))
	s := shape{2, 2, 1, 40, 300, 8, 8}
	p := newProblem(r, s, packedLayout, asmtest.Normal, Options{})
	plain := p.attend(t)
	p.o.Dropout = &Dropout{Seed: 3}
	asmtest.Equal(t, plain, p.attend(t), "P of 0")
	const share = 0.25
	masks := map[string]bool{}
	for seed := range uint64(2) {
		for offset := range uint64(2) {
			for n := range s.batch * s.heads {
				p.o.Dropout = nil
				all := make([]int, s.lq)
				for i := range all {
					all[i] = i
				}
				before := p.weights(t, n/s.heads, n%s.heads, all...)
				p.o.Dropout = &Dropout{share, seed, offset << 40}
				mask, dropped := "", 0
				for i, row := range p.weights(t, n/s.heads, n%s.heads, all...) {
					for j, w := range row {
						if w == 0 {
							dropped++
							mask += "0"
							continue
						}
						mask += "1"
						require.InEpsilon(t, before[i][j]/(1-share), w, 1e-6)
					}
				}
				total := float64(s.lq * s.lk)
				require.InDelta(t, share*total, dropped, 6*math.Sqrt(total*share*(1-share)))
				require.False(t, masks[mask], "the same mask again")
				masks[mask] = true
			}
		}
	}
}

// Gradients through dropout are those of small differences in float64 of a softmax, a mask and a mix.
func TestDropoutDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 62))
	const lq, lk, d = 5, 9, 3
	drop := &Dropout{0.4, 7, 9}
	p := newProblem(r, shape{1, 1, 1, lq, lk, d, d}, packedLayout, asmtest.Normal, Options{Scale: 0.5, Dropout: drop})
	g := newGradient(t, r, p, asmtest.Normal, func() layout { return tight })
	dq, dk, dv := g.compute(t, p, 1)
	x := [][]float64{vector64(flat(p.q)), vector64(flat(p.k)), vector64(flat(p.v))}
	do := vector64(flat(g.DO))
	loss := func() (sum float64) {
		for i := range lq {
			drops, z := generic.Dropout(*drop).Drops(0, 0, i), 0.0
			mix := make([]float64, d)
			for j := range lk {
				score := 0.0
				for c := range d {
					score += x[0][i*d+c] * x[1][j*d+c]
				}
				w := math.Exp(score / 2)
				z += w
				for c := range d {
					if !drops(j) {
						mix[c] += w * x[2][j*d+c] / (1 - 0.4)
					}
				}
			}
			for c := range d {
				sum += mix[c] / z * do[i*d+c]
			}
		}
		return sum
	}
	for n, got := range [][]float32{dq, dk, dv} {
		for i := range x[n] {
			const h = 1e-5
			v := x[n][i]
			x[n][i] = v + h
			up := loss()
			x[n][i] = v - h
			down := loss()
			x[n][i] = v
			require.InDelta(t, (up-down)/(2*h), float64(got[i]), 1e-5, "gradient %d, element %d", n, i)
		}
	}
}

// Keys that share a draw may be of several sequences and tiles, and a window begins with any of them.
func TestDropoutPacked(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 62))
	for _, first := range []int{0, 1, 2, 3} {
		o := Options{
			QueryOffsets: []int{0, 70, 140}, KeyOffsets: []int{first, edge + 2*first + 5, 3 * edge},
			Window: &Window{edge + 10, 20}, Dropout: &Dropout{0.3, 5, 6},
		}
		p := newProblem(r, shape{1, 4, 2, 140, 3 * edge, 8, 8}, packedLayout, asmtest.Normal, o)
		p.checkViews(t, r)
		newGradient(t, r, p, asmtest.Normal, packedLayout).check(t, p, 1, 2)
	}
}

// A layer drops, in blocks of tokens too, what attention of its heads drops, and its weights of a head are those of that head.
func TestDropoutOfLayer(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 62))
	l := newLayer(r, 8, 4, 2, 6, 5, 0, true, asmtest.Normal)
	x := newMatrix(r, 90, 8, 8, asmtest.Normal)
	o := &Options{Causal: true, Dropout: &Dropout{0.3, 1, 2}}
	q, k, v := heads(biased(t, x, l.WQ, l.BQ), 4), heads(biased(t, x, l.WK, l.BK), 2), heads(biased(t, x, l.WV, l.BV), 2)
	want, got := newZeros(90, 20), newZeros(90, 20)
	require.NoError(t, Attention(heads(want, 4), q, k, v, o))
	f, err := l.plan(x, o)
	require.NoError(t, err)
	f.block = 7
	require.NoError(t, f.run(got))
	asmtest.Equal(t, want.Data, got.Data, "output")
	for h := range 4 {
		want, got := newZeros(2, 90), newZeros(2, 90)
		require.NoError(t, AttentionWeights(want, q, k, 0, h, []int{3, 80}, o))
		require.NoError(t, l.Weights(got, x, h, []int{3, 80}, o))
		asmtest.Equal(t, want.Data, got.Data, "weights of head %d", h)
	}
}

// P is checked, and what is not for training refuses dropout.
func TestBadDropout(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 62))
	p := newProblem(r, shape{1, 1, 1, 2, 3, 4, 4}, packedLayout, asmtest.Normal, Options{})
	g := newGradient(t, r, p, asmtest.Normal, packedLayout)
	for _, share := range []float32{-0.5, 1, 2, nan, inf} {
		o := &Options{Dropout: &Dropout{P: share}}
		require.ErrorContains(t, Attention(p.dst, p.q, p.k, p.v, o), "attn: Options.Dropout.P is ")
		require.ErrorContains(t, AttentionGradient(g, o), "attn: Options.Dropout.P is ")
		require.Panics(t, func() { generic.Dropout{P: share}.Drops(0, 0, 0) })
	}
	o := &Options{Dropout: &Dropout{P: 0.5}}
	var partial Partial
	require.EqualError(t, AttentionPartial(&partial, p.q, p.k, p.v, 0, o), "attn: Options.Dropout has P 0.5, want nil: a Partial is not for training")
	cache, err := NewCache(CacheConfig{KVHeads: 1, Dim: 4, VDim: 4, Tokens: 64})
	require.NoError(t, err)
	require.EqualError(t, cache.Attention(p.dst, p.q, []*Sequence{cache.NewSequence()}, o), "attn: Options.Dropout has P 0.5, want nil: a Cache is not for training")
}

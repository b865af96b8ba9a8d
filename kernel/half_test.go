package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// halved returns x rounded to a type, with its layout, and what it is read back as.
func halved(typ Type, x Tensor) (half HalfTensor, back Tensor) {
	half = HalfTensor{typ, make([]uint16, len(x.Data)), x.Batch, x.Heads, x.Len, x.Dim, x.BatchStride, x.HeadStride, x.LenStride}
	back = x
	back.Data = make([]float32, len(x.Data))
	if typ == Float16 {
		ToFloat16(half.Data, x.Data)
		FromFloat16(back.Data, half.Data)
	} else {
		ToBFloat16(half.Data, x.Data)
		FromBFloat16(back.Data, half.Data)
	}
	return half, back
}

// Keys and values of 16 bits have the bits of the same ones as float32, with any layouts and options.
func TestAttentionHalfRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 83))
	for range trials(300) {
		kvHeads := 1 + r.IntN(3)
		s := shape{1 + r.IntN(2), kvHeads * (1 + r.IntN(4)), kvHeads, pick(r, 1, 4, 8, 1+r.IntN(140)), r.IntN(2*edge + 44), 1 + r.IntN(40), 1 + r.IntN(40)}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Kind(r.IntN(int(asmtest.Kinds))), randomOptions(r, s))
		k, kBack := halved(pick(r, Float16, BFloat16), p.k)
		v, vBack := halved(pick(r, Float16, BFloat16), p.v)
		p.k, p.v = kBack, vBack
		want := p.attend(t)
		dst := p.dst
		dst.Data = slices.Repeat([]float32{nan}, len(dst.Data))
		require.NoError(t, AttentionHalf(dst, p.q, k, v, &p.o), "%v", p)
		asmtest.Equal(t, want, flat(dst), "%v", p)
	}
}

func TestAttentionHalfRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 83))
	p := newProblem(r, shape{2, 4, 2, 3, 7, 6, 5}, packedLayout, asmtest.Normal, Options{})
	k, _ := halved(Float16, p.k)
	v, _ := halved(BFloat16, p.v)
	require.NoError(t, AttentionHalf(p.dst, p.q, k, v, nil))
	before := slices.Clone(p.dst.Data)
	for want, change := range map[string]func(dst, q *Tensor, k, v *HalfTensor, o *Options){
		"k.Type is 0":                        func(_, _ *Tensor, k, _ *HalfTensor, _ *Options) { k.Type = Float32 },
		"v.Type is 3":                        func(_, _ *Tensor, _, v *HalfTensor, _ *Options) { v.Type = Int8 },
		"k.Dim is 5, want 6":                 func(_, _ *Tensor, k, _ *HalfTensor, _ *Options) { k.Dim = 5 },
		"k.Batch is 1, want 2":               func(_, _ *Tensor, k, _ *HalfTensor, _ *Options) { k.Batch = 1 },
		"k.Heads is 2, want a divisor":       func(_, q *Tensor, _, _ *HalfTensor, _ *Options) { q.Heads = 3 },
		"k.Data has 10 elements, want 168":   func(_, _ *Tensor, k, _ *HalfTensor, _ *Options) { k.Data = k.Data[:10] },
		"k.LenStride is 5: rows overlap":     func(_, _ *Tensor, k, _ *HalfTensor, _ *Options) { k.LenStride = 5 },
		"k.LenStride is -6":                  func(_, _ *Tensor, k, _ *HalfTensor, _ *Options) { k.LenStride = -6 },
		"v.Len is 6, want 7":                 func(_, _ *Tensor, _, v *HalfTensor, _ *Options) { v.Len = 6 },
		"dst.Dim is 4, want 5":               func(dst, _ *Tensor, _, _ *HalfTensor, _ *Options) { dst.Dim = 4 },
		"Options.Workers is -1":              func(_, _ *Tensor, _, _ *HalfTensor, o *Options) { o.Workers = -1 },
		"Options.KeyLen has 1 elements":      func(_, _ *Tensor, _, _ *HalfTensor, o *Options) { o.KeyLen = []int{3} },
		"Options.LSE shares memory with dst": func(dst, _ *Tensor, _, _ *HalfTensor, o *Options) { o.LSE = dst.Data[:24] },
		"dst.Data shares memory with q.Data": func(dst, q *Tensor, _, _ *HalfTensor, _ *Options) {
			dst.Data = append(q.Data[1:], make([]float32, 100)...)[:len(q.Data)-1]
			*dst = Tensor{Data: q.Data[1:], Batch: 2, Heads: 4, Len: 3, Dim: 5, BatchStride: 60, HeadStride: 15, LenStride: 5}
		},
	} {
		dst, q, k, v, o := p.dst, p.q, k, v, Options{}
		change(&dst, &q, &k, &v, &o)
		require.ErrorContains(t, AttentionHalf(dst, q, k, v, &o), "attn: "+want)
	}
	require.Equal(t, before, p.dst.Data)
	require.NoError(t, AttentionHalf(Tensor{}, Tensor{}, HalfTensor{Type: Float16}, HalfTensor{Type: BFloat16}, nil))
}

// Of a call of AttentionHalf or of one with a cache of any type, one worker does not allocate.
func TestStoredAllocations(t *testing.T) {
	if asmtest.Race {
		t.Skip("the race detector allocates")
	}
	r := rand.New(rand.NewPCG(3, 83))
	for _, lq := range []int{1, 40} {
		p := newProblem(r, shape{1, 4, 2, lq, 300, 8, 8}, packedLayout, asmtest.Normal, Options{Workers: 1})
		k, _ := halved(Float16, p.k)
		v, _ := halved(BFloat16, p.v)
		require.Zero(t, testing.AllocsPerRun(20, func() { _ = AttentionHalf(p.dst, p.q, k, v, &p.o) }))
		for typ := Float32; typ <= Int8; typ++ {
			c := newCache(t, CacheConfig{KVHeads: 2, Dim: 8, Tokens: 1000, Type: typ})
			seqs := []*Sequence{grown(t, c, p.k, p.v)}
			require.Zero(t, testing.AllocsPerRun(20, func() { _ = c.Attention(p.dst, p.q, seqs, &p.o) }))
		}
	}
}

// A cache takes as many bytes as its type says.
func TestCacheBytes(t *testing.T) {
	for typ, bytes := range map[Type]int64{Float32: 4 * 3 * 64 * 12, Float16: 2 * 3 * 64 * 12, BFloat16: 2 * 3 * 64 * 12, Int8: 3*64*12 + 2*4*3*64} {
		require.Equal(t, bytes, newCache(t, CacheConfig{KVHeads: 3, Dim: 5, VDim: 7, Tokens: 64, Type: typ}).Stats().Bytes, "%d", typ)
	}
}

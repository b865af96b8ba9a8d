package kernel

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// A fork in the middle of page 0 and its origin go on by themselves, in a copy of that page, of each type.
func TestForkCopies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 82))
	const common, more, dim, vdim = 5, 3, 6, 3
	tensor := func(tokens, dim int) Tensor { return newTensor(r, 1, 2, tokens, dim, tight, asmtest.Normal) }
	k, v := tensor(common, dim), tensor(common, vdim)
	tails := [2][2]Tensor{{tensor(more, dim), tensor(more, vdim)}, {tensor(more, dim), tensor(more, vdim)}}
	q := tensor(1, dim)
	for _, typ := range []Type{Float32, Float16, BFloat16, Int8} {
		config := CacheConfig{KVHeads: 2, Dim: dim, VDim: vdim, Tokens: 32, PageTokens: 16, Type: typ}
		c := newCache(t, config)
		s := grown(t, c, k, v)
		forked := [2]*Sequence{s.Fork(), s}
		for i, tail := range tails {
			require.NoError(t, forked[i].Append(tail[0], tail[1]))
		}
		for i, tail := range tails {
			whole := newCache(t, config)
			other := grown(t, whole, k, v)
			require.NoError(t, other.Append(tail[0], tail[1]))
			want, got := tensor(1, vdim), tensor(1, vdim)
			require.NoError(t, whole.Attention(want, q, []*Sequence{other}, nil))
			require.NoError(t, c.Attention(got, q, []*Sequence{forked[i]}, nil))
			asmtest.Equal(t, flat(want), flat(got), "type %d, sequence %d", typ, i)
		}
	}
}

// The copy of a shared page takes one that is free, also of page 0; a full page, which nobody writes to, is not copied.
func TestForkPages(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 82))
	x := newTensor(r, 1, 1, 16, 4, tight, asmtest.Normal)
	part := func(n int) Tensor { return view(x, 0, 1, 0, 1, 0, n) }
	c := newCache(t, CacheConfig{KVHeads: 1, Dim: 4, Tokens: 16, PageTokens: 16})
	s := grown(t, c, part(5), part(5))
	fork := s.Fork()
	require.ErrorIs(t, fork.Append(part(1), part(1)), ErrCacheFull)
	require.Equal(t, 5, fork.Len())
	fork.Release()
	require.NoError(t, s.Append(part(1), part(1)))

	c = newCache(t, CacheConfig{KVHeads: 1, Dim: 4, Tokens: 32, PageTokens: 16})
	fork = grown(t, c, x, x).Fork()
	require.NoError(t, fork.Append(part(1), part(1)))
	require.NoError(t, fork.Truncate(0))
	require.Zero(t, fork.Len())
}

// A page is let go of as soon as the window of the next token begins behind it: two pages do for a window of one.
func TestWindowPages(t *testing.T) {
	x := newTensor(rand.New(rand.NewPCG(3, 82)), 1, 1, 1, 4, tight, asmtest.Normal)
	c := newCache(t, CacheConfig{KVHeads: 1, Dim: 4, Tokens: 32, PageTokens: 16, Window: 16})
	s := c.NewSequence()
	for range 100 {
		require.NoError(t, s.Append(x, x))
	}
}

// The binary form of a Partial has rows of as many elements as a head may have, and no batch or heads of none beside others.
func TestPartialSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 82))
	x := newTensor(r, 1, 1, 1, maxDim, tight, asmtest.Normal)
	var p, read Partial
	require.NoError(t, AttentionPartial(&p, x, x, x, 0, nil))
	data, err := p.MarshalBinary()
	require.NoError(t, err)
	require.NoError(t, read.UnmarshalBinary(data))

	header := data[:partialHeader]
	for i, sizes := range [][6]uint64{{1, 1, 0, 1}, {0, 1, 1, 1}, {1, 0, 1, 1}, {1, 1, 1, 0}} {
		for j, n := range sizes {
			binary.LittleEndian.PutUint64(header[16+8*j:], n)
		}
		err := new(Partial).UnmarshalBinary(header)
		if i == 0 {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "attn: UnmarshalBinary: no Partial has rows", "sizes %v", sizes)
	}
}

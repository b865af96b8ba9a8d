package kernel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// That a cache has the bits of tensors, whatever is done to it, is tested in package fuzz.

func newCache(t testing.TB, c CacheConfig) *Cache {
	cache, err := NewCache(c)
	require.NoError(t, err)
	return cache
}

// grown returns a sequence with the tokens of k and v.
func grown(t testing.TB, c *Cache, k, v Tensor) *Sequence {
	s := c.NewSequence()
	require.NoError(t, s.Append(k, v))
	return s
}

func TestCacheConfig(t *testing.T) {
	fine := CacheConfig{KVHeads: 2, Dim: 8, Tokens: 100}
	for want, change := range map[string]func(c *CacheConfig){
		"KVHeads is 0":        func(c *CacheConfig) { c.KVHeads = 0 },
		"KVHeads is -1":       func(c *CacheConfig) { c.KVHeads = -1 },
		"Dim is 0":            func(c *CacheConfig) { c.Dim = 0 },
		"Dim is 8193":         func(c *CacheConfig) { c.Dim = 8193 },
		"VDim is -1":          func(c *CacheConfig) { c.VDim = -1 },
		"VDim is 8193":        func(c *CacheConfig) { c.VDim = 8193 },
		"Type is 4":           func(c *CacheConfig) { c.Type = 4 },
		"Type is -1":          func(c *CacheConfig) { c.Type = -1 },
		"Tokens is 15":        func(c *CacheConfig) { c.Tokens = 15 },
		"Tokens is 100, want": func(c *CacheConfig) { c.PageTokens = 128 },
		"PageTokens is -16":   func(c *CacheConfig) { c.PageTokens = -16 },
		"PageTokens is 8":     func(c *CacheConfig) { c.PageTokens = 8 },
		"PageTokens is 48":    func(c *CacheConfig) { c.PageTokens = 48 },
		"PageTokens is 384":   func(c *CacheConfig) { c.PageTokens = edge + edge/2 },
		"Window is -1":        func(c *CacheConfig) { c.Window = -1 },
	} {
		c := fine
		change(&c)
		_, err := NewCache(c)
		require.ErrorContains(t, err, "attn: CacheConfig."+want)
	}
	// What memory cannot have is an error of the tokens, where make would panic and where the size overflows int: from a page
	// more than 2^47 bytes on or, where int has 32 bits, 2^31.
	most := min(uint64(addresses), math.MaxInt)
	for kind := Float32; kind <= Int8; kind++ {
		for _, tokens := range []uint64{most/(4*(8+24)*64) + 64, most/64 + 1, math.MaxInt / 2, math.MaxInt} {
			_, err := NewCache(CacheConfig{KVHeads: 64, Dim: 8, VDim: 24, Type: kind, Tokens: int(tokens)})
			require.ErrorContains(t, err, fmt.Sprintf("attn: CacheConfig.Tokens is %d: 64 KV heads of so many, with Dim 8 and VDim 24, are", tokens))
		}
	}
	if strconv.IntSize == 64 {
		tokens := uint64(math.MaxInt32) * 16
		_, err := NewCache(CacheConfig{KVHeads: 1, Dim: 1, Tokens: int(tokens), PageTokens: 16})
		require.ErrorContains(t, err, "2147483647 pages of 16 tokens, want at most 2147483646")
	}
	// A page is of 64 tokens unless there are less; what is left over is no page.
	for _, c := range []struct{ tokens, page, pages int }{{1000, 0, 15}, {64, 0, 1}, {63, 0, 1}, {17, 0, 1}, {1000, 16, 62}, {1000, edge, 3}, {5 * edge, 2 * edge, 2}} {
		config := fine
		config.Tokens, config.PageTokens = c.tokens, c.page
		cache := newCache(t, config)
		require.Equal(t, c.pages, cache.Stats().Pages, "%+v", c)
	}
	cache := newCache(t, CacheConfig{KVHeads: 3, Dim: 5, VDim: 7, Tokens: 100, PageTokens: 32})
	require.Equal(t, CacheStats{Pages: 3, Bytes: 4 * 3 * 96 * (5 + 7)}, cache.Stats())
}

// Wrong arguments are named, and nothing is written.
func TestCacheRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 81))
	c := newCache(t, CacheConfig{KVHeads: 2, Dim: 8, VDim: 5, Tokens: 100, PageTokens: 16})
	k, v := newTensor(r, 1, 2, 20, 8, tight, asmtest.Normal), newTensor(r, 1, 2, 20, 5, tight, asmtest.Normal)
	s := grown(t, c, k, v)
	for want, change := range map[string]func(k, v *Tensor){
		"k.Batch is 2, want 1":      func(k, v *Tensor) { k.Batch, k.Len = 2, 10 },
		"k.Heads is 1, want 2":      func(k, v *Tensor) { k.Heads, k.Len = 1, 40 },
		"v.Heads is 4, want 2":      func(k, v *Tensor) { v.Heads, v.Len = 4, 10 },
		"k.Dim is 4, want 8":        func(k, v *Tensor) { k.Dim, k.Len = 4, 40 },
		"v.Dim is 10, want 5":       func(k, v *Tensor) { v.Dim, v.Len = 10, 10 },
		"v.Len is 19, want 20 as":   func(k, v *Tensor) { v.Len, v.Data = 19, v.Data[:190] },
		"v.Data has 199 elements":   func(k, v *Tensor) { v.Data = v.Data[:199] },
		"k.LenStride is -8, want 0": func(k, v *Tensor) { k.LenStride = -8 },
	} {
		k, v := k, v
		change(&k, &v)
		require.ErrorContains(t, s.Append(k, v), "attn: "+want)
	}
	require.NoError(t, s.Append(Tensor{}, Tensor{}), "no tokens")
	stats := c.Stats()
	big := newTensor(r, 1, 2, 77, 8, tight, asmtest.Normal)
	require.Equal(t, ErrCacheFull, s.Append(big, newTensor(r, 1, 2, 77, 5, tight, asmtest.Normal)))
	require.Equal(t, stats, c.Stats())
	require.Equal(t, 20, s.Len())
	require.ErrorContains(t, s.Truncate(21), "attn: n is 21, want 0 to 20")
	require.ErrorContains(t, s.Truncate(-1), "attn: n is -1, want 0 to 20")

	released, other := c.NewSequence(), newCache(t, CacheConfig{KVHeads: 2, Dim: 8, VDim: 5, Tokens: 100}).NewSequence()
	released.Release()
	fork := released.Fork()
	for _, s := range []*Sequence{released, fork} {
		require.ErrorContains(t, s.Append(k, v), "has been released")
		require.ErrorContains(t, s.Truncate(0), "has been released")
		require.Zero(t, s.Len())
	}
	q, dst := newTensor(r, 1, 4, 3, 8, tight, asmtest.Normal), newTensor(r, 1, 4, 3, 5, tight, asmtest.Normal)
	before := slices.Clone(dst.Data)
	for want, change := range map[string]func(dst, q *Tensor, seqs *[]*Sequence, o *Options){
		"seqs[1] is nil":                     func(_, _ *Tensor, seqs *[]*Sequence, _ *Options) { *seqs = append(*seqs, nil) },
		"seqs[1] is of another cache":        func(_, _ *Tensor, seqs *[]*Sequence, _ *Options) { *seqs = append(*seqs, other) },
		"seqs[1] has been released":          func(_, _ *Tensor, seqs *[]*Sequence, _ *Options) { *seqs = append(*seqs, released) },
		"q.Batch is 1, want 2":               func(_, _ *Tensor, seqs *[]*Sequence, _ *Options) { *seqs = append(*seqs, s) },
		"q.Batch is 1, want 0":               func(_, _ *Tensor, seqs *[]*Sequence, _ *Options) { *seqs = nil },
		"q.Dim is 6, want 8":                 func(_, q *Tensor, _ *[]*Sequence, _ *Options) { q.Dim, q.Len = 6, 4 },
		"q.Heads is 3, want a multiple of 2": func(_, q *Tensor, _ *[]*Sequence, _ *Options) { q.Heads, q.Len = 3, 4 },
		"dst.Dim is 4, want 5 as of v":       func(dst, _ *Tensor, _ *[]*Sequence, _ *Options) { dst.Dim, dst.Data = 4, dst.Data[:48] },
		"dst.Len is 6, want 3": func(dst, _ *Tensor, _ *[]*Sequence, _ *Options) {
			dst.Len, dst.Heads = 6, 4
			dst.Data = make([]float32, 120)
		},
		"dst.Heads is 2, want 4":             func(dst, _ *Tensor, _ *[]*Sequence, _ *Options) { dst.Heads, dst.Data = 2, dst.Data[:30] },
		"Options.KeyLen has 1 elements":      func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.KeyLen = []int{3} },
		"Options.KeyOffsets has 2 elements":  func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.KeyOffsets = []int{0, 3} },
		"Options.QueryOffsets has 3 element": func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.QueryOffsets = []int{0, 1, 3} },
		"Options.QueryOffsets[1] is 4":       func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.QueryOffsets = []int{0, 4} },
		"Options.QueryLen has 1 elements":    func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.QueryOffsets, o.QueryLen = []int{0, 3}, []int{3} },
		"Options.QueryLen[0] is 4":           func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.QueryLen = []int{4} },
		"Options.Start has 2 elements":       func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.Start = []int{0, 0} },
		"Options.Mask.Data has 59 elements, want 60": func(_, _ *Tensor, _ *[]*Sequence, o *Options) {
			o.Mask = &Mask{Data: make([]bool, 59), QueryStride: 20}
		},
		"Options.LSE has 11 elements": func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.LSE = make([]float32, 11) },
		"Options.Workers is -1":       func(_, _ *Tensor, _ *[]*Sequence, o *Options) { o.Workers = -1 },
		"dst.Data shares memory with q.Data": func(dst, q *Tensor, _ *[]*Sequence, _ *Options) {
			q.Data = make([]float32, 101)[:96]
			dst.Data = q.Data[1:61]
		},
		"Options.LSE shares memory with dst.Data": func(dst, _ *Tensor, _ *[]*Sequence, o *Options) { o.LSE = dst.Data[:12] },
	} {
		dst, q, seqs, o := dst, q, []*Sequence{s}, Options{}
		change(&dst, &q, &seqs, &o)
		require.ErrorContains(t, c.Attention(dst, q, seqs, &o), "attn: "+want)
	}
	require.Equal(t, before, dst.Data)
	require.NoError(t, c.Attention(dst, q, []*Sequence{s}, nil))
	require.NotEqual(t, before, dst.Data)
	require.NoError(t, c.Attention(Tensor{}, Tensor{Len: 0}, []*Sequence{s}, nil), "no queries")
	require.NoError(t, c.Attention(dst, q, nil, &Options{QueryOffsets: []int{2}}), "rows of no sequence")
	require.Equal(t, make([]float32, len(dst.Data)), dst.Data)
}

// What is let go of cannot be seen or truncated, and its pages are used again.
func TestCacheWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 81))
	const window, tokens = 40, 2000
	c := newCache(t, CacheConfig{KVHeads: 1, Dim: 4, Tokens: 64, PageTokens: 16, Window: window})
	k, v := newTensor(r, 1, 1, tokens, 4, tight, asmtest.Normal), newTensor(r, 1, 1, tokens, 4, tight, asmtest.Normal)
	s, q := c.NewSequence(), newTensor(r, 1, 2, 1, 4, tight, asmtest.Normal)
	want, got := newTensor(r, 1, 2, 1, 4, tight, asmtest.Normal), newTensor(r, 1, 2, 1, 4, tight, asmtest.Normal)
	for i := range tokens {
		require.NoError(t, s.Append(view(k, 0, 1, 0, 1, i, 1), view(v, 0, 1, 0, 1, i, 1)))
		o := &Options{Window: &Window{window - 1, -1}, Causal: true}
		require.NoError(t, c.Attention(got, q, []*Sequence{s}, o))
		require.NoError(t, Attention(want, q, view(k, 0, 1, 0, 1, 0, i+1), view(v, 0, 1, 0, 1, 0, i+1), o))
		asmtest.Equal(t, flat(want), flat(got), "token %d", i)
		require.LessOrEqual(t, c.Stats().Used, (window+2*15)/16)
	}
	require.Equal(t, tokens, s.Len())
	err := c.Attention(got, q, []*Sequence{s}, nil)
	require.ErrorContains(t, err, "seqs[0] keeps its tokens from 1952 on, but a query sees token 0")
	require.ErrorContains(t, s.Truncate(1951), "attn: n is 1951, want 1952 or more")
	require.NoError(t, s.Truncate(1952))
	require.Zero(t, c.Stats().Used)
	err = c.Attention(got, q, []*Sequence{s}, &Options{Window: &Window{0, 0}})
	require.ErrorContains(t, err, "seqs[0] keeps its tokens from 1952 on, but a query sees token 1951")
}

// Behind pages that have been let go of, rows are found as they are where none has, of all types.
func TestCacheWindowTypes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 81))
	const heads, dim, window, tokens = 2, 16, 70, 700
	k, v := newTensor(r, 1, heads, tokens, dim, tight, asmtest.Normal), newTensor(r, 1, heads, tokens, dim, tight, asmtest.Normal)
	q := newTensor(r, 1, heads, 1, dim, tight, asmtest.Normal)
	want, got := newTensor(r, 1, heads, 1, dim, tight, asmtest.Normal), newTensor(r, 1, heads, 1, dim, tight, asmtest.Normal)
	o := &Options{Window: &Window{window - 1, -1}, Causal: true}
	for typ := Float32; typ <= Int8; typ++ {
		all := newCache(t, CacheConfig{KVHeads: heads, Dim: dim, Tokens: tokens + 16, PageTokens: 16, Type: typ}).NewSequence()
		last := newCache(t, CacheConfig{KVHeads: heads, Dim: dim, Tokens: 128, PageTokens: 16, Type: typ, Window: window}).NewSequence()
		for i := 0; i < tokens; i += 7 {
			for _, s := range []*Sequence{all, last} {
				require.NoError(t, s.Append(view(k, 0, 1, 0, heads, i, 7), view(v, 0, 1, 0, heads, i, 7)))
			}
			require.NoError(t, all.cache.Attention(want, q, []*Sequence{all}, o))
			require.NoError(t, last.cache.Attention(got, q, []*Sequence{last}, o))
			asmtest.Equal(t, flat(want), flat(got), "%v: token %d", typ, i)
		}
	}
}

// Once their memory is there, steps of generation do not allocate.
func TestCacheAllocations(t *testing.T) {
	if asmtest.Race {
		t.Skip("the race detector allocates")
	}
	r := rand.New(rand.NewPCG(3, 81))
	const dim = 16
	for i, page := range []int{16, edge, 16, 16} {
		typ := []Type{Float32, Float32, Float16, Int8}[i]
		if typ != Float32 && Backend() == "generic" {
			continue // it converts rows to memory of its own
		}
		c := newCache(t, CacheConfig{KVHeads: 2, Dim: dim, Tokens: 40 * edge, PageTokens: page, Window: 100, Type: typ})
		k := newTensor(r, 1, 2, 300, dim, tight, asmtest.Normal)
		seqs := []*Sequence{grown(t, c, k, k), grown(t, c, k, k)}
		token := newTensor(r, 1, 2, 1, dim, tight, asmtest.Normal)
		q, dst := newTensor(r, 2, 4, 1, dim, tight, asmtest.Normal), newTensor(r, 2, 4, 1, dim, tight, asmtest.Normal)
		many := newTensor(r, 1, 4, 80, dim, tight, asmtest.Normal)
		o, step := &Options{Workers: 1, Window: &Window{99, 0}}, &Options{Workers: 1, Window: &Window{20, 0}, QueryOffsets: []int{0, 79, 80}}
		err := error(nil)
		n := testing.AllocsPerRun(200, func() {
			for _, s := range seqs {
				err = cmpError(err, s.Append(token, token))
			}
			err = cmpError(err, c.Attention(dst, q, seqs, o))
			err = cmpError(err, c.Attention(many, many, seqs, step))
			err = cmpError(err, seqs[0].Truncate(seqs[0].Len()-1))
		})
		require.NoError(t, err)
		require.Zero(t, n, "%v, pages of %d", typ, page)
	}
}

// A cache that NewCache has not returned, and a sequence of none, are errors where a method returns one, and panics elsewhere.
func TestNoCache(t *testing.T) {
	x := Tensor{Data: make([]float32, 8), Len: 2, Dim: 4}
	for _, c := range []*Cache{nil, {}} {
		const want = "attn: the *Cache is nil or its zero value, want what NewCache returned"
		s, p := c.NewSequence(), Partial{}
		for _, seqs := range [][]*Sequence{nil, {s}} {
			require.EqualError(t, c.Attention(x, x, seqs, nil), want)
			require.EqualError(t, c.AttentionContext(context.Background(), x, x, seqs, nil), want)
			require.EqualError(t, c.AttentionPartial(&p, x, seqs, nil), want)
		}
		for _, s := range []*Sequence{nil, {}, s} {
			const want = "attn: the *Sequence is nil or of no cache, want one of NewSequence or Fork"
			require.EqualError(t, s.Append(x, x), want)
			require.EqualError(t, s.Truncate(0), want)
		}
	}
	var c *Cache
	var s *Sequence
	for name, method := range map[string]func(){
		"Stats": func() { c.Stats() }, "Len": func() { s.Len() }, "Fork": func() { s.Fork() }, "Release": func() { s.Release() },
	} {
		require.Panics(t, method, name)
	}
}

func cmpError(first, err error) error {
	if first != nil {
		return first
	}
	return err
}

// Sequences are used by many goroutines at once, which share pages: each finds what it has appended itself.
func TestCacheConcurrent(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 81))
	const heads, dim, goroutines = 2, 4, 8
	c := newCache(t, CacheConfig{KVHeads: heads, Dim: dim, Tokens: 2000, PageTokens: 16})
	prompt := newTensor(r, 1, heads, 40, dim, tight, asmtest.Normal)
	first := grown(t, c, prompt, prompt)
	var wait sync.WaitGroup
	for g := range goroutines {
		s := first.Fork()
		wait.Add(1)
		go func() {
			defer wait.Done()
			r := rand.New(rand.NewPCG(uint64(g), 82))
			all := rows(prompt) // of both heads, and later what is appended
			model := [heads][][]float32{slices.Clone(all[:40]), slices.Clone(all[40:])}
			for range trials(150) {
				x := newTensor(r, 1, heads, 1+r.IntN(20), dim, tight, asmtest.Normal)
				if s.Len() > 150 || s.Append(x, x) != nil {
					n := r.IntN(s.Len() + 1)
					if s.Truncate(n) != nil {
						t.Error("cannot truncate")
					}
					for h := range model {
						model[h] = model[h][:n]
					}
					continue
				}
				for h := range model {
					model[h] = append(model[h], rows(x)[h*x.Len:][:x.Len]...)
				}
				if r.IntN(5) == 0 {
					s.Release()
					s = first.Fork() // which nobody changes meanwhile
					model = [heads][][]float32{slices.Clone(all[:40]), slices.Clone(all[40:])}
				}
				k := Tensor{Data: slices.Concat(slices.Concat(model[:]...)...), Heads: heads, Len: s.Len(), Dim: dim}
				q := newTensor(r, 1, heads, 1+r.IntN(20), dim, tight, asmtest.Normal)
				want, got := explicit(q), explicit(q)
				want.Data, got.Data = make([]float32, len(q.Data)), make([]float32, len(q.Data))
				o := &Options{Causal: true, Workers: 1 + r.IntN(2)}
				if err := cmpError(Attention(want, q, k, k, o), c.Attention(got, q, []*Sequence{s}, o)); err != nil {
					t.Error(err)
				}
				if !slices.EqualFunc(want.Data, got.Data, asmtest.SameBits) {
					t.Error("another sequence has changed the tokens of this one")
				}
			}
			s.Release()
		}()
	}
	wait.Wait()
	first.Release()
	require.Zero(t, c.Stats().Used)
	require.Zero(t, c.Stats().Shared)
}

// A client is a sequence and the tokens that it should have, in the order that they were appended.
type client struct {
	s    *Sequence
	k, v [][]float32 // of each head
	cut  bool        // tokens have been taken back since the last ones were appended
}

// grow appends n tokens, and reports whether there was room.
func (c *client) grow(t *testing.T, r *rand.Rand, heads, n, dim int) bool {
	k, v := newTensor(r, 1, heads, n, dim, tight, asmtest.Normal), newTensor(r, 1, heads, n, dim, tight, asmtest.Normal)
	switch err := c.s.Append(k, v); {
	case errors.Is(err, ErrCacheFull):
		return false
	case err != nil:
		t.Error(err)
		return false
	}
	for h := range heads {
		c.k[h], c.v[h] = append(c.k[h], flat(view(k, 0, 1, h, 1, 0, n))...), append(c.v[h], flat(view(v, 0, 1, h, 1, 0, n))...)
	}
	c.cut = false
	return true
}

// fork returns a client that shares all tokens.
func (c *client) fork() *client {
	f := &client{s: c.s.Fork(), k: make([][]float32, len(c.k)), v: make([][]float32, len(c.v)), cut: c.cut}
	for h := range c.k {
		f.k[h], f.v[h] = slices.Clone(c.k[h]), slices.Clone(c.v[h])
	}
	return f
}

// A server has more clients than there are pages for. Several goroutines serve them: they begin with a shared prompt, grow, are taken
// back, forked, and turned out where the cache is full. Then packed calls, some of which are cancelled, read many of them at once:
// each finds what it has appended, as a cache of its own, with one page, has it.
func TestCacheServer(t *testing.T) {
	const heads, dim, clients, servers = 2, 16, 60, 4
	for i := range 8 {
		if !sampled(i, 4) {
			continue
		}
		typ, window := Type(i%4), i/4*50
		r := rand.New(rand.NewPCG(uint64(i), 83))
		c := newCache(t, CacheConfig{KVHeads: heads, Dim: dim, Tokens: 1600, PageTokens: 16, Type: typ, Window: window})
		alone := newCache(t, CacheConfig{KVHeads: heads, Dim: dim, Tokens: 4 * edge, PageTokens: 4 * edge, Type: typ})
		prompt := &client{s: c.NewSequence(), k: make([][]float32, heads), v: make([][]float32, heads)}
		require.True(t, prompt.grow(t, r, heads, 40, dim))
		all := make([]*client, clients)
		for j := range all {
			all[j] = prompt.fork()
		}
		var full [servers]int
		for step := range trials(40) {
			var wait sync.WaitGroup
			for server := range servers {
				wait.Add(1)
				go func() {
					defer wait.Done()
					r := rand.New(rand.NewPCG(uint64(step), uint64(server)))
					mine := all[server*clients/servers:][:clients/servers]
					for j, x := range mine {
						switch what := r.IntN(10); {
						case what == 0 || x.s.Len() > 600:
							x.s.Release()
							mine[j] = prompt.fork()
						case what == 1:
							other := r.IntN(len(mine))
							f := x.fork()
							mine[other].s.Release()
							mine[other] = f
						case what == 2 && !x.cut:
							n := max(1, x.s.Len()-r.IntN(20))
							if err := x.s.Truncate(n); err != nil {
								t.Error(err)
							}
							for h := range heads {
								x.k[h], x.v[h] = x.k[h][:n*dim], x.v[h][:n*dim]
							}
							x.cut = true
						case !x.grow(t, r, heads, 1+r.IntN(30), dim):
							full[server]++
							x.s.Release()
							mine[j] = prompt.fork()
						}
					}
				}()
			}
			wait.Wait()

			some, offsets := []*client(nil), []int{0}
			var seqs []*Sequence
			for _, j := range r.Perm(clients)[:20] {
				some, seqs = append(some, all[j]), append(seqs, all[j].s)
				offsets = append(offsets, offsets[len(offsets)-1]+1+r.IntN(min(10, all[j].s.Len())))
			}
			q := newTensor(r, 1, 2*heads, offsets[len(some)], dim, tight, asmtest.Normal)
			o := Options{Causal: true, QueryOffsets: offsets}
			if window > 0 {
				o.Window = &Window{19, 0}
			}
			var got [2]Tensor
			for w := range got { // at once
				got[w] = explicit(q)
				got[w].Data = make([]float32, len(q.Data))
				wait.Add(1)
				go func() {
					defer wait.Done()
					o := o
					o.Workers = 1 + w
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					if step%4 == 0 {
						cancel()
						if err := c.AttentionContext(ctx, got[w], q, seqs, &o); !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						ctx = context.Background()
					}
					if err := c.AttentionContext(ctx, got[w], q, seqs, &o); err != nil {
						t.Error(err)
					}
				}()
			}
			wait.Wait()
			asmtest.Equal(t, got[0].Data, got[1].Data, "type %d, window of %d: two calls at once", typ, window)
			for j, x := range some {
				n, from := x.s.Len(), offsets[j]
				require.Equal(t, n*dim, len(x.k[0]))
				tensor := func(rows [][]float32) Tensor {
					return Tensor{Data: slices.Concat(rows...), Batch: 1, Heads: heads, Len: n, Dim: dim}
				}
				s := grown(t, alone, tensor(x.k), tensor(x.v))
				part := view(q, 0, 1, 0, q.Heads, from, offsets[j+1]-from)
				want := newTensor(r, 1, q.Heads, part.Len, dim, tight, asmtest.Normal)
				require.NoError(t, alone.Attention(want, part, []*Sequence{s}, &Options{Causal: true, Window: o.Window, Workers: 1}))
				asmtest.Equal(t, flat(want), flat(view(got[0], 0, 1, 0, q.Heads, from, part.Len)), "type %d, window of %d, client %d of step %d", typ, window, j, step)
				s.Release()
			}
		}
		if trials(40) == 40 {
			require.NotZero(t, full[0]+full[1]+full[2]+full[3], "the cache has been full")
		}
		for _, x := range append(all, prompt) {
			x.s.Release()
		}
		require.Zero(t, c.Stats().Used)
		require.Zero(t, c.Stats().Shared)
	}
}

// A context stops a call, and errors of arguments come first.
func TestCacheContext(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 81))
	c := newCache(t, CacheConfig{KVHeads: 1, Dim: 8, Tokens: 5000})
	k := newTensor(r, 1, 1, 4000, 8, tight, asmtest.Normal)
	s := grown(t, c, k, k)
	q, dst, want := newTensor(r, 1, 2, 100, 8, tight, asmtest.Normal), newTensor(r, 1, 2, 100, 8, tight, asmtest.Normal), newTensor(r, 1, 2, 100, 8, tight, asmtest.Normal)
	require.NoError(t, Attention(want, q, k, k, nil))
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, c.AttentionContext(ctx, dst, q, []*Sequence{s}, nil))
	asmtest.Equal(t, want.Data, dst.Data, "with a context")
	cancel()
	require.ErrorIs(t, c.AttentionContext(ctx, dst, q, []*Sequence{s}, nil), context.Canceled)
	require.ErrorContains(t, c.AttentionContext(ctx, dst, q, nil, nil), "q.Batch")
}

// Values that are hidden from some queries do not reach them, in whatever page they are.
func TestCacheHiddenValues(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 81))
	const n = 100
	c := newCache(t, CacheConfig{KVHeads: 1, Dim: 4, Tokens: 3 * n, PageTokens: 16})
	k, v := newTensor(r, 1, 1, n, 4, tight, asmtest.Normal), newTensor(r, 1, 1, n, 4, tight, asmtest.Normal)
	q, want, got := newTensor(r, 1, 1, n, 4, tight, asmtest.Normal), newTensor(r, 1, 1, n, 4, tight, asmtest.Normal), newTensor(r, 1, 1, n, 4, tight, asmtest.Normal)
	for i := range n {
		v := v
		v.Data = slices.Clone(v.Data)
		v.Data[i*4] = nan
		s := c.NewSequence()
		other := c.NewSequence() // whose pages lie between
		for from := 0; from < n; from += 20 {
			require.NoError(t, s.Append(view(k, 0, 1, 0, 1, from, 20), view(v, 0, 1, 0, 1, from, 20)))
			require.NoError(t, other.Append(view(k, 0, 1, 0, 1, 0, 16), view(v, 0, 1, 0, 1, 0, 16)))
		}
		o := &Options{Causal: true, Start: []int{-8}, Workers: 1} // so that panels end within pages
		require.NoError(t, Attention(want, q, k, v, o))
		require.NoError(t, c.Attention(got, q, []*Sequence{s}, o))
		asmtest.Equal(t, flat(want), flat(got), "NaN in value %d", i)
		s.Release()
		other.Release()
	}
}

// Nor do those of a page that a mask hides as a whole, however they are stored.
func TestCacheHiddenPages(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 81))
	const n, page, dim = 2*generic.TileKeys + 50, 16, 32
	for typ := Float32; typ <= Int8; typ++ {
		c := newCache(t, CacheConfig{KVHeads: 1, Dim: dim, Tokens: 2 * (n + page), PageTokens: page, Type: typ})
		k, v := newTensor(r, 1, 1, n, dim, tight, asmtest.Normal), newTensor(r, 1, 1, n, dim, tight, asmtest.Normal)
		for _, rows := range []int{1, 3, 8, 40} {
			hidden := r.IntN(n/page) * page
			harmed := explicit(v)
			harmed.Data = slices.Clone(v.Data)
			for i := range page * dim {
				harmed.Data[hidden*dim+i] = nan
			}
			mask := Mask{Data: make([]bool, n)} // of all queries
			for i := range mask.Data {
				mask.Data[i] = i < hidden || i >= hidden+page
			}
			q := newTensor(r, 1, 1, rows, dim, tight, asmtest.Normal)
			want, got := explicit(q), explicit(q)
			want.Data, got.Data = make([]float32, len(q.Data)), make([]float32, len(q.Data))
			o := &Options{Mask: &mask, Workers: 1}
			sound, s := grown(t, c, k, v), grown(t, c, k, harmed)
			require.NoError(t, c.Attention(want, q, []*Sequence{sound}, o))
			require.NoError(t, c.Attention(got, q, []*Sequence{s}, o))
			require.False(t, slices.ContainsFunc(want.Data, func(x float32) bool { return x != x }))
			asmtest.Equal(t, want.Data, got.Data, "type %d, %d queries", typ, rows)
			sound.Release()
			s.Release()
		}
		require.Zero(t, c.Stats().Used)
	}
}

// Pages that are neighbours are read together, up to the end of a tile: rows have the bits of those whose pages all are.
func TestCacheRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 81))
	const page, n = generic.TileKeys / 2, 2*generic.TileKeys + 50
	for typ := Float32; typ <= Int8; typ++ {
		for _, dim := range []int{16, 20} { // read as they are stored, and not
			c := newCache(t, CacheConfig{KVHeads: 2, Dim: dim, Tokens: 3 * (n + page), PageTokens: page, Type: typ})
			k, v := newTensor(r, 1, 2, n, dim, tight, asmtest.Normal), newTensor(r, 1, 2, n, dim, tight, asmtest.Normal)
			whole := grown(t, c, k, v)
			s, other := c.NewSequence(), c.NewSequence()
			for from := 0; from < n; {
				some := min(n-from, page)
				if from == page { // both pages beside each other, across the end of a tile
					some = 2 * page
				}
				require.NoError(t, s.Append(view(k, 0, 1, 0, 2, from, some), view(v, 0, 1, 0, 2, from, some)))
				require.NoError(t, other.Append(view(k, 0, 1, 0, 2, 0, page), view(v, 0, 1, 0, 2, 0, page)))
				from += some
			}
			for _, queries := range []int{1, 4, 8, 40} {
				q := newTensor(r, 1, 2, queries, dim, tight, asmtest.Normal)
				want, got := explicit(q), explicit(q)
				want.Data, got.Data = make([]float32, len(q.Data)), make([]float32, len(q.Data))
				o := &Options{Causal: true, Workers: 1}
				require.NoError(t, c.Attention(want, q, []*Sequence{whole}, o))
				require.NoError(t, c.Attention(got, q, []*Sequence{s}, o))
				asmtest.Equal(t, want.Data, got.Data, "type %d, rows of %d, %d queries", typ, dim, queries)
			}
		}
	}
}

// A shard that is in a cache, merged with one that is not, gives what one call gives.
func TestCachePartial(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 81))
	const n, rest = 2 * generic.SpanKeys, 300
	k, v := newTensor(r, 1, 1, n+rest, 4, tight, asmtest.Normal), newTensor(r, 1, 1, n+rest, 3, tight, asmtest.Normal)
	for _, typ := range []Type{Float32, Float16} {
		if typ == Float16 {
			_, k = halved(typ, k)
			_, v = halved(typ, v)
		}
		c := newCache(t, CacheConfig{KVHeads: 1, Dim: 4, VDim: 3, Tokens: n, Type: typ})
		s := grown(t, c, view(k, 0, 1, 0, 1, 0, n), view(v, 0, 1, 0, 1, 0, n))
		for _, queries := range []int{1, 20} {
			q := newTensor(r, 1, 2, queries, 4, tight, asmtest.Normal)
			want, got := newTensor(r, 1, 2, queries, 3, tight, asmtest.Normal), newTensor(r, 1, 2, queries, 3, tight, asmtest.Normal)
			o := &Options{Start: []int{n + rest - queries}, Causal: true}
			require.NoError(t, Attention(want, q, k, v, o))
			var p, other Partial
			require.NoError(t, c.AttentionPartial(&p, q, []*Sequence{s}, o))
			require.NoError(t, AttentionPartial(&other, q, view(k, 0, 1, 0, 1, n, rest), view(v, 0, 1, 0, 1, n, rest), n, o))
			require.NoError(t, other.Merge(&p))
			require.NoError(t, other.Finish(got, nil))
			asmtest.Equal(t, flat(want), flat(got), "type %d, %d queries", typ, queries)

			require.ErrorContains(t, c.AttentionPartial(nil, q, []*Sequence{s}, o), "attn: p is nil")
			require.ErrorContains(t, c.AttentionPartial(&p, q, nil, o), "attn: q.Batch is 1, want 0")
			require.ErrorContains(t, c.AttentionPartial(&p, q, []*Sequence{s}, &Options{Causal: true}), "attn: Options.Start is nil")
			require.ErrorContains(t, c.AttentionPartial(&p, q, []*Sequence{s}, &Options{LSE: make([]float32, 2*queries)}), "attn: Options.LSE has")
			require.ErrorContains(t, c.AttentionPartial(&p, q, []*Sequence{s}, &Options{QueryOffsets: []int{0, queries}}), "attn: Options.QueryOffsets has")
		}
		s.Release()
		require.Zero(t, c.Stats().Used)
	}
}

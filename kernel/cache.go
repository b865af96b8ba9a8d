package kernel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/pages"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// A CacheConfig says what a [Cache] has room for.
type CacheConfig struct {
	// KVHeads is the heads of keys and values, 1 or more. Dim is that of keys and VDim that of values, 1 to 8192; a
	// VDim of 0 is Dim.
	KVHeads, Dim, VDim int

	// Type is what elements are stored as, rounded as [ToFloat16], [ToBFloat16] and [Quantize] do; the rows of Int8 have
	// a scale for each token and head. In a language model (examples/generate, types) the outputs of attention lost 0.05% as Float16,
	// 0.4% as BFloat16 and 2% as Int8, and of 160 tokens none, none and one became another. Float16 is the one to take; BFloat16 for
	// magnitudes beyond 65504, and Int8 where memory counts more. fuzz.Storing bounds what an output loses.
	//
	// Attention has the bits of [Attention] over the elements that are read back, but for Int8: there a scale multiplies a score, and the
	// weight of a value, once (package generic, Attention). That is as near to exact attention over the integers times their scales as
	// the bound of Attention says for these, with one rounding more of each score and weight and none of elements, as long as the sum of
	// 127*|Scale*q| is below 2.3e38. It has the same bits whatever the pages, forks, groups and numbers of queries.
	Type Type

	// Tokens is the capacity, of all sequences together: there are Tokens / PageTokens pages, without a rest.
	Tokens int

	// PageTokens is the tokens of a page, which has those of one sequence, or of sequences that share them: 16, 32,
	// 64, 128 or a multiple of 256. 0 is 64, or what Tokens has room for. Small pages waste less behind the end of a
	// sequence; large ones are read faster, from 256 on as a tensor is.
	PageTokens int

	// Window, if it is not 0, lets go of what a sequence does not need: an Append keeps the Window - 1 tokens before
	// those that it appends, and whole pages of older ones are free again. So the new queries of a model with a
	// sliding window find all that they see by an [Options.Window] of up to Window - 1 to the left.
	Window int
}

// ErrCacheFull is returned where there are too few free pages.
var ErrCacheFull = errors.New("attn: the cache is full: too few pages are free")

// A Cache keeps the keys and values of many sequences, which grow as tokens are generated. Memory is taken once, when it
// is made, in pages of some tokens; sequences take pages as they grow, and share those of a common beginning.
//
// Its methods, and those of different sequences, may be called at the same time. A sequence is used by one goroutine at
// a time, but for attention: any number of calls may read a sequence while it does not change.
type Cache struct {
	config CacheConfig // with values for what is 0
	k, v   source.Stored

	mutex sync.Mutex
	pool  *pages.Pool
}

// A Sequence is the tokens of a [Cache], each a key and a value for each KV head, that belong together: a prompt and what
// has been generated, for example. [Cache.NewSequence] and [Sequence.Fork] make them: Len, Fork and Release of a nil sequence
// panic, as [Cache.Stats] of a nil cache does, where methods that return an error do so.
type Sequence struct {
	cache    *Cache
	table    source.Table
	len      int
	released bool
}

// CacheStats count pages: all, those that sequences have, and of these those that several share. Bytes is the memory of
// keys and values, whether pages are used or not.
type CacheStats struct {
	Pages, Used, Shared int
	Bytes               int64
}

// addresses are the bytes that a program can have on most systems of 64 bits; make panics where it is asked for many more.
const addresses = 1 << 47

// NewCache returns an empty cache. It returns an error that names the field if a number is out of range, or if elements of 4
// bytes, whatever Type is, would be more than memory can have: 2^47 bytes, or 2^31 where int has 32 bits. As with make, the
// program ends where the machine has less.
func NewCache(config CacheConfig) (*Cache, error) {
	c := config
	if c.VDim == 0 {
		c.VDim = c.Dim
	}
	for _, f := range []struct {
		name               string
		value, least, most int
	}{
		{"KVHeads", c.KVHeads, 1, math.MaxInt32}, {"Dim", c.Dim, 1, maxDim}, {"VDim", c.VDim, 1, maxDim}, {"Type", int(c.Type), int(Float32), int(Int8)},
		{"Tokens", c.Tokens, 16, math.MaxInt}, {"PageTokens", c.PageTokens, 0, math.MaxInt32}, {"Window", c.Window, 0, math.MaxInt},
	} {
		if f.value < f.least || f.value > f.most {
			return nil, fmt.Errorf("attn: CacheConfig.%s is %d, want %d to %d", f.name, f.value, f.least, f.most)
		}
	}
	if c.PageTokens == 0 {
		for c.PageTokens = 64; c.PageTokens > c.Tokens; c.PageTokens /= 2 {
		}
	}
	if n := c.PageTokens; n%tile.Keys != 0 && (n < 16 || tile.Keys%n != 0) {
		return nil, fmt.Errorf("attn: CacheConfig.PageTokens is %d, want 16, 32, 64, 128 or a multiple of %d", n, tile.Keys)
	}
	if c.PageTokens > c.Tokens {
		return nil, fmt.Errorf("attn: CacheConfig.Tokens is %d, want %d or more, a page", c.Tokens, c.PageTokens)
	}
	n := c.Tokens / c.PageTokens
	rows, ok := product(n*c.PageTokens, c.KVHeads)
	size, fits := product(rows, 4*(c.Dim+c.VDim))
	switch {
	case !ok || !fits || size > math.MaxInt-1<<16 || uint64(size) > addresses:
		return nil, fmt.Errorf("attn: CacheConfig.Tokens is %d: %d KV heads of so many, with Dim %d and VDim %d, are more than memory can have", c.Tokens, c.KVHeads, c.Dim, c.VDim)
	case n > math.MaxInt32-1:
		return nil, fmt.Errorf("attn: CacheConfig.Tokens is %d: %d pages of %d tokens, want at most %d", c.Tokens, n, c.PageTokens, math.MaxInt32-1)
	}
	return &Cache{config: c, k: c.rows(n, c.Dim), v: c.rows(n, c.VDim), pool: pages.New(n)}, nil
}

// rows returns the keys or values of n pages.
func (c *CacheConfig) rows(n, dim int) source.Stored {
	n *= c.PageTokens
	rows := source.Stored{Tensor: source.Tensor{Batch: 1, Heads: c.KVHeads, Len: n, Dim: dim, HeadStride: n * dim, LenStride: dim}}
	switch size := c.KVHeads * n * dim; c.Type {
	case Float16:
		rows.Float16 = memory.Huge(memory.Aligned[uint16](nil, size))
	case BFloat16:
		rows.BFloat16 = memory.Huge(memory.Aligned[uint16](nil, size))
	case Int8:
		rows.Int8, rows.Scales = memory.Huge(memory.Aligned[int8](nil, size)), make([]float32, c.KVHeads*n)
	default:
		rows.Data = memory.Huge(memory.Aligned[float32](nil, size))
	}
	return rows
}

// NewSequence returns a sequence without tokens, which has no page.
func (c *Cache) NewSequence() *Sequence { return &Sequence{cache: c} }

// Stats returns the counts of the moment.
func (c *Cache) Stats() CacheStats {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	n, bytes := c.pool.Len(), 0
	for _, x := range [...]*source.Stored{&c.k, &c.v} {
		bytes += 4*(len(x.Data)+len(x.Scales)) + 2*(len(x.Float16)+len(x.BFloat16)) + len(x.Int8)
	}
	return CacheStats{Pages: n, Used: n - c.pool.Free(), Shared: c.pool.Shared(), Bytes: int64(bytes)}
}

// Len returns the number of tokens that have been appended and not truncated, whether old ones are still kept or not. The
// next one to be appended is at this position.
func (s *Sequence) Len() int { return s.len }

// check returns an error if c is not what NewCache returned.
func (c *Cache) check() error {
	if c == nil || c.pool == nil {
		return errors.New("attn: the *Cache is nil or its zero value, want what NewCache returned")
	}
	return nil
}

// check returns an error if s cannot be changed.
func (s *Sequence) check() error {
	switch {
	case s == nil || s.cache.check() != nil:
		return errors.New("attn: the *Sequence is nil or of no cache, want one of NewSequence or Fork")
	case s.released:
		return errors.New("attn: the sequence has been released")
	}
	return nil
}

// Append adds n tokens with their keys and values:
//
//	k   [1][KVHeads][n][Dim]      v   [1][KVHeads][n][VDim]
//
// A last page that is shared and not full is copied first. If too few pages are free it changes nothing and returns
// [ErrCacheFull]; it succeeds when others have been released. It returns an error that names the argument, and changes
// nothing, if a shape is wrong or s has been released.
func (s *Sequence) Append(k, v Tensor) error {
	if err := s.check(); err != nil {
		return err
	}
	c := s.cache
	if err := c.checkRows("k", &k, c.config.Dim); err != nil {
		return err
	}
	if err := c.checkRows("v", &v, c.config.VDim); err != nil {
		return err
	}
	switch {
	case v.Len != k.Len:
		return fmt.Errorf("attn: v.Len is %d, want %d as of k", v.Len, k.Len)
	case k.Len > math.MaxInt32-s.len:
		return fmt.Errorf("attn: k.Len is %d behind %d tokens, want at most %d together", k.Len, s.len, math.MaxInt32)
	case k.Len == 0:
		return nil
	}
	shared, ok := s.reserve(k.Len)
	if !ok {
		return ErrCacheFull
	}
	page, used := s.len/c.config.PageTokens-s.table.First, s.len%c.config.PageTokens
	if shared >= 0 {
		c.copyPage(s.table.Pages[page], shared, used)
	}
	for i := 0; i < k.Len; page, used = page+1, 0 {
		n := min(c.config.PageTokens-used, k.Len-i)
		row := int(s.table.Pages[page])*c.config.PageTokens + used
		write(&c.k, row, &k, i, n)
		write(&c.v, row, &v, i, n)
		i += n
	}
	s.len += k.Len
	return nil
}

// checkRows resolves keys or values that are appended.
func (c *Cache) checkRows(name string, t *Tensor, dim int) error {
	if err := t.resolve(name); err != nil || t.empty() {
		return err
	}
	of := "the cache"
	return checkSizes(name, t, [...]int{1, c.config.KVHeads, t.Len, dim}, [...]string{of, of, of, of})
}

// reserve gives s pages for n more tokens, of those that a window leaves, if enough are free. It returns the page that
// its last one is to be a copy of, which s still has, or -1.
func (s *Sequence) reserve(n int) (shared int32, ok bool) {
	c, t, size := s.cache, &s.table, s.cache.config.PageTokens
	c.mutex.Lock()
	defer c.mutex.Unlock()
	gone, freed := 0, 0
	if w := c.config.Window; w > 0 {
		gone = min(max(0, (s.len+1-w)/size-t.First), len(t.Pages))
		for _, page := range t.Pages[:gone] {
			if c.pool.Alone(page) {
				freed++
			}
		}
	}
	shared = -1
	last := len(t.Pages) - 1
	if s.len%size > 0 && !c.pool.Alone(t.Pages[last]) {
		shared = t.Pages[last]
	}
	need := (s.len+n+size-1)/size - t.First - len(t.Pages)
	if shared >= 0 {
		need++
	}
	if need > c.pool.Free()+freed {
		return -1, false
	}
	for _, page := range t.Pages[:gone] {
		c.pool.Drop(page)
	}
	t.First += gone
	t.Pages = t.Pages[:copy(t.Pages, t.Pages[gone:])]
	if shared >= 0 {
		t.Pages[len(t.Pages)-1] = c.pool.Take(shared)
		need--
	}
	after := int32(-1)
	if len(t.Pages) > 0 {
		after = t.Pages[len(t.Pages)-1]
	}
	for range need {
		after = c.pool.Take(after)
		t.Pages = append(t.Pages, after)
	}
	return shared, true
}

// copyPage copies the first n tokens of a page, and lets go of it.
func (c *Cache) copyPage(to, from int32, n int) {
	for _, t := range [...]*source.Stored{&c.k, &c.v} {
		for head := range t.Heads {
			to, from := t.At(0, head, int(to)*c.config.PageTokens), t.At(0, head, int(from)*c.config.PageTokens)
			move(t.Data, to, from, n*t.Dim)
			move(t.Float16, to, from, n*t.Dim)
			move(t.BFloat16, to, from, n*t.Dim)
			move(t.Int8, to, from, n*t.Dim)
			move(t.Scales, to/t.Dim, from/t.Dim, n)
		}
	}
	c.mutex.Lock()
	c.pool.Drop(from)
	c.mutex.Unlock()
}

// move copies n elements of x, if there are any.
func move[T any](x []T, to, from, n int) {
	if x != nil {
		memory.Copy(x[to:], x[from:][:n])
	}
}

// write converts n rows of t from number i on to those of a pool from number row on.
func write(pool *source.Stored, row int, t *Tensor, i, n int) {
	src := source.Tensor(*t)
	for head := range pool.Heads {
		for j := range n {
			x, at := src.Data[src.At(0, head, i+j):][:src.Dim], pool.At(0, head, row+j)
			switch {
			case pool.Float16 != nil:
				asm.ToFloat16(pool.Float16[at:][:len(x)], x)
			case pool.BFloat16 != nil:
				asm.ToBFloat16(pool.BFloat16[at:][:len(x)], x)
			case pool.Int8 != nil:
				pool.Scales[at/src.Dim] = Quantize(pool.Int8[at:][:len(x)], x)
			default:
				memory.Copy(pool.Data[at:], x)
			}
		}
	}
}

// Truncate leaves the first n tokens: what a model has guessed in vain is taken back, for example. It returns an error,
// and changes nothing, if n is negative or more than Len, if token n - 1 is kept no more, or if s has been released.
func (s *Sequence) Truncate(n int) error {
	if err := s.check(); err != nil {
		return err
	}
	t, size := &s.table, s.cache.config.PageTokens
	if n < 0 || n > s.len {
		return fmt.Errorf("attn: n is %d, want 0 to %d, the Len of the sequence", n, s.len)
	}
	if n < t.First*size {
		return fmt.Errorf("attn: n is %d, want %d or more: the tokens before are kept no more", n, t.First*size)
	}
	s.cut((n+size-1)/size - t.First)
	s.len = n
	return nil
}

// cut lets go of all pages but the first n.
func (s *Sequence) cut(n int) {
	s.cache.mutex.Lock()
	defer s.cache.mutex.Unlock()
	for i := len(s.table.Pages) - 1; i >= n; i-- {
		s.cache.pool.Drop(s.table.Pages[i])
	}
	s.table.Pages = s.table.Pages[:n]
}

// Fork returns another sequence with the same tokens. Their pages are shared, without a copy, until one of the two
// appends to a page that is not full. A fork of a sequence that has been released is one, too.
func (s *Sequence) Fork() *Sequence {
	f := *s
	f.table.Pages = append([]int32(nil), s.table.Pages...)
	s.cache.mutex.Lock()
	defer s.cache.mutex.Unlock()
	for _, page := range f.table.Pages {
		s.cache.pool.Share(page)
	}
	return &f
}

// Release gives the pages of s back. What is done with s afterwards is an error, but for another Release, which does
// nothing.
func (s *Sequence) Release() {
	s.cut(0)
	s.table, s.len, s.released = source.Table{}, 0, true
}

// Attention is [Attention] with the keys and values of sequences: batch member b of q with those of seqs[b], which may
// be of any lengths.
//
//	q   [len(seqs)][Heads][Lq][Dim]      dst [len(seqs)][Heads][Lq][VDim]
//
// Results are those of Attention with the tokens of a sequence in one tensor, as they are when they are read back from
// Type, to the bit but for Int8 (see [CacheConfig]), whatever pages they are in, and share. Positions count from the first token of a sequence, also where old ones are kept no more. So the queries of
// tokens that have just been appended, which are the last ones of their sequences, need no [Options.Start].
//
// Options.QueryOffsets without KeyOffsets packs queries, any number for each sequence, into one batch member: those of
// seqs[i] are the rows [QueryOffsets[i], QueryOffsets[i+1]) of q and dst, so that some sequences read a prompt and others
// generate. Rows in no sequence become zeros. Start, and QueryLen without offsets, have an element for each sequence;
// Mask and Bias index the rows of q, and as keys the tokens of the sequence from its first one on; they cover the longest
// sequence. KeyLen and KeyOffsets are refused.
//
// It returns an error that names the argument, before it writes, where Attention would, if a sequence is nil, released or
// of another cache, and if a query sees a token that is kept no more, whatever Mask or Bias say of it.
func (c *Cache) Attention(dst, q Tensor, seqs []*Sequence, opts *Options) error {
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	return c.attention(&dst, &q, seqs, o, portion{queries: q.Len})
}

// AttentionContext is [Cache.Attention] until ctx is done, as [AttentionContext].
func (c *Cache) AttentionContext(ctx context.Context, dst, q Tensor, seqs []*Sequence, opts *Options) error {
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	return until(ctx, q.Len, func(p portion) error { return c.attention(&dst, &q, seqs, o, p) })
}

// AttentionPartial is [AttentionPartial] with the keys and values of sequences from their first tokens on, as far as they
// go: p covers the spans of the longest one. Others, on other machines, have what comes behind it. Options.QueryOffsets is
// refused.
func (c *Cache) AttentionPartial(p *Partial, q Tensor, seqs []*Sequence, opts *Options) error {
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	if p == nil {
		return errors.New("attn: p is nil, want a *Partial")
	}
	k, err := c.checkQueries(&q, seqs, o)
	if err != nil {
		return err
	}
	spans, err := o.checkShard(&q, &k, &Tensor{Dim: c.config.VDim}, 0)
	if err != nil {
		return err
	}
	l := listsPool.Get().(*lists)
	defer l.release()
	call := stages.NewCall()
	if err := c.arguments(&call.Arguments, l, &q, seqs, o); err != nil {
		call.Release()
		return err
	}
	*p = newPartial(call, &q, o, spans)
	return nil
}

// attention is Attention with resolved options of all queries. It resolves the tensors in place.
func (c *Cache) attention(dst, q *Tensor, seqs []*Sequence, o *Options, p portion) error {
	if err := dst.resolveWritten("dst"); err != nil {
		return err
	}
	k, err := c.checkQueries(q, seqs, o)
	if err != nil {
		return err
	}
	if q.empty() && dst.empty() {
		return nil
	}
	if err := checkOutput(dst, q, &Tensor{Dim: c.config.VDim}); err != nil {
		return err
	}
	if err := o.checkWritten(dst, q, q.Len, k.Len); err != nil {
		return err
	}
	l := listsPool.Get().(*lists)
	defer l.release()
	call := stages.NewCall()
	if err := c.arguments(&call.Arguments, l, q, seqs, o); err != nil {
		call.Release()
		return err
	}
	call.Dst, call.Stop = source.Tensor(*dst), p.stop
	call.Attention()
	return nil
}

// checkQueries resolves q in place, checks that it, the sequences and the options fit the cache, and returns the shape
// of the keys, as far as checks look at it: those of the longest sequence.
func (c *Cache) checkQueries(q *Tensor, seqs []*Sequence, o *Options) (k Tensor, err error) {
	if err := c.check(); err != nil {
		return k, err
	}
	longest, n := 0, len(seqs)
	for i, s := range seqs {
		switch {
		case s == nil:
			return k, fmt.Errorf("attn: seqs[%d] is nil, want a sequence", i)
		case s.cache != c:
			return k, fmt.Errorf("attn: seqs[%d] is of another cache", i)
		case s.released:
			return k, fmt.Errorf("attn: seqs[%d] has been released", i)
		}
		longest = max(longest, s.len)
	}
	if err := q.resolve("q"); err != nil {
		return k, err
	}
	switch {
	case o.Dropout != nil:
		return k, fmt.Errorf("attn: Options.Dropout has P %g, want nil: a Cache is not for training", o.Dropout.P)
	case o.KeyLen != nil:
		return k, fmt.Errorf("attn: Options.KeyLen has %d elements, want nil: sequences of a cache know their lengths", len(o.KeyLen))
	case o.KeyOffsets != nil:
		return k, fmt.Errorf("attn: Options.KeyOffsets has %d elements, want nil: sequences of a cache know their lengths", len(o.KeyOffsets))
	case o.QueryOffsets == nil && q.Batch != n:
		return k, fmt.Errorf("attn: q.Batch is %d, want %d, the sequences", q.Batch, n)
	case o.QueryOffsets != nil && q.Batch != 1:
		return k, fmt.Errorf("attn: q.Batch is %d with Options.QueryOffsets, want 1: sequences are packed into one batch member", q.Batch)
	case o.QueryOffsets != nil && len(o.QueryOffsets) != n+1:
		return k, fmt.Errorf("attn: Options.QueryOffsets has %d elements, want %d, one more than sequences", len(o.QueryOffsets), n+1)
	case o.QueryOffsets != nil && o.QueryLen != nil:
		return k, fmt.Errorf("attn: Options.QueryLen has %d elements with QueryOffsets, which say the same: want nil", len(o.QueryLen))
	case !q.empty() && q.Heads%c.config.KVHeads != 0:
		return k, fmt.Errorf("attn: q.Heads is %d, want a multiple of %d, the KV heads of the cache", q.Heads, c.config.KVHeads)
	case !q.empty() && q.Dim != c.config.Dim:
		return k, fmt.Errorf("attn: q.Dim is %d, want %d as of the cache", q.Dim, c.config.Dim)
	}
	if o.QueryOffsets != nil {
		if err := checkOffsets("QueryOffsets", o.QueryOffsets, q.Len, "q"); err != nil {
			return k, err
		}
	}
	k = Tensor{Batch: q.Batch, Heads: c.config.KVHeads, Len: longest, Dim: c.config.Dim}
	return k, o.checkRows("sequences", n, q, &k, q.Len)
}

// lists are what a call says of its sequences.
type lists struct {
	lengths   []int
	pages     source.Pages
	sequences []sight.Sequence
}

var listsPool = sync.Pool{New: func() any { return new(lists) }}

// arguments sets a to the arguments of the stages, but for dst, with lists in l. It returns an error if a query sees a
// token that is kept no more.
func (c *Cache) arguments(a *stages.Arguments, l *lists, q *Tensor, seqs []*Sequence, o *Options) error {
	l.pages.Len = c.config.PageTokens
	for _, s := range seqs {
		l.lengths, l.pages.Tables = append(l.lengths, s.len), append(l.pages.Tables, s.table)
	}
	a.Q = source.Tensor(*q)
	o.arguments(a, 0, q.Len)
	a.Lengths.KeyLen = l.lengths
	a.K, a.V = c.k, c.v
	a.K.Pages, a.V.Pages = &l.pages, &l.pages
	l.sequences = a.Lengths.Sequences(l.sequences, q.Batch, q.Len, 0)
	for i := range l.sequences {
		s, kept := l.sequences[i], l.pages.Tables[i].First*c.config.PageTokens
		if kept == 0 {
			continue
		}
		if a.Sight.Trim(&s); s.Queries > 0 {
			if from := a.Sight.Seen(&s, 0).From; from < kept {
				return fmt.Errorf("attn: seqs[%d] keeps its tokens from %d on, but a query sees token %d: set Options.Window, or a larger CacheConfig.Window", i, kept, from)
			}
		}
	}
	return nil
}

// release puts l back, without keeping data alive.
func (l *lists) release() {
	clear(l.pages.Tables)
	l.lengths, l.pages.Tables, l.sequences = l.lengths[:0], l.pages.Tables[:0], l.sequences[:0]
	listsPool.Put(l)
}

package fuzz

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// What is done to a cache, drawn step by step, against a plain model of it: each sequence has its rows in a slice, and
// pages are pointers with a count. The model says which step fails, what the counts are then, and by kernel.Attention
// with the rows of a sequence in one tensor, or those of Int8 in a cache of one page, every bit of every result.
func FuzzCache(f *testing.F) {
	for i := range 200 {
		f.Add([]byte{byte(i), byte(i >> 8), 7})
	}
	f.Fuzz(func(t *testing.T, data []byte) { newCacheModel(t, newSource(data)).run() })
}

// The draws meet what a cache can do: enough of each kind of step, and of what makes the steps hard.
func TestCacheDraws(t *testing.T) {
	met := map[string]int{}
	for i := range 300 {
		m := newCacheModel(t, newSource([]byte{byte(i), byte(i >> 8), 7}))
		m.run()
		for what, n := range m.met {
			met[what] += n
		}
	}
	t.Logf("%v", met)
	for _, what := range []string{"append", "full", "copied page", "dropped page", "fork", "release", "truncate", "refused truncate", "attention",
		"refused attention", "packed", "shared page"} {
		if met[what] < 15 {
			t.Errorf("%s: %d times, want 15 or more", what, met[what])
		}
	}
}

type cacheModel struct {
	t         testing.TB
	s         *source
	config    kernel.CacheConfig
	cache     *kernel.Cache
	sequences []*sequenceModel
	used      map[*pageModel]int // sequences that have a page
	pages     int
	met       map[string]int
}

// A sequenceModel has the rows of each head, and pages of the tokens from first pages on.
type sequenceModel struct {
	s     *kernel.Sequence
	n     int
	k, v  [][]float32
	first int
	pages []*pageModel
}

// A pageModel is told from others by its address alone.
type pageModel struct{ _ byte }

func newCacheModel(t testing.TB, s *source) *cacheModel {
	m := &cacheModel{t: t, s: s, used: map[*pageModel]int{}, met: map[string]int{}}
	c := &m.config
	*c = kernel.CacheConfig{Type: kernel.Type(s.Int(0, 3)), KVHeads: s.Int(1, 3), Dim: s.Size(1, 40, 8, 40), VDim: s.Size(0, 40, 8, 40), PageTokens: []int{16, 16, 32, 64, 128, 256, 512}[s.Int(0, 6)]}
	m.pages = s.Int(1, 600/c.PageTokens+3)
	c.Tokens = m.pages*c.PageTokens + s.Int(0, c.PageTokens-1)
	if s.Bool() {
		c.Window = s.Size(1, 300, 40, 300)
	}
	cache, err := kernel.NewCache(*c)
	m.ok(err)
	m.cache = cache
	if c.VDim == 0 {
		c.VDim = c.Dim
	}
	return m
}

func (m *cacheModel) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%+v: %v", m.config, err)
	}
}

func (m *cacheModel) refused(err error) {
	m.t.Helper()
	if err == nil {
		m.t.Fatalf("%+v: not refused", m.config)
	}
}

func (m *cacheModel) run() {
	for range m.s.Int(1, 25) {
		step := m.s.Int(0, 9)
		if len(m.sequences) == 0 || step == 0 && len(m.sequences) < 6 {
			m.sequences = append(m.sequences, &sequenceModel{s: m.cache.NewSequence(), k: make([][]float32, m.config.KVHeads), v: make([][]float32, m.config.KVHeads)})
		}
		i := m.s.Int(0, len(m.sequences)-1)
		q := m.sequences[i]
		switch {
		case step <= 4:
			m.append(q)
		case step == 5:
			m.truncate(q)
		case step == 6 && len(m.sequences) < 6:
			m.sequences = append(m.sequences, m.fork(q))
		case step == 7:
			m.release(q)
			m.sequences = slices.Delete(m.sequences, i, i+1)
		default:
			m.attend()
		}
		m.count()
	}
	for _, q := range m.sequences {
		m.release(q)
	}
	m.sequences = nil
	m.count()
}

// count compares the counts.
func (m *cacheModel) count() {
	m.t.Helper()
	want := kernel.CacheStats{Pages: m.pages, Used: len(m.used), Bytes: m.cache.Stats().Bytes}
	for _, n := range m.used {
		want.Shared += min(1, n-1)
	}
	m.met["shared page"] += want.Shared
	if got := m.cache.Stats(); got != want || want.Shared > want.Used {
		m.t.Fatalf("%+v: counts are %+v, want %+v", m.config, got, want)
	}
	for _, q := range m.sequences {
		if q.s.Len() != q.n {
			m.t.Fatalf("%+v: Len is %d, want %d", m.config, q.s.Len(), q.n)
		}
	}
}

func (m *cacheModel) drop(p *pageModel) {
	if m.used[p]--; m.used[p] == 0 {
		delete(m.used, p)
	}
}

// rows draws n rows for each head, with or without strides.
func (m *cacheModel) rows(n, dim int) kernel.Tensor {
	x := kernel.Tensor{Batch: 1, Heads: m.config.KVHeads, Len: n, Dim: dim}
	size := x.Heads * n * dim
	if m.s.Bool() {
		x.LenStride, x.HeadStride = x.Heads*dim+m.s.Int(0, 3), dim
		size = n * x.LenStride
	}
	x.Data = m.s.Fill(make([]float32, size))
	return x
}

// stored returns a row as attention without this cache takes it: as it is read back or, of Int8, which only a cache multiplies by the
// scales of its rows, as it is.
func (m *cacheModel) stored(x []float32) []float32 {
	if m.config.Type == kernel.Int8 {
		return x
	}
	read, _ := readBack(m.config.Type, [][]float32{x})
	return read[0]
}

// attention is that of rows without this cache: in tensors or, of Int8, in a cache of one page.
func (m *cacheModel) attention(dst, q, k, v kernel.Tensor, o *kernel.Options) {
	if m.config.Type != kernel.Int8 || k.Len == 0 {
		m.ok(kernel.Attention(dst, q, k, v, o))
		return
	}
	page := ceilDiv(k.Len, generic.TileKeys) * generic.TileKeys
	c, err := kernel.NewCache(kernel.CacheConfig{KVHeads: k.Heads, Dim: k.Dim, VDim: v.Dim, Type: kernel.Int8, Tokens: page, PageTokens: page})
	m.ok(err)
	s := c.NewSequence()
	m.ok(s.Append(k, v))
	m.ok(c.Attention(dst, q, []*kernel.Sequence{s}, o))
}

// rowOf returns row i of a head.
func rowOf(x kernel.Tensor, head, i int) []float32 {
	if x.LenStride == 0 {
		return x.Data[(head*x.Len+i)*x.Dim:][:x.Dim]
	}
	return x.Data[head*x.HeadStride+i*x.LenStride:][:x.Dim]
}

func (m *cacheModel) append(q *sequenceModel) {
	n, size := m.s.Size(0, 300, 3, 40, 300), m.config.PageTokens
	k, v := m.rows(n, m.config.Dim), m.rows(n, m.config.VDim)
	pages, first, met := slices.Clone(q.pages), q.first, "append"
	var gone, added []*pageModel
	if n > 0 {
		for m.config.Window > 0 && len(pages) > 0 && (first+1)*size <= q.n+1-m.config.Window {
			gone, pages, first = append(gone, pages[0]), pages[1:], first+1
		}
		if q.n%size > 0 && m.used[pages[len(pages)-1]] > 1 {
			last := &pages[len(pages)-1]
			gone = append(gone, *last)
			*last = new(pageModel)
			added = append(added, *last)
			met = "copied page"
		}
		for (first+len(pages))*size < q.n+n {
			added = append(added, new(pageModel))
			pages = append(pages, added[len(added)-1])
		}
	}
	free := m.pages - len(m.used)
	for i, p := range gone {
		if m.used[p] == 1 && (met != "copied page" || i < len(gone)-1) {
			free++
		}
	}
	err := q.s.Append(k, v)
	if len(added) > free {
		if !errors.Is(err, kernel.ErrCacheFull) {
			m.t.Fatalf("%+v: Append needs %d of %d pages: %v", m.config, len(added), free, err)
		}
		m.met["full"]++
		return
	}
	m.ok(err)
	m.met[met]++
	m.met["dropped page"] += first - q.first
	for _, p := range gone {
		m.drop(p)
	}
	for _, p := range added {
		m.used[p]++
	}
	q.pages, q.first, q.n = pages, first, q.n+n
	for h := range m.config.KVHeads {
		for i := range n {
			q.k[h], q.v[h] = append(q.k[h], m.stored(rowOf(k, h, i))...), append(q.v[h], m.stored(rowOf(v, h, i))...)
		}
	}
}

func (m *cacheModel) truncate(q *sequenceModel) {
	n, size := m.s.Int(-2, q.n+2), m.config.PageTokens
	err := q.s.Truncate(n)
	if n < q.first*size || n > q.n {
		m.refused(err)
		m.met["refused truncate"]++
		return
	}
	m.ok(err)
	m.met["truncate"]++
	for (q.first+len(q.pages)-1)*size >= n && len(q.pages) > 0 {
		m.drop(q.pages[len(q.pages)-1])
		q.pages = q.pages[:len(q.pages)-1]
	}
	q.n = n
	for h := range q.k {
		q.k[h], q.v[h] = q.k[h][:n*m.config.Dim:n*m.config.Dim], q.v[h][:n*m.config.VDim:n*m.config.VDim]
	}
}

func (m *cacheModel) fork(q *sequenceModel) *sequenceModel {
	m.met["fork"]++
	f := *q
	f.s, f.pages, f.k, f.v = q.s.Fork(), slices.Clone(q.pages), nil, nil
	for h := range q.k {
		f.k, f.v = append(f.k, slices.Clone(q.k[h])), append(f.v, slices.Clone(q.v[h]))
	}
	for _, p := range f.pages {
		m.used[p]++
	}
	return &f
}

func (m *cacheModel) release(q *sequenceModel) {
	m.met["release"]++
	q.s.Release()
	q.s.Release()
	for _, p := range q.pages {
		m.drop(p)
	}
	m.refused(q.s.Truncate(0))
	m.refused(q.s.Append(m.rows(1, m.config.Dim), m.rows(1, m.config.VDim)))
	m.refused(m.cache.Attention(kernel.Tensor{}, kernel.Tensor{}, []*kernel.Sequence{q.s}, nil))
}

// attend compares attention for some sequences with that for each of them alone.
func (m *cacheModel) attend() {
	s, c := m.s, &m.config
	n, heads := s.Int(1, 3), c.KVHeads*s.Int(1, 4)
	var seqs []*kernel.Sequence
	var models []*sequenceModel
	longest := 0
	for range n {
		q := m.sequences[s.Int(0, len(m.sequences)-1)]
		seqs, models = append(seqs, q.s), append(models, q)
		longest = max(longest, q.n)
	}
	packed := s.Bool()
	o := kernel.Options{Causal: s.Bool(), Workers: s.Int(1, 3)}
	batch, queries := n, s.Size(0, 70, 1, 8, 70)
	if packed {
		m.met["packed"]++
		batch, o.QueryOffsets = 1, []int{s.Int(0, 2)}
		for range n {
			o.QueryOffsets = append(o.QueryOffsets, o.QueryOffsets[len(o.QueryOffsets)-1]+s.Size(0, 40, 1, 8, 40))
		}
		queries = o.QueryOffsets[n] + s.Int(0, 2)
	} else if s.Int(0, 4) == 0 {
		for range n {
			o.QueryLen = append(o.QueryLen, s.Int(0, queries))
		}
	}
	if s.Bool() {
		o.Window = &kernel.Window{Left: s.Int(-1, max(10, c.Window)), Right: s.Int(-1, 5)}
	}
	if s.Int(0, 3) == 0 {
		for range n {
			o.Start = append(o.Start, s.Int(-3, longest+3))
		}
	}
	if s.Int(0, 3) == 0 {
		o.SoftCap = 3
	}
	if s.Int(0, 3) == 0 {
		for range heads {
			o.ALiBi = append(o.ALiBi, 0.1)
		}
	}
	strides := [3]int{s.Int(0, 1) * heads * queries * longest, s.Int(0, 1) * queries * longest, s.Int(0, 1) * longest}
	area := batch*heads*queries*longest + longest
	if s.Int(0, 3) == 0 {
		o.Mask = &kernel.Mask{Data: make([]bool, area), BatchStride: strides[0], HeadStride: strides[1], QueryStride: strides[2]}
		for i := range o.Mask.Data {
			o.Mask.Data[i] = s.Int(0, 3) > 0
		}
	}
	if s.Int(0, 3) == 0 {
		o.Bias = &kernel.Bias{Data: s.Fill(make([]float32, area)), BatchStride: strides[0], HeadStride: strides[1], QueryStride: strides[2]}
	}
	if s.Int(0, 3) == 0 {
		o.Sinks = s.Fill(make([]float32, heads))
		for i, x := range o.Sinks {
			if !(x < 1e30) {
				o.Sinks[i] = 1
			}
		}
	}
	if s.Int(0, 3) == 0 {
		o.Stats = make([]float32, 2*batch*heads*queries)
	}
	if s.Bool() {
		o.LSE = make([]float32, batch*heads*queries)
	}
	q := kernel.Tensor{Data: s.Fill(make([]float32, batch*heads*queries*c.Dim)), Batch: batch, Heads: heads, Len: queries, Dim: c.Dim}
	dst := kernel.Tensor{Data: canaries(batch * heads * queries * c.VDim), Batch: batch, Heads: heads, Len: queries, Dim: c.VDim}
	want, lse, stats := make([]float32, len(dst.Data)), make([]float32, batch*heads*queries), make([]float32, 2*batch*heads*queries)
	for i := range lse {
		lse[i], stats[2*i] = float32(math.Inf(-1)), float32(math.Inf(-1))
	}
	legal := true
	for i, model := range models {
		legal = m.alone(want, lse, stats, q, i, model, o) && legal
	}
	err := m.cache.Attention(dst, q, seqs, &o)
	if !legal {
		m.refused(err)
		m.met["refused attention"]++
		return
	}
	m.ok(err)
	m.met["attention"]++
	asmtest.Equal(m.t, want, dst.Data, "%+v: %+v", m.config, o)
	if o.Stats != nil {
		asmtest.Equal(m.t, stats, o.Stats, "%+v: %+v: Stats", m.config, o)
	}
	if o.LSE != nil {
		asmtest.Equal(m.t, lse, o.LSE, "%+v: %+v: LSE", m.config, o)
	}
}

// alone computes the rows of member or sequence i of a call by itself. It reports whether nothing is seen that is kept
// no more.
func (m *cacheModel) alone(want, lse, stats []float32, q kernel.Tensor, i int, model *sequenceModel, o kernel.Options) bool {
	c, n := &m.config, model.n
	member, first, queries := i, 0, q.Len
	switch {
	case o.QueryOffsets != nil:
		member, first, queries = 0, o.QueryOffsets[i], o.QueryOffsets[i+1]-o.QueryOffsets[i]
	case o.QueryLen != nil:
		queries = o.QueryLen[i]
	}
	one := o
	one.QueryOffsets, one.QueryLen, one.LSE, one.Stats = nil, nil, make([]float32, q.Heads*queries), make([]float32, 2*q.Heads*queries)
	start := n - queries
	if o.Start != nil {
		start = o.Start[i]
	}
	one.Start = []int{start}
	if o.Mask != nil {
		one.Mask = &kernel.Mask{Data: o.Mask.Data[member*o.Mask.BatchStride+first*o.Mask.QueryStride:], HeadStride: o.Mask.HeadStride, QueryStride: o.Mask.QueryStride}
	}
	if o.Bias != nil {
		one.Bias = &kernel.Bias{Data: o.Bias.Data[member*o.Bias.BatchStride+first*o.Bias.QueryStride:], HeadStride: o.Bias.HeadStride, QueryStride: o.Bias.QueryStride}
	}
	for j := range queries {
		p, from, to := start+j, 0, n
		if o.Causal {
			to = min(to, p+1)
		}
		if w := o.Window; w != nil && w.Right >= 0 {
			to = min(to, p+w.Right+1)
		}
		if w := o.Window; w != nil && w.Left >= 0 {
			from = max(0, p-w.Left)
		}
		if from < to && from < model.first*c.PageTokens {
			return false
		}
	}
	if queries == 0 {
		return true
	}
	k := kernel.Tensor{Data: slices.Concat(model.k...), Heads: c.KVHeads, Len: n, Dim: c.Dim}
	v := kernel.Tensor{Data: slices.Concat(model.v...), Heads: c.KVHeads, Len: n, Dim: c.VDim}
	part := q
	part.Batch, part.Len, part.Data = 1, queries, q.Data[(member*q.Heads*q.Len+first)*c.Dim:]
	part.LenStride, part.HeadStride = c.Dim, q.Len*c.Dim
	dst := kernel.Tensor{Data: make([]float32, q.Heads*queries*c.VDim), Heads: q.Heads, Len: queries, Dim: c.VDim}
	m.attention(dst, part, k, v, &one)
	for h := range q.Heads {
		at := (member*q.Heads+h)*q.Len + first
		copy(want[at*c.VDim:], dst.Data[h*queries*c.VDim:][:queries*c.VDim])
		copy(lse[at:], one.LSE[h*queries:][:queries])
		copy(stats[2*at:], one.Stats[2*h*queries:][:2*queries])
	}
	return true
}

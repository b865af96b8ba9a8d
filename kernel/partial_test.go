package kernel

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/stretchr/testify/require"
)

// rowsOf returns the rows of x from first on as a view.
func rowsOf(x Tensor, first, n int) Tensor {
	x = explicit(x)
	x.Data, x.Len = x.Data[min(first*x.LenStride, len(x.Data)):], n
	return x
}

// shard computes the partial of n keys from number first on. The options are those of all keys.
func (p *problem) shard(first, n int) (*Partial, error) {
	o := p.o
	o.LSE = nil
	if o.KeyLen != nil {
		o.KeyLen = nil
		for _, all := range p.o.KeyLen {
			o.KeyLen = append(o.KeyLen, max(0, min(all-first, n)))
		}
	}
	if b := o.Bias; b != nil {
		o.Bias = &Bias{b.Data[first:], b.BatchStride, b.HeadStride, b.QueryStride}
	}
	if m := o.Mask; m != nil {
		o.Mask = &Mask{m.Data[first:], m.BatchStride, m.HeadStride, m.QueryStride}
	}
	part := new(Partial)
	return part, AttentionPartial(part, p.q, rowsOf(p.k, first, n), rowsOf(p.v, first, n), first, &o)
}

// shards cuts all keys into n shards at ends of spans, some of which are empty if there are more shards than spans, and
// computes them in any order.
func (p *problem) shards(t *testing.T, r *rand.Rand, n int) []*Partial {
	t.Helper()
	spans := plan.CeilDiv(p.k.Len, generic.SpanKeys)
	cuts := []int{0, p.k.Len}
	if n > spans { // empty ones, anywhere
		for len(cuts) <= n {
			cuts = append(cuts, r.IntN(spans+1)*generic.SpanKeys)
		}
	} else {
		for _, i := range r.Perm(spans - 1)[:n-1] {
			cuts = append(cuts, (i+1)*generic.SpanKeys)
		}
	}
	for i := range cuts {
		cuts[i] = min(cuts[i], p.k.Len)
	}
	slices.Sort(cuts)
	parts := make([]*Partial, n)
	for _, i := range r.Perm(n) {
		first, end := cuts[i], cuts[i+1]
		if first == end { // of an empty shard any number will do
			first = r.IntN(9) * generic.SpanKeys
			end = first
		}
		part, err := p.shard(min(first, p.k.Len/generic.SpanKeys*generic.SpanKeys), end-first)
		require.NoError(t, err)
		parts[i] = part
	}
	return parts
}

// finish returns the outputs and the log-sum-exps of a partial.
func (p *problem) finish(t *testing.T, part *Partial) (out, lse []float32) {
	t.Helper()
	dst := p.dst
	dst.Data = slices.Repeat([]float32{nan}, len(p.dst.Data))
	lse = slices.Repeat([]float32{nan}, p.q.Batch*p.q.Heads*p.q.Len)
	require.NoError(t, part.Finish(dst, lse))
	return flat(dst), lse
}

func encoded(t *testing.T, p *Partial) []byte {
	t.Helper()
	data, err := p.MarshalBinary()
	require.NoError(t, err)
	return data
}

// permutations calls f with each order of 0..n-1.
func permutations(n int, f func(order []int)) {
	order := make([]int, 0, n)
	var next func()
	next = func() {
		if len(order) == n {
			f(order)
		}
		for i := range n {
			if !slices.Contains(order, i) {
				order = append(order, i)
				next()
				order = order[:len(order)-1]
			}
		}
	}
	next()
}

// A NaN value of a key that the mask hides, in a span of which some queries of a panel see no other key either, is in no partial.
func TestPartialHiddenNaN(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 61))
	for _, spans := range []int{1, 2} {
		n := (spans-1)*generic.SpanKeys + 40
		s := shape{1, 2, 1, 40, n, 2, 3}
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Mask: &Mask{Data: make([]bool, s.lq*n), QueryStride: n}, Start: []int{0}, LSE: make([]float32, 2*s.lq)})
		for i := range s.lq {
			for j := range n {
				p.o.Mask.Data[i*n+j] = i == s.lq-1 || j < n-40 && r.IntN(9) == 0
			}
		}
		p.v.Data[(n-7)*3] = nan
		want := p.attend(t)
		all := new(Partial)
		for _, part := range p.shards(t, r, spans) {
			require.NoError(t, all.Merge(part))
		}
		whole, err := p.shard(0, n)
		require.NoError(t, err)
		require.True(t, slices.Equal(encoded(t, whole), encoded(t, all)), "%d spans: bytes", spans)
		for _, part := range []*Partial{all, whole} {
			out, lse := p.finish(t, part)
			asmtest.Equal(t, want, out, "%d spans", spans)
			asmtest.Equal(t, p.o.LSE, lse, "LSE of %d spans", spans)
		}
		require.True(t, allFinite(want[:(s.lq-1)*3]))
	}
}

// Whatever the order in which 1 to 7 shards arrive, they have the bits of the whole, and the bytes of one partial.
func TestPartialOrders(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 61))
	for n := 1; n <= 7; n++ {
		s := shape{1, 2, 1, 2, 6*generic.SpanKeys + 100, 2, 3}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Start: []int{s.lk - 2}, Causal: true, Workers: 1 + n%3})
		if n%2 == 0 {
			p.o.Sinks = []float32{2, -1}
		}
		p.o.LSE = make([]float32, 4)
		want := p.attend(t)
		parts := p.shards(t, r, n)
		whole, err := p.shard(0, s.lk)
		require.NoError(t, err)
		data := encoded(t, whole)
		permutations(n, func(order []int) {
			var all Partial
			for _, i := range order {
				require.NoError(t, all.Merge(parts[i]))
			}
			out, lse := p.finish(t, &all)
			asmtest.Equal(t, want, out, "order %v of %v", order, p)
			asmtest.Equal(t, p.o.LSE, lse, "LSE, order %v of %v", order, p)
			if order[0] == n-1 {
				require.Equal(t, data, encoded(t, &all), "order %v", order)
			}
		})
	}
}

// Shards of calls with any options, computed by any number of workers, merged as a tree by machines that send each other
// bytes, have the bits of the whole.
func TestPartials(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 61))
	const span = generic.SpanKeys
	for i := range 4 * trials(4) {
		s := shape{1 + r.IntN(2), 2, 1 + r.IntN(2), [...]int{1, 3, 19, 40}[i%4], span/2 + r.IntN(3*span), 1 + r.IntN(4), 1 + r.IntN(4)}
		o := Options{Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(3), Scale: 0.7}
		for b := range s.batch {
			o.Start = append(o.Start, s.lk-s.lq-pick(r, 0, 5, span, s.lk)*b)
			if i%3 == 0 {
				o.KeyLen, o.QueryLen = append(o.KeyLen, r.IntN(s.lk+1)), append(o.QueryLen, r.IntN(s.lq+1))
			}
		}
		if r.IntN(2) == 0 {
			o.Window = &Window{pick(r, -1, 100, span+100), pick(r, -1, 0, span)}
		}
		if r.IntN(2) == 0 {
			o.ALiBi = asmtest.Fill(r, make([]float32, s.heads), asmtest.Normal)
			for h := range o.ALiBi {
				o.ALiBi[h] *= 1e-3
			}
		}
		if r.IntN(2) == 0 {
			o.Bias = &Bias{Data: asmtest.Fill(r, make([]float32, s.lk), asmtest.Normal)}
			for range 1000 {
				o.Bias.Data[r.IntN(s.lk)] = -inf
			}
		}
		if r.IntN(2) == 0 {
			o.Mask = &Mask{Data: make([]bool, s.lk)}
			for j := range o.Mask.Data {
				o.Mask.Data[j] = r.IntN(3) > 0 && j/100%5 > 0
			}
			if r.IntN(2) == 0 { // of each query by itself
				o.Mask = randomMask(r, s)
			}
		}
		if r.IntN(2) == 0 {
			o.Sinks = randomSinks(r, s.heads)
		}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, o)
		for range 3 { // values of hidden keys, and of visible ones
			rows(p.v)[r.IntN(s.lk)][0] = pick(r, nan, inf)
		}
		p.o.LSE = make([]float32, s.batch*s.heads*s.lq)
		want, lse := p.attend(t), p.o.LSE
		p.o.LSE = nil
		parts := p.shards(t, r, 1+r.IntN(5))
		if len(parts) > 1 { // some shards are computed without sinks
			parts[0].sinks = nil
		}
		for len(parts) > 1 {
			i := r.IntN(len(parts) - 1)
			sent := new(Partial)
			require.NoError(t, sent.UnmarshalBinary(encoded(t, parts[i+1])))
			require.NoError(t, parts[i].Merge(sent))
			parts = slices.Delete(parts, i+1, i+2)
		}
		out, sums := p.finish(t, parts[0])
		asmtest.Equal(t, want, out, "%v", p)
		asmtest.Equal(t, lse, sums, "LSE of %v", p)
	}
}

// The bytes of a partial are the same on every machine, and by any number of workers.
func TestPartialBytes(t *testing.T) {
	const span = generic.SpanKeys
	for _, lq := range []int{1, 20} {
		p := newProblem(rand.New(rand.NewPCG(3, 61)), shape{1, 4, 2, lq, span + 700, 16, 8}, packedLayout, asmtest.Ties, Options{Start: []int{span - 3}, Causal: true, Sinks: []float32{0, 1, -1, -inf}})
		rows(p.v)[span-100][3] = nan
		for workers := 1; workers <= 3; workers++ {
			p.o.Workers = workers
			part, err := p.shard(0, p.k.Len)
			require.NoError(t, err)
			h := fnv.New64a()
			h.Write(encoded(t, part))
			require.Equal(t, map[int]uint64{1: 0x8cdbcbd6fced08a7, 20: 0x6ff4ec5c42a89ec5}[lq], h.Sum64(), "%d queries: %#016x", lq, h.Sum64())
		}
	}
}

// The states of a shard take at most as many bytes as a limit, or 64 times its tensors: the first size beyond is refused.
func TestPartialStatesLimit(t *testing.T) {
	const dim = 1<<10 - 2
	q, k, v := Tensor{Batch: 2, Heads: 4, Len: 1 << 13, Dim: 4}, Tensor{}, Tensor{Dim: dim} // 2^28 bytes a span
	require.NoError(t, checkStates(&q, &k, &v, 3), "and sinks")
	require.ErrorContains(t, checkStates(&q, &k, &v, 4), fmt.Sprintf("more than %d bytes", 1<<30))
	q.Data, k.Data, v.Data = make([]float32, 3<<20), make([]float32, 2<<20), make([]float32, 1<<20)
	require.NoError(t, checkStates(&q, &k, &v, 5))
	require.ErrorContains(t, checkStates(&q, &k, &v, 6), fmt.Sprintf("more than %d bytes", 3<<29))
}

// The zero value is the identity of Merge. What is refused changes nothing.
func TestPartialMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 61))
	const span = generic.SpanKeys
	p := newProblem(r, shape{1, 2, 1, 3, 2*span + 5, 2, 3}, packedLayout, asmtest.Normal, Options{Start: []int{0}, Sinks: []float32{1, 2}})
	make1 := func(p *problem, first, n int) *Partial {
		part, err := p.shard(first, n)
		require.NoError(t, err)
		return part
	}
	a, b := make1(p, 0, span), make1(p, span, span+5)
	before := encoded(t, a)
	var zero, other Partial
	require.NoError(t, a.Merge(&zero))
	require.Equal(t, before, encoded(t, a))
	require.NoError(t, zero.Merge(&other))
	require.Equal(t, encoded(t, new(Partial)), encoded(t, &zero))
	require.NoError(t, zero.Merge(a))
	require.Equal(t, before, encoded(t, &zero))
	require.NoError(t, zero.Merge(b), "a copy shares the states, and nothing that changes")
	require.Equal(t, before, encoded(t, a))
	require.NotEqual(t, before, encoded(t, &zero))

	change := func(f func(p *problem)) *problem {
		c := *p
		f(&c)
		return &c
	}
	copied := *a
	later := *b
	require.ErrorContains(t, b.Merge(&later), fmt.Sprintf("from number %d on are in both", span))
	for _, c := range []struct {
		o    *Partial
		want string
	}{
		{a, "itself"}, {&copied, "from number 0 on are in both"}, {&zero, "from number 0 on are in both"}, {nil, "nil"},
		{make1(p, 0, 1), "from number 0 on are in both"},
		{make1(change(func(p *problem) { p.q = rowsOf(p.q, 0, 2) }), span, 9), "[1][2][3][3], and those to be merged [1][2][2][3]"},
		{make1(change(func(p *problem) { p.v = newTensor(r, 1, 1, p.v.Len, 4, bhld, asmtest.Normal) }), span, 9), "[1][2][3][4]"},
		{make1(change(func(p *problem) { p.o.Sinks = []float32{1, 3} }), span, 9), "Sinks"},
		{make1(change(func(p *problem) { p.o.QueryLen = []int{2} }), span, 9), "QueryLen"},
	} {
		require.ErrorContains(t, a.Merge(c.o), c.want)
		require.Equal(t, before, encoded(t, a))
	}
	require.Error(t, (*Partial)(nil).Merge(a))
	require.ErrorContains(t, zero.Merge(&zero), "itself")
	require.ErrorContains(t, other.Merge(&other), "itself", "the zero value too")
	// A partial without sinks takes those of the other, in either order.
	c, d := make1(change(func(p *problem) { p.o.Sinks = nil }), 0, span), make1(change(func(p *problem) { p.o.Sinks = nil }), 0, span)
	e := make1(p, span, span+5)
	require.NoError(t, c.Merge(b))
	require.NoError(t, e.Merge(d))
	require.Equal(t, encoded(t, &zero), encoded(t, c))
	require.Equal(t, encoded(t, &zero), encoded(t, e))
}

// Whatever is wrong with the arguments is said by name, and leaves the partial and dst as they are.
func TestBadPartial(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 61))
	const span = generic.SpanKeys
	good := newProblem(r, shape{2, 4, 2, 5, 9, 8, 8}, packedLayout, asmtest.Normal, Options{})
	part := new(Partial)
	require.NoError(t, AttentionPartial(part, good.q, good.k, good.v, 0, nil))
	before := encoded(t, part)
	huge := Tensor{Data: make([]float32, 8), Batch: 1 << 20, Heads: 1 << 20, Len: 1, Dim: 8, LenStride: 8} // by rows that are shared
	for _, c := range []struct {
		change func(p *problem)
		first  int
		want   []string
	}{
		{func(p *problem) {}, -span, []string{"firstKey is -16384"}},
		{func(p *problem) { p.o.Start = []int{0} }, 1, []string{"firstKey is 1", "multiple of 16384"}},
		{func(p *problem) { p.o.Start = []int{0} }, math.MaxInt/span*span + 0, nil},
		{func(p *problem) { p.o.Start = []int{0}; p.o.ALiBi = make([]float32, 4) }, 1 << 30, []string{"firstKey is 1073741824", "ALiBi"}},
		{func(p *problem) {}, span, []string{"Start is nil", "firstKey 16384"}},
		{func(p *problem) { p.o.Causal = true }, 0, []string{"Start is nil"}},
		{func(p *problem) { p.o.Window = &Window{-1, -1} }, 0, []string{"Start is nil"}},
		{func(p *problem) { p.o.ALiBi = make([]float32, 4) }, 0, []string{"Start is nil"}},
		{func(p *problem) { p.o.LSE = make([]float32, 40) }, 0, []string{"LSE has 40", "Finish"}},
		{func(p *problem) { p.o.Stats = make([]float32, 80) }, 0, []string{"Stats has 80"}},
		{func(p *problem) {
			*p = *newProblem(r, shape{1, 1, 1, 5, 9, 8, 8}, packedLayout, asmtest.Normal, Options{QueryOffsets: []int{0, 5}, KeyOffsets: []int{0, 9}})
		}, 0, []string{"QueryOffsets has 2"}},
		{func(p *problem) { p.o.Sinks = make([]float32, 3) }, 0, []string{"Sinks has 3"}},
		{func(p *problem) { p.o.Scale = nan }, 0, []string{"Scale is NaN"}},
		{func(p *problem) { p.o.KeyLen = []int{9, 10} }, 0, []string{"KeyLen[1] is 10"}},
		{func(p *problem) { p.k.Dim = 7 }, 0, []string{"k."}},
		{func(p *problem) { p.v = rowsOf(p.v, 0, 8) }, 0, []string{"v.Len is 8", "9"}},
		{func(p *problem) { p.v = Tensor{Batch: 2, Heads: 2}; p.k = Tensor{Batch: 2, Heads: 2, Dim: 8} }, 0, []string{"v.Dim is 0"}},
		{func(p *problem) { p.q, p.k, p.v = huge, huge, huge }, 0, []string{"q is [1048576][1048576][1][8]"}},
	} {
		p := *good
		c.change(&p)
		err := AttentionPartial(part, p.q, p.k, p.v, c.first, &p.o)
		if c.want == nil {
			require.NoError(t, err, "the last span that there can be")
			require.NoError(t, AttentionPartial(part, good.q, good.k, good.v, 0, nil))
			continue
		}
		require.Error(t, err, "%v", c.want)
		for _, part := range append(c.want, "attn: ") {
			require.Contains(t, err.Error(), part)
		}
		require.Equal(t, before, encoded(t, part))
	}
	require.ErrorContains(t, AttentionPartial(nil, good.q, good.k, good.v, 0, nil), "p is nil")

	dst := Tensor{Data: asmtest.Fill(r, make([]float32, 2*4*5*8), asmtest.Normal), Batch: 2, Heads: 4, Len: 5, Dim: 8}
	was := slices.Clone(dst.Data)
	for _, c := range []struct {
		change func(x *Tensor)
		lse    []float32
		want   string
	}{
		{func(x *Tensor) { x.Len = -1 }, nil, "dst.Len is -1"}, {func(x *Tensor) { x.Data = nil }, nil, "dst.Data has 0"},
		{func(x *Tensor) { *x = rowsOf(*x, 0, 4) }, nil, "dst.Len is 4, want 5"},
		{func(x *Tensor) { x.Batch, x.Heads = 4, 2 }, nil, "dst.Batch is 4, want 2"},
		{func(x *Tensor) { x.Heads, x.Dim = 8, 4 }, nil, "dst.Heads is 8, want 4"},
		{func(x *Tensor) { *x = explicit(*x); x.Dim = 7 }, nil, "dst.Dim is 7, want 8"},
		{func(x *Tensor) {}, make([]float32, 41), "lse has 41"}, {func(x *Tensor) {}, []float32{}, "lse has 0"},
		{func(x *Tensor) {}, dst.Data[280:320], "lse shares memory with dst.Data"},
	} {
		x := dst
		c.change(&x)
		require.ErrorContains(t, part.Finish(x, c.lse), c.want)
		asmtest.Equal(t, was, dst.Data, "dst after %s", c.want)
	}
	require.ErrorContains(t, new(Partial).Finish(dst, nil), "no queries")
	require.ErrorContains(t, (*Partial)(nil).Finish(dst, nil), "nil")
	require.NoError(t, part.Finish(dst, nil))
	good.o = Options{}
	asmtest.Equal(t, good.attend(t), dst.Data, "after what was refused")
}

// Without queries or keys, or with keys that are all hidden, there is nothing to compute, and the rows are zeros.
func TestEmptyPartial(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 61))
	for i, lq := range []int{0, 3, 0, 3, 1} {
		lk := i / 2 * 9
		p := newProblem(r, shape{2, 2, 1, lq, lk, 4, 5}, packedLayout, asmtest.Normal, Options{Start: []int{0}, Sinks: []float32{1, -inf}, QueryLen: []int{min(lq, 2), lq}})
		p.o.Mask = &Mask{Data: make([]bool, lk)}
		part, err := p.shard(0, lk)
		require.NoError(t, err)
		again := new(Partial)
		require.NoError(t, again.UnmarshalBinary(encoded(t, part)))
		out, lse := p.finish(t, again)
		asmtest.Equal(t, make([]float32, 2*2*lq*5), out, "%d queries", lq)
		if lq == 3 {
			sink := tile.LogSum2(generic.Sink(1))
			asmtest.Equal(t, []float32{sink, sink, -inf, -inf, -inf, -inf, sink, sink, sink, -inf, -inf, -inf}, lse, "LSE")
		}
	}
}

// Bytes that are not those of a partial are refused, and change nothing.
func TestPartialForeignBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 61))
	p := newProblem(r, shape{1, 2, 1, 2, 2 * generic.SpanKeys, 2, 2}, packedLayout, asmtest.Normal, Options{Start: []int{0}, Sinks: []float32{1, 2}})
	part, err := p.shard(0, p.k.Len)
	require.NoError(t, err)
	data := encoded(t, part)
	refused := func(b []byte, what string, args ...any) {
		t.Helper()
		err := part.UnmarshalBinary(b)
		require.ErrorContains(t, err, "attn: UnmarshalBinary: ", fmt.Sprintf(what, args...))
		require.Equal(t, data, encoded(t, part))
	}
	for n := range data {
		refused(data[:n], "the first %d bytes", n)
	}
	refused(append(slices.Clone(data), 0), "a byte more")
	for i := range partialHeader { // any bit of the header counts
		for bit := range 8 {
			b := slices.Clone(data)
			b[i] ^= 1 << bit
			refused(b, "bit %d of byte %d", bit, i)
		}
	}
	sums := partialHeader + 4*4 // of the sinks
	span := partialHeader + 8*4
	for _, c := range []struct {
		what string
		at   int
		bits uint32
	}{
		{"a maximum that is no integer", partialHeader, math.Float32bits(1.5)}, {"a maximum of NaN", span + 8, 0x7fc00000}, {"a maximum of -0", span + 8, 1 << 31},
		{"a negative sum", sums, math.Float32bits(-1)}, {"a sum that is too large", span + 8 + 16, math.Float32bits(generic.SpanKeys + 1)},
		{"another NaN", span + 8 + 32, 0x7fc00001}, {"a mix of -0", span + 8 + 32, 1 << 31},
		{"a number twice", span + 8 + 32 + 32, 0}, {"a vast number", span + 4, 1 << 31},
	} {
		b := slices.Clone(data)
		for i := range 4 {
			b[c.at+i] = byte(c.bits >> (8 * i))
		}
		refused(b, "%s", c.what)
	}
	require.Error(t, (*Partial)(nil).UnmarshalBinary(data))
	_, err = (*Partial)(nil).MarshalBinary()
	require.Error(t, err)
	require.NoError(t, new(Partial).UnmarshalBinary(encoded(t, new(Partial))))
}

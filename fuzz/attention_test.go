package fuzz

import (
	"iter"
	"math"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func FuzzAttention(f *testing.F) {
	const tile = generic.TileKeys
	// Draws: batch - 1, KV heads - 1, group - 1, limit of keys (10, tile+44, 18*tile), keys, limit of Dim
	// (8, 40, 8192), Dim - 1, limit of VDim, VDim - 1, limit of queries (1, 10, 100), queries - 1,
	// 20 for no queries, causal, one-hot values, scale, distributions of q, k and v.
	for _, n := range []int{0, 1, 8, 15, 16, 17, tile/2 - 1, tile / 2, tile - 1, tile, tile + 1} {
		f.Add(seed(0, 0, 0, 1, n, 1, 15, 1, 15, 2, 19, 0, n%2, 0, 0, 0, 0, 0)) // panels
		f.Add(seed(0, 1, 0, 1, n, 1, 7, 1, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0))      // decoding, weights
		f.Add(seed(1, 0, 3, 1, n, 0, 4, 0, 2, 1, 1, 0, 1, 0, n%8, 4, 4, 0))    // eight rows of a group
		f.Add(seed(0, 0, 0, 1, n, 0, 0, 1, 20, 1, 3, 0, 1, 1, 5, 0, 0, 0))     // few keys have weight
	}
	for k := range 11 { // each distribution of q, and of k and v
		f.Add(seed(0, 0, 1, 1, 150, 0, 7, 0, 7, 1, 5, 0, k%2, 0, 0, k, 0, 0))
		f.Add(seed(0, 0, 1, 1, 150, 0, 7, 0, 7, 1, 5, 0, 1, 0, 0, 0, k, 10-k))
	}
	f.Add(seed(0, 0, 0, 2, 17*tile, 0, 3, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0))   // decoding split over workers
	f.Add(seed(0, 0, 1, 2, 8*tile+52, 0, 1, 0, 1, 1, 3, 0, 1, 0, 0, 0, 0, 0)) // the same with causal rows
	f.Add(seed(0, 0, 0, 0, 5, 0, 3, 0, 3, 2, 39, 0, 1, 0, 0, 0, 0, 0))        // causal, more queries than keys
	f.Add(seed(0, 0, 2, 1, tile+2, 0, 3, 0, 3, 2, 59, 0, 1, 0, 0, 0, 0, 0))   // causal panels at a tile edge
	f.Add(seed(0, 0, 0, 1, 40, 0, 0, 0, 0, 2, 89, 0, 1, 0, 0, 0, 0, 0))       // Dim 1
	f.Add(seed(0, 0, 0, 0, 3, 2, 8191, 2, 8191, 1, 1, 0, 0, 0, 0, 0, 0))      // the largest Dim
	f.Add(seed(1, 2, 3, 0, 9, 0, 3, 0, 3, 1, 2, 0, 1, 0, 0, 0, 0, 0))         // batch, heads and groups
	f.Add(seed(0, 0, 0, 1, 200, 0, 7, 0, 7, 0, 0, 20))                        // no queries
	f.Add(seed(0, 0, 0, 1, 200, 0, 7, 0, 7, 2, 19, 0, 1, 0, 6, 0, 0, 0))      // scores next to 0
	f.Add(seed(0, 0, 0, 2, 900, 0, 7, 0, 7, 1, 8, 0, 1, 0, 0, 0, 0, 10))      // tiny values
	f.Add(seed(0, 0, 0, 1, 200, 0, 7, 0, 7, 2, 19, 0, 1, 0, 7, 0, 0, 0))      // vast scores
	f.Fuzz(func(t *testing.T, data []byte) { newAttention(newSource(data)).check(t) })
}

// The bound says something about many of the inputs, not only of the seeds.
func TestBoundApplies(t *testing.T) {
	var applies, rows int
	for i := range trials(300) {
		a, r := newAttention(newSource([]byte{byte(i), byte(i >> 8), 1})).check(t)
		applies, rows = applies+a, rows+r
	}
	t.Logf("the bound applies to %d of %d rows", applies, rows)
	if applies < rows/4 {
		t.Fatalf("the bound applies to %d of %d rows, want a quarter or more", applies, rows)
	}
}

// attention is a call of kernel.Attention, and what to try with it.
type attention struct {
	dst, q, k, v kernel.Tensor
	opts         kernel.Options
	query        int     // one of the queries, if there are any
	hidden       float32 // what to put into keys and values that it does not see
}

func newAttention(s *source) *attention {
	// Multiply-adds, about a millisecond of the reference. What is drawn later gets what is left.
	work := 200_000
	spend := func(n int) int {
		work /= max(n, 1)
		return n
	}
	batch, kvHeads, group := spend(s.Int(1, 2)), spend(s.Int(1, 3)), spend(s.Int(1, 4))
	keys := spend(s.Size(0, work/2, 10, generic.TileKeys+44, 18*generic.TileKeys))
	dim := s.Size(1, work-1, 8, 40, 8192)
	vdim := s.Size(1, work-dim, 8, 40, 8192)
	spend(dim + vdim)
	queries := s.Size(1, work, 1, 10, 100)
	if s.Int(0, 20) == 20 {
		queries = 0
	}

	var a attention
	a.opts.Causal = s.Bool()
	oneHot := s.Bool()
	a.opts.Scale = [...]float32{0, 0, 1, -1, 10, 100, 0x1p-70, 0x1p60}[s.Int(0, 7)]
	kinds := [3]kind{s.Kind(), s.Kind(), s.Kind()}
	a.opts.Scale *= 1 + float32(s.Int(0, 999))/1000
	a.query = s.Int(0, max(0, queries-1))
	a.hidden = [...]float32{canary, float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32}[s.Int(0, 3)]

	a.q = newTensor(s, batch, kvHeads*group, queries, dim)
	a.k = newTensor(s, batch, kvHeads, keys, dim)
	a.v = newTensor(s, batch, kvHeads, keys, vdim)
	a.dst = newTensor(s, batch, kvHeads*group, queries, vdim)
	for i, x := range []kernel.Tensor{a.q, a.k, a.v} {
		for row := range rows(x) {
			for c := range row {
				row[c] = s.Float32(kinds[i])
			}
		}
	}
	if oneHot { // the outputs are sums of few weights, or single ones
		i := 0
		for row := range rows(a.v) {
			clear(row)
			row[i%vdim] = 1
			i++
		}
	}
	a.drawEdits(s)
	return &a
}

// drawEdits draws what is done to the scores: in a third of the inputs nothing.
func (a *attention) drawEdits(s *source) {
	which := s.Int(0, 23)
	if which >= 16 {
		which = 0
	}
	if which&1 != 0 {
		a.opts.SoftCap = [...]float32{0x1p-60, 0.5, 5, 50, 1e20}[s.Int(0, 4)]
	}
	if which&2 != 0 {
		for range a.q.Heads {
			a.opts.ALiBi = append(a.opts.ALiBi, s.Float32(normal))
		}
	}
	if which&8 != 0 || which == 7 {
		for range a.q.Heads {
			sink := [...]float32{0, 1, -1, 30, -30, 1e4, -1e30, float32(math.Inf(-1))}[s.Int(0, 7)]
			a.opts.Sinks = append(a.opts.Sinks, sink*(1+float32(s.Int(0, 999))/1000))
		}
	}
	if which&4 != 0 {
		b, n := &kernel.Bias{}, a.k.Len+s.Int(0, 3)
		for _, d := range []struct {
			stride *int
			size   int
		}{{&b.QueryStride, a.q.Len}, {&b.HeadStride, a.q.Heads}, {&b.BatchStride, a.q.Batch}} {
			if s.Int(0, 2) > 0 {
				*d.stride = n
				n *= max(1, d.size)
			}
		}
		b.Data = make([]float32, n)
		kind, hide := s.Kind(), s.Int(0, 4)
		for i := range b.Data {
			b.Data[i] = s.Float32(kind)
			if hide > 0 && s.Int(0, hide) == 0 {
				b.Data[i] = float32(math.Inf(-1))
			}
		}
		a.opts.Bias = b
	}
}

// edit returns the edit of query i.
func (a *attention) edit(b, h, i int) *generic.RowEdit {
	e := &generic.RowEdit{SoftCap: a.opts.SoftCap, Position: i + a.k.Len - a.q.Len}
	if a.opts.ALiBi != nil {
		e.Slope = a.opts.ALiBi[h]
	}
	if a.opts.Sinks != nil {
		e.Sink = &a.opts.Sinks[h]
	}
	if x := a.opts.Bias; x != nil {
		e.Bias = x.Data[b*x.BatchStride+h*x.HeadStride+i*x.QueryStride:][:a.k.Len]
	}
	return e
}

// newTensor draws a layout: the order of the dimensions, gaps and the alignment. All elements are canaries.
func newTensor(s *source, batch, heads, length, dim int) kernel.Tensor {
	x := kernel.Tensor{Batch: batch, Heads: heads, Len: length, Dim: dim}
	dims := [...]struct {
		size   int
		stride *int
	}{{length, &x.LenStride}, {heads, &x.HeadStride}, {batch, &x.BatchStride}}
	orders := [...][3]int{{0, 1, 2}, {1, 0, 2}, {0, 2, 1}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
	size := dim
	for _, d := range orders[s.Int(0, len(orders)-1)] {
		*dims[d].stride = size + s.Int(0, 9)
		size += max(0, dims[d].size-1) * *dims[d].stride
	}
	offset := s.Int(0, 15)
	if s.Int(0, 3) == 0 { // packed
		x.LenStride, x.HeadStride, x.BatchStride = 0, 0, 0
		size = batch * heads * length * dim
	}
	x.Data = canaries(offset + size)[offset:]
	return x
}

// strided returns x with the strides of a packed tensor filled in.
func strided(x kernel.Tensor) kernel.Tensor {
	if x.LenStride == 0 && x.HeadStride == 0 && x.BatchStride == 0 {
		x.LenStride, x.HeadStride, x.BatchStride = x.Dim, x.Len*x.Dim, x.Heads*x.Len*x.Dim
	}
	return x
}

// part returns the rows from first on, up to last, as a view.
func part(x kernel.Tensor, first, last int) kernel.Tensor {
	x = strided(x)
	if first < last {
		x.Data = x.Data[first*x.LenStride:]
	}
	x.Len = last - first
	return x
}

// fresh returns x over new memory that holds canaries only, clone over a copy of its memory.
func fresh(x kernel.Tensor) kernel.Tensor {
	x.Data = canaries(len(x.Data))
	return x
}

func clone(x kernel.Tensor) kernel.Tensor {
	x.Data = slices.Clone(x.Data)
	return x
}

// packed returns a copy of x without gaps.
func packed(x kernel.Tensor) kernel.Tensor {
	return kernel.Tensor{Data: flat(x), Batch: x.Batch, Heads: x.Heads, Len: x.Len, Dim: x.Dim}
}

// flat returns the elements of x in order.
func flat(x kernel.Tensor) (all []float32) {
	for row := range rows(x) {
		all = append(all, row...)
	}
	return all
}

func row(x kernel.Tensor, b, h, i int) []float32 {
	x = strided(x)
	return x.Data[b*x.BatchStride+h*x.HeadStride+i*x.LenStride:][:x.Dim]
}

func rows(x kernel.Tensor) iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		for b := range x.Batch {
			for h := range x.Heads {
				for i := range x.Len {
					if !yield(row(x, b, h, i)) {
						return
					}
				}
			}
		}
	}
}

// visible returns how many keys query i sees.
func (a *attention) visible(i int) int {
	if !a.opts.Causal {
		return a.k.Len
	}
	return min(max(i+a.k.Len-a.q.Len+1, 0), a.k.Len) // keys j <= i + Lk - Lq
}

// run calls kernel.Attention and returns dst.
func (a attention) run(t *testing.T, workers int) kernel.Tensor {
	t.Helper()
	a.opts.Workers = workers
	if err := kernel.Attention(a.dst, a.q, a.k, a.v, &a.opts); err != nil {
		t.Fatal(err)
	}
	return a.dst
}

// check returns the number of rows that the bound applies to, and of all that see a key.
func (a attention) check(t *testing.T) (applies, all int) {
	want := fresh(a.dst)
	applies, all = a.reference(t, want)
	for workers := 1; workers <= 4; workers++ {
		b := a
		b.dst = fresh(a.dst)
		sameMemory(t, want.Data, b.run(t, workers).Data, "%d workers", workers)
	}

	b := a
	b.dst, b.q, b.k, b.v = packed(a.dst), packed(a.q), packed(a.k), packed(a.v)
	asmtest.Equal(t, flat(want), b.run(t, 1).Data, "packed")
	if a.q.Dim == a.v.Dim {
		b = a
		b.q = clone(a.q)
		b.dst = b.q
		asmtest.Equal(t, flat(want), flat(b.run(t, 2)), "dst is q")
	}
	if a.q.Len > 0 {
		a.checkQuery(t, want)
		a.checkHidden(t, want)
		a.checkDecoding(t, want)
	}
	return applies, all
}

// reference computes every row by the contract, and holds it to what is true of exact attention.
func (a attention) reference(t *testing.T, dst kernel.Tensor) (applies, all int) {
	scale := a.opts.Scale
	if scale == 0 {
		scale = float32(1 / math.Sqrt(float64(a.q.Dim)))
	}
	group := a.q.Heads / a.k.Heads
	for b := range a.q.Batch {
		for h := range a.q.Heads {
			var keys, values [][]float32
			for j := range a.k.Len {
				keys = append(keys, row(a.k, b, h/group, j))
				values = append(values, row(a.v, b, h/group, j))
			}
			k, v := slices.Concat(keys...), slices.Concat(values...)
			for i := range a.q.Len {
				n := a.visible(i)
				q, out := row(a.q, b, h, i), row(dst, b, h, i)
				e := a.edit(b, h, i)
				e.AttentionRow(out, q, k, v, n, a.k.Dim, a.v.Dim, scale)
				if n > 0 {
					all++
				}
				if checkRow(t, out, q, keys[:n], values[:n], scale, e) {
					applies++
				}
			}
		}
	}
	return applies, all
}

// checkRow reports whether the bound applies.
func checkRow(t *testing.T, out, q []float32, k, v [][]float32, scale float32, e *generic.RowEdit) (applies bool) {
	t.Helper()
	n := len(k)
	keys, values, numbers := visible(k, v, e)
	if len(keys) == 0 {
		asmtest.Equal(t, make([]float32, len(out)), out, "a query that sees no key")
		return false
	}
	biased := func(j int) bool {
		return e.Bias != nil && (e.Bias[j] != e.Bias[j] || math.IsInf(float64(e.Bias[j]), 1))
	}
	if hasNaN(q) || slices.ContainsFunc(keys, hasNaN) || slices.ContainsFunc(numbers, biased) {
		for c, x := range out {
			if x == x {
				t.Fatalf("column %d is %g, of a query that sees a NaN among %d keys", c, x, n)
			}
		}
		return false
	}
	lo, hi := Hull(q, keys, values, scale)
	if e.Sink != nil { // a value of 0
		for c := range lo {
			lo[c], hi[c] = min(lo[c], 0), max(hi[c], 0)
		}
	}
	want, bound := EditedAttention(q, k, v, scale, e)
	edited := e.SoftCap != 0 || e.Slope != 0 || e.Bias != nil // scores may overflow of which Hull knows nothing
	for c, x := range out {
		if y := float64(x); !(edited && (len(keys) < n || math.IsInf(bound[c], 1))) && !math.IsInf(lo[c], -1) && !(lo[c] <= y && y <= hi[c]) {
			t.Fatalf("column %d over %d keys is %g, but the values are between %g and %g", c, n, x, lo[c], hi[c])
		}
		within(t, x, want[c], bound[c], "column %d over %d keys, Dim %d, scale %g", c, n, len(q), scale)
	}
	return !math.IsInf(bound[0], 1)
}

func hasNaN(x []float32) bool {
	return slices.ContainsFunc(x, func(v float32) bool { return v != v })
}

// A NaN in one query makes its own row NaN and changes no bit of another.
func (a attention) checkQuery(t *testing.T, want kernel.Tensor) {
	b, h := a.query%a.q.Batch, a.query%a.q.Heads
	want = clone(want)
	n := a.visible(a.query)
	if e := a.edit(b, h, a.query); n > 0 && (e.Bias == nil || slices.ContainsFunc(e.Bias[:n], func(x float32) bool { return !math.IsInf(float64(x), -1) })) {
		out := row(want, b, h, a.query)
		for c := range out {
			out[c] = float32(math.NaN())
		}
	}
	a.q = clone(a.q)
	row(a.q, b, h, a.query)[a.q.Dim-1] = float32(math.NaN())
	a.dst = fresh(a.dst)
	sameMemory(t, want.Data, a.run(t, 1).Data, "NaN in query %d of head %d", a.query, h)
}

// Keys and values that the queries up to one do not see may hold anything.
func (a attention) checkHidden(t *testing.T, want kernel.Tensor) {
	a.k, a.v = clone(a.k), clone(a.v)
	for _, x := range []kernel.Tensor{a.k, a.v} {
		for row := range rows(part(x, a.visible(a.query), x.Len)) {
			for c := range row {
				row[c] = a.hidden
			}
		}
	}
	a.dst = fresh(a.dst)
	seen := func(dst kernel.Tensor) []float32 { return flat(part(dst, 0, a.query+1)) }
	asmtest.Equal(t, seen(want), seen(a.run(t, 1)), "%g in what query %d does not see", a.hidden, a.query)
}

// A row of a prefill is the decoding of its query against the keys that it sees.
func (a attention) checkDecoding(t *testing.T, want kernel.Tensor) {
	n := a.visible(a.query)
	a.opts.Start = []int{a.query + a.k.Len - a.q.Len}
	if b := a.opts.Bias; b != nil {
		a.opts.Bias = &kernel.Bias{Data: b.Data[a.query*b.QueryStride:], BatchStride: b.BatchStride, HeadStride: b.HeadStride}
	}
	a.q, a.k, a.v = part(a.q, a.query, a.query+1), part(a.k, 0, n), part(a.v, 0, n)
	a.dst = part(fresh(a.dst), a.query, a.query+1)
	got := flat(a.run(t, 1))
	asmtest.Equal(t, flat(part(want, a.query, a.query+1)), got, "decoding query %d against %d keys", a.query, n)
}

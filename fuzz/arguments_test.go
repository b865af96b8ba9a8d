package fuzz

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// These targets draw arguments rather than values: sizes, strides and options that are huge, negative,
// wrap around or are missing, and operands that overlap. A plain model with sets of elements says
// which calls are legal. A legal call has the result of package generic, changes nothing else, and any
// other is refused and changes nothing at all. Memory that is not an argument may not even be read.

// A call is a function with drawn arguments.
type call struct {
	memory *memory
	legal  bool
	vast   bool         // too large for the model, by rows that are shared: only a fault is a failure
	run    func() error // an error, or a panic with a message, if the call is refused
	// expect changes the memory as the call should, up to within of each element and slack; without
	// them bits are compared.
	expect        func()
	within, slack float64
	args          []any // what to show of a call that fails
}

func (c call) String() string {
	var text []string
	for _, a := range c.args {
		switch a := a.(type) {
		case kernel.Tensor:
			text = append(text, fmt.Sprintf("{%p[:%d] %v}", a.Data, len(a.Data), [...]int{a.Batch, a.Heads, a.Len, a.Dim, a.BatchStride, a.HeadStride, a.LenStride}))
		case kernel.Matrix:
			text = append(text, fmt.Sprintf("{%p[:%d] %v}", a.Data, len(a.Data), [...]int{a.Rows, a.Cols, a.Stride}))
		case []float32:
			text = append(text, fmt.Sprintf("%p[:%d]", a, len(a)))
		default:
			text = append(text, fmt.Sprintf("%+v", a))
		}
	}
	return strings.Join(text, ", ")
}

// argumentTargets draw a call each.
var argumentTargets = []struct {
	name string
	draw func(t testing.TB, s *source) call
}{
	{"Attention", drawAttention},
	{"AttentionPartial", drawPartial},
	{"AttentionHalf", drawHalf},
	{"Cache", drawCache},
	{"AttentionWeights", drawWeights},
	{"MatMul", drawMatMul},
	{"SelfAttention", drawLayer},
	{"vectors", drawVectors},
	{"Rotary", drawRotary},
	{"norms", drawNorm},
	{"options", drawOptionsCall},
	{"AttentionGradient", drawGradient},
	{"generic", drawGeneric},
}

func FuzzAttentionArguments(f *testing.F) { fuzzArguments(f, drawAttention) }
func FuzzPartialArguments(f *testing.F)   { fuzzArguments(f, drawPartial) }
func FuzzHalfArguments(f *testing.F)      { fuzzArguments(f, drawHalf) }
func FuzzCacheArguments(f *testing.F)     { fuzzArguments(f, drawCache) }
func FuzzWeightsArguments(f *testing.F)   { fuzzArguments(f, drawWeights) }
func FuzzMatMulArguments(f *testing.F)    { fuzzArguments(f, drawMatMul) }
func FuzzLayerArguments(f *testing.F)     { fuzzArguments(f, drawLayer) }
func FuzzVectorArguments(f *testing.F)    { fuzzArguments(f, drawVectors) }
func FuzzRotaryArguments(f *testing.F)    { fuzzArguments(f, drawRotary) }
func FuzzNormArguments(f *testing.F)      { fuzzArguments(f, drawNorm) }
func FuzzGenericArguments(f *testing.F)   { fuzzArguments(f, drawGeneric) }

const argumentSeeds = 400

// trials is the number of random cases of a test: n, or with -short, for what is slow or has been seen by another way, a quarter.
func trials(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

func fuzzArguments(f *testing.F, draw func(t testing.TB, s *source) call) {
	for i := range trials(argumentSeeds) {
		f.Add([]byte{byte(i), byte(i >> 8)})
	}
	f.Fuzz(func(t *testing.T, data []byte) { draw(t, newSource(data)).check(t) })
}

// Of the seeds of each target, many are legal calls and many are not.
func TestArgumentSeeds(t *testing.T) {
	seeds := trials(argumentSeeds)
	for _, target := range argumentTargets {
		legal := 0
		for i := range seeds {
			t.Run(target.name, func(t *testing.T) { // and free the memory
				if target.draw(t, newSource([]byte{byte(i), byte(i >> 8)})).legal {
					legal++
				}
			})
		}
		t.Logf("%s: %d of %d calls are legal", target.name, legal, seeds)
		if legal < seeds/8 || legal > seeds*7/8 {
			t.Errorf("%s: %d of %d calls are legal, want more of both kinds", target.name, legal, seeds)
		}
	}
}

func (c call) check(t *testing.T) {
	t.Helper()
	before := c.memory.copy()
	if c.legal {
		c.expect()
	}
	want := c.memory.copy()
	c.memory.restore(before)
	watch := time.AfterFunc(time.Minute, func() { panic("the call has not ended after a minute") })
	err := refusal(c.run)
	watch.Stop()
	switch {
	case c.vast:
		return
	case c.legal && err != nil:
		t.Fatalf("a legal call is refused: %v: %v", err, c)
	case !c.legal && err == nil:
		t.Fatalf("a call that is not legal is not refused: %v", c)
	case err != nil && !strings.HasPrefix(err.Error(), "attn: "):
		t.Fatalf("refused by %q, want the prefix attn:", err)
	}
	for i, got := range c.memory.copy() {
		for j, x := range got {
			y := want[i][j]
			if math.Float32bits(x) == math.Float32bits(y) || x != x && y != y && !isCanary(y) {
				continue
			}
			if c.within+c.slack == 0 || !(math.Abs(float64(x)-float64(y)) <= c.within*math.Abs(float64(y))+c.slack) {
				t.Fatalf("element %d of operand %d was %g and is %g, want %g (legal: %v): %v", j, i, before[i][j], x, y, c.legal, c)
			}
		}
	}
}

// refusal returns the error of f, or its panic with a message. Any other panic is a fault.
func refusal(f func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case string:
			err = fmt.Errorf("%s", r)
		default:
			panic(r)
		}
	}()
	return f()
}

// A memory holds the operands of a call: slices of the first of its blocks, which may overlap, or a
// block of their own. Each lies between pages that must not be touched.
type memory struct {
	t      testing.TB
	s      *source
	blocks [][]float32
}

const sharedElements = 3000

func newMemory(t testing.TB, s *source) *memory {
	m := &memory{t: t, s: s}
	m.block(sharedElements)
	return m
}

// block returns n new elements that begin or end at a page that must not be touched.
func (m *memory) block(n int) []float32 {
	g := asmtest.NewGuarded(m.t, max(1, n))
	x := g.Tail(n)
	if m.s.Bool() {
		x = g.Head(n)
	}
	for i := range x {
		x[i] = float32(m.s.Int(-1000, 1000)) / 1000
	}
	m.blocks = append(m.blocks, x)
	return x
}

// operand returns n elements: most often of their own, else of the shared block if they fit.
func (m *memory) operand(n int) []float32 {
	if shared := m.blocks[0]; n <= len(shared) && m.s.Int(0, 3) == 0 {
		return shared[m.s.Int(0, len(shared)-n):][:n]
	}
	return m.block(n)
}

func (m *memory) copy() (all [][]float32) {
	for _, x := range m.blocks {
		all = append(all, slices.Clone(x))
	}
	return all
}

func (m *memory) restore(all [][]float32) {
	for i, x := range all {
		copy(m.blocks[i], x)
	}
}

// Wild draws a size, a stride or an index that nobody means.
func (s *source) Wild() int {
	const half = bits.UintSize / 2
	x := s.Int(1, 40)
	wild := [...]int{0, 0, 1, -1, x, x, -x, math.MinInt, math.MaxInt, math.MaxInt - x, math.MaxInt/2 + 1, math.MaxInt / x,
		math.MinInt / x, int(math.MaxUint/uint(x) + 1), 1 << half, 1<<half + x, 1<<(half-1) + 1, math.MaxInt32, 8192, 8193}
	return wild[s.Int(0, len(wild)-1)]
}

// spoil draws up to three of the changes and makes them; most often few or none.
func (s *source) spoil(changes ...func()) {
	for range [...]int{0, 0, 1, 1, 1, 2, 3}[s.Int(0, 6)] {
		changes[s.Int(0, len(changes)-1)]()
	}
}

// change returns what makes the field something wild, or a little else.
func (s *source) change(field *int) func() {
	return func() {
		if *field = *field + s.Int(-1, 1); s.Bool() {
			*field = s.Wild()
		}
	}
}

// changeData returns what makes the data of an operand missing, shorter, longer, or those of another.
func (m *memory) changeData(data *[]float32, others ...*[]float32) func() {
	return func() {
		switch x := *data; m.s.Int(0, 4) {
		case 0:
			*data = nil
		case 1:
			*data = x[:max(0, len(x)-m.s.Int(1, 9))]
		case 2:
			*data = m.block(len(x) + m.s.Int(1, 99))
		case 3:
			*data = x[min(len(x), m.s.Int(1, 9)):]
		case 4:
			*data = *others[m.s.Int(0, len(others)-1)]
		}
	}
}

// product returns the product of sizes, unless one is negative or it is more than any operand holds.
func product(sizes ...int) (int, bool) {
	p := big.NewInt(1)
	for _, x := range sizes {
		if x < 0 {
			return 0, false
		}
		p.Mul(p, big.NewInt(int64(x)))
	}
	return int(p.Int64()), p.IsInt64() && p.Int64() <= 1<<20
}

// newOperand draws a tensor of some layout, most often one that is legal.
func (m *memory) newOperand(batch, heads, length, dim int, written bool) kernel.Tensor {
	x := newTensor(m.s, batch, heads, length, dim)
	n := batch * heads * length * dim // of a packed one
	if x.BatchStride|x.HeadStride|x.LenStride != 0 {
		n = (batch-1)*x.BatchStride + (heads-1)*x.HeadStride + max(0, length-1)*x.LenStride + dim + m.s.Int(0, 3)
		if !written && m.s.Int(0, 3) == 0 {
			x.BatchStride = 0
		}
		if !written && m.s.Int(0, 3) == 0 {
			x.HeadStride = 0
		}
	}
	x.Data = m.operand(n)
	if batch == 1 && m.s.Bool() {
		x.Batch = 0
	}
	if heads == 1 && m.s.Bool() {
		x.Heads = 0
	}
	return x
}

// resolved is the model of a legal tensor: its rows in order, or false if it is not legal.
func resolved(x kernel.Tensor, written bool) (_ kernel.Tensor, rows [][]float32, ok bool) {
	if min(x.Batch, x.Heads, x.Len, x.Dim, x.BatchStride, x.HeadStride, x.LenStride) < 0 {
		return x, nil, false
	}
	x.Batch, x.Heads = max(1, x.Batch), max(1, x.Heads)
	if x.Dim > 8192 || x.Dim == 0 && x.Len > 0 {
		return x, nil, false
	}
	n, small := product(x.Batch, x.Heads, x.Len, x.Dim)
	if x.Len == 0 {
		n, small = 0, true
	}
	if !small {
		return x, nil, false // no dst has as many rows
	}
	packed := x.BatchStride == 0 && x.HeadStride == 0 && x.LenStride == 0
	if packed && len(x.Data) != n {
		return x, nil, false
	}
	if x.Len == 0 {
		return x, nil, true
	}
	x = strided(x)
	if x.Len > 1 && x.LenStride == 0 {
		return x, nil, false
	}
	if written && (x.Batch > 1 && x.BatchStride == 0 || x.Heads > 1 && x.HeadStride == 0) {
		return x, nil, false
	}
	seen := map[int]bool{} // elements, but of rows that are shared by a stride of 0
	for b := range x.Batch {
		for h := range x.Heads {
			for i := range x.Len {
				at := new(big.Int)
				for _, s := range [][2]int{{b, x.BatchStride}, {h, x.HeadStride}, {i, x.LenStride}} {
					at.Add(at, new(big.Int).Mul(big.NewInt(int64(s[0])), big.NewInt(int64(s[1]))))
				}
				if !at.IsInt64() || at.Int64() > int64(len(x.Data)-x.Dim) {
					return x, nil, false
				}
				row := x.Data[at.Int64():][:x.Dim]
				rows = append(rows, row)
				if b > 0 && x.BatchStride == 0 || h > 0 && x.HeadStride == 0 {
					continue
				}
				for c := range row {
					if seen[int(at.Int64())+c] {
						return x, nil, false
					}
					seen[int(at.Int64())+c] = true
				}
			}
		}
	}
	return x, rows, true
}

// apart reports whether no element is of one of dst and of one of the others.
func apart(dst [][]float32, others ...[][]float32) bool {
	seen := map[*float32]bool{}
	for _, row := range dst {
		for i := range row {
			seen[&row[i]] = true
		}
	}
	for _, other := range others {
		for _, row := range other {
			for i := range row {
				if seen[&row[i]] {
					return false
				}
			}
		}
	}
	return true
}

// sameRows reports whether x and y are the same view.
func sameRows(x, y [][]float32) bool {
	return slices.EqualFunc(x, y, func(a, b []float32) bool { return len(a) == len(b) && &a[0] == &b[0] })
}

func drawOptions(s *source) kernel.Options {
	return kernel.Options{Causal: s.Bool(), Scale: [...]float32{0, 0, 1, -1}[s.Int(0, 3)], Workers: s.Int(0, 3)}
}

func (s *source) changeScale(scale *float32) func() {
	return func() {
		*scale = [...]float32{2.3e38, 2.4e38, -2.4e38, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}[s.Int(0, 5)]
	}
}

func legalOptions(o kernel.Options) bool {
	c := float64(o.Scale) * math.Log2E
	return o.Workers >= 0 && math.Abs(c) <= math.MaxFloat32
}

func drawAttention(t testing.TB, s *source) call {
	m := newMemory(t, s)
	batch, kvHeads, group := s.Int(1, 3), s.Int(1, 3), s.Int(1, 3)
	queries, keys, dim, vdim := s.Size(0, 40, 3, 40), s.Size(0, 300, 9, 40, 300), s.Size(1, 40, 9, 40), s.Size(1, 40, 9, 40)
	if s.Bool() {
		vdim = dim
	}
	q, k, v := m.newOperand(batch, kvHeads*group, queries, dim, false), m.newOperand(batch, kvHeads, keys, dim, false), m.newOperand(batch, kvHeads, keys, vdim, false)
	dst := m.newOperand(batch, kvHeads*group, queries, vdim, true)
	if s.Int(0, 5) == 0 {
		dst = q
	}
	if s.Int(0, 3) == 0 { // [Batch][Len][3][Heads][Dim], with the result in place of q
		heads, n := kvHeads*group, max(1, min(queries, 12))
		data := m.block(batch * n * 3 * heads * dim)
		part := func(i int) kernel.Tensor {
			x := kernel.Tensor{Data: data[i*heads*dim:], Batch: batch, Heads: heads, Len: n, Dim: dim}
			x.HeadStride, x.LenStride, x.BatchStride = dim, 3*heads*dim, n*3*heads*dim
			return x
		}
		dst, q, k, v = part(0), part(0), part(1), part(2)
	}
	o := drawOptions(s)
	opts := &o
	changes := []func(){s.change(&o.Workers), s.changeScale(&o.Scale), func() { opts = nil }}
	all := [...]*kernel.Tensor{&dst, &q, &k, &v}
	for i, x := range all {
		for _, f := range [...]*int{&x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride} {
			changes = append(changes, s.change(f))
		}
		changes = append(changes, m.changeData(&x.Data, &all[(i+1)%4].Data, &all[(i+2)%4].Data))
	}
	s.spoil(changes...)
	if opts == nil {
		o = kernel.Options{}
	}

	c := call{memory: m, run: func() error { return kernel.Attention(dst, q, k, v, opts) }, args: []any{dst, q, k, v, o}}
	q1, qRows, ok1 := resolved(q, false)
	k1, kRows, ok2 := resolved(k, false)
	v1, vRows, ok3 := resolved(v, false)
	dst1, dstRows, ok4 := resolved(dst, true)
	c.legal = ok1 && ok2 && ok3 && ok4 && legalOptions(o) && fits(q1, k1) &&
		v1.Batch == q1.Batch && v1.Heads == k1.Heads && v1.Len == k1.Len &&
		dst1.Batch == q1.Batch && dst1.Heads == q1.Heads && dst1.Len == q1.Len && dst1.Dim == v1.Dim &&
		apart(dstRows, kRows, vRows) && (apart(dstRows, qRows) || sameRows(dstRows, qRows))
	c.expect = func() { attentionRows{qRows, kRows, vRows, dstRows}.attend(q1, k1, &o) }
	return c
}

// attentionRows are the rows of resolved operands.
type attentionRows struct{ q, k, v, dst [][]float32 }

// attend sets dst, which may be q, to the attention of resolved queries to keys.
func (x attentionRows) attend(q, k kernel.Tensor, o *kernel.Options) {
	var results [][]float32
	forRows(q, k, func(n, first, seen int) {
		out := make([]float32, len(x.dst[n]))
		attend(out, x.q[n], x.k, x.v, first, seen, o.Scale)
		results = append(results, out)
	}, o.Causal)
	for i, out := range results {
		copy(x.dst[i], out)
	}
}

// changeTensor returns what changes the fields of an operand.
func (s *source) changeTensor(fields ...*int) (changes []func()) {
	for _, f := range fields {
		changes = append(changes, s.change(f))
	}
	return changes
}

// drawCache appends tokens to a sequence of a cache, and reads them.
func drawCache(t testing.TB, s *source) call {
	m := newMemory(t, s)
	kvHeads, group, queries, keys, dim, vdim := s.Int(1, 3), s.Int(1, 3), s.Size(0, 40, 3, 40), s.Size(0, 300, 9, 300), s.Size(1, 40, 9, 40), s.Size(1, 40, 9, 40)
	q, k, v := m.newOperand(1, kvHeads*group, queries, dim, false), m.newOperand(1, kvHeads, keys, dim, false), m.newOperand(1, kvHeads, keys, vdim, false)
	dst := m.newOperand(1, kvHeads*group, queries, vdim, true)
	o := drawOptions(s)
	config := kernel.CacheConfig{KVHeads: kvHeads, Dim: dim, VDim: vdim, Tokens: 1 << 10, PageTokens: []int{0, 16, 256}[s.Int(0, 2)]}
	all := [...]*kernel.Tensor{&dst, &q, &k, &v}
	changes := []func(){s.change(&o.Workers), s.changeScale(&o.Scale), s.change(&config.PageTokens)}
	for i, x := range all {
		changes = append(changes, s.changeTensor(&x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride)...)
		changes = append(changes, m.changeData(&x.Data, &all[(i+1)%4].Data, &all[(i+2)%4].Data))
	}
	s.spoil(changes...)
	c := call{memory: m, args: []any{config, dst, q, k, v, o}, run: func() error {
		cache, err := kernel.NewCache(config)
		if err != nil {
			return err
		}
		sequence := cache.NewSequence()
		if err := sequence.Append(k, v); err != nil {
			return err
		}
		return cache.Attention(dst, q, []*kernel.Sequence{sequence}, &o)
	}}
	q1, qRows, ok1 := resolved(q, false)
	k1, kRows, ok2 := resolved(k, false)
	v1, vRows, ok3 := resolved(v, false)
	dst1, dstRows, ok4 := resolved(dst, true)
	page := config.PageTokens
	if page == 0 {
		page = 64
	}
	rows := func(x kernel.Tensor, dim int) bool {
		return x.Len == 0 || x.Batch == 1 && x.Heads == kvHeads && x.Dim == dim
	}
	c.legal = (page == 16 || page == 32 || page == 64 || page == 128 || page > 0 && page%256 == 0) && page <= config.Tokens &&
		ok1 && ok2 && ok3 && ok4 && legalOptions(o) && rows(k1, dim) && rows(v1, vdim) && k1.Len == v1.Len && k1.Len <= config.Tokens/max(1, page)*page &&
		q1.Batch == 1 && (q1.Len == 0 && dst1.Len == 0 || q1.Heads%kvHeads == 0 && q1.Dim == dim &&
		dst1.Batch == 1 && dst1.Heads == q1.Heads && dst1.Len == q1.Len && dst1.Dim == vdim) &&
		(apart(dstRows, qRows) || sameRows(dstRows, qRows))
	c.expect = func() {
		k1.Batch, k1.Heads = 1, kvHeads
		var results [][]float32
		if q1.Len > 0 {
			forRows(q1, k1, func(n, first, seen int) {
				out := make([]float32, vdim)
				attend(out, qRows[n], kRows, vRows, first, seen, o.Scale)
				results = append(results, out)
			}, o.Causal)
		}
		for i, out := range results {
			copy(dstRows[i], out)
		}
	}
	return c
}

// halves returns a tensor of 16 bits with the shape of x, in memory of its own.
func (m *memory) halves(x kernel.Tensor, typ kernel.Type) kernel.HalfTensor {
	block := m.block((len(x.Data) + 1) / 2)
	h := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(block))), 2*len(block))[:len(x.Data)]
	kernel.ToFloat16(h, x.Data) // whatever the type: some bits
	return kernel.HalfTensor{Type: typ, Data: h, Batch: x.Batch, Heads: x.Heads, Len: x.Len, Dim: x.Dim,
		BatchStride: x.BatchStride, HeadStride: x.HeadStride, LenStride: x.LenStride}
}

func drawHalf(t testing.TB, s *source) call {
	m := newMemory(t, s)
	batch, kvHeads, group := s.Int(1, 3), s.Int(1, 3), s.Int(1, 3)
	queries, keys, dim, vdim := s.Size(0, 40, 3, 40), s.Size(0, 300, 9, 300), s.Size(1, 40, 9, 40), s.Size(1, 40, 9, 40)
	q, dst := m.newOperand(batch, kvHeads*group, queries, dim, false), m.newOperand(batch, kvHeads*group, queries, vdim, true)
	types := [...]kernel.Type{kernel.Float16, kernel.BFloat16}
	k := m.halves(m.newOperand(batch, kvHeads, keys, dim, false), types[s.Int(0, 1)])
	v := m.halves(m.newOperand(batch, kvHeads, keys, vdim, false), types[s.Int(0, 1)])
	o := drawOptions(s)
	changes := []func(){s.change(&o.Workers), s.changeScale(&o.Scale), m.changeData(&q.Data, &dst.Data), m.changeData(&dst.Data, &q.Data)}
	for _, x := range [...]*kernel.Tensor{&dst, &q} {
		changes = append(changes, s.changeTensor(&x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride)...)
	}
	for _, x := range [...]*kernel.HalfTensor{&k, &v} {
		changes = append(changes, s.changeTensor((*int)(&x.Type), &x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride)...)
		changes = append(changes, func() { x.Data = x.Data[min(len(x.Data), s.Int(0, 9)):] }, func() { x.Data = nil })
	}
	s.spoil(changes...)
	c := call{memory: m, args: []any{dst, q, k, v, o}, run: func() error { return kernel.AttentionHalf(dst, q, k, v, &o) }}
	q1, qRows, ok1 := resolved(q, false)
	k1, kRows, ok2 := resolved(widened(k))
	v1, vRows, ok3 := resolved(widened(v))
	dst1, dstRows, ok4 := resolved(dst, true)
	c.legal = slices.Contains(types[:], k.Type) && slices.Contains(types[:], v.Type) && ok1 && ok2 && ok3 && ok4 && legalOptions(o) && fits(q1, k1) &&
		v1.Batch == q1.Batch && v1.Heads == k1.Heads && v1.Len == k1.Len &&
		dst1.Batch == q1.Batch && dst1.Heads == q1.Heads && dst1.Len == q1.Len && dst1.Dim == v1.Dim &&
		(apart(dstRows, qRows) || sameRows(dstRows, qRows))
	c.expect = func() { attentionRows{qRows, kRows, vRows, dstRows}.attend(q1, k1, &o) }
	return c
}

// widened returns h with elements of 32 bits, as arguments of resolved.
func widened(h kernel.HalfTensor) (x kernel.Tensor, written bool) {
	x = kernel.Tensor{Data: make([]float32, len(h.Data)), Batch: h.Batch, Heads: h.Heads, Len: h.Len, Dim: h.Dim,
		BatchStride: h.BatchStride, HeadStride: h.HeadStride, LenStride: h.LenStride}
	if h.Type == kernel.BFloat16 {
		kernel.FromBFloat16(x.Data, h.Data)
	} else {
		kernel.FromFloat16(x.Data, h.Data)
	}
	return x, false
}

// fits reports whether queries and keys fit together.
func fits(q, k kernel.Tensor) bool {
	return k.Batch == q.Batch && q.Heads%k.Heads == 0 && k.Dim == q.Dim
}

// forRows calls f for each query, the index of its first key and the number of keys that it sees.
func forRows(q, k kernel.Tensor, f func(n, first, seen int), causal bool) {
	a := attention{q: q, k: k, opts: kernel.Options{Causal: causal}}
	for b := range q.Batch {
		for h := range q.Heads {
			for i := range q.Len {
				f((b*q.Heads+h)*q.Len+i, (b*k.Heads+h/(q.Heads/k.Heads))*k.Len, a.visible(i))
			}
		}
	}
}

// attend is the attention of a query to rows from first on.
func attend(out, q []float32, k, v [][]float32, first, seen int, scale float32) {
	if scale == 0 {
		scale = float32(1 / math.Sqrt(float64(len(q))))
	}
	keys, values := slices.Concat(k[first:first+seen]...), slices.Concat(v[first:first+seen]...)
	generic.AttentionRow(out, q, keys, values, seen, len(q), len(out), scale)
}

// newOperandMatrix draws a matrix.
func (m *memory) newMatrix(rows, cols int) kernel.Matrix {
	x := kernel.Matrix{Rows: rows, Cols: cols, Stride: cols + max(0, m.s.Int(-5, 5))}
	if n := max(0, rows-1)*x.Stride + cols + max(0, m.s.Int(-5, 5)); rows > 0 && cols > 0 {
		x.Data = m.operand(n)
	}
	return x
}

func (s *source) changeMatrix(m *memory, x *kernel.Matrix, others ...*[]float32) []func() {
	return []func(){s.change(&x.Rows), s.change(&x.Cols), s.change(&x.Stride), m.changeData(&x.Data, others...)}
}

// matrixRows is the model of a legal matrix.
func matrixRows(x kernel.Matrix) (rows [][]float32, ok bool) {
	if x.Rows < 0 || x.Cols < 0 {
		return nil, false
	}
	if x.Rows == 0 || x.Cols == 0 {
		return nil, true
	}
	if x.Stride < x.Cols {
		return nil, false
	}
	for i := range x.Rows {
		at := new(big.Int).Mul(big.NewInt(int64(i)), big.NewInt(int64(x.Stride)))
		if !at.IsInt64() || at.Int64() > int64(len(x.Data)-x.Cols) {
			return nil, false
		}
		rows = append(rows, x.Data[at.Int64():][:x.Cols])
	}
	return rows, true
}

// drawPartial draws a call of AttentionPartial for all keys, of which firstKey is the first, and of Finish.
func drawPartial(t testing.TB, s *source) call {
	m := newMemory(t, s)
	batch, kvHeads, group := s.Int(1, 3), s.Int(1, 3), s.Int(1, 3)
	queries, keys, dim, vdim := s.Size(0, 40, 3, 40), s.Size(0, 300, 9, 40, 300), s.Size(1, 40, 9, 40), s.Size(1, 40, 9, 40)
	q, k, v := m.newOperand(batch, kvHeads*group, queries, dim, false), m.newOperand(batch, kvHeads, keys, dim, false), m.newOperand(batch, kvHeads, keys, vdim, false)
	dst := m.newOperand(batch, kvHeads*group, queries, vdim, true)
	var lse []float32
	if s.Bool() {
		lse = m.operand(batch * kvHeads * group * queries)
	}
	first := s.Int(0, 3) * generic.SpanKeys
	o := drawOptions(s)
	o.Start = []int{first + keys - queries}
	if s.Bool() {
		for range kvHeads * group {
			o.Sinks = append(o.Sinks, float32(s.Int(-40, 40))/8)
		}
	}
	if s.Int(0, 5) == 0 {
		o.Causal, o.Start, first = false, nil, 0
	}
	changes := []func(){s.change(&o.Workers), s.changeScale(&o.Scale), s.change(&first), m.changeData(&lse, &q.Data, &dst.Data),
		func() { o.Start = nil }, func() { o.LSE = make([]float32, s.Int(0, 40)) }, func() { o.Sinks = make([]float32, s.Int(0, 9)) }, func() { o.QueryOffsets = []int{0, queries} }}
	all := [...]*kernel.Tensor{&dst, &q, &k, &v}
	for i, x := range all {
		for _, f := range [...]*int{&x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride} {
			changes = append(changes, s.change(f))
		}
		changes = append(changes, m.changeData(&x.Data, &all[(i+1)%4].Data, &all[(i+2)%4].Data))
	}
	s.spoil(changes...)

	c := call{memory: m, args: []any{dst, q, k, v, first, lse, o}, run: func() error {
		if _, small := product(max(1, q.Batch), max(1, q.Heads), q.Len, v.Dim); !small && min(q.Batch, q.Heads, q.Len, v.Dim) >= 0 {
			return errors.New("attn: by shared rows it may be as large as there is memory")
		}
		var p kernel.Partial
		if err := kernel.AttentionPartial(&p, q, k, v, first, &o); err != nil {
			return err
		}
		return p.Finish(dst, lse)
	}}
	q1, qRows, ok1 := resolved(q, false)
	k1, kRows, ok2 := resolved(k, false)
	v1, vRows, ok3 := resolved(v, false)
	dst1, dstRows, ok4 := resolved(dst, true)
	c.legal = ok1 && ok2 && ok3 && ok4 && legalOptions(o) && fits(q1, k1) &&
		v1.Batch == q1.Batch && v1.Heads == k1.Heads && v1.Len == k1.Len &&
		dst1.Batch == q1.Batch && dst1.Heads == q1.Heads && dst1.Len == q1.Len && dst1.Dim == v1.Dim && v1.Dim > 0 &&
		first >= 0 && first%generic.SpanKeys == 0 && first <= math.MaxInt-k1.Len && (o.Start != nil || first == 0 && !o.Causal) &&
		o.LSE == nil && o.QueryOffsets == nil && (o.Sinks == nil || len(o.Sinks) == q1.Heads) &&
		(lse == nil || len(lse) == len(dstRows) && apart(dstRows, [][]float32{lse}))
	if !c.legal {
		return c
	}
	// The operands may share memory: q, k and v have been read when dst and lse are written.
	c.expect = func() {
		var results [][]float32
		scale, sums := o.Scale, make([]float32, len(dstRows))
		if scale == 0 {
			scale = float32(1 / math.Sqrt(float64(q1.Dim)))
		}
		for b := range q1.Batch {
			for h := range q1.Heads {
				for i := range q1.Len {
					seen := k1.Len
					if o.Causal {
						seen = max(0, min(seen, o.Start[0]-first+i+1))
					}
					out, e, at := make([]float32, dst1.Dim), new(generic.RowEdit), (b*k1.Heads+h/(q1.Heads/k1.Heads))*k1.Len
					if o.Sinks != nil {
						e.Sink = &o.Sinks[h]
					}
					e.AttentionRow(out, qRows[(b*q1.Heads+h)*q1.Len+i], slices.Concat(kRows[at:][:seen]...), slices.Concat(vRows[at:][:seen]...), seen, q1.Dim, dst1.Dim, scale)
					results = append(results, out)
				}
			}
		}
		whole := o
		whole.LSE, whole.Start = sums, nil
		if o.Start != nil {
			whole.Start = []int{o.Start[0] - first}
		}
		if err := kernel.Attention(kernel.Tensor{Data: make([]float32, len(dstRows)*dst1.Dim), Batch: q1.Batch, Heads: q1.Heads, Len: q1.Len, Dim: dst1.Dim}, q, k, v, &whole); err != nil {
			t.Fatal(err)
		}
		for i, out := range results {
			copy(dstRows[i], out)
		}
		copy(lse, sums)
	}
	return c
}

func drawWeights(t testing.TB, s *source) call {
	m := newMemory(t, s)
	batch, kvHeads, group := s.Int(1, 3), s.Int(1, 3), s.Int(1, 3)
	n, keys, dim := s.Int(1, 9), s.Size(0, 300, 9, 40, 300), s.Size(1, 40, 9, 40)
	q, k := m.newOperand(batch, kvHeads*group, n, dim, false), m.newOperand(batch, kvHeads, keys, dim, false)
	var queries []int
	for range s.Int(0, 3) {
		queries = append(queries, s.Int(0, n-1))
	}
	dst := m.newMatrix(len(queries), keys)
	b, h := s.Int(0, batch-1), s.Int(0, kvHeads*group-1)
	o := drawOptions(s)
	opts := &o
	changes := []func(){s.change(&o.Workers), s.changeScale(&o.Scale), func() { opts = nil }, s.change(&b), s.change(&h)}
	for i := range queries {
		changes = append(changes, s.change(&queries[i]))
	}
	for _, x := range [...]*kernel.Tensor{&q, &k} {
		for _, f := range [...]*int{&x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride} {
			changes = append(changes, s.change(f))
		}
		changes = append(changes, m.changeData(&x.Data, &dst.Data, &q.Data, &k.Data))
	}
	s.spoil(append(changes, s.changeMatrix(m, &dst, &q.Data, &k.Data)...)...)
	if opts == nil {
		o = kernel.Options{}
	}

	// The weights are the attention to values that are the rows of the identity.
	c := call{memory: m, within: 0x1p-20, slack: 0x1p-120, run: func() error { return kernel.AttentionWeights(dst, q, k, b, h, queries, opts) },
		args: []any{dst, q, k, b, h, queries, o}}
	q1, qRows, ok1 := resolved(q, false)
	k1, kRows, ok2 := resolved(k, false)
	dstRows, ok3 := matrixRows(dst)
	for _, x := range [...]kernel.Tensor{q1, k1} {
		_, small := product(x.Batch, x.Heads, x.Len, x.Dim)
		c.vast = c.vast || !small && min(x.Batch, x.Heads, x.Len) > 0
	}
	c.legal = ok1 && ok2 && ok3 && legalOptions(o) && fits(q1, k1) && 0 <= b && b < q1.Batch && 0 <= h && h < q1.Heads &&
		dst.Rows == len(queries) && dst.Cols == k1.Len && apart(dstRows, qRows, kRows) &&
		!slices.ContainsFunc(queries, func(i int) bool { return i < 0 || i >= q1.Len })
	c.expect = func() {
		identity := make([][]float32, len(kRows))
		for i := range identity {
			identity[i] = make([]float32, k1.Len)
			identity[i][i%k1.Len] = 1
		}
		forRows(q1, k1, func(n, first, seen int) {
			for i, row := range dstRows {
				if n == (b*q1.Heads+h)*q1.Len+queries[i] {
					attend(row, qRows[n], kRows, identity, first, seen, o.Scale)
					clear(row[seen:]) // also of a row that is NaN
				}
			}
		}, o.Causal)
	}
	return c
}

func drawMatMul(t testing.TB, s *source) call {
	m := newMemory(t, s)
	rows, inner, cols := s.Size(0, 40, 9, 40), s.Size(0, 40, 9, 40), s.Size(0, 40, 9, 40)
	c, a, b := m.newMatrix(rows, cols), m.newMatrix(rows, inner), m.newMatrix(inner, cols)
	if s.Int(0, 3) == 0 && rows > 0 { // beside each other
		data := m.block(rows * (inner + cols))
		a, c = kernel.Matrix{Rows: rows, Cols: inner, Stride: inner + cols, Data: data}, kernel.Matrix{Rows: rows, Cols: cols, Stride: inner + cols, Data: data[inner:]}
	}
	o := kernel.MatMulOptions{Workers: s.Int(0, 3)}
	opts := &o
	changes := []func(){s.change(&o.Workers), func() { opts = nil }}
	changes = append(changes, s.changeMatrix(m, &c, &a.Data, &b.Data)...)
	changes = append(changes, s.changeMatrix(m, &a, &c.Data, &b.Data)...)
	s.spoil(append(changes, s.changeMatrix(m, &b, &c.Data, &a.Data)...)...)
	if opts == nil {
		o = kernel.MatMulOptions{}
	}

	cRows, ok1 := matrixRows(c)
	aRows, ok2 := matrixRows(a)
	bRows, ok3 := matrixRows(b)
	return call{
		memory: m,
		legal: ok1 && ok2 && ok3 && o.Workers >= 0 && c.Rows == a.Rows && c.Cols == b.Cols && a.Cols == b.Rows &&
			apart(cRows, aRows, bRows),
		run:  func() error { return kernel.MatMul(c, a, b, opts) },
		args: []any{c, a, b, o},
		expect: func() {
			for i, row := range cRows {
				var x []float32
				if a.Cols > 0 {
					x = aRows[i]
				}
				copy(row, biased(x, bRows, nil, len(row)))
			}
		},
	}
}

// biased is a row of a product: each element a chain that starts from the bias.
func biased(x []float32, w [][]float32, bias []float32, n int) []float32 {
	y := make([]float32, n)
	copy(y, bias)
	for p, v := range x {
		for j := range y {
			y[j] = generic.FMA(v, w[p][j], y[j])
		}
	}
	return y
}

func drawLayer(t testing.TB, s *source) call {
	m := newMemory(t, s)
	tokens, dim, kvHeads, group, d, e, out := s.Size(0, 30, 3, 30), s.Int(1, 9), s.Int(1, 3), s.Int(1, 3), s.Int(1, 9), s.Int(1, 9), s.Int(1, 9)
	l := &kernel.SelfAttention{Heads: kvHeads * group, KVHeads: kvHeads}
	l.WQ, l.WK, l.WV = m.newMatrix(dim, kvHeads*group*d), m.newMatrix(dim, kvHeads*d), m.newMatrix(dim, kvHeads*e)
	if s.Bool() {
		l.WO = m.newMatrix(kvHeads*group*e, out)
	} else {
		out = kvHeads * group * e
	}
	for _, p := range []struct {
		w *kernel.Matrix
		b *[]float32
	}{{&l.WQ, &l.BQ}, {&l.WK, &l.BK}, {&l.WV, &l.BV}, {&l.WO, &l.BO}} {
		if s.Bool() && len(p.w.Data) > 0 {
			*p.b = m.operand(p.w.Cols)
		}
	}
	x, dst := m.newMatrix(tokens, dim), m.newMatrix(tokens, out)
	o := drawOptions(s)
	opts := &o
	changes := []func(){s.change(&o.Workers), s.changeScale(&o.Scale), func() { opts = nil }, s.change(&l.Heads), s.change(&l.KVHeads)}
	for _, w := range [...]*kernel.Matrix{&l.WQ, &l.WK, &l.WV, &l.WO, &x, &dst} {
		changes = append(changes, s.changeMatrix(m, w, &dst.Data, &x.Data)...)
	}
	for _, b := range [...]*[]float32{&l.BQ, &l.BK, &l.BV, &l.BO} {
		changes = append(changes, m.changeData(b, &dst.Data, &x.Data))
	}
	s.spoil(changes...)
	if opts == nil {
		o = kernel.Options{}
	}

	packed := s.Bool()
	run := func() error {
		l := *l
		if packed {
			if err := l.Pack(nil); err != nil {
				return err
			}
		}
		return l.Forward(dst, x, opts)
	}
	c := call{memory: m, run: run, args: []any{dst, x, l.Heads, l.KVHeads, l.WQ, l.WK, l.WV, l.WO, l.BQ, l.BK, l.BV, l.BO, o, packed}}
	heads, kv := l.Heads, l.KVHeads
	if heads == 0 {
		heads = 1
	}
	if kv == 0 {
		kv = heads
	}
	if heads < 0 || kv < 0 || heads%kv != 0 || !legalOptions(o) {
		return c
	}
	read := [][][]float32{{l.BQ, l.BK, l.BV, l.BO}}
	weights := func(w kernel.Matrix, bias []float32, rows int) ([][]float32, bool) {
		r, ok := matrixRows(w)
		if !packed {
			read = append(read, r)
		}
		return r, ok && w.Rows == rows && (bias == nil || len(bias) == w.Cols)
	}
	project := func(w kernel.Matrix, bias []float32, heads int) ([][]float32, bool) {
		r, ok := weights(w, bias, x.Cols)
		return r, ok && w.Cols > 0 && w.Cols%heads == 0 && w.Cols/heads <= 8192
	}
	xRows, ok1 := matrixRows(x)
	read = append(read, xRows)
	wq, ok2 := project(l.WQ, l.BQ, heads)
	wk, ok3 := project(l.WK, l.BK, kv)
	wv, ok4 := project(l.WV, l.BV, kv)
	if !(ok1 && ok2 && ok3 && ok4) || x.Cols == 0 && x.Rows > 0 || l.WQ.Cols/heads != l.WK.Cols/kv {
		return c
	}
	var wo [][]float32
	out = l.WV.Cols / kv * heads
	if len(l.WO.Data) > 0 {
		var ok bool
		if wo, ok = weights(l.WO, l.BO, out); !ok {
			return c
		}
		out = l.WO.Cols
	} else if l.BO != nil {
		return c
	}
	dstRows, ok := matrixRows(dst)
	c.legal = ok && dst.Rows == x.Rows && dst.Cols == out && apart(dstRows, read...)
	c.expect = func() {
		var q, k, v [][]float32
		for _, row := range xRows {
			q = append(q, biased(row, wq, l.BQ, l.WQ.Cols))
			k = append(k, biased(row, wk, l.BK, l.WK.Cols))
			v = append(v, biased(row, wv, l.BV, l.WV.Cols))
		}
		d, e := l.WQ.Cols/heads, l.WV.Cols/kv
		head := func(rows [][]float32, h, dim int) (part [][]float32) {
			for _, row := range rows {
				part = append(part, row[h*dim:][:dim])
			}
			return part
		}
		var results [][]float32
		for i := range x.Rows {
			seen := x.Rows
			if o.Causal {
				seen = i + 1
			}
			mix := make([]float32, heads*e)
			for h := range heads {
				g := h / (heads / kv)
				attend(mix[h*e:][:e], q[i][h*d:][:d], head(k, g, d), head(v, g, e), 0, seen, o.Scale)
			}
			if len(l.WO.Data) > 0 {
				mix = biased(mix, wo, l.BO, out)
			}
			results = append(results, mix)
		}
		for i, row := range dstRows {
			copy(row, results[i])
		}
	}
	return c
}

// vectorFunctions are those of package kernel, and the same of package generic.
var vectorFunctions = [...]struct {
	name    string
	dot     func(x, y []float32) float32
	write   func(dst, x []float32)
	rows    func(dst, x []float32, cols int)
	sum     func(x []float32) float32
	against func(dst, x []float32) // of write
}{
	{name: "Dot", dot: kernel.Dot}, {name: "generic.Dot", dot: generic.Dot},
	{name: "Exp", write: kernel.Exp, against: plainExp}, {name: "generic.Exp", write: generic.Exp, against: plainExp},
	{name: "GELU", write: kernel.GELU, against: plainGELU}, {name: "generic.GELU", write: generic.GELU, against: plainGELU},
	{name: "GELUTanh", write: kernel.GELUTanh, against: plainGELUTanh}, {name: "generic.GELUTanh", write: generic.GELUTanh, against: plainGELUTanh},
	{name: "SiLU", write: kernel.SiLU, against: plainSiLU}, {name: "generic.SiLU", write: generic.SiLU, against: plainSiLU},
	{name: "Softmax", write: kernel.Softmax, against: plainSoftmax}, {name: "generic.Softmax", write: generic.Softmax, against: plainSoftmax},
	{name: "SoftmaxRows", rows: kernel.SoftmaxRows}, {name: "generic.SoftmaxRows", rows: generic.SoftmaxRows},
	{name: "LogSumExp", sum: kernel.LogSumExp}, {name: "generic.LogSumExp", sum: generic.LogSumExp},
}

func plainExp(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Exp(float64(v)))
	}
}

func plainGELU(dst, x []float32) {
	for i, v := range x {
		dst[i], _ = rounded(GELU(v))
	}
}

func plainGELUTanh(dst, x []float32) {
	for i, v := range x {
		dst[i], _ = rounded(GELUTanh(v))
	}
}

func plainSiLU(dst, x []float32) {
	for i, v := range x {
		dst[i], _ = rounded(SiLU(v))
	}
}

func rounded(want, bound float64) (float32, float64) { return float32(want), bound }

func plainSoftmax(dst, x []float32) {
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v))
	}
	for i, v := range x {
		dst[i] = float32(math.Exp(float64(v)) / sum)
	}
}

// drawVectors draws vectors of one memory; the result of a reduction goes to a place of its own.
func drawVectors(t testing.TB, s *source) call {
	m := newMemory(t, s)
	f := vectorFunctions[s.Int(0, len(vectorFunctions)-1)]
	n := s.Size(0, 300, 9, 40, 300)
	x, y := m.operand(n), m.operand(n)
	if s.Int(0, 3) == 0 {
		y = x
	}
	cols := max(1, s.Int(0, 9))
	if n > 0 && s.Bool() {
		cols = [...]int{1, n}[s.Int(0, 1)]
	}
	out := m.block(1)
	s.spoil(m.changeData(&x, &y), m.changeData(&y, &x), s.change(&cols), func() { y = m.blocks[0][:n]; x = m.blocks[0][1 : n+1] })

	c := call{memory: m, within: 0x1p-18, legal: true, args: []any{f.name, x, y, cols}}
	// refused checks that the panic names the function.
	run := func(call func()) {
		c.run = func() (err error) {
			err = refusal(func() error { call(); return nil })
			if err != nil && !strings.HasPrefix(err.Error(), "attn: "+f.name+": ") {
				return fmt.Errorf("%s by %w", f.name, err)
			}
			return err
		}
	}
	dst, views := y, len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0] || apart([][]float32{x}, [][]float32{y}))
	switch {
	case f.dot != nil:
		c.legal = len(x) == len(y)
		run(func() { out[0] = f.dot(x, y) })
		c.expect = func() { out[0] = generic.Dot(x, y) }
		c.within = 0
	case f.sum != nil:
		run(func() { out[0] = f.sum(x) })
		c.expect = func() {
			var sum float64
			for _, v := range x {
				sum += math.Exp(float64(v))
			}
			out[0] = float32(math.Log(sum))
		}
		c.slack = 0x1p-18
	case f.write != nil:
		c.legal = views
		run(func() { f.write(dst, x) })
		c.expect = func() { f.against(dst, slices.Clone(x)) }
	case f.rows != nil:
		c.legal = views && cols > 0 && len(x)%cols == 0
		run(func() { f.rows(dst, x, cols) })
		c.expect = func() {
			from := slices.Clone(x)
			for i := 0; i < len(x); i += cols {
				plainSoftmax(dst[i:][:cols], from[i:][:cols])
			}
		}
	}
	return c
}

// drawGeneric draws a product or a row of attention of package generic.
func drawGeneric(t testing.TB, s *source) call {
	m := newMemory(t, s)
	// rowsOf is the model of n rows of dim elements.
	rowsOf := func(x []float32, n, dim, stride int) (rows [][]float32, ok bool) {
		if n < 0 || dim < 0 {
			return nil, false
		}
		if n == 1 {
			stride = max(stride, dim)
		}
		rows, ok = matrixRows(kernel.Matrix{Rows: n, Cols: dim, Stride: stride, Data: x})
		return rows, ok
	}
	if s.Bool() {
		rows, inner, cols := s.Size(0, 20, 3, 20), s.Size(0, 20, 3, 20), s.Size(0, 20, 3, 20)
		lda, ldb, ldc := inner+s.Int(0, 3), cols+s.Int(0, 3), cols+s.Int(0, 3)
		a, b, c := m.block(rows*lda), m.block(inner*ldb), m.block(rows*ldc)
		shorter := func(x *[]float32) func() { return func() { *x = (*x)[:max(0, len(*x)-s.Int(1, 30))] } }
		s.spoil(s.change(&rows), s.change(&inner), s.change(&cols), s.change(&lda), s.change(&ldb), s.change(&ldc), shorter(&a), shorter(&b), shorter(&c))
		aRows, ok1 := rowsOf(a, rows, inner, lda)
		bRows, ok2 := rowsOf(b, inner, cols, ldb)
		cRows, ok3 := rowsOf(c, rows, cols, ldc)
		return call{
			memory: m,
			legal:  ok1 && ok2 && ok3,
			run:    func() error { generic.MatMul(c, ldc, a, lda, b, ldb, rows, inner, cols); return nil },
			args:   []any{c, ldc, a, lda, b, ldb, rows, inner, cols},
			expect: func() {
				for i, row := range cRows {
					var x []float32
					if inner > 0 {
						x = aRows[i]
					}
					copy(row, biased(x, bRows, nil, len(row)))
				}
			},
		}
	}
	n, dim, vdim := s.Size(0, 300, 9, 300), s.Size(0, 20, 3, 20), s.Size(0, 20, 3, 20)
	kStride, vStride := dim+s.Int(0, 3), vdim+s.Int(0, 3)
	dst, q, k, v := m.block(vdim), m.block(dim), m.block(n*kStride), m.block(n*vStride)
	shorter := func(x *[]float32) func() { return func() { *x = (*x)[:max(0, len(*x)-s.Int(1, 30))] } }
	s.spoil(s.change(&n), s.change(&kStride), s.change(&vStride), shorter(&dst), shorter(&q), shorter(&k), shorter(&v))
	kRows, ok1 := rowsOf(k, n, len(q), kStride)
	vRows, ok2 := rowsOf(v, n, len(dst), vStride)
	return call{
		memory: m,
		legal:  ok1 && ok2 && len(dst) > 0 && len(q) > 0,
		slack:  0x1p-16,
		run:    func() error { generic.AttentionRow(dst, q, k, v, n, kStride, vStride, 1); return nil },
		args:   []any{dst, q, k, v, n, kStride, vStride},
		expect: func() {
			clear(dst)
			if len(dst) == 0 || n == 0 {
				return
			}
			sum, mix := 0.0, make([]float64, len(dst))
			for j := range n {
				var score float64
				for i := range q {
					score += float64(q[i]) * float64(kRows[j][i])
				}
				w := math.Exp(score)
				sum += w
				for c, x := range vRows[j] {
					mix[c] += w * float64(x)
				}
			}
			for c := range dst {
				dst[c] = float32(mix[c] / sum)
			}
		},
	}
}

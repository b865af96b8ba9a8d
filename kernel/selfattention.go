package kernel

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"

	"github.com/selfattn/attn/kernel/internal/memory"
)

// SelfAttention is the self-attention layer: learned projections turn the vectors of the tokens
// into queries, keys and values, attention compares every query with every key and mixes the
// values, and an optional projection turns the mix into the contextual vectors.
//
//	Q = X.WQ + BQ,  K = X.WK + BK,  V = X.WV + BV
//	head h: Attention(Q_h, K_h, V_h), side by side
//	out = heads.WO + BO
//
// (Vaswani et al., Attention Is All You Need, 2017.) Query head h is the columns [h*d, (h+1)*d) of
// Q, with d = WQ.Cols/Heads; the heads of K and V likewise, with KVHeads.
type SelfAttention struct {
	// Heads is the number of query heads, 0 meaning 1. KVHeads is that of key and value heads, a
	// divisor of Heads; 0 means Heads.
	Heads, KVHeads int

	// WQ is model dim x Heads*d, WK is model dim x KVHeads*d, WV is model dim x KVHeads*e. WO is
	// Heads*e x output dim; without Data the heads themselves are the output. [SelfAttention.Pack] takes them
	// out of these fields, and what a field is set to afterwards counts again.
	WQ, WK, WV, WO Matrix

	// Biases, one element a column of the projection, or nil.
	BQ, BK, BV, BO []float32

	packed [weights]*Packed // WQ, WK, WV and WO, each where its field has no Data
}

// Pack moves WQ, WK, WV and WO into the layout that products read fastest, as the function [Pack] does: most
// for few tokens, which otherwise pack the weights in every call or read them as they lie. It copies the
// weights and sets their fields to Matrix{}, so that the memory which they were in may be changed, unmapped or
// collected. To replace a weight set its field again: it is used as it is, or packed by another Pack, which leaves
// the others alone.
//
// opts, which may be nil, are those of the function: with Trans all of the weights are stored transposed, as PyTorch
// stores them, and with another Type they are rounded to it. With Float32 no bit of a result changes.
//
// It must not be called while other goroutines use the layer. It returns an error that names the field, and
// leaves the layer as it is, if the layer is nil or options, shape, stride or length of Data are wrong.
func (l *SelfAttention) Pack(opts *PackOptions) error {
	if l == nil {
		return errNoLayer
	}
	next := *l
	for w := range weights {
		m, _, name := next.weight(w)
		if len(m.Data) == 0 {
			continue
		}
		p, err := packNamed(name, *m, opts)
		if err != nil {
			return err
		}
		next.packed[w], *m = p, Matrix{}
	}
	*l = next
	return nil
}

var errNoLayer = errors.New("attn: the *SelfAttention is nil, want a layer")

// Forward computes the contextual vectors of the tokens x, tokens x model dim, into dst, tokens x
// output dim. opts, which may be nil, are those of [Attention]. dst must not share an element with
// the layer or x.
//
// It takes memory for K and V of all tokens, tokens x (WK.Cols + WV.Cols) elements, and for Q and the
// heads of a block of tokens: 64 MiB each, or one token if that is more. K and V may take 1 GiB or,
// if that is more, 64 times the bytes of x (known layers take up to 32 times as much): larger ones
// are refused, so that wrong sizes are an error and not the end of the process. The first calls
// allocate this memory, half as much again where the last tokens did not fit; then a pool keeps it, until
// garbage collections find it unused.
//
// It returns an error that names the argument, before it writes, if the layer is nil, or shapes,
// strides, lengths, overlaps or options are wrong. Layers may be shared between goroutines.
func (l *SelfAttention) Forward(dst, x Matrix, opts *Options) error {
	f, err := l.plan(x, opts)
	if err != nil {
		return err
	}
	if dst, err = dst.resolve("dst"); err != nil {
		return err
	}
	if dst.Rows != f.x.Rows || dst.Cols != f.outDim {
		return fmt.Errorf("attn: dst is %d x %d, want %d x %d, the tokens by the output dim", dst.Rows, dst.Cols, f.x.Rows, f.outDim)
	}
	if err := f.checkApart(dst); err != nil {
		return err
	}
	if err := f.checkMemory("K and V", f.WK.Cols, f.WV.Cols); err != nil {
		return err
	}
	return f.run(dst)
}

// run is Forward, checked: all keys and values, then block by block of tokens the rest.
func (f *forward) run(dst Matrix) error {
	if len(dst.Data) == 0 {
		return nil
	}
	buf := layers.Get().(*layerScratch)
	defer layers.Put(buf)
	k, v := buf.matrix(0, f.x.Rows, f.WK.Cols), buf.matrix(1, f.x.Rows, f.WV.Cols)
	f.project(k, f.x, weightK, 0)
	f.project(v, f.x, weightV, 0)
	for first := 0; first < f.x.Rows; first += f.block {
		n := min(f.block, f.x.Rows-first)
		out := dst.rowsFrom(first, n)
		mix := out
		if f.projects {
			mix = buf.matrix(2, n, f.WO.Rows)
		}
		q := buf.matrix(3, n, f.WQ.Cols)
		f.project(q, f.x.rowsFrom(first, n), weightQ, 0)
		heads := [...]Tensor{headView(mix, f.Heads), headView(q, f.Heads), headView(k, f.KVHeads), headView(v, f.KVHeads)}
		if err := attention(&heads[0], &heads[1], &heads[2], &heads[3], &f.opts, portion{first: first, queries: f.x.Rows}); err != nil {
			return err
		}
		if f.projects {
			f.project(out, mix, weightO, 0)
		}
	}
	return nil
}

// Weights computes the attention weights of chosen tokens in one head, as [AttentionWeights]: dst
// is len(tokens) x the tokens of x. It takes memory for Q and K of this head, tokens x 2*d elements, with
// packed weights up to 62 more a token, which is refused and kept as that of [SelfAttention.Forward].
func (l *SelfAttention) Weights(dst, x Matrix, head int, tokens []int, opts *Options) error {
	f, err := l.plan(x, opts)
	if err != nil {
		return err
	}
	if dst, err = dst.resolve("dst"); err != nil {
		return err
	}
	if head < 0 || head >= f.Heads {
		return fmt.Errorf("attn: head is %d, want one of Heads = %d", head, f.Heads)
	}
	for i, token := range tokens {
		if token < 0 || token >= f.x.Rows {
			return fmt.Errorf("attn: tokens[%d] is %d, want one of the %d of x", i, token, f.x.Rows)
		}
	}
	if dst.Rows != len(tokens) || dst.Cols != f.x.Rows {
		return fmt.Errorf("attn: dst is %d x %d, want %d x %d, the chosen tokens by those of x", dst.Rows, dst.Cols, len(tokens), f.x.Rows)
	}
	if err := f.checkApart(dst); err != nil {
		return err
	}
	d := f.WQ.Cols / f.Heads
	if err := f.checkMemory("Q and K of a head", d, d); err != nil {
		return err
	}
	if len(dst.Data) == 0 {
		return nil
	}
	buf := layers.Get().(*layerScratch)
	defer layers.Put(buf)
	f.opts.leave(head)
	return AttentionWeights(dst, f.head(buf, weightQ, head, d), f.head(buf, weightK, head/(f.Heads/f.KVHeads), d), 0, 0, tokens, &f.opts)
}

// head returns a head of d columns of a projection of x. Of packed weights the columns begin with a panel.
func (f *forward) head(buf *layerScratch, w weight, head, d int) Tensor {
	from, before := head*d, 0
	if p := f.packed[w]; p != nil && p.few == nil {
		before = from % p.width
	}
	y := buf.matrix(int(w), f.x.Rows, before+d)
	f.project(y, f.x, w, from-before)
	return headView(Matrix{y.Rows, d, y.Stride, y.Data[min(before, len(y.Data)):]}, 1)
}

// checkApart returns an error if dst shares an element with x or the layer.
func (f *forward) checkApart(dst Matrix) error {
	name := shared(dst.footprint(), operand{"x", f.x.footprint()},
		operand{"WQ", f.WQ.footprint()}, operand{"WK", f.WK.footprint()}, operand{"WV", f.WV.footprint()}, operand{"WO", f.WO.footprint()},
		operand{"BQ", vectorFootprint(f.BQ)}, operand{"BK", vectorFootprint(f.BK)}, operand{"BV", vectorFootprint(f.BV)}, operand{"BO", vectorFootprint(f.BO)})
	if name != "" {
		return fmt.Errorf("attn: dst.Data shares memory with %s", name)
	}
	return f.opts.checkApart("dst.Data", dst.footprint(), &Tensor{Batch: 1, Heads: f.Heads}, f.x.Rows, f.x.Rows)
}

// checkMemory returns an error if two matrices of all tokens, with so many columns, would take too much.
func (f *forward) checkMemory(what string, cols1, cols2 int) error {
	const least, times = 1 << 30, 64
	row, given := 4*(uint64(cols1)+uint64(cols2)), 4*uint64(f.x.Rows)*uint64(f.x.Cols) // bytes
	over, bytes := bits.Mul64(uint64(f.x.Rows), row)
	if over > 0 {
		bytes = math.MaxUint64
	}
	if most := min(max(least, times*given), math.MaxInt); bytes > most {
		return fmt.Errorf("attn: %s of %d tokens, with %d and %d columns, take %d bytes, want at most %d", what, f.x.Rows, cols1, cols2, bytes, most)
	}
	return nil
}

// A forward is one use of a layer, checked, with Heads and KVHeads set.
type forward struct {
	SelfAttention
	x        Matrix
	opts     Options
	projects bool // by WO
	outDim   int
	block    int // tokens whose Q and heads exist at the same time
}

// blockSize elements of Q, or of the heads' outputs, are the most of a block of tokens, if it is not one.
const blockSize = 1 << 24

func (l *SelfAttention) plan(x Matrix, opts *Options) (f forward, err error) {
	if l == nil {
		return f, errNoLayer
	}
	f.SelfAttention = *l
	if f.Heads == 0 {
		f.Heads = 1
	}
	if f.KVHeads == 0 {
		f.KVHeads = f.Heads
	}
	if f.Heads < 0 {
		return f, fmt.Errorf("attn: Heads is %d, want 0 or more", f.Heads)
	}
	if f.KVHeads < 0 || f.Heads%f.KVHeads != 0 {
		return f, fmt.Errorf("attn: KVHeads is %d, want a divisor of Heads = %d", f.KVHeads, f.Heads)
	}
	o, err := opts.resolve()
	if err != nil {
		return f, err
	}
	f.opts = *o
	if f.x, err = x.resolve("x"); err != nil {
		return f, err
	}
	if f.x.Cols == 0 && f.x.Rows > 0 {
		return f, fmt.Errorf("attn: x is %d x 0, want 1 or more columns, the model dim", f.x.Rows)
	}
	if f.x.Rows > math.MaxInt32 {
		return f, fmt.Errorf("attn: x is %d x %d, want at most %d rows", f.x.Rows, f.x.Cols, math.MaxInt32)
	}
	if err := f.resolveHeads(weightQ, "Heads", f.Heads); err != nil {
		return f, err
	}
	if err := f.resolveHeads(weightK, "KVHeads", f.KVHeads); err != nil {
		return f, err
	}
	if err := f.resolveHeads(weightV, "KVHeads", f.KVHeads); err != nil {
		return f, err
	}
	if d := f.WQ.Cols / f.Heads; d != f.WK.Cols/f.KVHeads {
		return f, fmt.Errorf("attn: WK has %d columns, want %d, KVHeads = %d heads of %d as in WQ", f.WK.Cols, d*f.KVHeads, f.KVHeads, d)
	}
	e := f.WV.Cols / f.KVHeads
	mix, ok := product(e, f.Heads)
	if !ok {
		return f, fmt.Errorf("attn: Heads is %d, with heads of %d as in WV: their size overflows int", f.Heads, e)
	}
	if err := f.opts.checkEdits(&Tensor{Batch: 1, Heads: f.Heads}, &Tensor{Len: f.x.Rows}, f.x.Rows); err != nil {
		return f, err
	}
	f.outDim = mix
	f.block = max(1, blockSize/max(f.WQ.Cols, mix))
	if f.projects = len(l.WO.Data) > 0 || f.packed[weightO] != nil; !f.projects {
		if f.BO != nil {
			return f, fmt.Errorf("attn: BO has %d elements, want none without WO", len(f.BO))
		}
		f.WO = Matrix{}
		return f, nil
	}
	if err := f.resolve(weightO, mix, "WV.Cols * Heads / KVHeads"); err != nil {
		return f, err
	}
	f.outDim = f.WO.Cols
	return f, nil
}

// A weight is one of a layer.
type weight int

const (
	weightQ weight = iota
	weightK
	weightV
	weightO
	weights
)

// weight returns a weight, its bias, and its name, whose second letter that of the bias has too.
func (l *SelfAttention) weight(w weight) (m *Matrix, bias []float32, name string) {
	switch w {
	case weightQ:
		return &l.WQ, l.BQ, "WQ"
	case weightK:
		return &l.WK, l.BK, "WK"
	case weightV:
		return &l.WV, l.BV, "WV"
	}
	return &l.WO, l.BO, "WO"
}

// resolveHeads checks and resolves a projection of x to heads, whose number is in the field headsName.
func (f *forward) resolveHeads(w weight, headsName string, heads int) error {
	err := f.resolve(w, f.x.Cols, "the columns of x")
	if m, _, name := f.weight(w); err == nil && (m.Cols == 0 || m.Cols%heads != 0 || m.Cols/heads > maxDim) {
		err = fmt.Errorf("attn: %s has %d columns, want a multiple of %s = %d, each head 1 to %d", name, m.Cols, headsName, heads, maxDim)
	}
	return err
}

// resolve checks and resolves a projection, of as many rows as why says. Of one that is packed the matrix is
// the shape.
func (f *forward) resolve(w weight, rows int, why string) (err error) {
	m, bias, name := f.weight(w)
	if p := f.packed[w]; p != nil && len(m.Data) == 0 {
		*m = Matrix{Rows: p.rows, Cols: p.cols}
	} else {
		f.packed[w] = nil
		*m, err = m.resolve(name)
	}
	switch {
	case err != nil:
	case m.Rows != rows:
		err = fmt.Errorf("attn: %s is %d x %d, want %d rows, %s", name, m.Rows, m.Cols, rows, why)
	case bias != nil && len(bias) != m.Cols:
		err = fmt.Errorf("attn: B%s has %d elements, want %d, the columns of %s", name[1:], len(bias), m.Cols, name)
	}
	return err
}

// project computes y = x.w + bias, of as many columns as y from one on.
func (f *forward) project(y, x Matrix, w weight, from int) {
	m, bias, _ := f.weight(w)
	if bias != nil {
		bias = bias[from:][:y.Cols]
	}
	p := matrixProduct{c: y, a: x, bias: bias, workers: f.opts.Workers, m: y.Rows, n: y.Cols, k: x.Cols}
	if f.packed[w] != nil {
		p.packed, p.from = f.packed[w], from
	} else {
		p.b = Matrix{m.Rows, y.Cols, m.Stride, m.Data[min(from, len(m.Data)):]}
	}
	p.run()
}

// rowsFrom returns n rows of m from one of them on.
func (m Matrix) rowsFrom(first, n int) Matrix {
	return Matrix{n, m.Cols, m.Stride, m.Data[first*m.Stride:][:(n-1)*m.Stride+m.Cols]}
}

// headView is a matrix of tokens x heads*dim as a tensor.
func headView(m Matrix, heads int) Tensor {
	dim := m.Cols / heads
	return Tensor{Data: m.Data, Batch: 1, Heads: heads, Len: m.Rows, Dim: dim, HeadStride: dim, LenStride: m.Stride}
}

// layerScratch holds the matrices between the steps of a layer.
type layerScratch struct{ m [4][]float32 }

var layers = sync.Pool{New: func() any { return new(layerScratch) }}

func (s *layerScratch) matrix(i, rows, cols int) Matrix {
	s.m[i] = memory.Aligned(s.m[i], rows*cols)
	return Matrix{Rows: rows, Cols: cols, Stride: cols, Data: s.m[i]}
}

package kernel

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
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

	// Memory, if it is not nil, is tokens that keys and values are made of instead of x, which is cross attention:
	// K = Memory.WK + BK, V = Memory.WV + BV. Its columns are the rows of WK and WV.
	Memory *Matrix

	// Rotary, if it is not nil, rotates the heads of queries and keys by their positions, as the function [Rotary] does:
	// keys from 0 on, queries from the Start of Options on, or where that is nil from the position that it stands for;
	// in each packed sequence anew. The tables have a row for each of these positions; without columns, as in their zero value,
	// they rotate nothing.
	Rotary *RotaryTables

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
// output dim. opts, which may be nil, are those of [Attention], with x as the one batch member: sequences are packed
// by QueryOffsets and KeyOffsets. dst and LSE must not share an element with the layer or x.
//
// It takes memory for K and V of all tokens, of Memory if that is given, tokens x (WK.Cols + WV.Cols) elements, and for Q and the
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
	if dst, err = f.checkOutput(dst); err != nil {
		return err
	}
	return f.run(dst)
}

// checkOutput resolves what Forward writes, and checks that it fits.
func (f *forward) checkOutput(dst Matrix) (Matrix, error) {
	if err := dst.resolve("dst"); err != nil {
		return dst, err
	}
	if dst.Rows != f.x.Rows || dst.Cols != f.outDim {
		return dst, fmt.Errorf("attn: dst is %d x %d, want %d x %d, the tokens by the output dim", dst.Rows, dst.Cols, f.x.Rows, f.outDim)
	}
	if err := f.checkApart("dst.Data", dst.footprint()); err != nil {
		return dst, err
	}
	for _, saved := range [...]struct {
		name string
		data []float32
	}{{"Options.LSE", f.opts.LSE}, {"Options.Stats", f.opts.Stats}} {
		at := vectorFootprint(saved.data)
		if err := f.checkApart(saved.name, at); err != nil {
			return dst, err
		}
		if at.meets(dst.footprint()) {
			return dst, fmt.Errorf("attn: %s shares memory with dst.Data", saved.name)
		}
	}
	return dst, f.checkMemory("K and V", f.source, f.WK.Cols, f.source, f.WV.Cols)
}

// run is Forward, checked: all keys and values, then block by block of tokens the rest.
func (f *forward) run(dst Matrix) error {
	if len(dst.Data) == 0 {
		return nil
	}
	buf := layers.Get().(*layerScratch)
	defer layers.Put(buf)
	sequences := f.sequences(buf)
	k, v := f.keys(buf, sequences)
	for first := 0; first < f.x.Rows; first += f.block {
		n := min(f.block, f.x.Rows-first)
		out := dst.rowsFrom(first, n)
		mix := out
		if f.projects {
			mix = buf.matrix(weightO, n, f.WO.Rows)
		}
		if err := f.attend(mix, buf.matrix(weightQ, n, f.WQ.Cols), k, v, first, sequences); err != nil {
			return err
		}
		if f.projects {
			f.project(out, mix, weightO, 0)
		}
	}
	return nil
}

// keys computes the keys and values of all tokens.
func (f *forward) keys(buf *layerScratch, sequences []sight.Sequence) (k, v Matrix) {
	k, v = buf.matrix(weightK, f.source.Rows, f.WK.Cols), buf.matrix(weightV, f.source.Rows, f.WV.Cols)
	f.project(k, f.source, weightK, 0)
	f.project(v, f.source, weightV, 0)
	f.rotateKeys(headView(k, f.KVHeads), sequences)
	return k, v
}

// attend computes the queries q of the tokens from first on, and the heads' outputs mix.
func (f *forward) attend(mix, q, k, v Matrix, first int, sequences []sight.Sequence) error {
	f.project(q, f.x.rowsFrom(first, q.Rows), weightQ, 0)
	f.rotateQueries(headView(q, f.Heads), first, sequences)
	heads := [...]Tensor{headView(mix, f.Heads), headView(q, f.Heads), headView(k, f.KVHeads), headView(v, f.KVHeads)}
	return attention(&heads[0], &heads[1], &heads[2], &heads[3], &f.opts, portion{first: first, queries: f.x.Rows})
}

// Weights computes the attention weights of chosen tokens in one head, as [AttentionWeights]: dst
// is len(tokens) x the tokens of x, or of Memory. It takes memory for Q and K of this head, tokens x 2*d elements, with
// packed weights up to 62 more a token, which is refused and kept as that of [SelfAttention.Forward].
func (l *SelfAttention) Weights(dst, x Matrix, head int, tokens []int, opts *Options) error {
	f, err := l.plan(x, opts)
	if err != nil {
		return err
	}
	if err := dst.resolve("dst"); err != nil {
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
	if dst.Rows != len(tokens) || dst.Cols != f.source.Rows {
		return fmt.Errorf("attn: dst is %d x %d, want %d x %d, the chosen tokens by the keys", dst.Rows, dst.Cols, len(tokens), f.source.Rows)
	}
	if err := f.checkApart("dst.Data", dst.footprint()); err != nil {
		return err
	}
	d := f.WQ.Cols / f.Heads
	if err := f.checkMemory("Q and K of a head", f.x, d, f.source, d); err != nil {
		return err
	}
	if len(dst.Data) == 0 {
		return nil
	}
	buf := layers.Get().(*layerScratch)
	defer layers.Put(buf)
	q, k := f.head(buf, f.x, weightQ, head, d), f.head(buf, f.source, weightK, head/(f.Heads/f.KVHeads), d)
	sequences := f.sequences(buf)
	f.rotateKeys(k, sequences)
	f.rotateQueries(q, 0, sequences)
	f.opts.leave(head)
	f.opts.LSE, f.opts.Stats = nil, nil
	return AttentionWeights(dst, q, k, 0, 0, tokens, &f.opts)
}

// head returns a head of d columns of a projection of x. Of packed weights the columns begin with a panel.
func (f *forward) head(buf *layerScratch, x Matrix, w weight, head, d int) Tensor {
	from, before := head*d, 0
	if p := f.packed[w]; p != nil && p.few == nil {
		before = from % p.width
	}
	y := buf.matrix(w, x.Rows, before+d)
	f.project(y, x, w, from-before)
	return headView(Matrix{y.Rows, d, y.Stride, y.Data[min(before, len(y.Data)):]}, 1)
}

// sequences returns those whose queries and keys are rotated: none if nothing is.
func (f *forward) sequences(buf *layerScratch) []sight.Sequence {
	if f.rotary.Cos.Cols == 0 {
		return nil
	}
	var l sight.Lengths
	f.opts.lengths(&l)
	buf.sequences = l.Sequences(buf.sequences[:0], 1, f.x.Rows, f.source.Rows)
	return buf.sequences
}

// rotateKeys rotates the keys of sequences.
func (f *forward) rotateKeys(k Tensor, sequences []sight.Sequence) {
	for i := range sequences {
		if s := &sequences[i]; s.Keys > 0 {
			x := source.Tensor(k)
			x.Data, x.Len = k.Data[s.Key*k.LenStride:], s.Keys
			f.rotary.rotate(&x, 0, 0)
		}
	}
}

// rotateQueries rotates the queries of sequences that are among the rows of q, the first of which has a number.
func (f *forward) rotateQueries(q Tensor, first int, sequences []sight.Sequence) {
	for _, s := range sequences {
		if s.Cut(first, q.Len); s.Queries > 0 {
			x := source.Tensor(q)
			x.Data, x.Len = q.Data[s.Query*q.LenStride:], s.Queries
			f.rotary.rotate(&x, 0, s.Position(0))
		}
	}
}

// checkRotary resolves the tables, and checks that they have what the sequences need.
func (f *forward) checkRotary() (err error) {
	if f.Rotary == nil {
		return nil
	}
	t := &f.rotary
	*t = *f.Rotary
	if err = t.Cos.resolve("Rotary.Cos"); err != nil {
		return err
	}
	if err = t.Sin.resolve("Rotary.Sin"); err != nil {
		return err
	}
	d, rows := f.WQ.Cols/f.Heads, t.Cos.Rows
	switch {
	case t.Sin.Rows != rows || t.Sin.Cols != t.Cos.Cols:
		return fmt.Errorf("attn: Rotary.Sin is %d x %d, want %d x %d as Rotary.Cos", t.Sin.Rows, t.Sin.Cols, rows, t.Cos.Cols)
	case t.Cos.Cols > d/2:
		return fmt.Errorf("attn: Rotary.Cos.Cols is %d, want at most %d, half of a head", t.Cos.Cols, d/2)
	}
	buf := layers.Get().(*layerScratch)
	defer layers.Put(buf)
	for i, s := range f.sequences(buf) {
		switch {
		case s.Keys > rows:
			return fmt.Errorf("attn: Rotary.Cos.Rows is %d, want %d or more, the keys of sequence %d", rows, s.Keys, i)
		case s.Queries > 0 && (s.Start < 0 || s.Start > rows-s.Queries):
			return fmt.Errorf("attn: Rotary.Cos.Rows is %d, want rows for positions %d to %d, those of the queries of sequence %d by Options.Start", rows, s.Start, s.Position(s.Queries-1), i)
		}
	}
	return nil
}

// checkApart returns an error if what is written, of that name, shares an element with x or the layer.
func (f *forward) checkApart(written string, at footprint) error {
	name := shared(at, operand{"x", f.x.footprint()}, operand{"Memory", f.source.footprint()},
		operand{"Rotary.Cos", f.rotary.Cos.footprint()}, operand{"Rotary.Sin", f.rotary.Sin.footprint()},
		operand{"WQ", f.WQ.footprint()}, operand{"WK", f.WK.footprint()}, operand{"WV", f.WV.footprint()}, operand{"WO", f.WO.footprint()},
		operand{"BQ", vectorFootprint(f.BQ)}, operand{"BK", vectorFootprint(f.BK)}, operand{"BV", vectorFootprint(f.BV)}, operand{"BO", vectorFootprint(f.BO)})
	if name != "" {
		return fmt.Errorf("attn: %s shares memory with %s", written, name)
	}
	return f.opts.checkApart(written, at, &Tensor{Batch: 1, Heads: f.Heads}, f.x.Rows, f.source.Rows)
}

// checkMemory returns an error if two matrices, of the tokens of a and of b with so many columns, would take too
// much.
func (f *forward) checkMemory(what string, a Matrix, colsA int, b Matrix, colsB int) error {
	const least, times = 1 << 30, 64
	bytes, given := 0.0, 0.0
	for _, m := range [...]struct{ rows, cols, from int }{{a.Rows, colsA, a.Cols}, {b.Rows, colsB, b.Cols}} {
		bytes += float64(4 * float64(m.rows) * float64(m.cols))
		given += float64(2 * float64(m.rows) * float64(m.from))
	}
	if most := min(max(least, times*given), math.MaxInt); bytes > most {
		return fmt.Errorf("attn: %s, %d x %d and %d x %d, take %.0f bytes, want at most %.0f", what, a.Rows, colsA, b.Rows, colsB, bytes, most)
	}
	return nil
}

// A forward is one use of a layer, checked, with Heads and KVHeads set.
type forward struct {
	SelfAttention
	x        Matrix
	source   Matrix       // of keys and values: x or Memory
	rotary   RotaryTables // without columns if there are none
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
	f.x = x
	if err = f.x.resolve("x"); err != nil {
		return f, err
	}
	f.source = f.x
	if f.Memory != nil {
		f.source = *f.Memory
		if err = f.source.resolve("Memory"); err != nil {
			return f, err
		}
	}
	if err := checkTokens("x", f.x); err != nil {
		return f, err
	}
	if err := checkTokens("Memory", f.source); err != nil {
		return f, err
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
	if err := f.opts.check(&Tensor{Batch: 1, Heads: f.Heads}, &Tensor{Len: f.source.Rows}, f.x.Rows); err != nil {
		return f, err
	}
	if err := f.checkRotary(); err != nil {
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

// checkTokens checks resolved tokens.
func checkTokens(name string, x Matrix) error {
	if x.Cols == 0 && x.Rows > 0 {
		return fmt.Errorf("attn: %s is %d x 0, want 1 or more columns, the model dim", name, x.Rows)
	}
	if x.Rows > math.MaxInt32 {
		return fmt.Errorf("attn: %s is %d x %d, want at most %d rows", name, x.Rows, x.Cols, math.MaxInt32)
	}
	return nil
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
	rows, why := f.x.Cols, "the columns of x"
	if w != weightQ && f.Memory != nil {
		rows, why = f.source.Cols, "the columns of Memory"
	}
	err := f.resolve(w, rows, why)
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
		err = m.resolve(name)
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
	p.compute()
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

// layerScratch holds the matrices between the steps of a layer: what WQ, WK and WV make, and what WO takes.
type layerScratch struct {
	m         [weights][]float32
	sequences []sight.Sequence
}

var layers = sync.Pool{New: func() any { return new(layerScratch) }}

func (s *layerScratch) matrix(w weight, rows, cols int) Matrix {
	s.m[w] = memory.Aligned(s.m[w], rows*cols)
	return Matrix{Rows: rows, Cols: cols, Stride: cols, Data: s.m[w]}
}

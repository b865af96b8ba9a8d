package kernel

import (
	"fmt"
	"sync"
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
	// Heads*e x output dim; without Data the heads themselves are the output.
	WQ, WK, WV, WO Matrix

	// Biases, one element a column of the projection, or nil.
	BQ, BK, BV, BO []float32
}

// Forward computes the contextual vectors of the tokens x, tokens x model dim, into dst, tokens x
// output dim. opts, which may be nil, are those of [Attention]. dst must not share memory with the
// layer or x.
//
// It returns an error that names the argument, before it writes, if shapes, strides, lengths,
// overlaps or options are wrong. Layers may be shared between goroutines.
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
	if dst.Data == nil {
		return nil
	}
	buf := layers.Get().(*layerScratch)
	defer layers.Put(buf)
	q, k, v := f.queries(buf), f.keys(buf), f.values(buf)
	if len(l.WO.Data) == 0 {
		out := headView(dst, f.heads)
		return Attention(out, q, k, v, &f.opts)
	}
	mix := buf.matrix(3, f.x.Rows, f.heads*v.Dim)
	if err := Attention(headView(mix, f.heads), q, k, v, &f.opts); err != nil {
		return err
	}
	project(dst, mix, l.WO, l.BO, f.workers)
	return nil
}

// Weights computes the attention weights of chosen tokens in one head, as [AttentionWeights]: dst
// is len(tokens) x the tokens of x.
func (l *SelfAttention) Weights(dst, x Matrix, head int, tokens []int, opts *Options) error {
	f, err := l.plan(x, opts)
	if err != nil {
		return err
	}
	if dst, err = dst.resolve("dst"); err != nil {
		return err
	}
	if err := f.checkApart(dst); err != nil {
		return err
	}
	buf := layers.Get().(*layerScratch)
	defer layers.Put(buf)
	return AttentionWeights(dst, f.queries(buf), f.keys(buf), 0, head, tokens, &f.opts)
}

// checkApart returns an error if dst shares memory with x or the layer.
func (f *forward) checkApart(dst Matrix) error {
	for _, in := range [...]struct {
		name string
		data []float32
	}{{"x", f.x.Data}, {"WQ", f.WQ.Data}, {"WK", f.WK.Data}, {"WV", f.WV.Data}, {"WO", f.WO.Data}, {"BQ", f.BQ}, {"BK", f.BK}, {"BV", f.BV}, {"BO", f.BO}} {
		if overlap(dst.Data, in.data) {
			return fmt.Errorf("attn: dst.Data shares memory with %s", in.name)
		}
	}
	return nil
}

// A forward is one use of a layer, checked.
type forward struct {
	*SelfAttention
	x              Matrix
	opts           Options
	workers        int
	heads, kvHeads int
	outDim         int
}

func (l *SelfAttention) plan(x Matrix, opts *Options) (forward, error) {
	f := forward{SelfAttention: l, heads: l.Heads, kvHeads: l.KVHeads}
	if f.heads == 0 {
		f.heads = 1
	}
	if f.kvHeads == 0 {
		f.kvHeads = f.heads
	}
	if f.heads < 0 {
		return f, fmt.Errorf("attn: Heads is %d, want 0 or more", f.heads)
	}
	if f.kvHeads < 0 || f.heads%f.kvHeads != 0 {
		return f, fmt.Errorf("attn: KVHeads is %d, want a divisor of %d, the query heads", f.kvHeads, f.heads)
	}
	var err error
	if f.opts, f.workers, err = opts.resolve(); err != nil {
		return f, err
	}
	if f.x, err = x.resolve("x"); err != nil {
		return f, err
	}
	if f.x.Cols == 0 && f.x.Rows > 0 {
		return f, fmt.Errorf("attn: x is %d x 0, want a model dim of 1 or more", f.x.Rows)
	}
	for _, p := range []struct {
		name  string
		w     Matrix
		bias  []float32
		heads int
	}{{"WQ", l.WQ, l.BQ, f.heads}, {"WK", l.WK, l.BK, f.kvHeads}, {"WV", l.WV, l.BV, f.kvHeads}} {
		if err := checkProjection(p.name, p.w, p.bias, f.x.Cols); err != nil {
			return f, err
		}
		if p.w.Cols == 0 || p.w.Cols%p.heads != 0 || p.w.Cols/p.heads > maxDim {
			return f, fmt.Errorf("attn: %s has %d columns, want %d heads of 1 to %d", p.name, p.w.Cols, p.heads, maxDim)
		}
	}
	if l.WQ.Cols/f.heads != l.WK.Cols/f.kvHeads {
		return f, fmt.Errorf("attn: WK has %d columns, want %d, as many a head as WQ", l.WK.Cols, l.WQ.Cols/f.heads*f.kvHeads)
	}
	f.outDim = l.WV.Cols / f.kvHeads * f.heads
	if len(l.WO.Data) == 0 {
		if l.BO != nil {
			return f, fmt.Errorf("attn: BO has %d elements, want none without WO", len(l.BO))
		}
		return f, nil
	}
	if err := checkProjection("WO", l.WO, l.BO, f.outDim); err != nil {
		return f, err
	}
	f.outDim = l.WO.Cols
	return f, nil
}

// checkProjection checks a projection of rows, whose name begins with W; that of its bias begins
// with B.
func checkProjection(name string, w Matrix, bias []float32, rows int) error {
	w, err := w.resolve(name)
	if err != nil {
		return err
	}
	if w.Rows != rows {
		return fmt.Errorf("attn: %s is %d x %d, want %d rows", name, w.Rows, w.Cols, rows)
	}
	if bias != nil && len(bias) != w.Cols {
		return fmt.Errorf("attn: B%s has %d elements, want %d, the columns of %s", name[1:], len(bias), w.Cols, name)
	}
	return nil
}

func (f *forward) queries(buf *layerScratch) Tensor { return f.project(buf, 0, f.WQ, f.BQ, f.heads) }
func (f *forward) keys(buf *layerScratch) Tensor    { return f.project(buf, 1, f.WK, f.BK, f.kvHeads) }
func (f *forward) values(buf *layerScratch) Tensor  { return f.project(buf, 2, f.WV, f.BV, f.kvHeads) }

// project computes one projection of all tokens, in matrix number i of buf.
func (f *forward) project(buf *layerScratch, i int, w Matrix, bias []float32, heads int) Tensor {
	m := buf.matrix(i, f.x.Rows, w.Cols)
	project(m, f.x, w, bias, f.workers)
	return headView(m, heads)
}

// project computes y = x.w + bias; the chains start from the bias.
func project(y, x, w Matrix, bias []float32, workers int) {
	if bias != nil {
		for i := range y.Rows {
			move(y.Data[i*y.Stride:][:y.Cols], bias)
		}
	}
	matMul(y, x, w, bias != nil, workers)
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
	s.m[i] = aligned(s.m[i], rows*cols)
	return Matrix{Rows: rows, Cols: cols, Stride: cols, Data: s.m[i]}
}

package kernel

import (
	"errors"
	"fmt"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
)

// A Tape is what [SelfAttention.ForwardTape] keeps for [SelfAttention.Backward]: the queries, keys, values and outputs of all
// heads, and two numbers for each row of scores. The zero value is ready. One goroutine at a time may use it, and a tape that is
// used again keeps its memory.
type Tape struct {
	layer     *SelfAttention // whose call it is
	call      forward
	kept      layerScratch // of the call
	gradients layerScratch // of what is kept
	stats     []float32
	unpacked  []float32 // a weight
	ones      []float32
	sines     []float32 // of the negative angles
	attention Gradient
}

// ForwardTape is [SelfAttention.Forward], and keeps in t, instead of what it held, what [SelfAttention.Backward] needs. What it keeps
// takes memory for all tokens: Q and the heads are refused where Forward would refuse K and V of that size. Stats of the options
// are an error, as they are kept in t.
//
// The tape refers to the layer, x, Memory and what opts refers to. Until Backward has been called they must not change.
func (l *SelfAttention) ForwardTape(dst, x Matrix, t *Tape, opts *Options) error {
	if t == nil {
		return errNoTape
	}
	f, err := l.plan(x, opts)
	if err != nil {
		return err
	}
	if f.opts.Stats != nil {
		return fmt.Errorf("attn: Options.Stats has %d elements, want nil: the Tape keeps them", len(f.opts.Stats))
	}
	if dst, err = f.checkOutput(dst); err != nil {
		return err
	}
	if err := f.checkMemory("Q and heads", f.x, f.WQ.Cols, f.x, f.mixed()); err != nil {
		return err
	}
	t.layer, t.call = l, f
	return t.forward(dst)
}

var errNoTape = errors.New("attn: the *Tape is nil")

// mixed is the columns of the outputs of all heads.
func (f *forward) mixed() int { return f.WV.Cols / f.KVHeads * f.Heads }

// forward is run, of all tokens at once.
func (t *Tape) forward(dst Matrix) error {
	f := &t.call
	n := f.x.Rows
	if n == 0 {
		return nil
	}
	sequences := f.sequences(&t.kept)
	k, v := f.keys(&t.kept, sequences)
	t.stats = memory.Aligned(t.stats, 2*f.Heads*n)
	f.opts.Stats = t.stats
	mix := t.kept.matrix(weightO, n, f.mixed())
	if err := f.attend(mix, t.kept.matrix(weightQ, n, f.WQ.Cols), k, v, 0, sequences); err != nil {
		return err
	}
	if f.projects {
		f.project(dst, mix, weightO, 0)
		return nil
	}
	for i := range n {
		copy(dst.Data[i*dst.Stride:][:dst.Cols], mix.Data[i*mix.Stride:])
	}
	return nil
}

// Backward computes gradients of a loss from that of the output of [SelfAttention.ForwardTape], ddst, which is as large as dst
// was. It sets dx to the gradient of x and adds to grad those of the layer:
//
//	heads' = ddst.WO^T                          WO' += heads^T.ddst    BO' += the sum of the rows of ddst
//	Q', K', V' by [AttentionGradient], Q' and K' rotated by the negative angles
//	X' = (Q'.WQ^T + K'.WK^T) + V'.WV^T          WQ' += X^T.Q'          BQ' += the sum of the rows of Q'
//
// and with WK, WV, BK and BV as with WQ and BQ. Products are those of [MatMul] with Add, and sums of rows products with a row of
// ones, so that no bit depends on backend or workers, of which there are as many as the options of the call said. Where the layer has
// a Memory, X' is Q'.WQ^T alone, and K'.WK^T + V'.WV^T is added to the Memory of grad. Biases, slopes, sinks and tables of
// rotations are constants; [AttentionGradient] has the gradients of the first three.
//
// In grad, which may be nil, WQ, WK, WV, WO, BQ, BK, BV, BO and Memory have the shapes of those of the layer, weights not
// transposed whatever [SelfAttention.Pack] was told. Gradients whose field is without Data, or nil, are not computed, nor dx if it is
// Matrix{}. The rest of grad is ignored. Of packed weights the gradients are those with respect to the values that they have as they
// are stored.
//
// t holds a call of ForwardTape of the same layer, and still does so afterwards. Its memory grows by as much again, besides a
// copy of a packed weight. Backward returns an error that names the argument, before it writes, if t holds no such call,
// shapes, strides or lengths are wrong, or what is written shares an element with another argument, or with what the tape refers
// to.
func (l *SelfAttention) Backward(grad *SelfAttention, dx, ddst Matrix, t *Tape) error {
	switch {
	case l == nil:
		return errNoLayer
	case t == nil:
		return errNoTape
	case t.layer != l:
		return errors.New("attn: the *Tape holds no call of this layer, want it to be that of the last ForwardTape")
	}
	if err := ddst.resolve("ddst"); err != nil {
		return err
	}
	f := &t.call
	if ddst.Rows != f.x.Rows || ddst.Cols != f.outDim {
		return fmt.Errorf("attn: ddst is %d x %d, want %d x %d, the tokens by the output dim", ddst.Rows, ddst.Cols, f.x.Rows, f.outDim)
	}
	var g layerGradient
	if grad != nil {
		g.SelfAttention = *grad
	}
	if err := g.resolve(f, dx, ddst); err != nil {
		return err
	}
	if f.x.Rows == 0 {
		return nil
	}
	return t.backward(&g, ddst)
}

// A layerGradient is what Backward writes, checked; what is not asked for has no Data.
type layerGradient struct {
	SelfAttention
	x, source Matrix // of x, and of Memory where there is one
}

// resolve checks and resolves the gradients.
func (g *layerGradient) resolve(f *forward, dx, ddst Matrix) error {
	written := make([]operand, 0, 2+2*weights)
	matrix := func(m *Matrix, name string, like Matrix, of string) (err error) {
		if m.Rows == 0 && m.Cols == 0 && len(m.Data) == 0 {
			return nil
		}
		if err := m.resolve(name); err != nil {
			return err
		}
		if m.Rows != like.Rows || m.Cols != like.Cols {
			return fmt.Errorf("attn: %s is %d x %d, want %d x %d as %s", name, m.Rows, m.Cols, like.Rows, like.Cols, of)
		}
		written = append(written, operand{name, m.footprint()})
		return nil
	}
	g.x = dx
	if err := matrix(&g.x, "dx", f.x, "x"); err != nil {
		return err
	}
	if g.Memory != nil {
		g.source = *g.Memory
		if f.Memory == nil {
			return fmt.Errorf("attn: grad.Memory is %d x %d, want nil as in the layer", g.source.Rows, g.source.Cols)
		}
		if err := matrix(&g.source, "grad.Memory", f.source, "Memory"); err != nil {
			return err
		}
	}
	for w := range weights {
		m, bias, name := g.weight(w)
		like, likeBias, _ := f.weight(w)
		names := [...][2]string{{"grad.WQ", "grad.BQ"}, {"grad.WK", "grad.BK"}, {"grad.WV", "grad.BV"}, {"grad.WO", "grad.BO"}}[w]
		if g.packed[w] != nil && len(m.Data) == 0 {
			return fmt.Errorf("attn: %s is packed, want a Matrix", names[0])
		}
		if err := matrix(m, names[0], *like, name); err != nil {
			return err
		}
		if bias == nil {
			continue
		}
		if len(bias) != len(likeBias) {
			return fmt.Errorf("attn: %s has %d elements, want %d as B%s", names[1], len(bias), len(likeBias), name[1:])
		}
		written = append(written, operand{names[1], vectorFootprint(bias)})
	}
	for i, x := range written {
		if err := f.checkApart(x.name, x.at); err != nil {
			return err
		}
		name := shared(x.at, operand{"ddst", ddst.footprint()})
		if name == "" {
			name = shared(x.at, written[:i]...)
		}
		if name != "" {
			return fmt.Errorf("attn: %s shares memory with %s", x.name, name)
		}
	}
	return nil
}

// learns reports whether gradients are asked for of a weight or its bias.
func (g *layerGradient) learns(w weight) bool {
	m, bias, _ := g.weight(w)
	return len(m.Data) > 0 || len(bias) > 0
}

// backward is Backward, checked, for one token or more.
func (t *Tape) backward(g *layerGradient, ddst Matrix) error {
	f, n := &t.call, t.call.x.Rows
	mix, dmix := t.kept.matrix(weightO, n, f.mixed()), ddst
	t.learn(g, weightO, mix, ddst)
	source := &g.source
	if f.Memory == nil {
		source = &g.x
	}
	// What each gradient of Q, K and V is for, besides that of the weight.
	to := [...]*Matrix{weightQ: &g.x, weightK: source, weightV: source}
	var dy [len(to)]Matrix
	a := &t.attention
	*a = Gradient{O: headView(mix, f.Heads), Stats: t.stats}
	for w, tensors := range [...][2]*Tensor{weightQ: {&a.Q, &a.DQ}, weightK: {&a.K, &a.DK}, weightV: {&a.V, &a.DV}} {
		w, rows, heads := weight(w), f.source.Rows, f.KVHeads
		if w == weightQ {
			rows, heads = n, f.Heads
		}
		m, _, _ := f.weight(w)
		*tensors[0] = headView(t.kept.matrix(w, rows, m.Cols), heads)
		if g.learns(w) || len(to[w].Data) > 0 {
			dy[w] = t.gradients.matrix(w, rows, m.Cols)
			*tensors[1] = headView(dy[w], heads)
		}
	}
	if len(dy[weightQ].Data)+len(dy[weightK].Data)+len(dy[weightV].Data) == 0 {
		return nil
	}
	if f.projects {
		dmix = t.gradients.matrix(weightO, n, f.mixed())
		t.passBack(dmix, ddst, weightO, false)
	}
	a.DO = headView(dmix, f.Heads)
	if err := AttentionGradient(a, &f.opts); err != nil {
		return err
	}
	t.rotateBack(a)
	for w, input := range [...]Matrix{weightQ: f.x, weightK: f.source, weightV: f.source} {
		w := weight(w)
		if len(dy[w].Data) == 0 {
			continue
		}
		t.learn(g, w, input, dy[w])
		if len(to[w].Data) > 0 {
			t.passBack(*to[w], dy[w], w, w != weightQ)
		}
	}
	return nil
}

// learn adds to the gradients of a weight and its bias, of y = x.w + bias.
func (t *Tape) learn(g *layerGradient, w weight, x, dy Matrix) {
	if x.Rows == 0 {
		return
	}
	m, bias, _ := g.weight(w)
	p := matrixProduct{c: *m, a: x, b: dy, transA: true, add: true, workers: t.call.opts.Workers, m: m.Rows, n: m.Cols, k: x.Rows}
	p.compute()
	if len(bias) == 0 {
		return
	}
	for len(t.ones) < x.Rows {
		t.ones = append(t.ones, 1)
	}
	p = matrixProduct{c: Matrix{1, len(bias), len(bias), bias}, a: Matrix{1, x.Rows, x.Rows, t.ones}, b: dy, add: true, workers: t.call.opts.Workers, m: 1, n: len(bias), k: x.Rows}
	p.compute()
}

// passBack sets dx to the gradient of x where y = x.w + bias, or adds it.
func (t *Tape) passBack(dx, dy Matrix, w weight, add bool) {
	f := &t.call
	m, _, _ := f.weight(w)
	b := *m
	if p := f.packed[w]; p != nil {
		b.Stride = b.Cols
		t.unpacked = memory.Aligned(t.unpacked, b.Rows*b.Cols)
		b.Data = t.unpacked
		p.unpack(b)
	}
	p := matrixProduct{c: dx, a: dy, b: b, transB: true, add: add, workers: f.opts.Workers, m: dx.Rows, n: dx.Cols, k: dy.Cols}
	p.compute()
}

// rotateBack rotates the gradients of queries and keys by the negative angles, which are those of what has been rotated.
func (t *Tape) rotateBack(a *Gradient) {
	f := &t.call
	sequences := f.sequences(&t.gradients)
	rows := 0
	for _, s := range sequences {
		rows = max(rows, s.Keys)
		if s.Queries > 0 {
			rows = max(rows, s.Position(s.Queries-1)+1)
		}
	}
	back := forward{rotary: f.rotary}
	sin := &back.rotary.Sin
	sin.Rows, sin.Stride = rows, sin.Cols
	t.sines = memory.Aligned(t.sines, rows*sin.Cols)
	sin.Data = t.sines
	for i := range rows {
		for c, x := range f.rotary.Sin.Data[i*f.rotary.Sin.Stride:][:sin.Cols] {
			sin.Data[i*sin.Cols+c] = -x
		}
	}
	if a.DQ.Data != nil {
		back.rotateQueries(a.DQ, 0, sequences)
	}
	if a.DK.Data != nil {
		back.rotateKeys(a.DK, sequences)
	}
}

// unpack sets b to the values of the factor.
func (p *Packed) unpack(b Matrix) {
	if p.few != nil {
		for i := range b.Rows {
			row := b.Data[i*b.Stride:][:b.Cols]
			for j := range row {
				row[j] = p.few[j*b.Rows+i]
			}
		}
		return
	}
	var from panel
	for first := 0; first < p.rows; first += generic.ProductTerms {
		k := min(generic.ProductTerms, p.rows-first)
		for j, width := 0, 0; j < p.cols; j += width {
			width = p.panel(&from, j, 1, first, k)
			for i := range k {
				row := b.Data[(first+i)*b.Stride+j:][:min(width, p.cols-j)]
				from.copyRow(p.storedType, row, i*width)
			}
		}
	}
}

// copyRow copies elements of the panel, from one on.
func (b *panel) copyRow(t Type, row []float32, from int) {
	switch t {
	case Float16:
		asm.FromFloat16(row, b.halves[from:][:len(row)])
	case BFloat16:
		asm.FromBFloat16(row, b.halves[from:][:len(row)])
	case Int8:
		for i := range row {
			row[i] = tile.DequantizeInt8(b.bytes[from+i], b.scale[i])
		}
	default:
		copy(row, b.floats[from:])
	}
}

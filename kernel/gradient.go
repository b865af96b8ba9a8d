package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// A Gradient is the operands of [AttentionGradient].
type Gradient struct {
	Q, K, V Tensor    // as given to Attention
	O       Tensor    // its result, as large as Q with the Dim of V
	DO      Tensor    // the gradient of O, as large as that
	Stats   []float32 // Options.Stats of that call

	// DQ, DK and DV receive the gradients of Q, K and V, and are as large as these. An empty one, without Data,
	// is not computed.
	DQ, DK, DV Tensor

	// DBias, if it is not nil, receives the gradients of the Bias of the options, is as long as its Data, and is laid out by its
	// strides: rows that it has must not overlap. Members, heads or queries that share a bias add up.
	DBias []float32

	// DALiBi and DSinks, if they are not nil, receive the gradients of the slopes and sinks of the options, one for each query head.
	DALiBi, DSinks []float32

	// Add adds the gradients to what DQ, DK, DV, DBias, DALiBi and DSinks hold, with one addition an element.
	Add bool
}

// AttentionGradient computes the gradients of a loss with respect to the queries, keys and values of [Attention] from
// that of the output, DO, in one pass over the scores: it stores no weights. opts are the options of the forward call;
// their LSE and Stats are ignored. Before it, that call must have filled Stats.
//
// Heads of q that share a head of k add up in DK and DV, and so do all queries that see a key. Keys that a query does not see get
// nothing from it, whatever they or the query hold, and queries that see no key get zeros. A NaN in a row of Q or DO
// makes its row of DQ NaN, and the rows of DK and DV of the keys that it sees; one in a row of K or V the rows of DQ of the
// queries that see it, and its own row of DK.
//
// The bits of a result do not depend on the backend, workers, layout or batch: package generic defines the arithmetic.
// DQ, DK and DV must not share an element with each other, nor with what is read. Besides a few tiles a worker it needs
// memory for one number a row of Q and, with Add or where the Dim of Q is no multiple of 16, for as many as DQ has. An error of
// arguments comes before it writes.
//
// With the terms of Attention's docstring, to first order and where nothing underflows or overflows, an element of DV is off by at
// most the sum over the queries i that see the key of p_i*|dO_i|*(r + u*(64 + B)): p is the weight, r = u*(2*(c*(d+2)*A + X + 3) +
// T + Lk/256 + 4), and B the number of blocks of 64 queries of all heads that share the key. Package fuzz has the
// rigorous bounds of an instance, of all gradients and with dropout, and tests that they hold.
func AttentionGradient(g *Gradient, opts *Options) error {
	given, err := opts.resolve()
	if err != nil {
		return err
	}
	o := *given
	o.LSE, o.Stats = nil, nil
	if g == nil {
		return fmt.Errorf("attn: the *Gradient is nil")
	}
	x := *g
	if err := x.resolve(); err != nil {
		return err
	}
	if err := o.check(&x.Q, &x.K, x.Q.Len); err != nil {
		return err
	}
	if err := checkStats("Gradient.Stats", x.Stats, &x.Q, x.Q.Len); err != nil {
		return err
	}
	if err := x.checkEdits(&o); err != nil {
		return err
	}
	if err := x.checkApart(&o); err != nil {
		return err
	}
	for _, d := range [...]*[]float32{&x.DBias, &x.DALiBi, &x.DSinks} {
		if len(*d) == 0 {
			*d = nil
		}
	}
	a := stages.Gradient{
		O: source.Tensor(x.O), DO: source.Tensor(x.DO),
		DQ: source.Tensor(x.DQ), DK: source.Tensor(x.DK), DV: source.Tensor(x.DV),
		DBias: x.DBias, DALiBi: x.DALiBi, DSinks: x.DSinks, Add: x.Add,
	}
	a.Q, a.K.Tensor, a.V.Tensor = source.Tensor(x.Q), source.Tensor(x.K), source.Tensor(x.V)
	o.arguments(&a.Arguments, 0, x.Q.Len)
	a.Stats = x.Stats
	stages.AttentionGradient(&a)
	return nil
}

// resolve resolves the tensors, in place, and checks that they fit together.
func (g *Gradient) resolve() error {
	// Names apart from tensors, which would escape with them.
	names := [...]string{"Gradient.Q", "Gradient.K", "Gradient.V", "Gradient.O", "Gradient.DO"}
	for i, t := range [...]*Tensor{&g.Q, &g.K, &g.V, &g.O, &g.DO} {
		if err := t.resolve(names[i]); err != nil {
			return err
		}
	}
	if err := checkQueryKey("Gradient.Q", "Gradient.K", &g.Q, &g.K); err != nil {
		return err
	}
	const q, k, v = "Gradient.Q", "Gradient.K", "Gradient.V"
	if err := checkSizes(v, &g.V, [...]int{g.Q.Batch, g.K.Heads, g.K.Len, g.V.Dim}, [...]string{q, k, k, v}); err != nil {
		return err
	}
	for i, t := range [...]*Tensor{&g.O, &g.DO} {
		if err := checkSizes(names[3+i], t, [...]int{g.Q.Batch, g.Q.Heads, g.Q.Len, g.V.Dim}, [...]string{q, q, q, v}); err != nil {
			return err
		}
	}
	like, written := [...]*Tensor{&g.Q, &g.K, &g.V}, [...]string{"Gradient.DQ", "Gradient.DK", "Gradient.DV"}
	for i, t := range [...]*Tensor{&g.DQ, &g.DK, &g.DV} {
		if len(t.Data) == 0 && t.Len == 0 { // not asked for
			t.Data = nil
			continue
		}
		if err := t.resolveWritten(written[i]); err != nil {
			return err
		}
		x, of := like[i], names[i]
		if err := checkSizes(written[i], t, [...]int{x.Batch, x.Heads, x.Len, x.Dim}, [...]string{of, of, of, of}); err != nil {
			return err
		}
		if t.empty() {
			t.Data = nil
		}
	}
	return nil
}

// checkEdits checks the gradients of what edits scores.
func (g *Gradient) checkEdits(o *Options) error {
	for _, x := range [...]struct {
		name      string
		got, want []float32
	}{{"ALiBi", g.DALiBi, o.ALiBi}, {"Sinks", g.DSinks, o.Sinks}} {
		if x.got != nil && len(x.got) != len(x.want) {
			return fmt.Errorf("attn: Gradient.D%s has %d elements, want %d as Options.%s", x.name, len(x.got), len(x.want), x.name)
		}
	}
	if g.DBias == nil {
		return nil
	}
	n := 0
	if o.Bias != nil {
		n = len(o.Bias.Data)
	}
	if len(g.DBias) != n {
		return fmt.Errorf("attn: Gradient.DBias has %d elements, want %d as Options.Bias.Data", len(g.DBias), n)
	}
	if s := o.Scale; s != 0 && math.IsInf(float64(1/s), 0) {
		return fmt.Errorf("attn: Options.Scale is %g with Gradient.DBias, want more than 2^-128 in magnitude", s)
	}
	if t := g.biasRows(o); !t.empty() && t.rowsMeet() {
		return fmt.Errorf("attn: Gradient.DBias: rows of Options.Bias overlap, which has BatchStride %d, HeadStride %d, QueryStride %d for %d keys",
			o.Bias.BatchStride, o.Bias.HeadStride, o.Bias.QueryStride, g.K.Len)
	}
	return nil
}

// biasRows returns the rows of DBias, those that are shared once.
func (g *Gradient) biasRows(o *Options) Tensor {
	t := Tensor{Data: g.DBias, Batch: g.Q.Batch, Heads: g.Q.Heads, Len: g.Q.Len, Dim: g.K.Len}
	if len(g.DBias) == 0 || t.Dim == 0 || t.Len == 0 {
		return Tensor{}
	}
	t.BatchStride, t.HeadStride, t.LenStride = o.Bias.BatchStride, o.Bias.HeadStride, o.Bias.QueryStride
	for _, d := range [...]struct{ stride, size *int }{{&t.BatchStride, &t.Batch}, {&t.HeadStride, &t.Heads}, {&t.LenStride, &t.Len}} {
		if *d.stride == 0 || *d.size == 1 {
			*d.stride, *d.size = 0, 1
		}
	}
	t.Data = t.Data[:(t.Batch-1)*t.BatchStride+(t.Heads-1)*t.HeadStride+(t.Len-1)*t.LenStride+t.Dim]
	return t
}

// checkApart returns an error if a gradient shares an element with another one or with what is read.
func (g *Gradient) checkApart(o *Options) error {
	bias := g.biasRows(o)
	inputs := [...]operand{
		{"Gradient.Q.Data", g.Q.footprint()}, {"Gradient.K.Data", g.K.footprint()}, {"Gradient.V.Data", g.V.footprint()},
		{"Gradient.O.Data", g.O.footprint()}, {"Gradient.DO.Data", g.DO.footprint()}, {"Gradient.Stats", vectorFootprint(g.Stats)},
		{"Gradient.DQ.Data", g.DQ.footprint()}, {"Gradient.DK.Data", g.DK.footprint()}, {"Gradient.DV.Data", g.DV.footprint()},
		{"Gradient.DBias", bias.footprint()}, {"Gradient.DALiBi", vectorFootprint(g.DALiBi)}, {"Gradient.DSinks", vectorFootprint(g.DSinks)},
	}
	const first = 6 // of those that are written
	for i := first; i < len(inputs); i++ {
		written := inputs[i]
		if len(written.at.data) == 0 {
			continue
		}
		if name := shared(written.at, inputs[:i]...); name != "" {
			return fmt.Errorf("attn: %s shares memory with %s", written.name, name)
		}
		if err := o.checkApart(written.name, written.at, &g.Q, g.Q.Len, g.K.Len); err != nil {
			return err
		}
	}
	return nil
}

package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// Attention computes dst = softmax(scale * Q.K^T + mask) . V for every batch and head: each query,
// compared with every key that it sees, mixes their values by the shares of the softmax. opts may
// be nil.
//
//	q   [Batch][Heads][Lq][Dim]      k   [Batch][KV heads][Lk][Dim]
//	dst [Batch][Heads][Lq][VDim]     v   [Batch][KV heads][Lk][VDim]
//
// Heads is a multiple of the KV heads (grouped-query attention): query head h uses KV head h /
// (Heads / KV heads). Dims are 1 to 8192. All layouts that a [Tensor] describes are read and
// written in place; multiples of 16 in Dim are fastest. dst may be q itself (the same view), and
// must not share an element with an input otherwise: the views of one fused buffer may take turns,
// row by row.
//
// A query that sees no key gives zeros. Keys that are hidden from a query never influence it,
// whatever k and v hold there. A NaN or +Inf in a visible score makes that row NaN, and no other
// one. A score of -Inf means a weight of 0, and so may one whose weight is below 2^-124 of the largest;
// the value counts all the same if it is NaN or infinite, as 0 times that is NaN. Attention needs
// memory for a few tiles per worker, whatever Lq and Lk are.
//
// Finite queries and keys have finite scores while |scale*q_i| and sum_i |scale*q_i*k_i| are below
// 2.3e38 (scores are computed in units of log 2, which are 1.44 times as large); beyond that a score
// may overflow to NaN, +Inf or -Inf. Finite values have finite mixes while sum_j |v_j|, over the keys that
// the query sees, is below 2^127 in each column: their weights are at most 1, and what is divided by
// the sum of the weights is the mix. Beyond that an output may become infinite or NaN.
//
// It returns an error that names the argument, before it writes, if shapes, strides, lengths of
// Data, overlaps or options are wrong.
//
// The algorithm is online softmax over tiles of keys (Milakov and Gimelshein, Online normalizer
// calculation for softmax, 2018; Dao et al., FlashAttention, 2022). Package generic defines its
// arithmetic. With u = 2^-24, d = Dim, c = |scale|, A the largest sum_i |q_i*k_i| and X the largest
// difference of two scores of a row, the error of an output is, to first order in u and where nothing
// underflows, at most u*(c*(d+2)*A + X + 3) times the difference of the largest and the least value that it
// mixes, plus 2*u*(T + S + Lk/16384 + 3) times their largest magnitude, T = min(Lk, 256), S = min(Lk/256, 64): the
// rounding of tiles of 256 keys, of spans of 64 tiles, and of their merging. A sink counts as a key whose value is 0, and adds
// u times its magnitude to the first sum. Package fuzz has the rigorous
// bound of an instance, of all orders and with underflows, and tests that it holds.
func Attention(dst, q, k, v Tensor, opts *Options) error {
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	return attention(&dst, &q, &k, &v, o, portion{queries: q.Len})
}

// AttentionContext is [Attention] until ctx is done: then it returns ctx.Err(), and leaves dst and Options.LSE
// partly written. It looks between tiles, every 0.1 ms or so in assembly, up to 1 ms where Dim is 8192, and no goroutine of the
// call is at work any more when it returns. Errors of arguments come first.
func AttentionContext(ctx context.Context, dst, q, k, v Tensor, opts *Options) error {
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	return until(ctx, q.Len, func(p portion) error { return attention(&dst, &q, &k, &v, o, p) })
}

// until computes so many queries until ctx is done.
func until(ctx context.Context, queries int, attention func(p portion) error) error {
	if ctx == nil {
		return errors.New("attn: ctx is nil, want a context")
	}
	p := portion{queries: queries}
	if ctx.Done() != nil {
		p.stop = new(atomic.Bool)
		p.stop.Store(ctx.Err() != nil)
		defer context.AfterFunc(ctx, func() { p.stop.Store(true) })()
	}
	if err := attention(p); err != nil {
		return err
	}
	if p.stop != nil && p.stop.Load() {
		return ctx.Err()
	}
	return nil
}

// A portion is the rows of q from first on of so many queries, until stop, which may be nil, is true.
type portion struct {
	first, queries int
	stop           *atomic.Bool
}

// attention is Attention of a portion of the queries, with resolved options.
func attention(dst, q, k, v *Tensor, o *Options, p portion) error {
	if p.queries == q.Len && o.short(q, k, v) {
		return o.attendShort(dst, q, k, v, p.stop)
	}
	c := stages.NewCall()
	c.Dst, c.Q, c.K.Tensor, c.V.Tensor = source.Tensor(*dst), source.Tensor(*q), source.Tensor(*k), source.Tensor(*v)
	if err := p.check(&c.Arguments, o); err != nil || c.Q.Len == 0 {
		c.Release()
		return err
	}
	o.arguments(&c.Arguments, p.first, p.queries)
	c.Stop = p.stop
	c.Attention()
	return nil
}

// short reports whether a call of all queries is a [stages.Short] one, unless it is refused.
func (o *Options) short(q, k, v *Tensor) bool {
	return o.plain() && stages.IsShort((*source.Tensor)(q), (*source.Tensor)(k), (*source.Tensor)(v))
}

// attendShort is attention of a short call, which looks once whether it is to stop.
func (o *Options) attendShort(dst, q, k, v *Tensor, stop *atomic.Bool) error {
	if err := checkAttention(dst, q, k, v); err != nil || stop != nil && stop.Load() {
		return err
	}
	c := stages.Short{Dst: (*source.Tensor)(dst), Q: (*source.Tensor)(q), K: (*source.Tensor)(k), V: (*source.Tensor)(v), Scale: o.scale(q.Dim)}
	c.Sight.Causal = o.Causal
	c.Attention()
	return nil
}

// check checks the tensors and what o says of them. It resolves the tensors where the call has them, as a copy of what
// has just been written waits for it.
func (p portion) check(a *stages.Arguments, o *Options) error {
	dst, q, k, v := (*Tensor)(&a.Dst), (*Tensor)(&a.Q), (*Tensor)(&a.K.Tensor), (*Tensor)(&a.V.Tensor)
	if err := checkAttention(dst, q, k, v); err != nil {
		return err
	}
	if err := o.check(q, k, p.queries); err != nil || !o.edits() && !o.saves() {
		return err
	}
	return o.checkWritten(dst, q, p.queries, k.Len, operand{"k.Data", k.footprint()}, operand{"v.Data", v.footprint()})
}

// checkWritten returns an error if dst shares an element with what o reads of so many queries and keys, or what else is
// written with that, or with dst, q or other inputs.
func (o *Options) checkWritten(dst, q *Tensor, queries, keys int, inputs ...operand) error {
	if o.edits() {
		if err := o.checkApart("dst.Data", dst.footprint(), q, queries, keys); err != nil {
			return err
		}
	}
	if !o.saves() {
		return nil
	}
	return o.checkSaved(dst, q, queries, keys, inputs)
}

// saves reports whether a call writes more than dst.
func (o *Options) saves() bool { return o.LSE != nil || o.Stats != nil }

// checkSaved returns an error if what else a call writes shares an element with an operand.
func (o *Options) checkSaved(dst, q *Tensor, queries, keys int, inputs []operand) error {
	for _, x := range [...]struct {
		name string
		data []float32
	}{{"Options.LSE", o.LSE}, {"Options.Stats", o.Stats}} {
		at := vectorFootprint(x.data)
		if err := o.checkApart(x.name, at, q, queries, keys); err != nil {
			return err
		}
		name := shared(at, operand{"dst.Data", dst.footprint()}, operand{"q.Data", q.footprint()})
		if name == "" {
			name = shared(at, inputs...)
		}
		if name != "" {
			return fmt.Errorf("attn: %s shares memory with %s", x.name, name)
		}
	}
	switch {
	case overlap(o.LSE, o.Stats):
		return fmt.Errorf("attn: Options.Stats shares memory with Options.LSE")
	case o.Stats != nil && dst.meets(q):
		return fmt.Errorf("attn: dst.Data shares memory with q.Data, want it apart with Options.Stats: the gradient needs both")
	}
	return nil
}

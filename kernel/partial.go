package kernel

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// A Partial is what a part of the keys makes of queries, so that parts may be computed apart, on other machines
// too: [AttentionPartial] computes one, [Partial.Merge] unites two and [Partial.Finish] gives what [Attention]
// over all of their keys would, bit for bit. Its zero value is that of no keys, for queries of any shape.
//
// It holds, for each query row and each span of 16384 keys ([generic.SpanKeys]), the state of package generic: VDim+2
// elements, 33 kB for a million keys and VDim 128. Copies share these, and so do partials that are merged: they are
// never changed. Several goroutines may use a Partial at the same time as long as none changes it.
type Partial struct {
	batch, heads, queries, dim int           // of the rows; 0 in the zero value, else all but queries are not
	sinks                      *stages.State // of the rows, without a mix, or nil
	spans                      []span        // by number
}

// A span is the state of the rows for one span of keys.
type span struct {
	number int
	state  *stages.State
}

// AttentionPartial sets p to what the keys and values k and v, of which row 0 is number firstKey among all keys, make
// of q. firstKey is a multiple of 16384, [generic.SpanKeys], and others are refused: shards are cut where a span ends.
// p covers the spans from firstKey to firstKey + Len of k, whether a query sees them or not; without keys it covers none.
//
//	q [Batch][Heads][Lq][Dim]    k [Batch][KV heads][Lk][Dim]    v [Batch][KV heads][Lk][VDim]
//
// Of the options, Start and with it Causal, Window and ALiBi count from the first of all keys, and with ALiBi firstKey
// + Lk is at most 2^30; KeyLen, Mask and Bias are those of the rows of k. Start is needed unless firstKey is 0 and
// neither Causal nor Window nor ALiBi is given. Sinks may be given for each shard or for some, and count once. LSE, Stats,
// QueryOffsets and KeyOffsets are nil: Finish has the log-sum-exp. The other options are to be the same for all shards.
//
// It returns an error that names the argument, and leaves p as it is, where [Attention] would, and for these. What p
// holds may be 64 times as large as q, k and v, or 1 GiB if that is more. Its memory is new for each call.
func AttentionPartial(p *Partial, q, k, v Tensor, firstKey int, opts *Options) error {
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	if p == nil {
		return errors.New("attn: p is nil, want a *Partial")
	}
	if err := checkInputs(&q, &k, &v); err != nil {
		return err
	}
	if v.Dim == 0 {
		return fmt.Errorf("attn: v.Dim is 0, want 1 to %d", maxDim)
	}
	if err := o.check(&q, &k, q.Len); err != nil {
		return err
	}
	spans, err := o.checkShard(&q, &k, &v, firstKey)
	if err != nil {
		return err
	}
	c := stages.NewCall()
	c.Q, c.K.Tensor, c.V.Tensor, c.FirstKey = source.Tensor(q), source.Tensor(k), source.Tensor(v), firstKey
	o.arguments(&c.Arguments, 0, q.Len)
	*p = newPartial(c, &q, o, spans)
	return nil
}

// newPartial returns the states of the rows of q for so many spans of the keys of c, whose Dst is not used. It ends c.
func newPartial(c *stages.Call, q *Tensor, o *Options, spans int) Partial {
	firstKey, dim := c.FirstKey, c.V.Dim
	c.Dst = c.Q
	n, rows := Partial{batch: q.Batch, heads: q.Heads, queries: q.Len, dim: dim}, q.Batch*q.Heads*q.Len
	for i := range spans {
		n.spans = append(n.spans, span{firstKey/generic.SpanKeys + i, stages.NewState(rows, dim)})
		c.Spans = append(c.Spans, n.spans[i].state)
	}
	if o.Sinks != nil {
		n.sinks = stages.NewState(rows, 0)
	}
	if rows > 0 && o.Sinks != nil {
		n.setSinks(o)
	}
	if rows > 0 && spans > 0 {
		c.Attention()
	} else {
		c.Release()
	}
	return n
}

// checkShard checks what o says of a shard of the keys of k from number first on, and returns how many spans they are.
func (o *Options) checkShard(q, k, v *Tensor, first int) (spans int, err error) {
	n := k.Len
	switch {
	case first < 0 || first%generic.SpanKeys != 0:
		return 0, fmt.Errorf("attn: firstKey is %d, want a multiple of %d, the keys of a span, from 0 on", first, generic.SpanKeys)
	case first > math.MaxInt-n:
		return 0, fmt.Errorf("attn: firstKey is %d with %d keys from there on, want numbers that an int counts", first, n)
	case o.LSE != nil:
		return 0, fmt.Errorf("attn: Options.LSE has %d elements, want nil: Finish has the log-sum-exp", len(o.LSE))
	case o.Stats != nil:
		return 0, fmt.Errorf("attn: Options.Stats has %d elements, want nil: a Partial has no statistics of whole rows", len(o.Stats))
	case o.Dropout != nil:
		return 0, fmt.Errorf("attn: Options.Dropout has P %g, want nil: a Partial is not for training", o.Dropout.P)
	case o.QueryOffsets != nil:
		return 0, fmt.Errorf("attn: Options.QueryOffsets has %d elements, want nil: sequences of a Partial are not packed", len(o.QueryOffsets))
	case o.Start == nil && (first > 0 || o.Causal || o.Window != nil || o.ALiBi != nil):
		return 0, fmt.Errorf("attn: Options.Start is nil with firstKey %d, want the position of query 0 among the keys of all shards", first)
	case o.ALiBi != nil && first > 1<<30-n:
		return 0, fmt.Errorf("attn: firstKey is %d with Options.ALiBi, want at most %d for %d keys", first, 1<<30-n, n)
	}
	spans = plan.CeilDiv(n, generic.SpanKeys)
	return spans, checkStates(q, k, v, spans)
}

// checkStates returns an error if the states of the rows of q for some spans would take too much memory.
func checkStates(q, k, v *Tensor, spans int) error {
	const least, times = 1 << 30, 64
	rows, ok := product(q.Batch, q.Heads)
	rows, ok2 := product(rows, q.Len)
	size, ok3 := product(rows, (v.Dim+2)*4)
	size, ok4 := product(size, spans+1) // and sinks
	if most := max(least, times*4*(len(q.Data)+len(k.Data)+len(v.Data))); !ok || !ok2 || !ok3 || !ok4 || size > most {
		return fmt.Errorf("attn: q is %s: the states of its rows for %d spans of keys take more than %d bytes", q.shape(), spans, most)
	}
	return nil
}

// setSinks gives the rows that exist the sinks of o.
func (p *Partial) setSinks(o *Options) {
	for b := range p.batch {
		n := p.queries
		if o.QueryLen != nil {
			n = o.QueryLen[b]
		}
		for h, logit := range o.Sinks {
			for i := range n {
				at := (b*p.heads+h)*p.queries + i
				p.sinks.Max[at], p.sinks.Sum[at] = generic.Sink(logit)
			}
		}
	}
}

// Merge adds the spans of o to p, which is exact: whatever the order of merging, the result is the same. The zero value
// adds nothing. o stays as it is.
//
// It returns an error, and leaves p as it is, if o is nil or p itself, if the rows differ in shape or in their sinks, and
// if both have the same span of keys.
func (p *Partial) Merge(o *Partial) error {
	switch {
	case p == nil || o == nil:
		return errors.New("attn: Merge: a Partial is nil")
	case p == o:
		return errors.New("attn: Merge: the Partial is merged with itself")
	case o.batch == 0:
		return nil
	case p.batch == 0:
		*p = *o
		return nil
	case p.batch != o.batch || p.heads != o.heads || p.queries != o.queries || p.dim != o.dim:
		return fmt.Errorf("attn: Merge: the rows are %s, and those to be merged %s", p.shape(), o.shape())
	case p.sinks != nil && o.sinks != nil && !(slices.Equal(p.sinks.Max, o.sinks.Max) && slices.Equal(p.sinks.Sum, o.sinks.Sum)):
		return errors.New("attn: Merge: Options.Sinks or QueryLen were others")
	}
	all := make([]span, 0, len(p.spans)+len(o.spans))
	for x, y := p.spans, o.spans; len(x)+len(y) > 0; {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0].number < y[0].number:
			all, x = append(all, x[0]), x[1:]
		case len(x) > 0 && x[0].number == y[0].number:
			return fmt.Errorf("attn: Merge: the keys from number %d on are in both", x[0].number*generic.SpanKeys)
		default:
			all, y = append(all, y[0]), y[1:]
		}
	}
	if p.spans = all; p.sinks == nil {
		p.sinks = o.sinks
	}
	return nil
}

func (p *Partial) shape() string {
	return fmt.Sprintf("[%d][%d][%d][%d]", p.batch, p.heads, p.queries, p.dim)
}

// Finish sets dst, [Batch][Heads][Lq][VDim], to the attention of the queries to the keys of p, and lse, if it is not
// nil, to the log-sum-exp of their scores, as Options.LSE. Both have the bits of [Attention] over the keys of all
// spans together. p stays as it is.
//
// It returns an error that names the argument, before it writes, if shapes, strides or lengths are wrong, if lse
// shares an element with dst, or if p is the zero value, which has no shape.
func (p *Partial) Finish(dst Tensor, lse []float32) error {
	if p == nil || p.batch == 0 {
		return errors.New("attn: Finish: the Partial is nil or its zero value: it has no queries")
	}
	if err := dst.resolveWritten("dst"); err != nil {
		return err
	}
	of := "the Partial"
	if err := checkSizes("dst", &dst, [...]int{p.batch, p.heads, p.queries, p.dim}, [...]string{of, of, of, of}); err != nil {
		return err
	}
	if lse != nil && len(lse) != p.batch*p.heads*p.queries {
		return fmt.Errorf("attn: lse has %d elements, want one a row, [%d][%d][%d]", len(lse), p.batch, p.heads, p.queries)
	}
	if shared(dst.footprint(), operand{"lse", vectorFootprint(lse)}) != "" {
		return errors.New("attn: lse shares memory with dst.Data")
	}
	if dst.empty() {
		return nil
	}
	for b := range p.batch {
		for h := range p.heads {
			for i := range p.queries {
				n := (b*p.heads+h)*p.queries + i
				sum := p.finishRow(dst.Data[b*dst.BatchStride+h*dst.HeadStride+i*dst.LenStride:][:p.dim], n)
				if lse != nil {
					lse[n] = sum
				}
			}
		}
	}
	return nil
}

// finishRow writes the output of row n, and returns its log-sum-exp.
func (p *Partial) finishRow(dst []float32, n int) (lse float32) {
	M, L := float32(math.Inf(-1)), float32(0)
	if p.sinks != nil {
		M, L = p.sinks.Max[n], p.sinks.Sum[n]
	}
	memory.Clear(dst)
	for _, s := range p.spans {
		var a, b float32
		M, a, b = tile.Merge(M, s.state.Max[n])
		L = tile.MergeSum(L, s.state.Sum[n], a, b)
		stages.MergeRow(dst, s.state.Mix[n*p.dim:][:p.dim], a, b)
	}
	asm.Scale(dst, dst, tile.Inverse(L))
	return tile.LogSum2(M, L)
}

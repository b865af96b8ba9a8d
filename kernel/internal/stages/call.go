package stages

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

// Arguments are the checked arguments of a call.
type Arguments struct {
	Dst, Q   source.Tensor
	K, V     source.Stored
	First    int       // number of the first row of Q and Dst among the queries
	Queries  int       // how many there are, of which Q may be a part
	Scale    float32   // of the scores
	SoftCap  float32   // of the scores, or 0
	ALiBi    []float32 // slopes of the query heads, or nil
	Bias     Bias
	Sight    sight.Rule
	Lengths  sight.Lengths
	Sinks    []float32 // logits of the query heads, or nil
	Dropout  Dropout
	LSE      []float32    // if not nil receives the log-sum-exp of each row, [Batch][Heads][Lq]
	Stats    []float32    // if not nil receives the maximum and the sum of each row, [Batch][Heads][Lq][2]
	FirstKey int          // number of the first row of K and V among all keys, from which positions count; a multiple of a span
	Spans    []*State     // if not nil receives what each span of K makes of all rows, and nothing else does
	Workers  int          // at most; 0 adapts to what else runs
	Stop     *atomic.Bool // if not nil, and once it is true, Dst is left as it is
}

// A Call is its arguments, which are set in place, and what is made of them.
type Call struct {
	Arguments
	scale     float32 // of the queries, which makes scores logarithms to base 2
	edit      edit
	sinks     []float32 // in units of log 2
	sequences []sight.Sequence
	plan      plan.Plan
	planned   shape   // of which these two are, as one call is often like the last one
	shared    []merge // of the KV heads whose keys are split among items
	desk      queue.Desk
	own       worker // of the goroutine of the call
}

var calls = sync.Pool{New: func() any { return new(Call) }}

// NewCall returns a call without arguments, for one Attention or Release.
func NewCall() *Call { return calls.Get().(*Call) }

// newCall plans a call with a copy of the arguments.
func newCall(a *Arguments) *Call {
	c := NewCall()
	c.Arguments = *a
	c.begin()
	return c
}

// begin plans a call.
func (c *Call) begin() {
	a := &c.Arguments
	c.scale = generic.Log2Scale(a.Scale)
	c.edit.set(&c.Arguments)
	c.sinks = appendLog2(c.sinks[:0], a.Sinks)
	s := plan.Shape{
		Q: &c.Q, K: &c.K.Tensor, V: &c.V.Tensor, Copied: c.K.Copied() || c.V.Copied(), Sight: &c.Sight, Workers: queue.Workers(a.Workers),
		Wide: asm.PanelWidth(tile.MaxPanel), Scalar: asm.Backend() == "generic", Sinks: a.Sinks != nil,
	}
	trims := a.Sinks == nil || !c.saves() // else of rows that see no key that of their sink is saved
	if c.planned.is(a, &s, trims) {
		return
	}
	c.planned.known = false
	c.sequences = a.Lengths.Sequences(c.sequences[:0], a.Q.Batch, a.Queries, a.K.Len)
	for i := range c.sequences {
		s := &c.sequences[i]
		s.Cut(a.First, a.Q.Len)
		s.CountFrom(a.FirstKey)
		if trims {
			c.Sight.Trim(s)
		}
	}
	s.Sequences = c.sequences
	c.plan.Set(&s)
	c.planned.set(a, &s, trims)
}

// A shape is all that the sequences and the plan of a call without Lengths depend on.
type shape struct {
	known                    bool
	trims                    bool          // sequences to the queries that may see a key
	copied, scalar, sinks    bool          // as in plan.Shape
	wide, workers            int           // likewise
	q, k, v                  source.Tensor // without their Data
	sight                    sight.Rule    // without its mask
	first, queries, firstKey int
}

// set makes s that of a call, if it has no Lengths.
func (s *shape) set(a *Arguments, p *plan.Shape, trims bool) {
	if !a.Lengths.None() {
		return
	}
	s.known, s.trims, s.sight = true, trims, a.Sight
	s.copied, s.scalar, s.sinks, s.wide, s.workers = p.Copied, p.Scalar, p.Sinks, p.Wide, p.Workers
	s.q, s.k, s.v, s.first, s.queries, s.firstKey = a.Q, a.K.Tensor, a.V.Tensor, a.First, a.Queries, a.FirstKey
	s.q.Data, s.k.Data, s.v.Data, s.sight.Mask = nil, nil, nil, sight.Mask{}
}

// is reports whether s is that of a call. It compares field by field, in place, as a copy of what has just been written
// waits for it.
func (s *shape) is(a *Arguments, p *plan.Shape, trims bool) bool {
	return s.known && a.Lengths.None() && s.trims == trims &&
		s.copied == p.Copied && s.scalar == p.Scalar && s.sinks == p.Sinks && s.wide == p.Wide && s.workers == p.Workers &&
		s.first == a.First && s.queries == a.Queries && s.firstKey == a.FirstKey &&
		s.sight.Like(&a.Sight) && s.q.Like(&a.Q) && s.k.Like(&a.K.Tensor) && s.v.Like(&a.V.Tensor)
}

// numbered reports whether rows need their numbers.
func (c *Call) numbered() bool {
	return c.saves() || c.Sinks != nil || c.Spans != nil || c.Dropout.On()
}

// perHead reports whether rows need more than their places, which differs from head to head.
func (c *Call) perHead() bool { return c.edit.on || c.Sight.Mask.Data != nil || c.numbered() }

// stopped reports whether the caller wants no more. It is asked between tiles, and between their scores and values, as those of
// thousands of elements take a millisecond. An item that ends early still takes its turn, as others may wait for it.
func (c *Call) stopped() bool { return c.Stop != nil && c.Stop.Load() }

// Release puts c back, without keeping data alive.
func (c *Call) Release() {
	c.Arguments = Arguments{}
	calls.Put(c)
}

// Attention computes Dst, and releases c.
func (c *Call) Attention() {
	c.begin()
	if c.Spans == nil {
		c.clearRest()
	}
	c.shareMerges()
	c.desk.Share(queue.Call{
		Items: c.plan.Items, Workers: c.plan.Workers, Useful: c.plan.Useful, Adapt: c.Workers == 0,
		Turns: c.plan.Shared > 0, Stop: c.Stop,
	}, c)
	c.Release()
}

// Run is that of the plan.
func (c *Call) Run(i int) (number, first, n, together int) { return c.plan.Run(i) }

// clearRest writes the rows of Dst that are in no sequence, or see no key: zeros.
func (c *Call) clearRest() {
	queries := func(s *sight.Sequence) (first, n int) { return s.Query, s.Queries }
	eachRest(c.sequences, &c.Dst, queries, c.clearRows)
}

// eachRest calls f with the rows [from, to) of the batch members of t that are in no sequence, if there are any. of
// returns the first row that a sequence has in t, and how many.
func eachRest(sequences []sight.Sequence, t *source.Tensor, of func(s *sight.Sequence) (first, n int), f func(batch, from, to int)) {
	row, batch := 0, 0 // the first one that may be left
	for i := 0; i <= len(sequences); i++ {
		next, first, n := t.Batch, 0, 0 // behind the last one
		if i < len(sequences) {
			next = sequences[i].Batch
			first, n = of(&sequences[i])
		}
		for ; batch < next; batch, row = batch+1, 0 {
			if row < t.Len {
				f(batch, row, t.Len)
			}
		}
		if row < first {
			f(batch, row, first)
		}
		row = first + n
	}
}

// clearRows writes the rows [from, to) of all heads.
func (c *Call) clearRows(batch, from, to int) {
	d, n := &c.Dst, 1 // rows at a time
	if d.LenStride == d.Dim {
		n = to - from
	}
	for head := range d.Heads {
		for i := from; i < to; i += n {
			memory.Clear(d.Data[d.At(batch, head, i):][:n*d.Dim])
		}
		for i := from; i < to && c.saves(); i++ {
			c.save((batch*d.Heads+head)*c.Queries+c.First+i, float32(math.Inf(-1)), 0)
		}
	}
}

// saves reports whether the maxima and sums of rows are saved.
func (c *Call) saves() bool { return c.LSE != nil || c.Stats != nil }

// save saves the maximum and the sum of a row, which has a number among [Batch][Heads][Lq].
func (c *Call) save(number int, max, sum float32) {
	if c.LSE != nil {
		c.LSE[number] = tile.LogSum2(max, sum)
	}
	if c.Stats != nil {
		c.Stats[2*number], c.Stats[2*number+1] = max, sum
	}
}

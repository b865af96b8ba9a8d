package stages

import (
	"sync"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

// Arguments are the checked arguments of a call.
type Arguments struct {
	Dst, Q, K, V source.Tensor
	Scale        float32 // of the scores
	Sight        sight.Rule
	Workers      int // at most; 0 adapts to what else runs
}

// A call is a call under way.
type call struct {
	Arguments
	scale     float32 // of the queries, which makes scores logarithms to base 2
	sequences []sight.Sequence
	plan      plan.Plan
	shared    []merge // of the KV heads whose keys are split among items
}

var calls = sync.Pool{New: func() any { return new(call) }}

// newCall plans a call.
func newCall(a Arguments) *call {
	c := calls.Get().(*call)
	c.Arguments, c.scale = a, generic.Log2Scale(a.Scale)
	c.sequences = c.sequences[:0]
	for b := range a.Q.Batch {
		// The queries are at the end of the keys.
		c.sequences = append(c.sequences, sight.Sequence{Batch: b, Queries: a.Q.Len, Keys: a.K.Len, Start: a.K.Len - a.Q.Len})
	}
	c.plan = plan.New(plan.Shape{
		Q: &c.Q, K: &c.K, V: &c.V, Sequences: c.sequences, Workers: queue.Workers(a.Workers), Wide: asm.PanelWidth(tile.MaxPanel),
	}, c.plan.Cuts)
	return c
}

// release puts c back, without keeping data alive.
func (c *call) release() {
	c.Arguments = Arguments{}
	calls.Put(c)
}

// Attention computes Dst.
func Attention(a Arguments) {
	c := newCall(a)
	c.shareMerges()
	queue.Share(queue.Call{
		Items: c.plan.Items, Workers: c.plan.Workers, Useful: c.plan.Useful, Adapt: a.Workers == 0, Turns: c.plan.Shared > 0,
	}, c)
	c.release()
}

// Run is that of the plan.
func (c *call) Run(i int) (number, first, n, block int) { return c.plan.Run(i) }

package stages

import (
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

// The gradient walks over the same scores once more. An item is a tile of keys of a KV head. It takes the blocks of
// queries that see it from the last to the first, and of each block the query heads of the group: that is a step. Its
// sums of dK and dV are its own. Those of dQ are shared by all items of the head, which add to them in turn: the tiles
// of a step in increasing order. Items are claimed in increasing order too, so that one waits only for others
// that are under way, and since they all begin with the last block, for a step or so.

// Gradient is the checked arguments of a call for the gradient.
type Gradient struct {
	Arguments                // of the forward call, whose Stats are read; First, Dst, LSE and Stop do not count
	O, DO      source.Tensor // its result, and the gradient of that
	DQ, DK, DV source.Tensor // those without Data are not computed
	DBias      []float32     // laid out as Bias is, or nil
	DALiBi     []float32     // of each query head, or nil
	DSinks     []float32
	Add        bool // to what they hold
}

const (
	stepRows = tile.GradientQueries

	// nearDims elements of a row of keys and one of values, or less, leave room in L2 for a whole tile of both and of
	// their gradients.
	nearDims = 256
)

// A gradient is a call under way.
type gradient struct {
	Gradient
	scale     float32 // of the queries, which makes scores logarithms to base 2
	keep      float32 // 1 over the share of weights that stay, 1 without dropout
	edit      edit
	desk      queue.Desk
	sequences []sight.Sequence
	group     int           // query heads of a KV head
	tileKeys  int           // of an item
	cuts      []gradientCut // of each sequence
	items     int
	delta     []float32      // of each row, [Batch][Heads][Lq], with the other sign
	turns     []atomic.Int32 // of each step, the tile whose turn it is to add to dQ
	dq        source.Tensor  // where it adds: DQ, or scratch memory of whole vectors
	sums      []float32      // that memory
	bias      []float32      // where the gradients of biases add up: DBias, or scratch memory
	apart     []float32      // that memory
	taken     []atomic.Int32 // of each tile of keys, how many items have added to biases that others share
	slope     []float64      // of each row, the sum of its gradients by distance
	fault     atomic.Bool    // a worker has given up
}

// A gradientCut is how a sequence is cut.
type gradientCut struct {
	first         int // the number of its first item
	tiles, blocks int
	turn          int // the number of its first turn: there is one for each query head and block
}

var gradients = sync.Pool{New: func() any { return new(gradient) }}

// AttentionGradient computes DQ, DK and DV.
func AttentionGradient(a *Gradient) {
	c := gradients.Get().(*gradient)
	c.Gradient = *a
	c.begin(queue.Workers(a.Workers))
	rows := a.Q.Batch * a.Q.Heads * a.Queries
	share := queue.Call{Workers: queue.Workers(a.Workers), Adapt: a.Workers == 0}
	each := func(work float64, items int, t queue.Task) {
		share.Items, share.Useful = items, queue.Useful(work)
		c.desk.Share(share, t)
	}
	each(float64(rows)*float64(a.V.Dim+a.Q.Dim), plan.CeilDiv(rows, stepRows), (*gradientRows)(c))
	c.leaveOut()
	each(c.work(), c.items, c)
	c.settleEdits()
	if c.DQ.Data != nil && &c.dq.Data[0] != &c.DQ.Data[0] {
		each(float64(rows)*float64(a.Q.Dim), plan.CeilDiv(rows, stepRows), (*gradientSums)(c))
	}
	c.release()
}

// begin cuts the call into items.
func (c *gradient) begin(workers int) {
	a := &c.Arguments
	c.scale, c.group = generic.Log2Scale(a.Scale), a.Q.Heads/a.K.Heads
	if c.keep = 1; a.Dropout.On() {
		c.keep = 1 / a.Dropout.Keep
	}
	c.edit.set(a)
	c.sequences = a.Lengths.Sequences(c.sequences[:0], a.Q.Batch, a.Queries, a.K.Len)
	c.tileKeys = tile.Keys
	if a.Q.Dim+a.V.Dim > nearDims || len(c.sequences)*a.K.Heads*plan.CeilDiv(a.K.Len, tile.Keys) < 4*workers {
		c.tileKeys = tile.GradientKeys
	}
	c.cuts, c.items = c.cuts[:0], 0
	turns := 0
	for i := range c.sequences {
		s := &c.sequences[i]
		cut := gradientCut{c.items, plan.CeilDiv(s.Keys, c.tileKeys), plan.CeilDiv(s.Queries, stepRows), turns}
		c.cuts = append(c.cuts, cut)
		c.items += cut.tiles * a.K.Heads
		turns += cut.blocks * a.Q.Heads
	}
	if cap(c.turns) < turns {
		c.turns = make([]atomic.Int32, turns)
	}
	c.turns = c.turns[:turns]
	for i := range c.sequences {
		cut := &c.cuts[i]
		for b := range cut.blocks {
			first := int32(c.seen(&c.sequences[i], b).From / c.tileKeys)
			for h := range a.Q.Heads {
				c.turns[cut.turn+h*cut.blocks+b].Store(first)
			}
		}
	}
	rows := a.Q.Batch * a.Q.Heads * a.Queries
	c.delta = memory.Aligned(c.delta, rows)
	c.dq = c.DQ
	if pad := tile.Pad(a.Q.Dim); c.DQ.Data != nil && (c.Add || a.Q.Dim != pad) {
		c.sums = memory.Aligned(c.sums, rows*pad)
		c.dq.Data, c.dq.LenStride, c.dq.HeadStride, c.dq.BatchStride = c.sums, pad, a.Queries*pad, a.Q.Heads*a.Queries*pad
	}
	c.fault.Store(false)
	if c.DALiBi != nil {
		if cap(c.slope) < rows {
			c.slope = make([]float64, rows)
		}
		c.slope = c.slope[:rows]
		clear(c.slope)
	}
	if c.DBias != nil {
		c.cutBias()
	}
}

// work is about how many multiply-adds the call is.
func (c *gradient) work() (sum float64) {
	for i := range c.sequences {
		s := &c.sequences[i]
		sum += float64(2.5 * float64(c.Q.Heads) * float64(s.Queries) * float64(s.Keys) * float64(c.Q.Dim+c.V.Dim))
	}
	if c.Sight.Causal {
		sum /= 2
	}
	return sum
}

// release puts c back, without keeping data alive.
func (c *gradient) release() {
	c.Gradient, c.dq, c.bias = Gradient{}, source.Tensor{}, nil
	gradients.Put(c)
}

// seen returns the keys from the first to the last that a block of queries sees.
func (c *gradient) seen(s *sight.Sequence, block int) sight.Keys {
	// Neither end is before that of the query before.
	last := min((block+1)*stepRows, s.Queries) - 1
	return sight.Keys{From: c.Sight.Seen(s, block*stepRows).From, To: c.Sight.Seen(s, last).To}
}

// gradientRows are items of rows: it computes their delta, and clears the sums of dQ.
type gradientRows gradient

func (g *gradientRows) Work(h *queue.Hand) {
	c := (*gradient)(g)
	for item, _, ok := h.Next(); ok; item, _, ok = h.Next() {
		c.rows(item, func(n, batch, head, i int) {
			do, o := c.DO.Data[c.DO.At(batch, head, i):][:c.DO.Dim], c.O.Data[c.O.At(batch, head, i):][:c.DO.Dim]
			c.delta[n] = -float32(c.Scale * asm.Dot(do, o))
			if c.DQ.Data != nil {
				clear(c.dq.Data[c.dq.At(batch, head, i):][:c.dq.Dim])
			}
		})
	}
}

// rows calls f with the number of each row of an item of rows, and where it is.
func (c *gradient) rows(item int, f func(n, batch, head, i int)) {
	first := item * stepRows
	batch, head, i := first/c.Queries/c.Q.Heads, first/c.Queries%c.Q.Heads, first%c.Queries
	for n := first; n < min(first+stepRows, len(c.delta)); n++ {
		f(n, batch, head, i)
		if i++; i < c.Queries {
			continue
		}
		if i, head = 0, head+1; head == c.Q.Heads {
			head, batch = 0, batch+1
		}
	}
}

// gradientSums are items of rows: it takes their sums of dQ to DQ.
type gradientSums gradient

func (g *gradientSums) Work(h *queue.Hand) {
	c := (*gradient)(g)
	for item, _, ok := h.Next(); ok; item, _, ok = h.Next() {
		c.rows(item, func(_, batch, head, i int) {
			c.settle(&c.DQ, batch, head, i, c.dq.Data[c.dq.At(batch, head, i):])
		})
	}
}

// settle writes a row of a gradient, or adds to it.
func (c *gradient) settle(t *source.Tensor, batch, head, i int, sums []float32) {
	if t.Data == nil {
		return
	}
	row := t.Data[t.At(batch, head, i):][:t.Dim]
	if !c.Add {
		copy(row, sums)
		return
	}
	addTo(row, sums)
}

// leaveOut settles the gradients of keys that are in no sequence.
func (c *gradient) leaveOut() {
	var zeros []float32
	keys := func(s *sight.Sequence) (first, n int) { return s.Key, s.Keys }
	eachRest(c.sequences, &c.K.Tensor, keys, func(batch, from, to int) {
		if zeros == nil {
			zeros = make([]float32, max(c.K.Dim, c.V.Dim))
		}
		for row := from; row < to; row++ {
			for head := range c.K.Heads {
				c.settle(&c.DK, batch, head, row, zeros)
				c.settle(&c.DV, batch, head, row, zeros)
			}
		}
	})
}

// Work computes items until there are none.
func (c *gradient) Work(h *queue.Hand) {
	w := newGradientWorker(c)
	returned := false
	defer func() {
		if !returned { // and nobody waits for what this worker would have added
			c.fault.Store(true)
			h.Changed()
		}
	}()
	for i, _, ok := h.Next(); ok; i, _, ok = h.Next() {
		c.item(&w.item, i)
		// The other workers are likely to take as many items before this one takes the next.
		w.next.sequence = nil
		if next := i + h.Workers(); next < c.items {
			c.item(&w.next, next)
		}
		w.compute(h)
	}
	returned = true
	w.release()
}

package stages

import (
	"sync"

	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/source"
)

// A worker is one goroutine of a call, with its scratch memory.
type worker struct {
	*Call
	memory  []float32    // what the slices below are cut from
	queries []float32    // of panels and rows, packed
	outputs []float32    // of panels, so far
	values  []float32    // of a tile, if copied
	keys    []float32    // less than plan.RowKeys of them, for rows
	scores  []float32    // of a tile, or of parts, and then their weights
	mixes   []float32    // of parts
	items   [2]plan.Item // that at work, and what may come next
	panels  [plan.MaxPanels]panel
	rows    [plan.StretchTiles]rows  // of the KV heads of an item
	again   [1]rows                  // of a panel, which are computed again
	merges  [plan.StretchTiles]merge // of rows
	span    states                   // of a panel, at the end of a span
	parts   [plan.StretchTiles]part
	tileMax []tileMax
	lanes   [tile.Keys]uint32 // which lanes see a key
	edge    edge              // whose lanes they are
	kept    kept
	ignored tile.Panel // takes the maxima of scores that are not the last, or not yet hidden

	keyScales, valueScales []float32                         // of the rows of a tile; nil if they have none
	scales                 [2][tile.Keys]float32             // those that have been copied
	scaled                 [tile.MaxRows * tile.Keys]float32 // weights of rows whose values are converted first

	groups   source.Groups // of the rows that a kernel reads as they are stored
	nextTile upcoming      // what panels read ahead beside keys and values
	nextItem upcoming      // what the item after this one begins with

	placed             placed // what panels are of
	rowsOf, rowsPlaced int    // the sequence of rows, whatever the KV heads, and how many are of it

	tiles Tiles // that it has computed
}

// placed says that n panels have some rows of a sequence, of any KV head.
type placed struct{ sequence, row, rows, n int }

// helpers are the workers of other goroutines than those of calls.
var helpers = sync.Pool{New: func() any { return new(worker) }}

// join prepares w for the items of c.
func (w *worker) join(c *Call) {
	m := &c.plan.Scratch
	w.Call, w.placed, w.rowsPlaced = c, placed{}, 0
	w.memory = memory.Aligned(w.memory, m.Size())
	rest := w.memory
	w.queries, rest = cut(rest, m.Queries)
	w.outputs, rest = cut(rest, m.Outputs)
	w.values, rest = cut(rest, m.Values)
	w.keys, rest = cut(rest, m.Keys)
	w.scores, rest = cut(rest, m.Scores)
	w.mixes, _ = cut(rest, m.Mixes)
}

// leave does not keep data alive.
func (w *worker) leave() {
	if Count != nil {
		Count(w.tiles)
	}
	w.Call, w.tiles, w.items, w.keyScales, w.valueScales = nil, Tiles{}, [2]plan.Item{}, nil, nil
	w.nextTile.forget()
	w.nextItem.forget()
}

// cut splits x after n elements.
func cut(x []float32, n int) (head, tail []float32) { return x[:n:n], x[n:] }

// Work computes items until there are none.
func (c *Call) Work(h *queue.Hand) {
	w := &c.own
	if !h.Caller() {
		w = helpers.Get().(*worker)
	}
	w.join(c)
	it, next := &w.items[0], &w.items[1]
	expected, together := 0, 0 // what next is: so many items from expected on
	for {
		i, n, ok := h.Next()
		if !ok {
			break
		}
		if it, next = next, it; i != expected || n != together {
			c.plan.Item(it, i, n)
		}
		if together = 0; it.RestRows == it.Rows {
			w.rowItem(it, h)
			continue
		}
		// The other workers are likely to take as many items before this one takes the next.
		if expected = i + n*c.plan.Workers; expected < c.plan.Items {
			together = c.plan.Item(next, expected, 0)
			w.nextItem.expect(c, it, next)
		} else {
			w.nextItem.expect(c, it, nil)
		}
		w.panelItem(it)
	}
	if w.leave(); !h.Caller() {
		helpers.Put(w) // after a panic it is left to the collector
	}
}

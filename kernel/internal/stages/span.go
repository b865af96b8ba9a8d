package stages

import (
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
)

// A State is what keys make of all rows of a call: M, L and O of package generic, where row i of a batch member and
// head is number (batch*Heads+head)*Lq + i, and O has the rows of VDim. No keys make Max -Inf and the others 0.
type State struct{ Max, Sum, Mix []float32 }

// NewState returns that of no keys for so many rows, whose VDim is dim.
func NewState(rows, dim int) *State {
	s := &State{make([]float32, rows), make([]float32, rows), make([]float32, rows*dim)}
	for i := range s.Max {
		s.reset(i, dim)
	}
	return s
}

// reset makes row n, of dim elements, what no keys make of it.
func (s *State) reset(n, dim int) {
	s.Max[n], s.Sum[n] = float32(math.Inf(-1)), 0
	memory.Clear(s.Mix[n*dim:][:dim])
}

// states are what keys make of rows of one KV head: M, L and O.
type states struct {
	max, sum [tile.MaxPanel]float32
	mix      []float32 // rows of the padded VDim
}

// reset makes s the states of no keys for n rows, whose padded VDim is pad.
func (s *states) reset(n, pad int) {
	for r := range n {
		s.max[r], s.sum[r] = float32(math.Inf(-1)), 0
	}
	s.mix = memory.Aligned(s.mix, n*pad)
	memory.Clear(s.mix)
}

// add merges the maximum and the sum of other keys into row r, and returns the scales of the mixes.
func (s *states) add(r int, max, sum float32) (a, b float32) {
	s.max[r], a, b = tile.Merge(s.max[r], max)
	s.sum[r] = tile.MergeSum(s.sum[r], sum, a, b)
	return a, b
}

// A total is the chain of the spans of rows so far, which begins with their sinks. Rows of one span, and without a
// sink, need none.
type total struct {
	states
	begun bool
}

// endSpan adds the states of a span of keys to the total of rows with some numbers, or puts them where the caller
// wants those of each span.
func (w *worker) endSpan(t *total, span int, s *states, numbers []int) {
	pad, dim := tile.Pad(w.V.Dim), w.V.Dim
	if w.Spans != nil {
		to := w.Spans[span]
		for r, n := range numbers {
			to.Max[n], to.Sum[n] = s.max[r], s.sum[r]
			copy(to.Mix[n*dim:][:dim], s.mix[r*pad:])
		}
		return
	}
	if !t.begun {
		t.begun = true
		t.reset(len(numbers), pad)
		for r, n := range numbers {
			if w.Sinks != nil {
				t.max[r], t.sum[r] = tile.Sink(w.sink(n))
			}
		}
	}
	for r := range numbers {
		a, b := t.add(r, s.max[r], s.sum[r])
		asm.MergeRow(t.mix[r*pad:][:pad], s.mix[r*pad:][:pad], a, b)
	}
}

// forget takes back what the spans of some keys have got of rows with some numbers, before it is computed again: a span whose
// keys the mask hides from all of them gets nothing then.
func (w *worker) forget(keys sight.Keys, numbers []int) {
	if w.Spans == nil {
		return
	}
	for _, s := range w.Spans[keys.From/generic.SpanKeys : plan.CeilDiv(keys.To, generic.SpanKeys)] {
		for _, n := range numbers {
			s.reset(n, w.V.Dim)
		}
	}
}

// MergeRow is [tile.MergeRow] for rows of any length: assembly takes whole vectors.
func MergeRow(acc, o []float32, a, b float32) {
	whole := len(o) &^ 15
	if whole > 0 {
		asm.MergeRow(acc[:whole], o[:whole], a, b)
	}
	tile.MergeRow(acc[whole:], o[whole:], a, b)
}

// sink returns the sink of the row with a number, in units of log 2.
func (c *Call) sink(number int) float32 { return c.sinks[number/c.Queries%c.Q.Heads] }

// endPanelSpan ends a span of a panel.
func (w *worker) endPanelSpan(p *panel, span int) {
	if !p.started {
		return
	}
	var one tile.Panel // divides by 1
	var rows [tile.MaxPanel]int
	width, pad := p.width(), tile.Pad(w.V.Dim)
	one.Width = width
	for r := range width {
		one.Sum[r], rows[r] = 1, r*pad
	}
	w.span.max, w.span.sum = p.state.Max, p.state.Sum
	w.span.mix = memory.Aligned(w.span.mix, width*pad)
	p.nan = finishPanel(w.span.mix, &rows, p.acc, &one, w.V.Dim) || p.nan
	w.endSpan(&p.total, span, &w.span, p.numbers[:width])
	p.state.Reset(width)
	p.started = false
}

// addSinks merges the sinks of a panel of one span: each is one more key, the value of which is 0. As a sink mixes
// nothing, and one of two sums is multiplied by 1, it may come behind the keys as well as before them.
func (w *worker) addSinks(p *panel) {
	width := p.width()
	for r := range width {
		w.scores[r] = w.sink(p.numbers[r])
		p.state.TileMax[r] = w.scores[r]
	}
	asm.SoftmaxTile(w.scores, &p.state, 1)
	if p.state.Mode == tile.MergeRescale {
		zero := w.mixes[:tile.Pad(w.V.Dim)]
		clear(zero)
		asm.ValueTile(p.acc, w.scores, &p.state, &tile.Rows{Data: zero, Len: 1, Dim: w.V.Dim, Stride: w.V.Dim}, 0, &tile.Rows{})
	}
}

package stages

import (
	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
)

// A merge is what the tiles of a KV head so far make of its rows.
type merge struct {
	states       // of the span at hand
	span   int   // its number, or -1
	total  total // of the spans before it
}

// shareMerges provides the merges that items share.
func (c *Call) shareMerges() {
	if cap(c.shared) < c.plan.Shared {
		c.shared = make([]merge, c.plan.Shared)
	}
	c.shared = c.shared[:c.plan.Shared]
}

// reset prepares merges for the first tile of n rows.
func (w *worker) reset(merges []merge, n int) {
	for i := range merges {
		m := &merges[i]
		m.states.reset(n, tile.Pad(w.V.Dim))
		m.span, m.total.begun = -1, false
	}
}

// merge adds parts of neighbouring KV heads, in the order of cutParts.
func (w *worker) merge(merges []merge, rows []rows, parts []part) {
	pad := tile.Pad(w.V.Dim)
	for i := range parts {
		t, m := &parts[i], &merges[i%len(merges)]
		if span := t.first / generic.SpanKeys; span != m.span {
			w.begin(m, &rows[i%len(merges)], span)
		}
		for r := range t.rows {
			a, b := m.add(t.row+r, t.max[r], t.sum[r])
			asm.MergeRow(m.mix[(t.row+r)*pad:][:pad], t.mixes(w)[r*pad:][:pad], a, b)
		}
	}
}

// begin ends the span of a merge, if there is one, and begins another.
func (w *worker) begin(m *merge, rs *rows, span int) {
	if m.span >= 0 {
		w.endSpan(&m.total, m.span, &m.states, rs.numbers[:rs.n])
		m.states.reset(rs.n, tile.Pad(w.V.Dim))
	}
	m.span = span
}

// end returns the states of rows that have met all their keys, but where the caller wants those of each span.
func (w *worker) end(m *merge, rs *rows) *states {
	switch {
	case w.Spans != nil && m.span < 0: // they see none
		return nil
	case w.Spans == nil && w.Sinks == nil && !m.total.begun: // of one span, or none
		return &m.states
	}
	w.endSpan(&m.total, m.span, &m.states, rs.numbers[:rs.n])
	return &m.total.states
}

// finish writes the outputs of rows.
func (w *worker) finish(merges []merge, rows []rows) {
	for i := range merges {
		rs := &rows[i]
		s := w.end(&merges[i], rs)
		if w.Spans == nil {
			w.finishRows(rs.out, rs.dst[:rs.n], rs.numbers[:rs.n], s.max[:], s.sum[:], s.mix)
		}
	}
}

// finishRows writes the outputs of rows of a head that begins at out in Dst, whose offsets from there on and numbers are given. Mixes
// are rows of the padded VDim.
func (w *worker) finishRows(out int, dst, numbers []int, max, sum, mix []float32) {
	pad := tile.Pad(w.V.Dim)
	for r, at := range dst {
		if w.saves() {
			w.save(numbers[r], max[r], sum[r])
		}
		divide(w.Dst.Data[out+at:][:w.Dst.Dim], mix[r*pad:], w.sumKept(sum[r]))
	}
}

// divide writes x / sum.
func divide(dst, x []float32, sum float32) { asm.Scale(dst, x[:len(dst)], tile.Inverse(sum)) }

package stages

import (
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
)

// A merge is what the tiles of a KV head so far make of its rows.
type merge struct {
	max, sum [tile.MaxRows]float32
	acc      []float32 // rows of the padded VDim
}

// shareMerges provides the merges that items share.
func (c *call) shareMerges() {
	if cap(c.shared) < c.plan.Shared {
		c.shared = make([]merge, c.plan.Shared)
	}
	c.shared = c.shared[:c.plan.Shared]
}

// reset prepares merges for the first tile of n rows.
func (w *worker) reset(merges []merge, n int) {
	for i := range merges {
		m := &merges[i]
		for r := range n {
			m.max[r], m.sum[r] = float32(math.Inf(-1)), 0
		}
		m.acc = memory.Aligned(m.acc, n*tile.Pad(w.V.Dim))
		clear(m.acc)
	}
}

// merge adds parts of neighbouring KV heads, in the order of cutParts.
func (w *worker) merge(merges []merge, parts []part) {
	pad := tile.Pad(w.V.Dim)
	for i := range parts {
		t, m := &parts[i], &merges[i%len(merges)]
		for r := range t.rows {
			a, b := m.add(t.row+r, t.max[r], t.sum[r])
			asm.MergeRow(m.acc[(t.row+r)*pad:][:pad], t.mixes(w)[r*pad:][:pad], a, b)
		}
	}
}

// add merges the maximum and the sum of a tile into row r, and returns the scales of the mixes.
func (m *merge) add(r int, max, sum float32) (a, b float32) {
	m.max[r], a, b = tile.Merge(m.max[r], max)
	m.sum[r] = tile.MergeSum(m.sum[r], sum, a, b)
	return a, b
}

// finish writes the outputs of rows.
func (w *worker) finish(merges []merge, rows []rows) {
	for i := range merges {
		m := &merges[i]
		w.finishRows(&rows[i], &m.max, &m.sum, m.acc)
	}
}

// finishRows writes the outputs of the rows of a KV head, whose mixes acc are rows of the padded VDim.
func (w *worker) finishRows(rs *rows, max, sum *[tile.MaxRows]float32, acc []float32) {
	pad := tile.Pad(w.V.Dim)
	for r := range rs.n {
		if w.saves() {
			w.save(rs.lse[r], max[r], sum[r])
		}
		divide(w.Dst.Data[rs.dst[r]:][:w.Dst.Dim], acc[r*pad:], sum[r])
	}
}

// divide writes x / sum.
func divide(dst, x []float32, sum float32) { asm.Scale(dst, x[:len(dst)], tile.Inverse(sum)) }

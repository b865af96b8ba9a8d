package kernel

import (
	"math"
	"sync"

	"github.com/selfattn/attn/generic"
)

// Few queries, as in decoding, read K and V row by row, at the speed of memory. Up
// to rowGroup queries that see the same keys share the reading.

const rowGroup = 4

// softmaxRow is the state of one query.
type softmaxRow struct{ max, sum float32 }

func newRow() softmaxRow { return softmaxRow{max: float32(math.Inf(-1))} }

// merge merges the partial of a tile: its integer maximum, its sum, its mix o.
func (s *softmaxRow) merge(acc, o []float32, max, sum float32) {
	var a, b float32
	s.max, a, b = generic.Merge(s.max, max)
	s.sum = generic.MergeSum(s.sum, sum, a, b)
	mergeRow(acc, o, a, b)
}

// finishRow writes the output of a query, acc / sum.
func finishRow(dst, acc []float32, sum float32) {
	scaleBy(dst, acc[:len(dst)], generic.Inverse(sum))
}

// A part is the partial of a tile for one query; its mix is in worker.partial.
type part struct {
	row      int
	max, sum float32
}

// partials computes one tile of n keys for rows queries, lanes of q: their
// maxima, sums and mixes, rows of o.
func (w *worker) partials(j *job, o, q, k, v []float32, rows, n int) (max, sum [rowGroup]float32) {
	rowScores(w.s, q, k, panelWidth(), rows, j.q.Dim, n, j.k.LenStride)
	for r := range rows {
		max[r] = rowWeights(w.s[r*generic.TileKeys:][:n])
	}
	return max, rowValues(o, w.s, v, rows, j.v.Dim, n, j.v.LenStride)
}

// row computes one query against its first limit keys and returns its sum.
func (w *worker) row(j *job, acc, q, k, v []float32, limit int) float32 {
	state := newRow()
	for first := 0; first < limit; first += generic.TileKeys {
		n := min(generic.TileKeys, limit-first)
		max, sum := w.partials(j, w.partial, q, k[first*j.k.LenStride:], v[first*j.v.LenStride:], 1, n)
		state.merge(acc, w.partial[:len(acc)], max[0], sum[0])
	}
	return state.sum
}

// A merge collects the spans of a KV head in increasing order.
type merge struct {
	mutex  sync.Mutex
	turn   sync.Cond
	next   int // the span whose turn it is
	states [fewRows]softmaxRow
	acc    []float32 // rows of Pad(VDim)
}

func (m *merge) reset(size int) {
	m.turn.L = &m.mutex
	m.next = 0
	for r := range m.states {
		m.states[r] = newRow()
	}
	m.acc = aligned(m.acc, size)
	clear(m.acc)
}

// prepareMerges provides a merge for each KV head.
func (j *job) prepareMerges(heads int) {
	if cap(j.merges) < heads {
		j.merges = make([]merge, heads)
	}
	j.merges = j.merges[:heads]
	for i := range j.merges {
		j.merges[i].reset(j.rows * generic.Pad(j.v.Dim))
	}
}

// rowItem computes all queries of a KV head, fewRows at most: a span of their keys, or all.
func (w *worker) rowItem(j *job, b, head, span int) {
	w.load(j, &w.panels[0], 0, b, head, 0)
	k, v := j.k.head(b, head), j.v.head(b, head)
	if j.spans > 1 {
		w.rowSpan(j, &j.merges[b*j.k.Heads+head], k, v, span)
		return
	}
	w.merge.reset(j.rows * generic.Pad(j.v.Dim))
	for span := range j.keySpans {
		w.rowSpan(j, &w.merge, k, v, span)
	}
}

// rowSpan computes the partials of a span of tiles and merges them once the spans before it have been. Spans are
// handed out in increasing order, so the wait ends.
func (w *worker) rowSpan(j *job, m *merge, k, v []float32, span int) {
	p := &w.panels[0]
	pad := generic.Pad(j.v.Dim)
	n := 0
	for tile := range spanTiles {
		first := (span*spanTiles + tile) * generic.TileKeys
		for r := 0; r < j.rows; {
			rows := 1
			if r+rowGroup <= j.rows && p.limit[r] == p.limit[r+rowGroup-1] { // limits do not decrease
				rows = rowGroup
			}
			if _, keys := see(0, int(p.limit[r]), first, generic.TileKeys); keys > 0 {
				max, sum := w.partials(j, w.partial[n*pad:], p.q[r:], k[first*j.k.LenStride:], v[first*j.v.LenStride:], rows, keys)
				for i := range rows {
					w.parts[n] = part{r + i, max[i], sum[i]}
					n++
				}
			}
			r += rows
		}
	}

	m.mutex.Lock()
	defer m.mutex.Unlock()
	for m.next != span {
		m.turn.Wait()
	}
	for i, part := range w.parts[:n] {
		m.states[part.row].merge(m.acc[part.row*pad:][:pad], w.partial[i*pad:][:pad], part.max, part.sum)
	}
	m.next++
	m.turn.Broadcast()
	if m.next == j.keySpans {
		for r := range j.rows {
			finishRow(j.dst.Data[p.dst[r]:][:j.v.Dim], m.acc[r*pad:][:pad], m.states[r].sum)
		}
	}
}

package kernel

import (
	"math"
	"sync"

	"github.com/selfattn/attn/generic"
)

// Few queries, as in decoding, read K and V row by row, at the speed of memory. They share the
// reading: one, four or eight, some of which may be padding.

// fewRows queries or less read their keys row by row: a panel would be mostly padding.
const fewRows = generic.MaxRows

// fewQueries returns how many of n queries are left for that behind full panels. Less than 8 keys are
// not a block of a kernel for rows, which takes them one by one.
func fewQueries(n, keys int) int {
	if few := n % narrowPanel; few <= fewRows && (n == 1 || keys >= 8) {
		return few
	}
	return 0
}

// padRows is the number of queries that are computed for n.
func padRows(n int) int {
	switch {
	case n == 1:
		return 1
	case n <= 4:
		return 4
	}
	return 8
}

// softmaxRow is the state of one query.
type softmaxRow struct{ max, sum float32 }

func newRow() softmaxRow { return softmaxRow{max: float32(math.Inf(-1))} }

// merge merges the partial of a tile: its integer maximum, its sum, its mix o.
func (s *softmaxRow) merge(acc, o []float32, max, sum float32) {
	a, b := s.mergeSum(max, sum)
	mergeRow(acc, o, a, b)
}

// mergeSum merges all but the mix, and returns its scales.
func (s *softmaxRow) mergeSum(max, sum float32) (a, b float32) {
	s.max, a, b = generic.Merge(s.max, max)
	s.sum = generic.MergeSum(s.sum, sum, a, b)
	return a, b
}

// finishRow writes the output of a query, acc / sum.
func finishRow(dst, acc []float32, sum float32) {
	scaleBy(dst, acc[:len(dst)], generic.Inverse(sum))
}

// row computes one query, lane 0 of a panel q of that width, against its first limit keys and
// returns its sum.
func (w *worker) row(j *job, acc, q []float32, width int, k, v []float32, limit int) float32 {
	state := newRow()
	for first := 0; first < limit; first += generic.TileKeys {
		n := min(generic.TileKeys, limit-first)
		rowScores(w.s, q, k[first*j.k.LenStride:], width, 1, j.q.Dim, n, j.k.LenStride)
		max := rowWeights(w.s[:n])
		partial, sum := w.partial[:len(acc)], [1]float32{}
		clear(partial)
		rowValues(partial, w.s, v[first*j.v.LenStride:], sum[:], 1, j.v.Dim, n, j.v.LenStride)
		state.merge(acc, partial, max, sum[0])
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
		j.merges[i].reset(j.few * generic.Pad(j.v.Dim))
	}
}

// loadRows packs queries from row on, one or fewRows at most, into the first panel of w.
func (w *worker) loadRows(j *job, b, head, row, rows int) *panel {
	p := &w.panels[0]
	p.width, p.q = narrowPanel, w.q
	if rows == 1 {
		p.width = 1 // then 16 elements are in one cache line
	}
	p.load(j, b, head, row)
	return p
}

// rowItem computes the few queries of a KV head: a span of their keys, or all.
func (w *worker) rowItem(j *job, b, head, span int) {
	w.loadRows(j, b, head, j.rows-j.few, j.few)
	k, v := j.k.head(b, head), j.v.head(b, head)
	if j.byRow && j.perHead > 1 {
		w.rowSpan(j, &j.merges[b*j.k.Heads+head], k, v, span)
		return
	}
	w.merge.reset(j.few * generic.Pad(j.v.Dim))
	for span := range j.keySpans {
		w.rowSpan(j, &w.merge, k, v, span)
	}
}

// A part is the tile of a span for the queries that see a key of it: the last ones.
type part struct {
	row, rows int // of the few queries
	slot      int // of its rows in worker.s and worker.partial
	first     int
	keys      [fewRows]int // that each query sees, of which none sees more than the next one
	max, sum  [fewRows]float32
}

// rowSpan computes the partials of a span of tiles and merges them once the spans before it have
// been. Spans are handed out in increasing order, so the wait ends.
//
// All keys of a span come before all of its values, so that each is read as one stream.
func (w *worker) rowSpan(j *job, m *merge, k, v []float32, span int) {
	p := &w.panels[0]
	parts, row, slot := w.parts[:0], 0, 0
	for tile := range spanTiles {
		first := (span*spanTiles + tile) * generic.TileKeys
		for row < j.few && int(p.limit[row]) <= first {
			row++
		}
		if row == j.few {
			break
		}
		t := part{row: row, rows: j.few - row, slot: slot, first: first}
		for r := range t.rows {
			t.keys[r] = min(int(p.limit[row+r])-first, generic.TileKeys)
		}
		parts = append(parts, t)
		slot += padRows(t.rows)
	}
	for i := range parts {
		t, s := &parts[i], w.s[parts[i].slot*generic.TileKeys:]
		rowScores(s, p.q[t.row:], k[t.first*j.k.LenStride:], p.width, padRows(t.rows), j.q.Dim, t.keys[t.rows-1], j.k.LenStride)
		for r := range t.rows {
			t.max[r] = rowWeights(s[r*generic.TileKeys:][:t.keys[r]])
		}
	}
	pad := generic.Pad(j.v.Dim)
	for i := range parts {
		t, s, o := &parts[i], w.s[parts[i].slot*generic.TileKeys:], w.partial[parts[i].slot*pad:]
		all := t.keys[0] // the others are not many, and each query sees its own
		v := v[t.first*j.v.LenStride:]
		clear(o[:padRows(t.rows)*pad])
		rowValues(o, s, v, t.sum[:], padRows(t.rows), j.v.Dim, all, j.v.LenStride)
		for r := range t.rows {
			if more := t.keys[r] - all; more > 0 {
				rowValues(o[r*pad:], s[r*generic.TileKeys+all:], v[all*j.v.LenStride:], t.sum[r:], 1, j.v.Dim, more, j.v.LenStride)
			}
		}
	}

	m.mutex.Lock()
	defer m.mutex.Unlock()
	for m.next != span {
		m.turn.Wait()
	}
	for i := range parts {
		t := &parts[i]
		for r := range t.rows {
			row := t.row + r
			m.states[row].merge(m.acc[row*pad:][:pad], w.partial[(t.slot+r)*pad:][:pad], t.max[r], t.sum[r])
		}
	}
	m.next++
	m.turn.Broadcast()
	if m.next == j.keySpans {
		for r := range j.few {
			finishRow(j.dst.Data[p.dst[r]:][:j.v.Dim], m.acc[r*pad:][:pad], m.states[r].sum)
		}
	}
}

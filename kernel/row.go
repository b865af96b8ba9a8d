package kernel

import (
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
)

// Few queries, as in decoding, read K and V row by row, at the speed of memory. They share the
// reading: one, four or eight, some of which may be padding.

// fewRows queries or less read their keys row by row: a panel would be mostly padding.
const fewRows = tile.MaxRows

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

// scoreRows is padRows for scores. The kernel for one query reads 16 keys side by side, that for four
// 8: as many as a set of L1 has ways, if rows of k are a multiple of a page apart.
func (j *job) scoreRows(n int) int {
	if n == 1 && j.k.LenStride%page == 0 {
		return 4
	}
	return padRows(n)
}

// softmaxRow is the state of one query.
type softmaxRow struct{ max, sum float32 }

func newRow() softmaxRow { return softmaxRow{max: float32(math.Inf(-1))} }

// merge merges the partial of a tile: its integer maximum, its sum, its mix o.
func (s *softmaxRow) merge(acc, o []float32, max, sum float32) {
	a, b := s.mergeSum(max, sum)
	asm.MergeRow(acc, o, a, b)
}

// mergeSum merges all but the mix, and returns its scales.
func (s *softmaxRow) mergeSum(max, sum float32) (a, b float32) {
	s.max, a, b = generic.Merge(s.max, max)
	s.sum = generic.MergeSum(s.sum, sum, a, b)
	return a, b
}

// finishRow writes the output of a query, acc / sum.
func finishRow(dst, acc []float32, sum float32) {
	asm.Scale(dst, acc[:len(dst)], tile.Inverse(sum))
}

// row computes one query, lane 0 of a panel q of that width, against its first limit keys and
// returns its sum.
func (w *worker) row(j *job, acc, q []float32, width int, k, v []float32, limit int) float32 {
	state := newRow()
	for first := 0; first < limit; first += generic.TileKeys {
		n := min(generic.TileKeys, limit-first)
		asm.RowScores(w.s, q, width, 1, tile.Rows{Data: k[first*j.k.LenStride:], Len: n, Dim: j.q.Dim, Stride: j.k.LenStride})
		max := asm.RowWeights(w.s[:n])
		partial, sum := w.partial[:len(acc)], [1]float32{}
		clear(partial)
		asm.RowValues(partial, w.s, sum[:], 1, tile.Rows{Data: v[first*j.v.LenStride:], Len: n, Dim: j.v.Dim, Stride: j.v.LenStride})
		state.merge(acc, partial, max, sum[0])
	}
	return state.sum
}

// A merge collects the spans of a KV head in increasing order.
type merge struct {
	states [fewRows]softmaxRow
	acc    []float32 // rows of Pad(VDim)
}

func (m *merge) reset(size int) {
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
	j.resetMerges(j.merges)
}

func (j *job) resetMerges(merges []merge) {
	for i := range merges {
		merges[i].reset(j.few * tile.Pad(j.v.Dim))
	}
}

// loadRows packs queries from row on, one or fewRows at most, into a panel of w.
func (w *worker) loadRows(j *job, panel, b, head, row, rows int) *panel {
	p := &w.panels[panel]
	p.width, p.q = narrowPanel, w.q[panel*narrowPanel*tile.Pad(j.q.Dim):]
	if j.scoreRows(rows) == 1 {
		p.width = 1 // then 16 elements are in one cache line
	}
	p.load(j, b, head, row)
	return p
}

// rowItem computes the few queries of n KV heads: a span of their keys, or all.
func (w *worker) rowItem(j *job, b, head, n, span int) {
	for i := range n {
		w.loadRows(j, i, b, head+i, j.rows-j.few, j.few)
	}
	if j.byRow && j.perHead > 1 {
		w.rowSpan(j, j.merges[b*j.k.Heads+head:][:n], b, head, span)
		return
	}
	merges := w.merges[:n]
	j.resetMerges(merges)
	for span := range j.keySpans {
		w.rowSpan(j, merges, b, head, span)
	}
}

// A part is a tile of a KV head for the queries that see a key of it: the last ones.
type part struct {
	row, rows int // of the few queries
	slot      int // of its rows in worker.s and worker.partial
	first     int
	keys      [fewRows]int // that each query sees, of which none sees more than the next one
	max, sum  [fewRows]float32
}

// rowSpan computes the partials of a span of tiles of the KV heads from head on, each with its panel of
// w and its merge, and merges them once the spans before it have been. Spans are handed out in
// increasing order, so the wait ends.
//
// The order is that of memory: all keys of a span come before all of its values and, where the KV
// heads of a token are neighbours, a few tokens of all heads come before the next.
func (w *worker) rowSpan(j *job, merges []merge, b, head, span int) {
	heads, chunk := len(merges), generic.TileKeys
	if heads > 1 {
		chunk = max(16, 2048/j.k.Dim&^15) // of 8 KiB: small against L2, large against a call
	}
	parts, row, slot := w.parts[:0], 0, 0 // of a tile those of all heads, then of the next tile
	limits := &w.panels[0].limit          // those of each head
	for tile := range j.tiles {
		first := (span*j.tiles + tile) * generic.TileKeys
		for row < j.few && int(limits[row]) <= first {
			row++
		}
		if row == j.few {
			break
		}
		for range heads {
			t := part{row: row, rows: j.few - row, slot: slot, first: first}
			for r := range t.rows {
				t.keys[r] = min(int(limits[row+r])-first, generic.TileKeys)
			}
			parts = append(parts, t)
			slot += j.scoreRows(t.rows)
		}
	}
	pad := tile.Pad(j.v.Dim)
	for tile := 0; tile < len(parts); tile += heads {
		for from, to, n := 0, 0, parts[tile].most(); from < n; from = to {
			to = chunkEnd(from, chunk, n)
			for i := range heads {
				t, p := &parts[tile+i], &w.panels[i]
				k := j.k.rows(b, head+i, t.first+from, to-from)
				asm.RowScores(t.scores(w)[from:], p.q[t.row:], p.width, j.scoreRows(t.rows), k)
			}
		}
	}
	for i := range parts {
		t := &parts[i]
		for r := range t.rows {
			t.max[r] = asm.RowWeights(t.scores(w)[r*generic.TileKeys:][:t.keys[r]])
		}
		clear(w.partial[t.slot*pad:][:padRows(t.rows)*pad])
	}
	for tile := 0; tile < len(parts); tile += heads {
		all := parts[tile].keys[0] // the others are not many, and each query sees its own
		for from, to := 0, 0; from < all; from = to {
			to = chunkEnd(from, chunk, all)
			for i := range heads {
				t := &parts[tile+i]
				v := j.v.rows(b, head+i, t.first+from, to-from)
				asm.RowValues(w.partial[t.slot*pad:], t.scores(w)[from:], t.sum[:], padRows(t.rows), v)
			}
		}
		for i := range heads {
			t := &parts[tile+i]
			for r := range t.rows {
				if more := t.keys[r] - all; more > 0 {
					v := j.v.rows(b, head+i, t.first+all, more)
					asm.RowValues(w.partial[(t.slot+r)*pad:], t.scores(w)[r*generic.TileKeys+all:], t.sum[r:], 1, v)
				}
			}
		}
	}
	if j.byRow && j.perHead > 1 {
		w.hand.Turn()
	}
	for i := range merges {
		w.mergeSpan(j, merges, i, parts, span)
	}
}

// rows returns n rows of a head of t, from one of them on.
func (t *Tensor) rows(b, head, first, n int) tile.Rows {
	return tile.Rows{Data: t.Data[t.at(b, head, first):], Len: n, Dim: t.Dim, Stride: t.LenStride}
}

// most returns the number of keys that some query sees.
func (t *part) most() int { return t.keys[t.rows-1] }

// scores returns the scores, and later the weights, of the queries.
func (t *part) scores(w *worker) []float32 { return w.s[t.slot*generic.TileKeys:] }

// chunkEnd returns the end of a chunk of n keys from one of them on: behind the last, where less
// than 8 would remain, which the kernels take one by one.
func chunkEnd(from, chunk, n int) int {
	if to := from + chunk; to+8 <= n {
		return to
	}
	return n
}

// mergeSpan merges the parts of the head of merges[i].
func (w *worker) mergeSpan(j *job, merges []merge, i int, parts []part, span int) {
	m, p, pad := &merges[i], &w.panels[i], tile.Pad(j.v.Dim)
	for ; i < len(parts); i += len(merges) {
		t := &parts[i]
		for r := range t.rows {
			row := t.row + r
			m.states[row].merge(m.acc[row*pad:][:pad], w.partial[(t.slot+r)*pad:][:pad], t.max[r], t.sum[r])
		}
	}
	if span == j.keySpans-1 {
		for r := range j.few {
			finishRow(j.dst.Data[p.dst[r]:][:j.v.Dim], m.acc[r*pad:][:pad], m.states[r].sum)
		}
	}
}

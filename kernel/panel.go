package kernel

import (
	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
)

// A panel is a group of queries of one KV head that go through the tiles of keys together, one to a
// lane.
type panel struct {
	width       int
	state       tile.Panel
	src, dst    [tile.MaxPanel]int   // offsets of the rows in q and dst
	limit       [tile.MaxPanel]int32 // numbers of keys that the queries see
	least, most int                  // of them
	q, acc      []float32            // [Dim][width], [VDim][width]
}

// A block is the rows of a KV head, of queries, that go through the tiles of keys together.
type block struct{ b, head, row, rows int }

// blockAt returns the block of n items from i on, without rows if there are no such items.
func (j *job) blockAt(i, n int) block {
	if i >= j.items {
		return block{}
	}
	n = min(n, j.perHead-i%j.perHead)
	head := i / j.perHead
	// The last queries see the most keys when causal: they go first.
	row := (j.perHead - i%j.perHead - n) * j.itemRows
	return block{head / j.k.Heads, head % j.k.Heads, row, min(n*j.itemRows, j.rows-row)}
}

// panelBlock computes a block against all keys of its head, and reads ahead for the one after it.
func (w *worker) panelBlock(j *job, now, after block) {
	b, head, row := now.b, now.head, now.row
	w.expect(j, now, after)
	panels, most := w.panels[:0], 0
	q, acc := w.q, w.acc
	few := 0 // behind the panels
	if row+now.rows == j.rows {
		few = j.few
	}
	for left := now.rows - few; left > 0; {
		panels = panels[:len(panels)+1]
		p := &panels[len(panels)-1]
		p.width = asm.PanelWidth(left)
		p.q, q = cut(q, p.width*tile.Pad(j.q.Dim))
		p.acc, acc = cut(acc, p.width*tile.Pad(j.v.Dim))
		p.load(j, b, head, row)
		// The first tile sets all of acc but the padding, unless there is none.
		if p.most == 0 {
			clear(p.acc)
		} else {
			clear(p.acc[j.v.Dim*p.width:])
		}
		most = max(most, p.most)
		row += p.width
		left -= p.width
	}
	k, v := j.k.head(b, head), j.v.head(b, head)
	for first := 0; first < most; first += generic.TileKeys {
		tileV, stride := v[first*j.v.LenStride:], j.v.LenStride
		if j.copyV {
			tileV, stride = w.v, j.v.Dim
			for i := range min(generic.TileKeys, most-first) {
				copy(w.v[i*stride:][:stride], v[(first+i)*j.v.LenStride:])
			}
		}
		// The first panel reads ahead for all of them, and with the last tile each for the next block.
		next := first + generic.TileKeys
		keys, values := tileRows(k, &j.k, next, most), tileRows(v, &j.v, first, most)
		if j.copyV {
			values = tileRows(v, &j.v, next, most)
		}
		for i := range panels {
			p := &panels[i]
			if next >= most && p.most > first {
				if i > 0 {
					values = w.expected(p.pieces(j.q.Dim, p.most-first))
				}
				keys = w.expected(p.pieces(j.v.Dim, p.most-first))
			}
			w.tile(j, p, k[first*j.k.LenStride:], tileV, stride, first, values, keys)
			values.Len, keys.Len = 0, 0
		}
	}
	for i := range panels {
		w.finish(j, &panels[i], k, v)
	}
	if few > 0 {
		w.rowItem(j, b, head, 1, 0)
	}
}

// expect lists what the next block begins with: its keys, if they are those of another head, and its
// rows of q and dst.
func (w *worker) expect(j *job, now, next block) {
	w.ahead, w.taken = w.ahead[:0], 0
	if next.rows == 0 {
		return
	}
	if next.b != now.b || next.head != now.head {
		w.ahead = append(w.ahead, tileRows(j.k.head(next.b, next.head), &j.k, 0, j.k.Len))
	}
	first, last := next.row/j.group, (next.row+next.rows-1)/j.group
	for h := range j.group {
		for _, t := range [...]*Tensor{&j.q, &j.dst} {
			if len(w.ahead) == cap(w.ahead) {
				return
			}
			at := t.at(next.b, next.head*j.group+h, first)
			w.ahead = append(w.ahead, tile.Rows{Data: t.Data[at:], Len: last - first + 1, Dim: t.Dim, Stride: t.LenStride})
		}
	}
}

// expected returns rows that expect has listed, each once, as many as fit into some pieces.
func (w *worker) expected(pieces int) tile.Rows {
	if w.taken == len(w.ahead) {
		return tile.Rows{}
	}
	left := &w.ahead[w.taken]
	some := *left
	some.Len = min(left.Len, pieces/ceilDiv(left.Dim, tile.Piece))
	if left.Len -= some.Len; left.Len > 0 {
		left.Data = left.Data[some.Len*left.Stride:]
	} else {
		w.taken++
	}
	return some
}

// pieces is about how many pieces are read ahead while a tile of n keys is computed for dim elements:
// one for four steps of a microkernel, whose tiles have three rows to eight queries of a panel.
func (p *panel) pieces(dim, n int) int { return n * dim * 2 / (3 * p.width) }

// tileRows returns the rows of x, the data of a head of t, that are in the tile from first on, and
// before most.
func tileRows(x []float32, t *Tensor, first, most int) tile.Rows {
	if first >= most {
		return tile.Rows{}
	}
	return tile.Rows{
		Data: x[first*t.LenStride:], Len: min(generic.TileKeys, most-first), Dim: t.Dim, Stride: t.LenStride,
	}
}

// load packs the queries from row on. Lanes beyond the last query repeat it: they compute and write
// the same again.
func (p *panel) load(j *job, b, head, row int) {
	query, h := row/j.group, row%j.group // in the group
	q, dst := j.q.at(b, head*j.group+h, query), j.dst.at(b, head*j.group+h, query)
	limit := j.limit(query)
	p.least, p.most = limit, limit
	// From head to head, and from the last one of a query to the first of the next one.
	group, left := j.group, j.rows-row
	qHead, dstHead := j.q.HeadStride, j.dst.HeadStride
	qNext, dstNext := j.q.LenStride-group*qHead, j.dst.LenStride-group*dstHead
	qs, dsts, limits := p.src[:p.width], p.dst[:p.width], p.limit[:p.width]
	for r := range qs {
		qs[r], dsts[r], limits[r] = q, dst, int32(limit)
		if r+1 >= left {
			continue
		}
		q += qHead
		dst += dstHead
		if h++; h < group {
			continue
		}
		h, query = 0, query+1
		q += qNext
		dst += dstNext
		limit = j.limit(query)
		p.most = limit // limits do not decrease
	}
	asm.PackPanel(p.q, j.q.Data, &p.src, p.width, j.q.Dim, j.scale)
	p.state.Reset(p.width)
}

// tile takes a panel through the tile of keys from first on, with its rows of k and of v. Meanwhile
// it reads ahead the values of this tile and the keys of the next one.
func (w *worker) tile(j *job, p *panel, k, v []float32, vStride, first int, values, keys tile.Rows) {
	all, some := see(p.least, p.most, first, generic.TileKeys)
	if some == 0 {
		return
	}
	if all < some {
		all &^= 3 // no tile of one to three keys
	}
	p.scores(&p.state, w.s, tile.Rows{Data: k, Len: all, Dim: j.q.Dim, Stride: j.k.LenStride}, 0, values)
	// The first half of the queries sees none of the last keys.
	upper := some - clamp(int(p.limit[p.width/2-1])-first, some)
	if all < some {
		// Only MaskTile knows the maxima of these keys.
		s, upper := w.s[all*p.width:], upper
		if upper <= fewUpper {
			upper = 0
		}
		w.ignored.Width = p.width
		p.scores(&w.ignored, s, tile.Rows{Data: k[all*j.k.LenStride:], Len: some - all, Dim: j.q.Dim, Stride: j.k.LenStride}, upper, tile.Rows{})
		asm.MaskTile(s, &p.state, &p.limit, some-all, first+all)
	}
	asm.SoftmaxTile(w.s, &p.state, some)
	columns := callWork / (p.width * some)
	for c := 0; c < j.v.Dim; c += columns {
		rows := tile.Rows{Data: v[c:], Len: some, Dim: min(columns, j.v.Dim-c), Stride: vStride}
		asm.ValueTile(p.acc[c*p.width:], w.s, &p.state, rows, upper, keys)
		keys.Len = 0
	}
}

// fewUpper keys are scored for the whole panel in less time than for half of it in a call of its own.
const fewUpper = 8

// callWork multiply-adds are the most of one call of assembly, which is not preempted: about 40 us.
const callWork = 1 << 21

// scores computes the scores of the keys k, the last of which are for the second half of the panel.
func (p *panel) scores(st *tile.Panel, s []float32, k tile.Rows, upper int, ahead tile.Rows) {
	keys, lower := callWork/(p.width*k.Dim), k.Len-upper
	for first := 0; first < k.Len; first += keys {
		part := k
		part.Data, part.Len = k.Data[first*k.Stride:], min(keys, k.Len-first)
		asm.ScoreTile(s[first*p.width:], st, p.q, part, min(part.Len, max(0, first+part.Len-lower)), ahead)
		ahead.Len = 0
	}
}

// finish writes the rows of a panel.
func (w *worker) finish(j *job, p *panel, k, v []float32) {
	nan := asm.FinishPanel(j.dst.Data, &p.dst, p.acc, &p.state, j.v.Dim)
	if !nan || p.least == p.most {
		return
	}
	// A hidden key has weight 0, but 0 times a NaN or infinite value is NaN. The rows that are NaN
	// are computed again, each from the keys that it sees.
	for r := range p.width {
		out := j.dst.Data[p.dst[r]:][:j.v.Dim]
		if hasNaN(out) {
			acc := p.acc[:tile.Pad(j.v.Dim)]
			clear(acc)
			sum := w.row(j, acc, p.q[r:], p.width, k, v, int(p.limit[r]))
			finishRow(out, acc, sum)
		}
	}
}

func hasNaN(x []float32) bool {
	for _, v := range x {
		if v != v {
			return true
		}
	}
	return false
}

package kernel

import (
	"github.com/selfattn/attn/generic"
)

// A panel is panelWidth queries of one KV head that go through the tiles of keys together, one to a lane.
type panel struct {
	state       generic.Panel
	src, dst    [generic.MaxPanel]int   // offsets of the rows in q and dst
	limit       [generic.MaxPanel]int32 // numbers of keys that the queries see
	least, most int                     // of them
	q, acc      []float32               // [Dim][width], [VDim][width]
}

// panelBlock computes the queries from row on, up to a block of panels, against all keys of a head.
func (w *worker) panelBlock(j *job, b, head, row int) {
	width := panelWidth()
	n := ceilDiv(min(j.blockRows, j.rows-row), width)
	most := 0
	for p := range n {
		w.load(j, &w.panels[p], p, b, head, row+p*width)
		most = max(most, w.panels[p].most)
	}
	k, v := j.k.head(b, head), j.v.head(b, head)
	for first := 0; first < most; first += generic.TileKeys {
		for p := range n {
			w.tile(j, &w.panels[p], k, v, first)
		}
	}
	for p := range n {
		w.finish(j, &w.panels[p], k, v)
	}
}

// load packs the queries from row on into panel number i of the block. Lanes beyond the last
// query repeat it: they compute and write the same again.
func (w *worker) load(j *job, p *panel, i, b, head, row int) {
	width := panelWidth()
	p.least, p.most = j.k.Len, 0
	for r := range width {
		query, h := min(row+r, j.rows-1)/j.group, min(row+r, j.rows-1)%j.group
		h += head * j.group
		p.src[r] = b*j.q.BatchStride + h*j.q.HeadStride + query*j.q.LenStride
		p.dst[r] = b*j.dst.BatchStride + h*j.dst.HeadStride + query*j.dst.LenStride
		limit := j.limit(query)
		p.limit[r] = int32(limit)
		p.least, p.most = min(p.least, limit), max(p.most, limit)
	}
	q, acc := width*generic.Pad(j.q.Dim), width*generic.Pad(j.v.Dim)
	p.q, p.acc = w.q[i*q:][:q], w.acc[i*acc:][:acc]
	packPanel(p.q, j.q.Data, &p.src, j.q.Dim, j.scale)
	clear(p.acc)
	p.state.Reset()
}

// tile takes a panel through the tile of keys from first on.
func (w *worker) tile(j *job, p *panel, k, v []float32, first int) {
	all, some := see(p.least, p.most, first, generic.TileKeys)
	if some == 0 {
		return
	}
	width := panelWidth()
	k, v = k[first*j.k.LenStride:], v[first*j.v.LenStride:]
	if all > 0 {
		scoreTile(w.s, &p.state, p.q, k, j.q.Dim, all, j.k.LenStride)
	}
	if all < some {
		// Only maskTile knows the maxima of these keys.
		s := w.s[all*width:]
		scoreTile(s, &w.ignored, p.q, k[all*j.k.LenStride:], j.q.Dim, some-all, j.k.LenStride)
		maskTile(s, &p.state, &p.limit, some-all, first+all)
	}
	softmaxTile(w.s, &p.state, some)
	valueTile(p.acc, w.s, v, &p.state, j.v.Dim, some, j.v.LenStride)
}

// finish writes the rows of a panel.
func (w *worker) finish(j *job, p *panel, k, v []float32) {
	nan := finishPanel(j.dst.Data, &p.dst, p.acc, &p.state, j.v.Dim)
	if !nan || p.least == p.most {
		return
	}
	// A hidden key has weight 0, but 0 times a NaN or infinite value is NaN. The rows that are NaN are
	// computed again, each from the keys that it sees.
	for r := range panelWidth() {
		out := j.dst.Data[p.dst[r]:][:j.v.Dim]
		if hasNaN(out) {
			acc := p.acc[:generic.Pad(j.v.Dim)]
			clear(acc)
			sum := w.row(j, acc, p.q[r:], k, v, int(p.limit[r]))
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

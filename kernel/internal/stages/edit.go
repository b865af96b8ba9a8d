package stages

import (
	"math"
	"unsafe"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/sight"
)

// A Bias is added to scores: element Data[b*BatchStride+h*HeadStride+i*QueryStride+j] to that of query row i of a
// batch member and head with key row j. One of -Inf hides the key. Without Data there is none.
type Bias struct {
	Data                                 []float32
	BatchStride, HeadStride, QueryStride int
}

// Row returns the offset of the element of query row i and key row j.
func (b *Bias) Row(batch, head, i, j int) int {
	return batch*b.BatchStride + head*b.HeadStride + i*b.QueryStride + j
}

// An edit is what happens to the scores of a call between score and hide: in this order a cap, a bias by
// distance and one by query and key.
type edit struct {
	on           bool    // something does
	cap, inverse float32 // in units of log 2; 0 is no cap
	slopes       []float32
	bias         *Bias
	first        int // number of the first query
	firstKey     int // and of the first key, among all
}

// set makes e that of a call with the arguments a, which stay where they are.
func (e *edit) set(a *Arguments) {
	e.on = a.SoftCap != 0 || a.ALiBi != nil || a.Bias.Data != nil
	e.bias = nil
	if !e.on {
		return
	}
	if e.cap = 0; a.SoftCap != 0 {
		e.cap = generic.Log2Scale(a.SoftCap)
		e.inverse = 1 / e.cap
	}
	e.slopes = appendLog2(e.slopes[:0], a.ALiBi)
	e.first, e.firstKey = a.First, a.FirstKey
	if a.Bias.Data != nil {
		e.bias = &a.Bias
	}
}

// appendLog2 appends factors or logits, in units of log 2.
func appendLog2(dst, x []float32) []float32 {
	for _, v := range x {
		dst = append(dst, generic.Log2Scale(v))
	}
	return dst
}

// hides reports whether the bias may hide keys.
func (e *edit) hides() bool { return e.bias != nil }

// An edited is what the edit of some queries needs to know of them.
type edited struct {
	position [tile.MaxPanel]int32 // among all keys
	slope    [tile.MaxPanel]float32
	bias     [tile.MaxPanel]int // where the bias of each query begins, as keys count
	same     bool               // the biases of all queries begin at the same place
}

// load takes n rows from the first on. Those beyond the last one repeat it.
func (q *edited) load(first *cursor, n int) {
	at := *first
	for r := range n {
		at.call.edit.load(q, r, at.sequence, at.head+at.Number, at.Query)
		at.Next()
	}
}

// load takes a query of a sequence and query head as number r of q. Number 0 comes first.
func (e *edit) load(q *edited, r int, s *sight.Sequence, head, query int) {
	q.position[r] = int32(generic.AlibiPosition(min(s.Position(query), 1<<30-e.firstKey) + e.firstKey))
	if len(e.slopes) > 0 {
		q.slope[r] = e.slopes[head]
	}
	if e.bias != nil {
		q.bias[r] = e.bias.Row(s.Batch, head, e.first+s.Query+query, s.Key)
	}
	q.same = r == 0 || q.same && q.bias[r] == q.bias[0]
}

// take takes n queries of p from number r on.
func (q *edited) take(p *edited, r, n int) {
	copy(q.position[:n], p.position[r:])
	copy(q.slope[:n], p.slope[r:])
	copy(q.bias[:n], p.bias[r:])
}

// unedited returns what takes the maxima of scores that are going to be scaled or edited, or st if they are not.
func (w *worker) unedited(st *tile.Panel) *tile.Panel {
	if !w.edit.on && w.keyScales == nil {
		return st
	}
	w.ignored.Width = st.Width
	return &w.ignored
}

// editKeys scales and edits the scores of a panel with some keys of the tile from number first on, and raises the maxima of st.
func (w *worker) editKeys(p *panel, st *tile.Panel, scores []float32, first int, some sight.Keys) {
	if w.keyScales != nil {
		to := st
		if w.edit.on {
			to = &w.ignored
		}
		asm.ScaleTile(scores, to, w.keyScales[some.From:], some.Len())
	}
	if w.edit.on {
		w.editTile(p, st, scores, first+some.From, some.Len())
	}
}

// editTile edits the scores of a panel with n keys from number first on, and raises the maxima of st.
func (w *worker) editTile(p *panel, st *tile.Panel, scores []float32, first, n int) {
	e := &w.edit
	if e.cap != 0 {
		to := st
		if len(e.slopes) > 0 || e.bias != nil {
			to = &w.ignored
		}
		asm.CapTile(scores, to, n, e.cap, e.inverse)
	}
	e.addBiases(&p.edited, scores, st, &w.ignored, first, n)
}

// addBiases adds biases to the scores of the queries of q with n keys from number first on, and raises the maxima of st;
// those of scores that are not the last go to ignored.
func (e *edit) addBiases(q *edited, scores []float32, st, ignored *tile.Panel, first, n int) {
	if len(e.slopes) > 0 {
		to := st
		if e.bias != nil {
			to = ignored
		}
		asm.AlibiTile(scores, to, &q.position, &q.slope, n, e.firstKey+first)
	}
	switch {
	case e.bias == nil:
	case q.same:
		asm.BiasKeys(scores, st, e.bias.Data[q.bias[0]+first:], n)
	default:
		asm.BiasTile(scores, st, e.bias.Data[first:], &q.bias, n)
	}
}

// floats returns a mask as the addresses of what is read ahead, whole elements of 4 bytes. Nobody looks at them.
func floats(mask []bool) []float32 {
	up := int(-uintptr(unsafe.Pointer(&mask[0])) % 4)
	return unsafe.Slice((*float32)(unsafe.Pointer(&mask[up])), (len(mask)-up)/4)
}

// editPart edits the scores of the keys of a part from its key number begin on, a whole vector.
func (w *worker) editPart(rs *rows, t *part, begin int) {
	e, q, first := &w.edit, &rs.edited, t.first+begin
	for r := t.row; r < t.row+t.rows; r++ {
		scores := t.scores(w)[(r-t.row)*tile.Keys:][begin:t.any.To]
		if e.cap != 0 {
			asm.CapRow(scores, e.cap, e.inverse)
		}
		if w.ALiBi != nil {
			asm.AlibiRow(scores, int(q.position[r])-w.FirstKey-first, q.slope[r])
		}
		if e.bias != nil {
			asm.BiasRow(scores, e.bias.Data[q.bias[r]+first:])
		}
	}
}

// hidden reports whether the bias hides a key from query r of q.
func (e *edit) hidden(q *edited, r, key int) bool {
	return e.bias != nil && e.bias.Data[q.bias[r]+key] == float32(math.Inf(-1))
}

// hiddenLanes returns a bit for each lane of p from which the bias hides a key.
func (e *edit) hiddenLanes(p *panel, key int) (lanes uint32) {
	for r := range p.width() {
		if e.hidden(&p.edited, r, key) {
			lanes |= 1 << r
		}
	}
	return lanes
}

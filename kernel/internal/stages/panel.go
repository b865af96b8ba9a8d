package stages

import (
	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

// A panel is queries of one KV head that go through the tiles of keys together, one to a lane.
type panel struct {
	state    tile.Panel
	row, n   int                // the first row of its KV head, and how many it has
	src, dst [tile.MaxPanel]int // offsets of the rows in q and dst, from where their head begins
	out      int                // where it begins in dst
	numbers  [tile.MaxPanel]int // of the rows
	key      int                // the row in K of the first key of their sequence
	sees     sight.Lanes
	edited   edited
	draw     tile.Draw // of dropout
	q, acc   []float32 // [Dim][width] and [VDim][width]
	started  bool      // some tile of the span has been computed, of which the first one sets acc but for its padding
	nan      bool      // some output is NaN, or some mix of a span that has ended
	total    total     // of the spans that have ended
}

// place makes n rows from a row on, of any KV head of an item's sequence, those of the last lanes. The lanes before them repeat
// the first: they compute and write the same again. So they see no more than in a full panel.
func (p *panel) place(c *Call, it *plan.Item, row, n int) {
	p.row, p.n = row, n
	var at cursor
	p.begin(&at, c, it)
	p.key = at.sequence.Key
	at.offsets(&p.src, &p.dst, p.width())
	p.sees.Load(&c.Sight, at.sequence, &at.Rows, p.width())
}

// begin goes to the rows of the lanes, in the KV head of an item.
func (p *panel) begin(at *cursor, c *Call, it *plan.Item) {
	at.begin(c, it, it.Head, p.row)
	at.Before = p.width() - p.n
}

// load packs the queries of the KV head of an item.
func (p *panel) load(c *Call, it *plan.Item) {
	width := p.width()
	p.out = c.head(&c.Dst, it.Sequence, it.Head)
	packPanel(p.q, c.Q.Data[c.head(&c.Q, it.Sequence, it.Head):], &p.src, width, c.Q.Dim, c.scale)
	if !c.perHead() {
		return
	}
	var at cursor
	p.begin(&at, c, it)
	if c.edit.on {
		p.edited.load(&at, width)
	}
	if !c.numbered() && c.Sight.Mask.Data == nil {
		return
	}
	if c.Dropout.On() {
		c.Dropout.load(&p.draw, at.sequence.Batch, width)
	}
	for lane := range width {
		number := at.number()
		p.numbers[lane] = number
		if c.Dropout.On() {
			c.Dropout.setLane(&p.draw, lane, number/c.Queries%c.Q.Heads, number%c.Queries)
		}
		p.sees.SetMask(lane, at.mask())
		at.Next()
	}
}

// panelItem computes queries of a KV head: those of panels, and the rest before them.
func (w *worker) panelItem(it *plan.Item) {
	s := &w.sequences[it.Sequence]
	panels := w.loadPanels(it)
	var any sight.Keys
	for i := range panels {
		any = any.Hull(panels[i].sees.Any)
	}
	const n = tile.Keys
	for first := any.From / n * n; first < any.To; first += n {
		if first%generic.SpanKeys == 0 && first > any.From {
			for i := range panels {
				w.endPanelSpan(&panels[i], first/generic.SpanKeys-1)
			}
		}
		last, now, next := first+n >= any.To, min(n, any.To-first), min(n, any.To-first-n)
		var keys, nextKeys tile.Rows
		var values, nextValues [1]tile.Rows
		w.K.Tile(&keys, w.keys, s, it.Head, first, now)
		w.V.Tile(&values[0], w.values, s, it.Head, first, now)
		if w.K.Int8 != nil {
			w.keyScales = w.K.RowScales(w.scales[0][:], s, it.Head, first, now)
		}
		if w.V.Int8 != nil {
			w.valueScales = w.V.RowScales(w.scales[1][:], s, it.Head, first, now)
		}
		// The first panel reads keys and values ahead for all of them, the others what else they need, and with the last tile each
		// what the next item begins with.
		ahead, more := values[:], &w.nextItem
		if !last {
			w.K.Rows(&nextKeys, nil, s, it.Head, first+n, next)
			more = &w.nextTile
			more.begin()
			if w.perQuery() {
				more.addPerQuery(w.Call, it, first+n, next)
			}
		}
		if it.Cut.CopyValues {
			ahead = nextValues[:]
			w.V.Rows(&nextValues[0], nil, s, it.Head, first+n, next)
			source.Copy(w.values, &values[0])
		}
		for i := range panels {
			p := &panels[i]
			if i > 0 {
				ahead = nil
			}
			if p.sees.Any.To > first && (i > 0 || last) {
				seen := min(now, p.sees.Any.To-first)
				if i > 0 {
					some := plan.CeilDiv(more.left(), len(panels)-i)
					ahead = more.takeSome(nextValues[:], max(1, some-1), p.pieces(w.Q.Dim, seen))
				}
				more.take(&nextKeys, p.pieces(w.V.Dim, seen))
			}
			w.panelTile(p, first, &keys, &values[0], ahead, &nextKeys)
			nextKeys.Len = 0
			if w.stopped() {
				return
			}
		}
	}
	for i := range panels {
		p := &panels[i]
		w.finishPanel(p, any)
		if p.nan && (!p.sees.Uniform() || w.edit.hides()) {
			w.repair(it, p)
		}
	}
	if it.RestRows > 0 {
		w.rest(it)
	}
}

// finishPanel writes the outputs of a panel of an item that sees some keys.
func (w *worker) finishPanel(p *panel, any sight.Keys) {
	if w.Spans != nil || p.total.begun {
		w.endPanelSpan(p, (any.To-1)/generic.SpanKeys)
		if w.Spans == nil {
			s := &p.total.states
			w.finishRows(p.out, p.dst[:p.width()], p.numbers[:p.width()], s.max[:], s.sum[:], s.mix)
		}
		return
	}
	if !p.started {
		memory.Clear(p.acc)
	}
	if w.Sinks != nil {
		w.addSinks(p)
	}
	if w.saves() {
		for r := range p.width() {
			w.save(p.numbers[r], p.state.Max[r], p.state.Sum[r])
		}
	}
	if w.Dropout.On() {
		for r := range p.width() {
			p.state.Sum[r] = w.sumKept(p.state.Sum[r])
		}
	}
	p.nan = finishPanel(w.Dst.Data[p.out:], &p.dst, p.acc, &p.state, w.Dst.Dim)
}

// loadPanels loads the rows of an item, but those that go row by row, into panels.
func (w *worker) loadPanels(it *plan.Item) []panel {
	if w.placed.sequence != it.Sequence || w.placed.row != it.Row || w.placed.rows != it.Rows {
		w.placePanels(it)
	}
	panels := w.panels[:w.placed.n]
	for i := range panels {
		p := &panels[i]
		p.load(w.Call, it)
		p.state.Reset(p.width())
		p.started, p.nan, p.total.begun = false, false, false
	}
	return panels
}

// placePanels cuts the rows of an item, but those that go row by row, into panels. As a rule the next item has the same rows of
// another head.
func (w *worker) placePanels(it *plan.Item) {
	panels, q, acc := w.panels[:0], w.queries, w.outputs
	row, end := it.Row+it.RestRows, it.Row+it.Rows
	n := end - row
	if wide := w.plan.Wide; n > wide {
		n = (n-1)%wide + 1 // full panels follow
	}
	for row < end {
		panels = panels[:len(panels)+1]
		p := &panels[len(panels)-1]
		p.state.Width = w.plan.Width(n)
		p.q, q = cut(q, p.width()*tile.Pad(w.Q.Dim))
		p.acc, acc = cut(acc, p.width()*tile.Pad(w.V.Dim))
		p.place(w.Call, it, row, n)
		clear(p.acc[w.V.Dim*p.width():])
		row += n
		n = w.plan.Wide
	}
	w.edge = edge{}
	w.placed = placed{it.Sequence, it.Row, it.Rows, len(panels)}
}

// panelTile takes a panel through the tile from key number first on. Meanwhile score and mix read ahead
// what is needed next. Rows are passed by reference: a copy of what has just been written waits for it.
func (w *worker) panelTile(p *panel, first int, keys, values *tile.Rows, aheadInScore []tile.Rows, aheadInMix *tile.Rows) {
	var seen sight.Cover
	p.sees.Cover(&seen, first, tile.Keys, &w.lanes)
	if seen.Any.Len() == 0 {
		return
	}
	p.started = true
	w.tiles.add(seen.Any != seen.All)
	w.scoreTile(p, &seen, first, keys, aheadInScore)
	if w.stopped() {
		return
	}
	asm.SoftmaxTile(w.scores, &p.state, seen.Any.Len())
	if w.Dropout.On() {
		n := seen.Any.Len()
		weights := tile.Rows{Data: w.scores, Len: n, Dim: p.width(), Stride: p.width()}
		asm.ClearTile(weights, w.kept.draw(&p.draw, p.key+first+seen.Any.From, n))
	}
	if w.valueScales != nil {
		w.ignored.Width = p.width()
		asm.ScaleTile(w.scores, &w.ignored, w.valueScales[seen.Any.From:], seen.Any.Len())
	}
	p.mix(w.scores, &seen, values, aheadInMix)
}

// scoreTile computes the scores of the keys that some lane sees, and hides them from the others.
func (w *worker) scoreTile(p *panel, seen *sight.Cover, first int, keys *tile.Rows, ahead []tile.Rows) {
	any, all := seen.Any, seen.All
	// No call for one to three keys that all lanes see.
	if rest := all.Len() & 3; all.To < any.To {
		all.To -= rest
	} else if all.From > any.From {
		all.From += rest
	}
	if all.Len() > 0 {
		scores := w.scores[(all.From-any.From)*p.width():]
		var part tile.Rows
		score(w.unedited(&p.state), scores, p.q, source.Part(&part, keys, all.From, all.To), 0, ahead)
		w.editKeys(p, &p.state, scores, first, all)
	}
	if all.From > any.From {
		w.seeEdge(p, first+any.From, all.From-any.From)
		w.scoreEdge(p, seen, sight.Keys{From: any.From, To: all.From}, first, keys, nil)
	}
	if all.To < any.To {
		if !seen.Masked {
			w.seeEdge(p, first+all.To, any.To-all.To)
		}
		if all.Len() > 0 {
			ahead = nil // done
		}
		w.scoreEdge(p, seen, sight.Keys{From: all.To, To: any.To}, first, keys, ahead)
	}
}

// seeEdge sets w.lanes to those of p that see n keys from first on, if that is not what they are.
func (w *worker) seeEdge(p *panel, first, n int) {
	if now := (edge{p, first, n}); w.edge != now || w.Sight.Mask.Data != nil {
		p.sees.Bits(&w.lanes, first, n)
		w.edge = now
	}
}

// An edge is n keys from first on that some lanes of a panel see and some do not.
type edge struct {
	panel    *panel
	first, n int
}

// scoreEdge computes the scores of the keys edge of the tile from key number first on, before or behind those that all
// lanes see, and hides them from the lanes that w.lanes does not name.
func (w *worker) scoreEdge(p *panel, seen *sight.Cover, edge sight.Keys, first int, keys *tile.Rows, ahead []tile.Rows) {
	scores, upper := w.scores[(edge.From-seen.Any.From)*p.width():], 0
	if edge.To == seen.Any.To {
		upper = seen.Upper
	}
	// The maxima that these scores raise are ignored: HideTile knows which scores count.
	w.ignored.Width = p.width()
	var part tile.Rows
	score(&w.ignored, scores, p.q, source.Part(&part, keys, edge.From, edge.To), upper, ahead)
	w.editKeys(p, &w.ignored, scores, first, edge)
	asm.HideTile(scores, &p.state, &w.lanes, edge.Len())
}

// fewUpper keys are scored for the whole panel in less time than for half of it in a call of its own.
const fewUpper = 8

// callWork multiply-adds are the most of one call of assembly, which is not preempted: about 40 us.
const callWork = 1 << 21

// fewColumns of a panel are packed or finished by one call.
const fewColumns = 1024

// packPanel is [asm.PackPanel] in several calls.
func packPanel(dst, src []float32, offset *[tile.MaxPanel]int, w, dim int, scale float32) {
	for ; dim > fewColumns; dim -= fewColumns {
		asm.PackPanel(dst, src, offset, w, fewColumns, scale)
		dst, src = dst[fewColumns*w:], src[fewColumns:]
	}
	asm.PackPanel(dst, src, offset, w, dim, scale)
}

// finishPanel is [asm.FinishPanel] in several calls.
func finishPanel(dst []float32, offset *[tile.MaxPanel]int, acc []float32, st *tile.Panel, dim int) (nan bool) {
	for ; dim > fewColumns; dim -= fewColumns {
		nan = asm.FinishPanel(dst, offset, acc, st, fewColumns) || nan
		dst, acc = dst[fewColumns:], acc[fewColumns*st.Width:]
	}
	return asm.FinishPanel(dst, offset, acc, st, dim) || nan
}

// nothing is read ahead.
var nothing tile.Rows

// score computes the scores of a panel of queries with keys, the last upper of which are for the second half of the lanes, and
// raises the maxima of st. Each of the rows ahead is read ahead during a share of the keys.
func score(st *tile.Panel, scores, queries []float32, keys *tile.Rows, upper int, ahead []tile.Rows) {
	if upper <= fewUpper {
		upper = 0
	}
	work, most := st.Width*keys.Dim, keys.Len
	if len(ahead) > 1 {
		most = plan.CeilDiv(plan.CeilDiv(keys.Len, len(ahead)), keyGroup) * keyGroup
	}
	if work*most > callWork {
		most = callWork / work
	}
	var part tile.Rows
	for from := 0; from < keys.Len; from += most {
		to := min(from+most, keys.Len)
		upper := min(to-from, max(0, to-(keys.Len-upper)))
		next := &nothing
		if len(ahead) > 0 {
			next, ahead = &ahead[0], ahead[1:]
		}
		asm.ScoreTile(scores[from*st.Width:], st, queries, source.Part(&part, keys, from, to), upper, next)
	}
}

// keyGroup keys are a whole number of those that the kernels score at once.
const keyGroup = 24

// mix adds up the values of a tile by their weights, and merges them into the outputs.
func (p *panel) mix(weights []float32, seen *sight.Cover, values, ahead *tile.Rows) {
	var part, columns tile.Rows
	values = source.Part(&part, values, seen.Any.From, seen.Any.To)
	most := values.Dim
	if work := p.width() * values.Len; work*most > callWork {
		most = callWork / work
	}
	for c := 0; c < values.Dim; c += most {
		asm.ValueTile(p.acc[c*p.width():], weights, &p.state, source.Columns(&columns, values, c, most), seen.Upper, ahead)
		ahead = &nothing
	}
}

// repair computes rows again that a hidden key has made NaN: its weight is 0, but 0 times a value that
// is NaN or infinite is NaN.
func (w *worker) repair(it *plan.Item, p *panel) {
	before, behind := p.sees.Edges()
	if w.edit.hides() {
		before, behind = p.sees.Any, sight.Keys{}
	}
	harmed := w.harmed(it, p, before) | w.harmed(it, p, behind)
	defer func(t Tiles) { w.tiles = t }(w.tiles) // these have been counted
	const n = tile.MaxRows
	for r := 0; r < p.width(); r += n {
		if harmed>>r&(1<<n-1) != 0 {
			w.again[0].lanes(p, r, n)
			w.forget(p.sees.Any, p.numbers[r:r+n])
			w.rowsAlone(it, w.again[:], w.merges[:1], p.sees.Any, 1)
		}
	}
}

// harmed returns the lanes from which a key with a value that is not finite is hidden.
func (w *worker) harmed(it *plan.Item, p *panel, keys sight.Keys) (lanes uint32) {
	s := &w.sequences[it.Sequence]
	var values, one tile.Rows
	for first := keys.From; first < keys.To; {
		w.V.Rows(&values, w.values, s, it.Head, first, min(tile.Keys, keys.To-first))
		scales := w.V.RowScales(w.scales[1][:], s, it.Head, first, values.Len)
		if w.finite(&values, scales) {
			first += values.Len
			continue
		}
		for k := range values.Len {
			if !w.finite(source.Part(&one, &values, k, k+1), scales[min(k, len(scales)):]) {
				lanes |= p.sees.Hidden(first+k) | w.edit.hiddenLanes(p, first+k)
			}
		}
		first += values.Len
	}
	return lanes
}

// finite reports whether no value is NaN or infinite, and no scale of one if they have some: it mixes them by weights of 0.
func (w *worker) finite(values *tile.Rows, scales []float32) bool {
	weights, mix := w.scores[:values.Len], w.mixes[:tile.Pad(values.Dim)]
	clear(weights)
	for j, scale := range scales[:min(len(scales), len(weights))] {
		weights[j] *= scale
	}
	clear(mix)
	var sum [1]float32
	asm.RowValues(mix, weights, sum[:], 1, values, values.Len*values.Stride)
	for _, x := range mix {
		if x != 0 {
			return false
		}
	}
	return true
}

func (p *panel) width() int { return p.state.Width }

// pieces is about how many pieces are read ahead while a tile of n keys is computed for dim elements.
func (p *panel) pieces(dim, n int) int { return pieces(n, dim, p.width()) }

// pieces is about how many pieces are read ahead by a product of n rows and so many columns, each in some steps: one for four
// steps of a microkernel, whose tiles have three rows to eight columns.
func pieces(n, steps, columns int) int { return n * steps * 2 / (3 * columns) }

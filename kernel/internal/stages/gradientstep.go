package stages

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

// A gradientWorker is one goroutine of a call, with its scratch memory.
type gradientWorker struct {
	*gradient
	memory         []float32 // what the slices below are cut from
	p, ds          []float32 // weights of a step and the gradients of their scores, [key][stepRows]
	edited         []float32 // gradients of edited scores: ds, but where there is a cap
	scores, capped []float32 // of a panel
	q, do          []float32 // of the panels of a step, packed
	dk, dv         []float32 // sums of an item: its rows of DK and DV where they can be added up in place
	padded         [3][]float32
	row            []float32 // for products that go row by row
	biases         []float32 // gradients of biases of a step
	ones           []float32 // a panel of the inverse of the scale
	panels         [stepRows / narrowest]gradientPanel
	strips         [stepRows / narrowest]strip
	item
	lanesOfKeys tile.Rows // the keys of the item once more, as rows of whole vectors
	finite      int8      // 1 if none of them is NaN or infinite, -1 if some is, 0 if that is not known
	next        item      // that this worker is likely to take next, without a sequence if there is none
	upcoming    upcoming
	lanes       [tile.Keys]uint32 // which lanes of a panel see a key
	kept        kept
	ignored     tile.Panel // takes maxima
}

const narrowest = asm.NarrowPanel

// An item is a tile of keys of a KV head.
type item struct {
	sequence     *sight.Sequence
	cut          *gradientCut
	head, number int       // the KV head and the number of the tile
	first        int       // the first key
	keys, values tile.Rows // those of the tile
	from, to     int       // the blocks of queries that see it, or would if they saw any key
}

// item sets it to item i.
func (c *gradient) item(it *item, i int) {
	n := sort.Search(len(c.cuts), func(n int) bool { return c.cuts[n].first > i }) - 1
	s, cut := &c.sequences[n], &c.cuts[n]
	i -= cut.first
	it.sequence, it.cut, it.head, it.number = s, cut, i/cut.tiles, i%cut.tiles
	it.first = it.number * c.tileKeys
	c.K.Tensor.Rows(&it.keys, s, it.head, it.first, c.tileKeys)
	c.V.Tensor.Rows(&it.values, s, it.head, it.first, c.tileKeys)
	// Of the blocks that see the tile, the last is before the first that begins to see behind it.
	end := it.first + it.keys.Len
	it.from = sort.Search(cut.blocks, func(b int) bool { return c.seen(s, b).To > it.first })
	it.to = sort.Search(cut.blocks, func(b int) bool { return c.seen(s, b).From >= end })
}

// A step is some queries of one head.
type step struct {
	head, row, n int       // the query head, the first query and how many
	q, do        tile.Rows // the queries and the gradients of their outputs, as rows of whole vectors
	panels       []gradientPanel
	strips       []strip    // the panels, or halves of them
	any          sight.Keys // keys of the tile, from the first to the last that some query sees
	hides        bool       // some pair of a query and of one of these keys is hidden
}

// A gradientPanel is neighbouring queries of a step, one to a lane. Lanes beyond the last query repeat it.
type gradientPanel struct {
	column, width       int
	sees                sight.Lanes
	dead                uint32 // lanes that have no sum, and see nothing
	edited              edited
	draw                tile.Draw // of dropout
	offset              [tile.MaxPanel]int
	max, inverse, start [tile.MaxPanel]float32
	q, do               []float32
	any                 sight.Keys
}

// A strip is the queries of a panel or, where one half of a wide one sees fewer keys than the other, of a half. Products of half a
// narrow panel would lose more than they save.
type strip struct {
	queries, any sight.Keys // numbers in the step and in the tile
}

var gradientWorkers = sync.Pool{New: func() any { return new(gradientWorker) }}

func newGradientWorker(c *gradient) *gradientWorker {
	w := gradientWorkers.Get().(*gradientWorker)
	w.gradient = c
	dim, vdim := tile.Pad(c.Q.Dim), tile.Pad(c.V.Dim)
	// Some are needed only where something is asked for.
	when := func(needed bool, n int) int {
		if needed {
			return n
		}
		return 0
	}
	caps, biases := c.SoftCap != 0, c.DBias != nil
	apart := caps && (biases || c.DALiBi != nil)
	parts := [...]struct {
		s *[]float32
		n int
	}{
		{&w.p, c.tileKeys * stepRows}, {&w.ds, c.tileKeys * stepRows}, {&w.edited, when(apart, c.tileKeys*stepRows)},
		{&w.scores, c.tileKeys * tile.MaxPanel}, {&w.capped, when(caps, c.tileKeys*tile.MaxPanel)},
		{&w.q, stepRows * dim}, {&w.do, stepRows * vdim},
		{&w.dk, when(!c.inPlace(&c.DK), c.tileKeys*tile.Pad(c.DK.Dim))}, {&w.dv, when(!c.inPlace(&c.DV), c.tileKeys*tile.Pad(c.DV.Dim))},
		{&w.padded[0], when(dim != c.Q.Dim, stepRows*dim)}, {&w.padded[1], when(vdim != c.V.Dim, stepRows*vdim)},
		{&w.padded[2], when(dim != c.Q.Dim, c.tileKeys*dim)}, {&w.row, tile.Keys + max(dim, vdim)},
		{&w.biases, when(biases, max(stepRows*tile.MaxPanel, c.tileKeys*narrowest))}, {&w.ones, when(biases, stepRows*narrowest)},
	}
	size := 0
	for _, p := range parts {
		size += p.n
	}
	w.memory = memory.Aligned(w.memory, size)
	rest := w.memory
	for _, p := range parts {
		*p.s, rest = cut(rest, p.n)
	}
	if !apart {
		w.edited = w.ds
	}
	for _, p := range w.padded {
		clear(p)
	}
	for i := range w.ones {
		w.ones[i] = 1 / c.Scale
	}
	return w
}

// release puts w back, without keeping data alive.
func (w *gradientWorker) release() {
	w.gradient, w.item, w.next, w.lanesOfKeys, w.dk, w.dv = nil, item{}, item{}, tile.Rows{}, nil, nil
	w.upcoming.forget()
	gradientWorkers.Put(w)
}

// compute computes the gradients of the keys of the item, and what it adds to those of queries.
func (w *gradientWorker) compute(h *queue.Hand) {
	s := w.sequence
	w.lanesOfKeys, w.finite = wholeVectors(w.padded[2], w.keys), 0
	w.beginSums(&w.dk, &w.DK)
	w.beginSums(&w.dv, &w.DV)
	if w.biasShared() {
		taken, before := w.before(&w.item)
		if !w.await(h, taken, int32(before)) {
			return
		}
		defer func() {
			taken.Add(1)
			h.Changed()
		}()
	}
	for b := w.to - 1; b >= w.from; b-- {
		if w.seen(s, b).Len() == 0 {
			continue
		}
		for i := range w.group {
			if !w.step(h, w.head*w.group+i, b) {
				return
			}
		}
	}
	if w.Dropout.On() && w.DV.Data != nil {
		sums := w.dv[:w.keys.Len*tile.Pad(w.V.Dim)]
		asm.Scale(sums, sums, w.keep)
	}
	w.endSums(w.dk, &w.DK)
	w.endSums(w.dv, &w.DV)
}

// inPlace reports whether the rows of a gradient of keys or values are added up where they are: rows of whole vectors, close
// together, as others may share few cache sets.
func (c *gradient) inPlace(t *source.Tensor) bool {
	return t.Data != nil && !c.Add && t.LenStride == t.Dim && t.Dim == tile.Pad(t.Dim)
}

// beginSums clears the sums of an item.
func (w *gradientWorker) beginSums(sums *[]float32, t *source.Tensor) {
	if s := w.sequence; w.inPlace(t) {
		*sums = t.Data[t.At(s.Batch, w.head, s.Key+w.first):]
	}
	memory.Clear((*sums)[:w.keys.Len*tile.Pad(t.Dim)])
}

// endSums takes the sums of an item to their rows.
func (w *gradientWorker) endSums(sums []float32, t *source.Tensor) {
	if w.inPlace(t) {
		return
	}
	s, pad := w.sequence, tile.Pad(t.Dim)
	for j := range w.keys.Len {
		w.settle(t, s.Batch, w.head, s.Key+w.first+j, sums[j*pad:][:pad])
	}
}

// wholeVectors returns rows of a multiple of 16 elements, in buf if theirs are no such.
func wholeVectors(buf []float32, r tile.Rows) tile.Rows {
	pad := tile.Pad(r.Dim)
	if pad == r.Dim {
		return r
	}
	for i := range r.Len {
		copy(buf[i*pad:][:r.Dim], r.Data[i*r.Stride:])
	}
	return tile.Rows{Data: buf, Len: r.Len, Dim: pad, Stride: pad}
}

// step computes the step of a head and a block of queries. It reports whether the call goes on.
func (w *gradientWorker) step(h *queue.Hand, head, block int) bool {
	var st step
	w.load(&st, head, block*stepRows)
	w.expect(head, block)
	st.strips = w.strips[:0]
	for i := range st.panels {
		w.scorePanel(&st, &st.panels[i])
	}
	if st.any.Len() > 0 {
		for i := range st.panels {
			w.fill(&st, &st.panels[i])
		}
		w.addKeys(&st)
	}
	if w.DBias != nil && st.any.Len() > 0 {
		w.addBiases(&st)
	}
	if w.DQ.Data == nil && w.DALiBi == nil {
		return true
	}
	turn, number := &w.turns[w.cut.turn+head*w.cut.blocks+block], int32(w.number)
	if !w.await(h, turn, number) {
		return false
	}
	if st.any.Len() > 0 && w.DQ.Data != nil {
		w.addQueries(&st)
	}
	if w.DALiBi != nil {
		w.addDistances(&st)
	}
	turn.Store(number + 1)
	h.Changed()
	return true
}

// await waits until t has a value, and reports whether the call goes on.
func (w *gradientWorker) await(h *queue.Hand, t *atomic.Int32, value int32) bool {
	if t.Load() != value {
		h.Await(func() bool { return t.Load() == value || w.fault.Load() })
	}
	return !w.fault.Load()
}

// load packs the queries of a step and what goes with them.
func (w *gradientWorker) load(st *step, head, row int) {
	s := w.sequence
	st.head, st.row, st.n = head, row, min(stepRows, s.Queries-row)
	rows := func(t *source.Tensor, buf []float32) tile.Rows {
		at := t.At(s.Batch, head, s.Query+row)
		return wholeVectors(buf, tile.Rows{Data: t.Data[at:], Len: st.n, Dim: t.Dim, Stride: t.LenStride})
	}
	st.q, st.do = rows(&w.Q, w.padded[0]), rows(&w.DO, w.padded[1])
	q, do, panels := w.q, w.do, w.panels[:0]
	for column := 0; column < st.n; {
		panels = panels[:len(panels)+1]
		p := &panels[len(panels)-1]
		p.column, p.width = column, asm.PanelWidth(st.n-column)
		p.q, q = cut(q, p.width*tile.Pad(w.Q.Dim))
		p.do, do = cut(do, p.width*tile.Pad(w.V.Dim))
		w.loadPanel(st, p)
		column += p.width
	}
	st.panels = panels
}

func (w *gradientWorker) loadPanel(st *step, p *gradientPanel) {
	s := w.sequence
	p.dead = 0
	p.sees.Load(&w.Sight, s, &sight.Rows{Query: st.row + p.column, Group: 1, Behind: st.n - 1 - p.column}, p.width)
	if w.Dropout.On() {
		w.Dropout.load(&p.draw, s.Batch, p.width)
	}
	for r := range p.width {
		i := st.row + min(p.column+r, st.n-1)
		number := (s.Batch*w.Q.Heads+st.head)*w.Queries + s.Query + i
		max, sum := w.Stats[2*number], w.Stats[2*number+1]
		p.max[r], p.inverse[r], p.start[r] = tile.SafeMax(max), tile.Inverse(sum), w.delta[number]
		if sum == 0 {
			p.dead |= 1 << r
		}
		if w.Sight.Mask.Data != nil {
			p.sees.SetMask(r, w.Sight.Row(s.Batch, st.head, s.Query+i, s.Key))
		}
		if w.edit.on {
			w.edit.load(&p.edited, r, s, st.head, i)
		}
		if w.Dropout.On() {
			w.Dropout.setLane(&p.draw, r, st.head, s.Query+i)
		}
	}
	pack := func(dst []float32, t *source.Tensor, scale float32) {
		for r := range p.width {
			p.offset[r] = t.At(s.Batch, st.head, s.Query+st.row+min(p.column+r, st.n-1))
		}
		packPanel(dst, t.Data, &p.offset, p.width, t.Dim, scale)
	}
	pack(p.q, &w.Q, w.scale)
	if w.scoresNeeded() {
		pack(p.do, &w.DO, float32(w.Scale*w.keep))
	}
}

// scoresNeeded reports whether the gradients of scores are: those of values do without them.
func (c *gradient) scoresNeeded() bool {
	return c.DQ.Data != nil || c.DK.Data != nil || c.DBias != nil || c.DALiBi != nil
}

// apart reports whether edited is not ds.
func (w *gradientWorker) apart() bool { return &w.edited[0] != &w.ds[0] }

// columns are the rows of some keys in a matrix of weights, in the columns of a panel.
func (p *gradientPanel) columns(x []float32, k sight.Keys) tile.Rows {
	return tile.Rows{Data: x[k.From*stepRows+p.column:], Len: k.Len(), Dim: p.width, Stride: stepRows}
}

// scorePanel computes the weights of a panel and the gradients of its scores, and clears those of hidden pairs.
func (w *gradientWorker) scorePanel(st *step, p *gradientPanel) {
	var seen sight.Cover
	p.sees.Cover(&seen, w.first, w.keys.Len, &w.lanes)
	p.any = seen.Any
	n := p.any.Len()
	if n == 0 {
		return
	}
	st.any = st.any.Hull(p.any)
	st.addStrips(p, seen.Upper)
	hides := w.hide(p, &seen)
	st.hides = st.hides || seen.Any != seen.All || p.dead != 0 || w.edit.hides()
	w.score(p, &seen)
	weights := p.columns(w.p, p.any)
	asm.GradWeight(weights, w.scores, &p.max, &p.inverse)
	result := weights
	if w.scoresNeeded() {
		result = p.columns(w.ds, p.any)
		most := callWork / (p.width * w.V.Dim)
		for from := p.any.From; from < p.any.To; from += most {
			some := sight.Keys{From: from, To: min(from+most, p.any.To)}
			asm.GradTile(p.columns(w.ds, some), p.columns(w.p, some), p.do, &p.start, someRows(w.values, some.From, some.To))
		}
	}
	if w.Dropout.On() {
		lanes := w.kept.draw(&p.draw, w.sequence.Key+w.first+p.any.From, n)
		if w.scoresNeeded() {
			asm.GradDrop(result, weights, &p.start, lanes)
		}
		asm.ClearTile(weights, lanes)
	}
	if w.scoresNeeded() {
		if w.apart() {
			for j := range result.Len {
				copy(p.columns(w.edited, p.any).Row(j), result.Row(j))
			}
		}
		if w.SoftCap != 0 {
			asm.GradCap(result, w.capped, w.edit.inverse)
		}
	}
	if w.edit.hides() && !w.allFinite(result) {
		// The weight of a key that a bias hides is 0, but for rows that are NaN, and 0 times infinity is NaN.
		hides = sight.Keys{To: n}
		for j := range n {
			w.lanes[j] = ^w.hidden(p, p.any.From+j)
		}
	}
	if hides.Len() > 0 {
		some := sight.Keys{From: p.any.From + hides.From, To: p.any.From + hides.To}
		asm.ClearTile(p.columns(w.p, some), &w.lanes)
		if w.scoresNeeded() {
			asm.ClearTile(p.columns(w.ds, some), &w.lanes)
		}
		if w.apart() {
			asm.ClearTile(p.columns(w.edited, some), &w.lanes)
		}
	}
}

// hide sets the lanes of the keys, from the first to the last that some lane may not see, and returns these
// as the panel's keys count.
func (w *gradientWorker) hide(p *gradientPanel, seen *sight.Cover) (hides sight.Keys) {
	any, all := seen.Any, seen.All
	if any == all && p.dead == 0 {
		return sight.Keys{}
	}
	hides.To = any.Len()
	if p.dead == 0 && !seen.Masked { // keys that all lanes see are before or behind the others
		if all.From == any.From {
			hides.From = all.Len()
		}
		if all.To == any.To {
			hides.To = all.From - any.From
		}
	}
	if !seen.Masked {
		p.sees.Bits(&w.lanes, w.first+any.From+hides.From, hides.Len())
	}
	if p.dead != 0 {
		for j := range hides.Len() {
			w.lanes[j] &^= p.dead
		}
	}
	return hides
}

// hidden returns the lanes that do not see a key of the tile.
func (w *gradientWorker) hidden(p *gradientPanel, key int) (lanes uint32) {
	lanes = p.dead | p.sees.Hidden(w.first+key)
	if w.edit.hides() {
		for r := range p.width {
			if w.edit.hidden(&p.edited, r, w.first+key) {
				lanes |= 1 << r
			}
		}
	}
	return lanes
}

// expect lists what a step reads ahead: its values if it is the first of its item, its sums of dQ, and what the next step begins
// with, which may be that of another item.
func (w *gradientWorker) expect(head, block int) {
	u, it := &w.upcoming, &w.item
	u.begin()
	add := func(t *source.Tensor, row int) {
		if t.Data != nil {
			s := it.sequence
			u.add(t.Data[t.At(s.Batch, head, s.Query+row):], min(stepRows, s.Queries-row), t.Dim, t.LenStride)
		}
	}
	rows := func(r *tile.Rows) { u.add(r.Data, r.Len, r.Dim, r.Stride) }
	if head == it.head*w.group && block == it.to-1 && w.scoresNeeded() {
		rows(&it.values)
	}
	add(&w.dq, block*stepRows)
	switch head++; {
	case head%w.group != 0:
	case block > it.from:
		head, block = head-w.group, block-1
	default:
		if it = &w.next; it.sequence == nil || it.from >= it.to {
			return
		}
		head, block = it.head*w.group, it.to-1
		rows(&it.keys)
	}
	add(&w.Q, block*stepRows)
	add(&w.DO, block*stepRows)
	if it == &w.next {
		for _, t := range []*source.Tensor{&w.DK, &w.DV} {
			if s := it.sequence; w.inPlace(t) {
				u.add(t.Data[t.At(s.Batch, it.head, s.Key+it.first):], it.keys.Len, t.Dim, t.LenStride)
			}
		}
	}
}

// ahead returns what is read ahead by a product of n rows and so many columns.
func (w *gradientWorker) ahead(n, steps, columns int) (r tile.Rows) {
	w.upcoming.take(&r, pieces(n, steps, columns))
	return r
}

// score computes the scores of a panel, edited, and reads ahead.
func (w *gradientWorker) score(p *gradientPanel, seen *sight.Cover) {
	n, first, e := p.any.Len(), w.first+p.any.From, &w.edit
	w.ignored.Width = p.width
	ahead := [1]tile.Rows{w.ahead(n, w.Q.Dim, p.width)}
	keys := someRows(w.keys, p.any.From, p.any.To)
	score(&w.ignored, w.scores, p.q, &keys, seen.Upper, ahead[:])
	if w.SoftCap != 0 {
		asm.CapTile(w.scores, &w.ignored, n, e.cap, e.inverse)
		copy(w.capped, w.scores[:n*p.width])
	}
	if e.on {
		e.addBiases(&p.edited, w.scores, &w.ignored, &w.ignored, first, n)
	}
}

// fill clears the weights of a panel with keys that only other panels of the step see.
func (w *gradientWorker) fill(st *step, p *gradientPanel) {
	if p.any.Len() == 0 {
		p.any = sight.Keys{From: st.any.To, To: st.any.To}
	}
	st.hides = st.hides || p.any != st.any
	for j := st.any.From; j < st.any.To; j++ {
		if j == p.any.From {
			j = p.any.To
		}
		if j < st.any.To {
			clear(w.p[j*stepRows+p.column:][:p.width])
			clear(w.ds[j*stepRows+p.column:][:p.width])
			if w.apart() {
				clear(w.edited[j*stepRows+p.column:][:p.width])
			}
		}
	}
}

// addKeys adds what a step makes of the gradients of keys and values.
func (w *gradientWorker) addKeys(st *step) {
	add := func(sums, a []float32, b tile.Rows) {
		apart := st.hides && !w.allFinite(b)
		for from := st.any.From; from < st.any.To; {
			to, queries := st.alike(from)
			if queries.Len() == 0 {
				from = to
				continue
			}
			c := tile.Rows{Data: sums[from*b.Dim:], Len: to - from, Dim: b.Dim, Stride: b.Dim}
			x := tile.Rows{Data: a[from*stepRows+queries.From:], Len: to - from, Dim: queries.Len(), Stride: stepRows}
			some := someRows(b, queries.From, queries.To)
			if apart {
				w.addRows(st, c, x, some, from, queries.From)
			} else {
				vectors(c, some, func(c, b tile.Rows) { asm.RowsTile(c, x, b, w.ahead(x.Len, x.Dim, c.Dim)) })
			}
			from = to
		}
	}
	if w.DV.Data != nil {
		add(w.dv, w.p, st.do)
	}
	if w.DK.Data != nil {
		add(w.dk, w.ds, st.q)
	}
}

// addStrips adds those of a panel, of whose keys the last upper ones are for the second half of its queries alone.
func (st *step) addStrips(p *gradientPanel, upper int) {
	end := min(p.column+p.width, st.n)
	if half := p.column + p.width/2; upper > 0 && p.width > narrowest && half < end {
		st.strips = append(st.strips, strip{sight.Keys{From: p.column, To: half}, sight.Keys{From: p.any.From, To: p.any.To - upper}},
			strip{sight.Keys{From: half, To: end}, p.any})
		return
	}
	st.strips = append(st.strips, strip{sight.Keys{From: p.column, To: end}, p.any})
}

// alike returns the end of the keys of the tile, from one that some strip sees on, that the same strips see, and their
// queries: the first to the last of these strips, as others in between have weights of 0.
func (st *step) alike(key int) (end int, queries sight.Keys) {
	end = st.any.To
	for i := range st.strips {
		s := &st.strips[i]
		switch {
		case key < s.any.From:
			end = min(end, s.any.From)
		case key < s.any.To:
			end = min(end, s.any.To)
			queries = queries.Hull(s.queries)
		}
	}
	return end, queries
}

// addQueries adds what a step makes of the gradients of its queries.
func (w *gradientWorker) addQueries(st *step) {
	s := w.sequence
	if st.hides && w.finite == 0 {
		if w.finite = -1; w.allFinite(w.lanesOfKeys) {
			w.finite = 1
		}
	}
	for i := 0; i < len(st.strips); {
		any, first, end := st.strips[i].any, st.strips[i].queries.From, 0
		for ; i < len(st.strips) && st.strips[i].any == any; i++ { // together with those that see the same keys
			end = st.strips[i].queries.To
		}
		c := tile.Rows{Data: w.dq.Data[w.dq.At(s.Batch, st.head, s.Query+st.row+first):], Len: end - first, Dim: w.lanesOfKeys.Dim, Stride: w.dq.LenStride}
		for from := any.From; from < any.To; {
			to := min(any.To, (from/tile.GradientKeys+1)*tile.GradientKeys)
			x := tile.Rows{Data: w.ds[from*stepRows+first:], Len: to - from, Dim: c.Len, Stride: stepRows}
			b := someRows(w.lanesOfKeys, from, to)
			if st.hides && w.finite < 0 {
				w.addColumns(st, c, x, b, from, first)
			} else {
				vectors(c, b, func(c, b tile.Rows) { asm.ColsTile(c, x, b) })
			}
			from = to
		}
	}
}

// vectors calls add for the columns of c and of b that are those of a panel, from the first on.
func vectors(c, b tile.Rows, add func(c, b tile.Rows)) {
	for left := c.Dim; left > 0; left -= c.Dim {
		c.Dim = asm.PanelWidth(left)
		b.Dim = c.Dim
		add(c, b)
		if left > c.Dim {
			c.Data, b.Data = c.Data[c.Dim:], b.Data[b.Dim:]
		}
	}
}

// addRows is [tile.RowsTile] without the pairs that are hidden, for all columns, with the first key of c and the first
// query of b: their weight is 0, but 0 times a NaN or infinity is NaN.
func (w *gradientWorker) addRows(st *step, c, a, b tile.Rows, key, query int) {
	mix := w.row[:c.Dim]
	for j := range c.Len {
		hidden := w.hiddenPairs(st, key+j) >> query
		clear(mix)
		mixSeen(mix, a.Row(j), b, func(i int) bool { return hidden>>i&1 == 0 })
		asm.MergeRow(c.Row(j), mix, 1, 1)
	}
}

// addColumns is [tile.ColsTile] so, with the first key of a and the first query of c.
func (w *gradientWorker) addColumns(st *step, c, a, b tile.Rows, key, query int) {
	mix, weights := w.row[:c.Dim], w.row[c.Dim:]
	var hidden [tile.Keys]uint64
	for j := range a.Len {
		hidden[j] = w.hiddenPairs(st, key+j) >> query
	}
	for i := range c.Len {
		for j := range a.Len {
			weights[j] = a.Data[j*a.Stride+i]
		}
		clear(mix)
		mixSeen(mix, weights[:a.Len], b, func(j int) bool { return hidden[j]>>i&1 == 0 })
		asm.MergeRow(c.Row(i), mix, 1, 1)
	}
}

// hiddenPairs returns a bit for each query of a step that does not see a key of the tile.
func (w *gradientWorker) hiddenPairs(st *step, key int) (queries uint64) {
	for i := range st.panels {
		p := &st.panels[i]
		queries |= uint64(w.hidden(p, key)) << p.column
	}
	return queries
}

// someRows returns the rows [from, to) of some.
func someRows(r tile.Rows, from, to int) tile.Rows {
	var some tile.Rows
	return *source.Part(&some, &r, from, to)
}

// mixSeen adds up those rows of b that are seen by their weights.
func mixSeen(mix, weights []float32, b tile.Rows, seen func(i int) bool) {
	var sum [1]float32
	for from := 0; from < len(weights); {
		to := from
		for to < len(weights) && seen(to) {
			to++
		}
		if to > from {
			values := someRows(b, from, to)
			asm.RowValues(mix, weights[from:], sum[:], 1, &values, values.Len*values.Stride)
		}
		from = to + 1
	}
}

// allFinite reports whether no element is NaN or infinite: it mixes rows, of whole vectors, by weights of 0.
func (w *gradientWorker) allFinite(r tile.Rows) bool {
	var weights [tile.Keys]float32
	var sum [1]float32
	mix := w.row[:r.Dim]
	clear(mix)
	asm.RowValues(mix, weights[:r.Len], sum[:], 1, &r, r.Len*r.Stride)
	return !hasNaN(mix)
}

package stages

import (
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

// A rows is few queries of one KV head that go through the keys row by row.
type rows struct {
	row, n   int       // the first row of its KV head, and how many it has
	q        []float32 // element i of query r is q[i*width+r]
	width    int
	packed   int                // queries that q has, of which the last ones may be no rows
	src, dst [tile.MaxPanel]int // offsets of the rows in q and dst, from where their head begins
	out      int                // where it begins in dst
	numbers  [tile.MaxRows]int  // of the rows
	key      int                // the row in K of the first key of their sequence
	sees     [tile.MaxRows]sight.Keys
	mask     [tile.MaxRows]int // where the mask of each begins
	edited   edited
	any, all sight.Keys // from the first to the last key that some row sees; keys that all rows see
}

// place makes rs the n rows from a row on, of any KV head of an item's sequence.
func (rs *rows) place(c *Call, it *plan.Item, row, n int) {
	rs.row, rs.n, rs.width = row, n, plan.NarrowPanel
	if c.plan.ScoreRows(n) == 1 { // 16 elements are in one cache line then
		rs.width = 1
	}
	rs.packed = rs.width
	var at cursor
	rs.begin(&at, c, it, it.Head)
	rs.key = at.sequence.Key
	at.offsets(&rs.src, &rs.dst, rs.width)
	for r := range n {
		rs.see(r, at.sees())
		at.Next()
	}
}

// begin goes to the rows in a KV head. Lanes behind them repeat the last one: another worker may be writing the rows behind it,
// where dst is q.
func (rs *rows) begin(at *cursor, c *Call, it *plan.Item, head int) {
	at.begin(c, it, head, rs.row)
	at.Behind = rs.n - 1
}

// load packs the queries of a KV head.
func (rs *rows) load(c *Call, it *plan.Item, head int, q []float32) {
	rs.q, rs.out = q, c.head(&c.Dst, it.Sequence, head)
	if data := c.Q.Data[c.head(&c.Q, it.Sequence, head):]; rs.width == 1 {
		asm.Scale(q, data[rs.src[0]:][:c.Q.Dim], c.scale)
	} else {
		packPanel(q, data, &rs.src, rs.width, c.Q.Dim, c.scale)
	}
	if !c.perHead() {
		return
	}
	var at cursor
	rs.begin(&at, c, it, head)
	if c.edit.on {
		rs.edited.load(&at, rs.n)
	}
	for r := range rs.n {
		rs.numbers[r], rs.mask[r] = at.number(), at.mask()
		at.Next()
	}
}

// see says what row r sees, after those before it.
func (rs *rows) see(r int, k sight.Keys) {
	rs.sees[r] = k
	if r == 0 {
		rs.any, rs.all = k, k
	} else {
		rs.any, rs.all = rs.any.Hull(k), rs.all.And(k)
	}
}

// lanes takes n lanes of a panel from lane r on.
func (rs *rows) lanes(p *panel, r, n int) {
	rs.n, rs.q, rs.width, rs.packed, rs.out = n, p.q[r:], p.width(), p.width()-r, p.out
	rs.edited.take(&p.edited, r, n)
	rs.key = p.key
	for i := range n {
		rs.dst[i], rs.numbers[i] = p.dst[r+i], p.numbers[r+i]
		k, mask := p.sees.Lane(r + i)
		rs.see(i, k)
		rs.mask[i] = mask
	}
}

// rowItem computes the queries of some KV heads against a split of their keys, which may be all of them.
func (w *worker) rowItem(it *plan.Item, h *queue.Hand) {
	rows := w.loadRows(it)
	if it.Cut.Splits == 1 {
		w.rowsAlone(it, rows, w.merges[:it.Heads], it.Keys, it.Cut.Stretch)
		return
	}
	parts := w.stretch(it, rows, it.Keys.From, it.Cut.Stretch)
	merges := w.shared[it.Sequence*w.K.Heads+it.Head:][:it.Heads]
	if h.Turn(); w.stopped() { // parts may be in pieces
		return
	}
	if it.Split == 0 {
		w.reset(merges, it.Rows)
	}
	w.merge(merges, rows, parts)
	if it.Split == it.Cut.Splits-1 {
		w.finish(merges, rows)
	}
}

// loadRows loads those rows of an item that go row by row, of each of its KV heads. All items of a sequence have the same ones,
// if they have any.
func (w *worker) loadRows(it *plan.Item) []rows {
	if w.rowsOf != it.Sequence {
		w.rowsOf, w.rowsPlaced = it.Sequence, 0
	}
	rows := w.rows[:it.Heads]
	for i := range rows {
		if i == w.rowsPlaced {
			rows[i].place(w.Call, it, it.Row, it.RestRows)
			w.rowsPlaced++
		}
		rows[i].load(w.Call, it, it.Head+i, w.queries[i*plan.NarrowPanel*tile.Pad(w.Q.Dim):])
	}
	return rows
}

// rest computes the first queries of an item.
func (w *worker) rest(it *plan.Item) {
	rows := w.loadRows(it)
	w.rowsAlone(it, rows, w.merges[:1], it.Keys, it.Cut.Stretch)
}

// rowsAlone computes rows, those of the KV heads from it.Head on, against all the keys that they see
// among some, so many tiles at a time.
func (w *worker) rowsAlone(it *plan.Item, rows []rows, merges []merge, keys sight.Keys, tiles int) {
	keys = keys.And(rows[0].any)
	first := keys.From / tile.Keys * tile.Keys
	if keys.To <= first+tile.Keys && w.Sinks == nil && w.Spans == nil {
		// One tile needs no merge: with nothing before it a is 0 and b is 1, or 0 where there is no finite
		// score and the mix is 0 or NaN, so that FMA(o, b, 0*a) is o but for the sign of a zero, which the
		// division makes +0. As with the sum.
		parts := w.stretch(it, rows, first, 1)
		if w.stopped() {
			return
		}
		if len(parts) > 0 && parts[0].rows == rows[0].n {
			for i := range parts {
				t := &parts[i]
				w.finishRows(rows[i].out, rows[i].dst[:t.rows], rows[i].numbers[:t.rows], t.max[:], t.sum[:], t.mixes(w))
			}
			return
		}
		w.reset(merges, rows[0].n)
		w.merge(merges, rows, parts)
		w.finish(merges, rows)
		return
	}
	w.reset(merges, rows[0].n)
	for ; first < keys.To; first += tiles * tile.Keys {
		parts := w.stretch(it, rows, first, tiles)
		if w.stopped() {
			return
		}
		w.merge(merges, rows, parts)
	}
	w.finish(merges, rows)
}

// A part is a tile of one KV head, for those of its rows that see a key of it.
type part struct {
	row, rows int        // the first row that sees a key, and how many rows
	slot      int        // where their scores and mixes begin, in rows
	before    int        // rows before them whose scores are computed too, for want of queries behind them
	first     int        // the first key of the tile, from which the others count
	any, all  sight.Keys // from the first to the last key that some of the rows sees; keys that all of them see
	masked    bool       // a key of any is hidden from some of the rows
	max, sum  [tile.MaxRows]float32
	whole     [tile.MaxRows]float32 // sums of all weights where some have been dropped
}

// stretch takes rows of the KV heads from it.Head on through the tiles from key number first on, up to
// merge. It returns what is to be merged, of a tile the parts of all heads, then those of the next tile.
//
// The order is that of memory: all keys of a stretch come before all of its values and, where the KV
// heads of a token are neighbours, a few tokens of all heads come before the next.
func (w *worker) stretch(it *plan.Item, rows []rows, first, tiles int) []part {
	parts := w.cutParts(rows, first, tiles)
	for i := 0; i < len(parts); i += len(rows) {
		w.scoreParts(it, rows, parts[i:][:len(rows)])
	}
	for i := range parts {
		w.weighPart(&rows[i%len(rows)], &parts[i])
		w.tiles.add(parts[i].masked)
	}
	for i := 0; i < len(parts); i += len(rows) {
		w.mixParts(it, rows, parts[i:][:len(rows)])
	}
	return parts
}

// cutParts lists the parts of a stretch. What the rows of one head see, those of the others do too.
func (w *worker) cutParts(rows []rows, first, tiles int) []part {
	n, slot := 0, 0
	for range tiles {
		for i := range rows {
			t := &w.parts[n]
			if t.cut(&rows[0], first); t.rows == 0 || i == 0 && w.masksAll(rows, t) {
				break
			}
			scored := w.plan.ScoreRows(t.rows)
			t.before = max(0, t.row+scored-rows[0].packed)
			t.slot = slot + t.before
			slot = t.slot + scored
			n++
		}
		first += tile.Keys
	}
	return w.parts[:n]
}

// masksAll reports whether the mask hides all keys of a part, of which the heads have the same one, from all rows.
func (w *worker) masksAll(rows []rows, t *part) bool {
	if w.Sight.Mask.Data == nil {
		return false
	}
	for i := range rows {
		for r := range t.rows {
			if seen := rows[i].seen(t, r); w.Sight.Any(rows[i].mask[t.row+r]+t.first+seen.From, seen.Len()) {
				return false
			}
		}
	}
	return true
}

// cut sets t to what rows see of the tile from key number first on: t.rows is 0 if that is nothing.
func (t *part) cut(rs *rows, first int) {
	t.first, t.row, t.rows = first, 0, rs.n
	t.any, t.all = rs.any.In(first, tile.Keys), rs.all.In(first, tile.Keys)
	if t.any.Len() == 0 {
		t.rows = 0
	}
	if t.any == t.all {
		return
	}
	for ; t.rows > 0 && rs.seen(t, 0).Len() == 0; t.rows-- {
		t.row++
	}
	for t.rows > 0 && rs.seen(t, t.rows-1).Len() == 0 {
		t.rows--
	}
	t.any, t.all = sight.Keys{}, sight.Keys{To: tile.Keys}
	for r := range t.rows {
		k := rs.sees[t.row+r].In(first, tile.Keys)
		t.any, t.all = t.any.Hull(k), t.all.And(k)
	}
	if t.all.Len() == 0 {
		t.all = sight.Keys{From: t.any.From, To: t.any.From}
	}
}

// seen returns the keys of t that its row r sees.
func (rs *rows) seen(t *part, r int) sight.Keys {
	if t.any == t.all {
		return t.any
	}
	return rs.sees[t.row+r].In(t.first, tile.Keys)
}

// scores returns the scores of a part, and later its weights: those of its row r begin at r*TileKeys.
func (t *part) scores(w *worker) []float32 { return w.scores[t.slot*tile.Keys:] }

// mixes returns the mixes of a part, rows of the padded VDim.
func (t *part) mixes(w *worker) []float32 { return w.mixes[t.slot*tile.Pad(w.V.Dim):] }

// scoreParts computes the scores of a tile of neighbouring KV heads.
func (w *worker) scoreParts(it *plan.Item, rows []rows, parts []part) {
	t := &parts[0]
	// Whole vectors: less than 8 keys overwrite 16 scores.
	begin := t.any.From &^ 15
	chunks := w.chunks(begin, t.any.To, len(parts))
	var keys tile.Rows
	for from, to, ok := chunks.next(); ok && !w.stopped(); from, to, ok = chunks.next() {
		for i := range parts {
			t, q := &parts[i], &rows[i]
			for k, n := from, 0; k < to; k += n {
				if n = w.scoreInPlace(it, i, q, t, k, to); n > 0 {
					continue
				}
				next := w.K.Rows(&keys, w.keys, &w.sequences[it.Sequence], it.Head+i, t.first+k, to-k)
				scales := w.K.RowScales(w.scales[0][:], &w.sequences[it.Sequence], it.Head+i, t.first+k, keys.Len)
				if n = keys.Len; n > 1 && n < plan.RowKeys {
					// RowKeys at once: the scores of whatever is behind them are not used.
					source.Copy(w.keys, &keys)
					keys.Len = plan.RowKeys
				}
				scores, queries, rows := w.scored(q, t, k)
				asm.RowScores(scores, queries, q.width, rows, &keys, next)
				for r := range rows {
					for j, scale := range scales {
						scores[r*tile.Keys+j] *= scale
					}
				}
			}
		}
	}
	if w.edit.on {
		for i := range parts {
			w.editPart(&rows[i], &parts[i], begin)
		}
	}
}

// scored returns where the scores of a part from its key k on go, and of which queries, and how many, they are computed.
func (w *worker) scored(q *rows, t *part, k int) (scores, queries []float32, rows int) {
	return w.scores[(t.slot-t.before)*tile.Keys+k:], q.q[t.row-t.before:], w.plan.ScoreRows(t.rows)
}

// scoreInPlace computes the scores of the keys from k on that are read as they are stored, and returns how many there are:
// none where they are few.
func (w *worker) scoreInPlace(it *plan.Item, i int, q *rows, t *part, k, to int) int {
	if to-k < tile.StoredRows || !w.K.InPlace() {
		return 0
	}
	scores, queries, rows := w.scored(q, t, k)
	var half tile.HalfRows
	var octets tile.OctetRows
	s, head, first := &w.sequences[it.Sequence], it.Head+i, t.first+k
	if w.K.Int8 != nil {
		if w.K.Octets(&octets, &w.groups, s, head, first, to-k); octets.Len >= tile.StoredRows {
			asm.RowScoresInt8(scores, queries, q.width, rows, octets)
			return octets.Len
		}
		return 0
	}
	switch w.K.Halves(&half, &w.groups, s, head, first, to-k); {
	case half.Len < tile.StoredRows:
		return 0
	case w.K.Float16 != nil:
		asm.RowScoresFloat16(scores, queries, q.width, rows, half)
	default:
		asm.RowScoresBFloat16(scores, queries, q.width, rows, half)
	}
	return half.Len
}

// weighPart turns the scores that each row sees into weights.
func (w *worker) weighPart(rs *rows, t *part) {
	t.masked = t.any != t.all
	for r := range t.rows {
		t.max[r] = asm.RowWeights(w.hidePart(rs, t, r))
		t.sum[r] = 0
		if w.Dropout.On() {
			w.dropPart(rs, t, r)
		}
	}
}

// dropPart adds up the weights of row r of a part, and drops some of them.
func (w *worker) dropPart(rs *rows, t *part, r int) {
	seen := rs.seen(t, r)
	weights := t.scores(w)[r*tile.Keys:][seen.From:max(seen.From, seen.To)]
	t.whole[r] = 0
	for _, p := range weights {
		t.whole[r] += p
	}
	w.dropRow(weights, rs.numbers[t.row+r], rs.key+t.first+seen.From)
}

// hidePart hides the scores that row r of a part does not see, and returns the others with those before them, from
// the start of a vector on.
func (w *worker) hidePart(rs *rows, t *part, r int) []float32 {
	scores, seen := t.scores(w)[r*tile.Keys:], rs.seen(t, r)
	from := seen.From &^ 15
	for k := from; k < seen.From; k++ {
		scores[k] = float32(math.Inf(-1))
	}
	if m := w.Sight.Mask.Data; m != nil && asm.HideRow(scores[seen.From:max(seen.From, seen.To)], m[rs.mask[t.row+r]+t.first+seen.From:]) {
		t.masked = true
	}
	return scores[from:max(from, seen.To)]
}

// mixParts mixes the values of a tile of neighbouring KV heads: together those that all rows see, and
// alone what a row sees before and behind them, in the order of the keys.
func (w *worker) mixParts(it *plan.Item, rows []rows, parts []part) {
	for i := range parts {
		t := &parts[i]
		clear(t.mixes(w)[:plan.PadRows(t.rows)*tile.Pad(w.V.Dim)])
		if t.any.From < t.all.From {
			for r := range t.rows {
				seen := rows[i].seen(t, r)
				w.mixRow(it, i, t, r, sight.Keys{From: seen.From, To: min(seen.To, t.all.From)})
			}
		}
	}
	chunks := w.chunks(parts[0].all.From, parts[0].all.To, len(parts))
	for from, to, ok := chunks.next(); ok && !w.stopped(); from, to, ok = chunks.next() {
		for i := range parts {
			t := &parts[i]
			w.mixValues(&w.sequences[it.Sequence], it.Head+i, t, 0, plan.PadRows(t.rows), sight.Keys{From: from, To: to})
		}
	}
	for i := range parts {
		t := &parts[i]
		if t.all.To < t.any.To {
			for r := range t.rows {
				seen := rows[i].seen(t, r)
				w.mixRow(it, i, t, r, sight.Keys{From: max(seen.From, t.all.To), To: seen.To})
			}
		}
	}
	if w.Sight.Mask.Data != nil || w.edit.hides() {
		for i := range parts {
			for r := range parts[i].rows {
				w.repairRow(it, i, &rows[i], &parts[i], r)
			}
		}
	}
	if w.Dropout.On() {
		for i := range parts {
			parts[i].sum = parts[i].whole
		}
	}
}

// repairRow mixes a row again, without the keys that the mask or the bias hides, if it is NaN: their weight is
// 0, but 0 times a value that is NaN or infinite is NaN.
func (w *worker) repairRow(it *plan.Item, i int, rs *rows, t *part, r int) {
	mix := t.mixes(w)[r*tile.Pad(w.V.Dim):][:tile.Pad(w.V.Dim)]
	if !hasNaN(mix[:w.V.Dim]) {
		return
	}
	clear(mix)
	t.sum[r] = 0
	seen := rs.seen(t, r)
	for k := seen; k.From < seen.To; k.From = k.To + 1 {
		for k.To = k.From; k.To < seen.To && !w.hidden(rs, t.row+r, t.first+k.To); k.To++ {
		}
		w.mixRow(it, i, t, r, k)
	}
}

// hidden reports whether the mask or the bias hides a key from row r of some.
func (w *worker) hidden(rs *rows, r, key int) bool {
	m := &w.Sight.Mask
	return m.Data != nil && !m.Sees(rs.mask[r]+key) || w.edit.hidden(&rs.edited, r, key)
}

func hasNaN(x []float32) bool {
	m := asm.MaxAbs(x)
	return m != m
}

// mixRow mixes values for row r of the part of head i of an item alone.
func (w *worker) mixRow(it *plan.Item, i int, t *part, r int, k sight.Keys) {
	w.mixValues(&w.sequences[it.Sequence], it.Head+i, t, r, 1, k)
}

// mixValues mixes the values of some keys of a part for rows from row r on.
func (w *worker) mixValues(s *sight.Sequence, head int, t *part, r, rows int, k sight.Keys) {
	var values tile.Rows
	var half tile.HalfRows
	var octets tile.OctetRows
	var added [tile.MaxRows]float32 // instead of sums that have got the weights already
	inPlace := w.V.InPlace()
	mixes, sum := t.mixes(w)[r*tile.Pad(w.V.Dim):], t.sum[r:]
	for n := 0; k.Len() > 0; k.From += n {
		weights := t.scores(w)[r*tile.Keys+k.From:]
		switch first := t.first + k.From; {
		case !inPlace:
			next := w.V.Rows(&values, w.values, s, head, first, k.Len())
			sum := sum
			if n = values.Len; w.V.Int8 != nil {
				weights = w.scaleWeights(weights, sum, rows, w.V.RowScales(w.scales[1][:], s, head, first, n))
				sum = added[:]
			}
			asm.RowValues(mixes, weights, sum, rows, &values, next)
		case w.V.Int8 != nil:
			w.V.Octets(&octets, &w.groups, s, head, first, k.Len())
			asm.RowValuesInt8(mixes, weights, sum, rows, octets)
			n = octets.Len
		case w.V.Float16 != nil:
			w.V.Halves(&half, &w.groups, s, head, first, k.Len())
			asm.RowValuesFloat16(mixes, weights, sum, rows, half)
			n = half.Len
		default:
			w.V.Halves(&half, &w.groups, s, head, first, k.Len())
			asm.RowValuesBFloat16(mixes, weights, sum, rows, half)
			n = half.Len
		}
	}
}

// scaleWeights adds the weights of rows and of as many keys as there are scales to the sums, and returns them scaled.
func (w *worker) scaleWeights(weights, sum []float32, rows int, scales []float32) []float32 {
	for r := range rows {
		for j, scale := range scales {
			p := weights[r*tile.Keys+j]
			sum[r] += p
			w.scaled[r*tile.Keys+j] = p * scale
		}
	}
	return w.scaled[:]
}

// chunks are runs of keys of a tile.
type chunks struct{ from, end, size int }

// chunks cuts keys of a tile that several KV heads read in turn.
func (w *worker) chunks(from, end, heads int) chunks {
	size := tile.Keys
	if heads > 1 {
		size = max(16, 8<<10/(w.K.Size()*w.K.Dim)&^15) // of 8 KiB: small against L2, large against a call
	}
	return chunks{from, end, size}
}

// next returns the next keys. The last ones are no less than 8, which the kernels take one by one, if
// there is more than one chunk.
func (c *chunks) next() (from, to int, ok bool) {
	from, to = c.from, c.from+c.size
	if to+8 > c.end {
		to = c.end
	}
	c.from = to
	return from, to, from < to
}

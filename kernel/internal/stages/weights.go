package stages

import (
	"math"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/source"
)

// Scores sets the rows of dst to the scores of chosen queries in one head with all keys, in natural units, or to their
// weights. It walks the stages of a row and stops before weigh or mix. Hidden keys have what no
// weight is: -Inf or 0. Dst and V of a are not used.
func Scores(dst tile.Rows, a *Arguments, batch, head int, queries []int, weigh bool) {
	one := a.member(batch)
	one.Dst, one.V, one.Workers, one.LSE, one.Stats = one.Q, one.K, 1, nil, nil
	c := newCall(&one)
	w := &c.own
	w.join(c)
	for i, query := range queries {
		row := dst.Row(i)
		n := c.sequence(query)
		if n < 0 {
			hide(row, weigh)
			continue
		}
		s := &c.sequences[n]
		hide(row[:s.Key], weigh)
		hide(row[s.Key+s.Keys:], weigh)
		it := plan.Item{Cut: &c.plan.Cuts[n], Sequence: n, Head: head / c.plan.Group, Heads: 1}
		w.showRow(row[s.Key:][:s.Keys], &it, (query-s.Query)*c.plan.Group+head%c.plan.Group, weigh)
	}
	w.leave()
	c.Release()
}

// hide sets x to the weights or scores of hidden keys.
func hide(x []float32, weigh bool) {
	if weigh {
		memory.Clear(x)
		return
	}
	for i := range x {
		x[i] = float32(math.Inf(-1))
	}
}

// member returns the arguments of one batch member: the others may be more than there is memory for a list
// of, where they share their rows.
func (a *Arguments) member(batch int) Arguments {
	one := *a
	one.Dropout.Batch += batch
	for _, t := range [...]*source.Tensor{&one.Q, &one.K.Tensor} {
		t.Data, t.Batch = t.Data[t.At(batch, 0, 0):], 1
	}
	if m := &one.Sight.Mask; m.Data != nil {
		m.Data = m.Data[batch*m.BatchStride:]
	}
	if b := &one.Bias; b.Data != nil {
		b.Data = b.Data[batch*b.BatchStride:]
	}
	l := &one.Lengths
	for _, x := range [...]*[]int{&l.Start, &l.KeyLen, &l.QueryLen} {
		if len(*x) == a.Q.Batch {
			*x = (*x)[batch:][:1]
		}
	}
	return one
}

// sequence returns the number of the sequence that a row of the only batch member is in, or -1.
func (c *Call) sequence(row int) int {
	for i := range c.sequences {
		if s := &c.sequences[i]; s.Query <= row && row < s.Query+s.Queries {
			return i
		}
	}
	return -1
}

// showRow computes the scores or the weights of a row of the KV head of an item.
func (w *worker) showRow(dst []float32, it *plan.Item, row int, weigh bool) {
	rows, m := w.rows[:1], &w.merges[0]
	rows[0].place(w.Call, it, row, 1)
	rows[0].load(w.Call, it, it.Head, w.queries)
	w.reset(w.merges[:1], 1)
	w.tileMax = w.tileMax[:0]
	for first := 0; first < len(dst); first += tile.Keys {
		out := dst[first:min(first+tile.Keys, len(dst))]
		hide(out, weigh)
		parts := w.cutParts(rows, first, 1)
		if len(parts) == 0 {
			continue
		}
		t := &parts[0]
		w.scoreParts(it, rows, parts)
		seen := t.any
		out = out[seen.From:seen.To]
		if !weigh {
			w.hidePart(&rows[0], t, 0)
			for k, s := range t.scores(w)[seen.From:seen.To] {
				out[k] = float32(float64(s) * math.Ln2)
			}
			continue
		}
		w.weighPart(&rows[0], t)
		copy(out, t.scores(w)[seen.From:])
		if w.Dropout.On() {
			t.sum[0] = t.whole[0]
		} else {
			for _, p := range out {
				t.sum[0] += p
			}
		}
		if span := first / generic.SpanKeys; span != m.span {
			w.begin(m, &rows[0], span)
		}
		m.add(0, t.max[0], t.sum[0])
		w.tileMax = append(w.tileMax, tileMax{first + seen.From, first + seen.To, t.max[0]})
	}
	all := w.end(m, &rows[0])
	for _, t := range w.tileMax {
		_, _, b := tile.Merge(all.max[0], t.max)
		out := dst[t.from:t.to]
		for k := range out {
			out[k] *= b
		}
		divide(out, out, w.sumKept(all.sum[0]))
		for k := range out { // a hidden key has no part in a NaN
			if w.hidden(&rows[0], 0, t.from+k) {
				out[k] = 0
			}
		}
	}
}

// tileMax is the maximum of the weights of the keys [from, to), which are of one tile.
type tileMax struct {
	from, to int
	max      float32
}

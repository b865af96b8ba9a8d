package stages

import (
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/source"
)

// Weights sets the rows of dst, stride apart, to the weights of chosen queries in one head over all keys.
// It walks the stages of a row and stops before mix. Dst and V of a are not used.
func Weights(dst []float32, stride int, a *Arguments, batch, head int, queries []int) {
	one := a.member(batch)
	one.Dst, one.V, one.Workers, one.LSE = one.Q, one.K, 1, nil
	c := newCall(&one)
	w := newWorker(c)
	for i, query := range queries {
		row := dst[i*stride:][:c.K.Len]
		n := c.sequence(query)
		if n < 0 {
			memory.Clear(row)
			continue
		}
		s := &c.sequences[n]
		memory.Clear(row[:s.Key])
		memory.Clear(row[s.Key+s.Keys:])
		it := plan.Item{Cut: &c.plan.Cuts[n], Sequence: n, Head: head / c.plan.Group, Heads: 1}
		w.weights(row[s.Key:][:s.Keys], &it, (query-s.Query)*c.plan.Group+head%c.plan.Group)
	}
	w.release()
	c.release()
}

// member returns the arguments of one batch member: the others may be more than there is memory for a list
// of, where they share their rows.
func (a *Arguments) member(batch int) Arguments {
	one := *a
	for _, t := range [...]*source.Tensor{&one.Q, &one.K} {
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
func (c *call) sequence(row int) int {
	for i := range c.sequences {
		if s := &c.sequences[i]; s.Query <= row && row < s.Query+s.Queries {
			return i
		}
	}
	return -1
}

// weights computes the weights of a row of the KV head of an item.
func (w *worker) weights(dst []float32, it *plan.Item, row int) {
	rows, m := w.rows[:1], &w.merges[0]
	rows[0].load(w.call, it, it.Head, row, 1, w.queries)
	w.reset(w.merges[:1], 1)
	w.tileMax = w.tileMax[:0]
	for first := 0; first < len(dst); first += tile.Keys {
		out := dst[first:min(first+tile.Keys, len(dst))]
		memory.Clear(out)
		parts := w.cutParts(rows, first, 1)
		if len(parts) == 0 {
			continue
		}
		t := &parts[0]
		w.scoreParts(it, rows, parts)
		w.weighPart(&rows[0], t)
		seen := t.any
		out = out[seen.From:seen.To]
		copy(out, t.scores(w)[seen.From:])
		for _, p := range out {
			t.sum[0] += p
		}
		m.add(0, t.max[0], t.sum[0])
		w.tileMax = append(w.tileMax, tileMax{first + seen.From, first + seen.To, t.max[0]})
	}
	for _, t := range w.tileMax {
		_, _, b := tile.Merge(m.max[0], t.max)
		out := dst[t.from:t.to]
		for k := range out {
			out[k] *= b
		}
		divide(out, out, m.sum[0])
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

package stages

import (
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
)

// upcoming lists what is read ahead: what the panels of an item need for the next tile beside keys and values or, during the
// last one, what the next item begins with, or what a step of a gradient and the next one need.
type upcoming struct {
	rows  []tile.Rows
	taken int // how many of rows are read ahead already
}

// expect lists what an item begins with, if there is one: its keys, if they are not those of now, biases and
// masks, and its rows of q and dst.
func (u *upcoming) expect(c *Call, now, next *plan.Item) {
	u.begin()
	if next == nil {
		return
	}
	s := &c.sequences[next.Sequence]
	group := c.plan.Group
	first, last := next.Row, next.Row+next.Rows-1
	if group > 1 {
		first, last = first/group, last/group
	}
	from := c.Sight.First(s, first)
	if next.Sequence != now.Sequence || next.Head != now.Head {
		var keys tile.Rows
		c.K.Rows(&keys, nil, s, next.Head, from, tile.Keys)
		if keys.Len > 0 {
			u.add(keys.Data, keys.Len, keys.Dim, keys.Stride)
		}
	}
	if c.perQuery() {
		u.addPerQuery(c, next, from, min(tile.Keys, s.Keys-from))
	}
	for head := next.Head * group; head < (next.Head+1)*group; head++ {
		u.add(c.Q.Data[c.Q.At(s.Batch, head, s.Query+first):], last-first+1, c.Q.Dim, c.Q.LenStride)
		u.add(c.Dst.Data[c.Dst.At(s.Batch, head, s.Query+first):], last-first+1, c.Dst.Dim, c.Dst.LenStride)
	}
}

// perQuery reports whether there is a bias or a mask.
func (c *Call) perQuery() bool { return c.edit.bias != nil || c.Sight.Mask.Data != nil }

// addPerQuery lists the biases and the masks of the queries of an item for n keys from number first on, as they may be as many
// as the scores: not those that all queries share, and those that all heads share once.
func (u *upcoming) addPerQuery(c *Call, it *plan.Item, first, n int) {
	bias, mask := c.edit.bias, &c.Sight.Mask
	if n <= 0 {
		return
	}
	s := &c.sequences[it.Sequence]
	group := c.plan.Group
	query := it.Row / group
	row, queries := c.First+s.Query+query, (it.Row+it.Rows-1)/group-query+1
	for h := range group {
		head := it.Head*group + h
		if b := bias; b != nil && b.QueryStride > 0 && (h == 0 || b.HeadStride > 0) {
			u.add(b.Data[b.Row(s.Batch, head, row, s.Key)+first:], queries, n, b.QueryStride)
		}
		if m := mask; m.Data != nil && m.QueryStride > 0 && (h == 0 || m.HeadStride > 0) && n >= 8 {
			u.add(floats(m.Data[m.Row(s.Batch, head, row, s.Key)+first:]), queries, n/4, m.QueryStride/4)
		}
	}
}

// begin lists nothing.
func (u *upcoming) begin() { u.rows, u.taken = u.rows[:0], 0 }

// add lists rows, if there is room. It sets them field by field, as a copy of what has just been written waits for it.
func (u *upcoming) add(data []float32, n, dim, stride int) {
	if u.rows == nil {
		u.rows = make([]tile.Rows, 0, 16)
	}
	if len(u.rows) == cap(u.rows) {
		return
	}
	u.rows = u.rows[:len(u.rows)+1]
	r := &u.rows[len(u.rows)-1]
	r.Data, r.Len, r.Dim, r.Stride = data, n, dim, stride
}

// take sets some to the next rows that have been listed, as many as fit into some pieces. Each is taken once.
func (u *upcoming) take(some *tile.Rows, pieces int) {
	if some.Len = 0; u.taken == len(u.rows) {
		return
	}
	left := &u.rows[u.taken]
	some.Data, some.Dim, some.Stride = left.Data, left.Dim, left.Stride
	if left.Dim <= tile.Piece { // a row is one piece
		some.Len = min(left.Len, pieces)
	} else {
		some.Len = min(left.Len, pieces/plan.CeilDiv(left.Dim, tile.Piece))
	}
	if left.Len -= some.Len; left.Len > 0 {
		left.Data = left.Data[some.Len*left.Stride:]
	} else {
		u.taken++
	}
}

// takeSome returns the next n of what has been listed, each as a whole. Of a single one it takes what fits into some pieces,
// as take does, and returns it in one.
func (u *upcoming) takeSome(one []tile.Rows, n, pieces int) []tile.Rows {
	if n == 1 {
		u.take(&one[0], pieces)
		return one
	}
	u.taken += n
	return u.rows[u.taken-n : u.taken]
}

// left returns how many rows that have been listed are not read ahead yet.
func (u *upcoming) left() int { return len(u.rows) - u.taken }

// forget does not keep data alive.
func (u *upcoming) forget() { clear(u.rows[:cap(u.rows)]) }

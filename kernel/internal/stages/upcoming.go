package stages

import (
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
)

// upcoming lists what the next item of a worker begins with, which the panels read ahead during the last
// tile of this one, or what a step of a gradient and the next one need.
type upcoming struct {
	rows  []tile.Rows
	taken int // how many of rows are read ahead already
}

// expect lists what an item begins with, if there is one: its keys, if they are not those of now, biases or
// the mask of a head, and its rows of q and dst.
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
	from := c.Sight.Seen(s, first).From
	if next.Sequence != now.Sequence || next.Head != now.Head {
		var keys tile.Rows
		c.K.Rows(&keys, nil, s, next.Head, from, tile.Keys)
		if keys.Len > 0 {
			u.add(keys.Data, keys.Len, keys.Dim, keys.Stride)
		}
	}
	if (c.edit.bias != nil || c.Sight.Mask.Data != nil) && from < s.Keys {
		row, head, bias, mask := c.First+s.Query+first, next.Head*group, 0, 0
		if b := c.edit.bias; b != nil {
			bias = b.Row(s.Batch, head, row, s.Key) + from
		}
		if m := &c.Sight.Mask; m.Data != nil {
			mask = m.Row(s.Batch, head, row, s.Key) + from
		}
		if some := c.perQuery(bias, mask, last-first+1, min(tile.Keys, s.Keys-from)); some.Len > 0 {
			u.add(some.Data, some.Len, some.Dim, some.Stride)
		}
	}
	for head := next.Head * group; head < (next.Head+1)*group; head++ {
		if len(u.rows)+2 > cap(u.rows) {
			return
		}
		u.add(c.Q.Data[c.Q.At(s.Batch, head, s.Query+first):], last-first+1, c.Q.Dim, c.Q.LenStride)
		u.add(c.Dst.Data[c.Dst.At(s.Batch, head, s.Query+first):], last-first+1, c.Dst.Dim, c.Dst.LenStride)
	}
}

// begin lists nothing.
func (u *upcoming) begin() {
	if u.rows == nil {
		u.rows = make([]tile.Rows, 0, 16)
	}
	u.rows, u.taken = u.rows[:0], 0
}

// add lists rows. It sets them field by field, as a copy of what has just been written waits for it.
func (u *upcoming) add(data []float32, n, dim, stride int) {
	u.rows = u.rows[:len(u.rows)+1]
	r := &u.rows[len(u.rows)-1]
	r.Data, r.Len, r.Dim, r.Stride = data, n, dim, stride
}

// take sets some to rows that expect has listed, each once, as many as fit into some pieces.
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

// forget does not keep data alive.
func (u *upcoming) forget() { clear(u.rows[:cap(u.rows)]) }

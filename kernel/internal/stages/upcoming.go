package stages

import (
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/source"
)

// upcoming lists what the next item of a worker begins with, which the panels read ahead during the last
// tile of this one.
type upcoming struct {
	rows  []tile.Rows
	taken int // how many of rows are read ahead already
}

// expect lists what item i begins with, if there is one: its keys, if they are not those of now, biases of a head, and
// its rows of q and dst.
func (u *upcoming) expect(c *call, now *plan.Item, i int) {
	if u.rows == nil {
		u.rows = make([]tile.Rows, 0, 16)
	}
	u.rows, u.taken = u.rows[:0], 0
	if i >= c.plan.Items {
		return
	}
	next := c.plan.Item(i, c.plan.Together(i))
	s := &c.sequences[next.Sequence]
	group := c.plan.Group
	first, last := next.Row/group, (next.Row+next.Rows-1)/group
	if next.Sequence != now.Sequence || next.Head != now.Head {
		if keys := c.K.Rows(s, next.Head, c.Sight.Seen(s, first).From, tile.Keys); keys.Len > 0 {
			u.rows = append(u.rows, keys)
		}
	}
	if b := c.edit.bias; b != nil && b.QueryStride > 0 {
		at, from := c.biasRow(s, next.Head*group, first), c.Sight.Seen(s, first).From
		if n := min(tile.Keys, s.Keys-from); n > 0 {
			u.rows = append(u.rows, tile.Rows{Data: b.Data[at+from:], Len: last - first + 1, Dim: n, Stride: b.QueryStride})
		}
	}
	for h := range group {
		for _, t := range [...]*source.Tensor{&c.Q, &c.Dst} {
			if len(u.rows) == cap(u.rows) {
				return
			}
			at := t.At(s.Batch, next.Head*group+h, s.Query+first)
			u.rows = append(u.rows, tile.Rows{Data: t.Data[at:], Len: last - first + 1, Dim: t.Dim, Stride: t.LenStride})
		}
	}
}

// take returns rows that expect has listed, each once, as many as fit into some pieces.
func (u *upcoming) take(pieces int) tile.Rows {
	if u.taken == len(u.rows) {
		return tile.Rows{}
	}
	left := &u.rows[u.taken]
	some := *left
	some.Len = min(left.Len, pieces/ceilDiv(left.Dim, tile.Piece))
	if left.Len -= some.Len; left.Len > 0 {
		left.Data = left.Data[some.Len*left.Stride:]
	} else {
		u.taken++
	}
	return some
}

// forget does not keep data alive.
func (u *upcoming) forget() { clear(u.rows[:cap(u.rows)]) }

func ceilDiv(x, y int) int { return (x + y - 1) / y }

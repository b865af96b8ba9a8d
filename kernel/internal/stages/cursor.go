package stages

import (
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
)

// A cursor walks over the rows of a KV head: for each query all query heads of the group.
type cursor struct {
	q, dst int        // offsets of the row
	sees   sight.Keys // the keys among which it sees all that the mask does not hide

	call             *call
	sequence         *sight.Sequence
	first, group     int // the first query head, and how many
	query, h         int // h of the group
	left             int // rows behind this one
	qHead, qNext     int // to the next head, and to the first head of the next query
	dstHead, dstNext int
	near             bool // what a query sees depends on its position
}

// cursor begins at a row of the KV head of an item.
func (c *call) cursor(it *plan.Item, head, row int) cursor {
	s, group := &c.sequences[it.Sequence], c.plan.Group
	at := cursor{
		call: c, sequence: s, first: head * group, group: group, query: row / group, h: row % group,
		left: it.Cut.Rows - 1 - row, near: c.Sight.Near(),
	}
	at.q = c.Q.At(s.Batch, at.first+at.h, s.Query+at.query)
	at.dst = c.Dst.At(s.Batch, at.first+at.h, s.Query+at.query)
	at.qHead, at.qNext = c.Q.HeadStride, c.Q.LenStride-(group-1)*c.Q.HeadStride
	at.dstHead, at.dstNext = c.Dst.HeadStride, c.Dst.LenStride-(group-1)*c.Dst.HeadStride
	at.sees = c.Sight.Seen(s, at.query)
	return at
}

// next goes to the next row, and stays at the last one.
func (at *cursor) next() {
	if at.left == 0 {
		return
	}
	at.left--
	if at.h++; at.h < at.group {
		at.q += at.qHead
		at.dst += at.dstHead
		return
	}
	at.h, at.query = 0, at.query+1
	at.q += at.qNext
	at.dst += at.dstNext
	if at.near {
		at.sees = at.call.Sight.Seen(at.sequence, at.query)
	}
}

// mask returns where the mask of the row begins, as keys count, if there is one.
func (at *cursor) mask() int {
	s, c := at.sequence, at.call
	if c.Sight.Mask.Data == nil {
		return 0
	}
	return c.Sight.Row(s.Batch, at.first+at.h, c.First+s.Query+at.query, s.Key)
}

// lse returns the number of the row among [Batch][Heads][Lq].
func (at *cursor) lse() int {
	s, c := at.sequence, at.call
	return (s.Batch*c.Q.Heads+at.first+at.h)*c.Queries + c.First + s.Query + at.query
}

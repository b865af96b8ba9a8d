package stages

import (
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
)

// A cursor walks over the rows of a KV head: for each query all query heads of the group.
type cursor struct {
	q, dst int        // offsets of the row
	lse    int        // its number among the rows [Batch][Heads][Lq]
	sees   sight.Keys // the keys among which it sees all that the mask does not hide
	mask   int        // where its mask begins, as keys count

	call         *call
	sequence     *sight.Sequence
	query, h     int // h of the group
	head         int // h of all
	left         int // rows behind this one
	qHead, qNext int // to the next head, and to the first head of the next query
	dstHead      int
	dstNext      int
}

// cursor begins at a row of the KV head of an item.
func (c *call) cursor(it *plan.Item, head, row int) cursor {
	s, group := &c.sequences[it.Sequence], c.plan.Group
	at := cursor{call: c, sequence: s, query: row / group, h: row % group, left: it.Cut.Rows - 1 - row}
	at.q = c.Q.At(s.Batch, head*group+at.h, s.Query+at.query)
	at.dst = c.Dst.At(s.Batch, head*group+at.h, s.Query+at.query)
	at.lse = (s.Batch*c.Q.Heads+head*group+at.h)*c.Queries + c.First + s.Query + at.query
	at.qHead, at.qNext = c.Q.HeadStride, c.Q.LenStride-(group-1)*c.Q.HeadStride
	at.dstHead, at.dstNext = c.Dst.HeadStride, c.Dst.LenStride-(group-1)*c.Dst.HeadStride
	at.head = head*group + at.h
	at.sees = c.Sight.Seen(s, at.query)
	if c.Sight.Mask.Data != nil {
		at.mask = at.maskRow()
	}
	return at
}

// next goes to the next row, and stays at the last one.
func (at *cursor) next() {
	if at.left == 0 {
		return
	}
	at.left--
	c := at.call
	if at.h++; at.h < c.plan.Group {
		at.head++
		at.q += at.qHead
		at.dst += at.dstHead
		at.lse += c.Queries
	} else {
		at.h, at.query = 0, at.query+1
		at.head -= c.plan.Group - 1
		at.q += at.qNext
		at.dst += at.dstNext
		at.lse -= (c.plan.Group-1)*c.Queries - 1
		at.sees = c.Sight.Seen(at.sequence, at.query)
	}
	if c.Sight.Mask.Data != nil {
		at.mask = at.maskRow()
	}
}

func (at *cursor) maskRow() int {
	s, c := at.sequence, at.call
	return c.Sight.Row(s.Batch, at.head, c.First+s.Query+at.query, s.Key)
}

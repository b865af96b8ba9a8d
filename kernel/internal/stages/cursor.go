package stages

import (
	"math"

	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

// A cursor walks over the rows of a KV head: for each query all query heads of the group.
type cursor struct {
	sight.Rows
	call     *Call
	sequence *sight.Sequence
	head     int // the first query head
}

// begin goes to a row of the KV head of an item.
func (at *cursor) begin(c *Call, it *plan.Item, head, row int) {
	at.call, at.sequence, at.head = c, &c.sequences[it.Sequence], head*c.plan.Group
	at.Group, at.Behind = c.plan.Group, it.Cut.Rows-1-row
	at.Query, at.Number = row, 0
	if at.Group > 1 {
		at.Query, at.Number = row/at.Group, row%at.Group
	}
}

// head returns where the rows of a sequence and a KV head begin in q or dst.
func (c *Call) head(t *source.Tensor, sequence, head int) int {
	s := &c.sequences[sequence]
	return t.At(s.Batch, head*c.plan.Group, s.Query)
}

// at returns the offset of the row from where those of its head begin.
func (at *cursor) at(t *source.Tensor) int { return t.At(0, at.Number, at.Query) }

// offsets sets the offsets, in q and dst from where their head begins, of width rows from this one on, with those that come again
// before the first and behind the last one.
func (at *cursor) offsets(src, dst *[tile.MaxPanel]int, width int) {
	q, d := &at.call.Q, &at.call.Dst
	i, j, number, group := at.at(q), at.at(d), at.Number, at.Group
	qStep, dStep := q.HeadStride, d.HeadStride
	qNext, dNext := q.LenStride-group*qStep, d.LenStride-group*dStep
	if group == 1 { // as if all rows were of one query
		group, qStep, dStep = math.MaxInt, q.LenStride, d.LenStride
	}
	is, js := src[:width], dst[:width]
	r, last := at.Before, min(at.Before+at.Behind, width)
	for k := range is[:r] {
		is[k], js[k] = i, j
	}
	for r < last {
		end := min(last, r+min(group-number, width))
		number += end - r
		is, js := is[r:end], js[r:end]
		for k := 0; k < len(is) && k < len(js); k++ { // no bounds to check
			is[k], js[k] = i, j
			i, j = i+qStep, j+dStep
		}
		r = end
		if number == group {
			i, j, number = i+qNext, j+dNext, 0
		}
	}
	for ; r < width; r++ {
		is[r], js[r] = i, j
	}
}

// sees returns the keys among which the row sees all that the mask does not hide.
func (at *cursor) sees() sight.Keys { return at.call.Sight.Seen(at.sequence, at.Query) }

// mask returns where the mask of the row begins, as keys count, if there is one.
func (at *cursor) mask() int {
	s, c := at.sequence, at.call
	if c.Sight.Mask.Data == nil {
		return 0
	}
	return c.Sight.Row(s.Batch, at.head+at.Number, c.First+s.Query+at.Query, s.Key)
}

// number returns that of the row among [Batch][Heads][Lq].
func (at *cursor) number() int {
	s, c := at.sequence, at.call
	return (s.Batch*c.Q.Heads+at.head+at.Number)*c.Queries + c.First + s.Query + at.Query
}

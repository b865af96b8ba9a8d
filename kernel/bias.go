package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/generic"
)

// A Bias is added to scores: to that of row i of a batch member and query head with row j of k, after Scale, the
// element
//
//	Data[b*BatchStride + h*HeadStride + i*QueryStride + j]
//
// Rows are those of the tensors, also where sequences are packed. Strides count elements; one of 0 gives all
// members, heads or queries the same row. An element of -Inf hides its key, whatever the score, k and v hold; one of
// NaN or +Inf makes its row NaN.
type Bias struct {
	Data                                 []float32
	BatchStride, HeadStride, QueryStride int
}

// edits reports whether o does something to scores, or sets something beside them.
func (o *Options) edits() bool {
	return o.SoftCap != 0 || o.ALiBi != nil || o.Bias != nil || o.Sinks != nil
}

// checkEdits returns an error if what o does to the scores of so many queries does not fit the resolved q and k.
func (o *Options) checkEdits(q, k *Tensor, queries int) error {
	if c := o.SoftCap; c != 0 && !(0x1p-125 <= c && c <= 0x1p125) {
		return fmt.Errorf("attn: Options.SoftCap is %g, want 0 or a number from 2^-125 to 2^125", c)
	}
	if o.ALiBi != nil {
		if len(o.ALiBi) != q.Heads {
			return fmt.Errorf("attn: Options.ALiBi has %d elements, want %d, one for each head of q", len(o.ALiBi), q.Heads)
		}
		for h, slope := range o.ALiBi {
			if s := generic.Log2Scale(slope); s-s != 0 {
				return fmt.Errorf("attn: Options.ALiBi[%d] is %g, want a finite number of a magnitude below 2.3e38", h, slope)
			}
		}
		if k.Len > 1<<30 {
			return fmt.Errorf("attn: k.Len is %d with Options.ALiBi, want at most %d", k.Len, 1<<30)
		}
	}
	if o.Sinks != nil && len(o.Sinks) != q.Heads {
		return fmt.Errorf("attn: Options.Sinks has %d elements, want %d, one for each head of q", len(o.Sinks), q.Heads)
	}
	for h, logit := range o.Sinks {
		if !(generic.Log2Scale(logit) <= math.MaxFloat32) {
			return fmt.Errorf("attn: Options.Sinks[%d] is %g, want -Inf or a number below 2.3e38", h, logit)
		}
	}
	if b := o.Bias; b != nil {
		return checkCover("Bias", len(b.Data), [3]int{b.BatchStride, b.HeadStride, b.QueryStride}, [4]int{q.Batch, q.Heads, queries, k.Len})
	}
	return nil
}

// checkApart returns an error if x, of that name, which is written, shares an element with a bias that covers so
// many queries and keys, with slopes or with sinks.
func (o *Options) checkApart(name string, x footprint, q *Tensor, queries, keys int) error {
	if o.ALiBi != nil && x.meets(vectorFootprint(o.ALiBi)) {
		return fmt.Errorf("attn: %s shares memory with Options.ALiBi", name)
	}
	if o.Sinks != nil && x.meets(vectorFootprint(o.Sinks)) {
		return fmt.Errorf("attn: %s shares memory with Options.Sinks", name)
	}
	if b := o.Bias; b != nil && queries > 0 && keys > 0 {
		extent := (q.Batch-1)*b.BatchStride + (q.Heads-1)*b.HeadStride + (queries-1)*b.QueryStride + keys
		if x.meets(footprint{b.Data[:extent], keys, [3]step{
			{int64(b.QueryStride), int64(queries)}, {int64(b.HeadStride), int64(q.Heads)}, {int64(b.BatchStride), int64(q.Batch)},
		}}) {
			return fmt.Errorf("attn: %s shares memory with Options.Bias.Data", name)
		}
	}
	return nil
}

// leave makes checked options those of query head h alone.
func (o *Options) leave(h int) {
	o.head = h
	if o.ALiBi != nil {
		o.ALiBi = o.ALiBi[h:][:1]
	}
	if o.Sinks != nil {
		o.Sinks = o.Sinks[h:][:1]
	}
	if b := o.Bias; b != nil && len(b.Data) > 0 {
		o.Bias = &Bias{b.Data[h*b.HeadStride:], b.BatchStride, 0, b.QueryStride}
	}
	if m := o.Mask; m != nil && len(m.Data) > 0 {
		o.Mask = &Mask{m.Data[h*m.HeadStride:], m.BatchStride, 0, m.QueryStride}
	}
}

package source

import (
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/sight"
)

// Tensor is a checked kernel.Tensor, whose strides are set and whose Data begins with its first element.
type Tensor struct {
	Data                               []float32
	Batch, Heads, Len, Dim             int
	BatchStride, HeadStride, LenStride int
}

// At returns the offset of row i of a head.
func (t *Tensor) At(batch, head, i int) int {
	return batch*t.BatchStride + head*t.HeadStride + i*t.LenStride
}

// Rows sets r to the keys or values from number first of a sequence on, at most n, in one head; t is the
// tensor of the keys or of the values.
func (t *Tensor) Rows(r *tile.Rows, s *sight.Sequence, head, first, n int) {
	r.Len, r.Dim, r.Stride = max(0, min(n, s.Keys-first)), t.Dim, t.LenStride
	if r.Len > 0 {
		r.Data = t.Data[t.At(s.Batch, head, s.Key+first):]
	}
}

// Part returns the rows [from, to) of r, in part unless they are r.
func Part(part, r *tile.Rows, from, to int) *tile.Rows {
	if from == 0 && to == r.Len {
		return r
	}
	*part = *r
	if from < to {
		part.Data = r.Data[from*r.Stride:]
	}
	part.Len = to - from
	return part
}

// Columns returns at most n columns of r from c on, in part unless they are r.
func Columns(part, r *tile.Rows, c, n int) *tile.Rows {
	if c == 0 && n >= r.Dim {
		return r
	}
	*part = *r
	part.Data, part.Dim = r.Data[c:], min(n, r.Dim-c)
	return part
}

// Copy copies rows to buf, close together, where they are then.
func Copy(buf []float32, r *tile.Rows) {
	if r.Stride == r.Dim {
		copy(buf, r.Data[:r.Len*r.Dim])
	} else {
		for i := range r.Len {
			copy(buf[i*r.Dim:][:r.Dim], r.Data[i*r.Stride:])
		}
	}
	r.Data, r.Stride = buf, r.Dim
}

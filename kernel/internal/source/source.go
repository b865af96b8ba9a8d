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

// Rows returns the keys or values from number first of a sequence on, at most n, in one head; t is the
// tensor of the keys or of the values.
func (t *Tensor) Rows(s *sight.Sequence, head, first, n int) tile.Rows {
	if n = min(n, s.Keys-first); n <= 0 {
		return tile.Rows{}
	}
	return tile.Rows{Data: t.Data[t.At(s.Batch, head, s.Key+first):], Len: n, Dim: t.Dim, Stride: t.LenStride}
}

// Part returns the rows [from, to) of some.
func Part(r tile.Rows, from, to int) tile.Rows {
	if from < to {
		r.Data = r.Data[from*r.Stride:]
	}
	r.Len = to - from
	return r
}

// Columns returns the columns of rows from c on, at most n.
func Columns(r tile.Rows, c, n int) tile.Rows {
	r.Data, r.Dim = r.Data[c:], min(n, r.Dim-c)
	return r
}

// Copy copies rows to buf, close together.
func Copy(buf []float32, r tile.Rows) tile.Rows {
	if r.Stride == r.Dim {
		copy(buf, r.Data[:r.Len*r.Dim])
		r.Data = buf
		return r
	}
	for i := range r.Len {
		copy(buf[i*r.Dim:][:r.Dim], r.Data[i*r.Stride:])
	}
	r.Data, r.Stride = buf, r.Dim
	return r
}

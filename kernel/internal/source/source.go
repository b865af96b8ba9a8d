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

// Stored is where the keys or the values of a call lie.
type Stored struct {
	Tensor
	Pages *Pages // of the tensor, whose only batch member they make up, in which sequences have their rows; or nil
}

// Pages say where the rows of sequences are in a tensor.
type Pages struct {
	Len    int     // rows of a page
	Tables []Table // of each sequence
}

// A Table has the pages of a sequence: its rows from (First+i)*Len on are those of the tensor from Pages[i]*Len on.
// Those before are kept no more.
type Table struct {
	First int
	Pages []int32
}

// Copied reports whether tiles may have to be copied.
func (t *Stored) Copied() bool { return t.Pages != nil && t.Pages.Len < tile.Keys }

// Rows is that of a tensor, but only for so many rows as lie one behind the other, one at least.
func (t *Stored) Rows(r *tile.Rows, s *sight.Sequence, head, first, n int) {
	if t.Pages == nil {
		t.Tensor.Rows(r, s, head, first, n)
		return
	}
	r.Len, r.Dim, r.Stride = max(0, min(n, s.Keys-first)), t.Dim, t.LenStride
	if r.Len > 0 {
		row, run := t.Pages.find(s.Number, first, r.Len)
		r.Data, r.Len = t.Data[t.At(0, head, row):], min(r.Len, run)
	}
}

// find returns the row of the tensor where row number first of a sequence is, and how many lie one behind the other from
// there on, if they are less than n.
func (p *Pages) find(sequence, first, n int) (row, run int) {
	t := &p.Tables[sequence]
	pages, i := t.Pages[first/p.Len-t.First:], first%p.Len
	row, run = int(pages[0])*p.Len+i, p.Len-i
	for j := 1; run < n && pages[j] == pages[j-1]+1; j++ {
		run += p.Len
	}
	return row, run
}

// Tile sets r to the n rows from number first on, in place or, where they lie apart, copied to buf. Rows that are kept
// no more are anything.
func (t *Stored) Tile(r *tile.Rows, buf []float32, s *sight.Sequence, head, first, n int) {
	if t.Pages == nil {
		t.Tensor.Rows(r, s, head, first, n)
		return
	}
	end, dropped := min(first+n, s.Keys), t.Pages.Tables[s.Number].First*t.Pages.Len
	for k := max(first, dropped); k < end; {
		t.Rows(r, s, head, k, end-k)
		if r.Len == end-first {
			return
		}
		Copy(buf[(k-first)*t.Dim:], r)
		k += r.Len
	}
	r.Data, r.Len, r.Dim, r.Stride = buf, end-first, t.Dim, t.Dim
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

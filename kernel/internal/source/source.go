package source

import (
	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
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

// Like reports whether t differs from x in no more than its Data.
func (t *Tensor) Like(x *Tensor) bool {
	return t.Batch == x.Batch && t.Heads == x.Heads && t.Len == x.Len && t.Dim == x.Dim &&
		t.BatchStride == x.BatchStride && t.HeadStride == x.HeadStride && t.LenStride == x.LenStride
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
	Elements
	Pages *Pages // of the tensor, whose only batch member they make up, in which sequences have their rows; or nil
}

// Elements take the place of the Data of a tensor whose elements are not float32: one of the slices, or none if they are.
type Elements struct {
	Float16, BFloat16 []uint16
	Int8              []int8
	Scales            []float32 // of the rows of Int8, which are packed
}

// InPlace reports whether kernels read rows as they are stored, though they are to be converted: those of 16 elements, or a
// multiple.
func (t *Stored) InPlace() bool { return t.Converted() && t.Dim%16 == 0 }

// Groups is memory for the numbers of groups of rows: those of a tile, and those that are read next.
type Groups [2 * tile.Keys / tile.GroupRows]int

// Halves sets r to the rows from number first of a sequence on, at most n, of 16 bits an element, that lie one behind the other
// or, on pages that are apart, in groups.
func (t *Stored) Halves(r *tile.HalfRows, g *Groups, s *sight.Sequence, head, first, n int) {
	data := t.Float16
	if data == nil {
		data = t.BFloat16
	}
	r.Dim, r.Stride, n = t.Dim, t.LenStride, t.few(n)
	if r.Groups = t.groups(g, s, first, n); r.Groups != nil {
		r.Data, r.Len = data[t.At(0, head, 0):], n&^(tile.GroupRows-1)
		return
	}
	at, n, next := t.run(s, head, first, n)
	r.Data, r.Len, r.Next = data[at:], n, next-at
}

// Octets is Halves for int8.
func (t *Stored) Octets(r *tile.OctetRows, g *Groups, s *sight.Sequence, head, first, n int) {
	r.Dim, r.Stride, n = t.Dim, t.LenStride, t.few(n)
	if r.Groups = t.groups(g, s, first, n); r.Groups != nil {
		at := t.At(0, head, 0)
		r.Data, r.Scales, r.Len = t.Int8[at:], t.Scales[at/t.Dim:], n&^(tile.GroupRows-1)
		return
	}
	at, n, next := t.run(s, head, first, n)
	r.Data, r.Scales, r.Len, r.Next = t.Int8[at:], t.Scales[at/t.Dim:], n, next-at
}

// groups returns the numbers of the groups of n rows from number first on, and of those that are read next, or nil where these
// are no groups, or lie one behind the other.
func (t *Stored) groups(g *Groups, s *sight.Sequence, first, n int) []int {
	if t.Pages == nil || n < tile.GroupRows || first%tile.GroupRows != 0 || s.Keys-first < n {
		return nil
	}
	if _, run := t.Pages.find(s.Number, first, n); run >= n {
		return nil
	}
	table, size := &t.Pages.Tables[s.Number], t.Pages.Len
	groups := g[:min(len(g), (s.Keys-first+tile.GroupRows-1)/tile.GroupRows)]
	page, i := first/size-table.First, first%size
	for j := range groups {
		groups[j] = int(table.Pages[page])*size + i
		if i += tile.GroupRows; i == size {
			page, i = page+1, 0
		}
	}
	return groups
}

// run returns the offset of row number first of a sequence and how many lie one behind the other from there on, at most n,
// and the offset of the row behind them that is to be prefetched then, if there is one.
func (t *Stored) run(s *sight.Sequence, head, first, n int) (at, rows, next int) {
	n = max(0, min(n, s.Keys-first))
	at, n = t.find(s, head, first, n)
	ahead := max(n, t.ahead())
	if next = at + ahead*t.LenStride; t.Pages != nil && first+ahead < s.Keys {
		next, _ = t.find(s, head, first+ahead, 1)
	}
	return at, n, next
}

// ahead is how many rows are, at least, between those that are read and those that are prefetched meanwhile: 16 KiB.
func (t *Stored) ahead() int { return 16 << 10 / (t.Size() * t.Dim) &^ 15 }

// FewRows are converted at a time where each is read once.
const FewRows = 16

// Converted reports whether rows are converted before they are read.
func (e *Elements) Converted() bool { return e.Float16 != nil || e.BFloat16 != nil || e.Int8 != nil }

// Size is the bytes of an element.
func (e *Elements) Size() int {
	switch {
	case e.Int8 != nil:
		return 1
	case e.Converted():
		return 2
	}
	return 4
}

// RowScales returns what the rows from number first on, n of those that Tile gives, are to be multiplied by, as those of Int8 are
// integers: in place or, where they lie apart, in buf. It is nil for other types.
func (t *Stored) RowScales(buf []float32, s *sight.Sequence, head, first, n int) []float32 {
	if t.Int8 == nil {
		return nil
	}
	k, end := t.kept(s, first, n)
	for k < end {
		at, run := t.find(s, head, k, end-k)
		scales := t.Scales[at/t.Dim:][:run]
		if run == end-first {
			return scales
		}
		copy(buf[k-first:], scales)
		k += run
	}
	return buf[:end-first]
}

// convert sets r to n rows of t from an offset on, in buf, those of Int8 without their scales.
func (t *Stored) convert(r *tile.Rows, buf []float32, at, n int) {
	r.Data, r.Len, r.Dim, r.Stride = buf, n, t.Dim, t.Dim
	step := 1 // rows at a time
	if t.LenStride == t.Dim {
		step = n
	}
	for ; n > 0; n -= step {
		row := buf[:step*t.Dim]
		switch {
		case t.Float16 != nil:
			asm.FromFloat16(row, t.Float16[at:][:len(row)])
		case t.BFloat16 != nil:
			asm.FromBFloat16(row, t.BFloat16[at:][:len(row)])
		default:
			asm.Dequantize(row, t.Int8[at:][:len(row)], 1)
		}
		at += step * t.LenStride
		buf = buf[len(row):]
	}
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
func (t *Stored) Copied() bool { return t.Converted() || t.Pages != nil && t.Pages.Len < tile.Keys }

// manyElements are the most that Rows gives, as reading more takes assembly, which is not preempted, too long.
const manyElements = 1 << 18

// few returns n, or less rows that are not too many.
func (t *Stored) few(n int) int {
	if n*t.Dim > manyElements {
		return max(16, manyElements/t.Dim&^15)
	}
	return n
}

// Rows is that of a tensor, but only for so many rows as lie one behind the other, one at least, and of many elements for
// a multiple of 16. Where they are to be converted these are FewRows at most, in buf, or none if that is nil. It returns
// where the rows that are to be prefetched meanwhile begin, as seen from the first one.
func (t *Stored) Rows(r *tile.Rows, buf []float32, s *sight.Sequence, head, first, n int) (next int) {
	n = t.few(n)
	if t.Pages == nil && !t.Converted() {
		t.Tensor.Rows(r, s, head, first, n)
		next = r.Len
		if r.Stride != r.Dim { // other heads are read in between
			next = max(next, t.ahead())
		}
		return next * r.Stride
	}
	r.Len, r.Dim, r.Stride = max(0, min(n, s.Keys-first)), t.Dim, t.LenStride
	if r.Len == 0 {
		return 0
	}
	at, run, next := t.run(s, head, first, n)
	switch {
	case !t.Converted():
		r.Data, r.Len = t.Data[at:], run
	case buf == nil:
		r.Len = 0
	default:
		t.convert(r, buf, at, min(run, FewRows))
		return r.Len * r.Stride
	}
	return next - at
}

// find returns the offset of row number first of a sequence, and how many of the n rows from there on lie one behind the
// other.
func (t *Stored) find(s *sight.Sequence, head, first, n int) (at, run int) {
	if t.Pages == nil {
		return t.At(s.Batch, head, s.Key+first), n
	}
	row, run := t.Pages.find(s.Number, first, n)
	return t.At(0, head, row), min(n, run)
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

// kept returns those of n rows from number first on that there are, and that are kept.
func (t *Stored) kept(s *sight.Sequence, first, n int) (from, end int) {
	from, end = first, min(first+n, s.Keys)
	if t.Pages != nil {
		from = max(first, t.Pages.Tables[s.Number].First*t.Pages.Len)
	}
	return from, end
}

// Tile sets r to the n rows from number first on, in place or, where they lie apart or are to be converted, in buf. Rows
// that are kept no more are anything.
func (t *Stored) Tile(r *tile.Rows, buf []float32, s *sight.Sequence, head, first, n int) {
	if t.Pages == nil && !t.Converted() {
		t.Tensor.Rows(r, s, head, first, n)
		return
	}
	k, end := t.kept(s, first, n)
	for k < end {
		at, run := t.find(s, head, k, end-k)
		if t.Converted() {
			t.convert(r, buf[(k-first)*t.Dim:], at, run)
		} else {
			r.Data, r.Len, r.Dim, r.Stride = t.Data[at:], run, t.Dim, t.LenStride
			if run == end-first {
				return
			}
			Copy(buf[(k-first)*t.Dim:], r)
		}
		k += run
	}
	r.Data, r.Len, r.Dim, r.Stride = buf, end-first, t.Dim, t.Dim
}

// Part returns the rows [from, to) of r, in part unless they are r. It sets them field by field, as a copy of what has just
// been written waits for it.
func Part(part, r *tile.Rows, from, to int) *tile.Rows {
	if from == 0 && to == r.Len {
		return r
	}
	part.Len, part.Dim, part.Stride = to-from, r.Dim, r.Stride
	if from < to {
		part.Data = r.Data[from*r.Stride:]
	}
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
		memory.Copy(buf, r.Data[:r.Len*r.Dim])
	} else {
		for i := range r.Len {
			memory.Copy(buf[i*r.Dim:], r.Data[i*r.Stride:][:r.Dim])
		}
	}
	r.Data, r.Stride = buf, r.Dim
}

package kernel

import (
	"fmt"
	"math"
	"math/bits"
)

// Tensor is a view of float32 elements [Batch][Heads][Len][Dim]. Element (b, h, i, d) is
//
//	Data[b*BatchStride + h*HeadStride + i*LenStride + d]
//
// A Batch or Heads of 0 means 1. A Len of 0 is an empty tensor.
//
// Strides count elements. If all three are 0, the tensor is packed: LenStride = Dim, HeadStride =
// Len*Dim, BatchStride = Heads*Len*Dim, and Data has exactly as many elements. A cache that grows in
// Data for more rows sets its strides, so that its heads stay where they are. Other layouts are
// views without a copy: for [Batch][Len][Heads][Dim], HeadStride = Dim and LenStride = Heads*Dim;
// for the keys inside a fused projection [Len][3][Heads][Dim], Data begins at element Heads*Dim and
// LenStride = 3*Heads*Dim. Results do not depend on the layout. Packed keys and values are read
// fastest: where the heads of a token are neighbours, decoding from memory takes 1.1 to 1.4 times as
// long.
//
// Strides must not be negative, and rows must not overlap. But where a tensor is only read, a
// BatchStride or HeadStride of 0, next to another stride that is not 0, gives all members or heads
// the same rows. LenStride is 0 only if the tensor is packed. The stride of a dimension of size 1 is
// ignored: set it to Dim to tell shared rows from a packed tensor where nothing else does.
//
// Whether rows overlap is decided to the element. Strides of which it would take too long to tell,
// three or more of them that neither divide nor step over each other, count as overlapping.
type Tensor struct {
	Data                               []float32
	Batch, Heads, Len, Dim             int
	BatchStride, HeadStride, LenStride int
}

// Matrix is a view of float32 elements in row-major order: element (i, j) is Data[i*Stride+j]. Its
// fields are those of gonum's blas32.General. Stride is at least Cols.
type Matrix struct {
	Rows, Cols int
	Stride     int
	Data       []float32
}

// maxDim is the largest head dimension.
const maxDim = 8192

// resolve checks t, which is read, fills in sizes and strides that were left out, and cuts Data to
// what t uses.
func (t *Tensor) resolve(name string) error {
	extent, err := t.resolveShape(name, len(t.Data))
	if err == nil {
		t.Data = t.Data[:extent]
	}
	return err
}

// resolveShape is resolve for data of so many elements. It returns how many of them are used.
func (t *Tensor) resolveShape(name string, have int) (extent int, err error) {
	if t.Batch|t.Heads|t.Len|t.Dim|t.BatchStride|t.HeadStride|t.LenStride < 0 {
		return 0, t.negative(name)
	}
	if t.Batch == 0 {
		t.Batch = 1
	}
	if t.Heads == 0 {
		t.Heads = 1
	}
	if t.Dim > maxDim || t.Dim == 0 && t.Len > 0 {
		return 0, fmt.Errorf("attn: %s.Dim is %d, want 1 to %d", name, t.Dim, maxDim)
	}
	size, ok := t.size()
	if !ok {
		return 0, fmt.Errorf("attn: %s is %s: its size overflows int", name, t.shape())
	}
	packed := t.packed()
	if packed {
		if have != size {
			return 0, t.notPacked(name, have, size)
		}
		t.LenStride, t.HeadStride, t.BatchStride = t.Dim, t.Len*t.Dim, t.Heads*t.Len*t.Dim
	}
	if t.empty() {
		t.BatchStride, t.HeadStride, t.LenStride = 0, 0, 0
		return 0, nil
	}
	// Strides that are never used, so that equal views compare as equal.
	if t.Len == 1 {
		t.LenStride = 0
	} else if t.LenStride == 0 {
		return 0, fmt.Errorf("attn: %s.LenStride is 0, want %d or more, its Dim (set all strides, or none of a packed tensor)", name, t.Dim)
	}
	if t.Heads == 1 {
		t.HeadStride = 0
	}
	if t.Batch == 1 {
		t.BatchStride = 0
	}
	if packed {
		return size, nil
	}
	return t.resolveStrides(name, have)
}

// resolveStrides is resolveShape for strides that the caller has set.
func (t *Tensor) resolveStrides(name string, have int) (extent int, err error) {
	dims := [...]dimension{{"LenStride", t.LenStride, t.Len}, {"HeadStride", t.HeadStride, t.Heads}, {"BatchStride", t.BatchStride, t.Batch}}
	for _, i := range [...]int{0, 1, 0} { // by increasing stride
		if dims[i].stride > dims[i+1].stride {
			dims[i], dims[i+1] = dims[i+1], dims[i]
		}
	}
	// Where each dimension steps over the extent of those before it, rows do not overlap.
	extent = t.Dim
	var near *dimension // the first that does not
	var want int
	for i := range dims {
		d := &dims[i]
		if d.stride == 0 {
			continue
		}
		if d.stride < extent && near == nil {
			near, want = d, extent
		}
		steps, ok := product(d.size-1, d.stride)
		if !ok || steps > math.MaxInt-extent {
			return 0, fmt.Errorf("attn: %s is %s with %s %d: its size overflows int", name, t.shape(), d.name, d.stride)
		}
		extent += steps
	}
	if have < extent {
		return 0, fmt.Errorf("attn: %s.Data has %d elements, want %d or more for %s with BatchStride %d, HeadStride %d, LenStride %d",
			name, have, extent, t.shape(), t.BatchStride, t.HeadStride, t.LenStride)
	}
	if near != nil && t.rowsMeet() {
		return 0, fmt.Errorf("attn: %s.%s is %d: rows overlap, want %d or more (%s with BatchStride %d, HeadStride %d, LenStride %d)",
			name, near.name, near.stride, want, t.shape(), t.BatchStride, t.HeadStride, t.LenStride)
	}
	return extent, nil
}

// A dimension is one of a tensor but Dim.
type dimension struct {
	name         string
	stride, size int
}

// resolveWritten is resolve for a tensor that is written: all its rows are its own.
func (t *Tensor) resolveWritten(name string) error {
	packed := t.packed()
	if err := t.resolve(name); err != nil || t.empty() || packed {
		return err
	}
	for _, d := range [...]dimension{{"HeadStride", t.HeadStride, t.Heads}, {"BatchStride", t.BatchStride, t.Batch}} {
		if d.stride == 0 && d.size > 1 {
			return fmt.Errorf("attn: %s.%s is 0: rows that are written overlap, want more for %s (set all strides, or none of a packed tensor)", name, d.name, t.shape())
		}
	}
	return nil
}

// packed reports whether no stride is set.
func (t *Tensor) packed() bool { return t.BatchStride|t.HeadStride|t.LenStride == 0 }

// size returns the number of elements, shared ones counted again, and whether it fits an int.
func (t *Tensor) size() (int, bool) {
	if t.empty() {
		return 0, true
	}
	n, ok := product(t.Len, t.Dim)
	if ok {
		n, ok = product(n, t.Heads)
	}
	if ok {
		n, ok = product(n, t.Batch)
	}
	return n, ok
}

// notPacked says that Data has not the size of a packed tensor and, if it has more, the strides that
// use it all.
func (t *Tensor) notPacked(name string, have, size int) error {
	hint := ""
	one := *t // row of each head
	one.Len = 1
	if each, ok := one.size(); ok && each > 0 && have/each > t.Len {
		rows := have / each
		hint = fmt.Sprintf("; if it has room for %d rows a head, set LenStride %d, HeadStride %d, BatchStride %d",
			rows, t.Dim, rows*t.Dim, t.Heads*rows*t.Dim)
	}
	return fmt.Errorf("attn: %s.Data has %d elements, want exactly %d for packed %s%s", name, have, size, t.shape(), hint)
}

func (t *Tensor) negative(name string) error {
	for _, f := range []struct {
		name  string
		value int
	}{
		{"Batch", t.Batch}, {"Heads", t.Heads}, {"Len", t.Len}, {"Dim", t.Dim},
		{"BatchStride", t.BatchStride}, {"HeadStride", t.HeadStride}, {"LenStride", t.LenStride},
	} {
		if f.value < 0 {
			return fmt.Errorf("attn: %s.%s is %d, want 0 or more", name, f.name, f.value)
		}
	}
	return nil
}

// empty is for a tensor with sizes of 1 filled in.
func (t *Tensor) empty() bool { return t.Len == 0 }

func (t *Tensor) shape() string {
	return fmt.Sprintf("[%d][%d][%d][%d]", t.Batch, t.Heads, t.Len, t.Dim)
}

// resolve checks m and cuts its data to what it uses.
func (m *Matrix) resolve(name string) error {
	if m.Rows < 0 || m.Cols < 0 {
		return fmt.Errorf("attn: %s is %d x %d, want 0 or more rows and columns", name, m.Rows, m.Cols)
	}
	if m.Rows == 0 || m.Cols == 0 {
		m.Data = nil
		return nil
	}
	if m.Stride < m.Cols {
		return fmt.Errorf("attn: %s.Stride is %d, want %d or more, its columns", name, m.Stride, m.Cols)
	}
	size, ok := product(m.Rows-1, m.Stride)
	if !ok || size > math.MaxInt-m.Cols {
		return fmt.Errorf("attn: %s is %d x %d with stride %d: its size overflows int", name, m.Rows, m.Cols, m.Stride)
	}
	size += m.Cols
	if len(m.Data) < size {
		return fmt.Errorf("attn: %s.Data has %d elements, want %d or more for %d x %d with stride %d", name, len(m.Data), size, m.Rows, m.Cols, m.Stride)
	}
	m.Data = m.Data[:size]
	return nil
}

// product returns x*y for x, y >= 0, and whether it fits an int.
func product(x, y int) (int, bool) {
	hi, lo := bits.Mul64(uint64(x), uint64(y))
	return int(lo), hi == 0 && lo <= math.MaxInt
}

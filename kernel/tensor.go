package kernel

import (
	"fmt"
	"math"
	"math/bits"
	"unsafe"
)

// Tensor is a view of float32 elements [Batch][Heads][Len][Dim]. Element (b, h, i, d) is
//
//	Data[b*BatchStride + h*HeadStride + i*LenStride + d]
//
// Strides count elements. If all three are 0, the tensor is packed: LenStride = Dim, HeadStride =
// Len*Dim, BatchStride = Heads*Len*Dim. Other layouts are views without a copy: for
// [Batch][Len][Heads][Dim], HeadStride = Dim and LenStride = Heads*Dim; for the keys inside a fused
// projection [Len][3][Heads][Dim], Data begins at element Heads*Dim and LenStride = 3*Heads*Dim.
// Results do not depend on the layout. Packed keys and values are read fastest: where the heads of a
// token are neighbours, decoding from memory takes 1.1 to 1.4 times as long.
//
// Strides must not be negative, and rows must not overlap. The stride of a dimension of size 1 is
// ignored.
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
const maxDim = 1024

// resolve checks t, fills in packed strides and cuts Data to what t uses.
func (t Tensor) resolve(name string) (Tensor, error) {
	if t.Batch|t.Heads|t.Len|t.Dim|t.BatchStride|t.HeadStride|t.LenStride < 0 {
		return t, t.negative(name)
	}
	if t.Dim > maxDim || t.Dim == 0 && !t.empty() {
		return t, fmt.Errorf("attn: %s.Dim is %d, want 1 to %d", name, t.Dim, maxDim)
	}
	if t.BatchStride == 0 && t.HeadStride == 0 && t.LenStride == 0 {
		t.LenStride = t.Dim
		var ok1, ok2 bool
		t.HeadStride, ok1 = product(t.Len, t.Dim)
		t.BatchStride, ok2 = product(t.Heads, t.HeadStride)
		if !ok1 || !ok2 {
			return t, fmt.Errorf("attn: %s is %s: its size overflows int", name, t.shape())
		}
	}
	if t.empty() {
		t.Data, t.BatchStride, t.HeadStride, t.LenStride = nil, 0, 0, 0
		return t, nil
	}
	// By increasing stride, each dimension must step over the extent of those before it.
	size, stride := [...]int{t.Len, t.Heads, t.Batch}, [...]int{t.LenStride, t.HeadStride, t.BatchStride}
	order := [...]int{0, 1, 2}
	for _, i := range [...]int{0, 1, 0} {
		if stride[order[i]] > stride[order[i+1]] {
			order[i], order[i+1] = order[i+1], order[i]
		}
	}
	extent := t.Dim
	for _, i := range order {
		if size[i] == 1 {
			continue
		}
		if stride[i] < extent {
			return t, fmt.Errorf("attn: %s.%s is %d: rows overlap, want %d or more (%s)", name, strideNames[i], stride[i], extent, t.shape())
		}
		steps, ok := product(size[i]-1, stride[i])
		if !ok || steps > math.MaxInt-extent {
			return t, fmt.Errorf("attn: %s is %s with %s %d: its size overflows int", name, t.shape(), strideNames[i], stride[i])
		}
		extent += steps
	}
	if len(t.Data) < extent {
		return t, fmt.Errorf("attn: %s.Data has %d elements, want %d or more for %s", name, len(t.Data), extent, t.shape())
	}
	t.Data = t.Data[:extent]
	// Strides that are never used, so that equal views compare as equal.
	if t.Len == 1 {
		t.LenStride = 0
	}
	if t.Heads == 1 {
		t.HeadStride = 0
	}
	if t.Batch == 1 {
		t.BatchStride = 0
	}
	return t, nil
}

var strideNames = [...]string{"LenStride", "HeadStride", "BatchStride"}

func (t Tensor) negative(name string) error {
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

func (t Tensor) empty() bool { return t.Batch == 0 || t.Heads == 0 || t.Len == 0 }

func (t Tensor) shape() string {
	return fmt.Sprintf("[%d][%d][%d][%d]", t.Batch, t.Heads, t.Len, t.Dim)
}

// at returns the offset of row i of a head.
func (t *Tensor) at(b, h, i int) int { return b*t.BatchStride + h*t.HeadStride + i*t.LenStride }

// head returns the elements from the first row of a head on.
func (t *Tensor) head(b, h int) []float32 { return t.Data[t.at(b, h, 0):] }

// resolve checks m and cuts its data to what it uses.
func (m Matrix) resolve(name string) (Matrix, error) {
	if m.Rows < 0 || m.Cols < 0 {
		return m, fmt.Errorf("attn: %s is %d x %d, want 0 or more rows and columns", name, m.Rows, m.Cols)
	}
	if m.Rows == 0 || m.Cols == 0 {
		m.Data = nil
		return m, nil
	}
	if m.Stride < m.Cols {
		return m, fmt.Errorf("attn: %s.Stride is %d, want %d or more, its columns", name, m.Stride, m.Cols)
	}
	size, ok := product(m.Rows-1, m.Stride)
	if !ok || size > math.MaxInt-m.Cols {
		return m, fmt.Errorf("attn: %s is %d x %d with stride %d: its size overflows int", name, m.Rows, m.Cols, m.Stride)
	}
	size += m.Cols
	if len(m.Data) < size {
		return m, fmt.Errorf("attn: %s.Data has %d elements, want %d or more for %d x %d with stride %d", name, len(m.Data), size, m.Rows, m.Cols, m.Stride)
	}
	m.Data = m.Data[:size]
	return m, nil
}

// product returns x*y for x, y >= 0, and whether it fits an int.
func product(x, y int) (int, bool) {
	hi, lo := bits.Mul64(uint64(x), uint64(y))
	return int(lo), hi == 0 && lo <= math.MaxInt
}

// overlap reports whether x and y share memory.
func overlap(x, y []float32) bool {
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	x0, y0 := uintptr(unsafe.Pointer(&x[0])), uintptr(unsafe.Pointer(&y[0]))
	return x0 < y0+4*uintptr(len(y)) && y0 < x0+4*uintptr(len(x))
}

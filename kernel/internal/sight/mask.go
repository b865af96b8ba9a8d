package sight

import (
	"encoding/binary"
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
)

// A Mask hides keys one by one: of query row i of a batch member and head, key row j where element
// Data[b*BatchStride+h*HeadStride+i*QueryStride+j] is false. Without Data it hides nothing.
type Mask struct {
	Data                                 []bool
	BatchStride, HeadStride, QueryStride int
}

// Row returns the offset of the element of row i and key row j.
func (m *Mask) Row(batch, head, i, j int) int {
	return batch*m.BatchStride + head*m.HeadStride + i*m.QueryStride + j
}

const (
	eightTrue = 0x0101010101010101
	low7      = 0x7f7f7f7f7f7f7f7f
)

// sees reports whether an element is true. A bool that unsafe code has set to a byte other than 0 and 1 is true
// too: of such a bool compiled code may look at any bit.
func (m *Mask) sees(at int) bool { return *(*byte)(unsafe.Pointer(&m.Data[at])) != 0 }

// eight returns 8 elements as bytes of 0 or 1: a bool that unsafe code has set to something else is true.
func (m *Mask) eight(at int) uint64 {
	x := binary.LittleEndian.Uint64(unsafe.Slice((*byte)(unsafe.Pointer(&m.Data[at])), 8))
	if x&^eightTrue == 0 {
		return x
	}
	return (x&low7 + low7 | x) >> 7 & eightTrue
}

// Any reports whether one of the n elements from at on is true.
func (m *Mask) Any(at, n int) bool {
	i := 0
	for ; i+8 <= n; i += 8 {
		if m.eight(at+i) != 0 {
			return true
		}
	}
	for ; i < n; i++ {
		if m.sees(at + i) {
			return true
		}
	}
	return false
}

// EachHidden calls hide for the runs [from, to) of the n elements from at on that are false.
func (m *Mask) EachHidden(at, n int, hide func(from, to int)) {
	for i := 0; i < n; {
		switch {
		case i+8 <= n && m.eight(at+i) == eightTrue:
			i += 8
		case m.sees(at + i):
			i++
		default:
			from := i
			for i < n && !m.sees(at+i) {
				i++
			}
			hide(from, i)
		}
	}
}

// pack sets bit r of bits[i] to the element i of row r, for n elements from offset row[r]+at on and so
// many rows. It returns the bits that all elements have in common, and those that some has.
func (m *Mask) pack(bits *[tile.Keys]uint32, row []int, at, n int) (all, any uint32) {
	rows := len(row)
	all = 1<<rows - 1
	if same(row) {
		for i := range n {
			bits[i] = 0
			if m.sees(row[0] + at + i) {
				bits[i] = 1<<rows - 1
			}
			all, any = all&bits[i], any|bits[i]
		}
		return all, any
	}
	clear(bits[:n])
	i := 0
	for ; i+8 <= n; i += 8 {
		for r := 0; r < rows; r += 8 {
			// The elements of 8 rows become the bits of a byte, of 8 keys at once.
			var plane uint64
			for last := r + 7; last >= r; last-- {
				plane = plane<<1 | m.eight(row[last]+at+i)
			}
			for k := range 8 {
				bits[i+k] |= uint32(plane>>(8*k)&0xff) << r
			}
		}
	}
	for ; i < n; i++ {
		for r := range rows {
			if m.sees(row[r] + at + i) {
				bits[i] |= 1 << r
			}
		}
	}
	for _, b := range bits[:n] {
		all, any = all&b, any|b
	}
	return all, any
}

func same(row []int) bool {
	for _, x := range row {
		if x != row[0] {
			return false
		}
	}
	return true
}

package sight

import (
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

// Sees reports whether an element is true.
func (m *Mask) Sees(at int) bool { return tile.Sees(m.Data, at) }

// Any reports whether one of the n elements from at on is true, All whether all are.
func (m *Mask) Any(at, n int) bool { return m.find(at, n, true) }
func (m *Mask) All(at, n int) bool { return !m.find(at, n, false) }

func (m *Mask) find(at, n int, value bool) bool {
	for i := range n {
		if m.Sees(at+i) == value {
			return true
		}
	}
	return false
}

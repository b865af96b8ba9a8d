package stages

import (
	"sync"
	"unsafe"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

// A Short is a call of so little work, without options but these, that to plan it and to share its items would take about as
// long as to compute it. Each query goes alone through its keys, which are of one tile, so that nothing is merged.
type Short struct {
	Dst, Q, K, V *source.Tensor // checked
	Scale        float32        // of the scores
	Sight        sight.Rule     // without a mask
}

const (
	// shortRows is the most queries of a KV head, those of all its query heads. For three and more, kernels that read keys
	// once for several queries are as fast.
	shortRows = 2

	// shortDim is the most elements of a row.
	shortDim = 256
)

// ShortMemory is the bytes of memory of a Short call.
const ShortMemory = int(unsafe.Sizeof(shortRoom{}))

// IsShort reports whether a call of tensors, checked or not, is a Short one if its options allow that. Of those that are refused
// it says anything.
func IsShort(q, k, v *source.Tensor) bool {
	heads, kvHeads := max(q.Heads, 1), max(k.Heads, 1)
	switch {
	case q.Len == 0 || k.Len == 0 || k.Len > tile.Keys || q.Len*heads > shortRows*kvHeads || q.Dim > shortDim || v.Dim > shortDim:
		return false
	case k.Len > 1 && plan.ScoreRows(1, k.LenStride) > 1:
		return false
	}
	rows := float64(float64(max(q.Batch, 1)) * float64(plan.ReadingRows*heads*q.Len))
	return queue.Useful(float64(rows*float64(k.Len*(q.Dim+v.Dim)))) == 1
}

// A shortRoom is the scratch memory of a Short call.
type shortRoom struct {
	query  [shortDim]float32
	mix    [shortDim]float32
	scores [tile.Keys]float32
	keys   [plan.RowKeys * shortDim]float32 // if there are less than RowKeys
	sum    [1]float32
	k, v   tile.Rows // of a KV head
}

var shortRooms = sync.Pool{New: func() any { return new(shortRoom) }}

// Attention computes Dst.
func (c *Short) Attention() {
	q, k, v, dst := c.Q, c.K, c.V, c.Dst
	m, scale, group := shortRooms.Get().(*shortRoom), generic.Log2Scale(c.Scale), q.Heads/k.Heads
	s := sight.Sequence{Queries: q.Len, Keys: k.Len, Start: k.Len - q.Len}
	for s.Batch = range q.Batch {
		for head := range k.Heads {
			k.Rows(&m.k, &s, head, 0, k.Len)
			v.Rows(&m.v, &s, head, 0, k.Len)
			if 1 < k.Len && k.Len < plan.RowKeys { // as in scoreParts
				source.Copy(m.keys[:], &m.k)
			}
			for h := head * group; h < (head+1)*group; h++ {
				for i := range q.Len {
					m.row(dst.Data[dst.At(s.Batch, h, i):][:dst.Dim], q.Data[q.At(s.Batch, h, i):][:q.Dim], scale, c.Sight.Seen(&s, i).To)
				}
			}
		}
	}
	m.k.Data, m.v.Data = nil, nil // they are not kept alive
	shortRooms.Put(m)
	if Count != nil {
		Count(c.tiles(&s))
	}
}

// row computes the output of a query, which may be in its place, that sees the first n keys.
func (m *shortRoom) row(dst, q []float32, scale float32, n int) {
	if n == 0 {
		memory.Clear(dst)
		return
	}
	asm.Scale(m.query[:], q, scale)
	if m.k.Len, m.v.Len = n, n; n > 1 {
		m.k.Len = max(n, plan.RowKeys)
	}
	asm.RowScores(m.scores[:], m.query[:], 1, 1, &m.k, m.k.Len*m.k.Stride)
	asm.RowWeights(m.scores[:n])
	mix := m.mix[:tile.Pad(len(dst))]
	if n == 1 { // what RowValues makes of one key, at less cost
		m.sum[0] = m.scores[0]
		asm.Scale(mix, m.v.Data[:len(dst)], m.sum[0])
	} else {
		clear(mix)
		m.sum[0] = 0
		asm.RowValues(mix, m.scores[:], m.sum[:], 1, &m.v, n*m.v.Stride)
	}
	divide(dst, mix, m.sum[0])
}

// tiles counts one for each KV head.
func (c *Short) tiles(s *sight.Sequence) (t Tiles) {
	first, last := c.Sight.Seen(s, 0), c.Sight.Seen(s, c.Q.Len-1)
	if t.Computed = c.Q.Batch * c.K.Heads; first.Len() > 0 && first != last {
		t.Masked = t.Computed
	}
	return t
}

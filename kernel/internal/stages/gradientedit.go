package stages

import (
	"sync/atomic"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/sight"
)

// Gradients of what edits scores. Those of biases add up in place, or where some are shared and there is something to
// add to, in scratch memory of the same layout. Items of different heads or members that share biases add to a tile
// one after the other.

// cutBias prepares the sums of the gradients of biases.
func (c *gradient) cutBias() {
	tiles := c.items / c.K.Heads // or less, where members share them
	if cap(c.taken) < tiles {
		c.taken = make([]atomic.Int32, tiles)
	}
	c.taken = c.taken[:tiles]
	for i := range c.taken {
		c.taken[i].Store(0)
	}
	c.bias = c.DBias
	b := &c.Bias
	if c.Add && (c.biasShared() || b.QueryStride == 0 && c.Queries > 1 || b.HeadStride == 0 && c.Q.Heads > 1) {
		c.apart = memory.Aligned(c.apart, len(c.DBias))
		c.bias = c.apart
	}
	if !c.Add || &c.bias[0] != &c.DBias[0] {
		c.eachBias(func(at int) { memory.Clear(c.bias[at:][:c.K.Len]) })
	}
}

// eachBias calls f with the offset of each row of biases, once for those that share it.
func (c *gradient) eachBias(f func(at int)) {
	once := func(stride, n int) int {
		if stride == 0 {
			return min(n, 1)
		}
		return n
	}
	b := &c.Bias
	for batch := range once(b.BatchStride, c.Q.Batch) {
		for head := range once(b.HeadStride, c.Q.Heads) {
			for i := range once(b.QueryStride, c.Queries) {
				f(b.Row(batch, head, i, 0))
			}
		}
	}
}

// biasShared reports whether items of several heads or members add to the same biases.
func (c *gradient) biasShared() bool {
	b := &c.Bias
	return c.DBias != nil && (b.HeadStride == 0 && c.K.Heads > 1 || b.BatchStride == 0 && c.Q.Batch > 1)
}

// before returns where items that add to the biases of a tile of keys are counted, and how many do before this one. Packed
// sequences share keys with no other.
func (c *gradient) before(it *item) (taken *atomic.Int32, n int) {
	if c.Lengths.KeyOffsets != nil {
		return &c.taken[it.cut.first/c.K.Heads+it.number], it.head
	}
	for i := range c.cuts {
		if &c.cuts[i] == it.cut {
			break
		}
		if c.cuts[i].tiles > it.number {
			n += c.K.Heads
		}
	}
	return &c.taken[it.number], n + it.head
}

// addBiases adds the gradients of the biases of a step.
func (w *gradientWorker) addBiases(st *step) {
	s, b, k := w.sequence, &w.Bias, st.any
	at := b.Row(s.Batch, st.head, s.Query+st.row, s.Key) + w.first
	if b.QueryStride == 0 {
		sums := tile.Rows{Data: w.biases, Len: k.Len(), Dim: narrowest, Stride: narrowest}
		clear(w.biases[:sums.Len*narrowest])
		asm.RowsTile(sums, tile.Rows{Data: w.edited[k.From*stepRows:], Len: sums.Len, Dim: st.n, Stride: stepRows},
			tile.Rows{Data: w.ones, Len: st.n, Dim: narrowest, Stride: narrowest}, nothing)
		for j := range sums.Len {
			w.bias[at+k.From+j] += w.biases[j*narrowest]
		}
		return
	}
	var offset [tile.MaxPanel]int
	for from := k.From; from < k.To; {
		width := asm.PanelWidth(k.To - from)
		n := min(width, k.To-from)
		for j := range width {
			offset[j] = (from + min(j, n-1)) * stepRows
		}
		asm.PackPanel(w.biases, w.edited, &offset, width, st.n, w.ones[0])
		for i := range st.n {
			addTo(w.bias[at+i*b.QueryStride+from:][:n], w.biases[i*width:])
		}
		from += n
	}
}

// addTo adds x to sums.
func addTo(sums, x []float32) { MergeRow(sums, x[:len(sums)], 1, 1) }

// addDistances adds the gradients of the scores of a step, times the distances of their keys, to the sums of its rows.
func (w *gradientWorker) addDistances(st *step) {
	s := w.sequence
	for i := range st.panels {
		p := &st.panels[i]
		for r := range min(p.width, st.n-p.column) {
			row := &w.slope[(s.Batch*w.Q.Heads+st.head)*w.Queries+s.Query+st.row+p.column+r]
			position := int(p.edited.position[r]) - w.first
			sum := *row
			for j := p.any.From; j < p.any.To; j++ {
				sum -= float64(float64(w.edited[j*stepRows+p.column+r]) * float64(float32(max(position-j, j-position))))
			}
			*row = sum
		}
	}
}

// settleEdits writes the gradients of biases that have been added up elsewhere, of slopes and of sinks.
func (c *gradient) settleEdits() {
	if c.DBias != nil && &c.bias[0] != &c.DBias[0] {
		c.eachBias(func(at int) { addTo(c.DBias[at:][:c.K.Len], c.bias[at:]) })
	}
	settle := func(to *float32, sum float64) {
		if x := float32(sum / float64(c.Scale)); c.Add {
			*to += x
		} else {
			*to = x
		}
	}
	for head := range c.DALiBi {
		sum := 0.0
		c.eachRow(head, func(_ *sight.Sequence, _, row int) { sum += c.slope[row] })
		settle(&c.DALiBi[head], sum)
	}
	for head := range c.DSinks {
		sum, t := 0.0, generic.Log2Scale(c.Sinks[head])
		c.eachRow(head, func(s *sight.Sequence, i, row int) {
			p := tile.GradientWeight(t, tile.SafeMax(c.Stats[2*row]), tile.Inverse(c.Stats[2*row+1]))
			if x := float32(p * c.delta[row]); x == x || c.seesAny(s, head, i) {
				sum += float64(x)
			}
		})
		settle(&c.DSinks[head], sum)
	}
}

// eachRow calls f with the queries of a head that are in some sequence, and with the numbers of their rows.
func (c *gradient) eachRow(head int, f func(s *sight.Sequence, i, row int)) {
	for n := range c.sequences {
		s := &c.sequences[n]
		for i := range s.Queries {
			f(s, i, (s.Batch*c.Q.Heads+head)*c.Queries+s.Query+i)
		}
	}
}

// seesAny reports whether a query sees a key. Those that see none have an output of 0, and so no gradient of a sink, but where
// that is multiplied by infinity.
func (c *gradient) seesAny(s *sight.Sequence, head, i int) bool {
	var lanes sight.Lanes
	lanes.Load(&c.Sight, s, &sight.Rows{Query: i, Group: 1}, narrowest) // all of them that query
	if c.Sight.Mask.Data != nil {
		lanes.SetMask(0, c.Sight.Row(s.Batch, head, s.Query+i, s.Key))
	}
	var q edited
	if c.edit.on {
		c.edit.load(&q, 0, s, head, i)
	}
	for j := range s.Keys {
		if lanes.Hidden(j)&1 == 0 && !c.edit.hidden(&q, 0, j) {
			return true
		}
	}
	return false
}

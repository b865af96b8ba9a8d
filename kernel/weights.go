package kernel

import (
	"fmt"
	"sync"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
)

// AttentionWeights shows what [Attention] mixes: row i of dst becomes the weights of query
// queries[i] of one batch member and query head over all keys; dst is len(queries) x Len of k. A
// row sums to 1, hidden keys have weight 0, and a query that sees no key has a row of zeros.
//
// The weights are those of the fused computation: the same exponentials, scales and sum, so that
// row i times V is the output of Attention up to the rounding of the mix.
//
// It returns an error that names the argument, before it writes, where Attention would, and if
// batch, head, a query or the shape of dst is out of range, or dst shares an element with q or k.
func AttentionWeights(dst Matrix, q, k Tensor, batch, head int, queries []int, opts *Options) error {
	o, _, err := opts.resolve()
	if err != nil {
		return err
	}
	if q, err = q.resolve("q"); err != nil {
		return err
	}
	if k, err = k.resolve("k"); err != nil {
		return err
	}
	if err = checkQueryKey(q, k); err != nil {
		return err
	}
	if dst, err = dst.resolve("dst"); err != nil {
		return err
	}
	switch {
	case batch < 0 || batch >= q.Batch:
		return fmt.Errorf("attn: batch is %d, want 0 to %d, a member of q", batch, q.Batch-1)
	case head < 0 || head >= q.Heads:
		return fmt.Errorf("attn: head is %d, want 0 to %d, a head of q", head, q.Heads-1)
	case dst.Rows != len(queries) || dst.Cols != k.Len:
		return fmt.Errorf("attn: dst is %d x %d, want %d x %d, the queries by the keys", dst.Rows, dst.Cols, len(queries), k.Len)
	}
	if name := shared(dst.footprint(), operand{"q.Data", q.footprint()}, operand{"k.Data", k.footprint()}); name != "" {
		return fmt.Errorf("attn: dst.Data shares memory with %s", name)
	}
	for n, i := range queries {
		if i < 0 || i >= q.Len {
			return fmt.Errorf("attn: queries[%d] is %d, want an index below %d, the Len of q", n, i, q.Len)
		}
	}
	if k.Len == 0 || len(queries) == 0 {
		return nil
	}

	// One query at a time, as one row of a job.
	j := jobs.Get().(*job)
	w := scratch.Get().(*worker)
	j.plan(q, q, k, k, o, 1)
	j.itemRows = 1
	w.size(j)
	keys := k.head(batch, head/j.group)
	maxima := tileMaxima.Get().(*[]float32)
	*maxima = aligned(*maxima, ceilDiv(k.Len, generic.TileKeys))
	for i, query := range queries {
		row := dst.Data[i*dst.Stride:][:k.Len]
		zero(row)
		p := w.loadRows(j, 0, batch, head/j.group, query*j.group+head%j.group, 1)
		limit := int(p.limit[0])
		state := newRow()
		max := (*maxima)[:0]
		for first := 0; first < limit; first += generic.TileKeys {
			n := min(generic.TileKeys, limit-first)
			asm.RowScores(w.s, p.q, p.width, 1, tile.Rows{Data: keys[first*k.LenStride:], Len: n, Dim: q.Dim, Stride: k.LenStride})
			m := asm.RowWeights(w.s[:n])
			max = append(max, m)
			copy(row[first:], w.s[:n])
			var sum float32
			for _, p := range w.s[:n] {
				sum += p
			}
			state.mergeSum(m, sum)
		}
		for t, m := range max {
			_, _, b := generic.Merge(state.max, m)
			tile := row[t*generic.TileKeys : min((t+1)*generic.TileKeys, limit)]
			for c := range tile {
				tile[c] *= b
			}
			finishRow(tile, tile, state.sum)
		}
	}
	tileMaxima.Put(maxima)
	j.release()
	scratch.Put(w)
	return nil
}

// tileMaxima holds the maximum of each tile of a row of weights.
var tileMaxima = sync.Pool{New: func() any { return new([]float32) }}

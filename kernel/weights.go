package kernel

import (
	"fmt"

	"github.com/selfattn/attn/kernel/internal/stages"
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
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	if err = q.resolve("q"); err != nil {
		return err
	}
	if err = k.resolve("k"); err != nil {
		return err
	}
	if err = checkQueryKey(&q, &k); err != nil {
		return err
	}
	if dst, err = dst.resolve("dst"); err != nil {
		return err
	}
	if err = o.check(&q, &k, q.Len); err != nil {
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
	if err := o.checkApart("dst.Data", dst.footprint(), &q, q.Len, k.Len); err != nil {
		return err
	}
	for n, i := range queries {
		if i < 0 || i >= q.Len {
			return fmt.Errorf("attn: queries[%d] is %d, want an index below %d, the Len of q", n, i, q.Len)
		}
	}
	if k.Len == 0 || len(queries) == 0 {
		return nil
	}
	a := o.arguments(&q, &k, 0, q.Len)
	stages.Weights(dst.Data, dst.Stride, &a, batch, head, queries)
	return nil
}

package kernel

import (
	"fmt"

	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// A Stage is one that the scores of a query go through, in this order.
type Stage int

const (
	StageScores  Stage = iota // Scale * q.k
	StageSoftCap              // capped
	StageBias                 // with ALiBi and Bias; hidden keys have -Inf
	StageWeights              // the shares of the softmax
)

// AttentionWeights shows what [Attention] mixes: row i of dst becomes the weights of query
// queries[i] of one batch member and query head over all keys; dst is len(queries) x Len of k. A
// row sums to 1, or with a sink to less, hidden keys have weight 0, and a query that sees no key has a row of zeros.
//
// The weights are those of the fused computation: the same exponentials, scales and sum, so that
// row i times V is the output of Attention up to the rounding of the mix.
//
// It returns an error that names the argument, before it writes, where Attention would, and if
// batch, head, a query or the shape of dst is out of range, or dst shares an element with q or k.
func AttentionWeights(dst Matrix, q, k Tensor, batch, head int, queries []int, opts *Options) error {
	return AttentionScores(dst, q, k, batch, head, queries, StageWeights, opts)
}

// AttentionScores shows the scores of [Attention] after a stage: row i of dst becomes those of query queries[i] of one
// batch member and query head with all rows of k; dst is len(queries) x Len of k. [StageWeights] is [AttentionWeights].
//
// Before [StageBias] nothing is hidden: these are the scores with every row of k, padding and other sequences too, of
// every query. In StageBias keys that are hidden from the query have -Inf, whatever k and Bias hold there: all of them
// for a query that sees none. An option that is not given leaves scores as they were.
//
// Scores are those of the fused computation, which are logarithms to base 2, times ln 2, rounded once more: off by
// the error of a score in Attention, those of the options that are in the stage, and 2^-24 of the result.
//
// It returns an error that names the argument, before it writes, where AttentionWeights would, and if stage is none.
func AttentionScores(dst Matrix, q, k Tensor, batch, head int, queries []int, stage Stage, opts *Options) error {
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
	if err = checkQueryKey("q", "k", &q, &k); err != nil {
		return err
	}
	if err = dst.resolve("dst"); err != nil {
		return err
	}
	if err = o.check(&q, &k, q.Len); err != nil {
		return err
	}
	switch {
	case stage < StageScores || stage > StageWeights:
		return fmt.Errorf("attn: stage is %d, want StageScores to StageWeights, %d to %d", stage, StageScores, StageWeights)
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
	a := stages.Arguments{Q: source.Tensor(q), K: source.Stored{Tensor: source.Tensor(k)}}
	o.arguments(&a, 0, q.Len)
	if stage < StageBias { // without what comes later
		a.Sight, a.Lengths, a.ALiBi, a.Bias = sight.Rule{}, sight.Lengths{}, nil, stages.Bias{}
	}
	if stage < StageSoftCap {
		a.SoftCap = 0
	}
	stages.Scores(tile.Rows{Data: dst.Data, Len: dst.Rows, Dim: dst.Cols, Stride: dst.Stride}, &a, batch, head, queries, stage == StageWeights)
	return nil
}

package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// Options of [Attention]. The zero value is plain scaled dot-product attention.
type Options struct {
	// Scale multiplies the scores; 0 means 1/sqrt(Dim of q).
	Scale float32

	// SoftCap keeps scores between -SoftCap and SoftCap: s becomes SoftCap * tanh(s/SoftCap). 0 is no cap; others are
	// from 2^-125 to 2^125. It is off by at most 9.1*2^-24 of the result, also where that is small.
	SoftCap float32

	// ALiBi are slopes, one for each query head, finite and below 2.3e38 in magnitude: slope times the distance from
	// the position of the query, in keys, is subtracted from capped scores (Press et al., Train Short, Test Long,
	// 2022). Where positions are below -2^30 or above 2^30, these count. The Len of k is at most 2^30. The product is
	// off by at most 2*2^-24 of itself, and the difference by 2^-24 of itself.
	ALiBi []float32

	// Bias is added to scores behind these; nil is none. It is off by at most 2^-24 of itself, and so is the sum.
	Bias *Bias

	// Sinks are logits, one for each query head, below 2.3e38: each is a score beside those of the keys, neither capped nor
	// biased, whose weight is in the denominator of the softmax and mixes nothing (as in gpt-oss; Xiao et al., Efficient
	// Streaming Language Models with Attention Sinks, 2023). -Inf is no sink. A row that sees no key gives zeros all the
	// same. AttentionWeights shows no weight for it: what its rows lack to a sum of 1 is the sink's.
	Sinks []float32

	// Dropout, if it is not nil, sets weights to 0 at random, for training.
	Dropout *Dropout

	// A query sees the keys that nothing hides: of all that is given, each hides some. A query that sees
	// none gives zeros. Keys count from 0, and query i is at position Start + i among them.

	// Causal hides the future: a query at position p sees the keys j <= p.
	Causal bool

	// Window hides what is far: nil is no limit.
	Window *Window

	// Start is the position of query 0 among the keys, one for each batch member or sequence, or one for
	// all. Nil puts the last query at the last key: KeyLen - QueryLen, or where these are nil the Len of k
	// less that of q. {0} puts the first query at the first key. Positions may be negative, or beyond the
	// keys.
	Start []int

	// KeyLen is how many keys of each batch member exist: the padding behind them is hidden. QueryLen is
	// how many queries exist: rows of dst behind them become zeros. Nil is all.
	KeyLen, QueryLen []int

	// QueryOffsets and KeyOffsets pack sequences of different lengths into one batch member, without
	// padding: sequence i is the rows [o[i], o[i+1]) of q and dst, and of k and v, and sees nothing else.
	// Positions and keys count from its first key. It has the bits of a call of its own, where Dropout is
	// nil. Both or none are given, of the same length, one more than there are sequences; offsets do not
	// decrease. Rows of dst that are in no sequence become zeros.
	QueryOffsets, KeyOffsets []int

	// Mask hides keys one by one; nil hides none.
	Mask *Mask

	// LSE, if it is not nil, receives the log-sum-exp of the scores of each row, the logarithm of what
	// the softmax divides by, the sink included: [Batch][Heads][Lq], packed. It is -Inf for a row without a sink that sees
	// no key, or only scores of -Inf, and for one behind QueryLen or in no sequence; NaN or +Inf for a row with a NaN or +Inf among its scores. AttentionWeights leaves it alone. With the error of a score
	// as in [Attention], its own error is at most that of the largest score plus
	// u*(|LSE| + 2*(min(Lk, 256) + min(Lk/256, 64) + Lk/16384 + 3)).
	LSE []float32

	// Stats, if it is not nil, receives what [AttentionGradient] needs to know of this call: 2*Batch*Heads*Lq
	// elements, which mean nothing to others. dst must not be q then, as the gradient needs both. AttentionWeights
	// leaves it alone.
	Stats []float32

	// Workers is the most goroutines that share the work: 1 runs on the calling goroutine and,
	// once its scratch memory is there, does not allocate; 0 adapts, so that calls in flight share the
	// GOMAXPROCS processors and, where there are as many, each runs on its own goroutine. Results do
	// not depend on it. Calls of less than 0.3 ms are shared where they follow each other closely, if they take more
	// than about 10 us: to wake a sleeping thread would take longer than it saves. The other goroutines
	// end with the call, but for one thing: while calls follow each other closely, they keep their
	// threads busy for up to about 0.2 ms, to be ready for the next. Where calls do not, they do so after
	// one call in 16.
	Workers int

	head int // that the first head of q is, where the others before it were left out
}

// A Dropout sets weights to 0 after the softmax, each with probability P, rounded up to a multiple of 2^-32, and divides the others by
// 1 - P (Srivastava et al., Dropout, 2014). Which ones depends on Seed, Offset, and the numbers of batch member, query head and
// rows of q and k alone: with the same options, [AttentionGradient] drops what the forward call did. A training step takes an Offset
// of its own.
//
// LSE and Stats are those of all weights. What is dropped is 0 but not hidden: a value that is NaN or infinite makes the output NaN
// all the same. [AttentionWeights] shows what is left, whose rows do not sum to 1. Numbers of rows are those of the tensors, also where
// sequences are packed, so that these have masks of their own. A [Partial] and a [Cache] refuse it: they are not for training.
//
// The random numbers are those of Philox4x32-10; generic.Dropout defines how they decide, and package generic the arithmetic. An output
// is off by at most 2*2^-24 of itself more than the docstring of [Attention] says, to first order, where the values in it are 0 for what
// is dropped and divided by 1 - P for the rest: 1 - P is rounded, and its product with the sum of weights. Package fuzz has the
// rigorous bounds, also of gradients.
type Dropout struct {
	P            float32 // from 0 to less than 1
	Seed, Offset uint64
}

// A Mask says which keys a query sees: row i of a batch member and query head sees row j of k only if element
//
//	Data[b*BatchStride + h*HeadStride + i*QueryStride + j]
//
// is true. Rows are those of the tensors, also where sequences are packed. Strides count elements; one of 0
// gives all members, heads or queries the same row, as a mask of keys needs.
type Mask struct {
	Data                                 []bool
	BatchStride, HeadStride, QueryStride int
}

// A Window is the keys near a query: one at position p sees those from p-Left to p+Right. A negative number
// is no limit.
type Window struct{ Left, Right int }

// arguments sets the arguments of the stages, but for tensors; Q, which is set, is the rows from first on of so many
// queries. The others are zero before.
func (o *Options) arguments(a *stages.Arguments, first, queries int) {
	a.First, a.Queries = first, queries
	a.Scale = o.scale(a.Q.Dim)
	a.SoftCap, a.ALiBi, a.Sinks, a.LSE, a.Stats, a.Workers = o.SoftCap, o.ALiBi, o.Sinks, o.LSE, o.Stats, o.Workers
	o.lengths(&a.Lengths)
	if d := o.Dropout; d != nil {
		a.Dropout = stages.Dropout{Dropout: tile.NewDropout(d.P, d.Seed, d.Offset), Head: o.head}
	}
	if o.Bias != nil {
		a.Bias = stages.Bias(*o.Bias)
	}
	if a.Sight.Causal = o.Causal; o.Mask != nil {
		a.Sight.Mask = sight.Mask(*o.Mask)
	}
	if w := o.Window; w != nil {
		a.Sight.Window, a.Sight.Left, a.Sight.Right = true, w.Left, w.Right
	}
}

// scale returns that of scores of so many terms.
func (o *Options) scale(dim int) float32 {
	if o.Scale != 0 {
		return o.Scale
	}
	return float32(1 / math.Sqrt(float64(dim)))
}

// plain reports whether o has no more than Scale, Causal and Workers.
func (o *Options) plain() bool {
	return !o.edits() && !o.saves() && o.Dropout == nil && o.Window == nil && o.Mask == nil &&
		o.Start == nil && o.KeyLen == nil && o.QueryLen == nil && o.QueryOffsets == nil && o.KeyOffsets == nil
}

// lengths sets l to what o says of sequences, field by field, as a copy of what has just been written waits for it.
func (o *Options) lengths(l *sight.Lengths) {
	l.Start, l.KeyLen, l.QueryLen, l.QueryOffsets, l.KeyOffsets = o.Start, o.KeyLen, o.QueryLen, o.QueryOffsets, o.KeyOffsets
}

// check returns an error if what o says of so many queries does not fit the resolved q and k.
func (o *Options) check(q, k *Tensor, queries int) error {
	members := "batch members"
	n := q.Batch
	if o.QueryOffsets != nil || o.KeyOffsets != nil {
		switch {
		case o.QueryOffsets == nil || o.KeyOffsets == nil || len(o.QueryOffsets) != len(o.KeyOffsets):
			return fmt.Errorf("attn: Options.QueryOffsets has %d elements and KeyOffsets %d, want as many: one more than sequences", len(o.QueryOffsets), len(o.KeyOffsets))
		case q.Batch != 1:
			return fmt.Errorf("attn: q.Batch is %d with Options.QueryOffsets, want 1: sequences are packed into one batch member", q.Batch)
		case o.KeyLen != nil || o.QueryLen != nil:
			return fmt.Errorf("attn: Options.KeyLen has %d elements and QueryLen %d with KeyOffsets and QueryOffsets, which say the same: want them nil", len(o.KeyLen), len(o.QueryLen))
		}
		if err := checkOffsets("QueryOffsets", o.QueryOffsets, queries, "q"); err != nil {
			return err
		}
		if err := checkOffsets("KeyOffsets", o.KeyOffsets, k.Len, "k"); err != nil {
			return err
		}
		members, n = "sequences", len(o.QueryOffsets)-1
	}
	if err := checkLengths("KeyLen", o.KeyLen, n, k.Len, "k"); err != nil {
		return err
	}
	return o.checkRows(members, n, q, k, queries)
}

// checkRows is check for what does not say where keys are; n is the number of members, which are sequences if they are
// packed.
func (o *Options) checkRows(members string, n int, q, k *Tensor, queries int) error {
	if o.Start != nil && len(o.Start) != 1 && len(o.Start) != n {
		return fmt.Errorf("attn: Options.Start has %d elements, want 1, or one for each of the %d %s", len(o.Start), n, members)
	}
	if err := checkLengths("QueryLen", o.QueryLen, n, queries, "q"); err != nil {
		return err
	}
	if o.edits() {
		if err := o.checkEdits(q, k, queries); err != nil {
			return err
		}
	}
	if m := o.Mask; m != nil {
		if err := checkCover("Mask", len(m.Data), [3]int{m.BatchStride, m.HeadStride, m.QueryStride}, [4]int{q.Batch, q.Heads, queries, k.Len}); err != nil {
			return err
		}
	}
	if o.LSE != nil {
		if rows, ok := rowCount(q, queries); !ok || len(o.LSE) != rows {
			return fmt.Errorf("attn: Options.LSE has %d elements, want one a row, [%d][%d][%d]", len(o.LSE), q.Batch, q.Heads, queries)
		}
	}
	if o.Stats != nil {
		return checkStats("Options.Stats", o.Stats, q, queries)
	}
	return nil
}

// checkStats checks the length of statistics of so many queries.
func checkStats(name string, stats []float32, q *Tensor, queries int) error {
	if n, ok := rowCount(q, queries); !ok || len(stats)%2 != 0 || len(stats)/2 != n {
		return fmt.Errorf("attn: %s has %d elements, want two a row, [%d][%d][%d][2]", name, len(stats), q.Batch, q.Heads, queries)
	}
	return nil
}

// rowCount returns how many rows so many queries of all members and heads of q are, and whether that fits an int.
func rowCount(q *Tensor, queries int) (int, bool) {
	heads, ok := product(q.Batch, q.Heads)
	n, ok2 := product(heads, queries)
	return n, ok && ok2
}

// checkOffsets checks offsets of the rows of a tensor.
func checkOffsets(name string, offsets []int, rows int, of string) error {
	if len(offsets) == 0 {
		return fmt.Errorf("attn: Options.%s has 0 elements, want one more than sequences", name)
	}
	least := 0
	for i, o := range offsets {
		if o < least || o > rows {
			return fmt.Errorf("attn: Options.%s[%d] is %d, want %d to %d, the offset before it to the Len of %s", name, i, o, least, rows, of)
		}
		least = o
	}
	return nil
}

// checkCover returns an error unless the elements of a mask or bias, of which there are n, cover a shape
// [batch][heads][queries][keys] with the strides of the first three.
func checkCover(name string, n int, strides [3]int, shape [4]int) error {
	extent, fits := shape[3], true
	for i, stride := range strides {
		if stride < 0 {
			return fmt.Errorf("attn: Options.%s.%s is %d, want 0 or more", name, [...]string{"BatchStride", "HeadStride", "QueryStride"}[i], stride)
		}
		steps, ok := product(max(0, shape[i]-1), stride)
		fits = fits && ok && steps <= math.MaxInt-extent
		extent += steps
	}
	if !fits || n < extent && shape[0] > 0 && shape[1] > 0 && shape[2] > 0 {
		want := fmt.Sprint(extent)
		if !fits {
			want = "more than an int counts"
		}
		return fmt.Errorf("attn: Options.%s.Data has %d elements, want %s for %v with strides %v", name, n, want, shape, strides)
	}
	return nil
}

// checkLengths checks one length for each batch member.
func checkLengths(name string, lengths []int, members, rows int, of string) error {
	if lengths != nil && len(lengths) != members {
		return fmt.Errorf("attn: Options.%s has %d elements, want %d, one for each batch member", name, len(lengths), members)
	}
	for i, n := range lengths {
		if n < 0 || n > rows {
			return fmt.Errorf("attn: Options.%s[%d] is %d, want 0 to %d, the Len of %s", name, i, n, rows, of)
		}
	}
	return nil
}

// defaults are the options of nil.
var defaults Options

// resolve returns the options, o or, if it is nil, the defaults.
func (o *Options) resolve() (*Options, error) {
	if o == nil {
		o = &defaults
	}
	if s := generic.Log2Scale(o.Scale); s-s != 0 {
		return o, fmt.Errorf("attn: Options.Scale is %g, want a finite number of a magnitude below 2.3e38", o.Scale)
	}
	if d := o.Dropout; d != nil && !(d.P >= 0 && d.P < 1) {
		return o, fmt.Errorf("attn: Options.Dropout.P is %g, want 0 to less than 1", d.P)
	}
	return o, checkWorkers("Options", o.Workers)
}

// checkWorkers checks the field Workers of options of that name.
func checkWorkers(name string, n int) error {
	if n < 0 {
		return fmt.Errorf("attn: %s.Workers is %d, want 0 or more", name, n)
	}
	return nil
}

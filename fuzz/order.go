package fuzz

import "math/bits"

// An Order is what the bound of an error needs to know of the order in which an implementation of attention
// computes in float32. The zero value is the textbook's: the maximum of all scores is subtracted, exponentials are
// good to an ulp, and sums are taken in any order, one after the other in the worst case.
//
// With all of them the implementation may fuse products and sums or not, as an FMA rounds no more often than a
// product and a sum; it may multiply queries, keys or scores by the scale and by log2 e; subtract, instead of the largest score, an integer
// in units of log 2 that is less than 1 larger; and divide weights or outputs, or multiply them by a reciprocal. Its tanh is off by 5 ulp
// at most. Subnormals are kept, but for weights below 2^-125, which may become 0.
//
// The theorem is that of [EditedAttention] with other counts. A product of a score passes 5 roundings beside those of its sum: its
// own, and up to four of a scale and of a logarithm. An edited score passes one more, and its difference to the maximum two, as it may be
// scaled last. A tile behind the first may have a larger maximum, to
// which the sums are rescaled: R rescalings by the exponential of a difference multiply a weight by R computed
// exponentials, whose arguments add up to at most X_j, and round each sum R times. So kappa_j has R+1 times the error of an
// exponential, n_l is the additions of a sum and R, and n_o three more: the product, and two of a division before the
// weights are mixed, which may underflow, so that max |v_j| stands instead of |o|. Each sum and product may underflow.
//
// A log-sum-exp is the sum of the maximum and the logarithm of the sum, of the same error E as that of [Attention]. The
// maximum passes 5 roundings if scores are scaled last and in units of log 2; the logarithm is off by 5 ulp at most, and passes two
// roundings to its unit; their sum is rounded.
//
// Gradients are summed in any order. Those of the scores may be P*(dP - D) with D either dO.o or sum P*dP, and P the weights of the
// output or the exponential of the score less the log-sum-exp, which is rounded. (So a weight is off by u*(|lse| + 6) more.)
// The scale may multiply queries and keys before, or sums at the end, which may underflow too.
type Order struct {
	Scores Sum     // of the products of a score; nil is any
	Mix    Sum     // of weights, and of weighted values; nil is any
	Tile   int     // keys after which sums are rescaled to a larger maximum; 0 is never, or by powers of two
	Exp    float64 // the largest error of an exponential in ulp; 0 is 1

	kernel bool // that of package kernel
}

// Kernel is the order of package generic, and so of package kernel: that of [Attention] and of [Gradient].
var Kernel = Order{kernel: true}

// A Sum is an order of additions: it returns how many of them a term passes at most in a sum of n >= 1 terms, which
// is n-1 for one after the other.
type Sum func(n int) (additions int)

// Pairwise is the sum of the sums of two halves.
func Pairwise(n int) int { return bits.Len(uint(n - 1)) }

// Blocks returns the order that adds up blocks of so many terms as inner says, and then the sums of blocks as outer says; nil is
// any order.
func Blocks(size int, inner, outer Sum) Sum {
	return func(n int) int { return inner.additions(min(n, size)) + outer.additions(ceilDiv(n, size)) }
}

// Lanes returns the order of a vector of so many lanes: each adds up its terms one after the other, and then the lanes are added up
// pairwise.
func Lanes(lanes int) Sum {
	return func(n int) int { return ceilDiv(n, lanes) - 1 + Pairwise(lanes) }
}

func (s Sum) additions(n int) int {
	switch {
	case n < 1:
		return 0
	case s == nil:
		return n - 1
	}
	return s(n)
}

// steps are what a bound counts in an order of operations: roundings, if nothing else is said.
type steps struct {
	product, edited int     // that a product of a score passes, and the score behind its edits
	gap             int     // that the difference of a score and the maximum passes
	weight, mixed   int     // n_l and n_o
	merges          int     // B, for underflows
	exponentials    float64 // the error of the exponentials of a weight
	divided         bool    // weights before they are mixed
}

// steps returns those of attention over n keys with queries of so many elements.
func (o *Order) steps(dim, n int, sink bool) steps {
	if o.kernel {
		weight, mixed, merges := roundings(n, sink)
		return steps{product: dim + 2, gap: 1, weight: weight, mixed: mixed, merges: merges, exponentials: 2 * exp2ULP * u}
	}
	if sink {
		n++
	}
	rescalings := 0
	if o.Tile > 0 {
		rescalings = ceilDiv(n, o.Tile) - 1
	}
	weight := o.Mix.additions(n) + rescalings
	return steps{
		product: o.Scores.additions(dim) + 5, edited: 1, gap: 2, weight: weight, mixed: weight + 3, merges: n,
		exponentials: 2 * o.exp() * u * float64(1+rescalings), divided: true,
	}
}

func (o *Order) exp() float64 {
	if o.Exp == 0 {
		return 1
	}
	return o.Exp
}

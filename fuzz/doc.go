// Package fuzz is a laboratory for the numerical stability of attention: of anybody's, in ten lines, and of package
// kernel.
//
// # Checking an implementation
//
// A test wires an [Implementation], says what it takes beside plain attention of one head, and in which [Order] it
// computes, as far as that is known:
//
//	var mine = &fuzz.Implementation{
//		Takes: fuzz.Heads | fuzz.Causal,
//		Attention: func(out []float32, c *fuzz.Case) error {
//			attention(out, c.Q, c.K, c.V, c.Heads, c.Queries, c.Keys, c.Dim, c.Causal)
//			return nil
//		},
//	}
//
//	func TestAttention(t *testing.T) { fuzz.Check(t, mine) }
//	func FuzzAttention(f *testing.F) { fuzz.Fuzz(f, mine) }
//
// [Check] runs it on some hundred cases of each of [Kinds], [Fuzz] on those that Go's fuzzer draws. Each element must be within
// its bound: a theorem about the order of operations, evaluated for the case at hand, and no tolerance that
// was chosen by looking at results. What is wrong is reported as a case that has been shrunk, as Go code, with the error
// in units of the bound. [Survey] returns the numbers, [Case.Exact] the exact output, log-sum-exps and gradients of a case in
// float64 with their bounds, and [Case.Measure] the error of an output. [Storing] bounds what is lost where keys and values are stored in fewer
// bits.
//
// A bound is about as large as (Dim + scores + keys)*2^-24 of the values, where errors are added up in the worst way; correct
// implementations stay below a tenth of it in long sums. So a fault shows if it moves a result by more than that. Faults in
// plain attention that goes tile by tile, what shows them best, and from how many keys on (the tests of this package
// plant them):
//
//	the last key is skipped                          equal scores     2
//	padding of a tile counts in the sum              equal scores     1
//	sums are not rescaled to a larger maximum        rising maxima    1 behind the first tile
//	the maximum of the first tile is kept            rising maxima    5 behind one of 16, where exponentials overflow
//	sums in float16                                  equal scores     1
//	a causal mask from the first key, not the last   normal           3, with 2 queries
//	log-sum-exp: base 2, no maximum, or no sink      normal           2
//
// What does not show: an exponential that is 5 ulp off, among other errors; a dropped key whose weight is below the
// bound, which is why there are needles and equal scores; NaN in what is hidden, as cases are finite.
//
// # How package kernel is checked
//
// The fuzz targets of this package draw
// shapes, strides, options and values from the bytes of Go's fuzzer, run the public functions of
// package kernel on the backend of this process, and demand that each result
//
//   - has the bits of package generic, at every worker count, in every layout;
//   - lies within the rounding error that the order of operations allows, against float64.
//
// The bounds are functions of this package, [Dot] to [Attention]. They do without package kernel, whose tests
// use them.
//
// The targets named Arguments draw sizes, strides and options instead, most of them wrong, and hold
// each call to be refused, or right.
//
// Tests of their own take attention to the extremes that drawn inputs do not meet: scores of 1e30,
// a maximum that rises 10,000 times, a million keys, both sides of each limit that a docstring
// states; and an alarm rings when the worst error over fixed inputs doubles. "make stability" shows
// errors and bounds side by side, as stability.png does.
//
//	go test ./fuzz                                       the committed seeds
//	go test -fuzz=FuzzAttention -fuzztime=20000x ./fuzz  one target, by executions
//	go test -list=^Fuzz ./fuzz                           the targets
package fuzz

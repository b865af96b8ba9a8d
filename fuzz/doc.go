// Package fuzz tells the implementations apart, if it can. Its fuzz targets draw
// shapes, strides, options and values from the bytes of Go's fuzzer, run the public functions of
// package kernel on the backend of this process, and demand that each result
//
//   - has the bits of package generic, at every worker count, in every layout;
//   - lies within the rounding error that the order of operations allows, against float64.
//
// The bounds are functions of this package, [Dot] to [Attention]. Each is a theorem about the
// arithmetic that package generic defines, evaluated for the instance at hand; none
// has a tolerance that was chosen by looking at results. They do without package kernel, whose tests
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

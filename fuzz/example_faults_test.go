//go:build !race

package fuzz_test

// An example cannot skip itself as [asmtest.SkipPlain] does, and under the race detector this one takes a minute.

import (
	"fmt"
	"slices"

	"github.com/selfattn/attn/fuzz"
)

// Attention that goes tile by tile, of 16 keys each, passes; with a fault, which fuzz.PlainAttention of the tests of this
// package plants, it is wrong in many cases, of which these are the first of a kind.
func ExampleSurvey_faults() {
	for fault, kind := range map[fuzz.Fault]string{
		fuzz.None: "normal", fuzz.MissedRescale: "rising maxima", fuzz.WrongCorner: "normal",
	} {
		mine := fuzz.PlainAttention(16, fault)
		mine.Takes = fuzz.Causal
		results, err := fuzz.Survey(mine)
		if err != nil {
			fmt.Println(err)
		}
		passes := !slices.ContainsFunc(results, func(r fuzz.Result) bool { return r.Output > 1 })
		for _, r := range results {
			switch {
			case passes && r.Kind == kind:
				fmt.Printf("%s: within the bounds\n", fault)
			case r.Kind == kind && r.Output > 1:
				fmt.Printf("%s: %s, queries: %d, keys: %d\n", fault, kind, r.Case.Queries, r.Case.Keys)
			}
		}
	}
	// Unordered output:
	// none: within the bounds
	// sums not rescaled to a larger maximum: rising maxima, queries: 1, keys: 17
	// causal mask from the first key and not to the last: normal, queries: 1, keys: 2
}

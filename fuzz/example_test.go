package fuzz_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/selfattn/attn/fuzz"
)

// textbook is attention of one query, with the weights in memory: what one would first write.
func textbook(out []float32, c *fuzz.Case) error {
	weights := make([]float32, c.Keys)
	for i := range c.Queries {
		q, most, sum := c.Q[i*c.Dim:][:c.Dim], float32(math.Inf(-1)), float32(0)
		for j := range weights {
			weights[j] = 0
			for d, x := range q {
				weights[j] += x * c.K[j*c.Dim+d]
			}
			weights[j] *= c.Scale
			most = max(most, weights[j])
		}
		row := out[i*c.VDim:][:c.VDim]
		clear(row)
		for j, s := range weights {
			p := float32(math.Exp(float64(s - most)))
			sum += p
			for d := range row {
				row[d] += p * c.V[j*c.VDim+d]
			}
		}
		for d := range row {
			row[d] /= sum
		}
	}
	return nil
}

// A test has its *testing.T where this has a fuzz.Recorder, which is of the tests of this package alone and notes failures. Textbook attention passes, and fails if it drops the last key.
func ExampleCheck() {
	right := &fuzz.Implementation{Attention: textbook}
	wrong := &fuzz.Implementation{Attention: func(out []float32, c *fuzz.Case) error {
		short := *c
		short.Keys = max(1, c.Keys-1)
		return textbook(out, &short)
	}}
	for _, mine := range []*fuzz.Implementation{right, wrong} {
		t := &fuzz.Recorder{}
		fuzz.Check(t, mine)
		fmt.Println("kinds of input that fail:", len(t.Failures))
		for _, text := range t.Failures {
			if strings.Contains(text, "equal scores") {
				fmt.Println(text)
			}
		}
	}
	// Output:
	// kinds of input that fail: 0
	// kinds of input that fail: 10
	// attn: equal scores: out[0 0 0 0] is 1, want 0.5 within 3.1e-07: the error is 1.62e+06 times its bound
	// such input exposes keys that are lost, read twice or padded, as all have the same weight; sums in few bits
	// the smallest case that was found: fuzz.Case{Batch: 1, Heads: 1, KVHeads: 1, Queries: 1, Keys: 2, Dim: 1, VDim: 1, Q: []float32{0}, K: []float32{0, 0}, V: []float32{1, 0}, Scale: 0.35355338}
}

// "go test -fuzz=FuzzAttention" draws cases until one is wrong; without -fuzz it runs those that Fuzz adds.
func ExampleFuzz() {
	// func FuzzAttention(f *testing.F) of a file that ends with _test.go:
	FuzzAttention := func(f *testing.F) {
		fuzz.Fuzz(f, &fuzz.Implementation{Attention: textbook})
	}
	_ = FuzzAttention
}

// The errors of textbook attention are far below their bounds. In a test, fuzz.Check says so, kind by kind.
func ExampleSurvey() {
	results, err := fuzz.Survey(&fuzz.Implementation{Attention: textbook})
	for _, r := range results {
		if r.Output > 1 {
			fmt.Printf("%s: %g times the bound, with %v\n", r.Kind, r.Output, r.Case)
		}
	}
	fmt.Println(len(results), "kinds of input,", err)
	// Output: 11 kinds of input, <nil>
}

// A lost key is seen in a case of two.
func ExampleCase_Measure() {
	c := &fuzz.Case{Queries: 1, Keys: 2, Dim: 1, Q: []float32{0}, K: []float32{0, 0}, V: []float32{1, 3}}
	for _, out := range []float32{2, 1} {
		d, err := c.Measure(&fuzz.Order{}, []float32{out})
		fmt.Printf("%g: within the bound %v, between the values %v, %v\n", out, d.Ratio <= 1, d.InHull, err)
	}
	// Output:
	// 2: within the bound true, between the values true, <nil>
	// 1: within the bound false, between the values true, <nil>
}

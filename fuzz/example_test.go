package fuzz_test

import (
	"fmt"
	"math"

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

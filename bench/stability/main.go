// Command stability measures how far attention is from exact attention: [kernel.Attention], and
// plain float32 softmax attention as one would first write it in Go (package internal/naive). Next
// to the errors stands the rigorous bound that package fuzz computes for each row. Tables that follow
// have the errors of each option, of keys and values stored in fewer bits, of gradients, and of long sums. A chart shows
// them over the number of keys and over the size of the scores.
//
//	go run ./stability                          a table
//	go run ./stability -chart stability.png     and a chart
//	go run ./stability -quick                   without the long rows
//
// It exits with 1 if an error of kernel.Attention exceeds its bound, or a result is outside of the
// values that it mixes; likewise for options, stored elements, gradients and sums.
package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/selfattn/attn/bench/internal/naive"
	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/kernel"
)

func main() {
	chart := flag.String("chart", "", "write a chart to this `file`, .png or .svg")
	quick := flag.Bool("quick", false, "rows of up to 4096 keys")
	flag.Parse()
	ok, err := run(os.Stdout, *chart, *quick)
	if err != nil {
		fmt.Fprintln(os.Stderr, "stability:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// A point is the worst of some rows with the same number of keys and size of scores. Errors and the
// bound are relative to the largest value of a row, in units of 2^-24.
type point struct {
	keys               int
	size               float64
	attn, plain, bound float64
	ratio              float64 // the largest of an error of kernel.Attention and its bound
	inHull             bool
}

func (p point) ok() bool { return p.ratio <= 1 && p.inHull }

var (
	lengths = []int{1, 16, 256, 4096, 65536, 1 << 20}
	sizes   = []float64{0, 1e-40, 0.1, 1, 10, 100, 1e3, 1e4, 1e30} // of the scores
)

const (
	chartSize = 1    // of the scores, in the chart over the number of keys
	chartKeys = 4096 // in the chart over the size of the scores
)

func run(out io.Writer, chart string, quick bool) (ok bool, err error) {
	fmt.Fprintf(out, "Errors of attention, the largest of some rows, relative to the largest value and in units of 2^-24. Backend %s.\n\n", kernel.Backend())
	fmt.Fprintf(out, "%8s %8s %14s %14s %14s %14s\n", "keys", "scores", "plain float32", "attn", "bound", "attn / bound")
	ok = true
	var points []point
	for _, n := range lengths {
		if quick && n > chartKeys {
			continue
		}
		for _, size := range sizes {
			p := measure(n, size)
			points = append(points, p)
			ok = p.ok() && ok
			bound, ratio := fmt.Sprintf("%.3g", p.bound), fmt.Sprintf("%.3f", p.ratio)
			if math.IsInf(p.bound, 1) {
				bound, ratio = "none", "in the hull"
			}
			fmt.Fprintf(out, "%8d %8g %14.3g %14.3g %14s %14s%s\n", n, size, p.plain, p.attn, bound, ratio, verdict(p.ok()))
		}
	}
	ok = options(out) && ok
	stored, good := types(out, quick)
	ok = good && ok
	slopes, good := gradients(out, quick)
	ok = good && ok
	ok = sums(out, quick) && ok
	if chart != "" {
		err = drawChart(chart, points, stored, slopes)
	}
	return ok, err
}

// verdict is what a line of a table ends with.
func verdict(right bool) string {
	if right {
		return ""
	}
	return "  WRONG"
}

// attend is kernel.Attention on a row.
func attend(row *fuzz.Case) []float32 {
	tensor := func(x []float32, dim int) kernel.Tensor {
		return kernel.Tensor{Data: x, Batch: 1, Heads: 1, Len: len(x) / dim, Dim: dim}
	}
	dst := tensor(make([]float32, row.VDim), row.VDim)
	err := kernel.Attention(dst, tensor(row.Q, row.Dim), tensor(row.K, row.Dim), tensor(row.V, row.VDim),
		&kernel.Options{Scale: row.Scale, Workers: 1})
	if err != nil {
		panic(err) // the shapes are right
	}
	return dst.Data
}

// deviation is how far an output is from the exact one, with the bound of kernel.Attention.
func deviation(row *fuzz.Case, out []float32) fuzz.Deviation {
	d, err := row.Measure(&fuzz.Kernel, out)
	if err != nil {
		panic(err) // the shapes are right
	}
	return d
}

// measure takes more rows where they are short.
func measure(keys int, size float64) point {
	p := point{keys: keys, size: size, inHull: true}
	for seed := range uint64(min(32, max(1, 1<<19/keys))) {
		row := fuzz.NewRow(seed, keys, size)
		attn := deviation(row, attend(row))
		out := make([]float32, row.VDim)
		naive.Attention(out, row.Q, row.K, row.V, row.Dim, false)
		p.plain = max(p.plain, deviation(row, out).Error)
		p.attn = max(p.attn, attn.Error)
		p.bound = max(p.bound, attn.Bound)
		p.ratio = max(p.ratio, attn.Ratio)
		p.inHull = p.inHull && attn.InHull
	}
	return p
}

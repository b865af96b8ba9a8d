package main

import (
	"math"

	"github.com/selfattn/attn/bench/internal/naive"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// An impl is one implementation of the kernels; a field is nil where it has none.
type impl struct {
	name         string
	dot          func(reps int, x, y []float32) float32 // the sum of reps inner products
	exp, softmax func(dst, x []float32)
	logSumExp    func(x []float32) float32
	matMul       func(c, a, b kernel.Matrix, workers int)            // packed matrices
	attention    func(dst, q, k, v kernel.Tensor, o *kernel.Options) // packed tensors of one batch member
	layer        func(l *kernel.SelfAttention, dst, x kernel.Matrix, o *kernel.Options)
}

// selected is package kernel with the backend that it chose.
var selected = impl{
	name: kernel.Backend(),
	dot: func(reps int, x, y []float32) (sum float32) {
		for range reps {
			sum += kernel.Dot(x, y)
		}
		return sum
	},
	exp: kernel.Exp, softmax: kernel.Softmax, logSumExp: kernel.LogSumExp,
	matMul: func(c, a, b kernel.Matrix, workers int) { must(kernel.MatMulWorkers(c, a, b, workers)) },
	attention: func(dst, q, k, v kernel.Tensor, o *kernel.Options) {
		must(kernel.Attention(dst, q, k, v, o))
	},
	layer: func(l *kernel.SelfAttention, dst, x kernel.Matrix, o *kernel.Options) {
		must(l.Forward(dst, x, o))
	},
}

// baselines are the reference and textbook Go, on one goroutine. Without assembly package kernel is the
// reference, which is then left out.
func baselines() []impl {
	textbook := impl{
		name: "naive",
		dot: func(reps int, x, y []float32) (sum float32) {
			for range reps {
				sum += naive.Dot(x, y)
			}
			return sum
		},
		exp: naive.Exp, softmax: naive.Softmax, logSumExp: naive.LogSumExp,
		matMul: func(c, a, b kernel.Matrix, _ int) {
			naive.MatMul(c.Data, a.Data, b.Data, a.Rows, a.Cols, b.Cols)
		},
		attention: func(dst, q, k, v kernel.Tensor, o *kernel.Options) {
			eachHead(dst, q, k, v, func(dst, q, k, v []float32, dim int) {
				naive.Attention(dst, q, k, v, dim, o.Causal)
			})
		},
	}
	if selected.name == "generic" {
		return []impl{textbook}
	}
	return []impl{{
		name: "generic",
		dot: func(reps int, x, y []float32) (sum float32) {
			for range reps {
				sum += generic.Dot(x, y)
			}
			return sum
		},
		exp: generic.Exp, softmax: generic.Softmax, logSumExp: generic.LogSumExp,
		matMul: genericMatMul,
		attention: func(dst, q, k, v kernel.Tensor, o *kernel.Options) {
			eachHead(dst, q, k, v, func(dst, q, k, v []float32, dim int) {
				queries, keys := len(q)/dim, len(k)/dim
				scale := float32(1 / math.Sqrt(float64(dim)))
				for i := range queries {
					n := keys
					if o.Causal {
						n = i + 1 + keys - queries
					}
					row := func(x []float32) []float32 { return x[i*dim:][:dim] }
					generic.AttentionRow(row(dst), row(q), k, v, n, dim, dim, scale)
				}
			})
		},
	}, textbook}
}

// genericMatMul multiplies matrices whose columns are multiples of 16.
func genericMatMul(c, a, b kernel.Matrix, _ int) {
	const width = 16
	panel := make([]float32, b.Rows*width)
	for j := 0; j < b.Cols; j += width {
		for i := range b.Rows {
			copy(panel[i*width:][:width], b.Data[i*b.Stride+j:])
		}
		generic.MatMulTile(c.Data[j:], c.Stride, a.Data, a.Stride, panel, width, a.Rows, a.Cols, false)
	}
}

// eachHead calls f with the rows of each query head.
func eachHead(dst, q, k, v kernel.Tensor, f func(dst, q, k, v []float32, dim int)) {
	head := func(t kernel.Tensor, h int) []float32 { return t.Data[h*t.Len*t.Dim:][:t.Len*t.Dim] }
	for h := range q.Heads {
		g := h / (q.Heads / k.Heads)
		f(head(dst, h), head(q, h), head(k, g), head(v, g), q.Dim)
	}
}

// must panics: the shapes here are right.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

package main

import (
	"cmp"
	"errors"
	"math"

	"github.com/selfattn/attn/bench/internal/naive"
	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// An impl is one implementation of the kernels; a field is nil where it has none.
type impl struct {
	name     string
	version  string
	peer     bool    // runs only the benchmarks that ask for peers
	parallel bool    // whether it can use several workers
	most     float64 // flops of a call that it can be asked for again and again, or 0: any number

	dot          func(reps int, x, y []float32) float32 // the sum of reps inner products
	exp, softmax func(dst, x []float32)
	logSumExp    func(x []float32) float32
	gelu         func(dst, x []float32)
	geluTanh     func(dst, x []float32)
	silu         func(dst, x []float32)
	layerNorm    func(dst, x kernel.Matrix, gain, bias []float32)
	rmsNorm      func(dst, x kernel.Matrix, gain []float32)
	matMul       func(c, a, b kernel.Matrix, workers int)            // packed matrices
	step         func(dst, q, k, v kernel.Tensor, o *kernel.Options) // attention of one call
	options      func(dst, q, k, v kernel.Tensor, o *kernel.Options) // the same, with any options
	cache        func(c *kernel.Cache, dst, q kernel.Tensor, s []*kernel.Sequence, o *kernel.Options)
	half         func(dst, q kernel.Tensor, k, v kernel.HalfTensor, o *kernel.Options)
	layer        func(l *kernel.SelfAttention, dst, x kernel.Matrix, o *kernel.Options)
	gradient     func(g *kernel.Gradient, o *kernel.Options)

	// attention prepares attention of packed tensors with one batch member, and returns its timer. dst
	// is set when it returns, or after the first run.
	attention func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error)

	// masked prepares attention with a boolean mask or a bias of the queries and keys of one head, as options has it, and
	// backward the gradients dq, dk and dv: for libraries in another process.
	masked   func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error)
	backward func(g *kernel.Gradient, o *kernel.Options) (quiet.Timer, error)

	// kept prepares attention over keys and values that a library in another process keeps in a cache as some type.
	kept func(dst, q, k, v kernel.Tensor, typ kernel.Type, o *kernel.Options) (quiet.Timer, error)

	// product prepares products with a constant b, and returns their timer. c is set as dst of attention is.
	product func(c, a, b kernel.Matrix, typ kernel.Type, workers int) (quiet.Timer, error)

	// remote, if not nil, prepares benchmarks in another process.
	remote func(b benchmark, workers int) (job, error)
}

// errUnsupported says that an implementation does not do something, or not in this way.
var errUnsupported = errors.New("not supported")

// runsOn says whether i has the kernel of b and can be asked for it. Some shapes it may still refuse.
func (b benchmark) runsOn(i impl) bool {
	has := map[string]bool{
		"Dot": i.dot != nil, "Exp": i.exp != nil, "Softmax": i.softmax != nil, "LogSumExp": i.logSumExp != nil,
		"GELU": i.gelu != nil, "GELUTanh": i.geluTanh != nil, "SiLU": i.silu != nil,
		"LayerNorm": i.layerNorm != nil, "RMSNorm": i.rmsNorm != nil,
		"MatMul": i.matMul != nil, "MatMulPacked": i.product != nil, "Attention": i.attention != nil, "Decode": i.attention != nil,
		"Options": i.options != nil || i.masked != nil, "Generate": i.step != nil, "Cache": i.cache != nil || i.kept != nil, "Half": i.half != nil, "SelfAttention": i.layer != nil,
		"Gradient": i.gradient != nil || i.backward != nil,
	}
	return (has[b.kernel] || i.remote != nil) && (b.workers == 1 || i.parallel) && (i.most == 0 || b.flops <= i.most)
}

// on prepares b to run on i, with the workers of b or with one.
func (b benchmark) on(i impl, workers int) (job, error) {
	switch {
	case !b.runsOn(i):
		return job{}, errUnsupported
	case i.remote != nil:
		return i.remote(b, workers)
	}
	return b.setup(i, workers)
}

// attend prepares attention of i.
func (i impl) attend(q, k, v kernel.Tensor, o *kernel.Options) (job, error) {
	dst := q
	dst.Data = make([]float32, len(q.Data))
	run, err := i.attention(dst, q, k, v, o)
	check := func(out []float32) float64 { return worstError(out, q, k, v, o.Causal) }
	return job{run: run, out: dst.Data, check: check}, err
}

// worstError returns the largest error, as a fraction of its bound, among the first, a middle and the last
// query of the first and of the last head.
func worstError(out []float32, q, k, v kernel.Tensor, causal bool) (worst float64) {
	rows := func(t kernel.Tensor, h, n int) (rows [][]float32) {
		head, row := cmp.Or(t.HeadStride, t.Len*t.Dim), cmp.Or(t.LenStride, t.Dim)
		for j := range n {
			rows = append(rows, t.Data[h*head+j*row:][:t.Dim])
		}
		return rows
	}
	for _, h := range []int{0, q.Heads - 1} {
		for _, i := range []int{0, q.Len * 2 / 3, q.Len - 1} {
			n := k.Len
			if causal {
				n += i + 1 - q.Len
			}
			g, at := h/(q.Heads/k.Heads), (h*q.Len+i)*q.Dim
			scale := float32(1 / math.Sqrt(float64(q.Dim)))
			want, bound := fuzz.Attention(q.Data[at:][:q.Dim], rows(k, g, n), rows(v, g, n), scale)
			for c := range want {
				e := math.Abs(float64(out[at+c])-want[c]) / bound[c]
				if !(e <= worst) { // NaN is no result
					worst = e
				}
			}
		}
	}
	return worst
}

// rounding is what 1000 roundings to float32 explain, as a fraction of the largest value.
const rounding = 1000. / (1 << 24)

// near returns the check of a result that ours, which other tests hold to the bounds of package fuzz, computes too: the largest
// difference as a fraction of the tolerance, which is a part of the largest value.
func near(tolerance float64, ours func() []float32) func(out []float32) float64 {
	return func(out []float32) (worst float64) {
		largest := 0.0
		for i, want := range ours() {
			largest = max(largest, math.Abs(float64(want)))
			if d := math.Abs(float64(out[i] - want)); !(d <= worst) {
				worst = d
			}
		}
		return worst / (largest * tolerance)
	}
}

// calls is the attention of an implementation that needs no preparation.
func calls(attention func(dst, q, k, v kernel.Tensor, o *kernel.Options)) func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
	return func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
		return repeat(func() { attention(dst, q, k, v, o) }), nil
	}
}

// selected is package kernel with the backend that it chose.
var selected = func() impl {
	i := impl{
		name: kernel.Backend(), parallel: true,
		dot: func(reps int, x, y []float32) (sum float32) {
			for range reps {
				sum += kernel.Dot(x, y)
			}
			return sum
		},
		exp: kernel.Exp, softmax: kernel.Softmax, logSumExp: kernel.LogSumExp,
		gelu: kernel.GELU, geluTanh: kernel.GELUTanh, silu: kernel.SiLU,
		matMul: func(c, a, b kernel.Matrix, workers int) {
			must(kernel.MatMul(c, a, b, &kernel.MatMulOptions{Workers: workers}))
		},
		layerNorm: func(dst, x kernel.Matrix, gain, bias []float32) { must(kernel.LayerNorm(dst, x, gain, bias, 1e-5)) },
		rmsNorm:   func(dst, x kernel.Matrix, gain []float32) { must(kernel.RMSNorm(dst, x, gain, 1e-5)) },
		product: func(c, a, b kernel.Matrix, typ kernel.Type, workers int) (quiet.Timer, error) {
			packed, err := kernel.Pack(b, &kernel.PackOptions{Type: typ})
			o := &kernel.MatMulOptions{Workers: workers}
			return repeat(func() { must(kernel.MatMulPacked(c, a, packed, o)) }), err
		},
		step: func(dst, q, k, v kernel.Tensor, o *kernel.Options) { must(kernel.Attention(dst, q, k, v, o)) },
		cache: func(c *kernel.Cache, dst, q kernel.Tensor, s []*kernel.Sequence, o *kernel.Options) {
			must(c.Attention(dst, q, s, o))
		},
		half: func(dst, q kernel.Tensor, k, v kernel.HalfTensor, o *kernel.Options) {
			must(kernel.AttentionHalf(dst, q, k, v, o))
		},
		layer: func(l *kernel.SelfAttention, dst, x kernel.Matrix, o *kernel.Options) {
			must(l.Forward(dst, x, o))
		},
		gradient: func(g *kernel.Gradient, o *kernel.Options) { must(kernel.AttentionGradient(g, o)) },
	}
	i.attention, i.options = calls(i.step), i.step
	if i.name == "generic" {
		i.most = affordable / 6
	}
	return i
}()

// baselines are the reference and textbook Go, on one goroutine. Without assembly package kernel is the
// reference, which is then left out.
func baselines() []impl {
	textbook := impl{
		name: "naive", most: affordable,
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
		attention: calls(func(dst, q, k, v kernel.Tensor, o *kernel.Options) {
			eachHead(dst, q, k, v, func(dst, q, k, v []float32, dim int) {
				naive.Attention(dst, q, k, v, dim, o.Causal)
			})
		}),
	}
	if selected.name == "generic" {
		return []impl{textbook}
	}
	return []impl{{
		name: "generic", most: affordable / 6, // slow: it computes each FMA in float64
		dot: func(reps int, x, y []float32) (sum float32) {
			for range reps {
				sum += generic.Dot(x, y)
			}
			return sum
		},
		exp: generic.Exp, softmax: generic.Softmax, logSumExp: generic.LogSumExp,
		gelu: generic.GELU, geluTanh: generic.GELUTanh, silu: generic.SiLU,
		matMul: genericMatMul,
		attention: calls(func(dst, q, k, v kernel.Tensor, o *kernel.Options) {
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
		}),
	}, textbook}
}

func genericMatMul(c, a, b kernel.Matrix, _ int) {
	generic.MatMul(c.Data, c.Stride, a.Data, a.Stride, b.Data, b.Stride, a.Rows, a.Cols, b.Cols)
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

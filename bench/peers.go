package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn/attention"
	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
	"github.com/viterin/vek/vek32"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// goPeers are the libraries that a Go program could use instead, and that run in this process.
// OpenBLAS is one of them with the build tag openblas.
func goPeers() []impl {
	peers := append([]impl(nil), tagged...)
	peers = append(peers, products("gonum", moduleVersion("gonum.org/v1/gonum"), 10e9, gonumGemm))
	vek := products("vek", moduleVersion("github.com/viterin/vek"), 20e9, vekGemm)
	vek.dot = func(reps int, x, y []float32) (sum float32) {
		for range reps {
			sum += vek32.Dot(x, y)
		}
		return sum
	}
	return append(peers, vek,
		impl{name: "gomlx", version: moduleVersion("github.com/gomlx/gomlx"), parallel: true, most: affordable, attention: gomlx},
		impl{name: "spago", version: moduleVersion("github.com/nlpodyssey/spago"), most: 2e9, attention: spago},
	)
}

// tagged are the peers that build tags add.
var tagged []impl

func moduleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "" // in tests
}

// A gemm sets c = alpha*a.b of packed matrices m x k and k x n, or of an n x k matrix b if trans.
type gemm func(c []float32, alpha float32, a, b []float32, m, k, n int, trans bool)

// products is attention as two matrix products with vek's softmax in between, heads in parallel. Every score
// exists, hidden ones too.
func products(name, version string, most float64, multiply gemm) impl {
	return impl{
		name: name, version: version, parallel: true, most: most,
		matMul: func(c, a, b kernel.Matrix, workers int) {
			limited(workers, func() { multiply(c.Data, 1, a.Data, b.Data, a.Rows, a.Cols, b.Cols, false) })
		},
		product: func(c, a, b kernel.Matrix, typ kernel.Type, workers int) (quiet.Timer, error) {
			if typ != kernel.Float32 {
				return nil, errUnsupported
			}
			return confined(workers, func() { multiply(c.Data, 1, a.Data, b.Data, a.Rows, a.Cols, b.Cols, false) }), nil
		},
		attention: func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
			scores := make([][]float32, o.Workers)
			for i := range scores {
				scores[i] = make([]float32, q.Len*k.Len)
			}
			scale := float32(1 / math.Sqrt(float64(q.Dim)))
			head := func(s []float32, h int) {
				at := func(t kernel.Tensor, h int) []float32 { return t.Data[h*t.Len*t.Dim:][:t.Len*t.Dim] }
				g := h / (q.Heads / k.Heads)
				multiply(s, scale, at(q, h), at(k, g), q.Len, q.Dim, k.Len, true)
				for i := range q.Len {
					row, visible := s[i*k.Len:][:k.Len], k.Len
					if o.Causal {
						visible += i + 1 - q.Len
					}
					vekSoftmax(row[:visible])
					clear(row[visible:])
				}
				multiply(at(dst, h), 1, s, at(v, g), q.Len, k.Len, q.Dim, false)
			}
			return confined(o.Workers, func() {
				var wait sync.WaitGroup
				for w := range o.Workers {
					wait.Add(1)
					go func() {
						defer wait.Done()
						for h := w; h < q.Heads; h += o.Workers {
							head(scores[w], h)
						}
					}()
				}
				wait.Wait()
			}), nil
		},
	}
}

func gonumGemm(c []float32, alpha float32, a, b []float32, m, k, n int, trans bool) {
	general := func(rows, cols int, x []float32) blas32.General {
		return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: x}
	}
	if trans {
		blas32.Gemm(blas.NoTrans, blas.Trans, alpha, general(m, k, a), general(n, k, b), 0, general(m, n, c))
	} else {
		blas32.Gemm(blas.NoTrans, blas.NoTrans, alpha, general(m, k, a), general(k, n, b), 0, general(m, n, c))
	}
}

// vekGemm transposes b itself, as vek does not.
func vekGemm(c []float32, alpha float32, a, b []float32, m, k, n int, trans bool) {
	if trans {
		t := make([]float32, k*n)
		for j := range n {
			for i, x := range b[j*k:][:k] {
				t[i*n+j] = x
			}
		}
		b = t
	}
	vek32.MatMul_Into(c, a, b, k)
	if alpha != 1 {
		vek32.MulNumber_Inplace(c, alpha)
	}
}

// vekSoftmax clamps the arguments of the exponential, as vek's is wrong for results below normal numbers.
func vekSoftmax(x []float32) {
	vek32.SubNumber_Inplace(x, vek32.Max(x))
	vek32.MaximumNumber_Inplace(x, -87)
	vek32.Exp_Inplace(x)
	vek32.DivNumber_Inplace(x, vek32.Sum(x))
}

// gomlx is a graph of two einsums and a softmax on GoMLX's Go backend.
func gomlx(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
	group := q.Heads / k.Heads
	if o.Causal && (group > 1 || q.Len != k.Len) {
		return nil, errUnsupported
	}
	backend, err := simplego.New("")
	if err != nil {
		return nil, err
	}
	exec, err := graph.NewExec(backend, func(q, k, v *graph.Node) *graph.Node {
		scores := graph.Einsum("hqd,hkd->hqk", q, k)
		scores = graph.MulScalar(scores, 1/math.Sqrt(float64(dst.Dim)))
		if o.Causal {
			mask := graph.LowerTriangular(scores.Graph(), dst.Len)
			mask = graph.BroadcastToDims(graph.InsertAxes(mask, 0), scores.Shape().Dimensions...)
			scores = graph.MaskedSoftmax(scores, mask, -1)
		} else {
			scores = graph.Softmax(scores, -1)
		}
		return graph.Einsum("hqk,hkd->hqd", scores, v)
	})
	if err != nil {
		return nil, err
	}
	// The queries of a group are rows of one matrix.
	var inputs []any
	for _, t := range []kernel.Tensor{q, k, v} {
		inputs = append(inputs, tensors.FromFlatDataAndDimensions(t.Data, k.Heads, t.Len*t.Heads/k.Heads, t.Dim))
	}
	var out *tensors.Tensor
	run := confined(o.Workers, func() { out = exec.MustExec(inputs...)[0] })
	run(1)
	tensors.MustConstFlatData(out, func(x []float32) { copy(dst.Data, x) })
	return run, nil
}

// spago is spaGO's scaled dot-product attention, head by head.
func spago(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
	if o.Causal && q.Len != k.Len {
		return nil, errUnsupported
	}
	dense := func(t kernel.Tensor, from, rows int) mat.Tensor {
		return mat.NewDense[float32](mat.WithShape(rows, t.Dim), mat.WithBacking(t.Data[from*t.Dim:][:rows*t.Dim]))
	}
	queries, keys, values := make([][]mat.Tensor, q.Heads), make([]mat.Tensor, k.Heads), make([]mat.Tensor, k.Heads)
	for h := range k.Heads {
		keys[h], values[h] = dense(k, h*k.Len, k.Len), dense(v, h*v.Len, v.Len)
	}
	for h := range q.Heads {
		for i := range q.Len {
			row := q.Data[(h*q.Len+i)*q.Dim:][:q.Dim]
			queries[h] = append(queries[h], mat.NewDense[float32](mat.WithShape(q.Dim, 1), mat.WithBacking(row)))
		}
	}
	scale := mat.Scalar(float32(1 / math.Sqrt(float64(q.Dim))))
	return confined(o.Workers, func() {
		for h := range q.Heads {
			g := h / (q.Heads / k.Heads)
			rows, _ := attention.ScaledDotProductAttention(queries[h], keys[g], values[g], scale, o.Causal)
			for i, row := range rows {
				copy(dst.Data[(h*q.Len+i)*q.Dim:], row.Value().Data().F32())
			}
		}
	}), nil
}

// confined is the timer of a library that allocates, and that takes all processors of the Go runtime: it
// gives it as many as it may use, and the garbage collector that the benchmark otherwise holds back.
func confined(workers int, f func()) quiet.Timer {
	run := repeat(f)
	return func(reps int) (seconds float64) {
		defer debug.SetGCPercent(debug.SetGCPercent(100))
		limited(workers, func() { seconds = run(reps) })
		runtime.GC() // not to end in the time of others
		return seconds
	}
}

// limited calls f with GOMAXPROCS = n.
func limited(n int, f func()) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
	f()
}

package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"

	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
)

const (
	affordable = 0.3e9 // the most flops of a call that pure Go can be asked for again and again
	brief      = 0.1e9 // the most of a smoke test
)

// A benchmark is a kernel at one shape.
type benchmark struct {
	kernel  string
	shape   string // keys of benchstat: n=512/d=64
	workers int
	flops   float64 // of a call
	bytes   float64 // that a call reads, if reading is its limit, else 0
	unit    unit
	elems   int // that the unit perElem divides by
	target  target

	setup func(i impl) quiet.Work // makes the operands
}

func (b benchmark) name() string { return b.kernel + "/" + b.shape }

// work is what a call does, in what its limit counts.
func (b benchmark) work() float64 {
	if b.bytes > 0 {
		return b.bytes
	}
	return b.flops
}

// speed converts a rate, of work a second, to the unit of b.
func (b benchmark) speed(rate float64) float64 {
	switch b.unit {
	case perElem:
		return b.work() / rate / float64(b.elems) * 1e9
	case perCall:
		return b.work() / rate * 1e9
	}
	return rate / 1e9
}

type unit string

const (
	gflops  unit = "GFLOP/s"
	gbytes  unit = "GB/s"
	perElem unit = "ns/elem"
	perCall unit = "ns"
)

// A target is what a benchmark must reach. The zero value is none.
type target struct {
	Of    measure `json:"of,omitempty"`
	Value float64 `json:"value,omitempty"`
}

type measure string

const (
	fraction measure = "fraction" // of the limit, at least
	speedUp  measure = "speed-up" // over one worker, at least
	nanosecs measure = "ns"       // a call, at most
)

// benchmarks are all that the processors of this process can run, in the order of the table. On
// Zen 4 the target of long attention is higher.
func benchmarks(zen4 bool) []benchmark {
	var all []benchmark
	all = append(all,
		dot(64, target{nanosecs, 10}),
		dot(1024, target{}),
		dot(3072, target{fraction, 0.90}),
		dot(1<<14, target{fraction, 0.90}),
		dot(1<<24, target{fraction, 0.90}),

		// An exponential is counted by the slots of the multipliers that it takes, 2 flops each in the
		// peak loop: 7 FMAs and 3 products, or 2 in softmax, whose results are at most 1. The
		// targets are 0.45 and 0.80 ns at a peak of 100 GFLOP/s.
		row("Exp", 20, target{fraction, 20 / 45.}, func(i impl, dst, x []float32) { i.exp(dst, x) }),
		row("Softmax", 18, target{fraction, 18 / 80.}, func(i impl, dst, x []float32) { i.softmax(dst, x) }),
		row("LogSumExp", 18, target{}, func(i impl, _, x []float32) { runtime.KeepAlive(i.logSumExp(x)) }),
	)
	all = append(all, matMul(256, 1, target{}), matMul(256, 2, target{}))
	for _, n := range []int{512, 1024, 2048} {
		all = append(all, matMul(n, 1, target{fraction, 0.90}), matMul(n, 2, target{}))
	}
	twice := target{speedUp, 1.85}
	for _, causal := range []bool{false, true} {
		for _, n := range []int{128, 512, 2048} {
			for _, d := range []int{64, 128} {
				one := target{fraction, 0.85}
				switch {
				case causal && n < 512:
					one = target{}
				case !causal && n >= 512 && zen4:
					one.Value = 0.90
				case !causal && n >= 512:
					one.Value = 0.88
				}
				all = append(all, prefill(1, n, d, causal, 1, one), prefill(1, n, d, causal, 2, twice))
			}
		}
	}
	for _, d := range []int{64, 128} {
		all = append(all, prefill(8, 512, d, false, 2, twice))
	}
	for _, keys := range []int{4096, 16384} {
		for _, d := range []int{64, 128} {
			for _, group := range []int{1, 4} {
				var goal target
				if keys == 16384 && d == 128 {
					goal = target{fraction, map[int]float64{1: 0.90, 4: 0.75}[group]}
				}
				all = append(all, decode(keys, d, group, 1, goal), decode(keys, d, group, 2, goal))
			}
		}
	}
	for _, workers := range []int{1, 2} {
		all = append(all, layer(128, 256, 4, workers), layer(512, 512, 8, workers))
	}
	return slices.DeleteFunc(all, func(b benchmark) bool { return b.workers > runtime.GOMAXPROCS(0) })
}

func dot(n int, goal target) benchmark {
	b := benchmark{kernel: "Dot", shape: fmt.Sprintf("n=%d", n), workers: 1, unit: gbytes, target: goal}
	b.flops, b.bytes = 2*float64(n), 8*float64(n)
	if goal.Of == nanosecs {
		b.unit = perCall
	}
	b.setup = func(i impl) quiet.Work {
		xy := random(2 * n)
		return quiet.Work{
			Run:    func(reps int) { runtime.KeepAlive(i.dot(reps, xy[:n], xy[n:])) },
			Amount: b.bytes, Workers: b.workers, Read: xy,
		}
	}
	return b
}

// row is a kernel of exponentials over a row that is in L1 with its result.
func row(name string, flops int, goal target, call func(i impl, dst, x []float32)) benchmark {
	const n = 2048
	b := benchmark{kernel: name, workers: 1, unit: perElem, elems: n, target: goal}
	b.shape = fmt.Sprintf("n=%d", n)
	b.flops = float64(flops * n)
	b.setup = func(i impl) quiet.Work {
		dst, x := make([]float32, n), random(n)
		return compared(b, func(int) func(int) { return repeat(func() { call(i, dst, x) }) })
	}
	return b
}

func matMul(n, workers int, goal target) benchmark {
	b := benchmark{kernel: "MatMul", workers: workers, unit: gflops, target: goal}
	b.shape = fmt.Sprintf("n=%d/workers=%d", n, workers)
	b.flops = 2 * float64(n) * float64(n) * float64(n)
	b.setup = func(i impl) quiet.Work {
		c, x, y := matrix(n, n), matrix(n, n), matrix(n, n)
		return compared(b, func(workers int) func(int) {
			return repeat(func() { i.matMul(c, x, y, workers) })
		})
	}
	return b
}

// prefill is attention of n queries with as many keys. Long rows are timed on one worker for 128 of the
// queries, so that a call is shorter than most disturbances.
func prefill(heads, n, d int, causal bool, workers int, goal target) benchmark {
	b := benchmark{kernel: "Attention", workers: workers, unit: gflops, target: goal}
	b.shape = fmt.Sprintf("n=%d/d=%d/heads=%d/causal=%v/workers=%d", n, d, heads, causal, workers)
	pairs := n * n // of a query and a key that it sees
	if causal {
		pairs = n * (n + 1) / 2
	}
	queries := n
	if n >= 2048 && workers == 1 && !causal {
		queries = 128
		pairs = queries * n
		b.shape += fmt.Sprintf("/queries=%d", queries)
	}
	b.flops = 4 * float64(heads*pairs*d)
	b.setup = func(i impl) quiet.Work {
		t := func(n int) kernel.Tensor {
			return kernel.Tensor{Data: random(heads * n * d), Batch: 1, Heads: heads, Len: n, Dim: d}
		}
		dst, q, k, v := t(queries), t(queries), t(n), t(n)
		return compared(b, func(workers int) func(int) {
			o := &kernel.Options{Causal: causal, Workers: workers}
			return repeat(func() { i.attention(dst, q, k, v, o) })
		})
	}
	return b
}

// decode is attention of one query in each of group query heads on each of 8 KV heads.
func decode(keys, d, group, workers int, goal target) benchmark {
	const heads = 8
	b := benchmark{kernel: "Decode", workers: workers, unit: gbytes, target: goal}
	b.shape = fmt.Sprintf("kv=%d/d=%d/heads=%d/group=%d/workers=%d", keys, d, heads*group, group, workers)
	b.flops = 4 * float64(keys*d*heads*group)
	b.bytes = 8 * float64(keys*d*heads)
	b.setup = func(i impl) quiet.Work {
		size := keys * d * heads
		kv := random(2 * size)
		k := kernel.Tensor{Data: kv[:size], Batch: 1, Heads: heads, Len: keys, Dim: d}
		v := k
		v.Data = kv[size:]
		q := kernel.Tensor{Data: random(heads * group * d), Batch: 1, Heads: heads * group, Len: 1, Dim: d}
		dst := q
		dst.Data = make([]float32, len(q.Data))
		o := &kernel.Options{Workers: workers}
		return quiet.Work{
			Run:    repeat(func() { i.attention(dst, q, k, v, o) }),
			Amount: b.bytes, Workers: workers, Read: kv,
		}
	}
	return b
}

// layer is self-attention with its four projections.
func layer(tokens, model, heads, workers int) benchmark {
	b := benchmark{kernel: "SelfAttention", workers: workers, unit: gflops}
	b.shape = fmt.Sprintf("tokens=%d/model=%d/heads=%d/workers=%d", tokens, model, heads, workers)
	b.flops = 8*float64(tokens*model*model) + 4*float64(tokens*tokens*model)
	b.setup = func(i impl) quiet.Work {
		w := func() kernel.Matrix { return matrix(model, model) }
		l := &kernel.SelfAttention{Heads: heads, WQ: w(), WK: w(), WV: w(), WO: w()}
		dst, x := matrix(tokens, model), matrix(tokens, model)
		return compared(b, func(workers int) func(int) {
			o := &kernel.Options{Workers: workers}
			return repeat(func() { i.layer(l, dst, x, o) })
		})
	}
	return b
}

// compared is work whose limit is the FMA peak, compared with one worker if it has several.
func compared(b benchmark, run func(workers int) func(reps int)) quiet.Work {
	w := quiet.Work{Run: run(b.workers), Amount: b.flops, Workers: b.workers}
	if b.workers > 1 {
		w.Base = run(1)
	}
	return w
}

func repeat(f func()) func(reps int) {
	return func(reps int) {
		for range reps {
			f()
		}
	}
}

func matrix(rows, cols int) kernel.Matrix {
	m := kernel.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: random(rows * cols)}
	for i := range m.Data { // as trained weights are: scores stay moderate
		m.Data[i] /= 16
	}
	return m
}

// random returns n normal values, the same ones again from 64 Ki on: making them must not take
// longer than the benchmark.
func random(n int) []float32 {
	const period = 1 << 16
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n)
	for i := range min(n, period) {
		x[i] = float32(r.NormFloat64())
	}
	for i := period; i < n; i *= 2 {
		copy(x[i:], x[:i])
	}
	return x
}

package main

import (
	"fmt"

	"github.com/selfattn/attn/kernel"
)

// gradients are the benchmarks of the gradient of attention, of shapes that training has.
func gradients(zen4 bool) (all []benchmark) {
	goal := func(n int, causal bool) target {
		switch {
		case !zen4 || n < 512:
			return target{}
		case !causal:
			return target{fraction, 0.90}
		case n >= 2048:
			return target{fraction, 0.84}
		}
		return target{fraction, 0.78}
	}
	for _, n := range []int{128, 512, 2048} {
		for _, d := range []int{64, 128} {
			for _, causal := range []bool{false, true} {
				all = append(all, gradient(max(1, 1024/n), n, d, causal, 1, goal(n, causal)))
			}
		}
	}
	return append(all, gradient(8, 2048, 64, false, 2, target{speedUp, 1.9}), gradient(8, 2048, 64, true, 2, target{speedUp, 1.9}))
}

// gradient is the gradient of attention of some heads of n queries and keys. It counts the five products that it
// is: scores, their gradients, and those of queries, keys and values.
func gradient(heads, n, d int, causal bool, workers int, goal target) benchmark {
	b := benchmark{kernel: "Gradient", workers: workers, unit: gflops, target: goal, peers: true}
	b.shape = fmt.Sprintf("n=%d/d=%d/heads=%d/causal=%v/workers=%d", n, d, heads, causal, workers)
	pairs := n * n
	if causal {
		pairs = n * (n + 1) / 2
	}
	b.flops = 10 * float64(heads*pairs*d)
	b.traffic = 4 * 8 * float64(heads*d*n)
	b.setup = func(i impl, workers int) (job, error) {
		o := &kernel.Options{Causal: causal, Workers: workers, Stats: make([]float32, 2*heads*n)}
		g := &kernel.Gradient{
			Q: packed(heads, n, d, 1), K: packed(heads, n, d, 2), V: packed(heads, n, d, 3), DO: packed(heads, n, d, 4), Stats: o.Stats,
		}
		g.O, g.DQ, g.DK, g.DV = g.Q, g.Q, g.K, g.V
		for _, t := range []*kernel.Tensor{&g.O, &g.DQ, &g.DK, &g.DV} {
			t.Data = make([]float32, len(t.Data))
		}
		selected.step(g.O, g.Q, g.K, g.V, o)
		check := near(rounding, func() []float32 {
			ours := *g
			ours.DQ.Data = make([]float32, len(g.DQ.Data))
			selected.gradient(&ours, o)
			return ours.DQ.Data
		})
		if i.backward != nil {
			run, err := i.backward(g, o)
			return job{run: run, out: g.DQ.Data, check: check}, err
		}
		return job{run: repeat(func() { i.gradient(g, o) }), out: g.DQ.Data, check: check}, nil
	}
	return b
}

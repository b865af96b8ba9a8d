package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/asm/limit"
	"github.com/selfattn/attn/bench/internal/emulate"
	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel"
)

// measurable is the CPU on which the models are checked: one whose FMA peak is that of AVX2 and of AVX-512.
const measurable = "znver4"

// isMeasurable says whether this machine is one. Family 25 is Zen 3 and Zen 4, and only Zen 4 has AVX-512.
func isMeasurable() bool {
	c := cpuid.CPU
	return runtime.GOARCH == "amd64" && c.VendorID == cpuid.AMD && c.Family == 25 && c.Supports(cpuid.AVX512F)
}

// rates are what this machine reaches with a set, as fractions of its FMA peak.
type rates struct {
	Loops      []float64       // in the order of kernels
	Attentions map[int]float64 // by tokens
}

// measured lets this program measure each set in a process of its own.
func measured() (map[string]rates, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	all := map[string]rates{}
	for name, features := range map[string]string{"avx2": "cpu.avx512f=off", "avx512": ""} {
		cmd := exec.Command(self, "-measured")
		cmd.Env = append(os.Environ(), "GODEBUG="+features)
		text, err := emulate.Output(cmd)
		if err != nil {
			return nil, err
		}
		var r rates
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, err
		}
		all[name] = r
	}
	return all, nil
}

// measure measures what package kernel selected.
func measure() (r rates) {
	var impl asmtest.Impl
	for _, i := range asmtest.Impls {
		if i.Name == kernel.Backend() {
			impl = i
		}
	}
	for _, k := range kernels {
		r.Loops = append(r.Loops, marginal(impl, k))
	}
	meter := &quiet.Meter{}
	r.Attentions = map[int]float64{}
	for _, n := range lengths {
		tensor := func() kernel.Tensor { return kernel.Tensor{Data: numbers(n * headDim), Len: n, Dim: headDim} }
		dst, q, k, v := tensor(), tensor(), tensor(), tensor()
		run := quiet.Timed(func(reps int) {
			for range reps {
				if err := kernel.Attention(dst, q, k, v, &kernel.Options{Workers: 1}); err != nil {
					panic(err)
				}
			}
		})
		var best, all []float64
		for _, s := range meter.Samples(quiet.Work{Runs: []quiet.Timer{run}, Amount: 4 * float64(n*n*headDim), Workers: 1}, 2*time.Second)[0] {
			if all = append(all, s.Fraction); meter.IsQuiet(s) {
				best = append(best, s.Fraction)
			}
		}
		if best == nil {
			best = all
		}
		r.Attentions[n] = quiet.Summarize(best).Median
	}
	return r
}

// marginal is the speed of the inner loop of a kernel with its operands in L1: from the best times of a long and of a short call,
// beside the best of the peak. A share of what disturbs the machine is in none of them.
func marginal(impl asmtest.Impl, name string) float64 {
	w := impl.PanelWidth
	st := &tile.Panel{Width: w}
	rows := func(n, dim int) *tile.Rows { return &tile.Rows{Data: numbers(n * dim), Len: n, Dim: dim, Stride: dim} }
	ahead := &tile.Rows{}
	// Each returns a call of size n, and the flops of one more.
	kernels := map[string]func(n int) (call func(), flops int){
		"scoreTile": func(n int) (func(), int) {
			const keys = 24
			s, q, k := numbers(tile.Keys*w), numbers(w*n), rows(keys, n)
			return func() { impl.ScoreTile(s, st, q, k, 0, ahead) }, 2 * keys * w
		},
		"valueTile": func(n int) (func(), int) {
			const dim = 24
			acc, p, v := numbers(w*dim), numbers(tile.Keys*w), rows(n, dim)
			return func() { impl.ValueTile(acc, p, st, v, 0, ahead) }, 2 * dim * w
		},
		"matMulTile": func(n int) (func(), int) {
			const m = 24
			c, a, b := rows(m, w), rows(m, n), numbers(n*w)
			return func() { impl.MatMulTile(*c, *a, tile.Rows{}, b, false) }, 2 * m * w
		},
		"softmaxTile": func(n int) (func(), int) {
			s := numbers(tile.Keys * w)
			return func() {
				clear(st.TileMax[:])
				impl.SoftmaxTile(s, st, n)
			}, 2 * exponentialFMAs * w
		},
	}
	const short, long = 32, 96
	a, flops := kernels[name](short)
	b, _ := kernels[name](long)
	best := [3]float64{math.Inf(1), math.Inf(1), math.Inf(1)}
	peakFlops := 0
	for range 400 {
		for i, f := range []func(){a, b, func() { peakFlops = limit.FMA() }} {
			const reps = 20
			f()
			start := time.Now()
			for range reps {
				f()
			}
			best[i] = min(best[i], time.Since(start).Seconds()/reps)
		}
	}
	return float64(flops*(long-short)) / (best[1] - best[0]) / (float64(peakFlops) / best[2])
}

// exponentialFMAs are those of a vector of scores in softmaxTile.
const exponentialFMAs = 6

// numbers are in [-1, 1], in no order.
func numbers(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i*37%201-100) / 100
	}
	return x
}

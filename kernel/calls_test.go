package kernel

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// A call is a public function with its arguments; run computes out.
type call struct {
	name string
	out  []float32
	run  func(workers int) error
}

// result returns what a call writes, into memory that held NaN.
func (c call) result(t *testing.T, workers int) []float32 {
	t.Helper()
	for i := range c.out {
		c.out[i] = nan
	}
	require.NoError(t, c.run(workers), c.name)
	return slices.Clone(c.out)
}

// calls returns every public function on inputs of a kind, and Attention by each of its paths.
func calls(r *rand.Rand, kind asmtest.Kind) []call {
	x, y := asmtest.Fill(r, make([]float32, 1003), kind), asmtest.Fill(r, make([]float32, 1003), kind)
	var calls []call
	vector := func(name string, n int, f func(out []float32)) {
		out := make([]float32, n)
		calls = append(calls, call{name, out, func(int) error { f(out); return nil }})
	}
	vector("Dot", 1, func(out []float32) { out[0] = Dot(x, y) })
	vector("Exp", len(x), func(out []float32) { Exp(out, x) })
	vector("Softmax", len(x), func(out []float32) { Softmax(out, x) })
	vector("SoftmaxRows", len(x), func(out []float32) { SoftmaxRows(out, x, 17) })
	vector("LogSumExp", 1, func(out []float32) { out[0] = LogSumExp(x) })

	a, b, c := newMatrix(r, 201, 70, 75, kind), newMatrix(r, 70, 90, 91, kind), newMatrix(r, 201, 90, 93, kind)
	calls = append(calls, call{"MatMul", c.Data, func(workers int) error { return MatMul(c, a, b, &MatMulOptions{Workers: workers}) }})

	for _, p := range []struct {
		name string
		s    shape
		o    Options
	}{
		{"prefill", shape{2, 4, 4, 100, 150, 32, 32}, Options{}},
		{"prefill of odd dims", shape{1, 2, 2, 67, 131, 33, 7}, Options{}},
		{"causal", shape{1, 2, 2, 150, 150, 16, 16}, Options{Causal: true}},
		{"decode", shape{2, 4, 4, 1, 300, 32, 32}, Options{}},
		{"grouped decode", shape{1, 8, 2, 1, 300, 32, 32}, Options{Causal: true}},
		{"split decode", shape{1, 4, 1, 1, 10000, 16, 16}, Options{}},
	} {
		p := newProblem(r, p.s, packedLayout, kind, p.o)
		calls = append(calls, call{"Attention: " + p.String(), p.dst.Data, func(workers int) error {
			o := p.o
			o.Workers = workers
			return Attention(p.dst, p.q, p.k, p.v, &o)
		}})
	}

	p := newProblem(r, shape{1, 4, 2, 20, 300, 16, 16}, packedLayout, kind, Options{})
	w := newMatrix(r, 3, 300, 300, kind)
	calls = append(calls, call{"AttentionWeights", w.Data, func(workers int) error {
		return AttentionWeights(w, p.q, p.k, 0, 3, []int{0, 19, 7}, &Options{Causal: true, Workers: workers})
	}})

	l := newLayer(r, 24, 4, 2, 8, 12, 20, true, kind)
	tokens, out := newMatrix(r, 70, 24, 24, kind), newMatrix(r, 70, 20, 20, kind)
	calls = append(calls, call{"SelfAttention.Forward", out.Data, func(workers int) error {
		return l.Forward(out, tokens, &Options{Workers: workers})
	}})
	weights := newMatrix(r, 2, 70, 70, kind)
	calls = append(calls, call{"SelfAttention.Weights", weights.Data, func(workers int) error {
		return l.Weights(weights, tokens, 1, []int{5, 69}, &Options{Workers: workers})
	}})

	wide, few, long := newMatrix(r, 20, 3000, 3001, kind), newMatrix(r, 3000, 5, 5, kind), newMatrix(r, 20, 5, 5, kind)
	calls = append(calls, call{"MatMul of many terms", long.Data, func(workers int) error {
		return MatMul(long, wide, few, &MatMulOptions{Workers: workers})
	}})
	bias, biased := asmtest.Fill(r, make([]float32, 90), kind), newMatrix(r, 201, 90, 93, kind)
	packed, err := Pack(b, nil)
	if err != nil {
		panic(err)
	}
	calls = append(calls, call{"MatMulPacked", biased.Data, func(workers int) error {
		return MatMulPacked(biased, a, packed, &MatMulOptions{Bias: bias, Workers: workers})
	}})

	for _, interleaved := range []bool{false, true} {
		given := newTensor(r, 2, 3, 40, 70, tight, kind)
		x, tables := given, NewRotaryTables(60, 66, 10000, interleaved)
		x.Data = make([]float32, len(given.Data))
		calls = append(calls, call{fmt.Sprintf("Rotary, interleaved %v", interleaved), x.Data, func(int) error {
			copy(x.Data, given.Data)
			return Rotary(x, tables.Cos, tables.Sin, []int{0, 20}, interleaved)
		}})
	}
	for _, a := range []struct {
		name string
		f    func(dst, x []float32)
	}{{"GELU", GELU}, {"GELUTanh", GELUTanh}, {"SiLU", SiLU}} {
		vector(a.name, len(x), func(out []float32) { a.f(out, x) })
	}
	gain, shift := asmtest.Fill(r, make([]float32, 90), kind), asmtest.Fill(r, make([]float32, 90), kind)
	rows, layer, rms := newMatrix(r, 20, 90, 93, kind), newMatrix(r, 20, 90, 93, kind), newMatrix(r, 20, 90, 91, kind)
	calls = append(calls, call{"LayerNorm", layer.Data, func(int) error { return LayerNorm(layer, rows, gain, shift, 1e-5) }},
		call{"RMSNorm", rms.Data, func(int) error { return RMSNorm(rms, rows, gain, 1e-5) }})
	calls = append(calls, editCalls(kind)...)

	packedLayer, packedOut, packedWeights := *l, out, weights
	packedOut.Data, packedWeights.Data = make([]float32, len(out.Data)), make([]float32, len(weights.Data))
	if err := packedLayer.Pack(nil); err != nil {
		panic(err)
	}
	calls = append(calls, call{"SelfAttention.Forward, packed", packedOut.Data, func(workers int) error {
		return packedLayer.Forward(packedOut, tokens, &Options{Workers: workers})
	}}, call{"SelfAttention.Weights, packed", packedWeights.Data, func(workers int) error {
		return packedLayer.Weights(packedWeights, tokens, 1, []int{5, 69}, &Options{Workers: workers})
	}})
	calls = append(calls, spanCalls(kind)...)
	calls = append(calls, gradientCalls(kind)...)
	vector("SoftmaxGradient", len(x), func(out []float32) { SoftmaxGradient(out, x, y) })
	calls = append(calls, trainingCalls(kind)...)
	return calls
}

// Workers never change a bit.
func TestWorkers(t *testing.T) {
	for _, c := range calls(rand.New(rand.NewPCG(2, 1)), asmtest.Normal) {
		want := c.result(t, 1)
		for _, workers := range []int{0, 2, 3, 4, 5, 6, 7, 8} {
			asmtest.Equal(t, want, c.result(t, workers), "%s, %d workers", c.name, workers)
		}
	}
}

// Goroutines that compute at the same time do not disturb each other.
func TestConcurrentCalls(t *testing.T) {
	var all [8][]call
	for i := range all {
		all[i] = calls(rand.New(rand.NewPCG(3, 1)), asmtest.Normal) // equal inputs, outputs of their own
	}
	want := calls(rand.New(rand.NewPCG(3, 1)), asmtest.Normal)
	for _, c := range want {
		require.NoError(t, c.run(1), c.name)
	}
	var wait sync.WaitGroup
	errs := make([]error, len(all))
	rounds := 2
	if asmtest.Emulated {
		rounds = 1
	}
	for i := range all {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for j := range rounds * len(want) { // each in another order
				if err := all[i][(i+j)%len(want)].run(1 + i%3); err != nil {
					errs[i] = err
				}
			}
		}()
	}
	wait.Wait()
	for i := range all {
		require.NoError(t, errs[i])
		for j, c := range want {
			asmtest.Equal(t, c.out, all[i][j].out, "%s, goroutine %d", c.name, i)
		}
	}
}

// In the steady state one worker allocates nothing, and two very little.
func TestAllocations(t *testing.T) {
	if asmtest.Race {
		t.Skip("pools drop values at random under the race detector")
	}
	for _, c := range calls(rand.New(rand.NewPCG(4, 1)), asmtest.Normal) {
		// AllocsPerRun averages and rounds down: a collection that empties the pools does not count.
		for _, workers := range []int{1, 2} {
			most := []float64{1: 0, 2: 8}[workers]
			runs := max(4, trials(20))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			n := testing.AllocsPerRun(runs, func() {
				if err := c.run(workers); err != nil {
					t.Fatal(err)
				}
			})
			runtime.ReadMemStats(&after)
			if workers > 1 {
				t.Logf("%s, %d workers: %g allocations, %d bytes", c.name, workers, n, (after.TotalAlloc-before.TotalAlloc)/uint64(runs+1))
			}
			require.LessOrEqual(t, n, most, "%s: allocations of %d workers", c.name, workers)
		}
	}
}

package kernel

import (
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// Assembly cannot be preempted: whoever stops the world, as a collection does, waits until it
// returns. With every P inside long calls, of 40 ms and more, the world must stop within moments
// all the same: p99 is below 1 ms on a quiet machine, which the log shows.
//
// A crowded machine delays stops by milliseconds, whatever runs; a kernel that takes its operands
// whole delays all of them. So the quick ones are judged, and p99 by a margin of ten, or three times
// that of plain Go loops, which can be preempted anywhere, if that is more.
func TestStopTheWorld(t *testing.T) {
	if Backend() == "generic" {
		t.Skip("Go code can be preempted anywhere")
	}
	if asmtest.Emulated {
		t.Skip("an emulator says nothing about time")
	}
	if asmtest.Race {
		t.Skip("what the detector is told of assembly cannot be preempted either")
	}
	r := rand.New(rand.NewPCG(1, 10))
	data := slices.Repeat(asmtest.Fill(r, make([]float32, 1<<16), asmtest.Normal), 1<<8)
	tensor := func(heads, n, dim int) Tensor {
		return Tensor{Data: data[:heads*n*dim], Batch: 1, Heads: heads, Len: n, Dim: dim}
	}
	for _, c := range []struct {
		name string
		out  int
		f    func(out []float32) error
	}{
		{"prefill", 8 * 512 * 1024, func(out []float32) error {
			x := tensor(8, 512, 1024)
			dst := x
			dst.Data = out
			return Attention(dst, x, x, x, &Options{Workers: 1})
		}},
		{"decode", 8 * 128, func(out []float32) error {
			q, k := tensor(8, 1, 128), tensor(1, 1<<17, 128)
			dst := q
			dst.Data = out
			return Attention(dst, q, k, k, &Options{Workers: 1})
		}},
		{"prefill of Dim 8192", 40 * 8192, func(out []float32) error {
			q, k := tensor(1, 40, 8192), tensor(1, 300, 8192)
			dst := q
			dst.Data = out
			return Attention(dst, q, k, k, &Options{Workers: 1})
		}},
		{"decode of Dim 8192", 8 * 8192, func(out []float32) error {
			q, k := tensor(8, 1, 8192), tensor(1, 1<<11, 8192)
			dst := q
			dst.Data = out
			return Attention(dst, q, k, k, &Options{Workers: 1})
		}},
		{"Rotary", 1 << 24, func(out []float32) error {
			table := Matrix{1 << 18, 32, 32, data}
			return Rotary(Tensor{Data: out, Batch: 1, Heads: 1, Len: 1 << 18, Dim: 64}, table, table, nil, true)
		}},
		{"MatMul", 2048 * 2048, func(out []float32) error {
			x := Matrix{2048, 2048, 2048, data}
			c := x
			c.Data = out
			return MatMul(c, x, x, &MatMulOptions{Workers: 1})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stopsQuickly(t, runtime.GOMAXPROCS(0), func() func() error {
				out := make([]float32, c.out)
				return func() error { return c.f(out) }
			})
		})
	}
}

// The same holds for what is cleared or copied, by any backend. Rows of 512 MiB take some 20 ms.
func TestLongRowsStopTheWorld(t *testing.T) {
	if asmtest.Emulated {
		t.Skip("an emulator says nothing about time")
	}
	if asmtest.Race {
		t.Skip("the detector's shadow of such rows takes gigabytes")
	}
	n := 1 << 27
	never := make([]float32, n) // written: it takes no memory
	t.Run("MatMul of nothing", func(t *testing.T) {
		stopsQuickly(t, 1, func() func() error {
			c := Matrix{1, n, n, make([]float32, n)}
			return func() error { return MatMul(c, Matrix{Rows: 1}, Matrix{Cols: n}, &MatMulOptions{Workers: 1}) }
		})
	})
	t.Run("AttentionWeights of one key", func(t *testing.T) {
		q, k := Tensor{Data: never, Batch: 1, Heads: 1, Len: n, Dim: 1}, Tensor{Data: never, Batch: 1, Heads: 1, Len: n, Dim: 1}
		stopsQuickly(t, 1, func() func() error {
			dst := Matrix{1, n, n, make([]float32, n)}
			return func() error { return AttentionWeights(dst, q, k, 0, 0, []int{0}, &Options{Causal: true}) }
		})
	})
	t.Run("biases", func(t *testing.T) {
		stopsQuickly(t, 1, func() func() error {
			y, x, w := Matrix{1, n, n, make([]float32, n)}, Matrix{1, 1, 1, []float32{1}}, Matrix{1, n, n, never}
			return func() error { return MatMul(y, x, w, &MatMulOptions{Bias: never, Workers: 1}) }
		})
	})
}

// stopsQuickly fails unless the world stops quickly while some goroutines are inside of calls, each of
// what start returns to it.
func stopsQuickly(t *testing.T, goroutines int, start func() (call func() error)) {
	const quickLimit, slowLimit = 500 * time.Microsecond, 10 * time.Millisecond
	n := 101
	if testing.Short() || asmtest.Race {
		n = 31
	}
	calls := make([]func() error, goroutines)
	for i := range calls {
		calls[i] = start()
		require.NoError(t, calls[i]()) // it allocates, and touches its memory
	}
	for try := 1; ; try++ {
		var next atomic.Int64
		pauses := stopTheWorld(n, goroutines, func(stop *atomic.Bool) {
			call := calls[next.Add(1)-1]
			for !stop.Load() {
				if err := call(); err != nil {
					t.Error(err)
					return
				}
			}
		})
		quick, slow := pauses[n/10], pauses[n*99/100]
		t.Logf("the world stops in %v (p10), %v (p50), %v (p99)", quick, pauses[n/2], slow)
		if quick <= quickLimit && slow <= slowLimit {
			return
		}
		loops := stopTheWorld(n, goroutines, func(stop *atomic.Bool) {
			for !stop.Load() {
			}
		})
		t.Logf("in Go loops it stops in %v, %v, %v", loops[n/10], loops[n/2], loops[n*99/100])
		if quick <= max(quickLimit, 3*loops[n/10]) && slow <= max(slowLimit, 3*loops[n*99/100]) {
			return
		}
		if try == 10 { // others keep a busy machine from stopping, now and then
			t.Errorf("the world takes too long to stop, want at most %v (p10) and %v (p99)", quickLimit, slowLimit)
			return
		}
	}
}

// stopTheWorld keeps goroutines busy with work, which ends when it is told to stop. It stops the world n
// times, by turns for statistics and for a collection, and returns how long each stop took, sorted.
func stopTheWorld(n, goroutines int, work func(stop *atomic.Bool)) []time.Duration {
	var stop atomic.Bool
	var busy sync.WaitGroup
	for range goroutines {
		busy.Add(1)
		go func() { defer busy.Done(); work(&stop) }()
	}
	pauses := make([]time.Duration, n)
	var stats runtime.MemStats
	for i := range pauses {
		time.Sleep(time.Millisecond) // gives the P up: all are busy now
		if i%8 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&stats)
			pauses[i] = time.Duration(stats.PauseNs[(stats.NumGC+255)%256]) // of both of its stops
			continue
		}
		start := time.Now()
		runtime.ReadMemStats(&stats)
		pauses[i] = time.Since(start)
	}
	stop.Store(true)
	busy.Wait()
	slices.Sort(pauses)
	return pauses
}

// Hundreds of callers, with every number of workers and more of them than processors, which come and go;
// collections, preemption, stacks that grow and shrink, threads of their own, bubbles, the tracer and
// the signals of the profiler: no bit changes. ATTN_STRESS is how long, such as 5m.
func TestStress(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	if err := pprof.StartCPUProfile(io.Discard); err == nil { // else this test itself is profiled
		defer pprof.StopCPUProfile()
	}
	if err := trace.Start(io.Discard); err == nil {
		defer trace.Stop()
	}
	callers, duration := 200, 2*time.Second
	if testing.Short() || asmtest.Emulated {
		duration /= 4
	}
	if s := os.Getenv("ATTN_STRESS"); s != "" {
		var err error
		duration, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	inputs := func() *rand.Rand { return rand.New(rand.NewPCG(5, 1)) }
	all, large := calls(inputs(), asmtest.Normal), largeCalls(inputs())
	want := map[string][]float32{}
	for _, c := range append(all, large()...) {
		want[c.name] = c.result(t, 1)
	}
	var wait sync.WaitGroup
	var rounds, bubbles atomic.Int64
	start := time.Now()
	for g := range callers {
		mine := large() // outputs of its own
		if g < 8 {
			mine = append(mine, calls(inputs(), asmtest.Normal)...)
		}
		wait.Add(1)
		go func() {
			defer wait.Done()
			if g%16 == 0 {
				runtime.LockOSThread() // it ends with the goroutine
			}
			r := rand.New(rand.NewPCG(6, uint64(g)))
			for first := true; first || time.Since(start) < duration; first = false {
				c, workers := mine[r.IntN(len(mine))], r.IntN(9)
				if workers == 8 {
					workers = math.MaxInt
				}
				for j := range c.out {
					c.out[j] = nan
				}
				run := func() error { return deep(r.IntN(200), func() error { return c.run(workers) }) }
				err := error(nil)
				if r.IntN(4) == 0 && bubble(t, func() { err = run() }) {
					bubbles.Add(1)
				} else {
					err = run()
				}
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
					return
				}
				for j, x := range c.out {
					if !asmtest.SameBits(want[c.name][j], x) {
						t.Errorf("%s, %d workers: element %d is %g, want %g", c.name, workers, j, x, want[c.name][j])
						return
					}
				}
				switch rounds.Add(1) % 64 {
				case 0:
					runtime.GOMAXPROCS(1 + r.IntN(64))
				case 32:
					runtime.GC()
				}
			}
		}()
	}
	wait.Wait()
	t.Logf("%d calls, of them %d in bubbles", rounds.Load(), bubbles.Load())
	require.Positive(t, rounds.Load())
}

// largeCalls returns a function that returns calls which are worth several workers, each time with
// outputs of their own and the same inputs.
func largeCalls(r *rand.Rand) func() []call {
	var problems []*problem
	for _, s := range []shape{
		{1, 4, 2, 90, 200, 32, 32},  // by panels
		{1, 8, 2, 2, 6000, 32, 32},  // by rows, in spans
		{1, 12, 12, 1, 900, 32, 32}, // by rows, in heads
	} {
		problems = append(problems, newProblem(r, s, packedLayout, asmtest.Normal, Options{Causal: true}))
	}
	a, b := newMatrix(r, 150, 200, 200, asmtest.Normal), newMatrix(r, 200, 190, 190, asmtest.Normal)
	return func() (calls []call) {
		for _, p := range problems {
			dst := p.dst
			dst.Data = make([]float32, len(dst.Data))
			calls = append(calls, call{"large " + p.String(), dst.Data, func(workers int) error {
				o := p.o
				o.Workers = workers
				return Attention(dst, p.q, p.k, p.v, &o)
			}})
		}
		c := Matrix{150, 190, 190, make([]float32, 150*190)}
		return append(calls, call{"large MatMul", c.Data, func(workers int) error {
			return MatMul(c, a, b, &MatMulOptions{Workers: workers})
		}})
	}
}

// deep calls f below n frames of 1 KiB, beyond what a stack has room for at first.
func deep(n int, f func() error) error {
	var frame [1 << 10]byte
	if n == 0 {
		return f()
	}
	frame[n] = 1
	err := deep(n-1, f)
	if frame[n] != 1 {
		panic("a frame was overwritten")
	}
	return err
}

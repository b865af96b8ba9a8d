// Package quiet times code on a machine that others use too, against the limits of the machine at the
// same moment.
//
// A neighbour on the other thread of a core slows code that loads and multiplies by an eighth to a
// quarter, for milliseconds or for minutes, while the peak loop of package limit hardly notices. So every
// sample stands between two probes. A probe runs the peak loop, which the sample is compared with, and a
// canary: a microkernel with all its operands in L1, which a neighbour disturbs as it disturbs the
// sample. A sample is quiet if both its canaries came close to the best canary of the whole run, and its peak
// to the best peak of as many goroutines.
//
// Calls that last longer than a disturbance are judged by their two ends only, and canaries on two cores
// do not see a process that takes one of them in between: then the quiet median is a low estimate.
package quiet

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aclements/go-moremath/stats"
	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/asm/limit"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel"
)

const (
	// near is the share of the best canary that a quiet one reaches.
	near = 0.96

	// steady is the share of the best peak that a quiet moment reaches: two processors of a virtual machine
	// are on one core at times.
	steady = 0.9

	// sampleTime is the least time of a sample: long against the clock, short against most disturbances.
	sampleTime = 300 * time.Microsecond

	// sharedTime is that of work that several goroutines share. They are woken once a sample, which takes
	// a tenth of a millisecond on a virtual machine, and stay awake from call to call.
	sharedTime = 3 * time.Millisecond

	// probeParts parts of about 10 us each are the peak loop of a probe, and its canary.
	probeParts = 4

	// rest is longer than idle threads of ours and of other libraries stay awake.
	rest = 2 * time.Millisecond

	// cold is how long a run lasts that cold caches slow by less than a percent: to fill them takes up to 0.3 ms.
	cold = 30 * time.Millisecond

	// minSamples are taken however long they last.
	minSamples = 3
)

// A Timer does some work reps times and returns the seconds that it took.
type Timer func(reps int) (seconds float64)

// Timed returns the timer of run.
func Timed(run func(reps int)) Timer {
	return func(reps int) float64 { return elapsed(func() { run(reps) }) }
}

// Work is what samples time.
type Work struct {
	Runs    []Timer // ways to do the same work, which take turns
	Amount  float64 // flops of one repetition, or bytes if Read is set
	Workers int     // that share the work; the limit is what as many goroutines reach

	// Read, if not nil, is the memory that is read, Flops what is done with it: the limit is plain
	// reading of it, in bytes a second, or the peak if that is lower. Otherwise it is the peak of fused
	// multiply-adds, in flops a second. The length of Read is a multiple of 128.
	Read  []float32
	Flops float64
}

// Sample is one timing.
type Sample struct {
	Rate     float64 // flops or bytes a second
	Fraction float64 // of the limit just before and after
	Canary   float64 // the worse of its two canaries, as a fraction of the peak
	Workers  int
	Peak     float64 // of all workers just before and after
}

// Meter takes samples and remembers the best rates. The zero value is ready. It is not for
// several goroutines at once.
type Meter struct {
	peak, canary float64              // the best of a goroutine, in flops a second
	peaks        map[int]float64      // the best of so many goroutines together
	canaries     []func() (flops int) // of each goroutine
}

// best is the canary of an undisturbed core, as a fraction of the peak. Nothing makes a loop faster than it
// is, so the best rates are sure; the best of many ratios would be that of the most disturbed peak.
func (m *Meter) best() float64 { return m.canary / m.peak }

// Probe is the state of the machine at a moment.
type Probe struct {
	Peak   float64 // flops a second of all goroutines
	Canary float64 // flops a second of the goroutine that is worst off
}

// Probe looks at workers cores at once.
func (m *Meter) Probe(workers int) Probe {
	for len(m.canaries) < workers {
		m.canaries = append(m.canaries, newCanary())
	}
	peaks, canaries := make([]float64, workers), make([]float64, workers)
	var ready atomic.Int32
	parallel(workers, func(i int) {
		// Together, and by spinning: a goroutine that yields lets the next one run on its own core.
		for ready.Add(1); int(ready.Load()) < workers; {
		}
		// The best part, as nothing runs faster than the peak; but all of the canary.
		for range probeParts {
			peaks[i] = max(peaks[i], rate(limit.FMA))
		}
		m.canaries[i]() // brings its operands back to L1, whatever the sample left there
		canaries[i] = rate(func() (flops int) {
			for range probeParts {
				flops += m.canaries[i]()
			}
			return flops
		})
	})
	p := Probe{Canary: slices.Min(canaries)}
	for _, peak := range peaks {
		p.Peak += peak
	}
	if m.peaks == nil {
		m.peaks = map[int]float64{}
	}
	m.peaks[workers] = max(m.peaks[workers], p.Peak)
	m.peak = max(m.peak, slices.Max(peaks))
	m.canary = max(m.canary, slices.Max(canaries))
	return p
}

// Samples times each run of w for the given time, and returns the samples of each. The runs take
// turns, so that what disturbs the machine for longer than a round disturbs all of them; sample i of each
// is of round i. A run whose time is used up sits out.
func (m *Meter) Samples(w Work, each time.Duration) [][]Sample {
	least := sampleTime
	if w.Workers > 1 {
		least = sharedTime
	}
	reps, seconds := make([]int, len(w.Runs)), make([]float64, len(w.Runs))
	for i, run := range w.Runs {
		reps[i], seconds[i] = repetitions(run, least)
	}
	reading := Timed(func(n int) { read(w.Read, w.Workers, n) })
	readReps := 0
	if w.Read != nil {
		readReps, _ = repetitions(reading, least)
	}
	type state struct {
		Probe
		limit float64
	}
	look := func() state {
		p := m.Probe(w.Workers)
		if w.Read == nil {
			return state{p, p.Peak}
		}
		rate := 4 * float64(len(w.Read)) * float64(readReps) / reading(readReps)
		return state{p, min(rate, p.Peak*w.Amount/w.Flops)}
	}

	samples, spent := make([][]Sample, len(w.Runs)), make([]time.Duration, len(w.Runs))
	before := look()
	for more := true; more; {
		more = false
		for i, run := range w.Runs {
			if len(samples[i]) >= minSamples && spent[i] >= each {
				continue
			}
			more = true
			start := time.Now()
			if seconds[i] < cold.Seconds() { // what ran in between has taken the caches, and let threads sleep
				run(1)
			}
			t := run(reps[i]) / float64(reps[i])
			if w.Workers > 1 {
				time.Sleep(rest) // threads that wait for more work, awake, give up
			}
			after := look()
			spent[i] += time.Since(start)
			// A disturbance only lowers a limit: the higher of two is the better one.
			peak := max(before.Peak, after.Peak)
			samples[i] = append(samples[i], Sample{
				Rate:     w.Amount / t,
				Fraction: w.Amount / t / max(before.limit, after.limit),
				Canary:   min(before.Canary, after.Canary) / (peak / float64(w.Workers)),
				Workers:  w.Workers,
				Peak:     peak,
			})
			before = after
		}
	}
	return samples
}

// ReadRate returns the bytes a second at which workers goroutines read x.
func ReadRate(x []float32, workers int) float64 {
	return 4 * float64(len(x)) / elapsed(func() { read(x, workers, 1) })
}

// Summary is the middle of some samples, and their spread.
type Summary struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	IQR    float64 `json:"iqr"` // the distance of the quartiles
}

// IsQuiet says whether no neighbour disturbed s. It is for the end of the run, when the best rates are
// known.
func (m *Meter) IsQuiet(s Sample) bool {
	return s.Canary >= near*m.best() && s.Peak >= steady*m.peaks[s.Workers]
}

// Summarize returns the middle of x and its spread; of no values N is 0, and so is the rest.
func Summarize(x []float64) Summary {
	if len(x) == 0 {
		return Summary{}
	}
	s := (&stats.Sample{Xs: slices.Clone(x)}).Sort()
	return Summary{len(x), s.Quantile(0.5), s.IQR()}
}

// newCanary returns a microkernel on operands of its own, less than 27 KB, that takes about 10 us.
func newCanary() func() (flops int) {
	const rows, k = 48, 64
	impl, calls := asmtest.Generic(16), 1
	for _, i := range asmtest.Impls {
		if i.Name == kernel.Backend() {
			impl, calls = i, 10
		}
	}
	cols := impl.PanelWidth
	a, b, c := make([]float32, rows*k), make([]float32, k*cols), make([]float32, rows*cols)
	return func() int {
		for range calls {
			impl.MatMulTile(tile.Rows{Data: c, Len: rows, Dim: cols, Stride: cols}, tile.Rows{Data: a, Len: rows, Dim: k, Stride: k}, tile.Rows{}, b, false)
		}
		return calls * 2 * rows * k * cols
	}
}

// read loads x reps times. Goroutines take chunks one by one, as a slow core must not keep the
// others waiting.
func read(x []float32, workers, reps int) {
	if workers == 1 {
		for range reps {
			limit.Read(x)
		}
		return
	}
	const chunk = 1 << 16
	for range reps {
		var next atomic.Int64
		parallel(workers, func(int) {
			for {
				i := int(next.Add(chunk)) - chunk
				if i >= len(x) {
					return
				}
				limit.Read(x[i:min(i+chunk, len(x))])
			}
		})
	}
}

// parallel runs f(0) to f(n-1), each on a goroutine, and f(0) on this one.
func parallel(n int, f func(i int)) {
	var wait sync.WaitGroup
	for i := 1; i < n; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			f(i)
		}()
	}
	f(0)
	wait.Wait()
}

// repetitions warms run up and returns how many repetitions fill a sample, and the seconds of one.
func repetitions(run Timer, sample time.Duration) (reps int, seconds float64) {
	run(1)
	for reps = 1; ; reps *= 2 {
		if seconds = run(reps); seconds >= sample.Seconds() {
			return reps, seconds / float64(reps)
		}
	}
}

// rate returns the flops a second of f.
func rate(f func() (flops int)) float64 {
	var flops int
	t := elapsed(func() { flops = f() })
	return float64(flops) / t
}

// elapsed returns the seconds that f takes.
func elapsed(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}

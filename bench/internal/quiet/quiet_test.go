package quiet

import (
	"math"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selfattn/attn/asm/limit"
	"github.com/stretchr/testify/require"
)

func fma(times int) Timer {
	return Timed(func(reps int) {
		for range reps * times {
			limit.FMA()
		}
	})
}

// comesNear demands that value, computed of the samples of w, comes near want; on a busy machine it may
// take a while.
func comesNear(t *testing.T, w Work, want, delta float64, value func(samples [][]Sample) float64) {
	t.Helper()
	var m Meter
	require.Eventually(t, func() bool {
		s := m.Samples(w, 20*time.Millisecond)
		require.Len(t, s, len(w.Runs))
		for _, run := range s {
			require.GreaterOrEqual(t, len(run), minSamples)
		}
		return math.Abs(value(s)-want) <= delta
	}, 20*time.Second, time.Millisecond, "want %g", want)
}

// The limits are near 1 of themselves.
func TestLimits(t *testing.T) {
	fraction := func(s [][]Sample) float64 {
		var x []float64
		for _, s := range s[0] {
			x = append(x, s.Fraction)
		}
		return Summarize(x).Median
	}
	comesNear(t, Work{Runs: []Timer{fma(1)}, Amount: float64(limit.FMA()), Workers: 1}, 1, 0.1, fraction)
	for workers := 1; workers <= min(2, runtime.GOMAXPROCS(0)); workers++ {
		x := make([]float32, 1<<20)
		run := Timed(func(reps int) { read(x, workers, reps) })
		comesNear(t, Work{Runs: []Timer{run}, Amount: 4 << 20, Workers: workers, Read: x}, 1, 0.3, fraction)
		// With many flops for each byte the peak is the limit.
		w := Work{Runs: []Timer{fma(1)}, Amount: 4, Flops: float64(limit.FMA()), Workers: 1, Read: x}
		comesNear(t, w, 1, 0.1, fraction)
	}
}

// Runs take turns: rounds pair their samples, and the rates of a pair show which is faster.
func TestTurns(t *testing.T) {
	w := Work{Runs: []Timer{fma(1), fma(2)}, Amount: 1, Workers: 1}
	comesNear(t, w, 2, 0.2, func(s [][]Sample) float64 {
		var x []float64
		for i, a := range s[0][:min(len(s[0]), len(s[1]))] {
			x = append(x, a.Rate/s[1][i].Rate)
		}
		return Summarize(x).Median
	})
}

// Each turn of a run that cold caches would slow begins with a call that is not timed.
func TestUntimed(t *testing.T) {
	for _, c := range []struct{ seconds, calls float64 }{
		{sampleTime.Seconds(), 2 + 2*minSamples}, {cold.Seconds() * .99, 2 + 2*minSamples}, {cold.Seconds(), 2 + minSamples},
	} {
		calls := 0.
		run := func(reps int) float64 { calls++; return c.seconds * float64(reps) }
		new(Meter).Samples(Work{Runs: []Timer{run}, Amount: 1, Workers: 1}, 0)
		require.Equal(t, c.calls, calls, "calls that last %g s", c.seconds)
	}
}

// A probe of two cores sees twice the peak of one, and no canary is faster than the peak.
func TestProbe(t *testing.T) {
	var m Meter
	var one, two float64
	for range 50 {
		p := m.Probe(1)
		one = max(one, p.Peak)
		require.Positive(t, p.Canary)
		two = max(two, m.Probe(2).Peak)
	}
	require.InDelta(t, 2, two/one, 0.5)
	require.Greater(t, 1.05, m.best())
}

func TestIsQuiet(t *testing.T) {
	m := Meter{peak: 10, canary: 9, peaks: map[int]float64{1: 10, 2: 16}}
	for _, c := range []struct {
		s    Sample
		want bool
	}{
		{Sample{Canary: near*0.9 + 0.001, Workers: 1, Peak: 10}, true},
		{Sample{Canary: near*0.9 - 0.001, Workers: 1, Peak: 10}, false},
		{Sample{Canary: 0.9, Workers: 2, Peak: 15}, true},
		{Sample{Canary: 0.9, Workers: 2, Peak: 10}, false},
	} {
		require.Equal(t, c.want, m.IsQuiet(c.s), "%+v", c.s)
	}
}

func TestSummarize(t *testing.T) {
	x := []float64{5, 1, 7, 6, 8}
	s := Summarize(x)
	require.Equal(t, Summary{5, 6, s.IQR}, s)
	require.True(t, s.IQR >= 2 && s.IQR <= 5)
	require.Equal(t, []float64{5, 1, 7, 6, 8}, x)
	require.Zero(t, Summarize(nil))
}

// All goroutines of parallel run at once.
func TestParallel(t *testing.T) {
	var here atomic.Int32
	var seen [3]bool
	parallel(3, func(i int) {
		seen[i] = true
		for here.Add(1); here.Load() < 3; {
			runtime.Gosched()
		}
	})
	require.Equal(t, [3]bool{true, true, true}, seen)
}

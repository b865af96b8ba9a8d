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

func fmaWork(times int) func(reps int) {
	return func(reps int) {
		for range reps * times {
			limit.FMA()
		}
	}
}

func median(samples []Sample, value func(Sample) float64) float64 {
	m := Meter{peak: 1} // the best canary is 0, so that all are quiet
	quiet, _ := m.Summarize(samples, value)
	return quiet.Median
}

// comesNear demands that the median of value comes near want; on a busy machine it may take a while.
func comesNear(t *testing.T, w Work, want, delta float64, value func(Sample) float64) {
	t.Helper()
	var m Meter
	require.Eventually(t, func() bool {
		s := m.Samples(w, 20*time.Millisecond)
		got := median(s, value)
		return len(s) >= minSamples && math.Abs(got-want) <= delta
	}, 20*time.Second, time.Millisecond, "want %g", want)
}

// The limits are near 1 of themselves.
func TestLimits(t *testing.T) {
	fraction := func(s Sample) float64 { return s.Fraction }
	comesNear(t, Work{Run: fmaWork(1), Amount: float64(limit.FMA()), Workers: 1}, 1, 0.1, fraction)
	for workers := 1; workers <= min(2, runtime.GOMAXPROCS(0)); workers++ {
		x := make([]float32, 1<<20)
		run := func(reps int) { read(x, workers, reps) }
		comesNear(t, Work{Run: run, Amount: 4 << 20, Workers: workers, Read: x}, 1, 0.3, fraction)
	}
}

func TestSpeedUp(t *testing.T) {
	w := Work{Run: fmaWork(1), Base: fmaWork(2), Amount: 1, Workers: 1}
	comesNear(t, w, 2, 0.2, func(s Sample) float64 { return s.SpeedUp })
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

func TestSummarize(t *testing.T) {
	m := Meter{peak: 10, canary: 9}
	value := func(s Sample) float64 { return s.Rate }
	quiet, all := m.Summarize([]Sample{
		{Rate: 5, Canary: 0.5}, {Rate: 7, Canary: 0.9}, {Rate: 6, Canary: near*0.9 + 0.001}, {Rate: 8, Canary: 0.89},
		{Rate: 1, Canary: near*0.9 - 0.001},
	}, value)
	require.Equal(t, Summary{3, 7, quiet.IQR}, quiet)
	require.Equal(t, Summary{5, 6, all.IQR}, all)
	require.True(t, quiet.IQR > 0 && quiet.IQR <= 2 && all.IQR > quiet.IQR && all.IQR <= 7)

	quiet, all = m.Summarize(nil, value)
	require.Zero(t, quiet)
	require.Zero(t, all)
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

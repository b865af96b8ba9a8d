package queue

import (
	"bytes"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A wait is over when done says so, or after as many steps as there is patience for.
func TestSpin(t *testing.T) {
	for _, last := range []int{1, 3, patience} {
		n := 0
		require.True(t, spin(func() bool { n++; return n == last }))
		require.Equal(t, last, n)
	}
	n := 0
	require.False(t, spin(func() bool { n++; return false }))
	require.Equal(t, patience, n)
}

// vainly runs f after so many lingerings in vain, and returns how many there are then. The helpers of earlier calls
// have ended.
func vainly(n int32, f func()) int32 {
	defer vain.Store(0)
	stacks := make([]byte, 1<<20)
	for bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("queue.(*shared).help(")) {
		time.Sleep(100 * time.Microsecond)
	}
	vain.Store(n)
	f()
	return vain.Load()
}

// After five lingerings in vain, one of sixteen is tried.
func TestWorthwhile(t *testing.T) {
	for n := range int32(50) {
		want, ok := n < 5 || n%16 == 0, false
		after := vainly(n, func() { ok = worthwhile() })
		require.Equal(t, want, ok, "after %d in vain", n)
		if !want {
			n++
		}
		require.Equal(t, n, after)
	}
}

// A helper that is done waits for the next call, unless others did so in vain, and never where it keeps the only
// processor from the caller.
func TestLinger(t *testing.T) {
	s := shared{processors: 2}
	require.Equal(t, int32(3), vainly(2, s.linger))
	require.Equal(t, int32(6), vainly(5, s.linger), "not worthwhile: counted as that")
	waiting.Add(1)
	defer waiting.Add(-1)
	require.Equal(t, int32(0), vainly(2, s.linger), "one comes")
	s.processors = 1
	require.Equal(t, int32(2), vainly(2, s.linger))
}

// Calls that take no longer than it takes to wake a thread, or not much, are shared where others followed each other closely.
func TestSmallCalls(t *testing.T) {
	workers := func(c Call, lingerings int32) (n int) {
		vainly(lingerings, func() {
			Share(c, task(func(h *Hand) {
				if h.number == 0 {
					n = h.Workers()
				}
			}))
		})
		return n
	}
	for _, c := range []struct {
		useful int
		vain   int32
		want   int
	}{
		{1, 0, 1}, {2, 0, 2}, {2, 5, 1}, {small, 0, 2}, {small, 5, 1}, {small + 1, 5, 2},
	} {
		for _, adapt := range []bool{false, true} {
			require.Equal(t, c.want, workers(Call{Items: 2, Workers: 2, Useful: c.useful, Adapt: adapt}, c.vain), "%+v", c)
		}
	}
}

// A goroutine for each 0.1 ms of work, and a second one from an eighth of that on.
func TestUseful(t *testing.T) {
	const each = 0.1e6 * 25 // ns, multiply-adds a ns
	require.Equal(t, 1, Useful(0))
	require.Equal(t, 1, Useful(math.Nextafter(each/8, 0)))
	require.Equal(t, 2, Useful(each/8))
	for n := 1; n < 5; n++ {
		require.Equal(t, max(2, n), Useful(math.Nextafter(float64(n)*each, 0)))
		require.Equal(t, 1+n, Useful(float64(n)*each))
	}
	require.Equal(t, MaxWorkers, Useful(math.Inf(1)))
	require.Equal(t, MaxWorkers, Useful(each*(MaxWorkers-1)))
	require.Equal(t, MaxWorkers-1, Useful(each*(MaxWorkers-1.5)))
}

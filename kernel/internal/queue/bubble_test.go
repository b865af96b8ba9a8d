//go:build go1.25

package queue

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Calls return inside of bubbles, where the clock stands still, also while there are others outside;
// helpers leave nothing behind that a bubble owns, and may use channels of their own.
func TestBubbles(t *testing.T) {
	processors(t, 4)
	call := func() {
		var n atomic.Int32
		own := make(chan int, 100)
		Share(Call{Items: 100, Workers: 4, Useful: 4, Turns: true}, inRuns{items: 100, run: 10, task: together(4, each(func(h *Hand, i int) {
			h.Turn()
			own <- i
			n.Add(1)
		}))})
		if n.Load() != 100 || len(own) != 100 {
			t.Error(n.Load(), "items")
		}
	}
	for range 20 { // no other call ends the wait of a helper for the next one
		synctest.Test(t, func(*testing.T) { call() })
	}
	var stop atomic.Bool
	var wait sync.WaitGroup
	for range 3 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for !stop.Load() {
				call()
			}
		}()
	}
	for range 50 {
		call()
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			call()
			go call()
			synctest.Wait()
			require.Zero(t, time.Since(start))
			time.Sleep(time.Hour)
			call()
		})
	}
	stop.Store(true)
	wait.Wait()
}

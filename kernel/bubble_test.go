//go:build go1.25

package kernel

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// bubble runs f in a bubble of synctest, or returns false where the compiler knows none.
func bubble(t *testing.T, f func()) bool {
	synctest.Test(t, func(*testing.T) { f() })
	return true
}

// Calls of several workers return where the clock stands still, whether in one bubble, in several or
// outside at the same time, and leave no goroutine that keeps the clock from going on.
func TestBubbles(t *testing.T) {
	large := largeCalls(rand.New(rand.NewPCG(7, 1)))
	run := func() {
		for _, c := range large() {
			for _, workers := range []int{0, 2, 5} {
				if err := c.run(workers); err != nil {
					t.Error(err)
				}
			}
		}
	}
	run()
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for range 3 {
				if g%2 == 0 {
					run()
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					run()
					require.Zero(t, time.Since(start))
					time.Sleep(time.Hour)
					run()
				})
			}
		}()
	}
	wait.Wait()
}

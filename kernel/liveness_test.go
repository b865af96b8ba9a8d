package kernel

import (
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selfattn/attn/asm/asmtest"
)

// Assembly cannot be preempted: whoever stops the world, as a collection does, waits until it
// returns. With every P inside long calls, of 40 ms and more, the world must stop within moments
// all the same.
//
// A crowded machine delays some of the stops by milliseconds; a kernel that takes its operands
// whole delays all of them. So the quick ones are judged.
func TestStopTheWorld(t *testing.T) {
	if Backend() == "generic" {
		t.Skip("Go code can be preempted anywhere")
	}
	if os.Getenv("ATTN_EMULATED") != "" {
		t.Skip("an emulator says nothing about time")
	}
	const limit = 2 * time.Millisecond
	r := rand.New(rand.NewPCG(1, 10))
	data := slices.Repeat(asmtest.Fill(r, make([]float32, 1<<16), asmtest.Normal), 1<<8)
	tensor := func(heads, n, dim int) Tensor { return Tensor{Data: data, Batch: 1, Heads: heads, Len: n, Dim: dim} }
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
		{"MatMul", 2048 * 2048, func(out []float32) error {
			x := Matrix{2048, 2048, 2048, data}
			c := x
			c.Data = out
			return MatMulWorkers(c, x, x, 1)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stop atomic.Bool
			var busy sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				busy.Add(1)
				go func() {
					defer busy.Done()
					out := make([]float32, c.out)
					for !stop.Load() {
						if err := c.f(out); err != nil {
							t.Error(err)
							return
						}
					}
				}()
			}
			var pauses []time.Duration
			var stats runtime.MemStats
			for range 50 {
				time.Sleep(time.Millisecond) // gives the P up: all are busy now
				start := time.Now()
				runtime.ReadMemStats(&stats) // stops the world
				pauses = append(pauses, time.Since(start))
			}
			stop.Store(true)
			busy.Wait()
			slices.Sort(pauses)
			n := len(pauses)
			t.Logf("the world stops in %v (p10), %v (median), %v (p99)", pauses[n/10], pauses[n/2], pauses[n*99/100])
			if pauses[n/10] > limit {
				t.Errorf("the world takes %v to stop even when it is quick, want at most %v", pauses[n/10], limit)
			}
		})
	}
}

package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// Share is that of a desk of its own.
func Share(c Call, t Task) { new(Desk).Share(c, t) }

// A task is one as a function.
type task func(h *Hand)

func (f task) Work(h *Hand) { f(h) }

// each is a task of f for every item.
func each(f func(h *Hand, i int)) task {
	return func(h *Hand) {
		for {
			first, n, ok := h.Next()
			if !ok {
				return
			}
			for i := first; i < first+n; i++ {
				f(h, i)
			}
		}
	}
}

// A gathering is where workers wait until so many have come, which makes helpers take part.
type gathering struct {
	left atomic.Int32
	all  chan struct{}
}

func gather(n int) *gathering {
	g := &gathering{all: make(chan struct{})}
	g.left.Store(int32(n))
	return g
}

func (g *gathering) come() {
	if g.left.Add(-1) == 0 {
		close(g.all)
	}
	<-g.all
}

func together(n int, f task) task {
	g := gather(n)
	return func(h *Hand) { g.come(); f(h) }
}

// A inRuns is a task with runs of equal size, but for the last one; run 0 means all.
type inRuns struct {
	task
	items, run, block int
}

func (g inRuns) Run(i int) (number, first, n, block int) {
	if g.run == 0 {
		return 0, 0, g.items, max(1, g.block)
	}
	number = i / g.run
	return number, number * g.run, min(g.run, g.items-number*g.run), max(1, g.block)
}

// processors sets GOMAXPROCS for a test.
func processors(t *testing.T, n int) {
	before := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// Each item is claimed once, in blocks of one run that only shrink towards the end.
func TestItems(t *testing.T) {
	processors(t, 4)
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		c := Call{Items: r.IntN(200), Workers: 1 + r.IntN(5), Useful: 1 + r.IntN(5), Turns: r.IntN(2) == 0}
		g := inRuns{items: c.Items, run: r.IntN(20), block: r.IntN(9)}
		times := make([]atomic.Int32, c.Items)
		var last atomic.Int64
		g.task = func(h *Hand) {
			for {
				first, n, ok := h.Next()
				if !ok {
					return
				}
				if h.Workers() == 1 && int(last.Swap(int64(first+n))) != first {
					t.Errorf("%+v: items out of order", c)
				}
				if n < 1 || n > max(1, g.block) || g.run > 0 && first/g.run != (first+n-1)/g.run {
					t.Errorf("%+v: %d items from %d on", c, n, first)
				}
				for i := first; i < first+n; i++ {
					times[i].Add(1)
				}
			}
		}
		Share(c, g)
		for i := range times {
			require.Equal(t, int32(1), times[i].Load(), "%+v: item %d", c, i)
		}
	}
}

// The items of a run do in their turn, one after the other, what order matters for; a panic of any of
// them leaves nobody waiting.
func TestTurns(t *testing.T) {
	processors(t, 4)
	r := rand.New(rand.NewPCG(2, 1))
	for round := range 400 {
		c := Call{Items: 1 + r.IntN(60), Workers: 2 + r.IntN(4), Useful: 9, Turns: true}
		run := 1 + r.IntN(12)
		seed, bad := r.Uint64(), -1
		if round%2 == 0 {
			bad = r.IntN(c.Items)
		}
		done := make([][]int, c.Items) // of each run: unsynchronized, as a turn is exclusive
		call := func() {
			Share(c, inRuns{items: c.Items, run: run, task: together(min(c.Workers, c.Items), each(func(h *Hand, i int) {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				for range r.IntN(3) {
					runtime.Gosched()
				}
				if i == bad && r.IntN(2) == 0 {
					panic(bad)
				}
				h.Turn()
				done[i/run] = append(done[i/run], i)
				if i == bad {
					panic(bad)
				}
			}))})
		}
		if bad >= 0 {
			require.Panics(t, call)
		} else {
			require.NotPanics(t, call)
		}
		n := 0
		for g, items := range done {
			for j, i := range items {
				if j > 0 {
					require.Less(t, items[j-1], i, "run %d", g)
				}
			}
			n += len(items)
		}
		if bad < 0 {
			require.Equal(t, c.Items, n)
		}
	}
}

// A panic in a helper reaches the caller, with the helper's stack and when nobody works any more, and
// so does the caller's own, as it is. The next call works.
func TestPanics(t *testing.T) {
	processors(t, 4)
	faulty := errors.New("faulty")
	fence := asmtest.NewGuarded(t, 16).Tail(16)
	for _, c := range []struct {
		name  string
		fault func()
		check func(t *testing.T, value any)
	}{
		{"error", func() { panic(faulty) }, func(t *testing.T, v any) { require.ErrorIs(t, v.(error), faulty) }},
		{"value", func() { panic(7) }, func(t *testing.T, v any) { require.Equal(t, 7, v) }},
		{"fault", func() { *(*float32)(unsafe.Add(unsafe.Pointer(&fence[0]), 4*16)) = 1 }, func(t *testing.T, v any) {
			require.Implements(t, (*runtime.Error)(nil), v)
		}},
		{"Goexit", runtime.Goexit, func(t *testing.T, v any) { require.ErrorContains(t, v.(error), "Goexit") }},
	} {
		for _, by := range []string{"helper", "caller"} {
			if c.name == "Goexit" && by == "caller" {
				continue
			}
			t.Run(c.name+" of the "+by, func(t *testing.T) {
				debug.SetPanicOnFault(true) // of this goroutine
				var inside, items atomic.Int32
				work := together(3, each(func(h *Hand, i int) {
					inside.Add(1)
					defer inside.Add(-1)
					items.Add(1)
					if (h.number == 0) == (by == "caller") {
						faultyItem(c.fault)
					}
					time.Sleep(5 * time.Millisecond)
				}))
				value := func() (value any) {
					defer func() {
						value = recover()
						require.Zero(t, inside.Load(), "goroutines at work")
					}()
					Share(Call{Items: 1000, Workers: 3, Useful: small + 1}, work)
					return nil
				}()
				if by == "helper" {
					p, ok := value.(*Panic)
					require.True(t, ok, "%v", value)
					require.Contains(t, p.Error(), "faultyItem")
					require.Contains(t, p.Error(), fmt.Sprint(p.Value))
					value = p.Value
				}
				c.check(t, value)
				require.Less(t, items.Load(), int32(100), "items after a panic")
			})
		}
	}
	require.Zero(t, inFlight.Load())
	TestItems(t)
}

//go:noinline
func faultyItem(f func()) { f() }

// A caller that exits takes no helper's memory away.
func TestCallerExits(t *testing.T) {
	processors(t, 4)
	var inside atomic.Int32
	done := make(chan int32)
	go func() {
		defer func() { done <- inside.Load() }()
		Share(Call{Items: 100, Workers: 3, Useful: small + 1}, together(3, each(func(h *Hand, i int) {
			if h.number == 0 {
				runtime.Goexit()
			}
			inside.Add(1)
			time.Sleep(5 * time.Millisecond)
			inside.Add(-1)
		})))
	}()
	require.Zero(t, <-done)
}

// After Stop no more items are claimed; those that are, are finished.
func TestStop(t *testing.T) {
	for _, workers := range []int{1, 3} {
		processors(t, 4)
		var stop atomic.Bool
		var begun, finished atomic.Int32
		Share(Call{Items: 1000, Workers: workers, Useful: small + 1, Turns: true, Stop: &stop}, together(workers, each(func(h *Hand, i int) {
			begun.Add(1)
			if i == 10 {
				stop.Store(true)
			}
			h.Turn()
			finished.Add(1)
		})))
		require.Equal(t, begun.Load(), finished.Load())
		require.GreaterOrEqual(t, finished.Load(), int32(11))
		require.LessOrEqual(t, finished.Load(), int32(11+workers))
	}
}

func TestWorkerCounts(t *testing.T) {
	processors(t, 4)
	require.Equal(t, 4, Workers(0))
	require.Equal(t, 3, Workers(3))
	require.Equal(t, MaxWorkers, Workers(math.MaxInt))
	var n atomic.Int32
	Share(Call{Items: 5, Workers: MaxWorkers, Useful: MaxWorkers}, together(5, each(func(h *Hand, _ int) {
		n.Add(1)
		if h.Workers() != 5 {
			t.Error(h.Workers(), "workers for 5 items")
		}
	})))
	require.Equal(t, int32(5), n.Load())
}

// Calls in flight share the processors, also those that run alone; small ones do not count. Helpers
// leave when other calls come, unless their number was asked for.
func TestAdaptation(t *testing.T) {
	processors(t, 4)
	in := func(n int, c Call, f func()) {
		g, end := gather(n+1), make(chan struct{})
		var wait sync.WaitGroup
		for range n {
			wait.Add(1)
			go func() {
				defer wait.Done()
				Share(c, task(func(h *Hand) { g.come(); <-end }))
			}()
		}
		g.come()
		f()
		close(end)
		wait.Wait()
	}
	for n, want := range []int{4, 2, 1, 1, 1, 1} {
		in(n, Call{Items: 9, Workers: 1, Useful: 2}, func() { require.Equal(t, want, Workers(0), "%d calls in flight", n) })
		in(n, Call{Items: 9, Workers: 1, Useful: 1}, func() { require.Equal(t, 4, Workers(0)) })
	}
	for _, adapt := range []bool{true, false} {
		in(1, Call{Items: 9, Workers: 1, Useful: 2}, func() {
			var leave, stay atomic.Int32
			Share(Call{Items: 40, Workers: 4, Useful: 4, Adapt: adapt}, together(4, func(h *Hand) {
				if _, _, ok := h.Next(); ok {
					stay.Add(1)
				} else {
					leave.Add(1)
				}
			}))
			require.Equal(t, map[bool]int32{true: 2, false: 0}[adapt], leave.Load(), "of 4 workers, where 2 calls have 4 processors")
		})
	}
}

// Helpers have the labels of their own call.
func TestLabels(t *testing.T) {
	processors(t, 4)
	for _, label := range []string{"small", "big", "big", ""} {
		ctx := context.Background()
		if label != "" {
			ctx = pprof.WithLabels(ctx, pprof.Labels("call", label))
		}
		pprof.SetGoroutineLabels(ctx)
		defer pprof.SetGoroutineLabels(context.Background())
		profile, helpers := gather(4), gather(4)
		var out bytes.Buffer
		Share(Call{Items: 4, Workers: 4, Useful: 4}, task(func(h *Hand) {
			helpers.come()
			if h.number == 0 {
				if err := pprof.Lookup("goroutine").WriteTo(&out, 1); err != nil {
					t.Error(err)
				}
			}
			profile.come()
		}))
		n := 0
		for _, goroutines := range strings.Split(out.String(), "\n\n") {
			if strings.Contains(goroutines, "queue.(*shared).help+") && strings.Contains(goroutines, "TestLabels") {
				n++
				require.Equal(t, label != "", strings.Contains(goroutines, fmt.Sprintf("labels: {%q:%q}", "call", label)), "want %q in\n%s", label, goroutines)
				require.Equal(t, label != "", strings.Contains(goroutines, "labels:"))
			}
		}
		require.Positive(t, n, out.String())
	}
}

// Workers claim fewer items towards the end: a quarter of their share of what is left, up to a block.
func TestShares(t *testing.T) {
	processors(t, 2)
	claims := func(workers int) (claimed []int) {
		end := make(chan struct{})
		Share(Call{Items: 64, Workers: workers, Useful: max(workers, small+1)}, inRuns{items: 64, block: 7, task: together(workers, func(h *Hand) {
			if !h.Caller() {
				<-end // the caller takes all
				return
			}
			for {
				_, n, ok := h.Next()
				if !ok {
					close(end)
					return
				}
				claimed = append(claimed, n)
			}
		})})
		return claimed
	}
	require.Equal(t, []int{7, 7, 7, 7, 7, 7, 7, 7, 7, 1}, claims(1))
	require.Equal(t, []int{7, 7, 6, 5, 4, 4, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, claims(2))
}

// Nobody waits for a helper that no thread runs.
func TestLateHelper(t *testing.T) {
	processors(t, 1)
	late := false
	for range 100 { // a collection may let helpers come first
		n := 0
		Share(Call{Items: 50, Workers: 4, Useful: 4}, each(func(h *Hand, _ int) { n += 1 - min(h.number, 1) }))
		late = late || n == 50 && waiting.Load() > 0
	}
	require.True(t, late)
	for try := 0; waiting.Load() != 0; try++ {
		require.Less(t, try, 1000, "helpers that never end, or were never counted")
		time.Sleep(time.Millisecond)
	}
}

// Hundreds of callers, while processors come and go, and collections, and some callers have threads of
// their own.
func TestStress(t *testing.T) {
	processors(t, runtime.GOMAXPROCS(0))
	duration := 300 * time.Millisecond
	if s := os.Getenv("ATTN_STRESS"); s != "" {
		var err error
		duration, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	start := time.Now()
	var calls atomic.Int64
	var wait sync.WaitGroup
	for g := range 300 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if g%10 == 0 {
				runtime.LockOSThread() // it ends with the goroutine
			}
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for time.Since(start) < duration {
				asked := r.IntN(6)
				c := Call{Items: 1 + r.IntN(50), Workers: Workers(asked), Useful: 1 + r.IntN(8), Adapt: asked == 0, Turns: r.IntN(2) == 0}
				runs := inRuns{items: c.Items, run: 1 + r.IntN(9), block: r.IntN(5)}
				bad := -1
				if r.IntN(8) == 0 {
					bad = r.IntN(c.Items)
				}
				var sum, inside atomic.Int64
				func() {
					defer func() {
						if inside.Load() != 0 {
							t.Error("goroutines at work after the call")
						}
						if v := recover(); (v != nil) != (bad >= 0) {
							t.Errorf("%+v: panic %v", c, v)
						}
					}()
					runs.task = each(func(h *Hand, i int) {
						inside.Add(1)
						defer inside.Add(-1)
						if i == bad {
							panic(bad)
						}
						if i%3 == 0 {
							h.Turn()
						}
						sum.Add(int64(i))
					})
					Share(c, runs)
					if want := int64(c.Items * (c.Items - 1) / 2); sum.Load() != want {
						t.Errorf("%+v: sum of items %d, want %d", c, sum.Load(), want)
					}
				}()
				switch calls.Add(1) % 3000 {
				case 0:
					runtime.GOMAXPROCS(1 + r.IntN(8))
				case 1000:
					runtime.GC()
				}
				runtime.Gosched()
			}
		}()
	}
	wait.Wait()
	t.Logf("%d calls", calls.Load())
	require.Zero(t, inFlight.Load())
}

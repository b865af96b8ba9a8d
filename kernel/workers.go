package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A task is work that several goroutines share. Each calls work once, which takes parts of the task
// until there are none.
type task interface{ work() }

// usefulWorkers returns how many of the workers are worth waking for x*y*z multiply-adds: one for
// each 0.1 ms, at 25 of them a nanosecond.
func usefulWorkers(workers, x, y, z int) int {
	const each = 25 * 100_000
	n, ok := product(x, y)
	if ok {
		n, ok = product(n, z)
	}
	if !ok {
		return workers
	}
	return min(workers, 1+n/each)
}

// A join is where a goroutine waits for those that share its task.
type join struct {
	left atomic.Int32
	wait sync.WaitGroup
}

// share calls t.work on the calling goroutine and n-1 others, and returns when all have.
func share(t task, n int, j *join) {
	j.left.Store(int32(n - 1))
	j.wait.Add(n - 1)
	for range n - 1 {
		h := idle.take()
		if h == nil {
			h = new(helper)
			h.start(t, j)
			go h.run()
		} else {
			h.start(t, j)
		}
	}
	t.work()
	awake(func() bool { return j.left.Load() == 0 })
	j.wait.Wait()
}

// linger is how long a goroutine waits awake: to wake a sleeping thread takes up to 150 us on a
// virtual machine, longer than many a task.
const linger = 100 * time.Microsecond

// awake waits until done says so or linger is over, yielding to every other goroutine. It returns
// whether done said so.
func awake(done func() bool) bool {
	for start := time.Now(); ; {
		for range 10 {
			if done() {
				return true
			}
			runtime.Gosched()
		}
		if time.Since(start) > linger {
			return false
		}
	}
}

// A helper is a goroutine that works on the tasks of others. When it has finished it waits for the
// next task, awake, before it ends.
type helper struct {
	task  task
	join  *join
	ready atomic.Bool // task and join are set
}

func (h *helper) start(t task, j *join) {
	h.task, h.join = t, j
	h.ready.Store(true)
}

func (h *helper) run() {
	for h.await() {
		t, j := h.task, h.join
		h.task, h.join = nil, nil
		h.ready.Store(false)
		t.work()
		idle.put(h)
		j.left.Add(-1)
		j.wait.Done()
	}
}

// await waits for a task, or returns false if none came for linger.
func (h *helper) await() bool {
	if awake(h.ready.Load) {
		return true
	}
	for !idle.remove(h) { // someone has taken h: its task is about to come
		if h.ready.Load() {
			return true
		}
		runtime.Gosched()
	}
	return false
}

// idle is the helpers that wait for a task.
var idle helpers

type helpers struct {
	mutex sync.Mutex
	list  []*helper
}

// take removes and returns the helper that has waited for the shortest time, or nil.
func (s *helpers) take() *helper {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.list) == 0 {
		return nil
	}
	h := s.list[len(s.list)-1]
	s.list = s.list[:len(s.list)-1]
	return h
}

func (s *helpers) put(h *helper) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.list = append(s.list, h)
}

// remove removes h, or returns false if it is not there.
func (s *helpers) remove(h *helper) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for i, x := range s.list {
		if x == h {
			s.list = append(s.list[:i], s.list[i+1:]...)
			return true
		}
	}
	return false
}

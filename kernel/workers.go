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

// share calls t.work on the calling goroutine and n-1 others, and returns when all have.
func share(t task, n int, wait *sync.WaitGroup) {
	wait.Add(n - 1)
	for range n - 1 {
		if h := idle.take(); h != nil {
			h.start(t, wait)
		} else {
			h := new(helper)
			h.start(t, wait)
			go h.run()
		}
	}
	t.work()
	wait.Wait()
}

// To wake a sleeping thread takes up to 150 us, longer than many a task. So a helper that has
// finished waits for the next task for linger, awake but yielding to every other goroutine, before
// it ends.
const linger = 100 * time.Microsecond

// A helper is a goroutine that works on the tasks of others.
type helper struct {
	task  task
	wait  *sync.WaitGroup
	ready atomic.Bool // task and wait are set
}

func (h *helper) start(t task, wait *sync.WaitGroup) {
	h.task, h.wait = t, wait
	h.ready.Store(true)
}

func (h *helper) run() {
	for h.await() {
		t, wait := h.task, h.wait
		h.task, h.wait = nil, nil
		h.ready.Store(false)
		func() {
			defer wait.Done()
			t.work()
		}()
		idle.put(h)
	}
}

// await waits for a task, or returns false if none came for linger.
func (h *helper) await() bool {
	if h.ready.Load() {
		return true
	}
	for start := time.Now(); time.Since(start) < linger; {
		for range 10 {
			if h.ready.Load() {
				return true
			}
			runtime.Gosched()
		}
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

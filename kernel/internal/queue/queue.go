package queue

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// MaxWorkers is the most goroutines that share a call: no plan overflows when it multiplies them.
const MaxWorkers = 1 << 10

// Workers returns how many goroutines a call may use that asks for n: at most MaxWorkers and, if n
// is 0, its share of the processors among the calls in flight.
func Workers(n int) int {
	if n == 0 {
		n = max(1, runtime.GOMAXPROCS(0)/int(inFlight.Load()+1))
	}
	return min(n, MaxWorkers)
}

// Useful returns how many goroutines so many multiply-adds are worth: one for each 0.1 ms, at 25 of them
// a nanosecond, and a second one from an eighth of that on.
func Useful(multiplyAdds float64) int {
	const each = 25 * 100_000
	if each/8 <= multiplyAdds && multiplyAdds < each {
		return 2
	}
	return 1 + int(min(multiplyAdds/each, MaxWorkers-1))
}

// inFlight counts the calls that several workers could share, whether they do or not.
var inFlight atomic.Int32

// A Call is work that is cut into items.
type Call struct {
	Items   int
	Workers int          // the most goroutines
	Useful  int          // how many the work is worth; a call that is worth one is not counted as in flight
	Adapt   bool         // helpers leave when other calls need their processors
	Turns   bool         // the items of a run take turns; Hand.Turn waits for one
	Stop    *atomic.Bool // may be nil; once it is true no more items are claimed
}

// A Task is what a call does. Work is called once on each of its goroutines, and takes items by h.Next
// until there are none.
type Task interface{ Work(h *Hand) }

// An InRuns task has runs of neighbouring items. In others all are one run, claimed one by one.
type InRuns interface {
	Task
	// Run returns the number of the run of an item, counted from 0 in the order of the items, its
	// first item, how many it has, and the most of them that are claimed together.
	Run(item int) (number, first, n, together int)
}

// run is Run of any task.
func (s *shared) run(item int) (number, first, n, together int) {
	if s.inRuns == nil {
		return 0, 0, s.Items, 1
	}
	return s.inRuns.Run(item)
}

// A Desk is where one call after the other is done: calls of one goroutine do not allocate there.
type Desk struct{ alone shared }

// Share does all items of a call, alone if they are worth few goroutines and no thread seems to be awake. A panic of
// t.Work reaches the caller, from a helper as a *Panic, and the desk is not used again. No goroutine is in t.Work when
// Share returns or panics.
func (d *Desk) Share(c Call, t Task) {
	if c.Useful > 1 {
		inFlight.Add(1)
		defer inFlight.Add(-1)
	}
	n := min(c.Workers, c.Useful, c.Items)
	if n <= 1 || c.Useful <= small && !worthwhile() {
		s := &d.alone
		s.Items, s.Stop, s.workers = c.Items, c.Stop, 1 // all that one goroutine asks for
		s.inRuns, _ = t.(InRuns)
		s.caller = Hand{shared: s}
		t.Work(&s.caller)
		s.Stop, s.inRuns = nil, nil
		return
	}
	s := &shared{Call: c, task: t, workers: n, processors: runtime.GOMAXPROCS(0)}
	s.changed.L = &s.mutex
	s.inRuns, _ = t.(InRuns)
	if c.Turns {
		last, _, _, _ := s.run(c.Items - 1)
		s.turns = make([]atomic.Int64, last+1)
		for i := 0; i < c.Items; {
			number, first, n, _ := s.run(i)
			s.turns[number].Store(int64(first))
			i = first + n
		}
	}
	fault := debug.SetPanicOnFault(false)
	debug.SetPanicOnFault(fault)
	for number := 1; number < n; number++ {
		go s.help(number, fault)
	}
	go nothing() // the scheduler is slow to let another thread have the newest goroutine
	waiting.Add(int32(n - 1))
	s.lead()
}

func nothing() {}

// A shared is a call under way.
type shared struct {
	Call
	inRuns     InRuns // the task, if it is
	task       Task
	workers    int
	processors int
	caller     Hand
	next       atomic.Int64   // item to be claimed
	turns      []atomic.Int64 // of each run, the item whose turn it is
	atWork     atomic.Int32   // helpers that are in task.Work

	mutex    sync.Mutex // guards what follows, and what sleepers wait for
	changed  sync.Cond
	sleepers int
	closed   bool // no helper may begin
	panicked *Panic
}

// lead is the part of the caller.
func (s *shared) lead() {
	returned := false
	defer func() {
		s.caller.finish()
		if !returned { // and the panic goes on
			s.stop()
		}
		s.close()
		if returned && s.panicked != nil {
			panic(s.panicked)
		}
	}()
	s.caller = Hand{shared: s}
	s.task.Work(&s.caller)
	returned = true
}

// help is a helper.
func (s *shared) help(number int, fault bool) {
	waiting.Add(-1)
	if !s.begin() {
		s.linger()
		return
	}
	debug.SetPanicOnFault(fault)
	h := Hand{shared: s, number: number}
	returned := false
	defer func() {
		if !returned {
			s.fail(recover())
		}
		h.finish()
		if !s.end() {
			s.linger()
		}
	}()
	s.task.Work(&h)
	returned = true
}

// begin lets a helper take part, unless the call is closed.
func (s *shared) begin() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.closed {
		s.atWork.Add(1)
	}
	return !s.closed
}

// end is begin's counterpart. It reports whether it woke a sleeper, which this thread can run at once.
func (s *shared) end() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.atWork.Add(-1)
	return s.wake()
}

// close keeps helpers that have not begun from beginning, and waits for the others.
func (s *shared) close() {
	s.mutex.Lock()
	s.closed = true
	s.mutex.Unlock()
	s.await(func() bool { return s.atWork.Load() == 0 })
	s.task = nil // helpers that come late do not keep it alive
}

// stop ends the claiming.
func (s *shared) stop() { s.next.Store(int64(s.Items)) }

// fail stops the call for the panic of a helper, the first of which the caller will see.
func (s *shared) fail(value any) {
	s.stop()
	if value == nil {
		value = errors.New("runtime.Goexit was called")
	}
	p := &Panic{value, debug.Stack()}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.panicked == nil {
		s.panicked = p
	}
}

// await waits until done says so: awake at first, since to wake a sleeping thread takes long.
func (s *shared) await(done func() bool) {
	if done() || s.processors > 1 && spin(done) {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for !done() {
		s.sleepers++
		s.changed.Wait()
		s.sleepers--
	}
}

// wake wakes the sleepers, if there are any, to look again.
func (s *shared) wake() bool {
	if s.sleepers == 0 {
		return false
	}
	s.changed.Broadcast()
	return true
}

// A Hand is one goroutine at work on a call.
type Hand struct {
	shared   *shared
	number   int // 0 is the caller
	first, n int // the items that it has claimed
	next     int // item to be claimed, where h is alone
}

// Caller reports whether h is of the goroutine that called Share.
func (h *Hand) Caller() bool { return h.number == 0 }

// Workers returns how many goroutines share the call.
func (h *Hand) Workers() int { return h.shared.workers }

// Next finishes the items that were claimed last, and claims n items from first on. ok is false if
// there are none for h.
func (h *Hand) Next() (first, n int, ok bool) {
	h.finish()
	s := h.shared
	if s.Stop != nil && s.Stop.Load() {
		return 0, 0, false
	}
	if s.Adapt && h.number > 0 && h.number >= max(1, s.processors/int(max(1, inFlight.Load()))) {
		return 0, 0, false // other calls came
	}
	if s.workers == 1 { // without an atomic operation, which takes as long as much of a short item
		if first = h.next; first >= s.Items {
			return 0, 0, false
		}
		_, start, size, together := s.run(first)
		h.first, h.n = first, min(together, start+size-first)
		h.next += h.n
		return first, h.n, true
	}
	for {
		first = int(s.next.Load())
		if first >= s.Items {
			return 0, 0, false
		}
		_, start, size, together := s.run(first)
		n = max(1, min(together, start+size-first, (s.Items-first)/(4*s.workers))) // fewer towards the end, so that all finish together
		if s.next.CompareAndSwap(int64(first), int64(first+n)) {
			h.first, h.n = first, n
			return first, n, true
		}
	}
}

// Turn waits until all items of the run before those of h are finished. The turn of h lasts until
// it calls Next, returns or panics. Only calls with Turns have them; others have one goroutine.
func (h *Hand) Turn() {
	s := h.shared
	if s.turns == nil {
		return
	}
	number, _, _, _ := s.run(h.first)
	turn := &s.turns[number]
	s.await(func() bool { return turn.Load() == int64(h.first) })
}

// finish passes the turn on.
func (h *Hand) finish() {
	s := h.shared
	if h.n > 0 && s.turns != nil {
		h.Turn()
		s.mutex.Lock()
		number, _, _, _ := s.run(h.first)
		s.turns[number].Store(int64(h.first + h.n))
		s.wake()
		s.mutex.Unlock()
	}
	h.n = 0
}

// A Panic is what a caller panics with if a helper did.
type Panic struct {
	Value any    // of the helper's panic
	Stack []byte // of the helper
}

func (p *Panic) Error() string {
	return fmt.Sprintf("attn: panic in a helper goroutine: %v\n\n%s", p.Value, p.Stack)
}

// Unwrap returns the value if it is an error, such as a runtime.Error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

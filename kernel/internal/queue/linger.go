package queue

import "sync/atomic"

// To wake a sleeping thread takes up to 150 us on a virtual machine, longer than many a call. So
// goroutines wait awake for a while: the caller for its helpers, and a helper that is done, by which its
// thread is there for the helpers of the next call. They wait about as long as a wake takes, and longer than
// a layer spends between products that are shared, up to 60 us for 16 tokens. They count steps, of 2 to 6 ns: no clock
// bounds a wait in a bubble of synctest, where it stands still. They do not yield, by which threads that
// have no work would be woken again and again.
const patience = 1 << 15 // steps

// spin waits for that many steps until done says so, and returns whether it did.
func spin(done func() bool) bool {
	var n atomic.Int32
	for n.Add(1) <= patience { // slow, and light on the other thread of the core
		if done() {
			return true
		}
	}
	return false
}

var (
	waiting atomic.Int32 // helpers that no thread runs yet
	vain    atomic.Int32 // lingerings, since the last one that was not in vain
)

// small is how many goroutines a call is worth that takes hardly longer than it takes to wake a thread: with a wake, one of
// 0.1 ms took 1.4 times as long on two goroutines as on one.
const small = 3

// worthwhile reports whether calls have followed each other closely of late. If not, as in the last
// few times, it is tried only now and then.
func worthwhile() bool {
	n := vain.Load()
	if n > 4 && n%16 != 0 {
		vain.Add(1)
		return false
	}
	return true
}

// linger keeps the thread of a helper awake for those of the next call.
func (s *shared) linger() {
	if s.processors == 1 || !worthwhile() {
		return
	}
	if spin(func() bool { return waiting.Load() > 0 }) {
		vain.Store(0)
	} else {
		vain.Add(1)
	}
}

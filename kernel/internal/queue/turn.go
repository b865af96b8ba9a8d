package queue

// Await waits until done says so. What it depends on is changed by other goroutines of the call, which then call
// Changed. One that cannot go on changes it too, so that nobody waits for ever.
func (h *Hand) Await(done func() bool) { h.shared.await(done) }

// Changed makes those that wait look again.
func (h *Hand) Changed() {
	s := h.shared
	if s.workers == 1 {
		return
	}
	s.mutex.Lock()
	s.wake()
	s.mutex.Unlock()
}

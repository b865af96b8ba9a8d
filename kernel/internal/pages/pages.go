// Package pages counts who has which page of a pool. Nothing here knows what a page holds, or locks.
package pages

// A Pool is pages that are free, or that one or several have.
type Pool struct {
	has        []int32 // how many have each page
	next, prev []int32 // the ring of free pages, with one more that is never taken, the number of pages
	free       int
	shared     int // that several have
}

// New returns a pool of n free pages, up to 2^31-2, which are taken in increasing order.
func New(n int) *Pool {
	p := &Pool{has: make([]int32, n), next: make([]int32, n+1), prev: make([]int32, n+1), free: n}
	for i := range p.next {
		p.next[i], p.prev[i] = int32((i+1)%(n+1)), int32((i+n)%(n+1))
	}
	return p
}

// Len, Free and Shared return the numbers of all pages, of the free ones, and of those that several have.
func (p *Pool) Len() int    { return len(p.has) }
func (p *Pool) Free() int   { return p.free }
func (p *Pool) Shared() int { return p.shared }

// Alone reports whether only one has a page that is not free.
func (p *Pool) Alone(page int32) bool { return p.has[page] == 1 }

// Take takes a free page, of which there is one: that behind page after, so that they are neighbours, if it is free.
func (p *Pool) Take(after int32) int32 {
	page := after + 1
	if after < 0 || int(page) == len(p.has) || p.has[page] > 0 {
		page = p.next[len(p.has)]
	}
	p.has[page] = 1
	p.free--
	p.next[p.prev[page]], p.prev[p.next[page]] = p.next[page], p.prev[page]
	return page
}

// Share says that one more has a page.
func (p *Pool) Share(page int32) {
	if p.has[page]++; p.has[page] == 2 {
		p.shared++
	}
}

// Drop says that one less has a page. A page that is free then is taken next.
func (p *Pool) Drop(page int32) {
	switch p.has[page]--; p.has[page] {
	case 1:
		p.shared--
	case 0:
		p.free++
		ring := int32(len(p.has))
		p.next[page], p.prev[page] = p.next[ring], ring
		p.prev[p.next[ring]], p.next[ring] = page, page
	}
}

package kernel

import (
	"cmp"
	"slices"
	"unsafe"
)

// Which arguments share memory is decided here, to the element.

// A footprint is where the elements of an argument lie: in rows of width elements, one for each sum
// of a multiple of each step.
type footprint struct {
	data  []float32 // from the first element to the last
	width int
	steps [3]step
}

// A step has the multiples 0, size, ..., (count-1)*size.
type step struct{ size, count int64 }

// footprint is for a resolved tensor.
func (t *Tensor) footprint() footprint {
	return footprint{t.Data, t.Dim, [3]step{
		{int64(t.LenStride), int64(t.Len)}, {int64(t.HeadStride), int64(t.Heads)}, {int64(t.BatchStride), int64(t.Batch)},
	}}
}

// footprint is for a resolved matrix.
func (m *Matrix) footprint() footprint {
	return footprint{m.Data, m.Cols, [3]step{{int64(m.Stride), int64(m.Rows)}}}
}

func vectorFootprint(x []float32) footprint { return footprint{data: x, width: len(x)} }

// overlap reports whether x and y share memory.
func overlap(x, y []float32) bool {
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	d := distance(x, y)
	return d < 4*int64(len(x)) && -d < 4*int64(len(y))
}

// distance returns the bytes from the first element of x to that of y.
func distance(x, y []float32) int64 {
	return int64(uintptr(unsafe.Pointer(&y[0]))) - int64(uintptr(unsafe.Pointer(&x[0])))
}

// meets reports whether x and y share an element. If that would take too long to tell, they do.
func (x footprint) meets(y footprint) bool {
	if !overlap(x.data, y.data) {
		return false
	}
	// Bytes, as elements need not be aligned to each other. A row of x begins at X, one of y at
	// Y + d; they share a byte if X - Y is d, up to a row of x less or a row of y more. Y counts
	// down from its last row.
	d := distance(x.data, y.data)
	lo, hi := d-4*int64(x.width)+1, d+4*int64(y.width)-1
	steps := make([]step, 0, len(x.steps)+len(y.steps))
	for i, s := range x.steps {
		t := y.steps[i]
		steps = append(steps, step{4 * s.size, s.count}, step{4 * t.size, t.count})
		if t.count > 1 {
			lo += 4 * t.size * (t.count - 1)
			hi += 4 * t.size * (t.count - 1)
		}
	}
	return reaches(steps, lo, hi)
}

// rowsMeet reports whether two rows of a resolved tensor share an element, other than those that a
// stride of 0 makes the same. If that would take too long to tell, they do.
func (t *Tensor) rowsMeet() bool {
	dims := t.footprint().steps
	for last, s := range dims {
		if s.size == 0 || s.count == 1 {
			continue
		}
		// Two rows of which the second is ahead in this dimension, and equal in those after it.
		steps := []step{{s.size, s.count - 1}}
		lo, hi := 1-int64(t.Dim)-s.size, int64(t.Dim)-1-s.size
		for _, d := range dims[:last] {
			if d.size > 0 {
				steps = append(steps, step{d.size, 2*d.count - 1})
				lo += d.size * (d.count - 1)
				hi += d.size * (d.count - 1)
			}
		}
		if reaches(steps, lo, hi) {
			return true
		}
	}
	return false
}

// reaches reports whether a sum of one multiple of each step is in [lo, hi]. It changes steps.
func reaches(steps []step, lo, hi int64) bool {
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.size, b.size) })
	left := steps[:0]
	for _, s := range steps {
		switch n := len(left); {
		case s.count <= 1 || s.size == 0:
		case s.size <= hi-lo+1: // the intervals that its multiples leave to the others have no gaps
			lo -= s.size * (s.count - 1)
		case n > 0 && s.size%left[n-1].size == 0 && s.size/left[n-1].size <= left[n-1].count: // one step goes on where the other ends
			left[n-1].count += s.size / left[n-1].size * (s.count - 1)
		default:
			left = append(left, s)
		}
	}
	work := mostWork
	return search(left, lo, hi, &work)
}

// mostWork multiples of the larger of three or more steps are tried, which takes up to 0.1 ms.
const mostWork = 1000

// search is reaches for increasing steps, each larger than hi-lo+1.
func search(steps []step, lo, hi int64, work *int) bool {
	var most, common int64
	for _, s := range steps {
		most += s.size * (s.count - 1)
		common = gcd(s.size, common)
	}
	switch {
	case hi < 0 || lo > most:
		return false
	case lo <= 0 || hi >= most:
		return true
	case hi/common*common < lo:
		return false
	case len(steps) == 1:
		return true
	}
	// The multiples of the largest step that leave neither too little nor too much to the others.
	last, others := steps[len(steps)-1], steps[:len(steps)-1]
	most -= last.size * (last.count - 1)
	from, to := max(0, (lo-most+last.size-1)/last.size), min(last.count-1, hi/last.size)
	if len(others) == 1 {
		return from <= to && residues(to-from+1, hi-from*last.size, last.size, others[0].size, hi-lo) > 0
	}
	for x := from; x <= to; x++ {
		if *work--; *work < 0 || search(others, lo-x*last.size, hi-x*last.size, work) {
			return true
		}
	}
	return false
}

// residues returns how many of b, b-a, ..., b-(n-1)*a are at most w above a multiple of m.
func residues(n, b, a, m, w int64) int64 {
	a, b = (m-a%m)%m, (b%m+m)%m
	// (a*i+b) mod m <= w if and only if the quotients of a*i+b and of a*i+b-w-1 by m differ.
	return int64(quotients(uint64(n), uint64(a), uint64(b), uint64(m)) - quotients(uint64(n), uint64(a), uint64(b+m-w-1), uint64(m)) + uint64(n))
}

// quotients returns the sum of floor((a*i+b)/m) over i < n modulo 2^64: the points of a grid below a
// line, counted as in Euclid's algorithm along one axis and the other in turn.
func quotients(n, a, b, m uint64) uint64 {
	pairs := n * ((n - 1) / 2)
	if n%2 == 0 {
		pairs = n / 2 * (n - 1)
	}
	sum := pairs*(a/m) + n*(b/m)
	a, b = a%m, b%m
	if top := a*n + b; top >= m {
		sum += quotients(top/m, m, top%m, a)
	}
	return sum
}

func gcd(x, y int64) int64 {
	for y != 0 {
		x, y = y, x%y
	}
	return x
}

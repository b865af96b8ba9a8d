//go:build linux || darwin

package asmtest

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fence is the memory on either side of an operand that may not be touched.
const fence = 1 << 20 // bytes, whole pages

// reserve returns memory that may not be touched, until the end of the test.
func reserve(t testing.TB, size int) []byte {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

// open lets b, whole pages, be touched, and returns it as elements.
func open(t testing.TB, b []byte) []float32 {
	if err := unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// Guarded is memory between two fences, so that a kernel that reads or writes beyond an operand
// faults.
type Guarded struct{ words []float32 }

// NewGuarded returns room for n float32. It is freed at the end of the test.
func NewGuarded(t testing.TB, n int) *Guarded {
	page := unix.Getpagesize()
	size := (4*n + page - 1) / page * page
	return &Guarded{open(t, reserve(t, size+2*fence)[fence:][:size])}
}

// Head returns n elements right behind the first fence.
func (g *Guarded) Head(n int) []float32 { return g.words[:n:n] }

// Tail returns n elements right before the second fence.
func (g *Guarded) Tail(n int) []float32 { return g.words[len(g.words)-n:] }

// GuardedRows is rows with a page that may not be touched before, between and behind them.
type GuardedRows struct {
	Stride int // elements from a row to the next
	b      []byte
}

// NewGuardedRows returns room for n rows of up to a page. It is freed at the end of the test.
func NewGuardedRows(t testing.TB, n int) *GuardedRows {
	page := unix.Getpagesize()
	b := reserve(t, 2*fence+2*n*page)[fence:]
	for i := range n {
		open(t, b[2*i*page:][:page])
	}
	return &GuardedRows{2 * page / 4, b}
}

// Head returns n rows of dim elements, each right behind a page that may not be touched.
func (g *GuardedRows) Head(n, dim int) []float32 { return g.from(0, n, dim) }

// Tail returns n rows of dim elements, each right before a page that may not be touched.
func (g *GuardedRows) Tail(n, dim int) []float32 { return g.from(g.Stride/2-dim, n, dim) }

func (g *GuardedRows) from(first, n, dim int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&g.b[4*first])), (n-1)*g.Stride+dim)
}

// Sparse returns n zeros of which few may be touched: they need address space rather than memory.
// The test is skipped where there is not enough.
func Sparse(t testing.TB, n int) []float32 {
	b, err := unix.Mmap(-1, 0, 4*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		t.Skipf("no %d bytes of address space: %v", 4*n, err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), n)
}

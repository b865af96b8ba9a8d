//go:build unix

package asmtest

import (
	"syscall"
	"testing"
	"unsafe"
)

// Guarded is memory between two pages that may not be touched, so that a kernel that reads or
// writes beyond an operand faults.
type Guarded struct{ words []float32 }

// NewGuarded returns room for n float32. It is freed at the end of the test.
func NewGuarded(t testing.TB, n int) *Guarded {
	page := syscall.Getpagesize()
	size := (4*n + page - 1) / page * page
	b, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(b) })
	for _, guard := range [][]byte{b[:page], b[page+size:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return &Guarded{unsafe.Slice((*float32)(unsafe.Pointer(&b[page])), size/4)}
}

// Head returns n elements right behind the first guard page.
func (g *Guarded) Head(n int) []float32 { return g.words[:n:n] }

// Tail returns n elements right before the second guard page.
func (g *Guarded) Tail(n int) []float32 { return g.words[len(g.words)-n:] }

package memory

import (
	"syscall"
	"unsafe"
)

// Huge asks for huge pages for new memory of elements without pointers, as far as whole ones fit in. What is read once
// a call, from memory, is read a quarter faster from them.
func Huge[T any](x []T) []T {
	const (
		page     = 2 << 20
		collapse = 25 // MADV_COLLAPSE, from Linux 6.1 on: also what the heap has used before, in small pages
	)
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(*new(T))))
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (page - 1)
	if whole := (len(b) - skip) &^ (page - 1); whole > 0 {
		// Without them it works as well.
		syscall.Madvise(b[skip:][:whole], syscall.MADV_HUGEPAGE)
		syscall.Madvise(b[skip:][:whole], collapse)
	}
	return x
}

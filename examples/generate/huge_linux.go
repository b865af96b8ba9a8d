package main

import (
	"os"
	"syscall"
	"unsafe"
)

// hugePages asks for huge pages for x before it is written, as kernel.Pack does for weights.
func hugePages(x []float32) {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(x))) & uintptr(os.Getpagesize()-1)
	syscall.Madvise(b[skip:], syscall.MADV_HUGEPAGE) // without them it works as well
}

package generic

import (
	"fmt"
	"unsafe"
)

// checkVectors panics unless dst and x have the same length, and are the same or apart.
func checkVectors(function string, dst, x []float32) {
	if len(dst) != len(x) {
		panic(fmt.Sprintf("attn: generic.%s: dst has %d elements, x %d", function, len(dst), len(x)))
	}
	if len(x) > 0 && &dst[0] != &x[0] && overlap(dst, x) {
		panic(fmt.Sprintf("attn: generic.%s: dst overlaps x and is not x", function))
	}
}

// overlap reports whether x and y share memory.
func overlap(x, y []float32) bool {
	if len(x) == 0 || len(y) == 0 {
		return false
	}
	const size = unsafe.Sizeof(x[0])
	a, b := uintptr(unsafe.Pointer(&x[0])), uintptr(unsafe.Pointer(&y[0]))
	return a < b+size*uintptr(len(y)) && b < a+size*uintptr(len(x))
}

// checkRows panics unless x holds n rows of dim elements, stride apart.
func checkRows(function, name string, x []float32, n, dim, stride int) {
	switch {
	case n < 0 || dim < 0:
		panic(fmt.Sprintf("attn: generic.%s: %s is %d x %d", function, name, n, dim))
	case n == 0 || dim == 0:
	case n > 1 && stride < dim:
		panic(fmt.Sprintf("attn: generic.%s: rows of %s are %d apart, want %d or more", function, name, stride, dim))
	case len(x) < dim || n > 1 && (len(x)-dim)/stride < n-1:
		panic(fmt.Sprintf("attn: generic.%s: %s has %d elements, want %d rows of %d, %d apart", function, name, len(x), n, dim, stride))
	}
}

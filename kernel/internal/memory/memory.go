package memory

import "unsafe"

// Aligned returns buf or new memory with room for n elements from the start of a cache line. What was too
// little becomes half as much again at least, so that a size that grows step by step allocates rarely.
func Aligned[T float32 | uint16 | int8](buf []T, n int) []T {
	if cap(buf) >= n {
		return buf[:n]
	}
	size := unsafe.Sizeof(T(0))
	line := 64 / int(size) // elements
	buf = make([]T, max(n, cap(buf)+cap(buf)/2)+line)
	skip := -(uintptr(unsafe.Pointer(&buf[0])) / size) % uintptr(line)
	return buf[skip:][:n]
}

// Clearing and copying are assembly of the runtime, which cannot be preempted, as long as they take:
// what may be long goes in parts. A loop is no preemption point for a stop of the world, whose signals
// find it inside of the assembly nearly always; the stack check of a function that is not inlined is.

// partLen elements are cleared or copied at a time: few enough for 0.1 ms even where each page is a fault.
const partLen = 1 << 13

// Clear sets x to 0.
func Clear(x []float32) {
	for len(x) > partLen {
		clearPart(x[:partLen])
		x = x[partLen:]
	}
	clearPart(x)
}

// Copy copies src to the beginning of dst, which has room for it.
func Copy[T any](dst, src []T) {
	for len(src) > partLen {
		copyPart(dst, src[:partLen])
		dst, src = dst[partLen:], src[partLen:]
	}
	copyPart(dst, src)
}

//go:noinline
func clearPart(x []float32) { clear(x) }

//go:noinline
func copyPart[T any](dst, src []T) { copy(dst, src) }

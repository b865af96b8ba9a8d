// Package memory provides scratch memory.
package memory

import "unsafe"

// Aligned returns buf or new memory with room for n elements from the start of a cache line. What was too
// little becomes half as much again at least, so that a size that grows step by step allocates rarely.
func Aligned(buf []float32, n int) []float32 {
	if cap(buf) >= n {
		return buf[:n]
	}
	const line = 16 // elements
	buf = make([]float32, max(n, cap(buf)+cap(buf)/2)+line)
	skip := -(uintptr(unsafe.Pointer(&buf[0])) / 4) % line
	return buf[skip:][:n]
}

package kernel

// Clearing and copying are assembly of the runtime, which cannot be preempted, as long as they take:
// what may be long goes in parts. A loop is no preemption point for a stop of the world, whose signals
// find it inside of the assembly nearly always; the stack check of a function that is not inlined is.

// partLen elements are cleared or copied at a time: few enough for 0.1 ms even where each page is a fault.
const partLen = 1 << 13

// zero sets x to 0.
func zero(x []float32) {
	for len(x) > partLen {
		zeroPart(x[:partLen])
		x = x[partLen:]
	}
	zeroPart(x)
}

// move copies src to the beginning of dst, which has room for it.
func move(dst, src []float32) {
	for len(src) > partLen {
		movePart(dst, src[:partLen])
		dst, src = dst[partLen:], src[partLen:]
	}
	movePart(dst, src)
}

//go:noinline
func zeroPart(x []float32) { clear(x) }

//go:noinline
func movePart(dst, src []float32) { copy(dst, src) }

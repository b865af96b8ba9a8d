// Package limit has loops that reach the limits of the machine, for benchmarks to compare with: the
// most fused multiply-adds, and plain reading. A result means something as a ratio to them at the
// same moment.
package limit

// part is the number of elements that one call of the read loop takes.
const part = 1 << 14

// FMA runs independent fused multiply-adds, about 10 us of them, and returns the number of
// floating-point operations.
func FMA() (flops int) { return fma() }

// Read loads all of x, whose length is a multiple of 128, as fast as it can.
func Read(x []float32) {
	for len(x) > 0 {
		n := min(len(x), part)
		read(x[:n])
		x = x[n:]
	}
}

package neon

import "golang.org/x/sys/cpu"

// Supported reports whether this CPU has Advanced SIMD. The kernels use no more than Armv8.0 has.
var Supported = cpu.ARM64.HasASIMD

package avx2

import "golang.org/x/sys/cpu"

// Supported reports whether this CPU and its operating system have AVX2, FMA and F16C.
// x/sys/cpu checks the operating system for AVX and AVX2, not for FMA.
var Supported = cpu.X86.HasAVX && cpu.X86.HasAVX2 && cpu.X86.HasFMA && f16c()

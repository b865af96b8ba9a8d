package avx512

import "golang.org/x/sys/cpu"

// Supported reports whether this CPU and its operating system have AVX-512 F, BW, DQ and VL, and
// AVX2 and FMA, whose instructions are among the kernels too.
var Supported = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL &&
	cpu.X86.HasAVX2 && cpu.X86.HasFMA

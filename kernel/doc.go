// Package kernel is attention, and the vector and matrix kernels under it, in assembly for float32:
// fast on one core, without cgo, and with the same bits on every machine.
//
// [Attention] is scaled dot-product attention, fused and tiled: the scores of a tile of keys are
// turned into weights and mixed into the output while they are in the cache, and the matrix of all
// scores never exists. [AttentionPartial] is that for a part of the keys, to be merged with others. [SelfAttention] is the layer around it, with its projections. [Dot], [Exp],
// [Softmax], [LogSumExp], [MatMul] and [MatMulPacked] are the kernels by themselves. [Rotary] gives
// queries and keys their positions. [AttentionGradient] is the way back, for training.
//
// The package chooses its machine code once, when the program starts, by what the CPU offers;
// [Backend] names the choice. It is "generic", pure Go and slow, where the CPU has no supported
// instruction set, with the build tag purego, or where GODEBUG turns features off (cpu.avx2=off,
// cpu.asimd=off). Every choice computes the same bits: package generic defines them.
//
// Scratch memory comes from pools: the first calls of their size allocate it, a few tiles a worker in
// [Attention], blocks of the operands in [MatMul], and in [SelfAttention] what it says; later calls do not,
// until garbage collections have found the pools unused. A size that grows call by call gets half as much
// again each time that it does not fit.
//
// Results do not depend on the number of workers, on the other members of a batch, on strides or on
// alignment, and a row of a causal prefill equals the decoding of its query against its prefix, bit
// for bit. They do depend on the floating-point environment of the thread, as all float arithmetic of Go
// does: Go starts every thread with rounding to nearest even and with subnormals. C code that leaves
// flush-to-zero, denormals-are-zero or another rounding set in MXCSR or FPCR changes the results of what runs
// there afterwards.
package kernel

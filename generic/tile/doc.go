// Package tile is the reference of each assembly kernel, and the layout of what they work on: what a
// kernel of the same name in asm computes, bit for bit. It belongs to the machinery between generic,
// which states the contract for users and calls these functions, and kernel: it may change at any time,
// and it checks no argument.
//
// A panel is a group of w queries that go through a tile of keys together, one to a lane: element
// (i, r) of a panel's matrix is at [i*w+r]. w is 16 with AVX2 and NEON and 32 with AVX-512, and less for
// rows; no bit depends on it.
package tile

// Lanes is the number of virtual accumulators of a reduction along a vector: 4 AVX2 registers, 8
// NEON registers, 2 AVX-512 registers.
const Lanes = 32

// Keys is the number of keys of an attention tile.
const Keys = 256

// Package asm has each kernel of package tile as fast as this CPU can, in assembly where there is
// some. It checks no argument and may change at any time: package kernel is the one to use.
//
// Each function branches instead of calling through a variable, which would make its arguments
// escape to the heap.
package asm

import (
	"fmt"
	"slices"
)

// NarrowPanel is the width of panels for few queries, and of all panels but those of AVX-512.
const NarrowPanel = 16

// level is what of levels this process uses.
var level = supported()

// Backend names the instruction set that this process uses, or is "generic".
func Backend() string { return levels[level] }

// Backends lists those that this machine has, from "generic" to the one that is used.
func Backends() []string { return levels[:supported()+1] }

// Use lets this process use another one of Backends. It is for tests, while nothing else runs.
func Use(backend string) {
	i := slices.Index(Backends(), backend)
	if i < 0 {
		panic(fmt.Sprintf("attn: asm.Use: this machine does not have %s", backend))
	}
	level = i
}

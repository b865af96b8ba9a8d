package main

import (
	"testing"

	"github.com/selfattn/attn/gen/front"
)

// The committed kernels are what the generators write, and there is no other assembly.
func TestGenerated(t *testing.T) { front.TestGenerated(t, "../../asm/neon", write) }

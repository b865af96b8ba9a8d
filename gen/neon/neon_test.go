package main

import (
	"testing"

	"github.com/selfattn/attn/gen/spec"
)

// The committed kernels are what the generators write, and there is no other assembly.
func TestGenerated(t *testing.T) {
	found, err := spec.Stale("../../asm/internal/neon", t.TempDir(), write)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range found {
		t.Error(what)
	}
}

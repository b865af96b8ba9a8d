//go:build !unix

package asmtest

import "testing"

// Guarded is plain memory where there is no mmap.
type Guarded struct{ words []float32 }

// NewGuarded returns room for n float32.
func NewGuarded(_ testing.TB, n int) *Guarded { return &Guarded{make([]float32, n)} }

// Head returns the first n elements.
func (g *Guarded) Head(n int) []float32 { return g.words[:n:n] }

// Tail returns the last n elements.
func (g *Guarded) Tail(n int) []float32 { return g.words[len(g.words)-n:] }

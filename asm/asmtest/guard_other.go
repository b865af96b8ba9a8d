//go:build !linux && !darwin

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

// GuardedRows is rows in plain memory.
type GuardedRows struct {
	Stride int // elements from a row to the next
	words  []float32
}

// NewGuardedRows returns room for n rows of up to 1024 elements.
func NewGuardedRows(_ testing.TB, n int) *GuardedRows {
	const stride = 2048
	return &GuardedRows{stride, make([]float32, n*stride)}
}

// Head returns n rows of dim elements.
func (g *GuardedRows) Head(n, dim int) []float32 { return g.words[:(n-1)*g.Stride+dim] }

// Tail returns n rows of dim elements.
func (g *GuardedRows) Tail(n, dim int) []float32 {
	return g.words[g.Stride/2-dim:][:(n-1)*g.Stride+dim]
}

// Sparse needs mmap.
func Sparse(t testing.TB, _ int) []float32 {
	t.Skip("no sparse memory on this system")
	return nil
}

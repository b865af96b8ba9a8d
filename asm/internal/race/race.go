//go:build race

// Package race tells the race detector what assembly reads and writes, which it cannot see. It is
// called by the Go functions in front of the assembly and is nothing without -race.
package race

import (
	"runtime"
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
)

// Enabled reports whether the race detector is at work.
const Enabled = true

// Read is a read of x[:n].
func Read[T any](x []T, n int) {
	if n > 0 {
		runtime.RaceReadRange(unsafe.Pointer(&x[0]), n*int(unsafe.Sizeof(x[0])))
	}
}

// Write is a write of x[:n], which may have been read before.
func Write[T any](x []T, n int) {
	if n > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(&x[0]), n*int(unsafe.Sizeof(x[0])))
	}
}

// ReadRows is a read of n rows of dim elements that are stride apart, and of nothing in between.
func ReadRows[T any](x []T, n, dim, stride int) {
	for i := range n {
		Read(x[i*stride:], dim)
	}
}

// WriteRows is a write of such rows.
func WriteRows[T any](x []T, n, dim, stride int) {
	for i := range n {
		Write(x[i*stride:], dim)
	}
}

// ReadGroups is ReadRows of rows that may lie apart, in groups, as those of tile.HalfRows.
func ReadGroups[T any](x []T, groups []int, n, dim, stride int) {
	if groups == nil {
		ReadRows(x, n, dim, stride)
		return
	}
	for i := 0; i < n; i += tile.GroupRows {
		ReadRows(x[groups[i/tile.GroupRows]*stride:], tile.GroupRows, dim, stride)
	}
}

// ReadAt is a read of rows of dim elements that begin at the offsets.
func ReadAt[T any](x []T, offsets []int, dim int) {
	Read(offsets, len(offsets))
	for _, o := range offsets {
		Read(x[o:], dim)
	}
}

// WriteAt is a write of such rows.
func WriteAt[T any](x []T, offsets []int, dim int) {
	Read(offsets, len(offsets))
	for _, o := range offsets {
		Write(x[o:], dim)
	}
}

// ReadVar is a read of *p.
func ReadVar[T any](p *T) { runtime.RaceReadRange(unsafe.Pointer(p), int(unsafe.Sizeof(*p))) }

// WriteVar is a write of *p.
func WriteVar[T any](p *T) { runtime.RaceWriteRange(unsafe.Pointer(p), int(unsafe.Sizeof(*p))) }

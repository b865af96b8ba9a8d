//go:build !linux

package memory

// Huge asks for huge pages, where that is possible.
func Huge[T any](x []T) []T { return x }

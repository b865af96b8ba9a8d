//go:build !race

package race

const Enabled = false

func Read[T any](x []T, n int)                                  {}
func Write[T any](x []T, n int)                                 {}
func ReadRows[T any](x []T, n, dim, stride int)                 {}
func WriteRows[T any](x []T, n, dim, stride int)                {}
func ReadGroups[T any](x []T, groups []int, n, dim, stride int) {}
func ReadAt[T any](x []T, offsets []int, dim int)               {}
func WriteAt[T any](x []T, offsets []int, dim int)              {}
func ReadVar[T any](p *T)                                       {}
func WriteVar[T any](p *T)                                      {}

//go:build !amd64 && !arm64

package asmtest

// Impls is the assembly implementations of this architecture.
var Impls []Impl

//go:build !purego

package limit

import (
	"github.com/selfattn/attn/asm/internal/avx2"
	"github.com/selfattn/attn/asm/internal/avx512"
)

func fma() int {
	switch {
	case avx512.Supported:
		return avx512.FMALoop(2500)
	case avx2.Supported:
		return avx2.FMALoop(5000)
	}
	return scalarFMA()
}

func read(x []float32) {
	switch {
	case avx512.Supported:
		avx512.ReadLoop(x)
	case avx2.Supported:
		avx2.ReadLoop(x)
	default:
		scalarRead(x)
	}
}

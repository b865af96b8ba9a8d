//go:build !purego

package limit

import "github.com/selfattn/attn/asm/avx2"

func fma() int {
	if avx2.Supported {
		return avx2.FMALoop(5000)
	}
	return scalarFMA()
}

func read(x []float32) {
	if avx2.Supported {
		avx2.ReadLoop(x)
	} else {
		scalarRead(x)
	}
}

//go:build !purego

package limit

import "github.com/selfattn/attn/asm/internal/neon"

func fma() int {
	if neon.Supported {
		return neon.FMALoop(5000)
	}
	return scalarFMA()
}

func read(x []float32) {
	if neon.Supported {
		neon.ReadLoop(x)
	} else {
		scalarRead(x)
	}
}

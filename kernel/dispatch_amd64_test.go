//go:build !purego

package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// Every public function gives the same bits with each instruction set that this machine has, and without.
func TestFallback(t *testing.T) {
	best512, best2 := useAVX512, useAVX2
	if !best2 {
		require.False(t, asmtest.Required("avx2"), "ATTN_REQUIRE names avx2")
		t.Skip("there is no assembly to switch off")
	}
	defer func() { useAVX512, useAVX2 = best512, best2 }()
	for _, c := range calls(rand.New(rand.NewPCG(1, 1)), asmtest.Normal) {
		useAVX512, useAVX2 = best512, best2
		want := c.result(t, 1)
		if useAVX512 {
			require.Equal(t, "avx512", Backend())
			useAVX512 = false
			asmtest.Equal(t, want, c.result(t, 1), "%s without AVX-512", c.name)
		}
		require.Equal(t, "avx2", Backend())
		useAVX2 = false
		require.Equal(t, "generic", Backend())
		asmtest.Equal(t, want, c.result(t, 1), "%s without AVX2", c.name)
	}
}

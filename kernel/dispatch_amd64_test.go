//go:build !purego

package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// Every public function gives the same bits without the assembly.
func TestFallback(t *testing.T) {
	if !useAVX2 {
		require.False(t, asmtest.Required("avx2"), "ATTN_REQUIRE names avx2")
		t.Skip("there is no assembly to switch off")
	}
	defer func() { useAVX2 = true }()
	for _, c := range calls(rand.New(rand.NewPCG(1, 1))) {
		useAVX2 = true
		require.Equal(t, "avx2", Backend())
		want := c.result(t, 1)
		useAVX2 = false
		require.Equal(t, "generic", Backend())
		asmtest.Equal(t, want, c.result(t, 1), "%s without AVX2", c.name)
	}
}

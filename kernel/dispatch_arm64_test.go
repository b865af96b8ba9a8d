//go:build !purego

package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// Every public function gives the same bits with NEON and without.
func TestFallback(t *testing.T) {
	if !useNEON {
		require.False(t, asmtest.Required("neon"), "ATTN_REQUIRE names neon")
		t.Skip("there is no assembly to switch off")
	}
	defer func() { useNEON = true }()
	for _, c := range calls(rand.New(rand.NewPCG(1, 1)), asmtest.Normal) {
		useNEON = true
		require.Equal(t, "neon", Backend())
		want := c.result(t, 1)
		useNEON = false
		require.Equal(t, "generic", Backend())
		asmtest.Equal(t, want, c.result(t, 1), "%s without NEON", c.name)
	}
}

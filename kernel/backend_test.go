package kernel

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// A backend that falls back silently would pass every other test.
func TestBackend(t *testing.T) {
	t.Logf("backend: %s", Backend())
	if names := os.Getenv("ATTN_REQUIRE"); names != "" && !strings.Contains(names, ",") {
		require.Equal(t, names, Backend(), "ATTN_REQUIRE")
	}
}

// Every public function gives the same bits with each instruction set that this machine has, and without.
func TestFallback(t *testing.T) {
	best := Backend()
	if best == "generic" {
		for _, isa := range asmtest.Impls {
			require.False(t, asmtest.Required(isa.Name), "ATTN_REQUIRE names %s", isa.Name)
		}
		t.Skip("there is no assembly to switch off")
	}
	defer asm.Use(best)
	for _, c := range calls(rand.New(rand.NewPCG(1, 1)), asmtest.Normal) {
		asm.Use(best)
		want := c.result(t, 1)
		for _, other := range asm.Backends() {
			asm.Use(other)
			require.Equal(t, other, Backend())
			asmtest.Equal(t, want, c.result(t, 1), "%s on %s", c.name, other)
		}
	}
}

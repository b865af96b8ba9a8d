package kernel

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A backend that falls back silently would pass every other test.
func TestBackend(t *testing.T) {
	t.Logf("backend: %s", Backend())
	if names := os.Getenv("ATTN_REQUIRE"); names != "" && !strings.Contains(names, ",") {
		require.Equal(t, names, Backend(), "ATTN_REQUIRE")
	}
}

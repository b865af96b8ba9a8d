package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selfattn/attn/asm/internal/avx2"
	"github.com/stretchr/testify/require"
)

// A mutant that is known to be wrong is killed, one that changes nothing survives, and text that is
// no assembly is refused.
func TestSuite(t *testing.T) {
	if testing.Short() || !avx2.Supported {
		t.Skip("builds and runs the tests of exponentials on AVX2 three times")
	}
	t.Chdir("../..")
	text, err := os.ReadFile(filepath.Join("asm", "internal", "avx2", "exp_amd64.s"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSuite("avx2", "amd64", "Exp")
	require.NoError(t, err)
	s.stages = s.stages[:1]
	try := func(old, new string) (string, error) {
		m := mutant{isa: "avx2", path: "asm/internal/avx2/exp_amd64.s", text: strings.Replace(string(text), old, new, 1)}
		require.NotEqual(t, string(text), m.text)
		return s.test(m)
	}
	killer, err := try("\tVMAXPS       Y4, Y0, Y4\n", "")
	require.NoError(t, err)
	require.Equal(t, s.stages[0].name, killer)
	killer, err = try("\tPCALIGN $0x20\n", "")
	require.NoError(t, err)
	require.Empty(t, killer)
	_, err = try("\tVMAXPS", "\tVMAXIMUM")
	require.Error(t, err)
}

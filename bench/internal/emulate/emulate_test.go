package emulate

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	c, err := parse("3 4 4ff0 github.com/selfattn/attn/asm/internal/neon.exp.abi0\n5 6 80 github.com/selfattn/attn/kernel.(*panel).load\n" +
		"2 1 50f0 github.com/selfattn/attn/asm/internal/neon.exp.abi0\n7 100 L1\n1 7 L2\n")
	require.NoError(t, err)
	require.Equal(t, Block{"asm/internal/neon.exp.abi0", 0x4ff0, 4, 3}, c.Blocks[0])
	require.Equal(t, map[string]float64{"exp": 14, "kernel.(*panel).load": 30}, c.Functions())
	require.Equal(t, []float64{7, 1}, c.Misses)
	for _, bad := range []string{"", "12\n", "1 2 zz github.com/selfattn/attn/kernel.f\n", "1 2 3 runtime.f\n", "one 2 3 github.com/selfattn/attn/kernel.f\n"} {
		_, err := parse(bad)
		require.Error(t, err, "%q", bad)
	}
}

// What is executed does not depend on caches; of what a cache holds, and of what is used again soon, nothing is missed again.
func TestRun(t *testing.T) {
	for _, tool := range []string{NEON.command[0], "cc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	p, err := NEON.Build(t.TempDir())
	require.NoError(t, err)
	run := func(work string, caches ...Cache) Counts {
		c, err := p.Run(work, caches...)
		require.NoError(t, err)
		return c
	}
	plain := run("512 tokens")
	small, large := Cache{32 << 10, 8}, Cache{4 << 20, 16}
	one, two := run("512 tokens", small, large), run("512 tokens twice", small, large)
	require.Equal(t, plain.Functions()["scoreTile"], one.Functions()["scoreTile"])
	require.Equal(t, 2*plain.Functions()["scoreTile"], two.Functions()["scoreTile"])
	const operands = 4 * 512 * 64 * 4 / 64 // lines
	require.InEpsilon(t, 2, two.Misses[0]/one.Misses[0], 0.1)
	require.Greater(t, one.Misses[0], 10.0*operands, "keys and values are read again for each panel of queries")
	require.Greater(t, one.Misses[1], 0.9*operands)
	require.Less(t, two.Misses[1]-one.Misses[1], 0.1*operands)
	again := run("512 tokens", Cache{64, 1}, large)
	require.Greater(t, again.Misses[0], 2*one.Misses[0])
	require.InEpsilon(t, one.Misses[1], again.Misses[1], 0.1, "of L2 is missed what it has not had yet")
	_, err = p.Run("no such work")
	require.Error(t, err)
}

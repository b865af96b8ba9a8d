package asm_test

import (
	"testing"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// The backends are what asmtest tests, without those that lack a part of what stands below them.
func TestBackends(t *testing.T) {
	want := []string{"generic"}
	for _, isa := range asmtest.Impls {
		if !isa.Supported {
			break
		}
		want = append(want, isa.Name)
	}
	if asm.Backend() == "generic" { // -tags purego has no dispatch to assembly, which is tested all the same
		want = want[:1]
	}
	require.Equal(t, want, asm.Backends())
	best := asm.Backend()
	require.Equal(t, want[len(want)-1], best)
	require.PanicsWithValue(t, "attn: asm.Use: this machine does not have sse", func() { asm.Use("sse") })
	require.Equal(t, best, asm.Backend())
}

// A panel is the widest one of a backend that is filled by more than half.
func TestPanelWidth(t *testing.T) {
	best := asm.Backend()
	defer asm.Use(best)
	for i, backend := range asm.Backends() {
		asm.Use(backend)
		for n := 1; n < 100; n++ {
			want := asm.NarrowPanel
			for _, isa := range asmtest.Impls[:i] {
				if 2*n > isa.PanelWidth {
					want = max(want, isa.PanelWidth)
				}
			}
			require.Equal(t, want, asm.PanelWidth(n), "%d queries on %s", n, backend)
		}
	}
}

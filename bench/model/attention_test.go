package main

import (
	"math"
	"os/exec"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/bench/internal/emulate"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// Of two calls the second counts, block by block.
func TestSteady(t *testing.T) {
	b := func(at uint64, n int, runs float64) emulate.Block {
		return emulate.Block{Function: "f", Address: at, Instructions: n, Runs: runs}
	}
	one := emulate.Counts{Blocks: []emulate.Block{b(64, 5, 10), b(8, 4, 7), b(64, 3, 2)}, Misses: []float64{100, 50}}
	two := emulate.Counts{Blocks: []emulate.Block{b(8, 4, 7), b(64, 3, 4), b(64, 5, 25)}, Misses: []float64{150, 51}}
	require.Equal(t, emulate.Counts{Blocks: []emulate.Block{b(64, 3, 2), b(64, 5, 15)}, Misses: []float64{50, 1}}, steady(one, two))
}

// A loop with a branch that it mostly takes is one path, what is around it another, and so is another function.
func TestPaths(t *testing.T) {
	b := func(f string, at uint64, runs float64) emulate.Block {
		return emulate.Block{Function: f, Address: at, Instructions: 10, Runs: runs}
	}
	before, head, rare, tail, after := b("f", 0, 10), b("f", 64, 1000), b("f", 128, 100), b("f", 192, 960), b("f", 256, 10)
	far, other := b("f", 5000, 960), b("g", 5100, 960)
	require.Equal(t, []path{{before, after}, {head, tail}, {rare}, {far}, {other}}, paths([]emulate.Block{before, head, rare, tail, after, far, other}))
}

// Cycles are those of paths that run often, of the rest by number, and of lines; fetching takes its time or is hidden.
func TestEstimated(t *testing.T) {
	c := emulate.Counts{Misses: []float64{1000, 100}, Blocks: []emulate.Block{
		{Function: "f", Address: 0, Instructions: 100, Runs: 1000}, {Function: "f", Address: 4000, Instructions: 50, Runs: 2},
	}}
	asked := 0
	e, err := estimated(c, 20000, func(p path) (float64, error) { asked++; return 25, nil })
	require.NoError(t, err)
	require.Equal(t, 1, asked)
	require.Equal(t, 100100.0, e.instructions)
	require.InDelta(t, 0.999, e.modelled, 1e-4)
	require.Equal(t, 25000.0+2*50/restPerCycle, e.compute)
	require.Equal(t, 1000.0*lineFromL2+100*lineFromBeyond, e.fetch)
	least, most := e.fractions()
	require.InDelta(t, 20000/(e.compute+e.fetch), least, 1e-9)
	require.InDelta(t, 20000/e.compute, most, 1e-9)
	e.fetch = 1e6
	_, most = e.fractions()
	require.InDelta(t, 0.02, most, 1e-9)
}

// The estimate of an attention is of nearly all its instructions, more than those of its multiply-adds, and below the peak.
func TestAttentions(t *testing.T) {
	l, err := findLLVM()
	if err != nil {
		t.Skip(err)
	}
	for _, tool := range []string{"qemu-aarch64", "cc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	all, err := l.attentions(t.TempDir(), "neoverse-v1", "", []int{512})
	require.NoError(t, err)
	require.Len(t, all, 1)
	a := all[0]
	require.Greater(t, a.Modelled, 0.95)
	require.Greater(t, a.Instructions, 2.0*512*512*64/4)
	require.Less(t, a.Beyond, 100.0, "all of it fits L2")
	require.Greater(t, a.Least, 0.5)
	require.Less(t, a.Least, a.Most)
	require.LessOrEqual(t, a.Most, a.Compute)
	require.Less(t, a.Compute, 0.95, "exponentials take time")
	require.InDelta(t, 83.2, a.Peak, 1e-9)
	require.Equal(t, "by nobody yet", a.Check())
}

// Every server is a CPU of its set.
func TestServers(t *testing.T) {
	for _, m := range servers {
		for _, v := range m.cpus {
			found := false
			for _, s := range sets {
				for _, c := range s.cpus {
					found = found || s.name == m.Backend && c.name == v.cpu
				}
			}
			require.True(t, found, "%s %s", m.Backend, v.cpu)
		}
	}
}

// Every kernel can be timed, whatever else the machine does.
func TestMarginal(t *testing.T) {
	if kernel.Backend() == "generic" {
		t.Skip("no loops of assembly")
	}
	for _, i := range asmtest.Impls {
		if i.Name != kernel.Backend() {
			continue
		}
		for _, k := range kernels {
			f := marginal(i, k)
			require.False(t, math.IsNaN(f), k)
			require.NotZero(t, f, k)
		}
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/selfattn/attn/bench/internal/emulate"
	"github.com/stretchr/testify/require"
)

// uniform is counts in which each kernel takes perVector instructions.
func uniform(perVector float64, m emulate.Machine) counts {
	c := counts{}
	for _, r := range rows {
		if c[r.work] == nil {
			c[r.work] = map[string]float64{}
		}
		c[r.work][r.kernel] = perVector * r.n / m.Lanes
	}
	return c
}

func TestKernelsTarget(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printKernels(&out, uniform(20, emulate.NEON), uniform(16, emulate.AVX2)))
	require.Regexp(t, `exp +element +20\.00 +16\.00 +1\.25 +<= 1\.3`, out.String())
	slow := uniform(20, emulate.NEON)
	slow["softmax"]["expSum"] *= 1.1
	require.ErrorContains(t, printKernels(&out, slow, uniform(16, emulate.AVX2)), "expSum takes 1.38 times")
	delete(slow["dot"], "dot")
	require.ErrorContains(t, printKernels(&out, slow, uniform(16, emulate.AVX2)), "dot: not counted")
}

// An attention whose inner loops take 2 instructions a vector of a product and .5 a vector of
// scores for each of the dim elements, and 10% more altogether.
func TestAttentionTarget(t *testing.T) {
	of := func(keys, dim float64) map[string]float64 {
		v := length * keys * dim / emulate.NEON.Lanes
		return map[string]float64{"scoreTile": 2*v + 1000, "softmaxTile": 0.5*v*64/dim + 1000, "valueTile": 2*v + 1000}
	}
	c := counts{"attention": of(length, dim), "longer rows": of(length, longDim), "fewer keys": of(fewKeys, dim)}
	p := parts(c, emulate.NEON)
	require.InDeltaSlice(t, []float64{1, 0.25, 1, 0}, []float64{p[0].loops, p[1].loops, p[2].loops, p[3].loops}, 1e-9)
	vectors := 2 * length * length * dim / emulate.NEON.Lanes
	require.InDelta(t, 1+1000/vectors, p[0].total, 1e-9)
	require.Zero(t, p[3].total)

	var out strings.Builder
	require.NoError(t, printAttention(&out, c, c))
	c["attention"]["kernel.f"] = 0.1 * 2.25 * vectors
	require.ErrorContains(t, printAttention(&out, c, c), "1.100 times")
}

package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// A wrong implementation stands out in the table, one that fails is left out of it.
func TestAccuracy(t *testing.T) {
	wrong, failing := selected, selected
	wrong.name, failing.name = "wrong", "failing"
	wrong.attention = calls(func(dst, q, k, v kernel.Tensor, o *kernel.Options) {
		selected.step(dst, q, k, v, o)
		dst.Data[0] *= 1.001
	})
	failing.attention = func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
		return nil, errors.New("out of luck")
	}
	var out, log bytes.Buffer
	a := accuracies{Keys: []int{16, 300}}
	impls := []impl{selected, wrong, failing}
	var rows []subject
	for _, i := range impls {
		rows = append(rows, i.subject())
	}
	a.surveys(rows, &out, &log)
	a.grow(impls, &log)
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, len(fuzz.Kinds)+2, strings.Count(lines[0], "|"))
	require.True(t, strings.HasPrefix(lines[2], "| "+selected.name) && !strings.Contains(lines[2], "**"), lines[2])
	require.True(t, strings.HasPrefix(lines[3], "| wrong | **"), lines[3])
	require.NotContains(t, out.String(), "failing")
	require.Contains(t, log.String(), "failing: normal: out of luck")
	require.Len(t, a.Kinds, 2)

	spoiled := solver(func(c *fuzz.Case, lse bool, results map[string][]float32) error {
		err := solve(c, lse, results)
		for _, name := range []string{"lse", "dbias"} {
			for i := range results[name] {
				results[name][i] *= 1.001
			}
		}
		return err
	})
	a.surveys(append(ourSubjects(), spoiled.subjects("spoiled", "", edited, edited, true)...), &out, &log)
	for i, k := range a.Kinds[2:] {
		require.Equal(t, i >= 4, slices.Max(k.Errors) > 1, "%s", k.Impl) // a log-sum-exp and a gradient, but no output
	}
	require.Len(t, a.Kinds, 2+2*3)
	require.Equal(t, "spoiled, gradients", a.Kinds[7].Impl)
	require.Len(t, a.Growth, 2)
	for j := range a.Keys {
		require.Less(t, a.Growth[0].Errors[j], 1e-6)
		require.Positive(t, a.Growth[0].Errors[j])
	}
	require.Greater(t, a.Growth[1].Errors[1], 1e-5, "the wrong output counts")
	require.Contains(t, log.String(), "failing, 16 keys: out of luck")
}

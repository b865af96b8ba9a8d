package main

import (
	"bytes"
	"errors"
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
	surveys([]impl{selected, wrong, failing}, &out, &log)
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, len(fuzz.Kinds)+2, strings.Count(lines[0], "|"))
	require.True(t, strings.HasPrefix(lines[2], "| "+selected.name) && !strings.Contains(lines[2], "**"), lines[2])
	require.True(t, strings.HasPrefix(lines[3], "| wrong | **"), lines[3])
	require.NotContains(t, out.String(), "failing")
	require.Contains(t, log.String(), "failing: normal: out of luck")
}

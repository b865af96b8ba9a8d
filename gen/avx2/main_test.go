package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The committed assembly and stubs are what the generators write, and there is no other assembly.
func TestGenerated(t *testing.T) {
	const dir = "../../asm/avx2"
	fresh := t.TempDir()
	names := map[string]bool{}
	for _, f := range files {
		if err := write(fresh, f.name, f.generate); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		for _, suffix := range []string{"_amd64.s", "_amd64.go"} {
			names[f.name+suffix] = true
			want, err := os.ReadFile(filepath.Join(fresh, f.name+suffix))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, f.name+suffix))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("%s%s is not what gen/avx2 writes: run make generate", f.name, suffix)
			}
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if !names[filepath.Base(path)] {
			t.Errorf("%s comes from no generator", path)
		}
	}
}

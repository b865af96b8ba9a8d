package x86

import (
	"os"
	"path/filepath"
	"testing"
)

// The committed kernels are what the generators write, and there is no other assembly.
func TestGenerated(t *testing.T) {
	for _, isa := range []ISA{AVX2, AVX512} {
		t.Run(isa.Package, func(t *testing.T) {
			committed, fresh := filepath.Join("../../asm", isa.Package), t.TempDir()
			if err := isa.Write(fresh); err != nil {
				t.Fatal(err)
			}
			found, err := os.ReadDir(fresh)
			if err != nil {
				t.Fatal(err)
			}
			names := map[string]bool{}
			for _, f := range found {
				names[f.Name()] = true
				want, err := os.ReadFile(filepath.Join(fresh, f.Name()))
				if err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(filepath.Join(committed, f.Name()))
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != string(want) {
					t.Errorf("%s is not what gen/%s writes: run make generate", f.Name(), isa.Package)
				}
			}
			assembly, err := filepath.Glob(filepath.Join(committed, "*.s"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range assembly {
				if !names[filepath.Base(path)] {
					t.Errorf("%s comes from no generator", path)
				}
			}
		})
	}
}

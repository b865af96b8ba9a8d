package x86

import (
	"path/filepath"
	"testing"

	"github.com/selfattn/attn/gen/spec"
)

// The committed kernels are what the generators write, and there is no other assembly.
func TestGenerated(t *testing.T) {
	for _, isa := range []ISA{AVX2, AVX512} {
		found, err := spec.Stale(filepath.Join("../../asm/internal", isa.Package), t.TempDir(), isa.Write)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range found {
			t.Errorf("%s: %s", isa.Package, what)
		}
	}
}

package spec

import (
	"slices"
	"strings"
	"testing"
)

// The committed dispatch and tables are what the table says.
func TestGenerated(t *testing.T) {
	found, err := Stale("../../asm", t.TempDir(), Write)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range found {
		t.Error(what)
	}
}

func TestStaleFindsEachFault(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dispatch_amd64.go", "asmtest/table.go", "mutate/hints.go"} {
		found, err := Stale(dir, t.TempDir(), func(fresh string) error {
			if err := Write(fresh); err != nil {
				return err
			}
			return writeGo(fresh+"/"+name, []byte("package p"))
		})
		if err != nil || len(found) != 1 || !strings.HasPrefix(found[0], name) {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

// What the assembly may touch is told to the race detector: every vector, rows and pointer has an
// access, unless it says where another one's rows are or what to prefetch. Parameters are few.
func TestTable(t *testing.T) {
	for _, k := range Kernels {
		if len(k.Params) > 6 {
			t.Errorf("%s has %d parameters: make some of them a struct", k.Name, len(k.Params))
		}
		var spoken []string
		for _, p := range k.Params {
			for _, arg := range p.args {
				spoken = append(spoken, strings.TrimSuffix(arg, "[:PanelWidth]"))
			}
		}
		for _, names := range k.Hints {
			spoken = append(spoken, names...)
		}
		for _, p := range k.Params {
			scalar := p.Type == integer || p.Type == float || p.Type == flag
			if !scalar && p.op == "" && !slices.Contains(spoken, p.Name) {
				t.Errorf("%s: the table does not say how %s is accessed", k.Name, p.Name)
			}
			if scalar && p.op != "" {
				t.Errorf("%s: %s is a value, nothing is behind it", k.Name, p.Name)
			}
		}
		if k.Elements != "" && !slices.Contains(k.vectors(), k.Elements) {
			t.Errorf("%s: no vector is called %s", k.Name, k.Elements)
		}
		if width, _, _ := strings.Cut(k.Width, "."); width != "" && !slices.ContainsFunc(k.Params, func(p Param) bool { return p.Name == width }) {
			t.Errorf("%s: its width comes from %s, which is no parameter", k.Name, width)
		}
	}
}

// The wide registers serve what the table says, and nothing twice.
func TestServes(t *testing.T) {
	for _, c := range []struct {
		k    Kernel
		isa  ISA
		want string
	}{
		{Kernel{Name: "F", Wide: never}, AVX512, ""},
		{Kernel{Name: "F", Wide: never}, AVX2, "level >= levelAVX2"},
		{Kernel{Name: "F", Wide: wideSum}, AVX512, "level >= levelAVX512 && len(x) >= 256"},
		{Kernel{Name: "F", Wide: wideSum}, NEON, "level >= levelNEON"},
		{Kernel{Name: "F"}, AVX512, "level >= levelAVX512"},
		{Kernel{Name: "F", Width: "w"}, AVX512, "level >= levelAVX512 && w == avx512.PanelWidth"},
		{Kernel{Name: "F", Width: "w"}, AVX2, "level >= levelAVX2"},
		{Kernel{Name: "F", Width: "w", Odd: true}, AVX2, "level >= levelAVX2 && w == avx2.PanelWidth"},
	} {
		got, _, _ := strings.Cut(c.isa.Serves(c.k), " {")
		if got != c.want {
			t.Errorf("%s serves %+v if %q, want %q", c.isa.Package, c.k, got, c.want)
		}
	}
}

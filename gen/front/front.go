// Package front generates the Go functions in front of the assembly, which are the same for every
// instruction set.
package front

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// Kernels is what the functions of an instruction set differ in.
type Kernels struct {
	Package, Arch string
	Panel         int // queries of a panel
	Small, Big    int // rows of the tiles of a matrix product
}

// Step is the greatest common divisor of Small and Big.
func (k Kernels) Step() int {
	a, b := k.Big, k.Small
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

//go:embed kernels.tmpl
var kernels string

// Write writes kernels_arch.go to a directory.
func (k Kernels) Write(dir string) error {
	t, err := template.New("kernels").Parse(kernels)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, k); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "kernels_"+k.Arch+".go"), text.Bytes(), 0o644)
}

// Stale compares the committed files of a directory with what write writes, and says what is not
// the same: a file that differs, one that is missing, or assembly that comes from no generator.
func Stale(committed, fresh string, write func(dir string) error) (found []string, err error) {
	if err := write(fresh); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(fresh)
	if err != nil {
		return nil, err
	}
	generated := map[string]bool{}
	for _, f := range files {
		generated[f.Name()] = true
		want, err := os.ReadFile(filepath.Join(fresh, f.Name()))
		if err != nil {
			return nil, err
		}
		got, err := os.ReadFile(filepath.Join(committed, f.Name()))
		if err != nil || !bytes.Equal(got, want) {
			found = append(found, fmt.Sprintf("%s is not what its generator writes: run make generate", f.Name()))
		}
	}
	assembly, err := filepath.Glob(filepath.Join(committed, "*.s"))
	if err != nil {
		return nil, err
	}
	for _, path := range assembly {
		if !generated[filepath.Base(path)] {
			found = append(found, path+" comes from no generator")
		}
	}
	return found, nil
}

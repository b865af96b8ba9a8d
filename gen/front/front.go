// Package front generates the Go functions in front of the assembly, which are the same for every instruction set.
package front

import (
	"bytes"
	_ "embed"
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

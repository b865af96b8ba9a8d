package spec

import (
	"bytes"

	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// WriteFront writes kernels_arch.go to a directory.
func (isa ISA) WriteFront(dir string) error {
	t := template.New("front.tmpl") // with the bodies of the functions that do more than one call
	t.Funcs(template.FuncMap{
		"body": func(k Kernel) (string, error) {
			own := t.Lookup(k.Name)
			if own == nil {
				return "\t" + k.Call(), nil
			}
			var b strings.Builder
			err := own.Execute(&b, isa)
			return b.String(), err
		},
		"gather":       func() string { return strings.Join(gather, ", ") },
		"gatherGroups": func() int { return GatherGroups },
		"stored": func(isa ISA, name string, size int) any {
			return struct {
				ISA
				Type string // of elements
				Size int    // of an element, in bytes
			}{isa, name, size}
		},
	})
	if _, err := t.ParseFS(templates, "front.tmpl"); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, struct {
		ISA
		Kernels []Kernel
	}{isa, Kernels}); err != nil {
		return err
	}
	return writeGo(filepath.Join(dir, "kernels_"+isa.Arch+".go"), text.Bytes())
}

// Step is the greatest common divisor of Small and Big.
func (isa ISA) Step() int {
	a, b := isa.Big, isa.Small
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Front is the kernel as an instruction set has it, which needs no width.
func (k Kernel) Front() Kernel {
	front := k
	front.Params = nil
	for _, p := range k.Params {
		if p.Name == k.Width {
			p.Name = "_"
		}
		front.Params = append(front.Params, p)
	}
	return front
}

// Marks is the calls that tell the race detector, and before them what cuts vectors to the length of
// another one, so that a short one panics here.
func (k Kernel) Marks() []string {
	var cuts, marks []string
	for _, p := range k.Params {
		if k.Elements != "" && p.vector() && p.Name != k.Elements {
			cuts = append(cuts, fmt.Sprintf("%s = %s[:len(%s)]", p.Name, p.Name, k.Elements))
		}
		if mark := p.mark(); mark != "" {
			marks = append(marks, mark)
		}
	}
	return append(cuts, marks...)
}

// Part is the name of the function that takes one part.
func (k Kernel) Part() string { return k.assembly() + "Part" }

// FirstPart is the arguments of that for the first part, and NextPart what leaves the others.
func (k Kernel) FirstPart() string {
	return strings.Replace(k.Arguments(), k.Elements, k.Elements+"[:n]", 1)
}

func (k Kernel) NextPart() string {
	all := k.vectors()
	return strings.Join(all, ", ") + " = " + strings.Join(all, "[n:], ") + "[n:]"
}

// Call calls the assembly once.
func (k Kernel) Call() string {
	var args []string
	last := ""
	if all := k.vectors(); k.Elements != "" {
		last = all[len(all)-1]
	}
	for _, p := range k.Params {
		switch {
		case p.Name == k.Width || p.Name == "_":
		case p.vector():
			args = append(args, "&"+p.Name+"[0]")
		default:
			args = append(args, p.Name)
		}
		if p.Name == last {
			args = append(args, "len("+k.Elements+")")
		}
	}
	call := k.assembly() + "(" + strings.Join(args, ", ") + ")"
	switch {
	case strings.HasSuffix(k.Result, flag):
		return "return " + call + " != 0"
	case k.Result != "":
		return "return " + call
	}
	return call
}

// writeGo writes a formatted file.
func writeGo(path string, text []byte) error {
	text, err := format.Source(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

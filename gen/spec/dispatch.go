package spec

import (
	"bytes"
	"embed"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var templates embed.FS

// Write writes what package asm, in dir, and asmtest and mutate below it have from the table.
func Write(dir string) error {
	for _, arch := range append(Arches(), "") {
		isas := slices.DeleteFunc(slices.Clone(ISAs), func(isa ISA) bool { return isa.Arch != arch })
		best := slices.Clone(isas)
		slices.Reverse(best)
		data := struct {
			Arch            string
			Others          []string // the architectures that have assembly, for the file of all others
			ISAs, BestFirst []ISA
			Kernels         []Kernel
			Narrow          int
		}{arch, Arches(), isas, best, Kernels, narrow}
		suffix := arch
		if arch == "" {
			suffix = "generic"
		}
		for name, path := range map[string]string{"dispatch.tmpl": "dispatch_", "asmtest.tmpl": "asmtest/table_"} {
			if err := execute(name, filepath.Join(dir, path+suffix+".go"), data); err != nil {
				return err
			}
		}
	}
	if err := execute("impl.tmpl", filepath.Join(dir, "asmtest/table.go"), Kernels); err != nil {
		return err
	}
	return execute("hints.tmpl", filepath.Join(dir, "mutate/hints.go"), Kernels)
}

func execute(name, path string, data any) error {
	t, err := template.ParseFS(templates, name)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	return writeGo(path, b.Bytes())
}

// Rank is the position among the instruction sets of an architecture, from 1.
func (isa ISA) Rank() int { return len(isa.below()) + 1 }

// below are the instruction sets that isa is used together with.
func (isa ISA) below() (all []ISA) {
	for _, other := range ISAs {
		if other == isa {
			break
		}
		if other.Arch == isa.Arch {
			all = append(all, other)
		}
	}
	return all
}

// Level is the constant of package asm.
func (isa ISA) Level() string { return "level" + strings.ToUpper(isa.Package) }

// Conditions are what a CPU must have.
func (isa ISA) Conditions() string {
	var all []string
	for _, i := range append(isa.below(), isa) {
		all = append(all, i.Package+".Supported")
	}
	return strings.Join(all, " && ")
}

// Serves returns the rest of an if statement that lets isa serve a kernel where it should, or "" if
// it never does.
func (isa ISA) Serves(k Kernel) string {
	conditions := []string{"level >= " + isa.Level()}
	wide := isa.Panel > narrow
	switch {
	case k.Width != "" && (wide || k.Odd):
		conditions = append(conditions, k.Width+" == "+isa.Package+".PanelWidth")
	case wide && k.Wide == never:
		return ""
	case wide && k.Wide != "":
		conditions = append(conditions, k.Wide)
	}
	call := fmt.Sprintf("%s.%s(%s)", isa.Package, k.Name, k.Arguments())
	if k.Result != "" {
		call = "return " + call
	} else {
		call += "\nreturn"
	}
	return strings.Join(conditions, " && ") + " {\n" + call + "\n}"
}

// Package spec is the table of kernels: what each takes, reads and writes, and which instruction set
// serves it from where on. From it come the Go functions in front of the assembly, the dispatch of
// package asm, the table of implementations that asmtest runs and what asm/mutate leaves alone.
package spec

import (
	"slices"
	"strings"
	"unicode"
)

// A Kernel is a row of the table: a function of package tile, which is its reference, and of asm.
type Kernel struct {
	Name   string // with a small first letter that of the assembly
	Params []Param
	Result string // its type, with a name or without; "" is none

	// A kernel of vectors names the parameter whose length is the number of elements, which the
	// assembly is told behind its last vector. Where it is Cut, calls take part elements at most.
	Elements string
	Cut      bool

	// A kernel of panels names their width: wide panels are those of the wide registers. Where it is
	// Odd, widths that no instruction set has occur, and the reference serves them.
	Width string
	Odd   bool

	// Wide is the condition under which AVX-512 serves it rather than AVX2; "" is always.
	Wide string
	Note string // on that

	// Hints are the parameters of assembly functions that only say what to prefetch, so that no test
	// can notice a change of them.
	Hints map[string][]string
}

// A Param is a parameter, and how the assembly touches what is behind it.
type Param struct {
	Name, Type string
	Access
}

// The types of parameters.
const (
	vector  = "[]float32"
	halves  = "[]uint16"
	octets  = "[]int8"
	words   = "[]uint32"
	flags   = "[]bool"
	lanes   = "*[tile.Lanes]float32"
	norm    = "*[3]float32"
	state   = "*tile.Panel"
	draw    = "*tile.Draw"
	offsets = "*[tile.MaxPanel]int"
	bits    = "*[tile.Keys]uint32"
	whole   = "*[tile.MaxPanel]int32"
	floats  = "*[tile.MaxPanel]float32"
	rows    = "tile.Rows"
	rowsAt  = "*tile.Rows" // in place of a copy, which waits where they have just been written
	half    = "tile.HalfRows"
	octet   = "tile.OctetRows"
	integer = "int"
	float   = "float32"
	flag    = "bool"
)

// An Access is a function of asm/internal/race without the suffix that the type of the parameter
// gives it, and its arguments behind the operand: of a vector the number of elements, or of rows their
// number, length and distance, or their offsets and length; of a tile.Rows the length of its rows, if it
// is not Dim; of other types none.
type Access struct {
	op   string
	args []string
}

func read(args ...string) Access  { return Access{"Read", args} }
func write(args ...string) Access { return Access{"Write", args} }

// value is a parameter without anything behind it that the assembly would touch.
var value = Access{}

// mark returns the call that tells the race detector.
func (p Param) mark() string {
	switch {
	case p.op == "":
		return ""
	case p.Type == rows || p.Type == rowsAt:
		length := p.Name + ".Dim"
		if len(p.args) > 0 {
			length = p.args[0]
		}
		return "race." + p.op + "Rows(" + p.Name + ".Data, " + p.Name + ".Len, " + length + ", " + p.Name + ".Stride)"
	case p.Type == half || p.Type == octet:
		groups := p.Name + ".Groups, " + p.Name + ".Len, "
		mark := "race." + p.op + "Groups(" + p.Name + ".Data, " + groups + p.Name + ".Dim, " + p.Name + ".Stride)"
		if p.Type == octet {
			mark += "\n\trace." + p.op + "Groups(" + p.Name + ".Scales, " + groups + "1, 1)"
		}
		return mark
	case !p.vector():
		return "race." + p.op + "Var(" + p.Name + ")"
	}
	suffix := []string{"", "", "At", "Rows"}[len(p.args)]
	return "race." + p.op + suffix + "(" + p.Name + ", " + strings.Join(p.args, ", ") + ")"
}

// vector reports whether p is one, of any elements.
func (p Param) vector() bool { return strings.HasPrefix(p.Type, "[]") }

// vectors returns the names of the parameters that are vectors.
func (k Kernel) vectors() (names []string) {
	for _, p := range k.Params {
		if p.vector() {
			names = append(names, p.Name)
		}
	}
	return names
}

// assembly is the name of the assembly function.
func (k Kernel) assembly() string {
	return string(unicode.ToLower(rune(k.Name[0]))) + k.Name[1:]
}

// Arguments are those of a call that passes all parameters on.
func (k Kernel) Arguments() string {
	var names []string
	for _, p := range k.Params {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// Signature is the parameters and the result, in Go.
func (k Kernel) Signature() string {
	var b strings.Builder
	b.WriteByte('(')
	for i, p := range k.Params {
		b.WriteString(p.Name)
		if i+1 < len(k.Params) && k.Params[i+1].Type == p.Type {
			b.WriteString(", ")
			continue
		}
		b.WriteString(" " + p.Type)
		if i+1 < len(k.Params) {
			b.WriteString(", ")
		}
	}
	b.WriteByte(')')
	switch {
	case strings.Contains(k.Result, " "):
		b.WriteString(" (" + k.Result + ")")
	case k.Result != "":
		b.WriteString(" " + k.Result)
	}
	return b.String()
}

// An ISA is an instruction set with a package of its own under asm/internal.
type ISA struct {
	Package, Arch string
	Panel         int // queries of a panel
	Small, Big    int // rows of the tiles of a matrix product
}

// GatherGroups are the groups of 16 keys that the scores of one query of stored keys take at a time: two, as the chain of FMAs of one
// would be waited for. Those of four, of int8, are not faster.
const GatherGroups = 2

// gather is the fields of the type gather of front.tmpl, each an int of 8 bytes for each group.
var gather = []string{"jump", "near", "far", "score", "scale", "ahead"}

// GatherAt is where in a gather a field of a group is, in bytes.
func GatherAt(field string, group int) int {
	i := slices.Index(gather, field)
	if i < 0 {
		panic("a gather has no " + field)
	}
	return 8 * (GatherGroups*i + group)
}

// The instruction sets of an architecture are in increasing order: each is used together with those
// before it, which serve the narrow panels.
var (
	AVX2   = ISA{Package: "avx2", Arch: "amd64", Panel: narrow, Small: 5, Big: 6}
	AVX512 = ISA{Package: "avx512", Arch: "amd64", Panel: 32, Small: 8, Big: 12}
	NEON   = ISA{Package: "neon", Arch: "arm64", Panel: narrow, Small: 5, Big: 6}

	ISAs = []ISA{AVX2, AVX512, NEON}
)

// narrow is the width of all panels but those of AVX-512.
const narrow = 16

// Arches returns the architectures that have assembly.
func Arches() (names []string) {
	for _, isa := range ISAs {
		if !slices.Contains(names, isa.Arch) {
			names = append(names, isa.Arch)
		}
	}
	return names
}

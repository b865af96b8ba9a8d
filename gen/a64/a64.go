// Package a64 writes arm64 assembly for Go: a front end on the intermediate representation and the
// printers of avo, which itself generates amd64 only.
//
// The operands of an instruction are in the order of Arm's manual, destination first. Go's
// assembler has little vector arithmetic, so most of it is words that carry their text as a
// comment; each is held to that text by a decoder when it is made. What cannot be encoded panics,
// and so does a register that is not the program's: R16 and R17 belong to the linker, R18 to the
// platform, R26 to closures, R27 to the assembler, R28 to the goroutine, R29 and R30 to the frame.
//
// Registers are physical. There are enough of them for leaf functions, and microkernels choose them
// anyway, so avo's allocator is not used: [Asm.X] hands out general registers, vector registers are
// numbered.
package a64

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// X is a general register.
type X int

// V is a vector register, of 4 lanes of 32 bits where an instruction does not say otherwise.
type V int

// Mem is the address base + disp.
type Mem struct {
	Base X
	Disp int
}

// generalRegisters are those that a program may use.
var generalRegisters = []X{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 24, 25}

// text is an operand.
type text string

// Asm returns the operand as it stands in the file.
func (t text) Asm() string { return string(t) }

func (x X) n() uint32 {
	if !slices.Contains(generalRegisters, x) {
		panic(fmt.Sprintf("a64: R%d is reserved or no register", int(x)))
	}
	return uint32(x)
}

// String is called by name: package fmt would swallow its panic.
func (x X) String() string { return fmt.Sprintf("R%d", x.n()) }

func (v V) n() uint32 {
	inRange("vector register", int(v), 0, 31)
	return uint32(v)
}

// in is v with an arrangement: S4, D2 or B16.
func (v V) in(arrangement string) string { return fmt.Sprintf("V%d.%s", v.n(), arrangement) }

// lane is lane i of v.
func (v V) lane(i int) string {
	inRange("lane", i, 0, 3)
	return fmt.Sprintf("V%d.S[%d]", v.n(), i)
}

// scalar is the low lane of v.
func (v V) scalar() string { return fmt.Sprintf("F%d", v.n()) }

// at is an address whose offset fits an access to size bytes without a further instruction.
func (m Mem) at(size int) string {
	if m.Disp < -256 || m.Disp > 255 { // unscaled, else in units of size
		inRange("offset", m.Disp, 0, 4095*size)
		if m.Disp%size != 0 {
			panic(fmt.Sprintf("a64: offset %d is not a multiple of %d", m.Disp, size))
		}
	}
	if m.Disp == 0 {
		return "(" + m.Base.String() + ")"
	}
	return fmt.Sprintf("%d(%s)", m.Disp, m.Base.String())
}

func inRange(what string, i, least, most int) {
	if i < least || i > most {
		panic(fmt.Sprintf("a64: %s %d is not in [%d, %d]", what, i, least, most))
	}
}

// Asm is a file of assembly in the making.
type Asm struct {
	file   *ir.File
	fn     *ir.Function
	free   []X // general registers not handed out yet
	labels int
	tables map[string]bool
}

// New returns an empty file.
func New() *Asm { return &Asm{file: ir.NewFile(), tables: map[string]bool{}} }

// Write writes the file to dir/name_arm64.s and its stubs to dir/name_arm64.go.
func (a *Asm) Write(dir, pkg, name string) error {
	if err := pass.IncludeTextFlagHeader(a.file); err != nil {
		return err
	}
	cfg := printer.Config{Name: "gen/" + pkg, Pkg: pkg}
	for _, o := range []struct {
		suffix string
		print  printer.Printer
	}{{".s", printer.NewGoAsm(cfg)}, {".go", printer.NewStubs(cfg)}} {
		text, err := o.print.Print(a.file)
		if err != nil {
			return err
		}
		text = bytes.Replace(text, []byte("command: gen/"), []byte("gen/"), 1)
		if err := os.WriteFile(filepath.Join(dir, name+"_arm64"+o.suffix), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Begin starts a function, a leaf without a frame, with all general registers free.
func (a *Asm) Begin(name, signature string, doc ...string) {
	s, err := gotypes.ParseSignature(signature)
	if err != nil {
		panic(err)
	}
	a.fn = ir.NewFunction(name)
	a.fn.SetSignature(s)
	a.fn.Attributes = attr.NOSPLIT
	a.fn.AddPragma("noescape")
	a.fn.Doc = doc
	a.free = slices.Clone(generalRegisters)
	a.file.AddSection(a.fn)
}

// X returns a general register that the function has not used yet.
func (a *Asm) X() X {
	if len(a.free) == 0 {
		panic("a64: " + a.fn.Name + ": no general register is left")
	}
	x := a.free[0]
	a.free = a.free[1:]
	return x
}

// op adds an instruction.
func (a *Asm) op(opcode string, operands ...string) {
	i := &ir.Instruction{Opcode: opcode}
	for _, o := range operands {
		i.Operands = append(i.Operands, text(o))
	}
	a.fn.AddInstruction(i)
}

// parameter returns the address and the size of a parameter.
func (a *Asm) parameter(name string) (string, int) {
	return resolve(a.fn.Signature.Params().Lookup(name))
}

func (a *Asm) result() (string, int) { return resolve(a.fn.Signature.Results().At(0)) }

func resolve(c gotypes.Component) (address string, size int) {
	b, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr.Asm(), int(gotypes.Sizes.Sizeof(b.Type))
}

func want(size, bytes int) {
	if size != bytes {
		panic(fmt.Sprintf("a64: a parameter or result of %d bytes, want %d", size, bytes))
	}
}

// Param loads a parameter of 64 bits, a pointer or int, into a new register.
func (a *Asm) Param(name string) X {
	x := a.X()
	a.ParamTo(x, name)
	return x
}

// ParamTo loads a parameter of 64 bits.
func (a *Asm) ParamTo(x X, name string) {
	p, size := a.parameter(name)
	want(size, 8)
	a.op("MOVD", p, x.String())
}

// ParamFloat loads a float32 parameter into all lanes.
func (a *Asm) ParamFloat(v V, name string) {
	p, size := a.parameter(name)
	want(size, 4)
	a.op("FMOVS", p, v.scalar())
	a.DUP(v, v, 0)
}

// Result stores a result of 64 bits.
func (a *Asm) Result(x X) {
	r, size := a.result()
	want(size, 8)
	a.op("MOVD", x.String(), r)
}

// ResultFloat stores the low lane as the float32 result.
func (a *Asm) ResultFloat(v V) {
	r, size := a.result()
	want(size, 4)
	a.op("FMOVS", v.scalar(), r)
}

// Table emits read-only words, once a file, and loads their address.
func (a *Asm) Table(x X, name string, words ...uint32) {
	if !a.tables[name] {
		a.tables[name] = true
		t := ir.NewStaticGlobal(name)
		t.Attributes = attr.RODATA | attr.NOPTR
		for _, w := range words {
			t.Append(operand.U32(w))
		}
		a.file.AddSection(t)
	}
	a.op("MOVD", "$"+name+"<>(SB)", x.String())
}

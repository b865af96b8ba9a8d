// Package a64 writes arm64 assembly for Go: a front end on the intermediate representation, the
// liveness, the register allocator and the printers of avo, which itself generates amd64 only.
//
// The operands of an instruction are in the order of Arm's manual, destination first. Go's
// assembler has little vector arithmetic, so most of it is words that carry their text as a
// comment; each is held to that text by a decoder when it is made. What cannot be encoded panics,
// and so does a register that is not the program's: R16 and R17 belong to the linker, R18 to the
// platform, R26 to closures, R27 to the assembler, R28 to the goroutine, R29 and R30 to the frame.
//
// Registers are virtual where [Asm.X] and [Asm.V] return them, and physical where a kernel numbers
// them, as microkernels do, whose registers form a grid. Both mix. A register that is read before
// it is written, and a result that nothing reads, are errors.
package a64

import (
	"fmt"
	"slices"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/selfattn/attn/gen/spec"
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

// A form is an operand as it stands in the file, with %d for the numbers of its registers, which
// are not known before they are allocated.
type form struct {
	format    string
	registers []register
}

func constant(format string, args ...any) form { return form{format: fmt.Sprintf(format, args...)} }

func (x X) form() form { return form{"R%d", []register{x.register()}} }

// in is v with an arrangement: S4, D2 or B16.
func (v V) in(arrangement string) form { return form{"V%d." + arrangement, []register{v.register()}} }

// lane is lane i of v.
func (v V) lane(i int) form {
	inRange("lane", i, 0, 3)
	return v.in(fmt.Sprintf("S[%d]", i))
}

// scalar is the low lane of v.
func (v V) scalar() form { return form{"F%d", []register{v.register()}} }

// at is an address whose offset fits an access to size bytes without a further instruction.
func (m Mem) at(size int) form {
	if m.Disp < -256 || m.Disp > 255 { // unscaled, else in units of size
		inRange("offset", m.Disp, 0, 4095*size)
		if m.Disp%size != 0 {
			panic(fmt.Sprintf("a64: offset %d is not a multiple of %d", m.Disp, size))
		}
	}
	if m.Disp == 0 {
		return form{"(R%d)", []register{m.Base.register()}}
	}
	return form{fmt.Sprintf("%d(R%%d)", m.Disp), []register{m.Base.register()}}
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
	text   map[*ir.Instruction]func(numbers) (operand.Op, error)
	next   int // virtual register
	labels int
	tables map[string]bool
}

// New returns an empty file.
func New() *Asm {
	return &Asm{
		file: ir.NewFile(), text: map[*ir.Instruction]func(numbers) (operand.Op, error){},
		next: virtual, tables: map[string]bool{},
	}
}

// Write writes the file to dir/name_arm64.s and its stubs to dir/name_arm64.go.
func (a *Asm) Write(isa spec.ISA, dir, name string) error {
	for _, fn := range a.file.Functions() {
		if err := a.finish(fn); err != nil {
			return fmt.Errorf("%s: %w", fn.Name, err)
		}
	}
	if err := pass.IncludeTextFlagHeader(a.file); err != nil {
		return err
	}
	return isa.WriteFile(a.file, dir, name)
}

// Begin starts a function, a leaf without a frame.
func (a *Asm) Begin(name, signature string, doc ...string) {
	s, err := spec.Signature(signature)
	if err != nil {
		panic(err)
	}
	a.fn = ir.NewFunction(name)
	a.fn.SetSignature(s)
	a.fn.Attributes = attr.NOSPLIT
	a.fn.AddPragma("noescape")
	a.fn.Doc = doc
	a.file.AddSection(a.fn)
}

// X returns a new virtual general register.
func (a *Asm) X() X { a.next++; return X(a.next) }

// V returns a new virtual vector register.
func (a *Asm) V() V { a.next++; return V(a.next) }

// An access is what an instruction does with its destination. Other operands are read.
type access int

const (
	define access = iota // writes it
	update               // reads and writes it
	read                 // there is none
)

// op adds an instruction of Go's assembler, with its operands in Go's order: the destination is the
// last one.
func (a *Asm) op(acc access, opcode string, operands ...form) *ir.Instruction {
	var sources, last []register
	for i, o := range operands {
		if i == len(operands)-1 {
			last = o.registers
		} else {
			sources = append(sources, o.registers...)
		}
	}
	return a.add(acc, opcode, last, sources, func(n numbers) (operand.Op, error) {
		var texts []string
		for _, o := range operands {
			texts = append(texts, n.fill(o.format, o.registers))
		}
		return join(texts), nil
	})
}

// add adds an instruction whose operands are written when the registers are known.
func (a *Asm) add(acc access, opcode string, destination, sources []register, text func(numbers) (operand.Op, error)) *ir.Instruction {
	i := &ir.Instruction{Opcode: opcode}
	for _, r := range sources {
		i.Inputs = append(i.Inputs, r.avo())
	}
	for _, r := range destination {
		if acc != define {
			i.Inputs = append(i.Inputs, r.avo())
		}
		if acc != read {
			i.Outputs = append(i.Outputs, r.avo())
		}
	}
	a.text[i] = text
	a.fn.AddInstruction(i)
	return i
}

// Keep says that what the register holds here is not lost, though no instruction reads it.
func (a *Asm) Keep(v V) { a.op(read, nothing, v.scalar()) }

// parameter returns the address and the size of a parameter.
func (a *Asm) parameter(name string) (form, int) {
	return resolve(a.fn.Signature.Params().Lookup(name))
}

func (a *Asm) result() (form, int) { return resolve(a.fn.Signature.Results().At(0)) }

func resolve(c gotypes.Component) (address form, size int) {
	b, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	return constant("%s", b.Addr.Asm()), int(gotypes.Sizes.Sizeof(b.Type))
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
	a.op(define, "MOVD", p, x.form())
}

// ParamFloat loads a float32 parameter into all lanes of a new register.
func (a *Asm) ParamFloat(name string) V {
	v := a.V()
	p, size := a.parameter(name)
	want(size, 4)
	a.op(define, "FMOVS", p, v.scalar())
	a.DUP(v, v, 0)
	return v
}

// Result stores a result of 64 bits.
func (a *Asm) Result(x X) {
	r, size := a.result()
	want(size, 8)
	a.op(read, "MOVD", x.form(), r)
}

// ResultFloat stores the low lane as the float32 result.
func (a *Asm) ResultFloat(v V) {
	r, size := a.result()
	want(size, 4)
	a.op(read, "FMOVS", v.scalar(), r)
}

// First puts what emit emits at the start of the function.
func (a *Asm) First(emit func()) {
	n := len(a.fn.Nodes)
	emit()
	a.fn.Nodes = slices.Concat(a.fn.Nodes[n:], a.fn.Nodes[:n])
}

// Table emits read-only words, once a file.
func (a *Asm) Table(name string, words ...uint32) {
	if a.tables[name] {
		return
	}
	a.tables[name] = true
	t := ir.NewStaticGlobal(name)
	t.Attributes = attr.RODATA | attr.NOPTR
	for _, w := range words {
		t.Append(operand.U32(w))
	}
	a.file.AddSection(t)
}

// Address is the address of a table of this file.
func (a *Asm) Address(x X, table string) {
	a.op(define, "MOVD", constant("$%s<>(SB)", table), x.form())
}

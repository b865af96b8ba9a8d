// Package x86 generates the kernels of x86-64, once for each instruction set: AVX2 with FMA and
// AVX-512 differ in the width and number of their registers and in how they mask tails, and little
// else.
package x86

import (
	"fmt"
	"log"
	"os"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/gen/spec"
)

// An ISA is an instruction set: a tile of a matrix product is small or big rows by two vectors, enough
// accumulators to cover the latency of FMA, and a remainder of a multiple of 4 rows is made up of both.
type ISA struct {
	spec.ISA
	lanes int // float32 in a vector, half a panel
}

// The instruction sets.
var (
	AVX2   = ISA{spec.AVX2, spec.AVX2.Panel / 2}
	AVX512 = ISA{spec.AVX512, spec.AVX512.Panel / 2}
)

// The generated files, each with the functions that it holds.
var files = []struct {
	name     string
	generate func(*gen)
}{
	{"dot", genDot},
	{"exp", genExp},
	{"activation", genActivation},
	{"softmax", genSoftmax},
	{"norm", genNorm},
	{"convert", genConvert},
	{"matmul", genMatMul},
	{"panel", genPanel},
	{"score", genScore},
	{"edit", genEdit},
	{"hide", genHide},
	{"weight", genWeight},
	{"value", genValue},
	{"row", genRow},
	{"stored", genStored},
	{"gradient", genGradient},
	{"dropout", genDropout},
	{"rotary", genRotary},
	{"limit", genLimit},
}

// Main writes the generated files of an instruction set to the directory that is the only argument
// of the command.
func Main(isa ISA) {
	if len(os.Args) != 2 { // no flags: avo's build package has taken the global ones
		log.Fatalf("usage: %s directory", isa.Package)
	}
	if err := isa.Write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// Write writes the generated files to a directory: a .s file and a stub file for each of files, and
// the Go functions in front of them.
func (isa ISA) Write(dir string) error {
	for _, f := range files {
		if err := write(isa, dir, f.name, f.generate); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return isa.WriteFront(dir)
}

func write(isa ISA, dir, name string, generate func(*gen)) error {
	g := &gen{Context: build.NewContext(), ISA: isa, data: map[string]operand.Mem{}}
	generate(g)
	f, err := g.Result()
	if err != nil {
		return err
	}
	if err := pass.Compile.Execute(f); err != nil {
		return err
	}
	for _, fn := range f.Functions() {
		for id, mask := range fn.Instructions()[0].LiveIn {
			// A write of a lower part clears the rest of a vector register, which avo does not know.
			if mask&reg.S128.Mask() != 0 {
				return fmt.Errorf("%s: register %d of kind %d is read before it is written", fn.Name, id.Index(), id.Kind())
			}
		}
	}
	return isa.WriteFile(f, dir, name)
}

// gen is an avo context for one file, with what all kernels share.
type gen struct {
	*build.Context
	ISA
	data   map[string]operand.Mem // constants already emitted
	scales reg.GPVirtual          // of the columns of a panel of int8
	labels int
}

// begin starts a function. Kernels are leaves without a frame.
func (g *gen) begin(name, signature string, doc ...string) {
	g.Function(name)
	g.Attributes(attr.NOSPLIT)
	s, err := spec.Signature(signature)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	g.Signature(s)
	g.Pragma("noescape")
	g.Doc(doc...)
}

// function is the function begun last.
func (g *gen) function() *ir.Function {
	f, err := g.Result()
	if err != nil {
		panic(err)
	}
	fs := f.Functions()
	return fs[len(fs)-1]
}

// end returns to Go. VZEROUPPER because Go's own float code is legacy SSE, which waits on dirty
// upper halves.
func (g *gen) end() {
	g.VZEROUPPER()
	g.RET()
}

// ptr loads a pointer or int parameter.
func (g *gen) ptr(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name), r)
	return r
}

// param returns a parameter where it is, in memory: it may be counted down there.
func (g *gen) param(name string) operand.Mem {
	p, err := g.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return p.Addr
}

// elems loads an int parameter that counts float32 elements, as bytes.
func (g *gen) elems(name string) reg.GPVirtual {
	r := g.ptr(name)
	g.SHLQ(operand.U8(2), r)
	return r
}

// result stores a float32 result. (avo's Store would use MOVSS, which is legacy SSE.)
func (g *gen) result(x reg.VecPhysical) { g.VMOVSS(x, g.resultAddr()) }

func (g *gen) resultAddr() operand.Mem {
	ret, err := g.ReturnIndex(0).Resolve()
	if err != nil {
		panic(err)
	}
	return ret.Addr
}

// zero clears registers.
func (g *gen) zero(rs ...reg.VecPhysical) {
	for _, r := range rs {
		g.VXORPS(r, r, r)
	}
}

// label returns a label that is new in this file.
func (g *gen) label(name string) string {
	g.labels++
	return fmt.Sprintf("%s%d", name, g.labels)
}

// loop marks the start of a hot loop, aligned for the instruction fetch.
func (g *gen) loop(name string) {
	g.Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []operand.Op{operand.Imm(32)}})
	g.Label(name)
}

// mem returns base + disp bytes.
func mem(base reg.Register, disp int) operand.Mem { return operand.Mem{Base: base, Disp: disp} }

// at returns base + index*scale + disp bytes.
func at(base, index reg.Register, scale uint8, disp int) operand.Mem {
	return operand.Mem{Base: base, Index: index, Scale: scale, Disp: disp}
}

// V is vector register number i, in full width.
func (g *gen) V(i int) reg.VecPhysical {
	if g.lanes == 16 {
		return zmm[i]
	}
	return ymm[i]
}

// w is the number of bytes of a vector.
func (g *gen) w() int { return 4 * g.lanes }

// spare is vector register number i of those that the accumulators of a big tile leave.
func (g *gen) spare(i int) reg.VecPhysical { return g.V(2*g.Big + i) }

// Y and X are the lower 8 and 4 lanes of vector register number i.
func Y(i int) reg.VecPhysical { return ymm[i] }
func X(i int) reg.VecPhysical { return xmm[i] }

var (
	zmm = [...]reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
		reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
		reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}
	ymm = [...]reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}
	xmm = [...]reg.VecPhysical{reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7,
		reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15}
)

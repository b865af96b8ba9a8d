// Command avx2 generates asm/avx2: one .s file and one stub file a kernel.
//
//	go run ./avx2 ../asm/avx2
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
	"github.com/mmcloughlin/avo/reg"
)

// The files of asm/avx2, each with the functions that it holds.
var files = []struct {
	name     string
	generate func(*gen)
}{
	{"dot", genDot},
	{"exp", genExp},
	{"softmax", genSoftmax},
	{"matmul", genMatMul},
	{"panel", genPanel},
	{"score", genScore},
	{"weight", genWeight},
	{"value", genValue},
	{"row", genRow},
	{"limit", genLimit},
}

func main() {
	if len(os.Args) != 2 { // no flags: avo's build package has taken the global ones
		log.Fatal("usage: avx2 directory")
	}
	for _, f := range files {
		if err := write(os.Args[1], f.name, f.generate); err != nil {
			log.Fatalf("%s: %v", f.name, err)
		}
	}
}

func write(dir, name string, generate func(*gen)) error {
	g := &gen{Context: build.NewContext(), data: map[string]operand.Mem{}}
	generate(g)
	f, err := g.Result()
	if err != nil {
		return err
	}
	if err := pass.Compile.Execute(f); err != nil {
		return err
	}
	cfg := printer.Config{Name: "gen/avx2", Pkg: "avx2"}
	for _, o := range []struct {
		suffix string
		print  printer.Printer
	}{{".s", printer.NewGoAsm(cfg)}, {".go", printer.NewStubs(cfg)}} {
		text, err := o.print.Print(f)
		if err != nil {
			return err
		}
		text = bytes.Replace(text, []byte("command: gen/avx2"), []byte("gen/avx2"), 1)
		if err := os.WriteFile(filepath.Join(dir, name+"_amd64"+o.suffix), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// gen is an avo context for one file, with what all kernels share.
type gen struct {
	*build.Context
	data   map[string]operand.Mem // constants already emitted
	labels int
}

// begin starts a function. Kernels are leaves without a frame.
func (g *gen) begin(name, signature string, doc ...string) {
	g.Function(name)
	g.Attributes(attr.NOSPLIT)
	g.SignatureExpr(signature)
	g.Pragma("noescape")
	g.Doc(doc...)
}

// end returns to Go. VZEROUPPER because Go's own float code is legacy SSE, which
// waits on dirty upper halves.
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

// Y is the vector register Yi.
func Y(i int) reg.VecPhysical { return ymm[i] }

// X is its lower half.
func X(i int) reg.VecPhysical { return xmm[i] }

var (
	ymm = [...]reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}
	xmm = [...]reg.VecPhysical{reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7,
		reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15}
)

// Command neon generates asm/internal/neon:
//
//	go run ./neon ../asm/internal/neon
package main

import (
	"fmt"
	"log"
	"math"
	"os"

	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/spec"
	"github.com/selfattn/attn/gen/vector"
)

// Shapes: a panel is four vectors, and a tile of a matrix product is up to six rows of that, which
// leaves 8 of the 32 vector registers for operands.
const (
	lanes = 4
	panel = 4 * lanes
)

var small, big = spec.NEON.Small, spec.NEON.Big

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
	{"hide", genHide},
	{"score", genScore},
	{"edit", genEdit},
	{"weight", genWeight},
	{"value", genValue},
	{"row", genRow},
	{"gradient", genGradient},
	{"dropout", genDropout},
	{"rotary", genRotary},
	{"limit", genLimit},
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: neon directory")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// write writes the generated files to a directory: a .s file and a stub file for each of files, and
// the Go functions in front of them.
func write(dir string) error {
	for _, f := range files {
		g := &gen{Asm: a64.New()}
		f.generate(g)
		if g.table != nil {
			g.Table("coefficients", g.table...)
		}
		if err := g.Write(spec.NEON, dir, f.name); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return spec.NEON.WriteFront(dir)
}

// gen is a file in the making.
type gen struct {
	*a64.Asm
	table []uint32 // the coefficients of polynomials

	// of the current function
	constants    map[uint32]a64.V
	tables       map[*vector.Table]a64.V
	coefficients a64.X // address of table, or 0
}

// Begin starts a function.
func (g *gen) Begin(name, signature string, doc ...string) {
	g.Asm.Begin(name, signature, doc...)
	g.constants, g.tables, g.coefficients = map[uint32]a64.V{}, map[*vector.Table]a64.V{}, 0
}

// elems loads an int parameter that counts float32 elements, as bytes.
func (g *gen) elems(name string) a64.X {
	x := g.Param(name)
	g.LSL(x, x, 2)
	return x
}

// splat loads a constant into all lanes of a new register.
func (g *gen) splat(f float32) a64.V { return g.splatBits(math.Float32bits(f)) }

func (g *gen) splatBits(w uint32) a64.V {
	v, t := g.V(), g.X()
	g.MOVI(t, w)
	g.DUPX(v, t)
	return v
}

// zero returns a new register of +0.
func (g *gen) zero() a64.V {
	v := g.V()
	g.ZERO(v)
	return v
}

// grid is n numbered registers from v.
func grid(v a64.V, n int) (all []a64.V) {
	for i := range a64.V(n) {
		all = append(all, v+i)
	}
	return all
}

// clear zeroes registers.
func (g *gen) clear(all []a64.V) {
	for _, v := range all {
		g.ZERO(v)
	}
}

// load and store move registers, an even number, from and to memory.
func (g *gen) load(v []a64.V, base a64.X, disp int) {
	for i := 0; i < len(v); i += 2 {
		g.LDPQ(v[i], v[i+1], mem(base, disp+16*i))
	}
}

func (g *gen) store(v []a64.V, base a64.X, disp int) {
	for i := 0; i < len(v); i += 2 {
		g.STPQ(v[i], v[i+1], mem(base, disp+16*i))
	}
}

// mem returns the address base + disp bytes.
func mem(base a64.X, disp int) a64.Mem { return a64.Mem{Base: base, Disp: disp} }

// raise sets the lanes of m to those of x that are greater. A NaN is not, and of -0 and +0 the
// first one stays: FMAXNM differs there, and for a signaling NaN.
func (g *gen) raise(m, x, t a64.V) {
	g.FCMGT(t, x, m)
	g.BIT(m, x, t)
}

// zeroWhere sets the lanes of x to +0 where x equals y; t is scratch.
func (g *gen) zeroWhere(x, y, t a64.V) {
	g.FCMEQ(t, x, y)
	g.BIC(x, x, t)
}

// transpose turns the four rows in v and the registers behind it into columns; the four in t are
// scratch.
func (g *gen) transpose(v, t a64.V) {
	for i := a64.V(0); i < 4; i += 2 { // pairs of rows
		g.TRN1(t+i, v+i, v+i+1)
		g.TRN2(t+i+1, v+i, v+i+1)
	}
	for i := range a64.V(2) { // pairs of pairs
		g.ZIP1D(v+i, t+i, t+i+2)
		g.ZIP2D(v+i+2, t+i, t+i+2)
	}
}

var negInf = float32(math.Inf(-1))

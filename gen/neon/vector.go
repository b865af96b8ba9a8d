package main

import (
	"math"

	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/vector"
)

// The lowering of package vector. Constants are in registers, loaded at the start of the function.
// FMLA overwrites its addend, so a step of a polynomial begins with a copy of its coefficient: two
// at once by a load of a pair, which keeps the arithmetic pipes free.
//
//	V28-V31 tables, in functions that look something up
var _ vector.Machine[a64.V] = &gen{}

// group returns n new registers.
func (g *gen) group(n int) (v []a64.V) {
	for range n {
		v = append(v, g.V())
	}
	return v
}

// word returns a register with w in all lanes, the same for all uses in a function.
func (g *gen) word(w uint32) a64.V {
	if v, ok := g.constants[w]; ok {
		return v
	}
	var v a64.V
	g.First(func() { v = g.splatBits(w) })
	g.constants[w] = v
	return v
}

func (g *gen) Const(f float32) []a64.V                 { return []a64.V{g.word(math.Float32bits(f))} }
func (g *gen) Load(f float32) []a64.V                  { return g.Const(f) }
func (g *gen) Fill(_ []a64.V, f float32) []a64.V       { return g.Const(f) }
func (g *gen) Max(d, x, y []a64.V)                     { each(g.FMAX, d, x, y) }
func (g *gen) Min(d, x, y []a64.V)                     { each(g.FMIN, d, x, y) }
func (g *gen) Add(d, x, y []a64.V)                     { each(g.FADD, d, x, y) }
func (g *gen) Sub(d, x, y []a64.V)                     { each(g.FSUB, d, x, y) }
func (g *gen) Mul(d, x, y []a64.V)                     { each(g.FMUL, d, x, y) }
func (g *gen) Div(d, x, y []a64.V)                     { each(g.FDIV, d, x, y) }
func (g *gen) MinBits(d, x, y []a64.V)                 { each(g.UMIN, d, x, y) }
func (g *gen) MulAdd(d, x, y []a64.V)                  { each(g.FMLA, d, x, y) }
func (g *gen) MulSub(d, x, y []a64.V)                  { each(g.FMLS, d, x, y) }
func (g *gen) AddInt(d, x, y []a64.V)                  { each(g.ADDV, d, x, y) }
func (g *gen) SubInt(d, x, y []a64.V)                  { each(g.SUBV, d, x, y) }
func (g *gen) ShiftLeft(d, x []a64.V, n int)           { shift(g.SHL, d, x, n) }
func (g *gen) ShiftRight(d, x []a64.V, n int)          { shift(g.USHR, d, x, n) }
func (g *gen) Step(y, r []a64.V, t float32) []a64.V    { return g.step(g.FMLA, y, r, t) }
func (g *gen) StepNeg(y, r []a64.V, t float32) []a64.V { return g.step(g.FMLS, y, r, t) }

func (g *gen) Abs(d, x []a64.V) {
	for i := range d {
		g.FABS(d[i], x[i])
	}
}

// each emits an instruction for each register of d.
func each(emit func(d, x, y a64.V), d, x, y []a64.V) {
	for i := range d {
		emit(d[i], x[i%len(x)], y[i%len(y)])
	}
}

func shift(emit func(d, x a64.V, n int), d, x []a64.V, n int) {
	for i := range d {
		emit(d[i], x[i], n)
	}
}

func (g *gen) step(fma func(d, x, y a64.V), y, r []a64.V, t float32) []a64.V {
	sum := g.group(len(r))
	at := g.coefficient(t)
	for i := 0; i < len(sum); i += 2 {
		if i+1 < len(sum) {
			g.LDPQ(sum[i], sum[i+1], at)
		} else {
			g.LDRQ(sum[i], at)
		}
	}
	each(fma, sum, y, r)
	return sum
}

// coefficient returns where two vectors of t are.
func (g *gen) coefficient(t float32) a64.Mem {
	if g.coefficients == 0 {
		g.First(func() {
			g.coefficients = g.X()
			g.Address(g.coefficients, "coefficients")
		})
	}
	for i, w := range g.table {
		if w == math.Float32bits(t) {
			return mem(g.coefficients, 4*i)
		}
	}
	at := mem(g.coefficients, 4*len(g.table))
	for range 2 * lanes {
		g.table = append(g.table, math.Float32bits(t))
	}
	return at
}

// An index i is that of four bytes, of which byte b is 4i+b.
func (g *gen) Index(d, x []a64.V) []a64.V {
	each(g.ANDV, d, x, []a64.V{g.word(7)})
	each(g.MULV, d, d, []a64.V{g.word(0x04040404)})
	each(g.ADDV, d, d, []a64.V{g.word(0x03020100)})
	return d
}

func (g *gen) Lookup(d, i []a64.V, t *vector.Table) {
	first, ok := g.tables[t]
	if !ok {
		first = a64.V(28 + 2*len(g.tables))
		g.tables[t] = first
		g.First(func() {
			var words []uint32
			for _, f := range t.Values {
				words = append(words, math.Float32bits(f))
			}
			x := g.X()
			g.Table(t.Name, words...)
			g.Address(x, t.Name)
			g.LDPQ(first, first+1, mem(x, 0))
		})
	}
	for k, v := range d {
		g.TBL2(v, first, i[k])
	}
}

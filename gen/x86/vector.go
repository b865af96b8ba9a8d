package x86

import (
	"math"
	"slices"

	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
	"github.com/mmcloughlin/avo/x86"

	"github.com/selfattn/attn/gen/vector"
)

// machine lowers package vector. AVX2 has few registers, and load slots to spare in an exponential:
// it reads constants from memory, but for those that a kernel keeps in registers. AVX-512 keeps all
// that there is room for, the others in V16 and on.
type machine struct {
	g      *gen
	kept   map[Mem]Op      // the registers of constants
	loads  int             // where among the nodes of the function AVX-512 loads them
	shared reg.VecPhysical // of what several registers of a group read with AVX2, or nil
}

var _ vector.Machine[Op] = machine{}

// machine keeps constants in V first and on.
func (g *gen) machine(shared reg.VecPhysical, first int, keep ...Mem) machine {
	m := machine{g: g, kept: map[Mem]Op{}, shared: shared}
	for i, c := range keep {
		m.kept[c] = g.V(first + i)
		g.VMOVUPS(c, g.V(first+i))
	}
	m.loads = len(g.function().Nodes)
	return m
}

// constant returns where an instruction finds a constant.
func (m machine) constant(c Mem) Op {
	if r, ok := m.kept[c]; ok {
		return r
	}
	if !m.g.avx512() || 16+len(m.kept) == len(zmm) {
		return c
	}
	r := m.g.V(16 + len(m.kept))
	load, err := x86.VMOVUPS(c, r)
	if err != nil {
		panic(err)
	}
	f := m.g.function()
	f.Nodes = slices.Insert(f.Nodes, m.loads, ir.Node(load))
	m.kept[c] = r
	return r
}

// group is registers in the order of a Machine's groups.
func group(rs ...reg.VecPhysical) (ops []Op) {
	for _, r := range rs {
		ops = append(ops, r)
	}
	return ops
}

func (m machine) Const(f float32) []Op { return []Op{m.constant(m.g.splat(f))} }

func (m machine) Load(f float32) []Op {
	if m.shared == nil || m.g.avx512() {
		return m.Const(f)
	}
	return m.Fill(group(m.shared), f)
}

func (m machine) Fill(d []Op, f float32) []Op {
	for _, r := range d {
		m.g.VMOVUPS(m.constant(m.g.splat(f)), r)
	}
	return d
}

// each emits an instruction for each register of d, with the sources in Go's order: y, x.
func each(emit func(ops ...Op), d, x, y []Op) {
	for i := range d {
		emit(y[i%len(y)], x[i%len(x)], d[i])
	}
}

// VMAXPS and VMINPS return their second source, which Go writes first, if either is NaN.
func (m machine) Max(d, x, y []Op)    { each(m.g.VMAXPS, d, y, x) }
func (m machine) Min(d, x, y []Op)    { each(m.g.VMINPS, d, y, x) }
func (m machine) Add(d, x, y []Op)    { each(m.g.VADDPS, d, x, y) }
func (m machine) Sub(d, x, y []Op)    { each(m.g.VSUBPS, d, x, y) }
func (m machine) Mul(d, x, y []Op)    { each(m.g.VMULPS, d, x, y) }
func (m machine) Div(d, x, y []Op)    { each(m.g.VDIVPS, d, x, y) }
func (m machine) MulAdd(d, x, y []Op) { each(m.g.VFMADD231PS, d, x, y) }
func (m machine) MulSub(d, x, y []Op) { each(m.g.VFNMADD231PS, d, x, y) }
func (m machine) AddInt(d, x, y []Op) { each(m.g.VPADDD, d, x, y) }
func (m machine) SubInt(d, x, y []Op) { each(m.g.VPSUBD, d, x, y) }

func (m machine) ShiftLeft(d, x []Op, n int)  { each(m.g.VPSLLD, d, x, []Op{U8(n)}) }
func (m machine) ShiftRight(d, x []Op, n int) { each(m.g.VPSRLD, d, x, []Op{U8(n)}) }

func (m machine) Abs(d, x []Op) {
	each(m.g.VANDPS, d, x, m.Const(math.Float32frombits(math.MaxInt32)))
}

func (m machine) MinBits(d, x, y []Op) { each(m.g.VPMINUD, d, x, y) }

// VPERMPS looks at the low bits only.
func (m machine) Index(_, x []Op) []Op { return x }

func (m machine) Lookup(d, i []Op, t *vector.Table) {
	each(m.g.VPERMPS, d, i, []Op{m.constant(m.g.table(t))})
}

func (m machine) Step(y, r []Op, t float32) []Op {
	each(m.g.VFMADD213PS, y, r, m.Load(t))
	return y
}

func (m machine) StepNeg(y, r []Op, t float32) []Op {
	each(m.g.VFNMADD213PS, y, r, m.Load(t))
	return y
}

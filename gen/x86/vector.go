package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/gen/vector"
)

// machine lowers package vector. Constants are read from memory, but for those that a kernel has put
// into registers: load slots are idle in an exponential, registers are not.
type machine struct {
	g      *gen
	inReg  map[float32]Op       // constants in registers
	tables map[*vector.Table]Op // tables in registers
	shared reg.VecPhysical      // of what several registers of a group read, or nil
}

var _ vector.Machine[Op] = machine{}

// group is registers in the order of a Machine's groups.
func group(rs ...reg.VecPhysical) (ops []Op) {
	for _, r := range rs {
		ops = append(ops, r)
	}
	return ops
}

func (m machine) Const(f float32) []Op {
	if r, ok := m.inReg[f]; ok {
		return []Op{r}
	}
	return []Op{m.g.splat(f)}
}

func (m machine) Load(f float32) []Op { return m.Fill(group(m.shared), f) }

func (m machine) Fill(d []Op, f float32) []Op {
	for _, r := range d {
		m.g.VMOVUPS(m.g.splat(f), r)
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
func (m machine) MulAdd(d, x, y []Op) { each(m.g.VFMADD231PS, d, x, y) }
func (m machine) MulSub(d, x, y []Op) { each(m.g.VFNMADD231PS, d, x, y) }
func (m machine) AddInt(d, x, y []Op) { each(m.g.VPADDD, d, x, y) }
func (m machine) SubInt(d, x, y []Op) { each(m.g.VPSUBD, d, x, y) }

func (m machine) ShiftLeft(d, x []Op, n int)  { each(m.g.VPSLLD, d, x, []Op{U8(n)}) }
func (m machine) ShiftRight(d, x []Op, n int) { each(m.g.VPSRLD, d, x, []Op{U8(n)}) }
func (m machine) ShiftArith(d, x []Op, n int) { each(m.g.VPSRAD, d, x, []Op{U8(n)}) }

// VPERMPS looks at the low bits only.
func (m machine) Index(_, x []Op) []Op { return x }

func (m machine) Lookup(d, i []Op, t *vector.Table) {
	table, ok := m.tables[t]
	if !ok {
		table = m.g.table(t)
	}
	each(m.g.VPERMPS, d, i, []Op{table})
}

func (m machine) Step(y, r []Op, t float32) []Op    { return m.step(m.g.VFMADD213PS, y, r, t) }
func (m machine) StepNeg(y, r []Op, t float32) []Op { return m.step(m.g.VFNMADD213PS, y, r, t) }

func (m machine) step(fma func(ops ...Op), y, r []Op, t float32) []Op {
	c := m.Const(t)
	if m.shared != nil {
		c = m.Load(t)
	}
	each(fma, y, r, c)
	return y
}

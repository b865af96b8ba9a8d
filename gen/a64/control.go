package a64

import (
	"fmt"

	"github.com/mmcloughlin/avo/ir"
)

// NewLabel returns a label that is new in this file.
func (a *Asm) NewLabel(name string) string {
	a.labels++
	return fmt.Sprintf("%s%d", name, a.labels)
}

// Label marks the next instruction.
func (a *Asm) Label(name string) { a.fn.AddLabel(ir.Label(name)) }

func (a *Asm) branch(opcode string, operands ...string) {
	a.op(opcode, operands...)
	i := a.fn.Instructions()
	i[len(i)-1].IsBranch = true
	i[len(i)-1].IsConditional = opcode != "B"
}

// B jumps; BNE, BLT, BGE and BGT jump on the flags.
func (a *Asm) B(label string)   { a.branch("B", label) }
func (a *Asm) BNE(label string) { a.branch("BNE", label) }
func (a *Asm) BLT(label string) { a.branch("BLT", label) }
func (a *Asm) BGE(label string) { a.branch("BGE", label) }
func (a *Asm) BGT(label string) { a.branch("BGT", label) }

// CBZ jumps if x is 0, CBNZ if it is not.
func (a *Asm) CBZ(x X, label string)  { a.branch("CBZ", x.String(), label) }
func (a *Asm) CBNZ(x X, label string) { a.branch("CBNZ", x.String(), label) }

// RET returns.
func (a *Asm) RET() {
	a.op("RET")
	i := a.fn.Instructions()
	i[len(i)-1].IsTerminal = true
}

// Blocks runs body once for each whole size of n, and leaves the rest in n.
func (a *Asm) Blocks(n X, size int, body func()) {
	again, end := a.NewLabel("block"), a.NewLabel("rest")
	if size == 1 {
		a.CBZ(n, end)
	} else {
		a.SUBS(n, n, size)
		a.BLT(end)
	}
	a.op("PCALIGN", "$16")
	a.Label(again)
	body()
	a.SUBS(n, n, size)
	if size == 1 {
		a.BNE(again)
		a.Label(end)
	} else {
		a.BGE(again)
		a.Label(end)
		a.ADDI(n, n, size)
	}
}

// immediate is an operand of ADD and SUB.
func immediate(i int) string {
	inRange("immediate", i, 0, 4095)
	return fmt.Sprintf("$%d", i)
}

// MOV is d = n.
func (a *Asm) MOV(d, n X) { a.op("MOVD", n.String(), d.String()) }

// MOVI is d = i.
func (a *Asm) MOVI(d X, i uint32) { a.op("MOVD", fmt.Sprintf("$%#x", i), d.String()) }

// ADD is d = n + m.
func (a *Asm) ADD(d, n, m X) { a.op("ADD", m.String(), n.String(), d.String()) }

// ADDL is d = n + m<<shift.
func (a *Asm) ADDL(d, n, m X, shift int) {
	inRange("shift", shift, 0, 63)
	a.op("ADD", fmt.Sprintf("%s<<%d", m.String(), shift), n.String(), d.String())
}

// ADDI is d = n + i.
func (a *Asm) ADDI(d, n X, i int) { a.op("ADD", immediate(i), n.String(), d.String()) }

// SUBS is d = n - i and sets the flags.
func (a *Asm) SUBS(d, n X, i int) { a.op("SUBS", immediate(i), n.String(), d.String()) }

// CMP sets the flags by n - i.
func (a *Asm) CMP(n X, i int) { a.op("CMP", immediate(i), n.String()) }

// CSELLT is d = n if the flags say less, else m.
func (a *Asm) CSELLT(d, n, m X) { a.op("CSEL", "LT", n.String(), m.String(), d.String()) }

// MUL is d = n * m.
func (a *Asm) MUL(d, n, m X) { a.op("MUL", m.String(), n.String(), d.String()) }

// LSL and LSR are d = n shifted by i bits.
func (a *Asm) LSL(d, n X, i int) { a.shift("LSL", d, n, i) }
func (a *Asm) LSR(d, n X, i int) { a.shift("LSR", d, n, i) }

func (a *Asm) shift(opcode string, d, n X, i int) {
	inRange("shift", i, 0, 63)
	a.op(opcode, fmt.Sprintf("$%d", i), n.String(), d.String())
}

// LowBits is d = the lowest bits of n.
func (a *Asm) LowBits(d, n X, bits int) {
	inRange("bits", bits, 1, 63)
	a.op("AND", fmt.Sprintf("$%d", uint64(1)<<bits-1), n.String(), d.String())
}

// Mask is d = n without its lowest bits.
func (a *Asm) Mask(d, n X, bits int) {
	inRange("bits", bits, 1, 63)
	a.op("AND", fmt.Sprintf("$%d", int64(-1)<<bits), n.String(), d.String())
}

// ORR is d = n | m, AND d = n & m, MVN d = ^n.
func (a *Asm) ORR(d, n, m X) { a.op("ORR", m.String(), n.String(), d.String()) }
func (a *Asm) AND(d, n, m X) { a.op("AND", m.String(), n.String(), d.String()) }
func (a *Asm) MVN(d, n X)    { a.op("MVN", n.String(), d.String()) }

// LDR and STR move 64 bits.
func (a *Asm) LDR(x X, m Mem) { a.op("MOVD", m.at(8), x.String()) }
func (a *Asm) STR(x X, m Mem) { a.op("MOVD", x.String(), m.at(8)) }

// LDRW loads 32 bits, STRW stores the low ones.
func (a *Asm) LDRW(x X, m Mem) { a.op("MOVWU", m.at(4), x.String()) }
func (a *Asm) STRW(x X, m Mem) { a.op("MOVW", x.String(), m.at(4)) }

// Prefetch asks for the cache line at m in L2, to be read.
func (a *Asm) Prefetch(m Mem) { a.op("PRFM", m.at(8), "PLDL2KEEP") }

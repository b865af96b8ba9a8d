package a64

import (
	"fmt"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
)

// NewLabel returns a label that is new in this file.
func (a *Asm) NewLabel(name string) string {
	a.labels++
	return fmt.Sprintf("%s%d", name, a.labels)
}

// Label marks the next instruction.
func (a *Asm) Label(name string) { a.fn.AddLabel(ir.Label(name)) }

// branch jumps to a label, on the flags if conditional.
func (a *Asm) branch(opcode, label string, sources ...form) {
	i := a.op(read, opcode, append(sources, constant("%s", label))...)
	i.IsBranch, i.IsConditional = true, opcode != "B"
	i.Operands = []operand.Op{operand.LabelRef(label)} // where avo's control flow graph looks for it
	if i.IsConditional && len(sources) == 0 {
		readsFlags(i)
	}
}

// B jumps; BNE, BLT, BGE and BGT jump on the flags.
func (a *Asm) B(label string)   { a.branch("B", label) }
func (a *Asm) BNE(label string) { a.branch("BNE", label) }
func (a *Asm) BLT(label string) { a.branch("BLT", label) }
func (a *Asm) BGE(label string) { a.branch("BGE", label) }
func (a *Asm) BGT(label string) { a.branch("BGT", label) }

// CBZ jumps if x is 0, CBNZ if it is not.
func (a *Asm) CBZ(x X, label string)  { a.branch("CBZ", label, x.form()) }
func (a *Asm) CBNZ(x X, label string) { a.branch("CBNZ", label, x.form()) }

// RET returns.
func (a *Asm) RET() { a.op(read, "RET").IsTerminal = true }

// Blocks runs body once for each whole size of n, and leaves the rest in n.
func (a *Asm) Blocks(n X, size int, body func()) {
	again, end := a.NewLabel("block"), a.NewLabel("rest")
	if size == 1 {
		a.CBZ(n, end)
	} else {
		a.SUBS(n, n, size)
		a.BLT(end)
	}
	a.op(read, "PCALIGN", constant("$16"))
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
func immediate(i int) form {
	inRange("immediate", i, 0, 4095)
	return constant("$%d", i)
}

func setsFlags(i *ir.Instruction)  { i.Outputs = append(i.Outputs, flags.avo()) }
func readsFlags(i *ir.Instruction) { i.Inputs = append(i.Inputs, flags.avo()) }

// MOV is d = n.
func (a *Asm) MOV(d, n X) { a.op(define, "MOVD", n.form(), d.form()) }

// MOVI is d = i.
func (a *Asm) MOVI(d X, i uint32) { a.op(define, "MOVD", constant("$%#x", i), d.form()) }

// ADD is d = n + m.
func (a *Asm) ADD(d, n, m X) { a.op(define, "ADD", m.form(), n.form(), d.form()) }

// SUB is d = n - m.
func (a *Asm) SUB(d, n, m X) { a.op(define, "SUB", m.form(), n.form(), d.form()) }

// ADDL is d = n + m<<shift.
func (a *Asm) ADDL(d, n, m X, shift int) {
	inRange("shift", shift, 0, 63)
	a.op(define, "ADD", form{fmt.Sprintf("R%%d<<%d", shift), m.form().registers}, n.form(), d.form())
}

// ADDI is d = n + i.
func (a *Asm) ADDI(d, n X, i int) { a.op(define, "ADD", immediate(i), n.form(), d.form()) }

// SUBS is d = n - i and sets the flags.
func (a *Asm) SUBS(d, n X, i int) { setsFlags(a.op(define, "SUBS", immediate(i), n.form(), d.form())) }

// CMP sets the flags by n - i.
func (a *Asm) CMP(n X, i int) { setsFlags(a.op(read, "CMP", immediate(i), n.form())) }

// CSELLT is d = n if the flags say less, else m.
func (a *Asm) CSELLT(d, n, m X) {
	readsFlags(a.op(define, "CSEL", constant("LT"), n.form(), m.form(), d.form()))
}

// MUL is d = n * m.
func (a *Asm) MUL(d, n, m X) { a.op(define, "MUL", m.form(), n.form(), d.form()) }

// LSL and LSR are d = n shifted by i bits.
func (a *Asm) LSL(d, n X, i int) { a.shift("LSL", d, n, i) }
func (a *Asm) LSR(d, n X, i int) { a.shift("LSR", d, n, i) }

func (a *Asm) shift(opcode string, d, n X, i int) {
	inRange("shift", i, 0, 63)
	a.op(define, opcode, constant("$%d", i), n.form(), d.form())
}

// LowBits is d = the lowest bits of n.
func (a *Asm) LowBits(d, n X, bits int) {
	inRange("bits", bits, 1, 63)
	a.op(define, "AND", constant("$%d", uint64(1)<<bits-1), n.form(), d.form())
}

// Mask is d = n without its lowest bits.
func (a *Asm) Mask(d, n X, bits int) {
	inRange("bits", bits, 1, 63)
	a.op(define, "AND", constant("$%d", int64(-1)<<bits), n.form(), d.form())
}

// ORR is d = n | m, AND d = n & m, MVN d = ^n.
func (a *Asm) ORR(d, n, m X) { a.op(define, "ORR", m.form(), n.form(), d.form()) }
func (a *Asm) AND(d, n, m X) { a.op(define, "AND", m.form(), n.form(), d.form()) }
func (a *Asm) MVN(d, n X)    { a.op(define, "MVN", n.form(), d.form()) }

// LDR and STR move 64 bits.
func (a *Asm) LDR(x X, m Mem) { a.op(define, "MOVD", m.at(8), x.form()) }
func (a *Asm) STR(x X, m Mem) { a.op(read, "MOVD", x.form(), m.at(8)) }

// LDRW loads 32 bits, STRW stores the low ones.
func (a *Asm) LDRW(x X, m Mem) { a.op(define, "MOVWU", m.at(4), x.form()) }
func (a *Asm) STRW(x X, m Mem) { a.op(read, "MOVW", x.form(), m.at(4)) }

// Prefetch asks for the cache line at m in L2, to be read.
func (a *Asm) Prefetch(m Mem) { a.op(read, "PRFM", m.at(8), constant("PLDL2KEEP")) }

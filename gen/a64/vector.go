package a64

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/arch/arm64/arm64asm"
)

// word adds an instruction that Go's assembler lacks, with its text as the comment.
func (a *Asm) word(w uint32, format string, args ...any) {
	want := fmt.Sprintf(format, args...)
	if got := Decode(w); got != want {
		panic(fmt.Sprintf("a64: %#08x is %q, want %q", w, got, want))
	}
	a.op("WORD", fmt.Sprintf("$%#08x // %s", w, want))
}

// Decode returns the text of an instruction in GNU syntax.
func Decode(w uint32) string {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], w)
	i, err := arm64asm.Decode(b[:])
	if err != nil {
		return err.Error()
	}
	return arm64asm.GNUSyntax(i)
}

// The encodings with all operands 0.
var (
	threeSame = map[string]uint32{
		"fadd": 0x4E20D400, "fsub": 0x4EA0D400, "fmul": 0x6E20DC00, "fdiv": 0x6E20FC00,
		"fmla": 0x4E20CC00, "fmls": 0x4EA0CC00, "fmax": 0x4E20F400, "fmin": 0x4EA0F400,
		"fmaxnm": 0x4E20C400, "fcmeq": 0x4E20E400, "fcmgt": 0x6EA0E400,
		"mul": 0x4EA09C00, "cmgt": 0x4EA03400,
	}
	twoRegisters = map[string]uint32{"frintp": 0x4EA18800, "fcvtns": 0x4E21A800}
	byElement    = map[string]uint32{"fmla": 0x4F801000}
)

const (
	sshr    = 0x4F000400
	bic     = 0x4E601C00
	orn     = 0x4EE01C00
	fmaxv   = 0x6E30F800
	faddp   = 0x7E30D800
	ldrQReg = 0x3CE06800
	strQReg = 0x3CA06800
)

func (a *Asm) three(name string, d, n, m V) {
	a.word(threeSame[name]|m.n()<<16|n.n()<<5|d.n(), "%s v%d.4s, v%d.4s, v%d.4s", name, d, n, m)
}

func (a *Asm) two(name string, d, n V) {
	a.word(twoRegisters[name]|n.n()<<5|d.n(), "%s v%d.4s, v%d.4s", name, d, n)
}

// Arithmetic, lane by lane. FMLA is d += n*m and FMLS d -= n*m, rounded once. FMAX and FMIN
// return NaN if an operand is NaN; FMAXNM returns the other one if it is a quiet NaN.
func (a *Asm) FADD(d, n, m V)   { a.three("fadd", d, n, m) }
func (a *Asm) FSUB(d, n, m V)   { a.three("fsub", d, n, m) }
func (a *Asm) FMUL(d, n, m V)   { a.three("fmul", d, n, m) }
func (a *Asm) FDIV(d, n, m V)   { a.three("fdiv", d, n, m) }
func (a *Asm) FMLA(d, n, m V)   { a.three("fmla", d, n, m) }
func (a *Asm) FMLS(d, n, m V)   { a.three("fmls", d, n, m) }
func (a *Asm) FMAX(d, n, m V)   { a.three("fmax", d, n, m) }
func (a *Asm) FMIN(d, n, m V)   { a.three("fmin", d, n, m) }
func (a *Asm) FMAXNM(d, n, m V) { a.three("fmaxnm", d, n, m) }

// FRINTP rounds up to an integer, FCVTNS converts to int32, to nearest even.
func (a *Asm) FRINTP(d, n V) { a.two("frintp", d, n) }
func (a *Asm) FCVTNS(d, n V) { a.two("fcvtns", d, n) }

// Comparisons set all bits of a lane or none. CMGT is of int32.
func (a *Asm) FCMEQ(d, n, m V) { a.three("fcmeq", d, n, m) }
func (a *Asm) FCMGT(d, n, m V) { a.three("fcmgt", d, n, m) }
func (a *Asm) CMGT(d, n, m V)  { a.three("cmgt", d, n, m) }

// FMLAElement is d += n * m[lane], rounded once.
func (a *Asm) FMLAElement(d, n, m V, lane int) {
	inRange("lane", lane, 0, 3)
	l := uint32(lane)
	a.word(byElement["fmla"]|l&1<<21|m.n()<<16|l>>1<<11|n.n()<<5|d.n(), "fmla v%d.4s, v%d.4s, v%d.s[%d]", d, n, m, lane)
}

// FMAXV is the maximum of the lanes of n, FADDP the sum of the two lowest; both in the low lane of
// d.
func (a *Asm) FMAXV(d, n V) { a.word(fmaxv|n.n()<<5|d.n(), "fmaxv s%d, v%d.4s", d, n) }
func (a *Asm) FADDP(d, n V) { a.word(faddp|n.n()<<5|d.n(), "faddp s%d, v%d.2s", d, n) }

// Integers, lane by lane.
func (a *Asm) MULV(d, n, m V) { a.three("mul", d, n, m) }
func (a *Asm) ADDV(d, n, m V) { a.op("VADD", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) SUBV(d, n, m V) { a.op("VSUB", m.in("S4"), n.in("S4"), d.in("S4")) }

// SHL and USHR shift bits out; SSHR keeps the sign.
func (a *Asm) SHL(d, n V, bits int) {
	inRange("shift", bits, 0, 31)
	a.op("VSHL", fmt.Sprintf("$%d", bits), n.in("S4"), d.in("S4"))
}
func (a *Asm) USHR(d, n V, bits int) {
	inRange("shift", bits, 1, 32)
	a.op("VUSHR", fmt.Sprintf("$%d", bits), n.in("S4"), d.in("S4"))
}
func (a *Asm) SSHR(d, n V, bits int) {
	inRange("shift", bits, 1, 32)
	a.word(sshr|uint32(64-bits)<<16|n.n()<<5|d.n(), "sshr v%d.4s, v%d.4s, #%d", d, n, bits)
}

// Bits. BIC is n &^ m, ORN n | ^m; BIT inserts the bits of n where m is set, BIF where it is not.
func (a *Asm) ANDV(d, n, m V) { a.op("VAND", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) ORRV(d, n, m V) { a.op("VORR", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) BIT(d, n, m V)  { a.op("VBIT", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) BIF(d, n, m V)  { a.op("VBIF", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) BIC(d, n, m V) {
	a.word(bic|m.n()<<16|n.n()<<5|d.n(), "bic v%d.16b, v%d.16b, v%d.16b", d, n, m)
}

func (a *Asm) ORN(d, n, m V) {
	a.word(orn|m.n()<<16|n.n()<<5|d.n(), "orn v%d.16b, v%d.16b, v%d.16b", d, n, m)
}

// MOVV copies, ZERO clears.
func (a *Asm) MOVV(d, n V) { a.op("VMOV", n.in("B16"), d.in("B16")) }
func (a *Asm) ZERO(d V)    { a.op("VEOR", d.in("B16"), d.in("B16"), d.in("B16")) }

// DUP copies a lane to all lanes, DUPX the low 32 bits of a general register.
func (a *Asm) DUP(d, n V, lane int) { a.op("VDUP", n.lane(lane), d.in("S4")) }
func (a *Asm) DUPX(d V, x X)        { a.op("VDUP", x.String(), d.in("S4")) }

// EXT8 swaps in: the high half of n, then the low half of m.
func (a *Asm) EXT8(d, n, m V) { a.op("VEXT", "$8", m.in("B16"), n.in("B16"), d.in("B16")) }

// TBL2 looks the bytes of index up in the 32 bytes of t and t+1.
func (a *Asm) TBL2(d, t, index V) {
	a.op("VTBL", index.in("B16"), fmt.Sprintf("[%s, %s]", t.in("B16"), (t+1).in("B16")), d.in("B16"))
}

// TRN1 pairs up the even lanes of n and m, TRN2 the odd ones; ZIP1D and ZIP2D their low and high
// halves.
func (a *Asm) TRN1(d, n, m V)  { a.op("VTRN1", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) TRN2(d, n, m V)  { a.op("VTRN2", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) ZIP1D(d, n, m V) { a.op("VZIP1", m.in("D2"), n.in("D2"), d.in("D2")) }
func (a *Asm) ZIP2D(d, n, m V) { a.op("VZIP2", m.in("D2"), n.in("D2"), d.in("D2")) }

// HalfToX moves half of a vector, 64 bits, to a general register.
func (a *Asm) HalfToX(x X, n V, half int) {
	inRange("half", half, 0, 1)
	a.op("VMOV", fmt.Sprintf("V%d.D[%d]", n.n(), half), x.String())
}

// LDRQ, LDRD and LDRS load 4, 2 and 1 lanes and clear the others; STRQ and STRS store 4 and 1.
func (a *Asm) LDRQ(v V, m Mem) { a.op("FMOVQ", m.at(16), v.scalar()) }
func (a *Asm) LDRD(v V, m Mem) { a.op("FMOVD", m.at(8), v.scalar()) }
func (a *Asm) LDRS(v V, m Mem) { a.op("FMOVS", m.at(4), v.scalar()) }
func (a *Asm) STRQ(v V, m Mem) { a.op("FMOVQ", v.scalar(), m.at(16)) }
func (a *Asm) STRS(v V, m Mem) { a.op("FMOVS", v.scalar(), m.at(4)) }

// LDRQX and LDRSX load 4 and 1 lanes from base + index bytes, STRQX stores 4.
func (a *Asm) LDRQX(v V, base, index X) {
	a.word(ldrQReg|index.n()<<16|base.n()<<5|v.n(), "ldr q%d, [x%d,x%d]", v, base, index)
}
func (a *Asm) STRQX(v V, base, index X) {
	a.word(strQReg|index.n()<<16|base.n()<<5|v.n(), "str q%d, [x%d,x%d]", v, base, index)
}
func (a *Asm) LDRSX(v V, base, index X) {
	a.op("FMOVS", "("+base.String()+")("+index.String()+")", v.scalar())
}

// LDPQ loads the vectors v and w from m and m+16, STPQ stores them.
func (a *Asm) LDPQ(v, w V, m Mem) { a.op("FLDPQ", pairAt(m), pair(v, w)) }
func (a *Asm) STPQ(v, w V, m Mem) { a.op("FSTPQ", pair(v, w), pairAt(m)) }

func pair(v, w V) string { return fmt.Sprintf("(%s, %s)", v.scalar(), w.scalar()) }

func pairAt(m Mem) string {
	inRange("offset of a pair", m.Disp, -1024, 1008)
	if m.Disp%16 != 0 {
		panic(fmt.Sprintf("a64: offset %d of a pair is not a multiple of 16", m.Disp))
	}
	return m.at(16)
}

// LDRepeat loads one float32 into all lanes.
func (a *Asm) LDRepeat(v V, base X) { a.op("VLD1R", "("+base.String()+")", "["+v.in("S4")+"]") }

// LDLane loads a lane and keeps the others; STLane stores one and moves base on by 4.
func (a *Asm) LDLane(v V, lane int, base X) { a.op("VLD1", "("+base.String()+")", v.lane(lane)) }
func (a *Asm) STLane(v V, lane int, base X) {
	a.op("VST1.P", v.lane(lane), "4("+base.String()+")")
}

package a64

import (
	"encoding/binary"
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"golang.org/x/arch/arm64/arm64asm"
)

// A field is the place of a register in a word.
type field struct {
	register register
	shift    int
}

// word adds an instruction that Go's assembler lacks, with its text as the comment. The format is of
// the numbers of the fields, the destination first.
func (a *Asm) word(acc access, w uint32, format string, destination field, sources ...field) {
	all := append([]field{destination}, sources...)
	var registers []register
	for _, f := range all {
		registers = append(registers, f.register)
	}
	a.add(acc, "WORD", registers[:1], registers[1:], func(n numbers) (operand.Op, error) {
		word := w
		for _, f := range all {
			word |= uint32(n.of(f.register)) << f.shift
		}
		want := n.fill(format, registers)
		if got := Decode(word); got != want {
			return nil, fmt.Errorf("%#08x is %q, want %q", word, got, want)
		}
		return text(fmt.Sprintf("$%#08x // %s", word, want)), nil
	})
}

// d, n and m are the registers of a word in Arm's names.
func (v V) d() field { return field{v.register(), 0} }
func (v V) n() field { return field{v.register(), 5} }
func (v V) m() field { return field{v.register(), 16} }
func (x X) n() field { return field{x.register(), 5} }
func (x X) m() field { return field{x.register(), 16} }

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
		"mul": 0x4EA09C00, "cmtst": 0x4EA08C00, "sabd": 0x4EA07400, "umin": 0x6EA06C00, "umax": 0x6EA06400, "cmhs": 0x6EA03C00,
	}
	twoRegisters = map[string]uint32{"frintp": 0x4EA18800, "fcvtns": 0x4E21A800, "scvtf": 0x4E21D800, "fneg": 0x6EA0F800, "fabs": 0x4EA0F800}
	byElement    = map[string]uint32{"fmla": 0x4F801000}
)

const (
	umaxv   = 0x6EB0A800
	bic     = 0x4E601C00
	orn     = 0x4EE01C00
	fmaxv   = 0x6E30F800
	faddp   = 0x7E30D800
	addv    = 0x4EB1B800
	umull   = 0x2EA0C000
	umull2  = 0x6EA0C000
	ldrQReg = 0x3CE06800
	strQReg = 0x3CA06800
)

func (a *Asm) three(acc access, name string, d, n, m V) {
	a.word(acc, threeSame[name], name+" v%d.4s, v%d.4s, v%d.4s", d.d(), n.n(), m.m())
}

func (a *Asm) two(name string, d, n V) {
	a.word(define, twoRegisters[name], name+" v%d.4s, v%d.4s", d.d(), n.n())
}

// Arithmetic, lane by lane. FMLA is d += n*m and FMLS d -= n*m, rounded once. FMAX and FMIN
// return NaN if an operand is NaN; FMAXNM returns the other one if it is a quiet NaN.
func (a *Asm) FADD(d, n, m V)   { a.three(define, "fadd", d, n, m) }
func (a *Asm) FSUB(d, n, m V)   { a.three(define, "fsub", d, n, m) }
func (a *Asm) FMUL(d, n, m V)   { a.three(define, "fmul", d, n, m) }
func (a *Asm) FDIV(d, n, m V)   { a.three(define, "fdiv", d, n, m) }
func (a *Asm) FMLA(d, n, m V)   { a.three(update, "fmla", d, n, m) }
func (a *Asm) FMLS(d, n, m V)   { a.three(update, "fmls", d, n, m) }
func (a *Asm) FMAX(d, n, m V)   { a.three(define, "fmax", d, n, m) }
func (a *Asm) FMIN(d, n, m V)   { a.three(define, "fmin", d, n, m) }
func (a *Asm) FMAXNM(d, n, m V) { a.three(define, "fmaxnm", d, n, m) }

// FNEG changes the sign. FRINTP rounds up to an integer, FCVTNS converts to int32, to nearest even, and SCVTF from
// it.
func (a *Asm) FNEG(d, n V)   { a.two("fneg", d, n) }
func (a *Asm) FRINTP(d, n V) { a.two("frintp", d, n) }
func (a *Asm) FCVTNS(d, n V) { a.two("fcvtns", d, n) }
func (a *Asm) SCVTF(d, n V)  { a.two("scvtf", d, n) }

// FABS clears the sign.
func (a *Asm) FABS(d, n V) { a.two("fabs", d, n) }

// Comparisons set all bits of a lane or none. CMTST does where n and m share a bit, CMHS where n is not less than m as an integer without
// a sign.
func (a *Asm) FCMEQ(d, n, m V) { a.three(define, "fcmeq", d, n, m) }
func (a *Asm) FCMGT(d, n, m V) { a.three(define, "fcmgt", d, n, m) }
func (a *Asm) CMTST(d, n, m V) { a.three(define, "cmtst", d, n, m) }
func (a *Asm) CMHS(d, n, m V)  { a.three(define, "cmhs", d, n, m) }

// FMLAElement is d += n * m[lane], rounded once.
func (a *Asm) FMLAElement(d, n, m V, lane int) {
	inRange("lane", lane, 0, 3)
	l := uint32(lane)
	a.word(update, byElement["fmla"]|l&1<<21|l>>1<<11, fmt.Sprintf("fmla v%%d.4s, v%%d.4s, v%%d.s[%d]", lane), d.d(), n.n(), m.m())
}

// FMAXV is the maximum of the lanes of n, FADDP the sum of the two lowest; both in the low lane of
// d.
func (a *Asm) FMAXV(d, n V) { a.word(define, fmaxv, "fmaxv s%d, v%d.4s", d.d(), n.n()) }
func (a *Asm) FADDP(d, n V) { a.word(define, faddp, "faddp s%d, v%d.2s", d.d(), n.n()) }

// Integers, lane by lane. SABD is |n - m|, UMIN the lesser one of those without a sign, UMAX the greater one, UMAXV the
// greatest of the lanes of n in the low lane of d.
func (a *Asm) UMIN(d, n, m V) { a.three(define, "umin", d, n, m) }
func (a *Asm) UMAX(d, n, m V) { a.three(define, "umax", d, n, m) }
func (a *Asm) UMAXV(d, n V)   { a.word(define, umaxv, "umaxv s%d, v%d.4s", d.d(), n.n()) }
func (a *Asm) MULV(d, n, m V) { a.three(define, "mul", d, n, m) }
func (a *Asm) SABD(d, n, m V) { a.three(define, "sabd", d, n, m) }
func (a *Asm) ADDV(d, n, m V) { a.op(define, "VADD", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) SUBV(d, n, m V) { a.op(define, "VSUB", m.in("S4"), n.in("S4"), d.in("S4")) }

// AddLanes is the sum of the lanes of n in the low lane of d. UMULL are the 64-bit products of the two low lanes of n and m, UMULL2 of
// the high ones.
func (a *Asm) AddLanes(d, n V) { a.word(define, addv, "addv s%d, v%d.4s", d.d(), n.n()) }
func (a *Asm) UMULL(d, n, m V) {
	a.word(define, umull, "umull v%d.2d, v%d.2s, v%d.2s", d.d(), n.n(), m.m())
}
func (a *Asm) UMULL2(d, n, m V) {
	a.word(define, umull2, "umull2 v%d.2d, v%d.4s, v%d.4s", d.d(), n.n(), m.m())
}

// Lanes of other sizes: FCVTN rounds 4 lanes to binary16 in the low half of d, and FCVTL converts them back. XTN leaves
// the low halves of 4 lanes and SHRN16 the high ones, in the low half of d, and XTNB the low bytes of 8 lanes of 16 bits.
// SXTL extends 4 lanes of 16 bits by their signs, SHLL16 by 16 zeros below, and SXTLB 8 bytes to 16 bits.
func (a *Asm) FCVTN(d, n V)  { a.word(define, 0x0E216800, "fcvtn v%d.4h, v%d.4s", d.d(), n.n()) }
func (a *Asm) FCVTL(d, n V)  { a.word(define, 0x0E217800, "fcvtl v%d.4s, v%d.4h", d.d(), n.n()) }
func (a *Asm) XTN(d, n V)    { a.word(define, 0x0E612800, "xtn v%d.4h, v%d.4s", d.d(), n.n()) }
func (a *Asm) XTNB(d, n V)   { a.word(define, 0x0E212800, "xtn v%d.8b, v%d.8h", d.d(), n.n()) }
func (a *Asm) SHRN16(d, n V) { a.word(define, 0x0F108400, "shrn v%d.4h, v%d.4s, #16", d.d(), n.n()) }
func (a *Asm) SXTL(d, n V)   { a.word(define, 0x0F10A400, "sxtl v%d.4s, v%d.4h", d.d(), n.n()) }
func (a *Asm) SXTLB(d, n V)  { a.word(define, 0x0F08A400, "sxtl v%d.8h, v%d.8b", d.d(), n.n()) }
func (a *Asm) SHLL16(d, n V) { a.word(define, 0x2E613800, "shll v%d.4s, v%d.4h, #16", d.d(), n.n()) }

// SHL and USHR shift bits out.
func (a *Asm) SHL(d, n V, bits int) {
	inRange("shift", bits, 0, 31)
	a.op(define, "VSHL", constant("$%d", bits), n.in("S4"), d.in("S4"))
}
func (a *Asm) USHR(d, n V, bits int) {
	inRange("shift", bits, 1, 32)
	a.op(define, "VUSHR", constant("$%d", bits), n.in("S4"), d.in("S4"))
}

// Bits. BIC is n &^ m, ORN n | ^m; BIT inserts the bits of n where m is set, BIF where it is not.
func (a *Asm) ANDV(d, n, m V) { a.op(define, "VAND", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) ORRV(d, n, m V) { a.op(define, "VORR", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) EORV(d, n, m V) { a.op(define, "VEOR", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) BIT(d, n, m V)  { a.op(update, "VBIT", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) BIF(d, n, m V)  { a.op(update, "VBIF", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) BIC(d, n, m V) {
	a.word(define, bic, "bic v%d.16b, v%d.16b, v%d.16b", d.d(), n.n(), m.m())
}

func (a *Asm) ORN(d, n, m V) {
	a.word(define, orn, "orn v%d.16b, v%d.16b, v%d.16b", d.d(), n.n(), m.m())
}

// MOVV copies, ZERO clears.
func (a *Asm) MOVV(d, n V) { a.op(define, "VMOV", n.in("B16"), d.in("B16")) }
func (a *Asm) ZERO(d V) {
	a.op(define, "VMOVI", constant("$0"), d.in("B16"))
}

// DUP copies a lane to all lanes, DUPX the low 32 bits of a general register.
func (a *Asm) DUP(d, n V, lane int) { a.op(define, "VDUP", n.lane(lane), d.in("S4")) }
func (a *Asm) DUPX(d V, x X)        { a.op(define, "VDUP", x.form(), d.in("S4")) }

// EXT8 swaps in: the high half of n, then the low half of m.
func (a *Asm) EXT8(d, n, m V) {
	a.op(define, "VEXT", constant("$8"), m.in("B16"), n.in("B16"), d.in("B16"))
}

// TBL2 looks the bytes of index up in the 32 bytes of t and t+1.
func (a *Asm) TBL2(d, t, index V) {
	if t >= virtual {
		panic("a64: a table is a pair of physical registers")
	}
	a.op(define, "VTBL", index.in("B16"), form{"[V%d.B16, V%d.B16]", []register{t.register(), (t + 1).register()}}, d.in("B16"))
}

// UZP1 joins the even lanes of n and m, UZP2 the odd ones; ZIP1 and ZIP2 pair up the lanes of their low and
// high halves.
func (a *Asm) UZP1(d, n, m V) { a.op(define, "VUZP1", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) UZP2(d, n, m V) { a.op(define, "VUZP2", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) ZIP1(d, n, m V) { a.op(define, "VZIP1", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) ZIP2(d, n, m V) { a.op(define, "VZIP2", m.in("S4"), n.in("S4"), d.in("S4")) }

// TRN1 pairs up the even lanes of n and m, TRN2 the odd ones; ZIP1D and ZIP2D their low and high
// halves.
func (a *Asm) TRN1(d, n, m V)  { a.op(define, "VTRN1", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) TRN2(d, n, m V)  { a.op(define, "VTRN2", m.in("S4"), n.in("S4"), d.in("S4")) }
func (a *Asm) ZIP1D(d, n, m V) { a.op(define, "VZIP1", m.in("D2"), n.in("D2"), d.in("D2")) }
func (a *Asm) ZIP2D(d, n, m V) { a.op(define, "VZIP2", m.in("D2"), n.in("D2"), d.in("D2")) }

// CMTSTB sets the bytes of d where n and m share a bit to all ones, and others to 0. SLIB sets the bits of each byte of d, but
// the low ones, to those of n shifted left by as many. ZIP1B, ZIP2B, ZIP1H and ZIP2H interleave the bytes and halves of words
// of n and m: those of the low half of the registers, and of the high one.
func (a *Asm) CMTSTB(d, n, m V) { a.op(define, "VCMTST", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) SLIB(d, n V, bits int) {
	inRange("shift", bits, 0, 7)
	a.op(update, "VSLI", constant("$%d", bits), n.in("B16"), d.in("B16"))
}
func (a *Asm) ZIP1B(d, n, m V) { a.op(define, "VZIP1", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) ZIP2B(d, n, m V) { a.op(define, "VZIP2", m.in("B16"), n.in("B16"), d.in("B16")) }
func (a *Asm) ZIP1H(d, n, m V) { a.op(define, "VZIP1", m.in("H8"), n.in("H8"), d.in("H8")) }
func (a *Asm) ZIP2H(d, n, m V) { a.op(define, "VZIP2", m.in("H8"), n.in("H8"), d.in("H8")) }

// HalfToX moves half of a vector, 64 bits, to a general register.
func (a *Asm) HalfToX(x X, n V, half int) {
	inRange("half", half, 0, 1)
	a.op(define, "VMOV", n.in(fmt.Sprintf("D[%d]", half)), x.form())
}

// LDRQ, LDRD and LDRS load 4, 2 and 1 lanes and clear the others; STRQ and STRS store 4 and 1.
func (a *Asm) LDRQ(v V, m Mem) { a.op(define, "FMOVQ", m.at(16), v.scalar()) }
func (a *Asm) LDRD(v V, m Mem) { a.op(define, "FMOVD", m.at(8), v.scalar()) }
func (a *Asm) LDRS(v V, m Mem) { a.op(define, "FMOVS", m.at(4), v.scalar()) }
func (a *Asm) STRQ(v V, m Mem) { a.op(read, "FMOVQ", v.scalar(), m.at(16)) }
func (a *Asm) STRS(v V, m Mem) { a.op(read, "FMOVS", v.scalar(), m.at(4)) }

// LDRBytes loads 1, 2, 4, 8 or 16 bytes and clears the others; STRBytes stores as many.
func (a *Asm) LDRBytes(v V, m Mem, n int) {
	switch n {
	case 16:
		a.LDRQ(v, m)
	case 8:
		a.LDRD(v, m)
	case 4:
		a.LDRS(v, m)
	default:
		x := a.X()
		a.op(define, map[int]string{2: "MOVHU", 1: "MOVBU"}[n], m.at(n), x.form())
		a.op(define, "FMOVS", x.form(), v.scalar())
	}
}
func (a *Asm) STRBytes(v V, m Mem, n int) {
	switch n {
	case 16:
		a.STRQ(v, m)
	case 8:
		a.op(read, "FMOVD", v.scalar(), m.at(8))
	case 4:
		a.STRS(v, m)
	default:
		x := a.X()
		a.op(define, "FMOVS", v.scalar(), x.form())
		a.op(read, map[int]string{2: "MOVH", 1: "MOVB"}[n], x.form(), m.at(n))
	}
}

// LDRQX and LDRSX load 4 and 1 lanes from base + index bytes, STRQX stores 4.
func (a *Asm) LDRQX(v V, base, index X) {
	a.word(define, ldrQReg, "ldr q%d, [x%d,x%d]", v.d(), base.n(), index.m())
}
func (a *Asm) STRQX(v V, base, index X) {
	a.word(read, strQReg, "str q%d, [x%d,x%d]", v.d(), base.n(), index.m())
}
func (a *Asm) LDRSX(v V, base, index X) {
	a.op(define, "FMOVS", form{"(R%d)(R%d)", []register{base.register(), index.register()}}, v.scalar())
}

// LDPQ loads the vectors v and w from m and m+16, STPQ stores them.
func (a *Asm) LDPQ(v, w V, m Mem) { a.op(define, "FLDPQ", pairAt(m), pair(v, w)) }
func (a *Asm) STPQ(v, w V, m Mem) { a.op(read, "FSTPQ", pair(v, w), pairAt(m)) }

func pair(v, w V) form { return form{"(F%d, F%d)", []register{v.register(), w.register()}} }

func pairAt(m Mem) form {
	inRange("offset of a pair", m.Disp, -1024, 1008)
	if m.Disp%16 != 0 {
		panic(fmt.Sprintf("a64: offset %d of a pair is not a multiple of 16", m.Disp))
	}
	return m.at(16)
}

// LDRepeat loads one float32 into all lanes.
func (a *Asm) LDRepeat(v V, base X) {
	a.op(define, "VLD1R", Mem{Base: base}.at(4), form{"[V%d.S4]", v.in("S4").registers})
}

// LDLane loads a lane and keeps the others; STLane stores one and moves base on by 4.
func (a *Asm) LDLane(v V, lane int, base X) {
	a.op(update, "VLD1", Mem{Base: base}.at(4), v.lane(lane))
}
func (a *Asm) STLane(v V, lane int, base X) {
	a.op(update, "VST1.P", v.lane(lane), form{"4(R%d)", []register{base.register()}})
}

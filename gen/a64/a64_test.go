package a64

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/selfattn/attn/gen/spec"
	"golang.org/x/arch/arm64/arm64asm"
)

var isa = spec.ISA{Package: "p", Arch: "arm64"}

// print returns the text of the assembly.
func print(t *testing.T, a *Asm) string {
	t.Helper()
	dir := t.TempDir()
	if err := a.Write(isa, dir, "f"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "f_arm64.s"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Words on random operands: a decoder that knows nothing of this package reads the instruction and
// the operands back.
func TestWords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	three := map[string]func(*Asm, V, V, V){
		"FADD": (*Asm).FADD, "FSUB": (*Asm).FSUB, "FMUL": (*Asm).FMUL, "FDIV": (*Asm).FDIV,
		"FMLA": (*Asm).FMLA, "FMLS": (*Asm).FMLS, "FMAX": (*Asm).FMAX, "FMIN": (*Asm).FMIN, "FMAXNM": (*Asm).FMAXNM,
		"FCMEQ": (*Asm).FCMEQ, "FCMGT": (*Asm).FCMGT, "CMTST": (*Asm).CMTST, "MUL": (*Asm).MULV,
		"UMIN": (*Asm).UMIN, "UMAX": (*Asm).UMAX,
	}
	two := map[string]func(*Asm, V, V){"FRINTP": (*Asm).FRINTP, "FCVTNS": (*Asm).FCVTNS, "FNEG": (*Asm).FNEG}
	check := func(op string, want []string, emit func(*Asm)) {
		t.Helper()
		a := New()
		a.Begin("f", "func()")
		emit(a)
		i := a.fn.Instructions()
		if len(i) != 1 || i[0].Opcode != "WORD" {
			t.Fatalf("%s: not one word", op)
		}
		operands, err := a.text[i[0]](nil)
		if err != nil {
			t.Fatal(err)
		}
		word, comment, _ := strings.Cut(operands.Asm(), " // ")
		w, err := strconv.ParseUint(strings.TrimPrefix(word, "$0x"), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := arm64asm.Decode(binary.LittleEndian.AppendUint32(nil, uint32(w)))
		if err != nil {
			t.Fatal(err)
		}
		var args []string
		for _, arg := range decoded.Args {
			if arg != nil {
				args = append(args, arg.String())
			}
		}
		if decoded.Op.String() != op || strings.Join(args, " ") != strings.Join(want, " ") {
			t.Fatalf("%s %v is %v %v", op, want, decoded.Op, args)
		}
		if !strings.HasPrefix(comment, strings.ToLower(op)+" ") {
			t.Fatalf("%s has the comment %q", op, comment)
		}
	}
	for range 64 {
		d, n, m := V(r.IntN(32)), V(r.IntN(32)), V(r.IntN(32))
		s4 := func(v V) string { return fmt.Sprintf("V%d.4S", v) }
		b16 := func(v V) string { return fmt.Sprintf("V%d.16B", v) }
		for op, f := range three {
			check(op, []string{s4(d), s4(n), s4(m)}, func(a *Asm) { f(a, d, n, m) })
		}
		for op, f := range two {
			check(op, []string{s4(d), s4(n)}, func(a *Asm) { f(a, d, n) })
		}
		check("FCVTN", []string{fmt.Sprintf("V%d.4H", d), s4(n)}, func(a *Asm) { a.FCVTN(d, n) })
		check("FCVTL", []string{s4(d), fmt.Sprintf("V%d.4H", n)}, func(a *Asm) { a.FCVTL(d, n) })
		check("XTN", []string{fmt.Sprintf("V%d.4H", d), s4(n)}, func(a *Asm) { a.XTN(d, n) })
		check("XTN", []string{fmt.Sprintf("V%d.8B", d), fmt.Sprintf("V%d.8H", n)}, func(a *Asm) { a.XTNB(d, n) })
		check("SHRN", []string{fmt.Sprintf("V%d.4H", d), s4(n), "#16"}, func(a *Asm) { a.SHRN16(d, n) })
		check("SXTL", []string{s4(d), fmt.Sprintf("V%d.4H", n)}, func(a *Asm) { a.SXTL(d, n) })
		check("SXTL", []string{fmt.Sprintf("V%d.8H", d), fmt.Sprintf("V%d.8B", n)}, func(a *Asm) { a.SXTLB(d, n) })
		check("SHLL", []string{s4(d), fmt.Sprintf("V%d.4H", n), "#16"}, func(a *Asm) { a.SHLL16(d, n) })
		check("UMAXV", []string{fmt.Sprintf("S%d", d), s4(n)}, func(a *Asm) { a.UMAXV(d, n) })
		check("BIC", []string{b16(d), b16(n), b16(m)}, func(a *Asm) { a.BIC(d, n, m) })
		check("ORN", []string{b16(d), b16(n), b16(m)}, func(a *Asm) { a.ORN(d, n, m) })
		lane := r.IntN(4)
		check("FMLA", []string{s4(d), s4(n), fmt.Sprintf("V%d.S[%d]", m, lane)}, func(a *Asm) { a.FMLAElement(d, n, m, lane) })
		check("FMAXV", []string{fmt.Sprintf("S%d", d), s4(n)}, func(a *Asm) { a.FMAXV(d, n) })
		check("FADDP", []string{fmt.Sprintf("S%d", d), fmt.Sprintf("V%d.2S", n)}, func(a *Asm) { a.FADDP(d, n) })
		x, y := generalRegisters[r.IntN(len(generalRegisters))], generalRegisters[r.IntN(len(generalRegisters))]
		check("LDR", []string{fmt.Sprintf("Q%d", d), fmt.Sprintf("[X%d,X%d]", x, y)}, func(a *Asm) { a.LDRQX(d, x, y) })
		check("STR", []string{fmt.Sprintf("Q%d", d), fmt.Sprintf("[X%d,X%d]", x, y)}, func(a *Asm) { a.STRQX(d, x, y) })
	}
}

// What cannot be encoded, or would need a register of the assembler, panics.
func TestPanics(t *testing.T) {
	for what, f := range map[string]func(a *Asm){
		"vector register 32":     func(a *Asm) { a.FADD(0, 1, 32) },
		"R16":                    func(a *Asm) { a.MOV(0, 16) },
		"R18":                    func(a *Asm) { a.ADDI(18, 0, 1) },
		"R27":                    func(a *Asm) { a.LDRQ(0, Mem{27, 0}) },
		"R28":                    func(a *Asm) { a.LDRQX(0, 28, 1) },
		"lane 4":                 func(a *Asm) { a.FMLAElement(0, 1, 2, 4) },
		"immediate 4096":         func(a *Asm) { a.ADDI(0, 0, 4096) },
		"immediate -1":           func(a *Asm) { a.SUBS(0, 0, -1) },
		"shift by 32":            func(a *Asm) { a.SHL(0, 0, 32) },
		"shift by 0":             func(a *Asm) { a.USHR(0, 0, 0) },
		"offset of a quad":       func(a *Asm) { a.LDRQ(0, Mem{0, 4096 * 16}) },
		"unaligned offset":       func(a *Asm) { a.STRS(0, Mem{0, 258}) },
		"offset of a pair":       func(a *Asm) { a.LDPQ(0, 1, Mem{0, 1024}) },
		"unaligned pair":         func(a *Asm) { a.STPQ(0, 1, Mem{0, 8}) },
		"float32 as a pointer":   func(a *Asm) { a.Param("x") },
		"pointer as a float32":   func(a *Asm) { a.ParamFloat("p") },
		"result of another size": func(a *Asm) { a.ResultFloat(0) },
		"unknown parameter":      func(a *Asm) { a.Param("y") },
	} {
		t.Run(what, func(t *testing.T) {
			a := New()
			a.Begin("f", "func(p *float32, x float32) int64")
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f(a)
		})
	}
}

// What the registers of a function do wrong, as a whole.
func TestErrors(t *testing.T) {
	use := func(a *Asm, v V) { a.STRQ(v, Mem{Base: a.Param("p")}) }
	for _, c := range []struct {
		want string
		emit func(a *Asm)
	}{
		{"", func(a *Asm) { a.ZERO(3); use(a, 3) }},
		{"read before it is written: [FMOVQ F3", func(a *Asm) { use(a, 3) }},
		{"read before it is written: [MOVD", func(a *Asm) { a.Result(a.X()) }},
		{"read before it is written: [BLT l", func(a *Asm) { a.Label("l"); a.Param("p"); a.BLT("l") }},
		{"read before it is written: [VBIT", func(a *Asm) { v := a.V(); a.ZERO(1); a.BIT(v, 1, 1); use(a, v) }},
		// on one of two paths
		{"read before it is written", func(a *Asm) {
			v, p := a.V(), a.Param("p")
			a.CBZ(p, "l")
			a.ZERO(v)
			a.Label("l")
			use(a, v)
		}},
		{"nothing reads the result of VMOVI $0, V3.B16", func(a *Asm) { a.ZERO(3) }},
		{"nothing reads the result of WORD $0x4e21d421", func(a *Asm) { a.ZERO(1); a.FADD(1, 1, 1); a.ZERO(1); use(a, 1) }},
		{"", func(a *Asm) { a.ZERO(3); a.Keep(3) }},
		// dropped, not an error: additions to counters and pointers
		{"", func(a *Asm) { n := a.Param("n"); a.Blocks(n, 4, func() {}) }},
		{"does not return", func(a *Asm) { a.RET(); a.ZERO(3); a.Keep(3) }},
		{"failed to allocate", func(a *Asm) {
			var all []V
			for range 33 {
				all = append(all, a.V())
				a.ZERO(all[len(all)-1])
			}
			for _, v := range all {
				use(a, v)
			}
		}},
		{"is \"fadd v0.4s, v0.4s, v0.4s\", want", func(a *Asm) {
			a.word(define, 0x4E20D400, "fsub v%d.4s, v0.4s, v0.4s", V(0).d())
			use(a, 0)
		}},
	} {
		a := New()
		a.Begin("f", "func(p *float32, n int) int64")
		c.emit(a)
		if c.want != "does not return" {
			a.RET()
		}
		err := a.Write(isa, t.TempDir(), "f")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// Virtual registers that live at the same time are apart, from each other and from physical ones;
// one after the other they share.
func TestAllocation(t *testing.T) {
	a := New()
	a.Begin("f", "func(p *float32, n int)")
	p := a.Param("p")
	x, y, z := a.V(), a.V(), a.V()
	a.ZERO(0)
	a.ZERO(x)
	a.LDRQ(y, Mem{Base: p})
	a.FMLA(x, y, 0)
	a.FADD(z, x, x) // x and y are free here, 0 is not
	a.STPQ(z, 0, Mem{Base: p})
	a.RET()
	s := print(t, a)
	for _, want := range []string{"FMOVQ (R0), F2", "fmla v1.4s, v2.4s, v0.4s", "fadd v1.4s, v1.4s, v1.4s", "FSTPQ (F1, F0), (R0)"} {
		if !strings.Contains(strings.Join(strings.Fields(s), " "), want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
}

// Both registers of a pair are written, read or not: they differ.
func TestPairs(t *testing.T) {
	a := New()
	a.Begin("f", "func(p *float32)")
	p, x, y := a.Param("p"), a.V(), a.V()
	a.LDPQ(x, y, Mem{Base: p})
	a.STRQ(x, Mem{Base: p})
	a.RET()
	if s := print(t, a); !strings.Contains(s, "(F1, F0)") && !strings.Contains(s, "(F0, F1)") {
		t.Error(s)
	}
}

func TestFirst(t *testing.T) {
	a := New()
	a.Begin("f", "func(p *float32)")
	v := a.V()
	a.STRQ(v, Mem{Base: a.Param("p")})
	a.First(func() { a.ZERO(v) })
	a.RET()
	if s := print(t, a); strings.Index(s, "VMOVI") > strings.Index(s, "MOVD") {
		t.Error(s)
	}
}

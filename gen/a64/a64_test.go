package a64

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

// words returns the encoding and the comment of each WORD of a file.
func words(t *testing.T, a *Asm) (w []uint32, comments []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`WORD +\$(0x[0-9a-f]{8}) // (.*)`).FindAllStringSubmatch(print(t, a), -1) {
		n, err := strconv.ParseUint(m[1], 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		w, comments = append(w, uint32(n)), append(comments, m[2])
	}
	return w, comments
}

// print returns the text of the assembly.
func print(t *testing.T, a *Asm) string {
	t.Helper()
	dir := t.TempDir()
	if err := a.Write(dir, "p", "f"); err != nil {
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
		"FCMEQ": (*Asm).FCMEQ, "FCMGT": (*Asm).FCMGT, "CMGT": (*Asm).CMGT, "MUL": (*Asm).MULV,
	}
	two := map[string]func(*Asm, V, V){"FRINTP": (*Asm).FRINTP, "FCVTNS": (*Asm).FCVTNS}
	check := func(op string, want []string, emit func(*Asm)) {
		t.Helper()
		a := New()
		a.Begin("f", "func()")
		emit(a)
		w, comments := words(t, a)
		if len(w) != 1 {
			t.Fatalf("%s: %d words", op, len(w))
		}
		b := []byte{byte(w[0]), byte(w[0] >> 8), byte(w[0] >> 16), byte(w[0] >> 24)}
		i, err := arm64asm.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		var args []string
		for _, arg := range i.Args {
			if arg != nil {
				args = append(args, arg.String())
			}
		}
		if i.Op.String() != op || strings.Join(args, " ") != strings.Join(want, " ") {
			t.Fatalf("%s %v is %v %v", op, want, i.Op, args)
		}
		if !strings.HasPrefix(comments[0], strings.ToLower(op)+" ") {
			t.Fatalf("%s has the comment %q", op, comments[0])
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
		check("BIC", []string{b16(d), b16(n), b16(m)}, func(a *Asm) { a.BIC(d, n, m) })
		check("ORN", []string{b16(d), b16(n), b16(m)}, func(a *Asm) { a.ORN(d, n, m) })
		lane, bits := r.IntN(4), 1+r.IntN(32)
		check("FMLA", []string{s4(d), s4(n), fmt.Sprintf("V%d.S[%d]", m, lane)}, func(a *Asm) { a.FMLAElement(d, n, m, lane) })
		check("SSHR", []string{s4(d), s4(n), fmt.Sprintf("#%d", bits)}, func(a *Asm) { a.SSHR(d, n, bits) })
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
		"shift by 0":             func(a *Asm) { a.SSHR(0, 0, 0) },
		"offset of a quad":       func(a *Asm) { a.LDRQ(0, Mem{0, 4096 * 16}) },
		"unaligned offset":       func(a *Asm) { a.STRS(0, Mem{0, 258}) },
		"offset of a pair":       func(a *Asm) { a.LDPQ(0, 1, Mem{0, 1024}) },
		"unaligned pair":         func(a *Asm) { a.STPQ(0, 1, Mem{0, 8}) },
		"float32 as a pointer":   func(a *Asm) { a.Param("x") },
		"pointer as a float32":   func(a *Asm) { a.ParamFloat(0, "p") },
		"result of another size": func(a *Asm) { a.ResultFloat(0) },
		"unknown parameter":      func(a *Asm) { a.Param("y") },
		"too many registers": func(a *Asm) {
			for range 24 {
				a.X()
			}
		},
		"a word that is not its text": func(a *Asm) { a.word(0x4E20D400, "fsub v0.4s, v0.4s, v0.4s") },
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

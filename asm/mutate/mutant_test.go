package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const sample = `TEXT ·f(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), AX
	LEAQ (AX)(AX*2), CX
	MOVQ CX, SI
	ADDQ ahead+8(FP), SI
	VMOVUPS 32(AX), Y0
	VADDPS Y0, Y1, Y1

loop:
	CMPQ rows+16(FP), $0x00
	JE same
	PREFETCHT1 (SI)
	ADDQ $+64, SI
	SUBQ $+16, left+24(FP)
	JG same
	MOVQ dim+32(FP), CX
	MOVQ CX, left+24(FP)

same:
	MOVQ dim+32(FP), CX
	VMOVUPS Y0, (CX)
	SUBQ $+8, BX
	JGE loop
	ADDQ $+8, BX
	JZ done
	VMOVUPS Y1, (AX)

done:
	VZEROUPPER
	RET

DATA t<>+0(SB)/4, $0x3f800000
`

// The sample's f is a kernel with these.
func init() { hints["f"] = []string{"ahead", "rows", "left"} }

// Of the sample, the lines that serve prefetches or end are no sites. What a line computes for its flags
// matters.
func TestSites(t *testing.T) {
	f := newFile("avx2", "f.s", sample)
	require.Len(t, f.functions, 2)
	var sites []string
	for _, in := range f.functions {
		for _, i := range in.sites {
			sites = append(sites, strings.TrimSpace(f.lines[i]))
		}
	}
	require.Equal(t, []string{"MOVQ x+0(FP), AX", "VMOVUPS 32(AX), Y0", "VADDPS Y0, Y1, Y1", "MOVQ dim+32(FP), CX", "VMOVUPS Y0, (CX)",
		"SUBQ $+8, BX", "JGE loop", "ADDQ $+8, BX", "JZ done", "VMOVUPS Y1, (AX)", "DATA t<>+0(SB)/4, $0x3f800000"}, sites)
	require.Equal(t, []string{"AX", "BX", "CX", "SI", "Y0", "Y1"}, f.functions[0].registers)
}

// The parameters that only say what to prefetch are those of a function, not those of a name: in
// another function such lines are sites, unless what they compute serves prefetches alone.
func TestHintsAreOfOneFunction(t *testing.T) {
	f := newFile("avx2", "f.s", strings.Replace(sample, "·f(", "·future(", 1))
	require.Equal(t, "future", f.functions[0].name)
	var sites []string
	for _, i := range f.functions[0].sites {
		sites = append(sites, strings.TrimSpace(f.lines[i]))
	}
	for _, line := range []string{"CMPQ rows+16(FP), $0x00", "SUBQ $+16, left+24(FP)", "MOVQ CX, left+24(FP)"} {
		require.Contains(t, sites, line)
	}
}

// What the table calls a hint is a parameter of that function, in some instruction set, and its
// assembly uses it.
func TestHintsExist(t *testing.T) {
	delete(hints, "f")
	defer func() { hints["f"] = []string{"ahead", "rows", "left"} }()
	paths, err := filepath.Glob("../internal/*/*.s")
	require.NoError(t, err)
	used := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		function := ""
		for _, line := range strings.Split(string(text), "\n") {
			if m := heading.FindStringSubmatch(line); m != nil {
				function = m[1]
			}
			if m := operand.FindStringSubmatch(line); m != nil {
				used[function+" "+m[1]] = true
			}
		}
	}
	for function, names := range hints {
		for _, name := range names {
			require.True(t, used[function+" "+name], "%s of %s", name, function)
		}
	}
}

// Every change of a line that can be drawn.
func TestChanges(t *testing.T) {
	registers := []string{"AX", "BX", "F1", "F2", "R1", "R2", "V1", "V2", "Y0", "Y1", "Y2"}
	for _, c := range []struct {
		change, line string
		want         []string
	}{
		{"operation", "VADDPS Y0, Y1, Y1", []string{"// nothing", "VSUBPS Y0, Y1, Y1"}},
		{"operation", "MOVQ AX, BX", []string{"// nothing"}},
		{"operation", "MOVQ x+0(FP), AX", nil},
		{"operation", "JGE loop", nil},
		{"operation", "WORD $0x4e28f400 // fmax v0.4s, v0.4s, v8.4s", []string{"// nothing", "WORD $0x4ea8f400 // not fmax v0.4s, v0.4s, v8.4s"}},
		{"operation", "WORD $0x4f9813c0 // fmla v0.4s, v30.4s, v24.s[0]", []string{"// nothing", "WORD $0x4f9853c0 // not fmla v0.4s, v30.4s, v24.s[0]"}},
		{"constant", "SUBQ $+8, BX", []string{"SUBQ $7, BX", "SUBQ $9, BX"}},
		{"constant", "VADDPS Y0, Y1, Y1", nil},
		{"offset", "VMOVUPS 32(AX), Y0", []string{"VMOVUPS 28(AX), Y0", "VMOVUPS 36(AX), Y0"}},
		{"offset", "VMOVUPS (AX), Y0", []string{"VMOVUPS -4(AX), Y0", "VMOVUPS 4(AX), Y0"}},
		{"offset", "MOVQ x+8(FP), AX", []string{"MOVQ x+0(FP), AX", "MOVQ x+16(FP), AX"}},
		{"offset", "VMOVUPS splat3f800000<>+0(SB), Y0", nil},
		{"register", "MOVQ AX, BX", []string{"MOVQ AX, AX", "MOVQ AX, R1", "MOVQ AX, R2", "MOVQ BX, BX", "MOVQ R1, BX", "MOVQ R2, BX"}},
		{"register", "MOVQ x+8(FP), AX", nil},
		{"register", "VMOVUPS (AX), Y0", []string{"VMOVUPS (AX), Y1", "VMOVUPS (AX), Y2", "VMOVUPS (BX), Y0", "VMOVUPS (R1), Y0", "VMOVUPS (R2), Y0"}},
		{"branch", "JGE loop", []string{"// nothing", "JG loop", "JL loop"}},
		{"branch", "JNZ loop", []string{"// nothing", "JZ loop"}},
		{"branch", "JMP loop", []string{"// nothing"}},
		{"branch", "MOVQ AX, BX", nil},
	} {
		i := slices.IndexFunc(changes, func(x struct {
			name  string
			apply func(r *rand.Rand, line string, registers []string) string
		}) bool {
			return x.name == c.change
		})
		r := rand.New(rand.NewPCG(1, 1))
		var got []string
		for range 300 {
			if s := changes[i].apply(r, "\t"+c.line, registers); s != "" {
				got = append(got, strings.TrimSpace(s))
			}
		}
		slices.Sort(got)
		require.Equal(t, c.want, slices.Compact(got), "%s of %s", c.change, c.line)
	}
}

// The same seed draws the same mutants, each of them once, and of every function.
func TestDraw(t *testing.T) {
	draw := func() (all []string, functions map[string]bool) {
		d := newDeck(rand.New(rand.NewPCG(7, 0)), []file{newFile("avx2", "f.s", sample)})
		functions = map[string]bool{}
		for range 20 {
			m, ok := d.draw()
			require.True(t, ok)
			require.NotEqual(t, sample, m.text)
			require.Equal(t, strings.Replace(sample, m.before, m.after, 1), m.text)
			all, functions[m.kernel] = append(all, m.String()), true
		}
		return all, functions
	}
	a, functions := draw()
	b, _ := draw()
	require.Equal(t, a, b)
	require.Equal(t, map[string]bool{"f": true, "tables": true}, functions)
	slices.Sort(a)
	require.Len(t, slices.Compact(a), 20)
}

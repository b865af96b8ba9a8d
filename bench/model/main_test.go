package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of three loops the innermost one with the most FMAs is found, whatever the architecture.
func TestInnerLoop(t *testing.T) {
	const amd64 = `
0000000000401000 <f>:
  401000:      	movq	0x8(%rsp), %rax
  401005:      	nopl	(%rax)
  401010:      	vmovups	(%rax), %zmm1
  401016:      	vfmadd231ps	%zmm1, %zmm2, %zmm3 # zmm3 = (zmm2 * zmm1) + zmm3
  40101c:      	decq	%rdx
  40101f:      	jne	0x401010 <f+0x10>
  401021:      	vmovups	0x9c2d5(%rip), %zmm12   # 0x49d2fe <splat4b40007e>
  40102b:      	vfmadd231ps	(%rax){1to16}, %zmm2, %zmm3 # zmm3 = (zmm2 * mem) + zmm3
  401031:      	vfnmadd213ps	%zmm1, %zmm2, %zmm4
  401037:      	addq	$0x100, %rax            # imm = 0x100
  40103d:      	decq	%rcx
  401040:      	jge	0x401021 <f+0x21>
  401042:      	vfmadd231ps	%zmm1, %zmm2, %zmm3
  401048:      	vfmadd231ps	%zmm1, %zmm2, %zmm3
  40104e:      	vfmadd231ps	%zmm1, %zmm2, %zmm3
  401054:      	je	0x40105a <f+0x5a>
  401056:      	decq	%rbx
  401058:      	jne	0x401005 <f+0x5>
  40105a:      	retq
`
	require.Equal(t, []string{
		"loop:",
		"vmovups 0x9c2d5(%rip), %zmm12",
		"vfmadd231ps (%rax){1to16}, %zmm2, %zmm3",
		"vfnmadd213ps %zmm1, %zmm2, %zmm4",
		"addq $0x100, %rax",
		"decq %rcx",
		"jge loop",
	}, innerLoop(amd64, x86FMA))
	require.Nil(t, innerLoop(strings.ReplaceAll(amd64, "vf", "vg"), x86FMA))

	const arm64 = `
000000000010b1f0 <f>:
  10b1f0:      	ldr	q0, [x0], #0x10         // comment
  10b1f4:      	fmla	v1.4s, v0.4s, v2.s[1]
  10b1f8:      	cbz	x3, 0x10b200 <f+0x10>
  10b1fc:      	prfm	pldl2keep, [x4]
  10b200:      	subs	x1, x1, #0x1
  10b204:      	cbnz	x1, 0x10b1f0 <f>
  10b208:      	ret
`
	require.Equal(t, []string{
		"loop:",
		"ldr q0, [x0], #0x10",
		"fmla v1.4s, v0.4s, v2.s[1]",
		"cbz x3, loop",
		"subs x1, x1, #0x1",
		"cbnz x1, loop",
	}, innerLoop(arm64, arm64FMA))
}

func TestModelName(t *testing.T) {
	require.Equal(t, "SPR", modelName([]string{"SPRPort00", "SPRPort01", "SPRPortInvalid"}))
	require.Equal(t, "Zn4", modelName([]string{"Zn4AGU0", "Zn4FP0"}))
	require.Equal(t, "N1", modelName([]string{"N1UnitB", "N1UnitD.0"}))
}

// The busiest port counts, or the chain, not the critical path of one round.
func TestOSACACycles(t *testing.T) {
	const report = `
   3 |      |      |      |      | 0.50        | 0.50 |      |      ||      |      |   fmla v1.4s, v0.4s, v2.s[1]
   4 |      |      |      |      |             |      |      |      ||      |      |%s subs x1, x1, #1
   5 | 1.00 |      |      |      |             |      |      |      ||      |      |   b.ne loop

       1.00                        0.50          0.50   3.50   0.50    12.0    %s

   3 |  2.0 | fmla v1.4s, v0.4s, v2.s[1]          | [3]
`
	cycles, unknown, ok := osacaCycles(fmt.Sprintf(report, " X", "2.0"))
	require.True(t, ok && unknown)
	require.Equal(t, 3.5, cycles)
	cycles, unknown, ok = osacaCycles(fmt.Sprintf(report, "  ", "7.0"))
	require.True(t, ok && !unknown)
	require.Equal(t, 7.0, cycles)
	_, _, ok = osacaCycles("Traceback")
	require.False(t, ok)
}

// A model that would call every loop perfect is no model.
func TestPredict(t *testing.T) {
	tools, err := findLLVM()
	if err != nil {
		t.Skip(err)
	}
	s, c := sets[0], cpu{"haswell", 2}
	chain := []string{"vfmadd231ps %ymm1, %ymm2, %ymm0"} // waits 5 cycles for itself
	var loads []string                                   // 8 cycles of loads for 1 of FMAs
	for range 16 {
		loads = append(loads, "vmovups (%rax), %ymm3")
	}
	loads = append(loads, "vfmadd231ps %ymm3, %ymm3, %ymm0", "vfmadd231ps %ymm3, %ymm3, %ymm1")
	p, err := tools.predict(s, c, [][]string{chain, loads})
	require.NoError(t, err)
	require.Equal(t, 256, p.bits)
	require.InDelta(t, 0.1, p.fractions[0], 0.01)
	require.InDelta(t, 0.125, p.fractions[1], 0.01)

	_, err = tools.predict(s, cpu{"haswell", 4}, nil)
	require.ErrorContains(t, err, "2.00 FMAs of 256 bits a cycle, the CPU 4")
}

// Each matrix product runs at .95 of the peak or more on every model, but for the loads of SKX.
func TestKernels(t *testing.T) {
	if _, err := findLLVM(); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	require.NoError(t, run(nil, &out, &out))
	_, table, _ := strings.Cut(out.String(), kernels[len(kernels)-1]+"\n")
	rows := 0
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		require.Len(t, f, 5+len(kernels), line)
		rows++
		for i, k := range kernels[:3] {
			least := 0.95
			if f[0] == "avx512" && f[2] == "SKX" {
				least = 0.85
			}
			fraction, err := strconv.ParseFloat(f[5+i], 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, fraction, least, "%s of %s", k, line)
		}
	}
	want := 0
	for _, s := range sets {
		want += len(s.cpus)
	}
	require.Equal(t, want, rows, "%s", out.String())

	require.ErrorContains(t, run([]string{"-cpu", "z80"}, &out, &out), "no CPU z80")
}

// Tools of another version are refused before anything is built, which would take minutes.
func TestVersion(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	require.ErrorContains(t, run(nil, io.Discard, io.Discard), "needs llvm-objdump and llvm-mca of LLVM 22")
	tools := func(suffix, says string) {
		for _, tool := range []string{"llvm-objdump", "llvm-mca"} {
			script := "#!/bin/sh\necho '" + says + "'\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, tool+suffix), []byte(script), 0o777))
		}
	}
	tools("", "Debian LLVM version 14.0.6")
	err := run(nil, io.Discard, io.Discard)
	require.ErrorContains(t, err, "of LLVM 22")
	require.ErrorContains(t, err, "llvm-mca is of Debian LLVM version 14.0.6")
	tools("", "LLVM version 220.1.0")
	require.ErrorContains(t, run(nil, io.Discard, io.Discard), "220.1.0")
	tools("-22", "Ubuntu LLVM version 22.1.0")
	found, err := findLLVM()
	require.NoError(t, err)
	require.Equal(t, llvm{filepath.Join(dir, "llvm-objdump-22"), filepath.Join(dir, "llvm-mca-22"), "llvm-mca of Ubuntu LLVM version 22.1.0"}, found)
}

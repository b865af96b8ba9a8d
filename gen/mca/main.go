// Command mca prints what llvm-mca predicts for the inner loops of the arm64 kernels: the fraction
// of the peak of fused multiply-adds on some cores. It is a model, without caches, and no
// measurement.
//
//	go run ./mca
//
// It builds the kernels, takes the inner loop with the most multiply-adds of each function from the
// machine code, and needs llvm-mc and llvm-mca of LLVM 22: older ones have no models of these
// cores.
package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/arch/arm64/arm64asm"
)

// The cores, with the vectors of multiply-adds that they can start in a cycle.
var cores = []struct {
	name  string
	pipes float64
}{{"neoverse-n1", 2}, {"neoverse-n2", 2}, {"neoverse-v1", 4}, {"neoverse-v2", 4}}

var functions = []string{"scoreTile", "valueTile", "matMulTile", "softmaxTile", "rowScores1", "rowScores4", "rowValues1", "rowValues4", "exp", "dot"}

func main() {
	log.SetFlags(0)
	llvm := flag.String("llvm", "/usr/lib/llvm-22/bin", "directory of llvm-mc and llvm-mca")
	flag.Parse()
	if err := run(*llvm); err != nil {
		log.Fatal(err)
	}
}

func run(llvm string) error {
	dir, err := os.MkdirTemp("", "mca")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// The test binary of the package holds all of its functions.
	binary := filepath.Join(dir, "neon.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "./asm/asmtest")
	build.Dir = ".."
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "GOWORK=off")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	code, err := text(binary)
	if err != nil {
		return err
	}
	fmt.Printf("model: llvm-mca 22, fraction of the peak of multiply-adds, L1 hits assumed\n\n%-12s %6s %6s", "inner loop", "instr", "fma")
	for _, c := range cores {
		fmt.Printf(" %12s", c.name)
	}
	fmt.Println()
	for _, name := range functions {
		loop, err := inner(code[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("%-12s %6d %6d", name, len(loop.code)/4, loop.fmas)
		for _, c := range cores {
			cycles, err := predict(llvm, c.name, loop.code)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			fmt.Printf(" %12.2f", float64(loop.fmas)/cycles/c.pipes)
		}
		fmt.Println()
	}
	return nil
}

// text returns the machine code of the functions of package neon in a binary.
func text(path string) (map[string][]byte, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	section := f.Section(".text")
	all, err := section.Data()
	if err != nil {
		return nil, err
	}
	code := map[string][]byte{}
	for _, s := range symbols {
		name, ok := strings.CutPrefix(s.Name, "github.com/selfattn/attn/asm/neon.")
		name, abi0 := strings.CutSuffix(name, ".abi0")
		if ok && abi0 && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			at := s.Value - section.Addr
			code[name] = all[at : at+s.Size]
		}
	}
	return code, nil
}

// A loop is the machine code from the target of a branch back to the branch, which has no other
// loop in it.
type loop struct {
	code []byte
	fmas int
}

// inner returns the inner loop with the most multiply-adds.
func inner(code []byte) (best loop, err error) {
	last := -1 // end of the last loop that was seen
	for at := 0; at+4 <= len(code); at += 4 {
		w := binary.LittleEndian.Uint32(code[at:])
		if w&0xff000010 != 0x54000000 { // B.cond
			continue
		}
		start := at + int(int32(w<<8)>>13)*4
		if start >= at {
			continue
		}
		l := loop{code: code[start:at]}
		for i := start; i < at; i += 4 {
			instruction, err := arm64asm.Decode(code[i:])
			if err == nil && (instruction.Op == arm64asm.FMLA || instruction.Op == arm64asm.FMLS) {
				l.fmas++
			}
		}
		if start > last && l.fmas > best.fmas {
			best = l
		}
		last = at
	}
	if best.fmas == 0 {
		return best, fmt.Errorf("no loop with multiply-adds")
	}
	return best, nil
}

var totalCycles = regexp.MustCompile(`Total Cycles: +(\d+)`)

// predict returns the cycles of one pass through a loop, without its branch.
func predict(llvm, core string, code []byte) (float64, error) {
	var hex bytes.Buffer
	for _, b := range code {
		fmt.Fprintf(&hex, "%#02x ", b)
	}
	const passes = 200
	disassemble := exec.Command(filepath.Join(llvm, "llvm-mc"), "--disassemble", "-triple=aarch64", "-mcpu="+core)
	disassemble.Stdin = &hex
	assembly, err := disassemble.Output()
	if err != nil {
		return 0, err
	}
	mca := exec.Command(filepath.Join(llvm, "llvm-mca"), "-mtriple=aarch64", "-mcpu="+core, "-iterations="+strconv.Itoa(passes))
	mca.Stdin = bytes.NewReader(assembly)
	mca.Stderr = os.Stderr
	out, err := mca.Output()
	if err != nil {
		return 0, err
	}
	m := totalCycles.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no cycles in the output of llvm-mca")
	}
	cycles, err := strconv.ParseFloat(string(m[1]), 64)
	return cycles / passes, err
}

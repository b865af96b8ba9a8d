// Command model predicts how much of a CPU's FMA peak the inner loops of the kernels can use, on
// CPUs that are not at hand. It is a model, not a measurement: llvm-mca simulates one loop from
// LLVM's tables of latencies and ports, with every load a hit in L1 and every branch predicted, and
// knows nothing of what surrounds the loop. A loop far below 1 is a fault to look into; a loop near
// 1 may still be slow. 'make bench' measures.
//
//	make model
//	cd bench && go run ./model -cpu znver4 -v   # the loops too, as they are in the binary
//
// It builds the benchmarks for each architecture, disassembles the kernels, takes of each kernel
// the innermost loop with the most FMAs, and divides the FMAs a cycle of that loop by those of a
// loop of nothing but independent FMAs in the same model. It needs llvm-objdump and llvm-mca of LLVM 22:
// older ones alias most arm64 CPUs to the Cortex-A57.
//
// The columns:
//
//	model        LLVM's name of the tables: Zn4 for znver5 says that it has none for Zen 5
//	bits         width of the FMAs that the model was given
//	FMA/cycle    the peak of both the CPU and the model
//	scoreTile    and each other kernel: the predicted fraction of that peak
//
// LLVM's tables are not without faults. Three matter here:
//
//   - Some have fewer 512-bit FMA units than the CPU (two on Intel's servers and on Zen 5). There
//     the loop is given with 256-bit registers, of which the model has as many FMA units as the CPU
//     has of 512 bits: the same instructions and dependences. The row then says 256.
//   - Zn4 counts three operations for a broadcast from memory to an AVX-512 register and would
//     predict .67 for Zen 4, where such tiles were measured at .98: a broadcast is a plain load
//     there, and is given as one.
//   - SKX takes an arithmetic port for each AVX-512 load, which the CPU does not: too low.
//
// softmaxTile is an exponential: half of its arithmetic is not FMA, so that it can never be near 1.
// It is listed to be compared between CPUs and between versions.
//
// With -osaca a second model, OSACA 0.7 (pip install osaca), stands beside it in brackets for the CPUs that it knows: the FMAs of a loop
// over the cycles that its busiest port or its longest chain takes. A ? follows where its table lacks instructions of the loop,
// which then cost nothing. With -measure the loops are also timed, if this machine is a Zen 4, with operands in L1: the row
// MEASURED checks both models. All three agree on the tiles of products. Of the exponentials:
//
//   - OSACA has no front end, and lacks many of softmaxTile's instructions: too high. llvm-mca is a little low for AVX2, and more
//     so for AVX-512.
//   - For broadcasts from memory OSACA's tables of Zen 3 and Zen 4 have a multiplier too many, or ports that there are not. They are
//     plain loads, see above, and are given as such.
//
// With -whole a second table estimates a whole attention, also of CPUs that nobody has timed. An emulator counts the instructions of
// a call by block, and its cache misses (package emulate; CPUs whose kernels it can run: AVX2 and NEON). Blocks that run one after the
// other make paths, such as inner loops and what is around them; llvm-mca says how long each path takes when it is repeated.
// Those with less than .2% of the instructions, together some percent, start 2 instructions a cycle, whatever they are. A miss of L1
// takes the way from L2 for 2 cycles a line (32 bytes each), one of L2 the way from beyond it for 8: the lower fraction is for a CPU
// that computes nothing meanwhile, the higher one for a CPU that fetches ahead as it should. The columns:
//
//	instructions     executed in one call whose operands are where the call before left them
//	modelled         the share of them that llvm-mca was given
//	lines            of 64 bytes that the caches of the table servers did not have; without prefetching
//	computing alone  the fraction of the FMA peak if every load is a hit in L1; in brackets with OSACA's cycles for llvm-mca's
//	and fetching     with the misses, as above
//	GFLOP/s          the same at the frequency of a machine that has the CPU
//	measured         the fraction where this machine has the CPU
//
// The method has been checked on Zen 4 alone, where measured fractions were 0 to .03 above "computing alone": there, fetching
// is hidden. The latency from block to block, mispredicted branches and TLB misses are in no number.
//
// To add an instruction set, or a CPU, add a row to sets.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/selfattn/attn/bench/internal/emulate"
	"github.com/selfattn/attn/bench/internal/modelled"
)

// A set is an instruction set with kernels in asm/internal/<name>.
type set struct {
	name   string
	goarch string
	triple string         // LLVM's name of the architecture
	bits   int            // width of a vector
	fma    *regexp.Regexp // an FMA on vectors
	peak   string         // an FMA whose accumulator is register %d
	chains int            // so many of them in turn wait for no result
	cpus   []cpu
}

// A cpu is LLVM's name of a CPU and the FMAs on full vectors that it starts in a cycle, which the
// manuals say.
type cpu struct {
	name string
	fmas float64
}

var (
	x86FMA   = regexp.MustCompile(`^vfn?m(add|sub)\d+ps\b`)
	arm64FMA = regexp.MustCompile(`^fml[as]\b`)
)

var sets = []set{
	{"avx2", "amd64", "x86_64", 256, x86FMA, "vfmadd231ps %%ymm14, %%ymm15, %%ymm%d", 12,
		[]cpu{{"haswell", 2}, {"skylake-avx512", 2}, {"sapphirerapids", 2}, {"znver3", 2}, {"znver4", 2}, {"znver5", 2}}},
	// Zen 4 executes a 512-bit FMA as two of 256 bits.
	{"avx512", "amd64", "x86_64", 512, x86FMA, "vfmadd231ps %%zmm14, %%zmm15, %%zmm%d", 12,
		[]cpu{{"skylake-avx512", 2}, {"sapphirerapids", 2}, {"znver4", 1}, {"znver5", 2}}},
	{"neon", "arm64", "aarch64", 128, arm64FMA, "fmla v%d.4s, v30.4s, v31.4s", 24,
		[]cpu{{"neoverse-n1", 2}, {"neoverse-n2", 2}, {"neoverse-v1", 4}, {"neoverse-v2", 4}}},
}

// The kernels with an inner loop of vector arithmetic.
var kernels = []string{"scoreTile", "valueTile", "matMulTile", "softmaxTile"}

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "model:", err)
		}
		os.Exit(2)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("model", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("cpu", "", "model only this `CPU`")
	verbose := flags.Bool("v", false, "print the loops too")
	whole := flags.Bool("whole", false, "estimate attention as a whole too: takes minutes, QEMU's user mode and a C compiler")
	check := flags.Bool("measure", false, "check the models by what this machine does, if it is a "+measurable)
	one := flags.Bool("measured", false, "print what this process does: what -measure runs")
	file := flags.String("json", "", "`file` for all of it, which bench compare reads")
	second := flags.String("osaca", "", "`command` of OSACA, whose predictions follow in brackets")
	if err := flags.Parse(args); err != nil {
		return err
	}
	known := func(s set) bool { return slices.ContainsFunc(s.cpus, func(c cpu) bool { return c.name == *only }) }
	if *only != "" && !slices.ContainsFunc(sets, known) {
		return fmt.Errorf("no CPU %s", *only)
	}
	if *one {
		return json.NewEncoder(stdout).Encode(measure())
	}
	llvm, err := findLLVM()
	if err != nil {
		return err
	}
	here := map[string]rates{}
	if *check && isMeasurable() {
		if here, err = measured(); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	report := modelled.Report{Date: time.Now().UTC().Truncate(time.Second), LLVM: llvm.version}
	if *second != "" {
		if report.OSACA, err = emulate.Output(exec.Command(*second, "--version")); err != nil {
			return err
		}
		report.OSACA = strings.TrimSpace(report.OSACA)
	}
	for _, s := range sets {
		binary, err := build(dir, s.goarch)
		if err != nil {
			return err
		}
		var loops [][]string
		for _, k := range kernels {
			loop, err := llvm.innerLoop(binary, fmt.Sprintf("github.com/selfattn/attn/asm/internal/%s.%s.abi0", s.name, k), s.fma)
			if err != nil {
				return err
			}
			loops = append(loops, loop)
			if *verbose {
				fmt.Fprintf(stdout, "%s %s:\n\t%s\n", s.name, k, strings.Join(loop, "\n\t"))
			}
		}
		for _, c := range s.cpus {
			if *only != "" && *only != c.name {
				continue
			}
			row, err := llvm.predict(s, c, loops)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", s.name, c.name, err)
			}
			for i, k := range kernels {
				loop := modelled.Loop{Set: s.name, CPU: c.name, Model: row.model, Bits: row.bits, FMAs: c.fmas, Kernel: k, LLVM: row.fractions[i]}
				if arch := osacaNames[c.name]; *second != "" && arch != "" {
					text, err := osaca(*second, arch, filepath.Join(dir, "loop.s"), loops[i])
					if err != nil {
						return err
					}
					if cycles, unknown, ok := osacaCycles(text); ok {
						loop.OSACA, loop.Unknown = float64(count(loops[i], s.fma))/cycles/c.fmas, unknown
					}
				}
				if r, ok := here[s.name]; ok && c.name == measurable {
					loop.Measured = r.Loops[i]
				}
				report.Loops = append(report.Loops, loop)
			}
		}
	}
	if err := printLoops(stdout, report); err != nil {
		return err
	}
	if *whole {
		if report.Attentions, err = llvm.attentions(dir, *only, *second, lengths); err != nil {
			return err
		}
		for i, a := range report.Attentions {
			if a.CPU == measurable {
				report.Attentions[i].Measured = here[a.Set].Attentions[a.Tokens]
			}
		}
		if err := printAttentions(stdout, report.Attentions); err != nil {
			return err
		}
	}
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*file), 0o777); err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o666)
}

// printLoops prints the table of inner loops: a row for each CPU, and what was measured below it.
func printLoops(out io.Writer, report modelled.Report) error {
	fmt.Fprintf(out, "A model, not a measurement: fraction of FMA peak that the inner loops can use\nas %s predicts it.\n\n", report.LLVM)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "set\tCPU\tmodel\tbits\tFMA/cycle\t%s\n", strings.Join(kernels, "\t"))
	for row := range slices.Chunk(report.Loops, len(kernels)) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%g", row[0].Set, row[0].CPU, row[0].Model, row[0].Bits, row[0].FMAs)
		for _, l := range row {
			fmt.Fprintf(table, "\t%.2f%s", l.LLVM, modelled.Bracket(l.OSACA, l.Unknown))
		}
		fmt.Fprintln(table)
		if row[0].Measured > 0 {
			fmt.Fprintf(table, "%s\t%s\tMEASURED\t\t", row[0].Set, row[0].CPU)
			for _, l := range row {
				fmt.Fprintf(table, "\t%.2f", l.Measured)
			}
			fmt.Fprintln(table)
		}
	}
	return table.Flush()
}

// A prediction is a row of the table; fractions are in the order of the loops.
type prediction struct {
	model     string
	bits      int
	fractions []float64
}

// predict models the loops of a set on one CPU.
func (l llvm) predict(s set, c cpu, loops [][]string) (p prediction, err error) {
	var chains []string
	for i := range s.chains {
		chains = append(chains, fmt.Sprintf(s.peak, i))
	}
	p.bits = s.bits
	peak, model, err := l.fmasPerCycle(s, c, chains)
	if err == nil && !near(peak, c.fmas) && s.bits == 512 {
		p.bits = 256
		peak, model, err = l.fmasPerCycle(s, c, replace(chains, halves))
	}
	if err != nil {
		return p, err
	}
	if !near(peak, c.fmas) {
		return p, fmt.Errorf("the model starts %.2f FMAs of %d bits a cycle, the CPU %g", peak, p.bits, c.fmas)
	}
	p.model = model
	for _, loop := range loops {
		if p.bits < s.bits {
			loop = replace(loop, halves)
		}
		n, _, err := l.fmasPerCycle(s, c, loop)
		if err != nil {
			return p, err
		}
		p.fractions = append(p.fractions, n/c.fmas)
	}
	return p, nil
}

// near allows for the cycles in which a simulation fills and drains the pipeline.
func near(x, y float64) bool { return math.Abs(x-y) < 0.01*y }

// Replacements in a loop.
var (
	halves     = strings.NewReplacer("%zmm", "%ymm", "{1to16}", "{1to8}") // 256 bits for 512
	broadcasts = strings.NewReplacer("vbroadcastss ", "vmovups ")         // those of loops have a memory operand
	loads      = strings.NewReplacer("vbroadcastss ", "vmovups ", "{1to16}", "", "{1to8}", "")
)

func replace(loop []string, r *strings.Replacer) (out []string) {
	for _, code := range loop {
		out = append(out, r.Replace(code))
	}
	return out
}

// build compiles the benchmarks, which contain every kernel, for linux on an architecture.
func build(dir, goarch string) (binary string, err error) {
	binary = filepath.Join(dir, goarch)
	cmd := exec.Command("go", "build", "-o", binary, "github.com/selfattn/attn/bench")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+goarch, "CGO_ENABLED=0")
	_, err = emulate.Output(cmd)
	return binary, err
}

// llvm is the paths of the tools.
type llvm struct{ objdump, mca, version string }

// wantLLVM is the version whose tables the package comment and the tests speak of.
const wantLLVM = "22"

// findLLVM returns the tools of that version.
func findLLVM() (llvm, error) {
	var others []string
	for _, suffix := range []string{"-" + wantLLVM, ""} {
		objdump, err1 := exec.LookPath("llvm-objdump" + suffix)
		mca, err2 := exec.LookPath("llvm-mca" + suffix)
		if err1 != nil || err2 != nil {
			continue
		}
		text, err := emulate.Output(exec.Command(mca, "--version"))
		if err != nil {
			return llvm{}, err
		}
		version, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		if regexp.MustCompile(`\bversion ` + wantLLVM + `\b`).MatchString(text) {
			return llvm{objdump, mca, "llvm-mca of " + version}, nil
		}
		others = append(others, fmt.Sprintf("; %s is of %s", mca, version))
	}
	return llvm{}, fmt.Errorf("model needs llvm-objdump and llvm-mca of LLVM %s, as other versions have other tables (Debian: apt-get install llvm-%[1]s)%s",
		wantLLVM, strings.Join(others, ""))
}

// innerLoop disassembles a function and returns its inner loop.
func (l llvm) innerLoop(binary, symbol string, fma *regexp.Regexp) ([]string, error) {
	text, err := emulate.Output(exec.Command(l.objdump, "-d", "--no-show-raw-insn", "--disassemble-symbols="+symbol, binary))
	if err != nil {
		return nil, err
	}
	loop := innerLoop(text, fma)
	if loop == nil {
		return nil, fmt.Errorf("%s: no loop with FMAs in %s", symbol, filepath.Base(binary))
	}
	return loop, nil
}

var (
	instruction = regexp.MustCompile(`(?m)^ *([0-9a-f]+): +\t(\S+)\t?(.*?)(\s+(# |//).*)?$`)
	target      = regexp.MustCompile(`0x([0-9a-f]+) <.*$`)
)

// innerLoop returns, of the loops in a disassembly that contain no other loop, the one with the most
// FMAs (the first of those with as many), with a label for the branch; nil if there is no FMA in a
// loop. Branches forward within it are taken: they skip what most rounds do not need, as the
// prefetches of a panel that is not the first.
func innerLoop(disassembly string, fma *regexp.Regexp) (best []string) {
	var code []string
	var address, jump []uint64 // where to, or 0
	for _, m := range instruction.FindAllStringSubmatch(disassembly, -1) {
		at, _ := strconv.ParseUint(m[1], 16, 64)
		var to uint64
		if t := target.FindStringSubmatch(m[3]); t != nil {
			to, _ = strconv.ParseUint(t[1], 16, 64)
		}
		code = append(code, target.ReplaceAllString(m[2]+" "+m[3], "loop"))
		address, jump = append(address, at), append(jump, to)
	}
	most, start := 0, 0 // no loop that begins before start contains no other one
	for end, to := range jump {
		first := slices.Index(address[:end+1], to)
		if to == 0 || first < 0 {
			continue
		}
		if first >= start {
			loop := []string{"loop:"}
			for i := first; i <= end; i++ {
				loop = append(loop, code[i])
				if skip := slices.Index(address[i:end+1], jump[i]); jump[i] != 0 && skip > 0 {
					i += skip - 1
				}
			}
			if n := count(loop, fma); n > most {
				most, best = n, loop
			}
		}
		start = end + 1
	}
	return best
}

// count is the number of FMAs.
func count(code []string, fma *regexp.Regexp) (n int) {
	for _, c := range code {
		if fma.MatchString(c) {
			n++
		}
	}
	return n
}

// fmasPerCycle simulates a loop. It also returns the name of the model.
func (l llvm) fmasPerCycle(s set, c cpu, loop []string) (fmas float64, model string, err error) {
	cycles, model, err := l.simulate(s, c, loop)
	return float64(count(loop, s.fma)) / cycles, model, err
}

// simulate returns the cycles of a round of a loop.
func (l llvm) simulate(s set, c cpu, loop []string) (cycles float64, model string, err error) {
	const iterations = 1000
	if c.name == "znver4" || c.name == "znver5" { // which has the model of Zen 4
		loop = replace(loop, broadcasts)
	}
	cmd := exec.Command(l.mca, "-mtriple="+s.triple, "-mcpu="+c.name, "-iterations="+strconv.Itoa(iterations), "-json")
	cmd.Stdin = strings.NewReader(strings.Join(loop, "\n") + "\n")
	text, err := emulate.Output(cmd)
	if err != nil {
		return 0, "", err
	}
	var result struct {
		CodeRegions []struct {
			SummaryView struct{ TotalCycles int }
		}
		TargetInfo struct{ Resources []string }
	}
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		return 0, "", err
	}
	if len(result.CodeRegions) != 1 || len(result.TargetInfo.Resources) == 0 {
		return 0, "", errors.New("llvm-mca: no result")
	}
	return float64(result.CodeRegions[0].SummaryView.TotalCycles) / iterations, modelName(result.TargetInfo.Resources), nil
}

// osacaNames are OSACA's names of the CPUs that it knows, of those whose FMAs are as wide in its table.
var osacaNames = map[string]string{"haswell": "HSW", "znver3": "ZEN3", "znver4": "ZEN4", "neoverse-n1": "N1", "neoverse-v2": "V2"}

// osaca returns what OSACA says of a loop, which is nothing where it fails for a fault of its tables.
func osaca(command, arch, path string, loop []string) (string, error) {
	if strings.HasPrefix(arch, "ZEN") {
		loop = replace(loop, loads)
	}
	if err := os.WriteFile(path, []byte(strings.Join(loop, "\n")+"\n"), 0o666); err != nil {
		return "", err
	}
	text, err := emulate.Output(exec.Command(command, "--arch", arch, "--ignore-unknown", "--lines", fmt.Sprintf("1-%d", len(loop)), path))
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return "", nil
	}
	return text, err
}

var (
	osacaSums    = regexp.MustCompile(`(?m)^ *(?:[\d.]+ +){3,}[\d.]+ *$`)
	osacaUnknown = regexp.MustCompile(`(?m)\|\|.*\| X `)
)

// osacaCycles reads the cycles of a round: the largest sum of a port, or the last number, the longest chain from round to round.
func osacaCycles(text string) (cycles float64, unknown, ok bool) {
	sums := osacaSums.FindAllString(text, -1)
	if len(sums) == 0 {
		return 0, false, false
	}
	numbers := strings.Fields(sums[len(sums)-1])
	for i, n := range numbers {
		if i != len(numbers)-2 { // the critical path of one round
			x, _ := strconv.ParseFloat(n, 64)
			cycles = max(cycles, x)
		}
	}
	return cycles, osacaUnknown.MatchString(text), cycles > 0
}

// modelName is the beginning that the names of a model's resources share, such as Zn4 of Zn4AGU0.
func modelName(resources []string) string {
	name := resources[0]
	for _, r := range resources {
		for !strings.HasPrefix(r, name) {
			name = name[:len(name)-1]
		}
	}
	return strings.TrimSuffix(strings.TrimSuffix(name, "Port"), "Unit")
}

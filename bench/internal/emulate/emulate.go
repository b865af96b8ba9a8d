// Package emulate counts what the kernels do on CPUs that are not at hand: it runs command count of this module in QEMU's user
// mode, with a plugin that counts instructions and simulates caches. It needs qemu-aarch64 and qemu-x86_64 (Debian: qemu-user), up
// to version 8, and a C compiler.
package emulate

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Module is what the names of counted functions begin with.
const Module = "github.com/selfattn/attn/"

//go:embed plugin.c
var plugin string

// A Machine is what the kernels run on.
type Machine struct {
	Backend string
	GOARCH  string
	Lanes   float64  // of a vector
	command []string // of the emulator
}

// The emulated CPU of x86-64 has AVX2 and no AVX-512.
var (
	NEON = Machine{"neon", "arm64", 4, []string{"qemu-aarch64", "-cpu", "cortex-a57"}}
	AVX2 = Machine{"avx2", "amd64", 8, []string{"qemu-x86_64", "-cpu", "max"}}
)

// A Block is a run of instructions without a branch, but for its last.
type Block struct {
	Function     string // without the path of the module
	Address      uint64
	Instructions int
	Runs         float64
}

// A Cache has lines of 64 bytes.
type Cache struct{ Bytes, Ways int }

// Counts is what a program did.
type Counts struct {
	Blocks []Block
	Misses []float64 // of each cache, first level first
}

// Functions are the instructions of each function. One of the assembly has its bare name.
func (c Counts) Functions() map[string]float64 {
	all := map[string]float64{}
	for _, b := range c.Blocks {
		name := b.Function
		if f, ok := strings.CutSuffix(name, ".abi0"); ok {
			name = f[strings.LastIndex(f, ".")+1:]
		}
		all[name] += b.Runs * float64(b.Instructions)
	}
	return all
}

// A Program is command count, built for a machine.
type Program struct {
	Machine
	Binary       string
	library, log string
}

// Build builds command count and the plugin in dir.
func (m Machine) Build(dir string) (*Program, error) {
	p := &Program{m, filepath.Join(dir, m.GOARCH), filepath.Join(dir, "plugin.so"), filepath.Join(dir, "log")}
	build := exec.Command("go", "build", "-o", p.Binary, Module+"bench/count")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+m.GOARCH, "CGO_ENABLED=0", "GOFLAGS=")
	compile := exec.Command("cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", p.library, "-x", "c", "-")
	compile.Stdin = strings.NewReader(plugin)
	for _, cmd := range []*exec.Cmd{build, compile} {
		if _, err := Output(cmd); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Run lets the program do some work of command count, with caches if there are any, at most two.
func (p *Program) Run(work string, caches ...Cache) (c Counts, err error) {
	arg := p.library + ",prefix=" + Module
	for i, cache := range caches {
		arg += fmt.Sprintf(",l%d=%d.%d", i+1, cache.Bytes, cache.Ways)
	}
	cmd := exec.Command(p.command[0], append(p.command[1:len(p.command):len(p.command)], "-plugin", arg, "-d", "plugin", "-D", p.log, p.Binary, "-emulated", work)...)
	cmd.Env = append(os.Environ(), "GODEBUG=") // all features on
	backend, err := Output(cmd)
	if err != nil {
		return c, err
	}
	if backend = strings.TrimSpace(backend); backend != p.Backend {
		return c, fmt.Errorf("%s ran on %s, want %s", p.command[0], backend, p.Backend)
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		return c, err
	}
	if c, err = parse(string(text)); err == nil && len(c.Misses) != len(caches) {
		err = fmt.Errorf("the plugin simulated %d caches, want %d", len(c.Misses), len(caches))
	}
	return c, err
}

// parse reads what the plugin prints.
func parse(log string) (c Counts, err error) {
	for line := range strings.SplitSeq(strings.TrimSpace(log), "\n") {
		bad := fmt.Errorf("the plugin printed %q", line)
		f := strings.SplitN(line, " ", 4)
		if len(f) < 3 {
			return c, bad
		}
		runs, err1 := strconv.ParseFloat(f[0], 64)
		n, err2 := strconv.Atoi(f[1])
		if err1 != nil || err2 != nil {
			return c, bad
		}
		if len(f) == 3 {
			c.Misses = append(c.Misses, runs)
			continue
		}
		at, err := strconv.ParseUint(f[2], 16, 64)
		name, ok := strings.CutPrefix(f[3], Module)
		if err != nil || !ok {
			return c, bad
		}
		c.Blocks = append(c.Blocks, Block{name, at, n, runs})
	}
	return c, nil
}

// Output runs a command; its error says what the command said.
func Output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, stderr.String())
	}
	return string(out), err
}

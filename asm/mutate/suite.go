package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// A suite is the tests that a mutant of one instruction set meets, the quickest first.
type suite struct {
	stages []*stage
	env    []string
	run    []string // in front of a test binary
}

// A stage is a run of the tests of one package.
type stage struct {
	name, pkg string
	args      []string
	measure   sync.Once
	limit     time.Duration // of processor time
	err       error         // of the tests without a mutant
}

// newSuite runs the tests whose names match a regular expression.
func newSuite(isa, arch, tests string) (*suite, error) {
	// ATTN_EMULATED: tests of time, which a busy machine fails, and of plain Go do not run.
	s := &suite{env: append(os.Environ(), "GOARCH="+arch, "ATTN_REQUIRE="+isa, "ATTN_EMULATED=1")}
	// The tests of the sources do not see the overlay.
	only := []string{"-test.run=(" + tests + ")/^" + isa + "$", "-test.skip=^Test(Assembly|Lint.*|ReservedRegisters|Dependencies)$"}
	s.stages = []*stage{
		{name: "asmtest, short", pkg: "asm/asmtest", args: append(only, "-test.short")},
		{name: "asmtest", pkg: "asm/asmtest", args: only},
		{name: "kernel", pkg: "kernel", args: []string{"-test.run=" + tests, "-test.short"}},
		{name: "fuzz seeds", pkg: "fuzz", args: []string{"-test.run=" + tests, "-test.short"}},
	}
	if isa == "avx2" {
		s.env = append(s.env, "GODEBUG=cpu.avx512f=off")
	}
	if arch != runtime.GOARCH {
		const emulator = "qemu-aarch64-static"
		if _, err := exec.LookPath(emulator); err != nil || arch != "arm64" {
			return nil, fmt.Errorf("%s runs here under an emulator only: %v", arch, err)
		}
		s.run = []string{emulator}
		s.env = append(s.env, "QEMU_CPU=cortex-a57")
		s.stages = append(s.stages[:1], s.stages[2:]...) // the other one takes minutes
	}
	return s, nil
}

// ready runs the tests of a stage as they are, once, for the processor time that they take and
// because a mutant is judged by tests that pass otherwise.
func (s *suite) ready(st *stage) error {
	st.measure.Do(func() {
		dir, err := os.MkdirTemp("", "mutate")
		if err != nil {
			st.err = err
			return
		}
		defer os.RemoveAll(dir)
		used, err := s.try(st, dir, "")
		if err != nil {
			st.err = fmt.Errorf("%s: the tests fail without a mutant: %w", st.name, err)
		}
		st.limit = 10*time.Second + 5*used
	})
	return st.err
}

// unbuilt is the error of a mutant that does not assemble.
type unbuilt struct{ error }

// try builds and runs one stage in a directory of its own and returns the processor time used. It is
// killed when it needs too much of that: time on the clock would also count that of others.
func (s *suite) try(st *stage, dir, overlay string) (time.Duration, error) {
	binary := filepath.Join(dir, filepath.Base(st.pkg)+".test")
	if _, err := os.Stat(binary); err != nil {
		build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-overlay="+overlay, "-o", binary, "./"+st.pkg)
		build.Env = s.env
		if out, err := build.CombinedOutput(); err != nil {
			return 0, unbuilt{fmt.Errorf("%w\n%s", err, out)}
		}
	}
	args := append(append(s.run, binary), append(st.args, "-test.failfast", "-test.timeout=20m")...)
	cmd := exec.Command(args[0], args[1:]...)
	if st.limit > 0 {
		limit := fmt.Sprintf(`ulimit -t %d; exec "$@"`, int(st.limit.Seconds()))
		cmd = exec.Command("sh", append([]string{"-c", limit, "sh"}, args...)...)
	}
	cmd.Dir, cmd.Env = st.pkg, s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		const most = 2000
		return 0, fmt.Errorf("%w\n%s", err, out[max(0, len(out)-most):])
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// test returns the stage that kills m, "" if it survives all.
func (s *suite) test(m mutant) (killer string, err error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	original, err := filepath.Abs(m.path)
	if err != nil {
		return "", err
	}
	changed, overlay := filepath.Join(dir, filepath.Base(m.path)), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(changed, []byte(m.text), 0o600); err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		return "", err
	}
	for _, st := range s.stages {
		if err := s.ready(st); err != nil {
			log.Fatalf("mutate: %v", err)
		}
		if _, err := s.try(st, dir, overlay); err != nil {
			if _, ok := err.(unbuilt); ok {
				return "", err
			}
			return st.name, nil
		}
	}
	return "", nil
}

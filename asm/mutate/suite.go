package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// A suite is the tests that a mutant of one instruction set meets, the quickest first.
type suite struct {
	stages []stage
	env    []string
	run    []string // in front of a test binary
	limits []time.Duration
}

// A stage is a run of the tests of one package.
type stage struct {
	name, pkg string
	args      []string
}

func newSuite(isa, arch string) (*suite, error) {
	s := &suite{env: append(os.Environ(), "GOARCH="+arch, "ATTN_REQUIRE="+isa)}
	// The tests of the sources do not see the overlay.
	only := []string{"-test.run=/^" + isa + "$", "-test.skip=^Test(Assembly|Lint.*|ReservedRegisters|Dependencies)$"}
	s.stages = []stage{
		{"asmtest, short", "asm/asmtest", append(only, "-test.short")},
		{"asmtest", "asm/asmtest", only},
		{"kernel", "kernel", []string{"-test.short"}},
		{"fuzz seeds", "fuzz", []string{"-test.short"}},
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
		s.env = append(s.env, "ATTN_EMULATED=1", "QEMU_CPU=cortex-a57")
		s.stages = append(s.stages[:1], s.stages[2:]...) // the other one takes minutes
	}
	return s, nil
}

// measure runs the tests as they are, for the processor time that they take and because a mutant is
// judged by tests that pass otherwise.
func (s *suite) measure() error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i, st := range s.stages {
		used, err := s.stage(i, dir, "")
		if err != nil {
			return fmt.Errorf("%s: the tests fail without a mutant: %w", st.name, err)
		}
		s.limits = append(s.limits, 10*time.Second+5*used)
	}
	return nil
}

// unbuilt is the error of a mutant that does not assemble.
type unbuilt struct{ error }

// stage builds and runs one stage in a directory of its own and returns the processor time used.
// It is killed when it needs too much of that: time on the clock would also count that of others.
func (s *suite) stage(i int, dir, overlay string) (time.Duration, error) {
	st := s.stages[i]
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
	if i < len(s.limits) {
		limit := fmt.Sprintf(`ulimit -t %d; exec "$@"`, int(s.limits[i].Seconds()))
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
	for i, st := range s.stages {
		if _, err := s.stage(i, dir, overlay); err != nil {
			if _, ok := err.(unbuilt); ok {
				return "", err
			}
			return st.name, nil
		}
	}
	return "", nil
}

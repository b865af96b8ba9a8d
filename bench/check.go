package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/selfattn/attn/bench/internal/quiet"
)

// least is the change that check reports: code that moves to other addresses may change by as much.
const least = 0.02

// runCheck says which benchmarks of package kernel this work tree changes against a revision. Both are
// built with the benchmarks of this work tree and take turns in child processes. What has changed must
// change again, in the same direction, in processes of its own.
func runCheck(args []string, stdout, stderr io.Writer) error {
	o := newOptions("bench check", stderr)
	if err := o.Parse(args); err != nil {
		return err
	}
	if o.NArg() != 1 {
		return errors.New("check takes a revision: check [-run regexp] [-time duration] REV")
	}
	meter := &quiet.Meter{}
	chosen, err := o.chosen(lookAround(meter).zen4)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "attn-bench-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	revision := filepath.Join(dir, "revision")
	if _, err := command("git", "worktree", "add", "--detach", revision, o.Arg(0)); err != nil {
		return err
	}
	defer command("git", "worktree", "remove", "--force", revision)
	before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
	if err := build(before, revision); err != nil {
		return err
	}
	if err := build(after, ".."); err != nil {
		return err
	}

	changes, err := changed(meter, chosen, before, after, *o.each, stderr)
	if err != nil {
		return err
	}
	var names []string
	suspects := chosen[:0:0]
	for _, b := range chosen {
		if _, ok := changes[b.name()]; ok {
			suspects, names = append(suspects, b), append(names, b.name())
		}
	}
	if len(suspects) > 0 {
		fmt.Fprintf(stderr, "Again, as they seem to have changed: %s\n", strings.Join(names, ", "))
		again, err := changed(meter, suspects, before, after, 2**o.each, stderr)
		if err != nil {
			return err
		}
		for name, first := range changes {
			if second := again[name]; second == 0 || (first > 1) != (second > 1) {
				delete(changes, name)
			} else {
				changes[name] = second
			}
		}
	}
	rows := [][]string{{"benchmark", "this work tree, times as fast"}}
	slower := 0
	for _, b := range suspects {
		if x, ok := changes[b.name()]; ok {
			rows = append(rows, []string{b.name(), fmt.Sprintf("%.3f", x)})
			if x < 1 {
				slower++
			}
		}
	}
	fmt.Fprintf(stdout, "%d of %d benchmarks changed by %g%% or more, %d of them for the worse\n", len(rows)-1, len(chosen), 100*least, slower)
	if len(rows) > 1 {
		writeRows(stdout, rows)
	}
	return nil
}

// changed measures both binaries and returns how many times as fast after is, for each benchmark that
// changed beyond noise.
func changed(meter *quiet.Meter, chosen []benchmark, before, after string, each time.Duration, progress io.Writer) (map[string]float64, error) {
	var impls []impl
	for _, path := range []string{before, after} {
		i, c, err := goPeer(filepath.Base(path), path)
		if err != nil {
			return nil, err
		}
		defer c.stop()
		impls = append(impls, i)
	}
	measurements, _, err := measure(meter, chosen, impls, each, progress, nil)
	if err != nil {
		return nil, err
	}
	changes := map[string]float64{}
	for _, m := range measurements {
		if x, ok := m.changed(meter, len(measurements)); ok {
			changes[m.name()] = x
		}
	}
	return changes, nil
}

// changed returns how many times as fast the second implementation is, if that is beyond noise for one of
// several comparisons.
func (m measurement) changed(meter *quiet.Meter, comparisons int) (times float64, ok bool) {
	if len(m.samples) < 2 { // the revision does not have it
		return 1, false
	}
	// Turns are pairs, in whose ratio the state of the machine cancels.
	x := medians(ratios(meter, m.samples[1], m.samples[0]))
	none := make([]float64, len(x))
	for i := range none {
		none[i] = 1
	}
	c := differ(none, x, comparisons)
	times = quiet.Summarize(x).Median
	return times, c.P <= c.Alpha && math.Abs(times-1) >= least
}

// build builds the benchmarks of this folder with the module attn of another one.
func build(path, module string) error {
	module, err := filepath.Abs(module)
	if err != nil {
		return err
	}
	mod := path + ".mod"
	for _, f := range []struct{ from, to string }{{"go.mod", mod}, {"go.sum", path + ".sum"}} {
		b, err := os.ReadFile(f.from)
		if err != nil {
			return err
		}
		if f.from == "go.mod" {
			b = regexp.MustCompile(`(?m)^(replace \S+ => ).*$`).ReplaceAll(b, []byte("${1}"+module))
		}
		if err := os.WriteFile(f.to, b, 0o666); err != nil {
			return err
		}
	}
	_, err = command("go", "build", "-modfile", mod, "-o", path, ".")
	return err
}

// command runs a command and returns what it printed.
func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return string(out), nil
}

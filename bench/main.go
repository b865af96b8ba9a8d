// Command bench says how fast package kernel is on this machine, as fractions of what the machine can do,
// and beside what one could use instead.
//
//	go run .                            # everything: out/report.json, .md and .html
//	go run . -run 'Attention/n=512/'    # some benchmarks
//	go run . compare a.json b.json      # two machines, or versions; or one beside models
//	go run . check REV                  # which benchmarks this work tree changes against a revision
//	go run . cliffs                     # lengths at which a call takes longer than a longer one, or than plain Go
//	go run . accuracy                   # the largest errors of all implementations, by kind of input, and over many keys
//	go run . readme                     # write what is made of the committed reports: numbers, pages, README's pictures
//	chrt -f 10 go run .                 # fewer disturbances from this machine's own processes, as root
//
// Multiplying kernels are compared with a loop of fused multiply-adds, reading ones with a loop that only
// loads the same bytes, on as many goroutines and at the same moment. Machines are shared: next to the
// median of all samples stands that of the samples that no neighbour disturbed (package
// internal/quiet says which), and the targets apply to it. The benchmarks, with their targets, are in
// cases.go; bench_test.go runs them as Go benchmarks.
//
// Other libraries take turns with ours, sample by sample, and their results are checked. Those in
// Go are part of this program; 'make bench-peers' installs those in Python; the build tag openblas adds
// OpenBLAS (Debian: libopenblas-dev). Other backends of ours run in child processes.
//
// The report is written after each benchmark, and says how much is missing; Ctrl-C ends with the benchmark that runs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/selfattn/attn/bench/internal/quiet"
)

func main() {
	commands := map[string]func(args []string, stdout, stderr io.Writer) error{
		"report": runReport, "compare": runCompare, "check": runCheck, "cliffs": runCliffs, "readme": runReadme, "accuracy": runAccuracy,
		"serve": func([]string, io.Writer, io.Writer) error { return serve(os.Stdin, os.Stdout) },
	}
	name, args := "report", os.Args[1:]
	if len(args) > 0 && commands[args[0]] != nil {
		name, args = args[0], args[1:]
	}
	if err := commands[name](args, os.Stdout, os.Stderr); err != nil {
		if err != flag.ErrHelp {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		if err == errCliffs {
			os.Exit(1)
		}
		os.Exit(2)
	}
}

// options are flags of the commands that measure.
type options struct {
	*flag.FlagSet
	pattern *string
	each    *time.Duration
	quick   *bool
}

func newOptions(name string, stderr io.Writer) options {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(stderr)
	return options{
		FlagSet: f,
		pattern: f.String("run", "", "only benchmarks whose name, such as Dot/n=64, matches this `regexp`"),
		each:    f.Duration("time", 500*time.Millisecond, "time for each benchmark and implementation"),
		quick:   f.Bool("quick", false, "smoke test: a moment for each benchmark, no long ones, nothing in Python"),
	}
}

// chosen are the benchmarks that the flags ask for.
func (o options) chosen(zen4 bool) ([]benchmark, error) {
	filter, err := regexp.Compile(*o.pattern)
	if err != nil {
		return nil, err
	}
	if *o.quick {
		*o.each = 10 * time.Millisecond
	}
	chosen := slices.DeleteFunc(benchmarks(zen4), func(b benchmark) bool {
		long := *o.quick && b.flops > brief || selected.most > 0 && b.flops > selected.most
		return long || !filter.MatchString(b.name())
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no benchmark matches %q", *o.pattern)
	}
	return chosen, nil
}

func runReport(args []string, stdout, stderr io.Writer) error {
	o := newOptions("bench", stderr)
	out := o.String("out", "out", "directory for the report")
	python := o.String("python", "venv/bin/python", "interpreter that has the peers in Python")
	only := o.String("peers", "", "only other implementations whose name matches this `regexp`; ^$ for none")
	if err := o.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	meter := &quiet.Meter{}
	rep := report{Machine: lookAround(meter)}
	chosen, err := o.chosen(rep.Machine.zen4)
	if err != nil {
		return err
	}
	if selected.name == "generic" {
		for i := range chosen {
			chosen[i].target = target{} // targets are for assembly
		}
	}

	impls := []impl{selected}
	add := func(i impl, c *child, err error) {
		if err != nil {
			rep.Missing = append(rep.Missing, missing{i.name, err.Error()})
			return
		}
		impls = append(impls, i)
		rep.Versions = append(rep.Versions, version{i.name, i.version})
	}
	impls = append(impls, plain())
	for name, env := range otherBackends() {
		if !wanted.MatchString(name) {
			continue
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		i, c, err := goPeer(name, self, env)
		if err != nil {
			return err
		}
		defer c.stop()
		impls = append(impls, i)
	}
	for _, i := range append(goPeers(), baselines()...) {
		if wanted.MatchString(i.name) {
			i.peer = true
			add(i, nil, nil)
		}
	}
	if len(tagged) == 0 && wanted.MatchString("openblas") {
		add(impl{name: "openblas"}, nil, errors.New("needs the build tag openblas"))
	}
	for _, name := range pythonPeers {
		switch {
		case !wanted.MatchString(name):
		case *o.quick || !slices.ContainsFunc(chosen, func(b benchmark) bool { return b.peers }):
			add(impl{name: name}, nil, errors.New("not asked for"))
		default:
			i, c, err := pythonPeer(*python, name)
			if err == nil {
				defer c.stop()
			}
			i.name, i.peer = name, true
			add(i, c, err)
		}
	}

	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupt)
	absent := rep.Missing
	// What is done is written after each benchmark. Verdicts may change later: what was quiet is known at
	// the end.
	_, _, err = measure(meter, chosen, impls, *o.each, stderr, func(done []measurement, failed []missing) error {
		rep.Missing, rep.Results, rep.Incomplete = append(absent[:len(absent):len(absent)], failed...), nil, ""
		for _, m := range done {
			rep.Results = append(rep.Results, m.conclude(meter)...)
		}
		if len(done) < len(chosen) {
			rep.Incomplete = fmt.Sprintf("%d of %d benchmarks", len(done), len(chosen))
		}
		if err := rep.write(*out); err != nil {
			return err
		}
		select {
		case <-interrupt:
			return errInterrupted
		default:
			return nil
		}
	})
	if err != nil && err != errInterrupted {
		return err
	}
	rep.markdown(stdout)
	fmt.Fprintf(stderr, "The report is in %s: report.json, report.md, report.html\n", *out)
	return err
}

var errInterrupted = errors.New("interrupted")

// A measurement is a benchmark with the samples of each implementation that ran it, impls[0] first.
type measurement struct {
	benchmark
	impls   []impl
	errors  []float64        // the largest error as a fraction of the bound, or 0
	samples [][]quiet.Sample // of each implementation
	base    []quiet.Sample   // of impls[0] on one worker, if the benchmark has several
}

// measure runs the benchmarks on impls[0], and those of the others that can do them and, if peers, are
// asked to. Results must agree. A peer that fails is left out of that benchmark, and returned with the reason.
// After each benchmark it calls after, unless that is nil, and ends if it fails.
func measure(meter *quiet.Meter, chosen []benchmark, impls []impl, each time.Duration, log io.Writer,
	after func(all []measurement, failed []missing) error) (all []measurement, failed []missing, err error) {
	// A collection would disturb: one before each benchmark, and none in it.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	bar := newProgress(log, len(chosen))
	defer bar.end()
	for _, b := range chosen {
		bar.step(b.name())
		runtime.GC()
		m := measurement{benchmark: b}
		var jobs []job
		for i, impl := range impls {
			if impl.peer && !b.peers {
				continue
			}
			j, err := b.on(impl, b.workers)
			switch {
			case i > 0 && errors.Is(err, errUnsupported):
			case impl.peer && err != nil:
				failed = append(failed, missing{impl.name, fmt.Sprintf("%s: %v", b.name(), err)})
			case err != nil:
				return nil, nil, fmt.Errorf("%s of %s: %w", b.name(), impl.name, err)
			default:
				jobs, m.impls = append(jobs, j), append(m.impls, impl)
			}
		}
		if b.workers > 1 && b.unit != gbytes {
			j, err := b.on(impls[0], 1)
			if err != nil {
				return nil, nil, err
			}
			jobs = append(jobs, j)
		}
		samples := meter.Samples(b.sampled(jobs), each)
		if len(jobs) > len(m.impls) {
			m.base = samples[len(m.impls)]
		}
		ran := m.impls
		m.impls = nil
		for i, impl := range ran {
			e, err := jobs[i].verify(jobs[0], impl.peer)
			if impl.peer && err != nil {
				failed = append(failed, missing{impl.name, fmt.Sprintf("%s: %v", b.name(), err)})
				continue
			} else if err != nil {
				return nil, nil, fmt.Errorf("%s of %s: %w", b.name(), impl.name, err)
			}
			m.impls, m.samples, m.errors = append(m.impls, impl), append(m.samples, samples[i]), append(m.errors, e)
		}
		all = append(all, m)
		if after != nil {
			if err := after(all, failed); err != nil {
				return all, failed, err
			}
		}
	}
	return all, failed, nil
}

// verify returns the error of the result of j as a fraction of its bound, which must be small, or demands
// that another process has computed the same bits as ours.
func (j job) verify(ours job, peer bool) (float64, error) {
	if j.digest != 0 && ours.out != nil && j.digest != digest(ours.out) {
		return 0, errors.New("the bits differ")
	}
	if j.out == nil {
		return 0, nil
	}
	// The bound is rigorous for our order of operations. Others may add up all terms one by one, and take
	// a less accurate exponential.
	e, most := j.check(j.out), 1.0
	if peer {
		most = 4
	}
	if !(e <= most) {
		return e, fmt.Errorf("wrong result: the error is %.3g of the bound", e)
	}
	return e, nil
}

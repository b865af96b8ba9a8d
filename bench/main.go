// Command bench prints how fast package kernel is on this machine, as fractions of what the machine can do.
//
// Multiplying kernels are compared with a loop of fused multiply-adds, reading ones with a loop that only
// loads the same bytes, on as many goroutines and at the same moment. Machines are shared: next to the
// median of all samples stands that of the samples that no neighbour disturbed (package
// internal/quiet says which), and the targets apply to it. The benchmarks, with their targets, are in
// cases.go; bench_test.go runs them as Go benchmarks.
//
//	go run . -run 'Attention/n=512'
//	go run . -json >result.json
//	chrt -f 10 go run .   # fewer disturbances from this machine's own processes, as root
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/selfattn/attn/bench/internal/quiet"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if err != flag.ErrHelp {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(2)
	}
}

// A report is what a run prints.
type report struct {
	Machine machine  `json:"machine"`
	Results []result `json:"results"`
}

// A result is what came out of a benchmark. Speed is the median of the quiet samples, or of all if none
// is quiet; Quiet and All are fractions of the limit.
type result struct {
	Kernel  string         `json:"kernel"`
	Shape   string         `json:"shape"`
	Speed   float64        `json:"speed"`
	Unit    unit           `json:"unit"`
	Quiet   quiet.Summary  `json:"quiet"`
	All     quiet.Summary  `json:"all"`
	SpeedUp *quiet.Summary `json:"speedUp,omitempty"` // over one worker
	Target  target         `json:"target,omitzero"`
	Verdict string         `json:"verdict,omitempty"` // "ok", "short", or "noisy": short, but never quiet
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pattern := flags.String("run", "", "only benchmarks whose name, such as Dot/n=64, matches this `regexp`")
	duration := flags.Duration("time", 1500*time.Millisecond, "time for each benchmark")
	asJSON := flags.Bool("json", false, "print JSON instead of a table")
	smoke := flags.Bool("quick", false, "smoke test: a moment for each benchmark, and no long ones")
	if err := flags.Parse(args); err != nil {
		return err
	}
	filter, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	if *smoke {
		*duration = 10 * time.Millisecond
	}

	// A collection would disturb: one before each benchmark, and none in it.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var meter quiet.Meter
	rep := report{Machine: lookAround(&meter)}
	var chosen []benchmark
	for _, b := range benchmarks(rep.Machine.zen4) {
		long := *smoke && b.flops > brief || selected.name == "generic" && b.flops > affordable
		if selected.name == "generic" {
			b.target = target{} // targets are for assembly
		}
		if filter.MatchString(b.name()) && !long {
			chosen = append(chosen, b)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no benchmark matches %q", *pattern)
	}
	samples := make([][]quiet.Sample, len(chosen))
	for i, b := range chosen {
		fmt.Fprintf(stderr, "[%d/%d] %s\n", i+1, len(chosen), b.name())
		runtime.GC()
		samples[i] = meter.Samples(b.setup(selected), *duration)
	}
	for i, b := range chosen { // when the best canary is known
		rep.Results = append(rep.Results, conclude(b, &meter, samples[i]))
	}

	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "\t")
		return e.Encode(rep)
	}
	return rep.print(stdout)
}

// conclude judges the samples of b.
func conclude(b benchmark, meter *quiet.Meter, samples []quiet.Sample) result {
	r := result{Kernel: b.kernel, Shape: b.shape, Unit: b.unit}
	best := func(quiet, all quiet.Summary) quiet.Summary {
		if quiet.N > 0 {
			return quiet
		}
		return all
	}
	r.Quiet, r.All = meter.Summarize(samples, func(s quiet.Sample) float64 { return s.Fraction })
	r.Speed = best(meter.Summarize(samples, func(s quiet.Sample) float64 { return b.speed(s.Rate) })).Median
	if b.unit != gbytes && b.workers > 1 {
		s := best(meter.Summarize(samples, func(s quiet.Sample) float64 { return s.SpeedUp }))
		r.SpeedUp = &s
	}
	r.Target = b.target
	var ok bool
	switch b.target.Of {
	case fraction:
		ok = best(r.Quiet, r.All).Median >= b.target.Value
	case speedUp:
		ok = r.SpeedUp.Median >= b.target.Value
	case nanosecs:
		ok = r.Speed <= b.target.Value
	}
	switch {
	case b.target == target{}:
	case ok:
		r.Verdict = "ok"
	case r.Quiet.N == 0:
		r.Verdict = "noisy"
	default:
		r.Verdict = "short"
	}
	return r
}

// print prints the machine and a table.
func (rep report) print(out io.Writer) error {
	m := rep.Machine
	fmt.Fprintf(out, "%s, %s/%s, %s, backend %s, %s, load average at the start %s\n",
		m.CPU, m.OS, m.Arch, m.Go, m.Backend, m.Date.Format(time.DateTime), m.Load)
	fmt.Fprintf(out, "one worker: FMA peak %.1f GFLOP/s, read from memory %.1f GB/s; %d workers: %.1f and %.1f\n\n",
		m.Peak[0], m.Read[0], m.Workers, m.Peak[1], m.Read[1])

	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "kernel\tshape\tspeed\tquiet (IQR)\tall (IQR)\tquiet of\tspeed-up\ttarget\t")
	for _, r := range rep.Results {
		up := "-"
		if r.SpeedUp != nil {
			up = fmt.Sprintf("%.2fx", r.SpeedUp.Median)
		}
		fmt.Fprintf(w, "%s\t%s\t%.4g %s\t%s\t%s\t%d/%d\t%s\t%s\t%s\n",
			r.Kernel, strings.ReplaceAll(r.Shape, "/", " "), r.Speed, r.Unit,
			middle(r.Quiet), middle(r.All), r.Quiet.N, r.All.N, up, r.Target, r.Verdict)
	}
	return w.Flush()
}

func middle(s quiet.Summary) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f (%.3f)", s.Median, s.IQR)
}

func (t target) String() string {
	switch t.Of {
	case fraction:
		return fmt.Sprintf(">= %.3g", t.Value)
	case speedUp:
		return fmt.Sprintf(">= %.3gx", t.Value)
	case nanosecs:
		return fmt.Sprintf("<= %.3g ns", t.Value)
	}
	return "-"
}

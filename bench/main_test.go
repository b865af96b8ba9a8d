package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selfattn/attn/bench/internal/modelled"
	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/plotter"
)

// TestMain lets this binary be a child, as the benchmark binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		must(serve(os.Stdin, os.Stdout))
		return
	}
	os.Exit(m.Run())
}

// quickReport runs the report and reads it back.
func quickReport(t *testing.T, args ...string) (rep report, dir, printed string) {
	t.Helper()
	dir = t.TempDir()
	var out bytes.Buffer
	require.NoError(t, runReport(append([]string{"-quick", "-out", dir}, args...), &out, io.Discard))
	rep, err := readJSON[report](filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	return rep, dir, out.String()
}

var shared = regexp.MustCompile(`workers=([2-9]|\d\d)`)

// Every benchmark that -quick keeps gives a fraction of its limit. On a busy machine a limit can be
// missed by far, so what is out of range is measured again; what is wrong stays out of range.
func TestQuick(t *testing.T) {
	want := map[string]bool{}
	for _, b := range benchmarks(false) {
		if b.flops <= brief && (selected.most == 0 || b.flops <= selected.most) {
			want[b.name()] = true
		}
	}
	require.Greater(t, len(want), 20)
	pattern := ""
	for try := 0; len(want) > 0; try++ {
		require.Less(t, try, 10, "fractions out of range: %v", want)
		rep, _, _ := quickReport(t, "-peers", "^$", "-run", pattern)
		require.Equal(t, kernel.Backend(), rep.Machine.Backend)
		require.Positive(t, rep.Machine.Peak[0])
		require.Positive(t, rep.Machine.Read[0])
		beside := 0 // what options are compared with
		for name := range want {
			if strings.HasPrefix(name, "Options/") {
				beside++
			}
		}
		require.Len(t, rep.Results, len(want)+beside)
		var again []string
		for _, r := range rep.Results {
			name := r.name()
			if r.Impl == plain().name {
				require.Positive(t, r.Lead.Median, name)
				continue
			}
			require.Contains(t, want, name)
			require.Positive(t, r.Speed, name)
			require.GreaterOrEqual(t, r.All.N, r.Quiet.N, name)
			require.LessOrEqual(t, r.Error, 1.0, name)
			most := 1.2
			if r.Unit == gbytes { // two streams, as of Dot, get up to a third more from memory than plain reading
				most = 1.9
			}
			if shared.MatchString(r.Shape) { // the limit is that of one, where another thread wakes too late for so short a sample
				most *= 2
			}
			inRange := func(s quiet.Summary) bool { return s.Median > 0 && s.Median < most }
			if inRange(r.All) && (r.Quiet.N == 0 || inRange(r.Quiet)) {
				delete(want, name)
			} else {
				again = append(again, regexp.QuoteMeta(name))
			}
		}
		pattern = "^(" + strings.Join(again, "|") + ")$"
	}
}

// A report has every implementation that can do a benchmark, in all its forms.
func TestReport(t *testing.T) {
	rep, dir, printed := quickReport(t, "-run", "^Exp/|^Attention/n=128/d=64/heads=8/causal=true/workers=1$")
	impls := map[string][]string{}
	for _, r := range rep.Results {
		impls[r.Kernel] = append(impls[r.Kernel], r.Impl)
		require.Equal(t, rep.ours(r), r.Lead == nil)
		require.NotEmpty(t, r.Speeds)
		require.Len(t, r.Parts, len(r.Speeds))
		if r.Kernel == "Attention" && r.Impl != "avx2" {
			require.Positive(t, r.Error, r.Impl)
		}
	}
	require.Subset(t, impls["Attention"], []string{kernel.Backend(), "gonum", "vek", "gomlx", "spago", "naive"})
	require.Subset(t, impls["Exp"], []string{kernel.Backend(), "naive"})
	for name := range otherBackends() {
		require.Contains(t, impls["Attention"], name)
	}
	for _, name := range pythonPeers {
		require.Contains(t, rep.Missing, missing{name, "not asked for"})
	}

	md, err := os.ReadFile(filepath.Join(dir, "report.md"))
	require.NoError(t, err)
	require.Equal(t, printed, string(md))
	for _, want := range []string{"FMA peak", "torch (not asked for)", "| Exp ", "n=128 d=64 heads=8 causal=true workers=1"} {
		require.Contains(t, string(md), want)
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(page), "<svg"), "a roofline and attention over the length")
	require.NotRegexp(t, `<script|<link|src=|url\(|@import`, string(page), "a page that works offline")
}

// A writer calls itself with what is written.
type writer func(text string)

func (w writer) Write(b []byte) (int, error) {
	w(string(b))
	return len(b), nil
}

// What is done is on the disk while the next benchmark runs, says that it is incomplete, and stays there
// when the run is interrupted.
func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot interrupt itself")
	}
	dir := t.TempDir()
	incomplete := func(want string, results int) {
		rep, err := readJSON[report](filepath.Join(dir, "report.json"))
		require.NoError(t, err)
		require.Equal(t, want, rep.Incomplete)
		require.Len(t, rep.Results, results)
		for _, name := range []string{"report.md", "report.html"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Contains(t, string(b), "Speed of attn (incomplete: "+want+")", name)
		}
	}
	log := writer(func(text string) {
		if strings.HasPrefix(text, "2/4 ") {
			incomplete("1 of 4 benchmarks", 1)
			self, err := os.FindProcess(os.Getpid())
			require.NoError(t, err)
			require.NoError(t, self.Signal(os.Interrupt))
			time.Sleep(10 * time.Millisecond)
		}
		require.NotRegexp(t, "^[34]/4 ", text)
	})
	var out bytes.Buffer
	err := runReport([]string{"-quick", "-out", dir, "-peers", "^$", "-run", "^(Dot/n=64|Dot/n=1024|Exp/n=2048|Softmax/n=2048)$"}, &out, log)
	require.Equal(t, errInterrupted, err)
	incomplete("2 of 4 benchmarks", 2)
	require.Contains(t, out.String(), "incomplete")

	rep, dir2, printed := quickReport(t, "-peers", "^$", "-run", "^Dot/n=64$")
	require.Empty(t, rep.Incomplete)
	require.NotContains(t, printed, "incomplete")
	files, err := os.ReadDir(dir2)
	require.NoError(t, err)
	require.Len(t, files, 3)
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-run", "("}, {"-nonsense"}, {"-run", "no such benchmark"}, {"-peers", "("}} {
		require.Error(t, runReport(args, io.Discard, io.Discard))
	}
	require.Error(t, runCheck(nil, io.Discard, io.Discard))
	require.Error(t, runCompare([]string{"a.json", "b.json", "c.json"}, io.Discard, io.Discard))
}

const (
	loud  = 0 // a canary that cannot be quiet
	still = 2 // or must be
)

// Verdicts follow the quiet samples, and all samples only where none is quiet.
func TestVerdict(t *testing.T) {
	var meter quiet.Meter
	meter.Probe(1)
	samples := func(canary, value float64) []quiet.Sample {
		return []quiet.Sample{{Rate: 1e9 * value, Fraction: value, Canary: canary}}
	}
	atLeast := benchmark{unit: gflops, flops: 1, traffic: 1, workers: 1, target: target{fraction, 0.9}}
	twice := benchmark{unit: gflops, flops: 1, traffic: 1, workers: 2, target: target{speedUp, 1.85}}
	atMost := benchmark{unit: perCall, flops: 1, traffic: 1, workers: 1, target: target{nanosecs, 10}}
	for _, c := range []struct {
		b       benchmark
		samples []quiet.Sample
		want    string
	}{
		{atLeast, samples(still, 0.9), "ok"},
		{atLeast, samples(still, 0.89), "short"},
		{atLeast, samples(loud, 0.89), "noisy"},
		{atLeast, samples(loud, 0.91), "ok"},
		{atLeast, append(samples(loud, 0.1), samples(still, 0.95)...), "ok"},
		{atLeast, append(samples(loud, 1.1), samples(still, 0.8)...), "short"},
		{twice, samples(still, 1.9), "ok"},
		{twice, samples(still, 1.8), "short"},
		{atMost, samples(still, 0.2), "ok"},     // 5 ns
		{atMost, samples(still, 0.05), "short"}, // 20 ns
		{benchmark{unit: gflops, flops: 1, traffic: 1}, samples(still, 0.1), ""},
	} {
		m := measurement{benchmark: c.b, impls: []impl{selected, {name: "other"}}, errors: []float64{0, 0},
			samples: [][]quiet.Sample{c.samples, samples(still, 0.5)}, base: samples(still, 1)}
		r := m.conclude(&meter)
		require.Equal(t, c.want, r[0].Verdict, "%+v %+v", c.b.target, c.samples)
		require.InDelta(t, c.samples[0].Rate/0.5e9, r[1].Lead.Median, 1e-9)
	}
}

// Other implementations compute the same, so that comparing their speed means something.
func TestPeersAgree(t *testing.T) {
	for _, i := range append(goPeers(), baselines()...) {
		x, y := random(1000, 1), random(1000, 2)
		if i.dot != nil {
			require.InDelta(t, selected.dot(3, x, y), i.dot(3, x, y), 1e-2, i.name)
		}
		if i.exp != nil {
			require.InDelta(t, selected.logSumExp(x), i.logSumExp(x), 1e-4, i.name)
			want, got := make([]float32, 1000), make([]float32, 1000)
			for _, f := range [][2]func(dst, x []float32){{selected.exp, i.exp}, {selected.softmax, i.softmax}} {
				f[0](want, x)
				f[1](got, x)
				require.InDeltaSlice(t, want, got, 1e-4, i.name)
			}
		}
		if i.matMul != nil {
			a, b, c, d := matrix(7, 33, 1), matrix(33, 32, 2), matrix(7, 32, 3), matrix(7, 32, 4)
			selected.matMul(c, a, b, 1)
			i.matMul(d, a, b, 1)
			require.InDeltaSlice(t, c.Data, d.Data, 1e-4, i.name)
		}
		if i.product != nil {
			agreesOnProducts(t, i)
		}
		agrees(t, i)
	}
}

// agreesOnProducts demands that products of i with weights are right, and that a wrong result is noticed.
func agreesOnProducts(t *testing.T, i impl) {
	t.Helper()
	for _, rows := range []int{1, 7} {
		j, err := product(33, 32, rows, kernel.Float32, 1).setup(i, 1)
		if errors.Is(err, errUnsupported) {
			return
		}
		require.NoError(t, err, i.name)
		require.Positive(t, j.run(2))
		_, err = j.verify(j, true)
		require.NoError(t, err, i.name)
		j.out[len(j.out)-1] += 0.01
		_, err = j.verify(j, true)
		require.Error(t, err)
	}
}

// agrees demands that attention of i is right, for every shape that it supports, and that a wrong result is
// noticed.
func agrees(t *testing.T, i impl) {
	t.Helper()
	supported := 0
	for _, causal := range []bool{false, true} {
		for _, s := range []struct{ queries, keys, heads, kvHeads int }{{150, 150, 2, 2}, {1, 150, 6, 2}, {5, 150, 4, 4}} {
			q, k, v := packed(s.heads, s.queries, 16, 1), packed(s.kvHeads, s.keys, 16, 2), packed(s.kvHeads, s.keys, 16, 3)
			j, err := i.attend(q, k, v, &kernel.Options{Causal: causal, Workers: 1})
			if err != nil {
				require.ErrorIs(t, err, errUnsupported, i.name)
				continue
			}
			supported++
			require.Positive(t, j.run(2))
			_, err = j.verify(j, true)
			require.NoError(t, err, "%s %+v", i.name, s)
			last := &j.out[len(j.out)-1]
			right := *last
			for _, wrong := range []float32{right + 0.01, float32(math.NaN()), 0} {
				*last = wrong
				_, err = j.verify(j, true)
				require.Error(t, err)
			}
		}
	}
	require.Positive(t, supported, i.name)
}

// The libraries in Python are right too, where they are installed.
func TestPythonPeers(t *testing.T) {
	const python = "venv/bin/python"
	if _, err := os.Stat(python); err != nil {
		t.Skip("not installed: make bench-peers")
	}
	for _, name := range pythonPeers {
		i, c, err := pythonPeer(python, name)
		require.NoError(t, err)
		require.NotEmpty(t, i.version)
		agreesOnProducts(t, i)
		agrees(t, i)
		for _, b := range []benchmark{option("mask", 70, 70, 16), option("bias", 70, 70, 16), gradient(2, 70, 16, false, 1, target{}), gradient(2, 70, 16, true, 1, target{})} {
			j, err := b.on(i, 1)
			if errors.Is(err, errUnsupported) {
				require.NotEqual(t, "torch", name, b.name())
				continue
			}
			require.NoError(t, err, "%s %s", name, b.name())
			_, err = j.verify(j, true)
			require.NoError(t, err, "%s %s", name, b.name())
			j.out[0] += 0.01
			_, err = j.verify(j, true)
			require.Error(t, err)
		}
		for typ := range typeNames {
			j, err := cached(256, 4, 128, 1, kernel.Type(typ)).on(i, 1)
			if errors.Is(err, errUnsupported) {
				require.NotEqual(t, "ggml", name)
				require.False(t, name == "ort-gqa" && typ != int(kernel.BFloat16))
				continue
			}
			require.NoError(t, err, "%s %s", name, typeNames[typ])
			require.Positive(t, j.run(2))
			_, err = j.verify(j, true)
			require.NoError(t, err, "%s %s", name, typeNames[typ])
			j.out[0]++
			_, err = j.verify(j, true)
			require.Error(t, err)
		}
		c.stop()
	}
}

// A peer that is not there is reported with what its process said.
func TestMissingPeer(t *testing.T) {
	_, _, err := pythonPeer("no/such/python", "torch")
	require.Error(t, err)
	_, err = start("sh", []string{"-c", "echo first >&2; echo the reason >&2; exit 1"}, nil)
	require.EqualError(t, err, "the reason")
}

// A peer that fails, or that is wrong, is left out and reported; what is ours must not fail.
func TestFailures(t *testing.T) {
	broken := func(peer bool) impl {
		return impl{name: "broken", peer: peer, attention: func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
			return nil, errors.New("the reason")
		}}
	}
	wrong := impl{name: "wrong", peer: true, attention: calls(func(dst, q, k, v kernel.Tensor, o *kernel.Options) {})}
	b := prefill(1, 16, 16, false, 1, target{})
	b.peers = true
	all, failed, err := measure(&quiet.Meter{}, []benchmark{b}, []impl{selected, broken(true), wrong}, 0, io.Discard, nil)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Len(t, all[0].impls, 1)
	require.Len(t, all[0].samples, 1)
	require.Equal(t, missing{"broken", b.name() + ": the reason"}, failed[0])
	require.Contains(t, failed[1].Why, "wrong result")
	_, _, err = measure(&quiet.Meter{}, []benchmark{b}, []impl{selected, broken(false)}, 0, io.Discard, nil)
	require.ErrorContains(t, err, "the reason")
}

// A child computes the bits of this process, whatever its backend, and different bits are noticed.
func TestChild(t *testing.T) {
	backends := map[string]string{selected.name: "X=1"}
	for name, env := range otherBackends() {
		backends[name] = env
	}
	for name, env := range backends {
		i, c, err := goPeer(name, os.Args[0], env)
		require.NoError(t, err)
		require.Equal(t, name, c.version)
		all := benchmarks(false)
		b := all[slices.IndexFunc(all, func(b benchmark) bool { return b.kernel == "Attention" })]
		ours, err := b.on(selected, 1)
		require.NoError(t, err)
		ours.run(1)
		theirs, err := b.on(i, 1)
		require.NoError(t, err)
		require.Positive(t, theirs.run(3))
		_, err = theirs.verify(ours, false)
		require.NoError(t, err)
		ours.out[0]++
		_, err = theirs.verify(ours, false)
		require.EqualError(t, err, "the bits differ")

		b.shape = "no such shape"
		_, err = b.on(i, 1)
		require.ErrorIs(t, err, errUnsupported)
		c.stop()
	}
}

// synthetic is a report of two benchmarks; speeds vary by 1% and are scale times as large.
func synthetic(backend string, scale float64) report {
	rep := report{Machine: machine{CPU: "CPU", Backend: backend, Arch: backend + "64", Workers: 1, Peak: [2]float64{120, 120}, Read: [2]float64{10, 10}}}
	for _, r := range []result{
		{Kernel: "Attention", Shape: "n=128/d=64/heads=1/causal=false/workers=1", Unit: gflops, Speed: 100 * scale},
		{Kernel: "Exp", Shape: "n=2048", Unit: perElem, Speed: 0.25 / scale},
		{Kernel: "Attention", Shape: "n=2048/d=64/heads=8/causal=false/workers=1", Unit: gflops, Speed: 100 * scale, Gflops: 100 * scale, Traffic: 100},
		{Kernel: backend, Shape: "n=1", Unit: gflops, Speed: 1},
	} {
		r.Impl, r.All = backend, quiet.Summary{N: parts, Median: 0.9, IQR: 0.018}
		for i := range parts {
			wobble := 1 + 0.01*float64(i%3-1)
			r.Speeds, r.Parts = append(r.Speeds, r.Speed*wobble), append(r.Parts, 0.9*wobble)
		}
		rep.Results = append(rep.Results, r)
	}
	return rep
}

func TestCompare(t *testing.T) {
	a, b := synthetic("avx2", 1), synthetic("neon", 1.1)
	c, err := compare([]report{a, b})
	require.NoError(t, err)
	require.Equal(t, []string{"CPU (avx264)", "CPU (neon64)"}, c.names)
	all := c.tables[len(c.tables)-1].rows
	require.Len(t, all, 4, "a header and the benchmarks that both have")
	require.Len(t, c.charts, 4)
	for _, row := range all[1:3] {
		require.Equal(t, "1.100", row[4], "beyond chance")
		require.Equal(t, "1.000 ≈", row[7])
		require.Contains(t, row[2], " ± 1.0%")
	}
	require.Equal(t, [][]string{
		{"attention, 2048 tokens, d = 64, GFLOP/s", "CPU (avx264)", "100 ± 1.0%", "100 ± 1.0% on 1", "100", "10", "multipliers, 0.83 of their peak"},
		{"attention, 2048 tokens, d = 64, GFLOP/s", "CPU (neon64)", "110 ± 1.0%", "110 ± 1.0% on 1", "110", "11", "multipliers, 0.92 of their peak"},
		{"attention, 2048 tokens, d = 64, GFLOP/s", "ratio", "1.100", "1.100", "1.100", "1.100", ""},
	}, c.tables[0].rows[1:])

	c, err = compare([]report{a, synthetic("avx2", 1.001)})
	require.NoError(t, err)
	require.Equal(t, "1.001 ≈", c.tables[1].rows[1][4])
	require.NotEqual(t, c.names[0], c.names[1])
	few := synthetic("avx2", 2)
	for i := range few.Results {
		few.Results[i].Speeds = few.Results[i].Speeds[:2]
	}
	c, err = compare([]report{a, few})
	require.NoError(t, err)
	require.Equal(t, "2.000 ?", c.tables[1].rows[1][4])
	_, err = compare([]report{a, {}})
	require.Error(t, err)
	few.Machine.Emulator = "QEMU"
	_, err = compare([]report{a, few})
	require.ErrorContains(t, err, "times of an emulator are not compared")
	require.Contains(t, few.title(), "emulated by QEMU")
	c, err = compare([]report{few, few})
	require.NoError(t, err)
	require.Contains(t, c.names[0], "EMULATED")

	dir := t.TempDir()
	var paths []string
	for i, name := range []string{"a.json", "b.json"} {
		b, err := json.Marshal(synthetic("avx2", 1+float64(i)))
		require.NoError(t, err)
		paths = append(paths, filepath.Join(dir, name))
		require.NoError(t, os.WriteFile(paths[i], b, 0o666))
	}
	var out bytes.Buffer
	page := filepath.Join(dir, "new", "compare.html")
	require.NoError(t, runCompare(append([]string{"-html", page}, paths...), &out, io.Discard))
	require.Contains(t, out.String(), "2.000")
	out.Reset()
	require.NoError(t, runCompare([]string{"-html", page, paths[0]}, &out, io.Discard), "one beside models")
	require.NotContains(t, out.String(), "ratio")
	_, modelled, ok := strings.Cut(out.String(), "## MODELLED, not measured")
	require.True(t, ok, out.String())
	modelled, measured, _ := strings.Cut(modelled, "## Every benchmark")
	require.Contains(t, modelled, "Neoverse V1")
	require.Contains(t, modelled, "by nobody yet")
	require.NotContains(t, measured, "Neoverse")
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "<svg")
}

// Points beyond the range are drawn at the edge and marked, and a series of one point is a bar.
func TestEdges(t *testing.T) {
	within := []series{{name: "a", points: plotter.XYs{{X: 1, Y: 0.5}, {X: 2, Y: 0.6}}}}
	beyond := []series{{name: "a", points: plotter.XYs{{X: 1, Y: 0.5}, {X: 2, Y: 1.6}}}}
	for _, a := range []axes{{top: 1}, {top: 1, noLines: true}} {
		svg, err := drawn(a, within)
		require.NoError(t, err)
		require.NotContains(t, svg, outside)
		svg, err = drawn(a, beyond)
		require.NoError(t, err)
		require.Contains(t, svg, outside)
	}
	require.Equal(t, 1.6, beyond[0].points[1].Y, "the caller's points stay")
	svg, err := drawn(axes{top: 1}, []series{{name: "first", points: within[0].points[:1]}, {name: "second", points: beyond[0].points[1:]}})
	require.NoError(t, err)
	require.Contains(t, svg, "first")
	require.NotContains(t, svg, outside)
}

// A change is reported if it is beyond noise, and only then.
func TestChanged(t *testing.T) {
	var meter quiet.Meter
	meter.Probe(1)
	samples := func(rate, noise float64) (s []quiet.Sample) {
		for i := range 5 * parts {
			s = append(s, quiet.Sample{Rate: rate * (1 + noise*math.Sin(float64(i*i)*rate)), Canary: still})
		}
		return s
	}
	for _, c := range []struct {
		times, noise float64
		want         bool
	}{{0.95, 0.001, true}, {1.05, 0.01, true}, {1.01, 0.001, false}, {1, 0.05, false}, {1, 0, false}} {
		m := measurement{samples: [][]quiet.Sample{samples(1, c.noise), samples(c.times, c.noise)}}
		times, ok := m.changed(&meter, 100)
		require.Equal(t, c.want, ok, "%+v: %g", c, times)
		require.InDelta(t, c.times, times, 0.02)
	}
	_, ok := measurement{samples: [][]quiet.Sample{samples(1, 0)}}.changed(&meter, 1)
	require.False(t, ok)
}

// The whole of check: this revision, built twice, against this work tree.
func TestCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two binaries")
	}
	if _, err := command("git", "rev-parse", "HEAD"); err != nil {
		t.Skip("no git repository")
	}
	var out bytes.Buffer
	require.NoError(t, runCheck([]string{"-quick", "-run", "^Dot/n=64$", "HEAD"}, &out, io.Discard))
	require.Regexp(t, `^\d of 1 benchmarks changed by 2% or more`, out.String())
	require.Error(t, runCheck([]string{"-quick", "no-such-revision"}, io.Discard, io.Discard))
	list, err := command("git", "worktree", "list")
	require.NoError(t, err)
	require.NotContains(t, list, "attn-bench-check-")
}

// What is made of the committed reports is up to date.
func TestReadme(t *testing.T) {
	files, err := fromReports()
	require.NoError(t, err)
	require.Greater(t, len(files), 4)
	for path, want := range files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, want == string(text), "%s: run: go run -C bench . readme", path)
		if filepath.Ext(path) == ".svg" {
			for _, name := range []string{"attn", "PyTorch", "ONNX Runtime", "best of Go"} {
				require.Contains(t, want, ">"+name+"<", path)
			}
		}
	}
	_, err = updateNumbers("no numbers", nil)
	require.Error(t, err)

	// README says of NEON what the models do.
	m, err := newestModels()
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	i := slices.IndexFunc(m.Attentions, func(a modelled.Attention) bool { return a.CPU == "neoverse-v1" && a.Tokens == 2048 })
	require.Contains(t, string(readme), m.Attentions[i].Range()+" GFLOP/s on a core of Neoverse V1")
}

// Types of caches stand side by side, with how many times as many tokens they read.
func TestCaches(t *testing.T) {
	rep := report{Machine: machine{Backend: "avx2"}}
	add := func(workers int, typ kernel.Type, gbytes, gflops float64) {
		b := cached(16384, 4, 128, workers, typ)
		rep.Results = append(rep.Results, result{Kernel: b.kernel, Shape: b.shape, Impl: "avx2", Speed: gbytes, Gflops: gflops})
	}
	add(1, kernel.Float32, 20, 40)
	add(1, kernel.Float16, 15, 60)
	add(2, kernel.Int8, 9, 70)
	other := cached(16384, 4, 128, 1, kernel.Float16)
	rep.Results = append(rep.Results, result{Kernel: other.kernel, Shape: other.shape, Impl: "ggml", Speed: 7})
	rows := rep.caches()
	require.Len(t, rows, 4)
	require.Equal(t, []string{"16384 keys, 4 query heads a KV head, pages of 128", "20 (1.00×)", "15 (1.50×)", "", ""}, rows[1])
	require.Equal(t, []string{"– ggml, AVX2", "", "7", "", ""}, rows[2])
	require.Equal(t, []string{"16384 keys, 4 query heads a KV head, pages of 128, 2 threads", "", "", "", "9"}, rows[3])
	require.Len(t, report{}.caches(), 1)
}

// A browser shows the committed page, every chart of it, and complains of nothing.
func TestBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium")
	}
	pages, err := filepath.Glob(filepath.Join("results", "*.html"))
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, page := range pages {
		dom, said := browse(t, browser, page)
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		require.Equal(t, strings.Count(string(text), "<svg"), strings.Count(dom, "<svg"), page)
		require.NotContains(t, said, ":CONSOLE")
	}
	broken := filepath.Join(t.TempDir(), "broken.html")
	require.NoError(t, os.WriteFile(broken, []byte("<script>undefined.fault</script>"), 0o666))
	_, said := browse(t, browser, broken)
	require.Contains(t, said, ":CONSOLE", "a fault is seen")
}

// browse returns what the browser makes of a page, and what it says meanwhile.
func browse(t *testing.T, browser, page string) (dom, said string) {
	t.Helper()
	path, err := filepath.Abs(page)
	require.NoError(t, err)
	cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--user-data-dir="+t.TempDir(), "--dump-dom", "file://"+path)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run())
	return stdout.String(), stderr.String()
}

// README's recipes compile, and run without an error.
func TestRecipes(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.Len(t, blocks, 5)
	program := "package main\n\nimport \"github.com/selfattn/attn/kernel\"\n\nfunc main() {\n\tfor _, recipe := range []func() error{\n"
	for _, b := range blocks {
		program += "func() error {\n" + b[1] + "return err\n},\n"
	}
	program += "} {\nif err := recipe(); err != nil {\npanic(err)\n}\n}\n}\n"
	path := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(path, []byte(program), 0o666))
	_, err = command("go", "run", path)
	require.NoError(t, err)
}

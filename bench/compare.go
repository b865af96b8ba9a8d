package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/selfattn/attn/bench/internal/quiet"
	"golang.org/x/perf/benchmath"
	"gonum.org/v1/plot/plotter"
)

// runCompare compares two reports of package kernel, each with the backend that its machine selected, or shows one of them; both
// beside what models predict.
func runCompare(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	out := f.String("html", filepath.Join("out", "compare.html"), "`file` for the page with charts")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 && f.NArg() != 2 {
		return errors.New("compare takes two reports, or one to stand beside models: compare [-html file] a.json [b.json]")
	}
	var reports []report
	for _, path := range f.Args() {
		rep, err := readJSON[report](path)
		if err != nil {
			return err
		}
		reports = append(reports, rep)
	}
	c, err := compare(reports)
	if err != nil {
		return err
	}
	m, err := newestModels()
	if err != nil {
		return err
	}
	if len(m.Attentions) > 0 {
		c.notes = append(c.notes, "What is MODELLED has a table of its own: for CPUs that nobody has timed, what "+m.LLVM+" and counts of an emulator let one expect.")
		c.tables = slices.Insert(c.tables, len(c.tables)-1, m.attentions())
	}
	title := "attn on " + strings.Join(c.names, " and on ")
	fmt.Fprintf(stdout, "# %s\n", title)
	c.facts[0].markdown(stdout)
	fmt.Fprintf(stdout, "\n%s\n", strings.Join(c.notes, "\n\n"))
	for _, t := range c.tables {
		t.markdown(stdout)
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o777); err != nil {
		return err
	}
	var page strings.Builder
	if err := writePage(&page, title, c.facts, c.notes, c.charts, c.tables); err != nil {
		return err
	}
	return os.WriteFile(*out, []byte(page.String()), 0o666)
}

// A comparison is what two reports say side by side.
type comparison struct {
	names  []string // of the machines
	facts  []table  // of the machines, and their features
	notes  []string
	tables []table // to choose by, and every benchmark
	charts []chart
}

// compare compares the benchmarks that all of one or two reports have. Significance is that of the rank test of Mann and Whitney on
// medians of parts of one run each, at the level 0.05 shared by all comparisons (Bonferroni): what differs
// between runs of one version, such as the placement of memory, is not in it.
func compare(reports []report) (c comparison, err error) {
	a, b := reports[0], reports[len(reports)-1]
	if (a.Machine.Emulator == "") != (b.Machine.Emulator == "") {
		return c, fmt.Errorf("one report is of %s, the other of %s: times of an emulator are not compared with those of a CPU",
			a.Machine.name(), b.Machine.name())
	}
	var shared [][]result
	for _, x := range a.Results {
		if !a.ours(x) || len(x.Speeds) == 0 {
			continue
		}
		if len(reports) == 1 {
			shared = append(shared, []result{x})
			continue
		}
		for _, y := range b.Results {
			if b.ours(y) && x.name() == y.name() && len(y.Speeds) > 0 {
				shared = append(shared, []result{x, y})
			}
		}
	}
	if len(shared) == 0 {
		return c, errors.New("the reports have no benchmark in common")
	}
	c.names = []string{a.Machine.name()}
	if len(reports) == 2 {
		c.names = names(a.Machine, b.Machine)
	}
	facts, features := a.facts()
	facts.rows[0], features.rows[0] = append([]string{""}, c.names...), c.names
	if len(reports) == 2 {
		otherFacts, otherFeatures := b.facts()
		for i, row := range otherFacts.rows[1:] {
			facts.rows[i+1] = append(facts.rows[i+1], row[1])
		}
		features.rows[1] = append(features.rows[1], otherFeatures.rows[1][0])
	}
	c.facts = []table{facts, features}
	c.notes = []string{"Speeds are medians of the samples that no neighbour disturbed, ± half the distance of the quartiles of the parts of each run."}
	if len(reports) == 2 {
		c.notes = append(c.notes, "Ratios are ratios of these medians, above 1 where "+c.names[1]+" is faster.",
			fmt.Sprintf("A ratio is marked ≈ where the order of the samples could be chance, and ? where there are too few samples to tell: by the rank test of "+
				"Mann and Whitney, a difference stands if chance alone would show one like it among all %d benchmarks in less than 5 of 100 such comparisons. What differs between two runs on one machine is not in it.",
				len(shared)))
	}
	if a.Machine.Emulator != "" {
		c.notes = append(c.notes, "All machines here were EMULATED: no time here is that of a CPU.")
	}
	c.tables = append(c.choice(reports), c.all(shared))
	c.charts, err = c.draw(reports, shared)
	return c, err
}

// names tells two machines apart, by the backend or the date if they are alike.
func names(a, b machine) []string {
	n := []string{a.name(), b.name()}
	for _, more := range []func(m machine) string{
		func(m machine) string { return m.Backend },
		func(m machine) string { return m.Date.Format(time.DateTime) },
	} {
		if n[0] == n[1] {
			n[0], n[1] = n[0]+", "+more(a), n[1]+", "+more(b)
		}
	}
	if n[0] == n[1] {
		n[0], n[1] = n[0]+", first", n[1]+", second"
	}
	return n
}

// times is how many times as fast the second result is.
func times(p []result) float64 {
	if p[0].Unit == perElem || p[0].Unit == perCall { // less is more
		return p[0].Speed / p[1].Speed
	}
	return p[1].Speed / p[0].Speed
}

// noisy is a speed with half the distance of the quartiles of the parts of its run.
func (r result) noisy() string {
	s := quiet.Summarize(r.Speeds)
	return fmt.Sprintf("%.4g ± %.1f%%", r.Speed, 50*s.IQR/s.Median)
}

// all is the table of all benchmarks.
func (c comparison) all(shared [][]result) table {
	rows := [][]string{slices.Concat([]string{"benchmark", "unit"}, c.names)}
	if len(c.names) == 2 {
		rows[0] = append(rows[0], "ratio")
	}
	for _, name := range c.names {
		rows[0] = append(rows[0], "of its limit: "+name)
	}
	if len(c.names) == 2 {
		rows[0] = append(rows[0], "ratio")
	}
	for _, p := range shared {
		row, fractions := []string{strings.ReplaceAll(p[0].name(), "/", " "), string(p[0].Unit)}, []string{}
		for _, r := range p {
			row, fractions = append(row, r.noisy()), append(fractions, fmt.Sprintf("%.3f", r.fraction()))
		}
		if len(p) == 2 {
			row = append(row, fmt.Sprintf("%.3f%s", times(p), mark(p[0].Speeds, p[1].Speeds, len(shared))))
			fractions = append(fractions, fmt.Sprintf("%.3f%s", p[1].fraction()/p[0].fraction(), mark(p[0].Parts, p[1].Parts, len(shared))))
		}
		rows = append(rows, append(row, fractions...))
	}
	return table{caption: "Every benchmark", rows: rows}
}

// choice is the table for those who have to choose a machine: a few kernels, on one core and on all, what that is for each
// core and for each GB/s of memory, and what limits it.
func (c comparison) choice(reports []report) []table {
	t := table{caption: "To choose by", rows: [][]string{{"", "machine", "one core", "all cores", "for each core", "for each GB/s of memory", "limit of one core, and how near"}}}
	for _, k := range []struct{ label, kernel, shape string }{
		{"attention, 2048 tokens, d = 64, GFLOP/s", "Attention", "n=2048/d=64/heads=8/causal=false"},
		{"causal attention, 2048 tokens, d = 64, GFLOP/s", "Attention", "n=2048/d=64/heads=8/causal=true"},
		{"attention, 512 tokens, d = 64, GFLOP/s", "Attention", "n=512/d=64/heads=8/causal=false"},
		{"decoding, 16384 keys, d = 128, GB/s", "Decode", "kv=16384/d=128/heads=8/group=1"},
		{"decoding, 4 queries a KV head, GB/s", "Decode", "kv=16384/d=128/heads=32/group=4"},
		{"product with weights 384 × 1536, 128 rows, GFLOP/s", "MatMulPacked", "k=384/n=1536/m=128"},
		{"layer, 512 tokens × 512, GFLOP/s", "SelfAttention", "tokens=512/model=512/heads=8"},
	} {
		one, all := make([]float64, len(reports)), make([]float64, len(reports))
		var rows [][]string
		for i, rep := range reports {
			m := rep.Machine
			find := func(workers int) (result, bool) {
				shape := fmt.Sprintf("%s/workers=%d", k.shape, workers)
				j := slices.IndexFunc(rep.Results, func(r result) bool { return rep.ours(r) && r.Kernel == k.kernel && r.Shape == shape })
				if j < 0 {
					return result{}, false
				}
				return rep.Results[j], true
			}
			r, ok := find(1)
			if !ok {
				break
			}
			one[i] = r.Speed
			limit := fmt.Sprintf("multipliers, %.2f of their peak", r.Gflops/m.Peak[0])
			if r.Traffic < m.Peak[0]/m.Read[0] {
				limit = fmt.Sprintf("memory, %.2f of reading", r.Gflops/r.Traffic/m.Read[0])
			}
			row := []string{k.label, c.names[i], r.noisy(), "-", "-", "-", limit}
			if r, ok := find(m.Workers); ok {
				all[i] = r.Speed
				row[3], row[4], row[5] = fmt.Sprintf("%s on %d", r.noisy(), m.Workers), fmt.Sprintf("%.4g", r.Speed/float64(m.Workers)), fmt.Sprintf("%.3g", r.Speed/m.Read[1])
			}
			rows = append(rows, row)
		}
		if len(rows) < len(reports) {
			continue
		}
		t.rows = append(t.rows, rows...)
		if len(reports) == 1 {
			continue
		}
		ratio := []string{k.label, "ratio", fmt.Sprintf("%.3f", one[1]/one[0]), "-", "-", "-", ""}
		if all[0] > 0 && all[1] > 0 {
			a, b := reports[0].Machine, reports[1].Machine
			cores, memory, x := float64(b.Workers)/float64(a.Workers), b.Read[1]/a.Read[1], all[1]/all[0]
			ratio[3], ratio[4], ratio[5] = fmt.Sprintf("%.3f", x), fmt.Sprintf("%.3f", x/cores), fmt.Sprintf("%.3f", x/memory)
		}
		t.rows = append(t.rows, ratio)
	}
	if len(t.rows) == 1 {
		return nil
	}
	return []table{t}
}

// draw draws the fractions of two machines against each other, the roofs of all, and attention over the length.
func (c comparison) draw(reports []report, shared [][]result) (charts []chart, err error) {
	add := func(title, caption string, x axes, s []series) {
		svg, failed := drawn(x, s)
		if failed != nil {
			err = fmt.Errorf("%s: %w", title, failed)
		} else if svg != "" {
			charts = append(charts, chart{title, caption, svg})
		}
	}
	if len(reports) == 2 {
		var dots []series
		for _, p := range shared {
			i := slices.IndexFunc(dots, func(s series) bool { return s.name == p[0].Kernel })
			if i < 0 {
				i, dots = len(dots), append(dots, series{name: p[0].Kernel})
			}
			dots[i].points = append(dots[i].points, plotter.XY{X: p[0].fraction(), Y: p[1].fraction()})
		}
		dots = append(dots, series{name: "equal", dashed: true, points: plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}}})
		add("Fractions of the limit", "Above the line "+c.names[1]+" is closer to the limits of its machine.",
			axes{x: c.names[0], y: c.names[1], noLines: true, top: 1.05, right: 1.05}, dots)
	}

	var roofs []series
	for i, rep := range reports {
		name, m := c.names[i], rep.Machine
		points := rep.seriesBy(func(r result) bool {
			return rep.ours(r) && r.Traffic > 0 && slices.Contains([]string{"", "1"}, r.key("workers"))
		},
			func(result) string { return name }, func(r result) float64 { return r.Traffic }, func(r result) float64 { return r.Gflops })
		roof := series{name: "limit of " + name, dashed: true}
		if len(points) > 0 && m.Peak[0] > 0 && m.Read[0] > 0 {
			low, high := math.Inf(1), m.Peak[0]/m.Read[0]
			for _, p := range points[0].points {
				low, high = min(low, p.X), max(high, p.X)
			}
			for _, x := range []float64{low, m.Peak[0] / m.Read[0], high * 1.2} {
				roof.points = append(roof.points, plotter.XY{X: x, Y: min(m.Peak[0], x*m.Read[0])})
			}
			points = append(points, roof)
		}
		roofs = append(roofs, points...)
	}
	add("Rooflines of one core", "The slopes are reading from memory, the roofs the FMA peaks. Points above a slope work on data that is in a cache.",
		axes{x: "flops for each byte of the operands", y: "GFLOP/s", logX: true, logY: true, noLines: true}, roofs)

	for _, v := range []struct {
		title, y string
		value    func(r result) float64
	}{
		{"Attention over the length, of the FMA peak", "of the FMA peak", result.fraction},
		{"Attention over the length, absolute", "GFLOP/s", func(r result) float64 { return r.Speed }},
	} {
		var lines []series
		for i, rep := range reports {
			lines = append(lines, rep.seriesBy(func(r result) bool {
				return rep.ours(r) && r.Kernel == "Attention" && r.number("workers") == 1 && r.key("heads") == "1" && r.number("d") == 64
			}, func(r result) string { return c.names[i] + map[string]string{"true": ", causal"}[r.key("causal")] },
				func(r result) float64 { return r.number("n") }, v.value)...)
		}
		add(v.title, "One head, d = 64, one worker.", axes{x: "queries and keys", y: v.y, logX: true}, lines)
	}
	return charts, err
}

// differ compares two samples, one of several comparisons.
func differ(a, b []float64, comparisons int) benchmath.Comparison {
	level := benchmath.Thresholds{CompareAlpha: 0.05 / float64(comparisons)}
	sample := func(x []float64) *benchmath.Sample {
		return benchmath.NewSample(append([]float64(nil), x...), &level)
	}
	return benchmath.AssumeNothing.Compare(sample(a), sample(b))
}

// mark is what follows a ratio: nothing, " ≈" if the difference may be chance, or " ?" if so few values could not show that it
// is not: two samples that do not overlap have the smallest p of the test, 2/(a+b over a).
func mark(a, b []float64, comparisons int) string {
	c := differ(a, b, comparisons)
	orders := 1.0
	for i := range a {
		orders *= float64(len(b)+i+1) / float64(i+1)
	}
	switch {
	case 2/orders > c.Alpha:
		return " ?"
	case c.P > c.Alpha:
		return " ≈"
	}
	return ""
}

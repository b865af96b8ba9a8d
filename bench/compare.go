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

// runCompare compares two reports of package kernel, each with the backend that its machine selected.
func runCompare(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	out := f.String("html", filepath.Join("out", "compare.html"), "`file` for the page with charts")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 2 {
		return errors.New("compare takes two reports: compare [-html file] a.json b.json")
	}
	a, err := readReport(f.Arg(0))
	if err != nil {
		return err
	}
	b, err := readReport(f.Arg(1))
	if err != nil {
		return err
	}
	c, err := compare(a, b)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("attn on %s and on %s", c.names[0], c.names[1])
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
	names  [2]string // of the machines
	facts  []table   // of both machines, and their features
	notes  []string
	tables []table // to choose by, and every benchmark
	charts []chart
}

// compare compares the benchmarks that both reports have. Significance is that of the rank test of Mann and Whitney on
// medians of parts of one run each, at the level 0.05 shared by all comparisons (Bonferroni): what differs
// between runs of one version, such as the placement of memory, is not in it.
func compare(a, b report) (c comparison, err error) {
	if (a.Machine.Emulator == "") != (b.Machine.Emulator == "") {
		return c, fmt.Errorf("one report is of %s, the other of %s: times of an emulator are not compared with those of a CPU",
			a.Machine.name(), b.Machine.name())
	}
	var pairs [][2]result
	for _, x := range a.Results {
		for _, y := range b.Results {
			if a.ours(x) && b.ours(y) && x.name() == y.name() && len(x.Speeds) > 0 && len(y.Speeds) > 0 {
				pairs = append(pairs, [2]result{x, y})
			}
		}
	}
	if len(pairs) == 0 {
		return c, errors.New("the reports have no benchmark in common")
	}
	c.names = names(a.Machine, b.Machine)
	facts, features := a.facts()
	otherFacts, otherFeatures := b.facts()
	facts.rows[0] = []string{"", c.names[0], c.names[1]}
	for i, row := range otherFacts.rows[1:] {
		facts.rows[i+1] = append(facts.rows[i+1], row[1])
	}
	features.rows = [][]string{{c.names[0], c.names[1]}, {features.rows[1][0], otherFeatures.rows[1][0]}}
	c.facts = []table{facts, features}
	c.notes = []string{
		"Speeds are medians of the samples that no neighbour disturbed, ± half the distance of the quartiles of the parts of each run; ratios are ratios of these medians, " +
			"above 1 where " + c.names[1] + " is faster.",
		fmt.Sprintf("A ratio is marked ≈ where the order of the samples could be chance, and ? where there are too few samples to tell: by the rank test of "+
			"Mann and Whitney, a difference stands if chance alone would show one like it among all %d benchmarks in less than 5 of 100 such comparisons. What differs between two runs on one machine is not in it.",
			len(pairs)),
	}
	if a.Machine.Emulator != "" {
		c.notes = append(c.notes, "Both machines were EMULATED: no time here is that of a CPU.")
	}
	c.tables = append(c.choice(a, b, pairs), c.all(pairs))
	c.charts, err = c.draw(a, b, pairs)
	return c, err
}

// names tells two machines apart, by the backend or the date if they are alike.
func names(a, b machine) [2]string {
	n := [2]string{a.name(), b.name()}
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
func times(p [2]result) float64 {
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
func (c comparison) all(pairs [][2]result) table {
	t := table{caption: "Every benchmark", rows: [][]string{{"benchmark", "unit", c.names[0], c.names[1], "ratio",
		"of its limit: " + c.names[0], "of its limit: " + c.names[1], "ratio"}}}
	for _, p := range pairs {
		share := p[1].fraction() / p[0].fraction()
		t.rows = append(t.rows, []string{
			strings.ReplaceAll(p[0].name(), "/", " "), string(p[0].Unit), p[0].noisy(), p[1].noisy(),
			fmt.Sprintf("%.3f%s", times(p), mark(p[0].Speeds, p[1].Speeds, len(pairs))),
			fmt.Sprintf("%.3f", p[0].fraction()), fmt.Sprintf("%.3f", p[1].fraction()),
			fmt.Sprintf("%.3f%s", share, mark(p[0].Parts, p[1].Parts, len(pairs))),
		})
	}
	return t
}

// choice is the table for those who have to choose a machine: a few kernels, on one core and on all, what that is for each
// core and for each GB/s of memory, and what limits it.
func (c comparison) choice(a, b report, pairs [][2]result) []table {
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
		var one, all [2]float64
		var limits [2]string
		var cells [2][]string
		for i, rep := range []report{a, b} {
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
			limits[i] = fmt.Sprintf("multipliers, %.2f of their peak", r.Gflops/m.Peak[0])
			if r.Traffic < m.Peak[0]/m.Read[0] {
				limits[i] = fmt.Sprintf("memory, %.2f of reading", r.Gflops/r.Traffic/m.Read[0])
			}
			cells[i] = []string{r.noisy(), "-", "-", "-"}
			if r, ok := find(m.Workers); ok {
				all[i] = r.Speed
				cells[i] = []string{cells[i][0], fmt.Sprintf("%s on %d", r.noisy(), m.Workers),
					fmt.Sprintf("%.4g", r.Speed/float64(m.Workers)), fmt.Sprintf("%.3g", r.Speed/m.Read[1])}
			}
		}
		if one[0] == 0 || one[1] == 0 {
			continue
		}
		for i := range cells {
			t.rows = append(t.rows, slices.Concat([]string{k.label, c.names[i]}, cells[i], []string{limits[i]}))
		}
		ratio := []string{k.label, "ratio", fmt.Sprintf("%.3f", one[1]/one[0]), "-", "-", "-", ""}
		if all[0] > 0 && all[1] > 0 {
			cores, memory := float64(b.Machine.Workers)/float64(a.Machine.Workers), b.Machine.Read[1]/a.Machine.Read[1]
			x := all[1] / all[0]
			ratio = []string{k.label, "ratio", ratio[2], fmt.Sprintf("%.3f", x), fmt.Sprintf("%.3f", x/cores), fmt.Sprintf("%.3f", x/memory), ""}
		}
		t.rows = append(t.rows, ratio)
	}
	if len(t.rows) == 1 {
		return nil
	}
	return []table{t}
}

// draw draws the fractions of both machines against each other, the roofs of both, and attention over the length.
func (c comparison) draw(a, b report, pairs [][2]result) (charts []chart, err error) {
	add := func(title, caption string, x axes, s []series) {
		svg, failed := drawn(x, s)
		if failed != nil {
			err = fmt.Errorf("%s: %w", title, failed)
		} else if svg != "" {
			charts = append(charts, chart{title, caption, svg})
		}
	}
	var dots []series
	for _, p := range pairs {
		i := slices.IndexFunc(dots, func(s series) bool { return s.name == p[0].Kernel })
		if i < 0 {
			i, dots = len(dots), append(dots, series{name: p[0].Kernel})
		}
		dots[i].points = append(dots[i].points, plotter.XY{X: p[0].fraction(), Y: p[1].fraction()})
	}
	dots = append(dots, series{name: "equal", dashed: true, points: plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}}})
	add("Fractions of the limit", "Above the line "+c.names[1]+" is closer to the limits of its machine. A ring: beyond the edge, at which it is drawn.",
		axes{x: c.names[0], y: c.names[1], noLines: true, top: 1.05, right: 1.05}, dots)

	var roofs []series
	for i, rep := range []report{a, b} {
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
		for i, rep := range []report{a, b} {
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

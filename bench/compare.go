package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

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
	t, charts, err := compare(a, b)
	if err != nil {
		return err
	}
	facts := bothFacts(a, b)
	fmt.Fprintf(stdout, "# Two reports of attn\n")
	facts.markdown(stdout)
	t.markdown(stdout)
	if err := os.MkdirAll(filepath.Dir(*out), 0o777); err != nil {
		return err
	}
	var page strings.Builder
	if err := writePage(&page, "Two reports of attn", []table{facts}, charts, []table{t}); err != nil {
		return err
	}
	return os.WriteFile(*out, []byte(page.String()), 0o666)
}

func bothFacts(a, b report) table {
	t := a.facts()
	t.rows[0] = []string{"", "a", "b"}
	for i, row := range b.facts().rows[1:] {
		t.rows[i+1] = append(t.rows[i+1], row[1])
	}
	return t
}

// compare returns a table of the benchmarks that both reports have, in absolute terms and as fractions of
// their own limits, and charts. Significance is that of the rank test of Mann and Whitney on medians of parts of
// one run each, at the level 0.05 shared by all comparisons (Bonferroni): what differs between
// runs of one version, such as the placement of memory, is not in it.
func compare(a, b report) (table, []chart, error) {
	type pair struct{ a, b result }
	var pairs []pair
	for _, x := range a.Results {
		for _, y := range b.Results {
			if a.ours(x) && b.ours(y) && x.name() == y.name() && len(x.Speeds) > 0 && len(y.Speeds) > 0 {
				pairs = append(pairs, pair{x, y})
			}
		}
	}
	if len(pairs) == 0 {
		return table{}, nil, errors.New("the reports have no benchmark in common")
	}
	t := table{"b against a", [][]string{{"benchmark", "a", "b", "b is", "significance", "a, of its limit", "b, of its limit", "b/a", "significance"}}}
	diagonal := series{name: "equal", dashed: true, points: plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}}}
	var dots []series
	for _, p := range pairs {
		speed := differ(p.a.Speeds, p.b.Speeds, len(pairs))
		times := p.b.Speed / p.a.Speed
		if p.a.Unit == perElem || p.a.Unit == perCall { // less is more
			times = 1 / times
		}
		share := differ(p.a.Parts, p.b.Parts, len(pairs))
		t.rows = append(t.rows, []string{
			strings.ReplaceAll(p.a.name(), "/", " "), fmt.Sprintf("%.4g %s", p.a.Speed, p.a.Unit), fmt.Sprintf("%.4g", p.b.Speed),
			fmt.Sprintf("%.3fx as fast", times), verdict(speed), fmt.Sprintf("%.3f", p.a.fraction()),
			fmt.Sprintf("%.3f", p.b.fraction()), fmt.Sprintf("%.3f", p.b.fraction()/p.a.fraction()), verdict(share),
		})
		if len(dots) == 0 || dots[len(dots)-1].name != p.a.Kernel {
			dots = append(dots, series{name: p.a.Kernel})
		}
		s := &dots[len(dots)-1]
		s.points = append(s.points, plotter.XY{X: p.a.fraction(), Y: p.b.fraction()})
	}

	var charts []chart
	svg, err := drawn(axes{x: "a", y: "b", noLines: true, top: 1.05}, append(merged(dots), diagonal))
	if err != nil {
		return table{}, nil, err
	}
	charts = append(charts, chart{"Fractions of the limit", "Above the line b is closer to the limits of its machine.", svg})
	for _, c := range []struct {
		title, y string
		value    func(r result) float64
	}{
		{"Attention over the length, of the FMA peak", "of the FMA peak", result.fraction},
		{"Attention over the length, absolute", "GFLOP/s", func(r result) float64 { return r.Speed }},
	} {
		var lines []series
		for _, rep := range []struct {
			name string
			report
		}{{"a", a}, {"b", b}} {
			s := rep.seriesBy(func(r result) bool {
				return rep.ours(r) && r.Kernel == "Attention" && r.number("workers") == 1 && r.key("heads") == "1" && r.number("d") == 64
			}, func(r result) string { return rep.name + map[string]string{"true": ", causal"}[r.key("causal")] },
				func(r result) float64 { return r.number("n") }, c.value)
			lines = append(lines, s...)
		}
		svg, err := drawn(axes{x: "queries and keys", y: c.y, logX: true}, lines)
		if err != nil {
			return table{}, nil, err
		}
		if svg != "" {
			charts = append(charts, chart{c.title, "One head, d = 64, one worker.", svg})
		}
	}
	return t, charts, nil
}

// merged joins series of the same name.
func merged(all []series) (m []series) {
	at := map[string]int{}
	for _, s := range all {
		i, ok := at[s.name]
		if !ok {
			i, m = len(m), append(m, series{name: s.name})
			at[s.name] = i
		}
		m[i].points = append(m[i].points, s.points...)
	}
	return m
}

// differ compares two samples, one of several comparisons.
func differ(a, b []float64, comparisons int) benchmath.Comparison {
	level := benchmath.Thresholds{CompareAlpha: 0.05 / float64(comparisons)}
	sample := func(x []float64) *benchmath.Sample {
		return benchmath.NewSample(append([]float64(nil), x...), &level)
	}
	return benchmath.AssumeNothing.Compare(sample(a), sample(b))
}

func verdict(c benchmath.Comparison) string {
	if c.P > c.Alpha {
		return fmt.Sprintf("~ (p=%.2g)", c.P)
	}
	return fmt.Sprintf("p=%.1g", c.P)
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/selfattn/attn/bench/internal/quiet"
)

// A report is what a run found.
type report struct {
	Machine  machine   `json:"machine"`
	Versions []version `json:"versions,omitempty"` // of other libraries
	Missing  []missing `json:"missing,omitempty"`  // libraries that were not measured
	Results  []result  `json:"results"`

	// Incomplete says how much was done when the report was written, or is empty.
	Incomplete string `json:"incomplete,omitempty"`
}

type version struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

type missing struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// A result is what came out of a benchmark on one implementation. Speed is the median of the quiet
// samples, or of all if none is quiet; Quiet and All are fractions of the limit.
type result struct {
	Kernel  string         `json:"kernel"`
	Shape   string         `json:"shape"`
	Impl    string         `json:"impl"`
	Speed   float64        `json:"speed"`
	Unit    unit           `json:"unit"`
	Gflops  float64        `json:"gflops"`              // the same speed in GFLOP/s
	Traffic float64        `json:"traffic"`             // flops for each byte that is read or written once
	Quiet   quiet.Summary  `json:"quiet"`               // of the FMA peak, or of plain reading
	All     quiet.Summary  `json:"all"`                 // as well
	SpeedUp *quiet.Summary `json:"speedUp,omitempty"`   // over one worker
	Lead    *quiet.Summary `json:"lead,omitempty"`      // of the selected backend over this implementation
	Error   float64        `json:"error,omitempty"`     // largest error seen, as a fraction of the bound
	Target  target         `json:"target,omitzero"`     //
	Verdict string         `json:"verdict,omitempty"`   // "ok", "short", or "noisy": short, but never quiet
	Speeds  []float64      `json:"speeds,omitempty"`    // medians of parts of the samples, one after the other
	Parts   []float64      `json:"fractions,omitempty"` // the same of Fraction
}

// parts are so many that a rank test can tell, and so few that neighbours are independent.
const parts = 12

// conclude judges the samples of m.
func (m measurement) conclude(meter *quiet.Meter) (results []result) {
	for i, impl := range m.impls {
		best := calm(meter, m.samples[i])
		values := func(s []quiet.Sample, value func(quiet.Sample) float64) (x []float64) {
			for _, s := range s {
				x = append(x, value(s))
			}
			return x
		}
		fraction := func(s quiet.Sample) float64 { return s.Fraction }
		speed := func(s quiet.Sample) float64 { return m.speed(s.Rate) }
		rate := quiet.Summarize(values(best, func(s quiet.Sample) float64 { return s.Rate })).Median
		r := result{
			Kernel: m.kernel, Shape: m.shape, Impl: impl.name, Unit: m.unit, Error: m.errors[i],
			Speed:   quiet.Summarize(values(best, speed)).Median,
			Gflops:  rate * m.flops / m.work() / 1e9,
			Traffic: m.flops / m.traffic,
			All:     quiet.Summarize(values(m.samples[i], fraction)),
			Speeds:  medians(values(best, speed)),
			Parts:   medians(values(best, fraction)),
		}
		if meter.IsQuiet(best[0]) {
			r.Quiet = quiet.Summarize(values(best, fraction))
		}
		if i > 0 {
			r.Lead = ratio(meter, m.samples[0], m.samples[i])
		} else {
			if m.base != nil {
				r.SpeedUp = ratio(meter, m.samples[0], m.base)
			}
			r.judge(m.target)
		}
		results = append(results, r)
	}
	return results
}

// calm returns the quiet samples, or all if there are none.
func calm(meter *quiet.Meter, all []quiet.Sample) []quiet.Sample {
	var q []quiet.Sample
	for _, s := range all {
		if meter.IsQuiet(s) {
			q = append(q, s)
		}
	}
	if q == nil {
		return all
	}
	return q
}

// ratio is the middle of ratios.
func ratio(meter *quiet.Meter, a, b []quiet.Sample) *quiet.Summary {
	s := quiet.Summarize(ratios(meter, a, b))
	return &s
}

// ratios divides the rates of a by those of b, round by round, in rounds that were quiet for both if there are
// any.
func ratios(meter *quiet.Meter, a, b []quiet.Sample) []float64 {
	var q, all []float64
	for i := range min(len(a), len(b)) {
		x := a[i].Rate / b[i].Rate
		all = append(all, x)
		if meter.IsQuiet(a[i]) && meter.IsQuiet(b[i]) {
			q = append(q, x)
		}
	}
	if q == nil {
		return all
	}
	return q
}

// medians cuts x into parts and returns the median of each.
func medians(x []float64) (m []float64) {
	n := min(parts, len(x))
	for i := range n {
		s := quiet.Summarize(x[i*len(x)/n : (i+1)*len(x)/n])
		short, _ := strconv.ParseFloat(strconv.FormatFloat(s.Median, 'g', 5, 64), 64)
		m = append(m, short)
	}
	return m
}

// fraction of the limit, of the quiet samples if there are any.
func (r result) fraction() float64 {
	if r.Quiet.N > 0 {
		return r.Quiet.Median
	}
	return r.All.Median
}

func (r *result) judge(t target) {
	r.Target = t
	var ok bool
	switch t.Of {
	case "":
		return
	case fraction:
		ok = r.fraction() >= t.Value
	case speedUp:
		ok = r.SpeedUp.Median >= t.Value
	case nanosecs:
		ok = r.Speed <= t.Value
	}
	switch {
	case ok:
		r.Verdict = "ok"
	case r.Quiet.N == 0:
		r.Verdict = "noisy"
	default:
		r.Verdict = "short"
	}
}

func (r result) name() string { return r.Kernel + "/" + r.Shape }

// key returns the value of a key of the shape, or "".
func (r result) key(key string) string {
	for part := range strings.SplitSeq(r.Shape, "/") {
		if k, v, _ := strings.Cut(part, "="); k == key {
			return v
		}
	}
	return ""
}

// number is a key that is a number, or 0.
func (r result) number(key string) float64 {
	x, _ := strconv.ParseFloat(r.key(key), 64)
	return x
}

func (rep report) ours(r result) bool { return r.Impl == rep.Machine.Backend }

// write writes the report in all its forms.
func (rep report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	j, err := json.MarshalIndent(rep, "", "\t")
	if err != nil {
		return err
	}
	var md, page strings.Builder
	rep.markdown(&md)
	if err := rep.html(&page); err != nil {
		return err
	}
	for ext, text := range map[string]string{"json": string(j) + "\n", "md": md.String(), "html": page.String()} {
		// In one step: a program that is killed leaves this report or the one before.
		path := filepath.Join(dir, "report."+ext)
		if err := os.WriteFile(path+".new", []byte(text), 0o666); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

func (rep report) title() string {
	title := "Speed of attn"
	if rep.Machine.Emulator != "" {
		title += ", emulated by " + rep.Machine.Emulator + ": not that of a CPU"
	}
	if rep.Incomplete != "" {
		title += " (incomplete: " + rep.Incomplete + ")"
	}
	return title
}

// readJSON reads a report of some kind.
func readJSON[T any](path string) (x T, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return x, err
	}
	if err := json.Unmarshal(b, &x); err != nil {
		return x, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}

// A table has a caption, and a header in its first row. A page shows a folded one when asked to.
type table struct {
	caption string
	rows    [][]string
	folded  bool
}

// facts describe the machine; features are a long list.
func (rep report) facts() (facts, features table) {
	m := rep.Machine
	bytes := func(n int) string {
		if n <= 0 {
			return "?"
		}
		return fmt.Sprintf("%d KiB", n>>10)
	}
	var versions, absent []string
	for _, v := range rep.Versions {
		versions = append(versions, strings.TrimSpace(v.Name+" "+v.Version))
	}
	for _, x := range rep.Missing {
		absent = append(absent, fmt.Sprintf("%s (%s)", x.Name, x.Why))
	}
	none := func(x []string) string { return cmp.Or(strings.Join(x, ", "), "-") }
	mhz := "?"
	if m.MHz > 0 {
		mhz = fmt.Sprintf("%.0f MHz", m.MHz)
	}
	features = table{"CPU features", [][]string{{m.name()}, {strings.Join(m.Features, " ")}}, true}
	return table{"Machine", [][]string{
		{"", m.name()},
		{"CPU", fmt.Sprintf("%s, %d logical cores", m.CPU, m.Cores)},
		{"frequency", mhz},
		{"caches", fmt.Sprintf("L1d %s, L2 %s, L3 %s", bytes(m.Caches[0]), bytes(m.Caches[1]), bytes(m.Caches[2]))},
		{"system", fmt.Sprintf("%s/%s, %s, backend %s", m.OS, m.Arch, m.Go, m.Backend)},
		{"date", fmt.Sprintf("%s, load average at the start %s", m.Date.Format(time.DateTime), m.Load)},
		{"FMA peak", fmt.Sprintf("%.1f GFLOP/s on one core, %.1f on %d", m.Peak[0], m.Peak[1], m.Workers)},
		{"reading from memory", fmt.Sprintf("%.1f GB/s on one core, %.1f on %d", m.Read[0], m.Read[1], m.Workers)},
		{"measured beside", none(versions)},
		{"not measured", none(absent)},
	}, false}, features
}

// tables are all results: one of each implementation of ours, and one side by side with other libraries.
func (rep report) tables() (all []table) {
	var mine []string // implementations of ours
	side := map[string]map[string]result{}
	var order, others []string
	for _, r := range rep.Results {
		if r.Impl == plain().name { // a table of its own
			continue
		}
		if rep.ours(r) || r.Impl == "avx2" {
			if !slices.Contains(mine, r.Impl) {
				mine = append(mine, r.Impl)
			}
		} else {
			if !slices.Contains(order, r.name()) {
				order = append(order, r.name())
			}
			if !slices.Contains(others, r.Impl) {
				others = append(others, r.Impl)
			}
		}
		if side[r.name()] == nil {
			side[r.name()] = map[string]result{}
		}
		side[r.name()][r.Impl] = r
	}
	for _, impl := range mine {
		rows := [][]string{{"kernel", "shape", "speed", "quiet (IQR)", "all (IQR)", "quiet of", "speed-up", "target", ""}}
		for _, r := range rep.Results {
			if r.Impl != impl {
				continue
			}
			up := "-"
			if r.SpeedUp != nil {
				up = fmt.Sprintf("%.2fx", r.SpeedUp.Median)
			}
			rows = append(rows, []string{
				r.Kernel, strings.ReplaceAll(r.Shape, "/", " "), fmt.Sprintf("%.4g %s", r.Speed, r.Unit),
				middle(r.Quiet), middle(r.All), fmt.Sprintf("%d/%d", r.Quiet.N, r.All.N), up, r.Target.String(), r.Verdict,
			})
		}
		all = append(all, table{caption: "attn, " + impl + ": fractions of the FMA peak, or of plain reading", rows: rows})
	}
	if t := rep.losses(); len(t.rows) > 1 {
		all = append(all, t)
	}
	if len(others) > 0 {
		rows := [][]string{append([]string{"benchmark", "unit", "attn"}, others...)}
		for _, name := range order {
			ours := side[name][rep.Machine.Backend]
			row := []string{strings.ReplaceAll(name, "/", " "), string(ours.Unit), fmt.Sprintf("%.4g", ours.Speed)}
			for _, impl := range others {
				cell := "-"
				if r, ok := side[name][impl]; ok {
					cell = fmt.Sprintf("%.3g (%.2fx)", r.Speed, r.Lead.Median)
				}
				row = append(row, cell)
			}
			rows = append(rows, row)
		}
		all = append(all, table{caption: "Side by side, in turns: speed, and in brackets how many times as fast attn is", rows: rows})
	}
	return all
}

// markdown writes the report as aligned tables, which can be read on a terminal too.
func (rep report) markdown(w io.Writer) {
	fmt.Fprintf(w, "# %s\n", rep.title())
	facts, features := rep.facts()
	for _, t := range slices.Concat([]table{facts}, rep.tables(), []table{features}) {
		t.markdown(w)
	}
}

func (t table) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n", t.caption)
	writeRows(w, t.rows)
}

func writeRows(w io.Writer, rows [][]string) {
	widths := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			if utf8.RuneCountInString(cell) < 80 { // longer ones only as they come
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(w, "| %s%s ", cell, strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))))
		}
		fmt.Fprintln(w, "|")
	}
	line(rows[0])
	for _, i := range slices.Sorted(maps.Keys(widths)) {
		fmt.Fprintf(w, "|%s", strings.Repeat("-", widths[i]+2))
	}
	fmt.Fprintln(w, "|")
	for _, row := range rows[1:] {
		line(row)
	}
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
	return cmp.Or(string(t.Of), "-")
}

package main

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A chart is a picture with what it shows.
type chart struct {
	Title, Caption string
	SVG            template.HTML
}

// palette holds colours that colour-blind people can tell apart (Okabe and Ito, Color Universal Design, 2008);
// the first one is ours.
var palette = []color.Color{
	color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	color.RGBA{0x80, 0x80, 0x80, 0xff}, color.RGBA{0x00, 0x00, 0x00, 0xff},
}

// colours are the same in all charts of implementations; other series take them in order.
var colours = []string{"attn", "torch", "openvino", "ort-mha", "ort-attention", "ort-gqa", "vek", "gonum", "openblas", "avx2", "gomlx", "spago", "generic", "naive", "ggml"}

// style returns the colour and the shape of series number i.
func style(name string, i int) (color.Color, draw.GlyphDrawer) {
	if known := slices.Index(colours, name); known >= 0 {
		i = known
	}
	if i < len(palette) {
		return palette[i], draw.CircleGlyph{}
	}
	return palette[i%len(palette)], draw.PyramidGlyph{}
}

// A series is a named line of points, in order of x.
type series struct {
	name   string
	points plotter.XYs
	dashed bool
}

// seriesBy makes a series of each implementation from the results that keep accepts.
func (rep report) seriesBy(keep func(r result) bool, name func(r result) string, x, y func(r result) float64) (all []series) {
	for _, r := range rep.Results {
		if !keep(r) {
			continue
		}
		n := name(r)
		i := slices.IndexFunc(all, func(s series) bool { return s.name == n })
		if i < 0 {
			i, all = len(all), append(all, series{name: n})
		}
		all[i].points = append(all[i].points, plotter.XY{X: x(r), Y: y(r)})
	}
	for _, s := range all {
		slices.SortFunc(s.points, func(a, b plotter.XY) int { return int(math.Copysign(1, a.X-b.X)) })
	}
	return all
}

// axes says how a chart is drawn.
type axes struct {
	x, y       string
	logX, logY bool
	top, right float64 // of y and x, or 0; points beyond are drawn at the edge, as are those below 1 of a logarithmic y
	noLines    bool
}

// drawn returns the chart as SVG, or an empty one if there is nothing to show.
func drawn(a axes, all []series) (template.HTML, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = a.x, a.y
	p.X.Tick.Marker, p.Y.Tick.Marker = plainTicks{}, plainTicks{}
	if a.top == 1 {
		p.Y.Tick.Marker = tenths
	}
	p.Y.Min = 0
	if a.logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	}
	if !a.noLines {
		p.X.Tick.Marker = atPoints(all)
	}
	if a.logY {
		p.Y.Scale, p.Y.Tick.Marker, p.Y.Min = plot.LogScale{}, decades{}, 1
	}
	if !a.noLines && !a.logY && single(all) {
		return bars(a, all)
	}
	p.Legend.Top, p.Legend.Left, p.Legend.YOffs = true, true, vg.Points(2)
	p.Legend.Padding = vg.Points(4)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe4}, color.Gray{0xe4}
	p.Add(grid)
	empty := true
	var beyond plotter.XYs
	for i, s := range all {
		s.points = slices.Clone(s.points)
		for j, at := range s.points {
			if a.right > 0 {
				at.X = min(at.X, a.right)
			}
			if a.top > 0 {
				at.Y = min(at.Y, a.top)
			}
			if a.logY {
				at.Y = max(at.Y, 1)
			}
			if at != s.points[j] && !s.dashed {
				beyond = append(beyond, at)
			}
			s.points[j] = at
		}
		line, points, err := plotter.NewLinePoints(s.points)
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.name, err)
		}
		points.Color, points.Shape = style(s.name, i)
		points.Radius = vg.Points(2.2)
		line.Color, line.Width = points.Color, vg.Points(1.6)
		if points.Shape != (draw.CircleGlyph{}) { // a colour that is used twice
			line.Dashes = []vg.Length{vg.Points(1.5), vg.Points(1.5)}
		}
		switch {
		case s.dashed:
			line.Color, line.Dashes = color.Gray{0x60}, []vg.Length{vg.Points(4), vg.Points(3)}
			p.Add(line)
			p.Legend.Add(s.name, line)
		case a.noLines:
			p.Add(points)
			p.Legend.Add(s.name, points)
			empty = false
		default:
			p.Add(line, points)
			p.Legend.Add(s.name, line, points)
			empty = false
		}
	}
	if empty {
		return "", nil
	}
	if len(beyond) > 0 {
		marks, err := plotter.NewScatter(beyond)
		if err != nil {
			return "", err
		}
		marks.Shape, marks.Radius, marks.Color = draw.RingGlyph{}, vg.Points(4.5), color.Black
		p.Add(marks)
		p.Legend.Add(outside, marks)
		all = append(all, series{name: outside})
	}
	if a.logX && p.X.Min == p.X.Max { // gonum would widen it by 1, to 0
		p.X.Min, p.X.Max = p.X.Min/2, p.X.Max*2
	}
	if a.top > 0 {
		p.Y.Max = a.top
	} else if !a.logY {
		p.Y.Max *= 1.1
	}
	return rendered(p, all)
}

// outside is the legend of marks around points that are drawn at the edge of a chart.
const outside = "beyond the edge, drawn there"

// single says whether no series has more than one point, so that a line would show nothing.
func single(all []series) bool {
	most := 0
	for _, s := range all {
		if !s.dashed {
			most = max(most, len(s.points))
		}
	}
	return most == 1
}

// bars draws series of one point each; what is dashed is left out.
func bars(a axes, all []series) (template.HTML, error) {
	p := plot.New()
	p.Y.Label.Text, p.Y.Tick.Marker = a.y, plainTicks{}
	var names []string
	for i, s := range all {
		if s.dashed || len(s.points) == 0 {
			continue
		}
		bar, err := plotter.NewBarChart(plotter.Values{s.points[0].Y}, vg.Points(26))
		if err != nil {
			return "", err
		}
		bar.XMin, bar.LineStyle.Width = float64(len(names)), 0
		bar.Color, _ = style(s.name, i)
		p.Add(bar)
		names = append(names, s.name)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4, 0, max(a.top, p.Y.Max*1.1)
	p.X.Tick.Label.Rotation, p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = 0.5, draw.XRight, draw.YCenter
	return rendered(p, nil)
}

// rendered returns a plot as SVG, with the legend of the series to the right of the data.
func rendered(p *plot.Plot, all []series) (template.HTML, error) {
	for _, t := range []*font.Font{&p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font,
		&p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		t.Variant, t.Size = "Sans", vg.Points(9)
	}
	room := vg.Points(8)
	for _, s := range all { // fonts of browsers may be wider
		room = max(room, 1.2*p.Legend.TextStyle.Width(s.name)+vg.Points(40))
	}
	canvas := vgsvg.New(max(vg.Points(480), vg.Points(310)+room), vg.Points(300))
	whole := draw.New(canvas)
	legend := p.Legend
	p.Legend = plot.NewLegend()
	p.Draw(draw.Crop(whole, vg.Points(4), -room, vg.Points(4), -vg.Points(8)))
	legend.Draw(draw.Crop(whole, whole.Max.X-room+vg.Points(6), 0, 0, -vg.Points(8)))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	_, svg, _ := strings.Cut(b.String(), "<svg")
	return template.HTML("<svg" + svg), nil
}

// tenths are the ticks of fractions.
var tenths = func() (t plot.ConstantTicks) {
	for i := range 11 {
		label := ""
		if i%2 == 0 {
			label = fmt.Sprintf("%.1f", float64(i)/10)
		}
		t = append(t, plot.Tick{Value: float64(i) / 10, Label: label})
	}
	return t
}()

// plainTicks are gonum's, without exponents.
type plainTicks struct{}

func (plainTicks) Ticks(lo, hi float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(lo, hi)
	for i, t := range ticks {
		if t.Label != "" {
			ticks[i].Label = strconv.FormatFloat(t.Value, 'g', 4, 64)
		}
	}
	return ticks
}

// decades are the powers of ten on a logarithmic axis, with 2 and 5 where there is room.
type decades struct{}

func (decades) Ticks(lo, hi float64) (ticks []plot.Tick) {
	steps := []float64{1, 2, 5}
	if hi/lo > 1000 {
		steps = steps[:1]
	}
	for d := math.Pow(10, math.Floor(math.Log10(lo))); d <= hi; d *= 10 {
		for _, f := range steps {
			if v := d * f; v >= lo && v <= hi {
				ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 4, 64)})
			}
		}
	}
	return ticks
}

// atPoints are ticks where the points are.
func atPoints(all []series) plot.Ticker {
	var ticks plot.ConstantTicks
	for _, s := range all {
		for _, p := range s.points {
			if slices.ContainsFunc(ticks, func(t plot.Tick) bool { return t.Value == p.X }) {
				continue
			}
			label := strconv.FormatFloat(p.X, 'f', -1, 64)
			if p.X >= 1<<14 {
				label = strconv.FormatFloat(p.X/1024, 'f', -1, 64) + "k"
			}
			ticks = append(ticks, plot.Tick{Value: p.X, Label: label})
		}
	}
	return ticks
}

// charts draws the report.
func (rep report) charts() (all []chart, err error) {
	add := func(title, caption string, a axes, s []series) {
		svg, failed := drawn(a, s)
		if failed != nil {
			err = fmt.Errorf("%s: %w", title, failed)
		} else if svg != "" {
			all = append(all, chart{title, caption, svg})
		}
	}
	impl := func(r result) string {
		if rep.ours(r) {
			return "attn"
		}
		return r.Impl
	}
	m := rep.Machine
	one := func(r result) bool { return slices.Contains([]string{"", "1"}, r.key("workers")) }

	// The roof of a core.
	points := rep.seriesBy(func(r result) bool { return rep.ours(r) && one(r) },
		func(r result) string { return r.Kernel },
		func(r result) float64 { return r.Traffic }, func(r result) float64 { return r.Gflops })
	roof := series{name: "limit", dashed: true}
	low, high := 0.1, 1.0
	for _, s := range points {
		for _, p := range s.points {
			low, high = min(low, p.X), max(high, p.X)
		}
	}
	ridge := m.Peak[0] / m.Read[0]
	for _, x := range []float64{low, ridge, high * 1.2} {
		roof.points = append(roof.points, plotter.XY{X: x, Y: min(m.Peak[0], x*m.Read[0])})
	}
	add("Roofline of one core", fmt.Sprintf("The slope is reading from memory, %.1f GB/s; the roof is the FMA peak, "+
		"%.1f GFLOP/s. Points above the slope work on data that is in a cache.", m.Read[0], m.Peak[0]),
		axes{x: "flops for each byte of the operands", y: "GFLOP/s", logX: true, logY: true, noLines: true},
		append(points, roof))

	for _, workers := range slices.Compact([]int{1, m.Workers}) {
		for _, causal := range []bool{false, true} {
			for _, d := range []float64{64, 128} {
				prefill := func(r result) bool {
					heads := "8"
					if r.number("n") == 8192 {
						heads = "2"
					}
					return r.Kernel == "Attention" && r.number("workers") == float64(workers) && r.number("d") == d &&
						r.key("causal") == strconv.FormatBool(causal) && r.key("heads") == heads && r.key("queries") == ""
				}
				s := rep.seriesBy(prefill, impl, func(r result) float64 { return r.number("n") }, result.fraction)
				kind := "Attention"
				if causal {
					kind = "Causal attention"
				}
				add(fmt.Sprintf("%s over the length, d = %g, %s", kind, d, plural(workers, "thread")),
					"8 heads, 2 at 8192. Fractions of the FMA peak of as many cores at the same moment.",
					axes{x: "queries and keys", y: "of the FMA peak", logX: true, top: 1}, s)
			}
		}
	}

	overD := func(r result) bool {
		return r.Kernel == "Attention" && r.number("workers") == 1 && r.number("n") == 512 && r.key("heads") == "8" &&
			r.key("causal") == "false"
	}
	add("Attention over the dimension of a head", "512 queries and keys, 8 heads, one thread.",
		axes{x: "d", y: "of the FMA peak", logX: true, top: 1},
		rep.seriesBy(overD, impl, func(r result) float64 { return r.number("d") }, result.fraction))

	decode := func(r result) bool {
		return r.Kernel == "Decode" && rep.ours(r) && r.number("d") == 128 && r.key("queries") == "" && r.key("cache") == "" && one(r)
	}
	reading := series{name: "plain reading", dashed: true}
	for _, keys := range []float64{1024, 1 << 17} {
		reading.points = append(reading.points, plotter.XY{X: keys, Y: m.Read[0]})
	}
	decoding := rep.seriesBy(decode, func(r result) string { return r.key("group") + " queries a KV head" },
		func(r result) float64 { return r.number("kv") }, func(r result) float64 { return r.Speed })
	if len(decoding) > 0 {
		decoding = append(decoding, reading)
	}
	add("Decoding", "One query against a cache of 8 KV heads, d = 128, one thread. 1024 keys are 8 MiB and may be in a "+
		"cache of the CPU; the dashed line is plain reading from memory.",
		axes{x: "keys", y: "GB/s of keys and values", logX: true}, decoding)

	for _, workers := range slices.Compact([]int{1, m.Workers}) {
		side := func(r result) bool {
			return r.Kernel == "Decode" && r.number("kv") == 16384 && r.number("d") == 128 && r.key("cache") == "" && max(1, r.number("workers")) == float64(workers)
		}
		add(fmt.Sprintf("Decoding beside others, %s", plural(workers, "thread")), "16384 keys, 8 KV heads, d = 128.",
			axes{x: "query heads for each KV head", y: "GB/s of keys and values", logX: true},
			rep.seriesBy(side, impl, func(r result) float64 { return r.number("group") }, func(r result) float64 { return r.Speed }))
	}

	types := rep.seriesBy(func(r result) bool {
		return r.Kernel == "Cache" && rep.ours(r) && r.key("group") == "1" && r.key("page") == "128" && one(r)
	}, func(r result) string { return r.key("type") }, func(r result) float64 { return r.number("kv") }, func(r result) float64 { return r.Speed })
	if len(types) > 0 {
		types = append(types, reading)
	}
	add("Decoding from a cache", "One query a KV head, pages of 128 tokens in any order, 8 KV heads, d = 128, one thread: bytes as they are stored. The dashed line is plain reading from memory.",
		axes{x: "keys", y: "GB/s of what is stored", logX: true}, types)

	for _, causal := range []bool{false, true} {
		title := "Gradient of attention"
		if causal {
			title = "Gradient of causal attention"
		}
		add(title, "8 heads of 128, 2 of 512, one of 2048, d = 64, one thread. Fractions of the FMA peak, of five products.",
			axes{x: "queries and keys", y: "of the FMA peak", logX: true, top: 1},
			rep.seriesBy(func(r result) bool {
				return r.Kernel == "Gradient" && r.number("workers") == 1 && r.number("d") == 64 && r.key("causal") == strconv.FormatBool(causal)
			}, impl, func(r result) float64 { return r.number("n") }, result.fraction))
	}

	scaling := rep.seriesBy(func(r result) bool {
		return rep.ours(r) && r.Kernel == "Attention" && r.number("n") == 2048 && r.number("d") == 64 &&
			r.key("heads") == "8" && r.key("causal") == "false"
	}, func(r result) string { return "attention" }, func(r result) float64 { return r.number("workers") },
		func(r result) float64 {
			if r.SpeedUp == nil {
				return 1
			}
			return r.SpeedUp.Median
		})
	if len(scaling) > 0 {
		n := float64(m.Workers)
		scaling = append(scaling, series{"ideal", plotter.XYs{{X: 1, Y: 1}, {X: n, Y: n}}, true})
	}
	add("Scaling", "2048 queries and keys, 8 heads, d = 64: times as fast as one worker.",
		axes{x: "workers", y: "speed-up", logX: true}, scaling)
	return all, err
}

func plural(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// page is a whole HTML page: it works offline.
var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{.Title}}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1240px; margin: 2em auto; padding: 0 1em; color: #222 }
svg text { font-family: system-ui, sans-serif !important }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr)); gap: 1.5em }
figure { margin: 0 } figure svg { width: 100%; height: auto } figcaption { color: #555; font-size: 13px }
h3 { margin: 0 0 .2em; font-size: 16px }
div.table { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
td:first-child { white-space: nowrap }
tr:first-child td { font-weight: 600 }
td { border-bottom: 1px solid #ddd; padding: .2em .7em .2em 0; text-align: left; vertical-align: top }
</style>
<h1>{{.Title}}</h1>
{{range .Facts}}{{if .Folded}}<details><summary>{{.Caption}}</summary>{{template "table" .}}</details>{{else}}{{template "table" .}}{{end}}{{end}}
{{range .Notes}}<p>{{.}}</p>
{{end}}
<div class="charts">
{{range .Charts}}<figure><h3>{{.Title}}</h3>{{.SVG}}<figcaption>{{.Caption}}</figcaption></figure>
{{end}}</div>
{{range .Tables}}<h2>{{.Caption}}</h2>{{template "table" .}}{{end}}
{{define "table"}}<div class="table"><table>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table></div>{{end}}
`))

type pageTable struct {
	Caption string
	Rows    [][]string
	Folded  bool
}

// writePage writes tables of facts, notes, charts, and tables.
func writePage(w io.Writer, title string, facts []table, notes []string, charts []chart, tables []table) error {
	convert := func(tables []table) (p []pageTable) {
		for _, t := range tables {
			p = append(p, pageTable{t.caption, t.rows, t.folded})
		}
		return p
	}
	return page.Execute(w, map[string]any{
		"Title": title, "Facts": convert(facts), "Notes": notes, "Charts": charts, "Tables": convert(tables),
	})
}

// html writes the report as one page.
func (rep report) html(w io.Writer) error {
	charts, err := rep.charts()
	if err != nil {
		return err
	}
	facts, features := rep.facts()
	return writePage(w, rep.title(), []table{facts, features}, nil, charts, rep.tables())
}

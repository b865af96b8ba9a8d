package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours that remain distinct to the colour-blind (Okabe and Ito).
var (
	blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	orange = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	green  = color.RGBA{0x00, 0x9e, 0x73, 0xff}
	pink   = color.RGBA{0xcc, 0x79, 0xa7, 0xff}
	grey   = color.RGBA{0x66, 0x66, 0x66, 0xff}
)

// A series is a line of a panel, of errors relative to the largest value.
type series struct {
	name   string
	at     plotter.XYs
	colour color.Color
	dashed bool // what is proved, and not measured
}

// drawChart writes four charts: errors over the number of keys and over the size of the scores, by what is stored,
// and of gradients.
func drawChart(file string, points []point, types, gradients []curve) error {
	over := func(x func(point) (float64, bool)) (all []series) {
		all = []series{{name: "plain float32, measured", colour: orange}, {name: "attn, measured", colour: blue}, {name: "attn, at most (proved)", colour: grey, dashed: true}}
		for _, p := range points {
			if v, ok := x(p); ok {
				for i, y := range []float64{p.plain, p.attn, p.bound} {
					all[i].at = append(all[i].at, plotter.XY{X: v, Y: y * 0x1p-24})
				}
			}
		}
		return all
	}
	colours := []color.Color{blue, green, pink, orange}
	lines := func(curves []curve, name string) (all []series) {
		for i, c := range curves {
			s := series{name: c.name + ", " + name, colour: colours[i]}
			limit := series{colour: colours[i], dashed: true}
			if i == len(curves)-1 {
				limit.name = "dashed: at most (proved)"
			}
			for j, n := range c.keys {
				s.at = append(s.at, plotter.XY{X: float64(n), Y: c.errors[j]})
				if c.bound != nil {
					limit.at = append(limit.at, plotter.XY{X: float64(n), Y: c.bound[j]})
				}
			}
			if all = append(all, s); limit.at != nil {
				all = append(all, limit)
			}
		}
		return all
	}
	panels := []struct {
		title, x string
		lines    []series
		right    bool // the legend
	}{
		{fmt.Sprintf("Largest error / largest value: scores of about %d", chartSize), "keys that a query sees",
			over(func(p point) (float64, bool) { return float64(p.keys), p.size == chartSize }), false},
		{fmt.Sprintf("Largest error / largest value: %d keys", chartKeys), "size of the scores",
			over(func(p point) (float64, bool) { return p.size, p.keys == chartKeys && p.size >= 0.1 && p.size <= 1e3 }), false},
		{"Keys and values in fewer bits: error / largest value", "keys that a query sees", lines(types, "measured"), true},
		{"Gradients of 16 queries: error / largest element", "keys that a query sees", lines(gradients, "measured"), false},
	}
	var plots [2][2]*plot.Plot
	for i, p := range panels {
		var err error
		if plots[i/2][i%2], err = panel(p.title, p.x, p.lines, i == 0); err != nil {
			return err
		}
		if p.right {
			plots[i/2][i%2].Legend.Left, plots[i/2][i%2].Legend.XOffs = false, -vg.Points(8)
		}
	}

	const width, height = 10 * vg.Inch, 8 * vg.Inch
	var canvas vg.CanvasWriterTo
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(120))}
	case ".svg":
		canvas = vgsvg.New(width, height)
	default:
		return fmt.Errorf("cannot draw a %q: want .png or .svg", ext)
	}
	tiles := draw.Tiles{Rows: 2, Cols: 2, PadX: vg.Points(24), PadY: vg.Points(20), PadTop: vg.Points(8), PadBottom: vg.Points(8), PadLeft: vg.Points(8), PadRight: vg.Points(16)}
	for i, row := range plots {
		for j, p := range row {
			// The legend is drawn over the data: a plot makes room for its own.
			legend := p.Legend
			p.Legend = plot.NewLegend()
			tile := tiles.At(draw.New(canvas), j, i)
			p.Draw(tile)
			legend.Draw(p.DataCanvas(tile))
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err = canvas.WriteTo(out); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// panel draws lines, and that of one rounding, with logarithmic axes, errors the same in all panels. Its legend may say what the latter is.
func panel(title, label string, lines []series, labelled bool) (*plot.Plot, error) {
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.Title.Padding = vg.Points(6)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.YOffs, p.Legend.Padding = vg.Points(8), -vg.Points(4), vg.Points(3)
	p.Title.Text, p.X.Label.Text = title, label
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(powers), plot.TickerFunc(powers)
	p.Add(plotter.NewGrid())
	for _, s := range lines {
		at := slices.DeleteFunc(s.at, func(p plotter.XY) bool { return !(p.Y > 0 && !math.IsInf(p.Y, 1)) })
		line, marks, err := plotter.NewLinePoints(at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		line.Color, line.Width = s.colour, vg.Points(1.6)
		marks.Color, marks.Shape, marks.Radius = s.colour, draw.CircleGlyph{}, vg.Points(2.4)
		if s.dashed {
			line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		p.Add(line, marks)
		if s.name != "" {
			p.Legend.Add(s.name, line, marks)
		}
	}
	rounding, err := plotter.NewLine(plotter.XYs{{X: p.X.Min, Y: 0x1p-24}, {X: p.X.Max, Y: 0x1p-24}})
	if err != nil {
		return nil, err
	}
	rounding.Color, rounding.Width, rounding.Dashes = color.Black, vg.Points(0.8), []vg.Length{vg.Points(1.5), vg.Points(2)}
	p.Add(rounding)
	if labelled {
		p.Legend.Add("one rounding of float32", rounding)
	}
	p.Y.Min, p.Y.Max = 1e-8, 1 // with room for the legend
	return p, nil
}

// powers labels each power of ten.
func powers(min, max float64) (ticks []plot.Tick) {
	for e := int(math.Floor(math.Log10(min))); math.Pow10(e) <= max; e++ {
		label := fmt.Sprint(math.Pow10(e))
		if digits := []rune("⁰¹²³⁴⁵⁶⁷⁸⁹"); e >= 4 {
			label = "10" + string(digits[e])
		} else if e <= -2 {
			label = fmt.Sprintf("1e%d", e) // the font has no superscript minus
		}
		ticks = append(ticks, plot.Tick{Value: math.Pow10(e), Label: label})
		for i := 2; i < 10 && float64(i)*math.Pow10(e) <= max; i++ {
			ticks = append(ticks, plot.Tick{Value: float64(i) * math.Pow10(e)})
		}
	}
	return ticks
}

package main

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
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
	grey   = color.RGBA{0x66, 0x66, 0x66, 0xff}
)

var series = []struct {
	name   string
	of     func(p point) float64
	colour color.Color
	dashes []vg.Length
}{
	{"rigorous bound of attn", func(p point) float64 { return p.bound }, grey, []vg.Length{vg.Points(5), vg.Points(3)}},
	{"plain float32, observed", func(p point) float64 { return p.plain }, orange, nil},
	{"attn, observed", func(p point) float64 { return p.attn }, blue, nil},
}

// drawChart writes two charts side by side: errors over the number of keys, and over the size of
// the scores.
func drawChart(file string, points []point) error {
	left, err := panel(fmt.Sprintf("Largest error, in 2^-24: scores of about %d", chartSize), "keys", points,
		func(p point) (float64, bool) { return float64(p.keys), p.size == chartSize })
	if err != nil {
		return err
	}
	right, err := panel(fmt.Sprintf("Largest error, in 2^-24: %d keys", chartKeys), "size of the scores", points,
		func(p point) (float64, bool) { return p.size, p.keys == chartKeys && p.size >= 0.1 && p.size <= 1e3 })
	if err != nil {
		return err
	}
	// One legend, which is drawn over the data: a plot makes room for its own.
	legend := left.Legend
	left.Legend, right.Legend = plot.NewLegend(), plot.NewLegend()

	const width, height = 10 * vg.Inch, 4 * vg.Inch
	var canvas vg.CanvasWriterTo
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(120))}
	case ".svg":
		canvas = vgsvg.New(width, height)
	default:
		return fmt.Errorf("cannot draw a %q: want .png or .svg", ext)
	}
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Points(24), PadTop: vg.Points(8), PadBottom: vg.Points(8), PadLeft: vg.Points(8), PadRight: vg.Points(16)}
	left.Draw(tiles.At(draw.New(canvas), 0, 0))
	legend.Draw(left.DataCanvas(tiles.At(draw.New(canvas), 0, 0)))
	right.Draw(tiles.At(draw.New(canvas), 1, 0))
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

// panel draws the points that x takes, with logarithmic axes.
func panel(title, label string, points []point, x func(point) (float64, bool)) (*plot.Plot, error) {
	plot.DefaultFont.Variant = "Sans"
	p := plot.New()
	p.Title.Padding = vg.Points(6)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.YOffs, p.Legend.Padding = vg.Points(8), -vg.Points(4), vg.Points(3)
	p.Title.Text, p.X.Label.Text = title, label
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(powers), plot.TickerFunc(powers)
	p.Add(plotter.NewGrid())
	for _, s := range series {
		var at plotter.XYs
		for _, point := range points {
			if v, ok := x(point); ok && s.of(point) > 0 && !math.IsInf(s.of(point), 1) {
				at = append(at, plotter.XY{X: v, Y: s.of(point)})
			}
		}
		line, marks, err := plotter.NewLinePoints(at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		line.Color, line.Width, line.Dashes = s.colour, vg.Points(1.6), s.dashes
		marks.Color, marks.Shape, marks.Radius = s.colour, draw.CircleGlyph{}, vg.Points(2.4)
		p.Add(line, marks)
		p.Legend.Add(s.name, line, marks)
	}
	p.Y.Min, p.Y.Max = 1, 1e5 // the same in both panels, with room for the legend
	return p, nil
}

// powers labels each power of ten.
func powers(min, max float64) (ticks []plot.Tick) {
	for e := int(math.Floor(math.Log10(min))); math.Pow10(e) <= max; e++ {
		label := fmt.Sprint(math.Pow10(e))
		if e >= 4 {
			label = "10" + string([]rune("⁰¹²³⁴⁵⁶⁷⁸⁹")[e])
		}
		ticks = append(ticks, plot.Tick{Value: math.Pow10(e), Label: label})
		for i := 2; i < 10; i++ {
			ticks = append(ticks, plot.Tick{Value: float64(i) * math.Pow10(e)})
		}
	}
	return ticks
}

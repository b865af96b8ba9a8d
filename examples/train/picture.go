package main

import (
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette/moreland"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/selfattn/attn/kernel"
)

// drawLosses draws the losses of each step, their means over the last steps, and where that of copies drops most.
func drawLosses(path string, losses []textLoss, drop int) error {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text = "Predicting the characters of Opticks"
	p.X.Label.Text, p.Y.Label.Text = "step", "loss, nats a character"
	p.Y.Min, p.Y.Max = 0, 5
	p.X.Max = 1.02 * float64(len(losses))
	grey := color.RGBA{0xc8, 0xc8, 0xc8, 0xff}
	for _, of := range []struct {
		name  string
		color color.RGBA
		loss  func(textLoss) float64
	}{
		{"text", color.RGBA{0x00, 0x9e, 0x73, 0xff}, func(l textLoss) float64 { return l.text }},
		{"copies", color.RGBA{0xd5, 0x5e, 0x00, 0xff}, func(l textLoss) float64 { return l.copied }},
	} {
		var each, means plotter.XYs
		var last []float64
		for i, l := range losses {
			y := of.loss(l)
			if !(y <= p.Y.Max) { // nor is NaN
				continue
			}
			last = append(last, y)
			last = last[max(0, len(last)-smooth):]
			each = append(each, plotter.XY{X: float64(i + 1), Y: y})
			means = append(means, plotter.XY{X: float64(i + 1), Y: mean(last)})
		}
		if len(each) == 0 {
			continue
		}
		if _, err := addLine(p, each, grey, .5); err != nil {
			return err
		}
		line, err := addLine(p, means, of.color, 1.5)
		if err != nil {
			return err
		}
		p.Legend.Add(of.name, line)
	}
	p.Legend.Top = true
	if drop > 0 {
		x, blue := float64(drop), color.RGBA{0x00, 0x72, 0xb2, 0xff}
		if _, err := addLine(p, plotter.XYs{{X: x, Y: p.Y.Min}, {X: x, Y: p.Y.Max}}, blue, 1); err != nil {
			return err
		}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: 3}}, Labels: []string{fmt.Sprintf("  drops at step %d", drop)}})
		if err != nil {
			return err
		}
		p.Add(label)
	}
	p.Add(plotter.NewGrid())
	return savePlots(path, 6*vg.Inch, 3.5*vg.Inch, p)
}

func addLine(p *plot.Plot, points plotter.XYs, color color.RGBA, width vg.Length) (*plotter.Line, error) {
	line, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = color, width
	p.Add(line)
	return line, nil
}

// A weightGrid is attention weights as a heat map takes them: the first query on top.
type weightGrid kernel.Matrix

func (g weightGrid) Dims() (cols, rows int) { return g.Cols, g.Rows }
func (g weightGrid) X(c int) float64        { return float64(c) }
func (g weightGrid) Y(r int) float64        { return float64(r) }
func (g weightGrid) Z(c, r int) float64     { return float64(g.Data[(g.Rows-1-r)*g.Stride+c]) }

// drawAttention draws the attention of a head over letters that come again, before training and after.
func drawAttention(path string, t corpus, before, after *textModel, layer, head int) error {
	const once = "kQzWvXjBpYgMwRfTnCsD"
	const letters = once + once
	w := repeat(t.numbers([]byte(once)), len(letters))
	var plots []*plot.Plot
	for _, m := range []struct {
		title string
		model *textModel
	}{{"before training", before}, {"after", after}} {
		weights, err := m.model.weights(w, layer, head)
		if err != nil {
			return err
		}
		h := plotter.NewHeatMap(weightGrid(weights), moreland.ExtendedBlackBody().Palette(64))
		h.Min, h.Max = 0, 1
		p := plot.New()
		p.Title.Text = fmt.Sprintf("head %d of layer %d, %s", head+1, layer+1, m.title)
		p.X.Label.Text, p.Y.Label.Text = "looks at", "character"
		var x, y []plot.Tick
		for i, c := range letters {
			x = append(x, plot.Tick{Value: float64(i), Label: string(c)})
			y = append(y, plot.Tick{Value: float64(len(letters) - 1 - i), Label: string(c)})
		}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(x), plot.ConstantTicks(y)
		p.X.Tick.Label.Font.Size, p.Y.Tick.Label.Font.Size = 6, 6
		p.Add(h)
		plots = append(plots, p)
	}
	return savePlots(path, 10*vg.Inch, 5*vg.Inch, plots...)
}

// savePlots writes plots side by side as SVG.
func savePlots(path string, width, height vg.Length, plots ...*plot.Plot) error {
	c := vgsvg.New(width, height)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: vg.Millimeter * 4}
	for i, on := range plot.Align([][]*plot.Plot{plots}, tiles, draw.New(c))[0] {
		plots[i].Draw(on)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(file)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

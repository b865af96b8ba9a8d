package main

import (
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette/moreland"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/selfattn/attn/kernel"
)

// drawLosses draws the loss of each step, its mean over the last steps, and where that drops below what the character before
// alone can tell.
func drawLosses(path string, losses []float64, bigram float64) error {
	drop := dropStep(losses, bigram)
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text = "Predicting the characters of Opticks"
	p.X.Label.Text, p.Y.Label.Text = "step", "loss, nats a character"
	p.Y.Min, p.Y.Max = 1.4, 3.2
	var each, means plotter.XYs
	for i := range losses {
		for points, y := range map[*plotter.XYs]float64{&each: losses[i], &means: mean(losses[max(0, i+1-smooth) : i+1])} {
			if y <= p.Y.Max {
				*points = append(*points, plotter.XY{X: float64(i + 1), Y: y})
			}
		}
	}
	for _, line := range []struct {
		points plotter.XYs
		color  color.RGBA
		width  vg.Length
	}{
		{each, color.RGBA{0xc0, 0xc0, 0xc0, 0xff}, .5},
		{means, color.RGBA{0xd5, 0x5e, 0x00, 0xff}, 1.5},
		{plotter.XYs{{X: 0, Y: bigram}, {X: float64(len(losses)), Y: bigram}}, color.RGBA{0x80, 0x80, 0x80, 0xff}, 1},
		{plotter.XYs{{X: float64(drop), Y: p.Y.Min}, {X: float64(drop), Y: p.Y.Max}}, color.RGBA{0x00, 0x72, 0xb2, 0xff}, 1},
	} {
		l, err := plotter.NewLine(line.points)
		if err != nil {
			return err
		}
		l.Color, l.Width = line.color, line.width
		p.Add(l)
	}
	label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: float64(drop), Y: p.Y.Max}, {X: float64(len(losses)) / 2, Y: bigram + .12}},
		Labels: []string{fmt.Sprintf("  drops at step %d", drop), "by the character before alone"}})
	if err != nil {
		return err
	}
	label.TextStyle[0].YAlign = text.YTop
	p.Add(label)
	p.X.Max = 1.06 * float64(len(losses)) // room for the label of the last step
	p.Add(plotter.NewGrid())
	return savePlots(path, 6*vg.Inch, 3.5*vg.Inch, p)
}

// A weightGrid is attention weights as a heat map takes them: the first query on top.
type weightGrid kernel.Matrix

func (g weightGrid) Dims() (cols, rows int) { return g.Cols, g.Rows }
func (g weightGrid) X(c int) float64        { return float64(c) }
func (g weightGrid) Y(r int) float64        { return float64(r) }
func (g weightGrid) Z(c, r int) float64     { return float64(g.Data[(g.Rows-1-r)*g.Stride+c]) }

// drawAttention draws the attention of a head over a phrase, before training and after.
func drawAttention(path string, t corpus, before, after *textModel, layer, head int) error {
	const phrase = "the rays of light in the prism"
	sequence := t.numbers([]byte(phrase))
	var plots []*plot.Plot
	for _, m := range []struct {
		title string
		model *textModel
	}{{"before training", before}, {"after", after}} {
		weights, err := m.model.weights(sequence, layer, head)
		if err != nil {
			return err
		}
		h := plotter.NewHeatMap(weightGrid(weights), moreland.ExtendedBlackBody().Palette(64))
		h.Min, h.Max = 0, 1
		p := plot.New()
		p.Title.Text = fmt.Sprintf("head %d of layer %d, %s", head+1, layer+1, m.title)
		p.X.Label.Text, p.Y.Label.Text = "looks at", "character"
		var x, y []plot.Tick
		for i, c := range phrase {
			x = append(x, plot.Tick{Value: float64(i), Label: string(c)})
			y = append(y, plot.Tick{Value: float64(len(sequence) - 1 - i), Label: string(c)})
		}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(x), plot.ConstantTicks(y)
		p.X.Tick.Label.Font.Size, p.Y.Tick.Label.Font.Size = 8, 8
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

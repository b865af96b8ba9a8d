package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
)

// scheme is the colours of a picture, for pages that are light or dark: of words, of other libraries, and of attn.
type scheme struct{ name, words, others, attn string }

var schemes = []scheme{{"light", "#24292f", "#9aa4af", "#d55e00"}, {"dark", "#e6edf3", "#6e7681", "#ff8a3d"}}

// svgHead begins a picture: its width, height, width, and the colour of words.
const svgHead = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" font-family=\"system-ui, sans-serif\" font-size=\"12.5\" fill=\"%s\">\n"

// beside are the libraries that README compares attn with, the fastest of several implementations each.
var beside = []struct {
	name  string
	impls []string
}{
	{"OpenVINO", []string{"openvino"}}, {"ONNX Runtime", []string{"ort-mha", "ort-gqa", "ort-attention"}},
	{"PyTorch", []string{"torch"}}, {"OpenBLAS", []string{"openblas"}},
	{"best of Go", []string{"gonum", "vek", "gomlx", "spago"}}, {"naive Go", []string{"naive"}},
}

// pictured are the benchmarks of the picture, of which a report may lack some.
var pictured = []struct{ label, kernel, shape string }{
	{"attention, 2048 tokens, d = 64, 8 heads", "Attention", "n=2048/d=64/heads=8/causal=false/workers=1"},
	{"causal attention, 2048 tokens", "Attention", "n=2048/d=64/heads=8/causal=true/workers=1"},
	{"decoding, 16384 keys, one query head a KV head", "Decode", "kv=16384/d=128/heads=8/group=1/workers=1"},
	{"decoding, 16384 keys, 4 query heads a KV head", "Decode", "kv=16384/d=128/heads=32/group=4/workers=1"},
	{"17 rows by weights of 384 × 1536", "MatMulPacked", "k=384/n=1536/m=17/workers=1"},
	{"attention with a boolean mask, 512 tokens", "Options", "option=mask/n=512/d=64/queries=512"},
	{"backward of causal attention, 512 tokens", "Gradient", "n=512/d=64/heads=2/causal=true/workers=1"},
}

// find returns the result of an implementation.
func (rep report) find(kernel, shape, impl string) (result, bool) {
	i := slices.IndexFunc(rep.Results, func(r result) bool { return r.Kernel == kernel && r.Shape == shape && r.Impl == impl })
	if i < 0 {
		return result{}, false
	}
	return rep.Results[i], true
}

// best returns the fastest of several implementations.
func (rep report) best(kernel, shape string, impls []string) (b result, ok bool) {
	for _, impl := range impls {
		if r, found := rep.find(kernel, shape, impl); found && (!ok || r.Lead.Median < b.Lead.Median) {
			b, ok = r, true
		}
	}
	return b, ok
}

// picture draws bars of speed on one thread, attn above what ran in turns with it. Of each benchmark the last report
// that has it counts, and the longest bar of a benchmark is as long as that of any other.
func picture(w io.Writer, reports []report, c scheme) {
	const left, full, row, gap, width = 110, 480, 17, 30, 680
	var body string
	y := 0
	text := func(x int, y int, anchor, weight, s string) string {
		return fmt.Sprintf("<text x=\"%d\" y=\"%d\" text-anchor=\"%s\" font-weight=\"%s\">%s</text>\n", x, y, anchor, weight, html.EscapeString(s))
	}
	for _, p := range pictured {
		for i := len(reports) - 1; i >= 0; i-- {
			ours, ok := reports[i].find(p.kernel, p.shape, reports[i].Machine.Backend)
			if !ok {
				continue
			}
			names, speeds := []string{"attn"}, []float64{ours.Speed}
			for _, b := range beside {
				if r, ok := reports[i].best(p.kernel, p.shape, b.impls); ok {
					names, speeds = append(names, b.name), append(speeds, r.Speed)
				}
			}
			body += text(0, y+14, "start", "600", fmt.Sprintf("%s, %s", p.label, ours.Unit))
			y += 22
			for j, name := range names {
				color, weight := c.others, "400"
				if j == 0 {
					color, weight = c.attn, "600"
				}
				long := int(full * speeds[j] / slices.Max(speeds))
				body += text(left-8, y+12, "end", weight, name) +
					fmt.Sprintf("<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"2\" fill=\"%s\"/>\n", left, y, max(1, long), row-4, color) +
					text(left+long+6, y+12, "start", weight, fmt.Sprintf("%.3g", speeds[j]))
				y += row
			}
			y += gap - row
			break
		}
	}
	fmt.Fprintf(w, svgHead+"%s</svg>\n", width, y, width, c.words, body)
}

// errorPicture draws errors over the number of keys, on logarithmic axes: attn, and the best of what each name of beside stands for.
func errorPicture(w io.Writer, a accuracies, c scheme) {
	const left, right, top, width, height = 54, 110, 30, 680, 300
	type line struct {
		name   string
		errors []float64
		color  string
		y      float64 // of its name
	}
	find := func(impls []string) (best []float64) {
		for _, g := range a.Growth {
			if slices.Contains(impls, g.Impl) && (best == nil || len(g.Errors) >= len(best) && slices.Max(g.Errors) < slices.Max(best)) {
				best = g.Errors
			}
		}
		return best
	}
	var lines []*line
	low, high := math.Inf(1), 0.0
	add := func(name, color string, errors []float64) {
		if errors == nil {
			return
		}
		lines = append(lines, &line{name: name, errors: errors, color: color})
		low, high = min(low, slices.Min(errors)), max(high, slices.Max(errors))
	}
	for _, b := range beside {
		add(b.name, c.others, find(b.impls))
	}
	add("attn", c.attn, a.Growth[0].Errors)
	first, last := math.Log(float64(a.Keys[0])), math.Log(float64(a.Keys[len(a.Keys)-1]))
	low, high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	x := func(keys int) float64 { return left + (width-left-right)*(math.Log(float64(keys))-first)/(last-first) }
	y := func(e float64) float64 { return top + (height-top)*(high-math.Log10(e))/(high-low) }
	var body string
	text := func(x, y float64, anchor, weight, s string) {
		body += fmt.Sprintf("<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"%s\" font-weight=\"%s\">%s</text>\n", x, y, anchor, weight, html.EscapeString(s))
	}
	text(0, 14, "start", "600", "largest error, in parts of the largest value, over the number of keys")
	for e := low; e <= high; e++ {
		body += fmt.Sprintf("<path d=\"M%d %.1fH%d\" stroke=\"%s\" stroke-opacity=\"0.4\"/>\n", left, y(math.Pow(10, e)), width-right, c.others)
		text(left-8, y(math.Pow(10, e))+4, "end", "400", fmt.Sprintf("1e%.0f", e))
	}
	for i := 0; i < len(a.Keys); i += 2 {
		label := fmt.Sprint(a.Keys[i])
		if a.Keys[i] >= 1<<12 {
			label = fmt.Sprintf("%dk", a.Keys[i]>>10)
		}
		text(x(a.Keys[i]), height+18, "middle", "400", label)
	}
	for _, l := range lines {
		path := ""
		for i, e := range l.errors {
			path += fmt.Sprintf(" %.1f,%.1f", x(a.Keys[i]), y(e))
		}
		body += fmt.Sprintf("<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"/>\n", path[1:], l.color, map[bool]string{true: "3", false: "1.6"}[l.name == "attn"])
		l.y = y(l.errors[len(l.errors)-1])
	}
	// Names beside the ends of their lines, apart from each other.
	slices.SortStableFunc(lines, func(a, b *line) int { return cmp.Compare(a.y, b.y) })
	for i, l := range lines {
		if i > 0 {
			l.y = max(l.y, lines[i-1].y+15)
		}
		weight := "400"
		if l.name == "attn" {
			weight = "600"
		}
		text(width-right+8, l.y+4, "start", weight, l.name)
	}
	fmt.Fprintf(w, svgHead+"%s</svg>\n", width, height+24, width, c.words, body)
}

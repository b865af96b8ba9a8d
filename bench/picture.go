package main

import (
	"fmt"
	"html"
	"io"
	"slices"
)

// scheme is the colours of a picture, for pages that are light or dark: of words, of other libraries, and of attn.
type scheme struct{ name, words, others, attn string }

var schemes = []scheme{{"light", "#24292f", "#9aa4af", "#d55e00"}, {"dark", "#e6edf3", "#6e7681", "#ff8a3d"}}

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
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" font-family=\"system-ui, sans-serif\" font-size=\"12.5\" fill=\"%s\">\n%s</svg>\n",
		width, y, width, c.words, body)
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/selfattn/attn/kernel"
)

// The numbers of results/README.md stand between pairs of comments, the first of which names the report that they are from.
const (
	readmeBegin = "<!-- from "
	readmeEnd   = "<!-- end of "
)

// runReadme writes what is made of the committed reports again.
func runReadme(args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		return errors.New("readme takes no arguments: the comments in results/README.md name the reports")
	}
	files, err := fromReports()
	for path, text := range files {
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o666))
	}
	return err
}

// shown is what numbers of results/README.md are made of.
type shown interface{ readme(w io.Writer) }

// fromReports returns what is made of the reports that results/README.md names: this file with their numbers, their
// pages, and the pictures of README, by path.
func fromReports() (files map[string]string, err error) {
	path := filepath.Join("results", "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	files = map[string]string{}
	var reports []report
	files[path], err = updateNumbers(string(text), func(name string) (shown, error) {
		path := filepath.Join("results", name)
		switch {
		case strings.HasSuffix(name, modelsEnd):
			return readJSON[models](path)
		case strings.HasSuffix(name, accuracyEnd):
			a, err := readJSON[accuracies](path)
			for _, c := range schemes {
				if err == nil {
					var svg strings.Builder
					errorPicture(&svg, a, c)
					files[filepath.Join("results", "errors-"+c.name+".svg")] = svg.String()
				}
			}
			return a, err
		}
		rep, err := readJSON[report](path)
		if err != nil {
			return nil, err
		}
		if rep.Incomplete != "" {
			return nil, fmt.Errorf("%s is incomplete: %s", name, rep.Incomplete)
		}
		reports = append(reports, rep)
		var page strings.Builder
		err = rep.html(&page)
		files[strings.TrimSuffix(path, ".json")+".html"] = page.String()
		return rep, err
	})
	if err != nil {
		return nil, err
	}
	for _, c := range schemes {
		var svg strings.Builder
		picture(&svg, reports, c)
		files[filepath.Join("results", "speed-"+c.name+".svg")] = svg.String()
	}
	return files, nil
}

// updateNumbers returns the text with the numbers of the reports that it names, which read reads.
func updateNumbers(text string, read func(name string) (shown, error)) (string, error) {
	var b strings.Builder
	for n := 0; ; n++ {
		before, rest, ok := strings.Cut(text, readmeBegin)
		if !ok && n > 0 {
			return b.String() + text, nil
		}
		name, rest, ok2 := strings.Cut(rest, " -->\n")
		_, after, ok3 := strings.Cut(rest, readmeEnd)
		if !ok || !ok2 || !ok3 {
			return "", fmt.Errorf("results/README.md has no %q and %q", readmeBegin, readmeEnd)
		}
		from, err := read(name)
		if err != nil {
			return "", err
		}
		b.WriteString(before + readmeBegin + name + " -->\n")
		from.readme(&b)
		b.WriteString(readmeEnd)
		text = after
	}
}

// readme writes what results/README.md shows of the numbers that the report has.
func (rep report) readme(w io.Writer) {
	m := rep.Machine
	fmt.Fprintf(w, "%s, %s (%s), %s, backend %s. FMA peak %.0f GFLOP/s on one core, reading from memory %.0f GB/s on one core\n"+
		"and %.0f on %d. Medians of quiet samples, each between two samples of the peak; all implementations took turns.\n",
		m.Date.Format(time.DateOnly), m.CPU, plural(m.Cores, "core"), m.Go, m.Backend, m.Peak[0], m.Read[0], m.Read[1], m.Workers)
	beside := slices.Clone(beside) // those that were measured
	for i := len(beside) - 1; i >= 0; i-- {
		if !slices.ContainsFunc(rep.Results, func(r result) bool { return slices.Contains(beside[i].impls, r.Impl) }) {
			beside = slices.Delete(beside, i, i+1)
		}
	}
	compared := func(head string, lines [][3]string) {
		header := []string{head, "attn", "of the limit"}
		for _, p := range beside {
			header = append(header, p.name)
		}
		rows := [][]string{header}
		for _, l := range lines {
			label, kernel, shape := l[0], l[1], l[2]
			r, ok := rep.find(kernel, shape, m.Backend)
			if !ok {
				continue
			}
			row := []string{label, fmt.Sprintf("**%.3g**", r.Speed), fmt.Sprintf("%.2f", r.fraction())}
			for _, p := range beside {
				cell := ""
				if other, ok := rep.best(kernel, shape, p.impls); ok {
					cell = fmt.Sprintf("%.3g", other.Speed)
				}
				row = append(row, cell)
			}
			rows = append(rows, row)
		}
		if len(rows) > 1 {
			fmt.Fprintln(w)
			writeRows(w, rows)
		}
	}
	var prefills, decodes, products [][3]string
	attention := func(n, d, workers int, causal bool) {
		heads, label := 8, fmt.Sprintf("N = %d, d = %d", n, d)
		if n == 8192 {
			heads = 2
			label += ", 2 heads"
		}
		if causal {
			label += ", causal"
		}
		if workers > 1 {
			label += ", " + plural(workers, "thread")
		}
		shape := fmt.Sprintf("n=%d/d=%d/heads=%d/causal=%v/workers=%d", n, d, heads, causal, workers)
		prefills = append(prefills, [3]string{label, "Attention", shape})
	}
	for _, causal := range []bool{false, true} {
		for _, n := range []int{128, 512, 2048, 8192} {
			attention(n, 64, 1, causal)
		}
		attention(512, 128, 1, causal)
		attention(2048, 128, 1, causal)
		if m.Workers > 1 {
			attention(2048, 64, m.Workers, causal)
		}
	}
	for _, group := range []int{1, 4} {
		for _, workers := range slices.Compact([]int{1, m.Workers}) {
			label := fmt.Sprintf("%s a KV head, %s", plural(group, "query head"), plural(workers, "thread"))
			shape := fmt.Sprintf("kv=16384/d=128/heads=%d/group=%d/workers=%d", 8*group, group, workers)
			decodes = append(decodes, [3]string{label, "Decode", shape})
			if workers == 1 {
				decodes = append(decodes, [3]string{label + ", [Len][Heads][Dim]", "Decode", shape + "/cache=tokens"})
			}
		}
	}
	weights := func(terms, columns, rows, workers int) {
		label := fmt.Sprintf("%d × %d, %s", terms, columns, plural(rows, "row"))
		if workers > 1 {
			label += ", " + plural(workers, "thread")
		}
		products = append(products, [3]string{label, "MatMulPacked", product(terms, columns, rows, kernel.Float32, workers).shape})
	}
	for _, kn := range weightShapes {
		for _, rows := range []int{1, 8, 17, 128} {
			weights(kn[0], kn[1], rows, 1)
		}
	}
	for _, s := range sharedWeights {
		weights(s[0], s[1], s[2], 2)
	}
	compared("attention, 8 heads, GFLOP/s", prefills)
	compared("decoding, 16384 keys, GB/s of keys and values", decodes)
	var backward, masked [][3]string
	for _, n := range []int{512, 2048} {
		for _, causal := range []bool{false, true} {
			label := fmt.Sprintf("N = %d, d = 64", n)
			if causal {
				label += ", causal"
			}
			backward = append(backward, [3]string{label, "Gradient", gradient(max(1, 1024/n), n, 64, causal, 1, target{}).shape})
			if n == 2048 && m.Workers > 1 {
				backward = append(backward, [3]string{label + ", 8 heads, 2 threads", "Gradient", gradient(8, n, 64, causal, 2, target{}).shape})
			}
		}
	}
	for _, o := range []struct{ name, label string }{{"mask", "boolean mask"}, {"bias", "bias"}} {
		for _, n := range []int{512, 2048} {
			masked = append(masked, [3]string{fmt.Sprintf("%s, N = %d, d = 64", o.label, n), "Options", option(o.name, n, 512, 64).shape})
		}
	}
	compared("gradient of attention, GFLOP/s of its five products", backward)
	compared("512 queries with a mask or bias of full shape, GFLOP/s", masked)
	compared("a transformer's products: rows by weights that are packed once, GFLOP/s", products)

	rows := [][]string{{"one thread", "", "of the limit"}}
	for _, k := range []struct{ label, kernel, shape string }{
		{"dot product of 64", "Dot", "n=64"},
		{"dot product of 3072", "Dot", "n=3072"},
		{"exp, 2048 elements", "Exp", "n=2048"},
		{"softmax, 2048 elements", "Softmax", "n=2048"},
		{"GELU, 2048 elements", "GELU", "n=2048"},
		{"GELU by tanh, 2048 elements", "GELUTanh", "n=2048"},
		{"SiLU, 2048 elements", "SiLU", "n=2048"},
		{"layer norm of 384", "LayerNorm", "n=384"},
		{"RMS norm of 384", "RMSNorm", "n=384"},
		{"matrix product, 512", "MatMul", "n=512/workers=1"},
		{"matrix product, 2048", "MatMul", "n=2048/workers=1"},
		{"4096 × 4096 in float16, one row", "MatMulPacked", "k=4096/n=4096/m=1/workers=1/type=f16"},
		{"4096 × 4096 in bfloat16, one row", "MatMulPacked", "k=4096/n=4096/m=1/workers=1/type=bf16"},
		{"4096 × 4096 in int8, one row", "MatMulPacked", "k=4096/n=4096/m=1/workers=1/type=i8"},
		{"layer, 512 tokens × 512, 8 heads", "SelfAttention", "tokens=512/model=512/heads=8/workers=1"},
		{"layer, 128 tokens × 256, 4 heads", "SelfAttention", "tokens=128/model=256/heads=4/workers=1"},
		{"the same, packed", "SelfAttention", "tokens=128/model=256/heads=4/workers=1/packed=true"},
	} {
		if r, ok := rep.find(k.kernel, k.shape, m.Backend); ok {
			rows = append(rows, []string{k.label, fmt.Sprintf("%.3g %s", r.Speed, r.Unit), fmt.Sprintf("%.2f", r.fraction())})
		}
	}
	for _, rows := range [][][]string{rows, rep.left(), rep.caches()} {
		if len(rows) > 1 {
			fmt.Fprintln(w)
			writeRows(w, rows)
		}
	}
}

// left is how fast attention with an option is in turns with attention without it.
func (rep report) left() [][]string {
	shapes := []struct {
		label         string
		n, queries, d int
	}{
		{"N = 512, d = 64", 512, 512, 64}, {"2048, 64", 2048, 512, 64}, {"512, 128", 512, 512, 128}, {"2048, 128", 2048, 512, 128}, {"2048, 128, one query", 2048, 1, 128},
	}
	rows := [][]string{{"an option, times as fast as without it"}}
	for _, s := range shapes {
		rows[0] = append(rows[0], s.label)
	}
	line := func(label string, shapes ...string) {
		row, found := make([]string, len(rows[0])), false
		row[0] = label
		for i, shape := range shapes {
			if r, ok := rep.find("Options", shape, plain().name); ok {
				row[i+1], found = fmt.Sprintf("%.3f", r.Lead.Median), true
			}
		}
		if found {
			rows = append(rows, row)
		}
	}
	for _, o := range []struct{ name, label string }{
		{"mask", "boolean mask, 9 of 10 visible"}, {"true", "boolean mask, all visible"}, {"keys", "mask of keys"}, {"bias", "bias"}, {"biaskeys", "bias of keys"},
		{"alibi", "ALiBi"}, {"cap", "soft cap"}, {"window", "window of all keys"},
	} {
		var of []string
		for _, s := range shapes {
			of = append(of, option(o.name, s.n, s.queries, s.d).shape)
		}
		line(o.label, of...)
	}
	line("window of 256 of 8192, beside as many keys", windowed(8192, 256, 64).shape)
	line("64 packed sentences, beside padded ones, d = 32", sentences(64, 12, 32).shape)
	line("beside batches of equal ones", mixed(64, 12, 32).shape)
	return rows
}

// caches is decoding from a cache, for each type that it may store, beside other libraries, which store about as many bytes.
func (rep report) caches() [][]string {
	rows := [][]string{append([]string{"decoding from a cache, d = 128, GB/s of what is stored"}, typeNames...)}
	for _, c := range cacheCases {
		row, found := []string{fmt.Sprintf("%d keys, %s a KV head, pages of %d", c.keys, plural(c.group, "query head"), c.page)}, false
		if c.workers > 1 {
			row[0] += ", " + plural(c.workers, "thread")
		}
		float32s := 0.0
		for typ := range typeNames {
			cell := ""
			if r, ok := rep.find("Cache", cached(c.keys, c.group, c.page, c.workers, kernel.Type(typ)).shape, rep.Machine.Backend); ok {
				if kernel.Type(typ) == kernel.Float32 {
					float32s = r.Gflops
				}
				if cell, found = fmt.Sprintf("%.3g", r.Speed), true; float32s > 0 {
					cell += fmt.Sprintf(" (%.2f×)", r.Gflops/float32s)
				}
			}
			row = append(row, cell)
		}
		if found {
			rows = append(rows, row)
		}
		for _, other := range []struct{ label, impl string }{{"ONNX Runtime's GroupQueryAttention", "ort-gqa"}, {"ggml, AVX2", "ggml"}} {
			row, found := make([]string, len(rows[0])), false
			row[0] = "– " + other.label
			for typ := range typeNames {
				if r, ok := rep.find("Cache", cached(c.keys, c.group, c.page, c.workers, kernel.Type(typ)).shape, other.impl); ok {
					row[1+typ], found = fmt.Sprintf("%.3g", r.Speed), true
				}
			}
			if found {
				rows = append(rows, row)
			}
		}
	}
	rows[0][0] += " (times as many tokens as float32)"
	return rows
}

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/selfattn/attn/bench/internal/modelled"
)

// models are what models predict for CPUs, of the newest committed run of command model.
type models struct{ modelled.Report }

const modelsEnd = "-models.json"

// newestModels are the committed ones.
func newestModels() (models, error) {
	paths, err := filepath.Glob(filepath.Join("results", "*"+modelsEnd))
	if err != nil || len(paths) == 0 {
		return models{}, err
	}
	return readJSON[models](slices.Max(paths))
}

// cores are the names of CPUs as one reads them elsewhere.
var cores = map[string]string{
	"haswell": "Haswell", "skylake-avx512": "Skylake server", "sapphirerapids": "Sapphire Rapids", "znver3": "Zen 3", "znver4": "Zen 4", "znver5": "Zen 5",
	"neoverse-n1": "Neoverse N1", "neoverse-n2": "Neoverse N2", "neoverse-v1": "Neoverse V1", "neoverse-v2": "Neoverse V2",
}

// attentions is the table of whole attentions, which is never one with what was measured.
func (m models) attentions() table {
	t := table{caption: "MODELLED, not measured: attention of one head, d = 64, on one core", rows: [][]string{
		{"CPU (a machine that has it)", "instructions", "tokens", "FMA peak, GFLOP/s", "of the peak, computing alone", "of the peak, and fetching", "GFLOP/s expected", "of the peak, measured"}}}
	for _, a := range m.Attentions {
		t.rows = append(t.rows, []string{
			fmt.Sprintf("%s (%s, %g GHz)", cores[a.CPU], a.Where, a.GHz), a.Set, fmt.Sprint(a.Tokens), fmt.Sprintf("%.0f", a.Peak),
			fmt.Sprintf("%.2f%s", a.Compute, modelled.Bracket(a.OSACA, a.Unknown)), fmt.Sprintf("%.2f to %.2f", a.Least, a.Most), a.Range(), a.Check(),
		})
	}
	return t
}

// loops is the table of inner loops, with a row of what was measured below what it checks.
func (m models) loops() table {
	t := table{caption: "MODELLED: inner loops, as fractions of the FMA peak", rows: [][]string{{"CPU", "instructions", "scores Q·K", "values P·V", "matrix product", "exponentials"}}}
	for _, l := range m.Loops {
		if l.Kernel == "scoreTile" {
			t.rows = append(t.rows, []string{cores[l.CPU], l.Set})
			if l.Measured > 0 {
				t.rows = append(t.rows, []string{"**measured**", l.Set})
			}
		}
		row := &t.rows[len(t.rows)-1]
		if l.Measured > 0 {
			*row = append(*row, fmt.Sprintf("**%.2f**", l.Measured))
			row = &t.rows[len(t.rows)-2]
		}
		*row = append(*row, fmt.Sprintf("%.2f%s", l.LLVM, modelled.Bracket(l.OSACA, l.Unknown)))
	}
	return t
}

// readme writes what results/README.md shows.
func (m models) readme(w io.Writer) {
	tools := strings.TrimPrefix(m.LLVM, "llvm-mca of ")
	fmt.Fprintf(w, "%s, llvm-mca of %s; in brackets %s, with a ? where it lacks the cost of instructions.\n", m.Date.Format(time.DateOnly), tools, m.OSACA)
	for _, t := range []table{m.attentions(), m.loops()} {
		fmt.Fprintln(w)
		writeRows(w, t.rows)
	}
}

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/kernel"
)

// common is the order of operations whose bound is the unit in which errors of all implementations are given: sums in any
// order, and exponentials of 4 ulp after whose maximum blocks of 256 keys or more are rescaled.
var common = fuzz.Order{Tile: 256, Exp: 4}

// surveyed are the features that the benchmarks ask of others. Not all have all of them.
const surveyed = fuzz.Heads | fuzz.Groups | fuzz.Causal

// accuracies are what a run of accuracy found.
type accuracies struct {
	Date   time.Time `json:"date"`
	CPU    string    `json:"cpu"`
	System string    `json:"system"`
	Kinds  []kinds   `json:"kinds"`
	Keys   []int     `json:"keys"`
	Growth []growth  `json:"growth"`
}

// kinds are the largest errors of an implementation on each kind of input of package fuzz, in units of the common bound.
type kinds struct {
	Impl    string    `json:"impl"`
	Version string    `json:"version,omitempty"`
	Errors  []float64 `json:"errors"`
}

// growth is the largest errors of an implementation over so many keys, in parts of the largest value; less than all of them
// where it takes too long.
type growth struct {
	Impl   string    `json:"impl"`
	Errors []float64 `json:"errors"`
}

const accuracyEnd = "-accuracy.json"

// runAccuracy prints how large the errors of all implementations are on each kind of input of package fuzz, and over many keys.
func runAccuracy(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("accuracy", flag.ContinueOnError)
	f.SetOutput(stderr)
	python := f.String("python", "venv/bin/python", "interpreter that has the peers in Python")
	file := f.String("json", "", "`file` for all of it, from which readme draws a picture")
	only := f.String("peers", "", "only other implementations whose name matches this `regexp`; ^$ for none")
	if err := f.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	impls, more := []impl{selected}, ourSubjects()
	for _, i := range append(goPeers(), baselines()...) {
		if wanted.MatchString(i.name) && i.attention != nil {
			impls = append(impls, i)
		}
	}
	for _, name := range pythonPeers {
		if !wanted.MatchString(name) {
			continue
		}
		i, c, err := pythonPeer(*python, name)
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", name, err)
			continue
		}
		defer c.stop()
		impls, more = append(impls, i), append(more, c.subjects(i)...)
	}
	a := accuracies{Date: time.Now().UTC().Truncate(time.Second), CPU: strings.TrimSpace(cpuid.CPU.BrandName), System: runtime.GOOS + "/" + runtime.GOARCH, Keys: manyKeys}
	var plain []subject
	for _, i := range impls {
		plain = append(plain, i.subject())
	}
	a.surveys(plain, stdout, stderr)
	a.surveys(more, stdout, stderr)
	a.grow(impls, stderr)
	fmt.Fprintln(stdout)
	a.readme(stdout)
	if *file == "" {
		return nil
	}
	text, err := json.MarshalIndent(a, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(text, '\n'), 0o666)
}

// manyKeys are the numbers of keys over which errors grow.
var manyKeys = []int{16, 64, 256, 1024, 4096, 16384, 65536, 262144}

// grow computes the errors of each implementation over many keys: of 4 queries with 64 elements, and values of mean and spread 1.
func (a *accuracies) grow(impls []impl, stderr io.Writer) {
	const queries, d = 4, 64
	for _, i := range impls {
		g := growth{Impl: i.name}
		for _, n := range a.Keys {
			q, k, v := packed(1, queries, d, 1), packed(1, n, d, 2), packed(1, n, d, 3)
			for j := range v.Data {
				v.Data[j]++
			}
			if i.most > 0 && 4*float64(queries*n*d) > i.most {
				break
			}
			out := slices.Repeat([]float32{float32(math.NaN())}, queries*d)
			err := i.compute(out, q, k, v, &kernel.Options{Workers: 1})
			if err != nil {
				fmt.Fprintf(stderr, "%s, %d keys: %.300s\n", i.name, n, err)
				break
			}
			g.Errors = append(g.Errors, furthest(out, q, k, v))
		}
		if len(g.Errors) > 0 {
			a.Growth = append(a.Growth, g)
		}
	}
}

// furthest returns the largest error of attention of a head, in parts of the largest output.
func furthest(out []float32, q, k, v kernel.Tensor) float64 {
	rows := func(t kernel.Tensor) (rows [][]float32) {
		for j := range t.Len {
			rows = append(rows, t.Data[j*t.Dim:][:t.Dim])
		}
		return rows
	}
	keys, values := rows(k), rows(v)
	worst, largest := 0.0, 0.0
	for i, query := range rows(q) {
		want, _ := fuzz.Attention(query, keys, values, float32(1/math.Sqrt(float64(q.Dim))))
		for c, x := range want {
			largest = max(largest, math.Abs(x))
			if e := math.Abs(float64(out[i*q.Dim+c]) - x); !(e <= worst) {
				worst = e
			}
		}
	}
	return worst / largest
}

// readme writes the errors over many keys, which results/README.md shows.
func (a accuracies) readme(w io.Writer) {
	rows := [][]string{{"largest error, in parts of the largest value"}}
	for _, n := range a.Keys {
		rows[0] = append(rows[0], fmt.Sprintf("%d keys", n))
	}
	for _, g := range a.Growth {
		row := make([]string, len(rows[0]))
		row[0] = g.Impl
		for j, e := range g.Errors {
			row[j+1] = fmt.Sprintf("%.1e", e)
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(w, "%s, %s, %s: 4 queries of 64 normal elements, as many keys, values of mean and spread 1.\n\n", a.Date.Format(time.DateOnly), a.CPU, a.System)
	writeRows(w, rows)
}

// surveys prints a table of subjects, and keeps it. One whose implementation fails is left out, with the reason in stderr.
func (a *accuracies) surveys(subjects []subject, stdout, stderr io.Writer) {
	heading := []string{"largest error / bound"}
	for _, k := range fuzz.Kinds {
		heading = append(heading, k.Name)
	}
	lines := [][]string{heading, slices.Repeat([]string{"---"}, len(heading))}
	for _, i := range subjects {
		results, err := fuzz.Survey(&i.of)
		if err != nil {
			fmt.Fprintf(stderr, "%s: %.300s\n", i.name, err)
			continue
		}
		version, _, _ := strings.Cut(i.version, "-") // without the name of a build
		all, name := kinds{Impl: i.name, Version: version}, strings.TrimSpace(i.name+" "+version)
		if i.what != "" {
			all.Impl, name = all.Impl+", "+i.what, name+", "+i.what
		}
		line := []string{name}
		for _, r := range results {
			worst := i.number(&r)
			cell := fmt.Sprintf("%.2g", worst)
			if worst > 1 {
				cell = "**" + cell + "**"
				fmt.Fprintf(stderr, "%s, %s: %d queries, %d keys, Dim %d, causal %v\n", i.name, r.Kind, r.Case.Queries, r.Case.Keys, r.Case.Dim, r.Case.Causal)
			}
			line, all.Errors = append(line, cell), append(all.Errors, worst)
		}
		a.Kinds = append(a.Kinds, all)
		lines = append(lines, line)
	}
	for _, line := range lines {
		fmt.Fprintf(stdout, "| %s |\n", strings.Join(line, " | "))
	}
	fmt.Fprintf(stdout, "\n%s, %s, %s\n", a.Date.Format(time.DateOnly), a.CPU, a.System)
}

// surveyed computes a case of package fuzz.
func (i impl) surveyed(out []float32, c *fuzz.Case) error {
	q := kernel.Tensor{Data: c.Q, Batch: 1, Heads: c.Heads, Len: c.Queries, Dim: c.Dim}
	k, v := q, q
	k.Data, k.Heads, k.Len = c.K, c.KVHeads, c.Keys
	v.Data, v.Heads, v.Len = c.V, c.KVHeads, c.Keys
	err := i.compute(out, q, k, v, &kernel.Options{Causal: c.Causal, Workers: 1})
	if errors.Is(err, errUnsupported) {
		return errors.ErrUnsupported
	}
	return err
}

// compute computes attention once; out is NaN before.
func (i impl) compute(out []float32, q, k, v kernel.Tensor, o *kernel.Options) error {
	dst := q
	dst.Data = out
	run, err := i.attention(dst, q, k, v, o)
	if err == nil && out[0] != out[0] { // some compute only when they are run
		run(1)
	}
	return err
}

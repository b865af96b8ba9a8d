package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
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

// runAccuracy prints how large the errors of all implementations are on each kind of input of package fuzz.
func runAccuracy(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("accuracy", flag.ContinueOnError)
	f.SetOutput(stderr)
	python := f.String("python", "venv/bin/python", "interpreter that has the peers in Python")
	only := f.String("peers", "", "only other implementations whose name matches this `regexp`; ^$ for none")
	if err := f.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	impls := []impl{selected}
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
		impls = append(impls, i)
	}
	surveys(impls, stdout, stderr)
	return nil
}

// surveys prints a table with a row for each implementation. One that fails is left out, with the reason in stderr.
func surveys(impls []impl, stdout, stderr io.Writer) {
	heading := []string{"largest error / bound"}
	for _, k := range fuzz.Kinds {
		heading = append(heading, k.Name)
	}
	lines := [][]string{heading, slices.Repeat([]string{"---"}, len(heading))}
	for _, i := range impls {
		results, err := fuzz.Survey(&fuzz.Implementation{Takes: surveyed, Order: common, Attention: i.surveyed})
		if err != nil {
			fmt.Fprintf(stderr, "%s: %.300s\n", i.name, err)
			continue
		}
		version, _, _ := strings.Cut(i.version, "-") // without the name of a build
		line := []string{strings.TrimSpace(i.name + " " + version)}
		for _, r := range results {
			cell := fmt.Sprintf("%.2g", r.Output)
			if r.Output > 1 {
				cell = "**" + cell + "**"
				fmt.Fprintf(stderr, "%s, %s: %d queries, %d keys, Dim %d, causal %v\n", i.name, r.Kind, r.Case.Queries, r.Case.Keys, r.Case.Dim, r.Case.Causal)
			}
			line = append(line, cell)
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		fmt.Fprintf(stdout, "| %s |\n", strings.Join(line, " | "))
	}
	fmt.Fprintf(stdout, "\n%s, %s, %s/%s\n", time.Now().Format(time.DateOnly), strings.TrimSpace(cpuid.CPU.BrandName), runtime.GOOS, runtime.GOARCH)
}

// surveyed computes a case of package fuzz.
func (i impl) surveyed(out []float32, c *fuzz.Case) error {
	q := kernel.Tensor{Data: c.Q, Batch: 1, Heads: c.Heads, Len: c.Queries, Dim: c.Dim}
	k, v, dst := q, q, q
	k.Data, k.Heads, k.Len = c.K, c.KVHeads, c.Keys
	v.Data, v.Heads, v.Len = c.V, c.KVHeads, c.Keys
	dst.Data = out
	run, err := i.attention(dst, q, k, v, &kernel.Options{Causal: c.Causal, Workers: 1})
	if errors.Is(err, errUnsupported) {
		return errors.ErrUnsupported
	}
	if err == nil && out[0] != out[0] { // some compute only when they are run
		run(1)
	}
	return err
}

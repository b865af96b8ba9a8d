package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/internal/peer"
	"github.com/selfattn/attn/kernel"
)

//go:embed peer.py
var peerScript string

// golden are texts with their tokens, the first 32 of which are sentences as people write them.
//
//go:embed testdata/golden.jsonl
var golden []byte

// bench prints how long a text of some lengths takes, and 32 sentences, and where the time goes: ours, and beside it ONNX
// Runtime with fused operators on the same weights, which takes turns with it and must have the same vectors. Figures
// are medians, the ratio's too.
func bench(m *minilm.Model, folder, python string, quick bool, out io.Writer) error {
	rounds, lengths := 31, []int{4, 8, 16, 32, 64, 128, 256}
	if quick {
		rounds, lengths = 3, []int{4, 32}
	}
	sentences, err := realSentences(32)
	if err != nil {
		return err
	}
	for _, workers := range []int{1, 2} {
		b := benchmark{model: m, workers: workers, rounds: rounds}
		if python != "" {
			if b.peer, err = peer.Start("ONNX Runtime", python, peerScript, folder, "serve", fmt.Sprint(workers)); err != nil {
				return err
			}
			defer b.peer.Stop()
		}
		fmt.Fprintf(out, "%s, %d thread(s), in milliseconds, and shares of our time\n\n", kernel.Backend(), workers)
		fmt.Fprintf(out, "%-28s %8s %8s %6s", "", "attn", "ORT", "ratio")
		for _, s := range shown {
			fmt.Fprintf(out, " %10s", s)
		}
		fmt.Fprintln(out)
		for _, n := range lengths {
			ids := make([]int, n)
			for i := range ids {
				ids[i] = 2000 + 37*i
			}
			if err := b.row(out, fmt.Sprint(n, " tokens"), [][]int{ids}, [][][]int{{ids}}); err != nil {
				return err
			}
		}
		if err := b.row(out, "32 sentences, ORT pads them", sentences, [][][]int{sentences}); err != nil {
			return err
		}
		var alone [][][]int
		for _, ids := range sentences {
			alone = append(alone, [][]int{ids})
		}
		if err := b.row(out, "32 sentences, ORT one by one", sentences, alone); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return nil
}

// realSentences are the tokens of the first golden texts.
func realSentences(n int) ([][]int, error) {
	var sentences [][]int
	for lines := json.NewDecoder(bytes.NewReader(golden)); len(sentences) < n; {
		var line struct{ IDs []int }
		if err := lines.Decode(&line); err != nil {
			return nil, fmt.Errorf("golden.jsonl: %w", err)
		}
		sentences = append(sentences, line.IDs)
	}
	return sentences, nil
}

// shown are the stages that take long enough.
var shown = []minilm.Stage{minilm.Products, minilm.Attention, minilm.Norms, minilm.GELU}

type benchmark struct {
	model           *minilm.Model
	peer            *peer.Peer // nil for none
	workers, rounds int
}

// row measures our batch beside the peer's, of the same texts in the same order, and prints a line.
func (b *benchmark) row(out io.Writer, name string, batch [][]int, theirs [][][]int) error {
	o := minilm.Options{Workers: b.workers}
	vectors, err := b.model.EmbedTokens(context.Background(), batch, o)
	if err != nil {
		return err
	}
	if b.peer != nil {
		if err := b.prepare(theirs, vectors); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	var times [minilm.Stages]time.Duration
	var ours, other, ratios []float64
	const enough = 4 * time.Second
	for begin := time.Now(); len(ours) < b.rounds && (len(ours) < 3 || time.Since(begin) < enough); {
		if b.peer != nil {
			seconds, err := b.run()
			if err != nil {
				return err
			}
			other = append(other, seconds)
		}
		// What ran in between has emptied the caches.
		if _, err := b.model.EmbedTokens(context.Background(), batch, o); err != nil {
			return err
		}
		timed := o
		timed.Times = &times
		start := time.Now()
		if _, err := b.model.EmbedTokens(context.Background(), batch, timed); err != nil {
			return err
		}
		ours = append(ours, time.Since(start).Seconds())
		if b.peer != nil {
			ratios = append(ratios, other[len(other)-1]/ours[len(ours)-1])
		}
	}
	fmt.Fprintf(out, "%-28s %8.2f", name, 1e3*median(ours))
	if b.peer != nil {
		fmt.Fprintf(out, " %8.2f %6.2f", 1e3*median(other), median(ratios))
	} else {
		fmt.Fprintf(out, " %8s %6s", "", "")
	}
	var total time.Duration
	for _, t := range times {
		total += t
	}
	for _, s := range shown {
		fmt.Fprintf(out, " %9.1f%%", 100*float64(times[s])/float64(total))
	}
	fmt.Fprintln(out)
	return nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// A peerAnswer is what peer.py answers.
type peerAnswer struct {
	Vectors [][]float32
	Seconds float64
}

// prepare makes batches what run computes, once, and holds their vectors to ours.
func (b *benchmark) prepare(batches [][][]int, ours [][]float32) error {
	var a peerAnswer
	if err := b.peer.Ask(batches, &a); err != nil {
		return err
	}
	if len(a.Vectors) != len(ours) {
		return fmt.Errorf("%d vectors of ONNX Runtime, want %d", len(a.Vectors), len(ours))
	}
	for i, v := range a.Vectors {
		for j := range v {
			if d := math.Abs(float64(v[j] - ours[i][j])); !(d <= 1e-6) {
				return fmt.Errorf("text %d: ONNX Runtime has another vector, by %.3g", i, d)
			}
		}
	}
	return nil
}

// run is how long the batches take, in seconds.
func (b *benchmark) run() (float64, error) {
	var a peerAnswer
	err := b.peer.Ask(1, &a)
	return a.Seconds, err
}

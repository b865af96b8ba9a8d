package main

import (
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/selfattn/attn/examples/internal/learn"
	"github.com/selfattn/attn/examples/internal/peer"
)

var (
	long   = flag.Bool("long", false, "train as long as the commands do: a minute or two")
	python = flag.String("python", "", "compare with PyTorch of this `interpreter`, and write testdata/digits-pytorch.json")
)

//go:embed peer.py
var peerScript string

const curveFile = "testdata/digits-pytorch.json"

// short is the number of steps of a test, all with -long.
func short(all, few int) int {
	if *long {
		return all
	}
	return few
}

func nothing(int, float64) {}

// The curve of the loss is PyTorch's, from the same start and with the same batches.
func TestDigitsAsPyTorch(t *testing.T) {
	m := newDigitModel()
	run, err := newDigitRun(m.random, digitsSteps)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float64, digitsSteps)
	if *python != "" {
		askPyTorch(t, m, run, &want)
	} else {
		data, err := os.ReadFile(curveFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
	}
	if len(want) != digitsSteps {
		t.Fatalf("%s has %d losses, want %d: -python makes it", curveFile, len(want), digitsSteps)
	}
	compared := short(digitsSteps, 100)
	got, err := run.train(m, compared, nothing)
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.
	for i := range compared {
		worst = max(worst, math.Abs(got[i]-want[i]))
	}
	t.Logf("%d losses are within %.2g of PyTorch's", compared, worst)
	if worst > 1e-4 {
		t.Errorf("a loss is off PyTorch's by %g, want at most 1e-4", worst)
	}
}

// askPyTorch writes the losses that PyTorch has to the file.
func askPyTorch(t *testing.T, m *digitModel, run digitRun, losses *[]float64) {
	type request struct {
		Params  [][][]float32
		Images  [][][]float32
		Labels  []int
		Batches [][]int
		Rates   []float64
		Heads   int
		Epsilon float64
	}
	r := request{Batches: run.batches, Heads: digitHeads, Epsilon: learn.Epsilon}
	for _, p := range m.params() {
		r.Params = append(r.Params, slices.Collect(slices.Chunk(p.Value.Data, p.Value.Cols)))
	}
	for i := range run.images {
		r.Images = append(r.Images, slices.Collect(slices.Chunk(run.images[i].patches[:], patchSize)))
		r.Labels = append(r.Labels, run.images[i].label)
	}
	for step := range run.batches {
		r.Rates = append(r.Rates, run.rate(step))
	}
	p, err := peer.Start("PyTorch", *python, peerScript)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if err := p.Ask(r, losses); err != nil {
		t.Fatal(err)
	}
	lines := make([]string, len(*losses))
	for i, x := range *losses {
		lines[i] = fmt.Sprintf("%.6f", x)
	}
	if err := os.WriteFile(curveFile, []byte("["+strings.Join(lines, ",\n")+"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDigitsAreRecognized(t *testing.T) {
	m := newDigitModel()
	run, err := newDigitRun(m.random, digitsSteps)
	if err != nil {
		t.Fatal(err)
	}
	if len(run.images) != 1797 {
		t.Errorf("%d images, want 1797", len(run.images))
	}
	if _, err := run.train(m, short(digitsSteps, 250), nothing); err != nil {
		t.Fatal(err)
	}
	_, right, err := m.run(run.images[len(run.images)-digitsTest:], false)
	if err != nil {
		t.Fatal(err)
	}
	least := .9
	if *long {
		least = .97
		if got, want := learn.Digest(m.params()), "90ac9be36053889d"; got != want {
			t.Errorf("the digest of the weights is %s, want %s as on every backend", got, want)
		}
	}
	if share := float64(right) / digitsTest; share < least {
		t.Errorf("%.3f of the test digits are recognized, want %.2f or more", share, least)
	}
}

func TestTextIsPredicted(t *testing.T) {
	c, err := readText(t.Context())
	if err != nil {
		t.Skip(err) // a Go without its sources
	}
	m := newTextModel(len(c.alphabet))
	losses, err := m.train(c, short(textSteps, 30), textBatch, textLength, nothing)
	if err != nil {
		t.Fatal(err)
	}
	if !*long {
		if last := losses[len(losses)-1]; last > 3.2 {
			t.Errorf("the loss is %.2f after %d steps, want at most 3.2", last, len(losses))
		}
		return
	}
	loss, err := m.test(c)
	if err != nil {
		t.Fatal(err)
	}
	if loss > 1.85 {
		t.Errorf("the loss is %.3f nats a character held out, want at most 1.85", loss)
	}
	if got, want := learn.Digest(m.params()), "8aa58506cdf3b736"; got != want {
		t.Errorf("the digest of the weights is %s, want %s as on every backend", got, want)
	}
}

// The weights after a few steps are those of every CPU and backend.
func TestDigestOfText(t *testing.T) {
	c := newCorpus([]byte(strings.Repeat("the rays of light ", 40)))
	m := newTextModel(len(c.alphabet))
	if _, err := m.train(c, 3, 2, 20, nothing); err != nil {
		t.Fatal(err)
	}
	if got, want := learn.Digest(m.params()), "7f4f840b5d73bc58"; got != want {
		t.Errorf("the digest of the weights is %s, want %s", got, want)
	}
}

func TestDropStep(t *testing.T) {
	losses := append(slices.Repeat([]float64{2}, 100), slices.Repeat([]float64{1}, smooth)...)
	for limit, want := range map[float64]int{3: smooth, 1.5: 100 + smooth/2 + 1, 1: 0} {
		if got := dropStep(losses, limit); got != want {
			t.Errorf("below %g at step %d, want %d", limit, got, want)
		}
	}
}

// In a text of two characters in turn the one before tells all.
func TestBigram(t *testing.T) {
	if got := newCorpus([]byte(strings.Repeat("ab", 5000))).bigram(); got > 1e-3 {
		t.Errorf("the loss is %g nats, want almost none", got)
	}
}

// Both commands run, and draw.
func TestCommands(t *testing.T) {
	var out strings.Builder
	folder := t.TempDir()
	if err := run(t.Context(), []string{"digits", "-steps", "2"}, &out); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"text", "-steps", "2", "-pictures", folder}, &out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loss.svg", "attention.svg"} {
		if data, err := os.ReadFile(filepath.Join(folder, name)); err != nil || !strings.Contains(string(data), "</svg>") {
			t.Errorf("%s: %v, want a picture", name, err)
		}
	}
	for args, want := range map[string]string{"": "no command", "digits -steps 0": "-steps is 0", "text a": `"a"`} {
		if err := run(t.Context(), strings.Fields(args), &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

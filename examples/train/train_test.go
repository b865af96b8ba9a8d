package main

import (
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
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

func nothing[Loss any](int, Loss) {}

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
		if first, last := losses[0].copied, losses[len(losses)-1].copied; last > first-.1 {
			t.Errorf("the loss is %.2f after %d steps, %.2f at first", last, len(losses), first)
		}
		return
	}
	loss, err := m.test(c.heldOut)
	if err != nil {
		t.Fatal(err)
	}
	if loss > 1.85 {
		t.Errorf("the loss is %.3f nats a character held out, want at most 1.85", loss)
	}
	random := rand.New(rand.NewPCG(1, 2))
	layer, head, share, err := m.copyingHead([]window{c.randomCopies(random, textLength/2, textLength)})
	if err != nil {
		t.Fatal(err)
	}
	if layer != textLayers-1 || share < .6 {
		t.Errorf("head %d of layer %d copies most, with %.2f of its attention, want one of the last layer with .6 or more", head+1, layer+1, share)
	}
	if got, want := learn.Digest(m.params()), "1682341f16400300"; got != want {
		t.Errorf("the digest of the weights is %s, want %s as on every backend", got, want)
	}
}

// At first random characters come again in all windows, later in one, and text in some. What followed the first time is what comes.
func TestBatch(t *testing.T) {
	c := newCorpus([]byte(strings.Repeat("the rays of light and colours ", 40)))
	const size, length = 7, 25
	random := rand.New(rand.NewPCG(1, 2))
	periods := map[int]bool{}
	for _, step := range []int{0, copySteps - 1, copySteps} {
		for i, w := range c.batch(random, step, size, length) {
			if len(w.characters) != length {
				t.Fatalf("window %d of step %d has %d characters, want %d", i, step, len(w.characters), length)
			}
			if again := step < copySteps || i < copies; again != (w.period > 0) {
				t.Fatalf("window %d of step %d has period %d", i, step, w.period)
			}
			if w.period == 0 {
				continue
			}
			periods[w.period] = true
			for j := w.period; j+1 < length; j++ {
				if w.characters[j-w.period+1] != w.characters[j+1] {
					t.Errorf("window %d of step %d: character %d is not the one before", i, step, j+1)
				}
			}
			distinct := slices.Compact(slices.Sorted(slices.Values(w.characters[:w.period])))
			if random := step < copySteps || i == 0; random && len(distinct) != w.period {
				t.Errorf("window %d of step %d has %d characters in a period of %d", i, step, len(distinct), w.period)
			}
		}
	}
	if len(periods) < 3 {
		t.Errorf("periods %v, want several", periods)
	}
}

// The losses of a batch are those of its windows, of text and of what comes again.
func TestTextLoss(t *testing.T) {
	c := newCorpus([]byte(strings.Repeat("the rays of light ", 40)))
	m := newTextModel(len(c.alphabet))
	text, again := window{characters: c.train[:20]}, repeat(c.train[3:11], 20)
	loss := func(windows ...window) textLoss {
		l, err := m.run(windows, false)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	both, one, other := loss(text, again), loss(text), loss(again)
	if !math.IsNaN(one.copied) || !math.IsNaN(other.text) {
		t.Errorf("%v and %v, want no loss of what is not there", one, other)
	}
	if both != (textLoss{one.text, other.copied}) {
		t.Errorf("%v, want those of %v and %v", both, one, other)
	}
	// Whoever is to copy text is not asked for what comes the first time.
	all := loss(window{characters: again.characters})
	begin := loss(window{characters: again.characters[:again.period+1]})
	want := (all.text*19 - begin.text*8) / 11
	if math.Abs(other.copied-want) > 1e-9 {
		t.Errorf("%v nats, want %v", other.copied, want)
	}
}

// The weights after a few steps are those of every CPU and backend.
func TestDigestOfText(t *testing.T) {
	c := newCorpus([]byte(strings.Repeat("the rays of light ", 40)))
	m := newTextModel(len(c.alphabet))
	if _, err := m.train(c, 3, 2, 20, nothing); err != nil {
		t.Fatal(err)
	}
	if got, want := learn.Digest(m.params()), "b70016cfc69f7c6e"; got != want {
		t.Errorf("the digest of the weights is %s, want %s", got, want)
	}
}

func TestDropStep(t *testing.T) {
	slope := func(from, to float64, n int) (x []float64) {
		for i := range n {
			x = append(x, from+(to-from)*float64(i)/float64(n))
		}
		return x
	}
	losses := slices.Concat(slope(5, 4, 200), slope(4, 1, 2*smooth), slope(1, 2, 100))
	if got, want := dropStep(losses), 200+smooth; max(got-want, want-got) > 1 {
		t.Errorf("%d, want %d", got, want)
	}
	if got := dropStep(losses[:2*smooth-1]); got != 0 {
		t.Errorf("%d for too few losses, want 0", got)
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

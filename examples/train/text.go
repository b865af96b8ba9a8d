package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/selfattn/attn/examples/internal/learn"
	"github.com/selfattn/attn/kernel"
)

const (
	textSeed   = 1
	textBatch  = 16
	textLength = 128
	textSteps  = 1500
	textRate   = 4e-3
)

// A corpus is a text in the bytes that occur in it, by their numbers in alphabet. The last tenth is held out.
type corpus struct {
	alphabet       []byte
	train, heldOut []int
}

// readText reads Newton's Opticks (1704), which comes with Go.
func readText(ctx context.Context) (corpus, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return corpus{}, fmt.Errorf("go env GOROOT: %w", err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src", "testdata", "Isaac.Newton-Opticks.txt"))
	if err != nil {
		return corpus{}, err
	}
	return newCorpus(data), nil
}

func newCorpus(data []byte) (t corpus) {
	t.alphabet = slices.Clone(data)
	slices.Sort(t.alphabet)
	t.alphabet = slices.Compact(t.alphabet)
	all := t.numbers(data)
	held := len(all) / 10
	t.train, t.heldOut = all[:len(all)-held], all[len(all)-held:]
	return t
}

// numbers returns those of characters, which must be of the alphabet.
func (t corpus) numbers(characters []byte) []int {
	all := make([]int, len(characters))
	for i, c := range characters {
		all[i] = bytes.IndexByte(t.alphabet, c)
	}
	return all
}

// A textModel predicts each character of sequences from those before it. Rotations tell attention how far these are.
type textModel struct {
	character, next *learn.Param
	stack           *learn.Stack
	random          *rand.Rand
}

const textLayers, textHeads = 2, 4

func newTextModel(characters int) *textModel {
	const dim = 64
	random := rand.New(rand.NewPCG(textSeed, 0))
	return &textModel{
		character: learn.NewParam(random, characters, dim, .1),
		next:      learn.NewParam(random, dim, characters, 1/float32(math.Sqrt(dim))),
		stack:     learn.NewStack(random, textLayers, textHeads, dim, kernel.NewRotaryTables(textLength, dim/textHeads, 1e4, false)),
		random:    random,
	}
}

// params returns what is learned: character and next, then what the stack learns.
func (m *textModel) params() []*learn.Param {
	return append([]*learn.Param{m.character, m.next}, m.stack.Params()...)
}

// run computes the mean loss of predicting the characters of sequences behind their first, in nats, and with learns adds to the
// gradients.
func (m *textModel) run(sequences [][]int, learns bool) (float64, error) {
	var characters, targets []int
	offsets := []int{0}
	for _, s := range sequences {
		for i, c := range s[:len(s)-1] {
			characters, targets = append(characters, c), append(targets, s[i+1])
		}
		offsets = append(offsets, len(characters))
	}
	x := learn.NewMatrix(len(characters), m.character.Value.Cols)
	for i, c := range characters {
		copy(learn.Row(x, i), learn.Row(m.character.Value, c))
	}
	y, err := m.stack.Forward(x, &kernel.Options{Causal: true, QueryOffsets: offsets, KeyOffsets: offsets})
	if err != nil {
		return 0, err
	}
	logits := learn.NewMatrix(x.Rows, m.next.Value.Cols)
	if err := m.next.Linear(logits, y); err != nil {
		return 0, err
	}
	loss := learn.CrossEntropy(logits, logits, targets)
	if !learns {
		return loss, nil
	}
	dy := learn.NewMatrix(y.Rows, y.Cols)
	if err := m.next.LinearGradient(dy, y, logits); err != nil {
		return 0, err
	}
	dx, err := m.stack.Backward(dy)
	if err != nil {
		return 0, err
	}
	for i, c := range characters {
		learn.Add(learn.Row(m.character.Grad, c), learn.Row(dx, i))
	}
	return loss, nil
}

// train trains the model on random places of the text, and returns the loss of each step.
func (m *textModel) train(t corpus, steps, batch, length int, progress func(step int, loss float64)) (losses []float64, err error) {
	adam := learn.Adam{Params: m.params()}
	for step := range steps {
		var sequences [][]int
		for range batch {
			sequences = append(sequences, t.train[m.random.IntN(len(t.train)-length):][:length+1])
		}
		loss, err := m.run(sequences, true)
		if err != nil {
			return losses, err
		}
		adam.Step(textRate * (1 - float64(step)/float64(steps)))
		losses = append(losses, loss)
		progress(step+1, loss)
	}
	return losses, nil
}

// test returns the loss on the text that is held out, each character with those of its window before it.
func (m *textModel) test(t corpus) (float64, error) {
	total, windows := 0., 0
	for rest := t.heldOut; len(rest) > textBatch*textLength; rest = rest[textBatch*textLength:] {
		var sequences [][]int
		for i := range textBatch {
			sequences = append(sequences, rest[i*textLength:][:textLength+1])
		}
		loss, err := m.run(sequences, false)
		if err != nil {
			return 0, err
		}
		total += loss
		windows++
	}
	return total / float64(windows), nil
}

// weights returns the attention weights of a head over a sequence.
func (m *textModel) weights(sequence []int, layer, head int) (kernel.Matrix, error) {
	// The loss is not looked at, and what is predicted last is any character.
	if _, err := m.run([][]int{append(slices.Clone(sequence), 0)}, false); err != nil {
		return kernel.Matrix{}, err
	}
	return m.stack.Weights(layer, head, &kernel.Options{Causal: true})
}

// previous returns how much of the attention of a head, in the mean over a held-out passage, is on the character before.
func (m *textModel) previous(t corpus, layer, head int) (float64, error) {
	weights, err := m.weights(t.heldOut[:textLength], layer, head)
	if err != nil {
		return 0, err
	}
	sum := 0.
	for i := 1; i < textLength; i++ {
		sum += float64(learn.Row(weights, i)[i-1])
	}
	return sum / (textLength - 1), nil
}

// previousHead returns the head that looks most at the character before.
func (m *textModel) previousHead(t corpus) (layer, head int, share float64, err error) {
	for l := range textLayers {
		for h := range textHeads {
			s, err := m.previous(t, l, h)
			if err != nil {
				return 0, 0, 0, err
			}
			if s > share {
				layer, head, share = l, h, s
			}
		}
	}
	return layer, head, share, nil
}

// bigram returns the loss on the held-out text of predicting by the character before alone, from how often which follows which in the rest.
func (t corpus) bigram() float64 {
	n := len(t.alphabet)
	pairs, firsts := make([]float64, n*n), make([]float64, n)
	for i, c := range t.train[1:] {
		pairs[t.train[i]*n+c]++
		firsts[t.train[i]]++
	}
	loss := 0.
	for i, c := range t.heldOut[1:] {
		before := t.heldOut[i]
		loss -= math.Log((pairs[before*n+c] + .1) / (firsts[before] + .1*float64(n)))
	}
	return loss / float64(len(t.heldOut)-1)
}

// smooth is the number of steps over which losses are averaged where batches would hide how they fall.
const smooth = 25

// dropStep returns the first step up to which the mean of the last losses is below a limit, 0 if there is none.
func dropStep(losses []float64, limit float64) int {
	for i := smooth; i <= len(losses); i++ {
		if mean(losses[i-smooth:i]) < limit {
			return i
		}
	}
	return 0
}

func mean(x []float64) float64 {
	sum := 0.
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// characters trains on the text, and says what became of the loss and of the head that looks at the character before. Pictures go to a folder, if it has a name.
func characters(ctx context.Context, out io.Writer, steps int, pictures string) error {
	t, err := readText(ctx)
	if err != nil {
		return err
	}
	m := newTextModel(len(t.alphabet))
	start := time.Now()
	losses, err := m.train(t, steps, textBatch, textLength, func(step int, loss float64) {
		if step == 1 || step%100 == 0 {
			fmt.Fprintf(out, "step %4d  loss %.3f\n", step, loss)
		}
	})
	if err != nil {
		return err
	}
	took, bigram := time.Since(start), t.bigram()
	loss, err := m.test(t)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d steps of %d characters in %.0f s. Held out: %.3f nats a character.\nBy the character before alone it is %.3f, below which the loss drops at step %d\n",
		steps, textBatch*textLength, took.Seconds(), loss, bigram, dropStep(losses, bigram))
	fmt.Fprintf(out, "digest of the weights: %s, %s\n", learn.Digest(m.params()), kernel.Backend())
	layer, head, after, err := m.previousHead(t)
	if err != nil {
		return err
	}
	untrained := newTextModel(len(t.alphabet))
	before, err := untrained.previous(t, layer, head)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "head %d of layer %d looks at the character before with %.2f of its attention, before training with %.2f\n",
		head+1, layer+1, after, before)
	if pictures == "" {
		return nil
	}
	if err := drawLosses(filepath.Join(pictures, "loss.svg"), losses, bigram); err != nil {
		return err
	}
	return drawAttention(filepath.Join(pictures, "attention.svg"), t, untrained, m, layer, head)
}

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
	textSteps  = 3000
	textRate   = 4e-3

	copySteps   = 600 // steps at first in which all windows are random characters that come again
	copies      = 2   // windows of a later batch in which characters come again: random ones in one, text in the other
	leastPeriod = 8   // the least number of characters that come again
)

// A corpus is a text in the bytes that occur in it, by their numbers in alphabet. The last tenth is held out, and by the one before
// the numbers above and those of the model were chosen.
type corpus struct {
	alphabet               []byte
	train, choose, heldOut []int
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
	tenth := len(all) / 10
	t.train, t.choose, t.heldOut = all[:len(all)-2*tenth], all[len(all)-2*tenth:len(all)-tenth], all[len(all)-tenth:]
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

// A window is characters that a model reads and predicts. If period is not 0, they are the first period ones again and again.
type window struct {
	characters []int
	period     int
}

// repeat returns a window of characters that come again.
func repeat(characters []int, length int) window {
	w := window{period: len(characters)}
	for len(w.characters) < length {
		w.characters = append(w.characters, characters...)
	}
	w.characters = w.characters[:length]
	return w
}

// randomCopies returns a window in which random characters, each another one, come again.
func (t corpus) randomCopies(random *rand.Rand, period, length int) window {
	return repeat(random.Perm(len(t.alphabet))[:period], length)
}

// place returns characters from a random place of a text.
func place(random *rand.Rand, text []int, length int) []int {
	return text[random.IntN(len(text)-length+1):][:length]
}

// batch returns the windows of a step. How far apart characters come again differs, so that no head can learn the distance.
func (t corpus) batch(random *rand.Rand, step, size, length int) (batch []window) {
	for i := range size {
		period := leastPeriod + random.IntN(length/2-leastPeriod+1)
		switch {
		case step < copySteps || i == 0:
			batch = append(batch, t.randomCopies(random, period, length))
		case i < copies:
			batch = append(batch, repeat(place(random, t.train, period), length))
		default:
			batch = append(batch, window{characters: place(random, t.train, length)})
		}
	}
	return batch
}

// A textModel predicts each character of sequences from those before it. Rotations tell attention how far these are.
type textModel struct {
	character, next *learn.Param
	stack           *learn.Stack
	random          *rand.Rand
}

const textLayers, textHeads = 2, 6

func newTextModel(characters int) *textModel {
	const dim = 96
	random := rand.New(rand.NewPCG(textSeed, 0))
	return &textModel{
		character: learn.NewParam(random, characters, dim, .3),
		next:      learn.NewParam(random, dim, characters, 1/float32(math.Sqrt(dim))),
		stack:     learn.NewStack(random, textLayers, textHeads, dim, kernel.NewRotaryTables(textLength, dim/textHeads, 1e4, false)),
		random:    random,
	}
}

// params returns what is learned: character and next, then what the stack learns.
func (m *textModel) params() []*learn.Param {
	return append([]*learn.Param{m.character, m.next}, m.stack.Params()...)
}

// A textLoss is the mean loss, in nats a character, of text, and of characters that come again: those behind the first of their
// second time, NaN where there are none.
type textLoss struct{ text, copied float64 }

// run computes the losses of predicting the characters of windows behind their first, and with learns adds to the gradients of the
// mean over all of them.
func (m *textModel) run(windows []window, learns bool) (loss textLoss, err error) {
	var characters, targets []int
	offsets := []int{0}
	for _, w := range windows {
		last := len(w.characters) - 1
		characters, targets = append(characters, w.characters[:last]...), append(targets, w.characters[1:]...)
		offsets = append(offsets, len(characters))
	}
	x := learn.NewMatrix(len(characters), m.character.Value.Cols)
	for i, c := range characters {
		copy(learn.Row(x, i), learn.Row(m.character.Value, c))
	}
	y, err := m.stack.Forward(x, &kernel.Options{Causal: true, QueryOffsets: offsets, KeyOffsets: offsets})
	if err != nil {
		return loss, err
	}
	logits := learn.NewMatrix(x.Rows, m.next.Value.Cols)
	if err := m.next.Linear(logits, y); err != nil {
		return loss, err
	}
	nats := learn.Nats(logits, targets)
	var text, copied []float64
	for i, w := range windows {
		if of := nats[offsets[i]:offsets[i+1]]; w.period == 0 {
			text = append(text, of...)
		} else {
			copied = append(copied, of[min(w.period, len(of)):]...)
		}
	}
	loss = textLoss{mean(text), mean(copied)}
	if !learns {
		return loss, nil
	}
	learn.CrossEntropyGradient(logits, logits, targets)
	dy := learn.NewMatrix(y.Rows, y.Cols)
	if err := m.next.LinearGradient(dy, y, logits); err != nil {
		return loss, err
	}
	dx, err := m.stack.Backward(dy)
	if err != nil {
		return loss, err
	}
	for i, c := range characters {
		learn.Add(learn.Row(m.character.Grad, c), learn.Row(dx, i))
	}
	return loss, nil
}

// train trains the model, and returns the losses of each step.
func (m *textModel) train(t corpus, steps, batch, length int, progress func(step int, loss textLoss)) (losses []textLoss, err error) {
	adam := learn.Adam{Params: m.params()}
	for step := range steps {
		loss, err := m.run(t.batch(m.random, step, batch, length+1), true)
		if err != nil {
			return losses, err
		}
		adam.Step(textRate * (1 - float64(step)/float64(steps)))
		losses = append(losses, loss)
		progress(step+1, loss)
	}
	return losses, nil
}

// test returns the loss on a text, each character with those of its window before it.
func (m *textModel) test(text []int) (float64, error) {
	total, batches := 0., 0
	for ; len(text) > textBatch*textLength; text = text[textBatch*textLength:] {
		var windows []window
		for i := range textBatch {
			windows = append(windows, window{characters: text[i*textLength:][:textLength+1]})
		}
		loss, err := m.run(windows, false)
		if err != nil {
			return 0, err
		}
		total += loss.text
		batches++
	}
	return total / float64(batches), nil
}

// weights returns the attention weights of a head over a window.
func (m *textModel) weights(w window, layer, head int) (kernel.Matrix, error) {
	// The loss is not looked at, and what is predicted last is any character.
	w.characters = append(slices.Clone(w.characters), 0)
	if _, err := m.run([]window{w}, false); err != nil {
		return kernel.Matrix{}, err
	}
	return m.stack.Weights(layer, head, &kernel.Options{Causal: true})
}

// copying returns how much of the attention of a head, in the mean over the characters of windows that come for the second time, is on
// the character that followed the first time.
func (m *textModel) copying(windows []window, layer, head int) (float64, error) {
	var shares []float64
	for _, w := range windows {
		weights, err := m.weights(w, layer, head)
		if err != nil {
			return 0, err
		}
		for i := w.period; i < 2*w.period; i++ {
			shares = append(shares, float64(learn.Row(weights, i)[i-w.period+1]))
		}
	}
	return mean(shares), nil
}

// copyingHead returns the head that copies most.
func (m *textModel) copyingHead(windows []window) (layer, head int, share float64, err error) {
	for l := range textLayers {
		for h := range textHeads {
			s, err := m.copying(windows, l, h)
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

// smooth is the number of steps over which losses are averaged where batches would hide how they fall.
const smooth = 25

// dropStep returns the number of steps about which losses fall most: their mean over the last steps before less that over the next
// ones. It is 0 if there are too few.
func dropStep(losses []float64) (step int) {
	most := 0.
	for i := smooth; i+smooth <= len(losses); i++ {
		if fall := mean(losses[i-smooth:i]) - mean(losses[i:i+smooth]); fall > most {
			step, most = i, fall
		}
	}
	return step
}

// mean is NaN for no numbers.
func mean(x []float64) float64 {
	sum := 0.
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// characters trains on the text, and says what became of the losses and of the head that copies most. Pictures go to a folder, if it
// has a name.
func characters(ctx context.Context, out io.Writer, steps int, pictures string) error {
	t, err := readText(ctx)
	if err != nil {
		return err
	}
	m := newTextModel(len(t.alphabet))
	start := time.Now()
	losses, err := m.train(t, steps, textBatch, textLength, func(step int, loss textLoss) {
		if step == 1 || step%100 == 0 {
			fmt.Fprintf(out, "step %4d  loss of what comes again %.3f", step, loss.copied)
			if step > copySteps {
				fmt.Fprintf(out, ", of text %.3f", loss.text)
			}
			fmt.Fprintln(out)
		}
	})
	if err != nil {
		return err
	}
	took := time.Since(start)
	chosen, err := m.test(t.choose)
	if err != nil {
		return err
	}
	loss, err := m.test(t.heldOut)
	if err != nil {
		return err
	}
	var copied []float64
	for _, l := range losses {
		copied = append(copied, l.copied)
	}
	fmt.Fprintf(out, "%d steps of %d characters in %.0f s. Held out: %.3f nats a character, and %.3f in the part by which the set-up was chosen.\n",
		steps, textBatch*textLength, took.Seconds(), loss, chosen)
	fmt.Fprintf(out, "The loss of characters that come again drops at step %d.\n", dropStep(copied))
	fmt.Fprintf(out, "digest of the weights: %s, %s\n", learn.Digest(m.params()), kernel.Backend())

	const period = textLength / 2
	random := rand.New(rand.NewPCG(textSeed, 1))
	var texts, randoms []window
	for range textBatch {
		texts = append(texts, repeat(place(random, t.heldOut, period), textLength))
		randoms = append(randoms, t.randomCopies(random, period, textLength))
	}
	layer, head, _, err := m.copyingHead(randoms)
	if err != nil {
		return err
	}
	untrained := newTextModel(len(t.alphabet))
	fmt.Fprintf(out, "Where %d characters come again, head %d of layer %d looks at what followed them the first time\n", period, head+1, layer+1)
	for _, of := range []struct {
		name    string
		windows []window
	}{{"random characters", randoms}, {"held-out text", texts}} {
		before, err := untrained.copying(of.windows, layer, head)
		if err != nil {
			return err
		}
		after, err := m.copying(of.windows, layer, head)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  with %.2f of its attention in %s, before training with %.2f\n", after, of.name, before)
	}
	if pictures == "" {
		return nil
	}
	if err := drawLosses(filepath.Join(pictures, "loss.svg"), losses, dropStep(copied)); err != nil {
		return err
	}
	return drawAttention(filepath.Join(pictures, "attention.svg"), t, untrained, m, layer, head)
}

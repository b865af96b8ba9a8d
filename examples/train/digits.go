package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/selfattn/attn/examples/internal/learn"
	"github.com/selfattn/attn/kernel"
)

//go:embed data/digits.csv.gz
var digitsFile []byte

// A digit is an image of 8 x 8 grey pixels in 16 patches of 2 x 2, the numbers of each together, from 0 to 1.
type digit struct {
	patches [patches * patchSize]float32
	label   int
}

const (
	side      = 8
	patchSide = 2
	patchSize = patchSide * patchSide
	patches   = side * side / patchSize
	classes   = 10

	digitHeads  = 4
	digitsSeed  = 1
	digitsBatch = 64
	digitsTest  = 360 // images that training does not see
	digitsSteps = 660
	digitsRate  = 4e-3
)

// readDigits reads the images: 64 numbers from 0 to 16 and the digit in each line.
func readDigits() ([]digit, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(digitsFile))
	if err != nil {
		return nil, err
	}
	var all []digit
	for lines := csv.NewReader(unpacked); ; {
		fields, err := lines.Read()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(fields) != side*side+1 {
			return nil, fmt.Errorf("digits: line %d has %d numbers, want %d", len(all)+1, len(fields), side*side+1)
		}
		var numbers [side*side + 1]int
		for i, field := range fields {
			if numbers[i], err = strconv.Atoi(field); err != nil {
				return nil, fmt.Errorf("digits: line %d: %w", len(all)+1, err)
			}
		}
		d := digit{label: numbers[side*side]}
		for i, grey := range numbers[:side*side] {
			row, col := i/side, i%side
			patch := row/patchSide*(side/patchSide) + col/patchSide
			d.patches[patch*patchSize+row%patchSide*patchSide+col%patchSide] = float32(grey) / 16
		}
		all = append(all, d)
	}
}

// A digitModel reads an image as a sequence of patches: each becomes a vector, to which that of its position is added, then
// comes attention. The mean of the vectors says which digit it is.
type digitModel struct {
	patch, position, class *learn.Param
	stack                  *learn.Stack
	random                 *rand.Rand
}

func newDigitModel() *digitModel {
	const layers, dim = 2, 64
	random := rand.New(rand.NewPCG(digitsSeed, 0))
	return &digitModel{
		patch:    learn.NewParam(random, patchSize, dim, 1/float32(patchSide)),
		position: learn.NewParam(random, patches, dim, .5),
		class:    learn.NewParam(random, dim, classes, 1/float32(math.Sqrt(dim))),
		stack:    learn.NewStack(random, layers, digitHeads, dim, nil),
		random:   random,
	}
}

// params returns what is learned: patch, position and class, then what the stack learns.
func (m *digitModel) params() []*learn.Param {
	return append([]*learn.Param{m.patch, m.position, m.class}, m.stack.Params()...)
}

// run computes the loss and the number of images that are recognized, and with learns adds to the gradients.
func (m *digitModel) run(images []digit, learns bool) (loss float64, right int, err error) {
	n, dim := len(images), m.position.Value.Cols
	in, x := learn.NewMatrix(n*patches, patchSize), learn.NewMatrix(n*patches, dim)
	targets, offsets := make([]int, n), make([]int, n+1)
	for i, image := range images {
		copy(in.Data[i*len(image.patches):], image.patches[:])
		targets[i], offsets[i+1] = image.label, (i+1)*patches
	}
	if err := m.patch.Linear(x, in); err != nil {
		return 0, 0, err
	}
	for i := range images {
		learn.Add(x.Data[i*patches*dim:][:patches*dim], m.position.Value.Data)
	}
	y, err := m.stack.Forward(x, &kernel.Options{QueryOffsets: offsets, KeyOffsets: offsets})
	if err != nil {
		return 0, 0, err
	}
	pooled, logits := learn.NewMatrix(n, dim), learn.NewMatrix(n, classes)
	for i := range y.Rows {
		learn.Add(learn.Row(pooled, i/patches), learn.Row(y, i))
	}
	scale(pooled.Data, 1./patches)
	if err := m.class.Linear(logits, pooled); err != nil {
		return 0, 0, err
	}
	for i, target := range targets {
		best := 0
		for c, x := range learn.Row(logits, i) {
			if x > logits.Data[i*classes+best] {
				best = c
			}
		}
		if best == target {
			right++
		}
	}
	loss = learn.CrossEntropy(logits, logits, targets)
	if !learns {
		return loss, right, nil
	}
	dpooled, dy := learn.NewMatrix(n, dim), learn.NewMatrix(n*patches, dim)
	if err := m.class.LinearGradient(dpooled, pooled, logits); err != nil {
		return 0, 0, err
	}
	scale(dpooled.Data, 1./patches)
	for i := range dy.Rows {
		copy(learn.Row(dy, i), learn.Row(dpooled, i/patches))
	}
	dx, err := m.stack.Backward(dy)
	if err != nil {
		return 0, 0, err
	}
	for i := range images {
		learn.Add(m.position.Grad.Data, dx.Data[i*patches*dim:][:patches*dim])
	}
	return loss, right, m.patch.LinearGradient(kernel.Matrix{}, in, dx)
}

func scale(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

// A digitRun is a training: the images in the order of a shuffle, of which the last are for the test, and the batches of each step.
type digitRun struct {
	images  []digit
	batches [][]int
}

// newDigitRun draws the batches of an epoch after the other.
func newDigitRun(random *rand.Rand, steps int) (run digitRun, err error) {
	if run.images, err = readDigits(); err != nil {
		return run, err
	}
	random.Shuffle(len(run.images), func(i, j int) { run.images[i], run.images[j] = run.images[j], run.images[i] })
	var order []int
	for range steps {
		if len(order) < digitsBatch {
			order = random.Perm(len(run.images) - digitsTest)
		}
		run.batches = append(run.batches, order[:digitsBatch])
		order = order[digitsBatch:]
	}
	return run, nil
}

// rate falls to zero at the last step, which leaves less of the noise of the batches.
func (run digitRun) rate(step int) float64 {
	return digitsRate * (1 - float64(step)/float64(len(run.batches)))
}

// train trains the model for some of the steps, and returns the loss of each.
func (run digitRun) train(m *digitModel, steps int, progress func(step int, loss float64)) (losses []float64, err error) {
	adam := learn.Adam{Params: m.params()}
	for step, batch := range run.batches[:steps] {
		images := make([]digit, len(batch))
		for i, index := range batch {
			images[i] = run.images[index]
		}
		loss, _, err := m.run(images, true)
		if err != nil {
			return losses, err
		}
		adam.Step(run.rate(step))
		losses = append(losses, loss)
		progress(step+1, loss)
	}
	return losses, nil
}

// digits trains on the images, and says how many of the others it recognizes.
func digits(out io.Writer, steps int) error {
	m := newDigitModel()
	run, err := newDigitRun(m.random, steps)
	if err != nil {
		return err
	}
	start := time.Now()
	_, err = run.train(m, steps, func(step int, loss float64) {
		if step == 1 || step%60 == 0 {
			fmt.Fprintf(out, "step %4d  loss %.4f\n", step, loss)
		}
	})
	if err != nil {
		return err
	}
	took := time.Since(start)
	test := run.images[len(run.images)-digitsTest:]
	loss, right, err := m.run(test, false)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d steps of %d images in %.1f s. Of the %d test images %.1f%% are recognized, loss %.4f\n",
		len(run.batches), digitsBatch, took.Seconds(), len(test), 100*float64(right)/float64(len(test)), loss)
	fmt.Fprintf(out, "digest of the weights: %s, %s\n", learn.Digest(m.params()), kernel.Backend())
	return nil
}

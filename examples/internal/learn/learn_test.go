package learn

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// problem is a stack with a linear layer behind it, and what it is to predict from x.
type problem struct {
	input, head *Param
	stack       *Stack
	targets     []int
	opts        kernel.Options
}

func newProblem() *problem {
	const tokens, dim, classes = 9, 8, 5
	random := rand.New(rand.NewPCG(1, 2))
	p := &problem{NewParam(random, tokens, dim, 1), NewParam(random, dim, classes, 1),
		NewStack(random, 2, 2, dim, kernel.NewRotaryTables(tokens, dim/2, 1e4, false)), nil, kernel.Options{Causal: true}}
	for range tokens {
		p.targets = append(p.targets, random.IntN(classes))
	}
	return p
}

func (p *problem) params() []*Param { return append(p.stack.Params(), p.input, p.head) }

// loss computes the loss, and with learns all gradients.
func (p *problem) loss(t *testing.T, learns bool) float64 {
	y, err := p.stack.Forward(p.input.Value, &p.opts)
	require.NoError(t, err)
	logits := NewMatrix(y.Rows, p.head.Value.Cols)
	require.NoError(t, p.head.Linear(logits, y))
	loss := CrossEntropy(logits, logits, p.targets)
	if learns {
		dy := NewMatrix(y.Rows, y.Cols)
		require.NoError(t, p.head.LinearGradient(dy, y, logits))
		dx, err := p.stack.Backward(dy)
		require.NoError(t, err)
		Add(p.input.Grad.Data, dx.Data)
	}
	return loss
}

// The gradient of every parameter is the slope of the loss.
func TestGradients(t *testing.T) {
	p := newProblem()
	p.loss(t, true)
	for number, param := range p.params() {
		for i := 0; i < len(param.Value.Data); i += 7 {
			const h = 1. / 128
			x := param.Value.Data[i]
			param.Value.Data[i] = x + h
			above := p.loss(t, false)
			param.Value.Data[i] = x - h
			below := p.loss(t, false)
			param.Value.Data[i] = x
			require.InDelta(t, (above-below)/(2*h), param.Grad.Data[i], 3e-4, "parameter %d, element %d", number, i)
		}
	}
}

func TestCrossEntropy(t *testing.T) {
	logits, d := NewMatrix(2, 2), NewMatrix(2, 2)
	logits.Data[3] = 1
	loss := CrossEntropy(d, logits, []int{0, 1})
	share := 1 / (1 + math.E)
	require.InDelta(t, (math.Ln2-math.Log(1-share))/2, loss, 1e-6)
	require.InDeltaSlice(t, []float32{-.25, .25, float32(share / 2), float32(-share / 2)}, d.Data, 1e-6)
}

// The first step of Adam is the rate, against the gradient, whatever its size; the second of a vanished gradient is .67 of it.
func TestAdam(t *testing.T) {
	p := NewParam(rand.New(rand.NewPCG(0, 0)), 1, 3, 0)
	copy(p.Grad.Data, []float32{1e-3, -50, 0})
	adam := Adam{Params: []*Param{p}}
	adam.Step(.5)
	require.InDeltaSlice(t, []float32{-.5, .5, 0}, p.Value.Data, 1e-5)
	require.Equal(t, []float32{0, 0, 0}, p.Grad.Data)
	adam.Step(.5)
	second := .5 * (.09 / (1 - .81)) / math.Sqrt(.000999/(1-.998001))
	require.InDelta(t, .5+second, p.Value.Data[1], 1e-5)
}

// The trained weights have these bits on every CPU and backend, with any number of workers.
func TestDigestOfTraining(t *testing.T) {
	for _, workers := range []int{1, 3} {
		p := newProblem()
		p.opts.Workers = workers
		adam := Adam{Params: p.params()}
		first := p.loss(t, false)
		for range 20 {
			p.loss(t, true)
			adam.Step(.01)
		}
		require.Less(t, p.loss(t, false), first/2)
		require.Equal(t, "de6ff43f1c44a6b6", Digest(p.params()))
	}
}

func TestWeightsOfNoLayer(t *testing.T) {
	p := newProblem()
	p.loss(t, false)
	_, err := p.stack.Weights(2, 0, &p.opts)
	require.ErrorContains(t, err, "layer 2, want one of 2")
}

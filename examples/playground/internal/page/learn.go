package page

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/kernel"
)

// What is learned: that apple means one thing beside some words and another beside others.
var (
	// Sentences about apple, its second word, of either sense in turn.
	lessons = [][]string{
		{"love", "apple", "phones"}, {"love", "apple", "juice"},
		{"buy", "apple", "computer"}, {"eat", "apple", "cake"},
		{"use", "apple", "software"}, {"drink", "apple", "wine"},
		{"want", "apple", "keyboard"}, {"like", "apple", "jam"},
	}
	// What apple should be near to, by sense.
	targets = [2][]string{{"samsung", "microsoft", "internet", "screen"}, {"pear", "cherry", "grape", "mango"}}
	// Words and sentences that are not learned from.
	heldOut  = [2][]string{{"iphone", "phone", "laptop"}, {"fruit", "banana", "lemon"}}
	exam     = [][]string{{"sell", "apple", "phone"}, {"hate", "apple", "tea"}}
	meanings = []string{"technology", "fruit"}
)

const (
	asked    = 1 // the word of a sentence that is asked about
	maxSteps = 50
	rate     = 0.0005
)

type learnRequest struct {
	Seed  uint64 `json:"seed"`
	State *state `json:"state"` // of the reply before; null begins anew
	Steps int    `json:"steps"`
}

// A state is all that training goes on from.
type state struct {
	Step int `json:"step"`
	// W are the matrices that make queries, keys and values of words, one after the other. Mean and Square are what Adam
	// remembers of their gradients.
	W      numbers `json:"w"`
	Mean   numbers `json:"mean"`
	Square numbers `json:"square"`
}

type learnReply struct {
	State    state     `json:"state"`
	Losses   []float64 `json:"losses"` // before each step
	Examples []lesson  `json:"examples"`
	Meanings []string  `json:"meanings"`
	Dims     [2]int    `json:"dims"` // of each of the three matrices
}

// A lesson is what attention makes of a sentence.
type lesson struct {
	Words   []string `json:"words"`
	Meaning int      `json:"meaning"`
	Learned bool     `json:"learned"` // whether it is learned from
	Weights grid     `json:"weights"`
	// Near is the mean cosine of apple's result with the values of held-out words of either meaning.
	Near [2]float64 `json:"near"`
}

// A class is a training set in one matrix, sentence after sentence.
type class struct {
	x       grid
	offsets []int
	targets grid // the words of both meanings
}

func (s *Server) class() (*class, error) {
	c := &class{offsets: []int{0}}
	var words []string
	for _, l := range lessons {
		words = append(words, l...)
		c.offsets = append(c.offsets, len(words))
	}
	x, err := s.voc.Embed(words)
	if err != nil {
		return nil, err
	}
	c.x = grid{len(words), dim, x}
	words = slices.Concat(targets[0], targets[1])
	x, err = s.voc.Embed(words)
	c.targets = grid{len(words), dim, x}
	return c, err
}

// learn trains for some steps.
func (s *Server) learn(ctx context.Context, q learnRequest) (*learnReply, error) {
	if err := checkRange("the number of steps", q.Steps, 0, maxSteps); err != nil {
		return nil, err
	}
	c, err := s.class()
	if err != nil {
		return nil, err
	}
	var st state
	if q.State == nil {
		st = newState(q.Seed)
	} else {
		st = *q.State
		if err := st.check(); err != nil {
			return nil, err
		}
	}
	r := &learnReply{Losses: []float64{}, Meanings: meanings, Dims: [2]int{dim, headDim}}
	for range q.Steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		loss, gradient, err := c.loss(st.W)
		if err != nil {
			return nil, err
		}
		r.Losses = append(r.Losses, loss)
		st.adam(gradient)
	}
	r.State = st
	for i, words := range slices.Concat(lessons[:2], exam) {
		l, err := s.examine(layer(st.W), words)
		if err != nil {
			return nil, err
		}
		l.Meaning, l.Learned = i%2, i < 2
		r.Examples = append(r.Examples, l)
	}
	return r, nil
}

const matrixSize = dim * headDim

// newState begins with random matrices.
func newState(seed uint64) state {
	random := rand.New(rand.NewPCG(seed, 1))
	st := state{Mean: make(numbers, 3*matrixSize), Square: make(numbers, 3*matrixSize)}
	for range 3 {
		st.W = append(st.W, randomMatrix(random, dim).Data...)
	}
	return st
}

func (st *state) check() error {
	if err := checkRange("the step", st.Step, 0, 1e6); err != nil {
		return err
	}
	for _, x := range []numbers{st.W, st.Mean, st.Square} {
		if len(x) != 3*matrixSize {
			return bad("the state has a list of %d numbers, want %d", len(x), 3*matrixSize)
		}
		if err := checkNumbers("the state", x); err != nil {
			return err
		}
	}
	for _, v := range st.Square {
		if v < 0 {
			return bad("the state has a mean of squares of %v", v)
		}
	}
	return nil
}

// layer shows matrices that are learned, or their gradients, as a layer.
func layer(w []float32) *kernel.SelfAttention {
	matrix := func(i int) kernel.Matrix { return grid{dim, headDim, w[i*matrixSize:][:matrixSize]}.matrix() }
	return &kernel.SelfAttention{WQ: matrix(0), WK: matrix(1), WV: matrix(2)}
}

// adam takes a step against the gradient (Kingma and Ba, Adam, 2015).
func (st *state) adam(gradient []float32) {
	const slow, slower, tiny = 0.9, 0.999, 1e-8
	st.Step++
	first, second := 1-math.Pow(slow, float64(st.Step)), 1-math.Pow(slower, float64(st.Step))
	for i, g := range gradient {
		st.Mean[i] = float32(slow*st.Mean[i]) + float32((1-slow)*g)
		st.Square[i] = float32(slower*st.Square[i]) + float32((1-slower)*float32(g*g))
		step := float64(st.Mean[i]) / first / (math.Sqrt(float64(st.Square[i])/second) + tiny)
		st.W[i] -= float32(rate * step)
	}
}

// loss returns how surprising the right meanings are, on average, and the gradient of that: the probability of a word is the
// softmax of apple's result times the words' values, and that of a meaning the sum of its words'.
func (c *class) loss(w []float32) (float64, []float32, error) {
	n, m := c.x.Rows, c.targets.Rows
	l, x := layer(w), c.x.matrix()
	out, words, logits := newGrid(n, headDim), newGrid(m, headDim), newGrid(len(lessons), m)
	var tape kernel.Tape
	err := l.ForwardTape(out.matrix(), x, &tape, &kernel.Options{QueryOffsets: c.offsets, KeyOffsets: c.offsets})
	if err != nil {
		return 0, nil, err
	}
	if err := kernel.MatMul(words.matrix(), c.targets.matrix(), l.WV, nil); err != nil {
		return 0, nil, err
	}
	apple := newGrid(len(lessons), headDim)
	for i, from := range c.offsets[:len(lessons)] {
		copy(apple.row(i), out.row(from+asked))
	}
	if err := products(logits, apple, words); err != nil {
		return 0, nil, err
	}
	kernel.SoftmaxRows(logits.Data, logits.Data, m)

	// The gradient of a logit is its word's probability, less its share of the right meaning.
	var loss float64
	for i := range lessons {
		p := logits.row(i)
		right := p[i%2*m/2:][:m/2]
		var sum float64
		for _, x := range right {
			sum += float64(x)
		}
		loss -= math.Log(min(sum, 1)) / float64(len(lessons))
		for j := range right {
			right[j] -= float32(float64(right[j]) / sum)
		}
		for j := range p {
			p[j] /= float32(len(lessons))
		}
	}

	// And back: to apple's results and the words' values, and from these to the matrices.
	gradient := make([]float32, len(w))
	g := layer(gradient)
	dapple, dwords, dout := newGrid(len(lessons), headDim), newGrid(m, headDim), newGrid(n, headDim)
	if err := kernel.MatMul(dapple.matrix(), logits.matrix(), words.matrix(), nil); err != nil {
		return 0, nil, err
	}
	if err := kernel.MatMul(dwords.matrix(), logits.matrix(), apple.matrix(), &kernel.MatMulOptions{TransA: true}); err != nil {
		return 0, nil, err
	}
	for i, from := range c.offsets[:len(lessons)] {
		copy(dout.row(from+asked), dapple.row(i))
	}
	if err := l.Backward(g, kernel.Matrix{}, dout.matrix(), &tape); err != nil {
		return 0, nil, err
	}
	return loss, gradient, kernel.MatMul(g.WV, c.targets.matrix(), dwords.matrix(), &kernel.MatMulOptions{TransA: true, Add: true})
}

// examine says what attention makes of apple in a sentence.
func (s *Server) examine(l *kernel.SelfAttention, words []string) (lesson, error) {
	n := len(words)
	r := lesson{Words: words, Weights: newGrid(n, n)}
	data, err := s.voc.Embed(words)
	if err != nil {
		return r, err
	}
	x, out := grid{n, dim, data}, newGrid(n, headDim)
	if err := l.Forward(out.matrix(), x.matrix(), nil); err != nil {
		return r, err
	}
	if err := l.Weights(r.Weights.matrix(), x.matrix(), 0, count(n), nil); err != nil {
		return r, err
	}
	for i, group := range heldOut {
		for _, word := range group {
			value := newGrid(1, headDim)
			if err := kernel.MatMul(value.matrix(), grid{1, dim, s.voc.Vectors[word]}.matrix(), l.WV, nil); err != nil {
				return r, err
			}
			r.Near[i] += glove.Cosine(out.row(asked), value.Data) / float64(len(group))
		}
	}
	return r, nil
}

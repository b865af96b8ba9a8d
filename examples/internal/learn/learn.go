// Package learn is what training needs besides package kernel: parameters and Adam, a linear layer, the cross entropy, and a stack of
// attention layers. Every product and sum is rounded to float32, so that compilers cannot fuse them: trained weights have
// the same bits on every CPU and backend.
package learn

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/selfattn/attn/kernel"
)

// A Param is a matrix that is learned, and the gradient of the loss with respect to it, which steps of [Adam] clear.
type Param struct {
	Value, Grad  kernel.Matrix
	mean, square []float32 // of gradients, as Adam follows them
}

// NewParam returns a matrix whose numbers are drawn evenly from -bound to bound.
func NewParam(random *rand.Rand, rows, cols int, bound float32) *Param {
	p := &Param{Value: NewMatrix(rows, cols), Grad: NewMatrix(rows, cols), mean: make([]float32, rows*cols), square: make([]float32, rows*cols)}
	for i := range p.Value.Data {
		p.Value.Data[i] = float32(2*random.Float32()-1) * bound
	}
	return p
}

// NewMatrix returns a matrix of zeros.
func NewMatrix(rows, cols int) kernel.Matrix {
	return kernel.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)}
}

// Row returns row i of m.
func Row(m kernel.Matrix, i int) []float32 { return m.Data[i*m.Stride:][:m.Cols] }

// Add adds the numbers of src to those of dst.
func Add(dst, src []float32) {
	for i, x := range src {
		dst[i] += x
	}
}

// Digest returns the first 16 hexadecimal digits of the SHA-256 of the bits of all values.
func Digest(params []*Param) string {
	h := sha256.New()
	for _, p := range params {
		binary.Write(h, binary.LittleEndian, p.Value.Data) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// Adam moves parameters against their gradients, by about Rate in every number (Kingma and Ba, Adam: A Method for Stochastic
// Optimization, 2015, with their constants).
type Adam struct {
	Params         []*Param
	power1, power2 float64 // of the constants, by the number of steps
}

const (
	beta1, beta2 = .9, .999
	adamEpsilon  = 1e-8
)

// Step moves the parameters, and clears their gradients.
func (a *Adam) Step(rate float64) {
	if a.power1 == 0 {
		a.power1, a.power2 = 1, 1
	}
	a.power1 *= beta1
	a.power2 *= beta2
	step, root := float32(rate/(1-a.power1)), float32(math.Sqrt(1-a.power2))
	for _, p := range a.Params {
		for i, g := range p.Grad.Data {
			mean := float32(beta1*p.mean[i]) + float32((1-beta1)*g)
			square := float32(beta2*p.square[i]) + float32((1-beta2)*float32(g*g))
			p.mean[i], p.square[i] = mean, square
			deviation := float32(math.Sqrt(float64(square)))
			p.Value.Data[i] -= float32(step*mean) / (deviation/root + adamEpsilon)
		}
		clear(p.Grad.Data)
	}
}

// Linear sets y = x.w.
func (p *Param) Linear(y, x kernel.Matrix) error { return kernel.MatMul(y, x, p.Value, nil) }

// LinearGradient adds to the gradient of w where y = x.w, and sets dx to that of x if it has Data.
func (p *Param) LinearGradient(dx, x, dy kernel.Matrix) error {
	if err := kernel.MatMul(p.Grad, x, dy, &kernel.MatMulOptions{TransA: true, Add: true}); err != nil || dx.Data == nil {
		return err
	}
	return kernel.MatMul(dx, dy, p.Value, &kernel.MatMulOptions{TransB: true})
}

// CrossEntropy returns the mean of [Nats], and sets d, which may be logits, to its gradient.
func CrossEntropy(d, logits kernel.Matrix, targets []int) float64 {
	loss := 0.
	for _, nats := range Nats(logits, targets) {
		loss += nats
	}
	CrossEntropyGradient(d, logits, targets)
	return loss / float64(len(targets))
}

// Nats returns -log(softmax(row)[target]) of each row of logits.
func Nats(logits kernel.Matrix, targets []int) []float64 {
	nats := make([]float64, len(targets))
	for i, target := range targets {
		row := Row(logits, i)
		nats[i] = float64(kernel.LogSumExp(row)) - float64(row[target])
	}
	return nats
}

// CrossEntropyGradient sets d, which may be logits, to the gradient of the mean of [Nats].
func CrossEntropyGradient(d, logits kernel.Matrix, targets []int) {
	share := 1 / float32(len(targets))
	for i, target := range targets {
		to := Row(d, i)
		kernel.Softmax(to, Row(logits, i))
		to[target]--
		for c := range to {
			to[c] *= share
		}
	}
}

// Epsilon is what the norms of a [Stack] add to the mean of squares.
const Epsilon = 1e-5

// A Norm is kernel.RMSNorm with its way back. Its zero value has no gain.
type Norm struct {
	gain *Param
	row  []float32
}

// newNorm returns the norm of rows of dim elements whose gain is learned: 1 at first.
func newNorm(dim int) Norm {
	n := Norm{NewParam(rand.New(rand.NewPCG(0, 0)), 1, dim, 0), make([]float32, dim)}
	for i := range n.gain.Value.Data {
		n.gain.Value.Data[i] = 1
	}
	return n
}

// Forward sets the rows of y to those of x, normed.
func (n Norm) Forward(y, x kernel.Matrix) error {
	var gain []float32
	if n.gain != nil {
		gain = n.gain.Value.Data
	}
	return kernel.RMSNorm(y, x, gain, Epsilon)
}

// Backward sets dx, which may be dy, to the gradient of x, and adds to that of the gain: with r = 1/sqrt(mean of x^2 + eps) and z = dy*gain
//
//	dx = r*(z - x*(r^2 * mean of z*x))    gain' += dy*x*r
func (n Norm) Backward(dx, x, dy kernel.Matrix) {
	size := float64(x.Cols)
	for i := range x.Rows {
		x, dx, z := Row(x, i), Row(dx, i), Row(dy, i)
		square := float64(kernel.Dot(x, x))/size + Epsilon
		r := float32(1 / math.Sqrt(square))
		if n.gain != nil {
			for c, g := range z {
				n.row[c] = g * n.gain.Value.Data[c]
				n.gain.Grad.Data[c] += float32(float32(g*x[c]) * r)
			}
			z = n.row
		}
		shared := float32(float64(kernel.Dot(z, x)) / square / size)
		for c, z := range z {
			dx[c] = r * (z - float32(shared*x[c]))
		}
	}
}

// A Stack is layers of self-attention, each with a norm before it and its input added to its output, and a norm at the end:
//
//	x += Attention(norm(x)) for each layer,    y = norm(x)
type Stack struct {
	layers []layer
	last   Norm
	x      []kernel.Matrix // what each norm was given
	y      kernel.Matrix
	dx, dy kernel.Matrix
}

type layer struct {
	norm            Norm
	weights         [4]*Param // WQ, WK, WV and WO
	attention, grad kernel.SelfAttention
	tape            kernel.Tape
	normed          kernel.Matrix
}

// NewStack returns layers with random weights, drawn as those of PyTorch's linear layers are. Queries and keys are rotated by
// rotary, if that is not nil.
func NewStack(random *rand.Rand, layers, heads, dim int, rotary *kernel.RotaryTables) *Stack {
	s := &Stack{layers: make([]layer, layers), last: newNorm(dim)}
	for i := range s.layers {
		l := &s.layers[i]
		l.norm = newNorm(dim)
		for w := range l.weights {
			l.weights[w] = NewParam(random, dim, dim, float32(1/math.Sqrt(float64(dim))))
		}
		w := l.weights
		l.attention = kernel.SelfAttention{Heads: heads, Rotary: rotary, WQ: w[0].Value, WK: w[1].Value, WV: w[2].Value, WO: w[3].Value}
		l.grad = kernel.SelfAttention{WQ: w[0].Grad, WK: w[1].Grad, WV: w[2].Grad, WO: w[3].Grad}
	}
	return s
}

// Params returns what is learned: of each layer the gain, WQ, WK, WV and WO, then the last gain.
func (s *Stack) Params() (all []*Param) {
	for i := range s.layers {
		all = append(append(all, s.layers[i].norm.gain), s.layers[i].weights[:]...)
	}
	return append(all, s.last.gain)
}

// Forward computes the contextual vectors of the tokens x. They, and what Backward needs, are kept until the next call.
func (s *Stack) Forward(x kernel.Matrix, opts *kernel.Options) (kernel.Matrix, error) {
	if s.y.Rows != x.Rows {
		s.x = nil
		for range len(s.layers) + 1 {
			s.x = append(s.x, NewMatrix(x.Rows, x.Cols))
		}
		for i := range s.layers {
			s.layers[i].normed = NewMatrix(x.Rows, x.Cols)
		}
		s.y, s.dx, s.dy = NewMatrix(x.Rows, x.Cols), NewMatrix(x.Rows, x.Cols), NewMatrix(x.Rows, x.Cols)
	}
	copy(s.x[0].Data, x.Data)
	for i := range s.layers {
		l, in, out := &s.layers[i], s.x[i], s.x[i+1]
		if err := l.norm.Forward(l.normed, in); err != nil {
			return s.y, err
		}
		if err := l.attention.ForwardTape(out, l.normed, &l.tape, opts); err != nil {
			return s.y, err
		}
		Add(out.Data, in.Data)
	}
	return s.y, s.last.Forward(s.y, s.x[len(s.layers)])
}

// Backward adds to the gradients of the parameters, given that of the vectors which Forward returned, and returns that of x,
// which is kept until the next call.
func (s *Stack) Backward(dy kernel.Matrix) (kernel.Matrix, error) {
	s.last.Backward(s.dx, s.x[len(s.layers)], dy)
	for i := len(s.layers) - 1; i >= 0; i-- {
		l := &s.layers[i]
		if err := l.attention.Backward(&l.grad, s.dy, s.dx, &l.tape); err != nil {
			return s.dx, err
		}
		l.norm.Backward(s.dy, s.x[i], s.dy)
		Add(s.dx.Data, s.dy.Data)
	}
	return s.dx, nil
}

// Weights returns the attention weights of a head in the last call of Forward with options opts: the square matrix of its tokens.
func (s *Stack) Weights(layer, head int, opts *kernel.Options) (kernel.Matrix, error) {
	if layer < 0 || layer >= len(s.layers) {
		return kernel.Matrix{}, fmt.Errorf("layer %d, want one of %d", layer, len(s.layers))
	}
	l := &s.layers[layer]
	tokens := make([]int, l.normed.Rows)
	for i := range tokens {
		tokens[i] = i
	}
	m := NewMatrix(len(tokens), len(tokens))
	return m, l.attention.Weights(m, l.normed, head, tokens, opts)
}

package minilm

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/selfattn/attn/kernel"
)

// Options of a call. The zero value is one on all cores.
type Options struct {
	// Workers is the most goroutines that share the work, as in [kernel.Options]. Vectors do not depend on it.
	Workers int

	// After, if it is not nil, is called after the embedding, with layer 0, and after each layer, from 1 on.
	After func(layer int, a *Activations)

	// Times, if it is not nil, receives how long each stage took.
	Times *[Stages]time.Duration
}

// A Stage is a kind of work.
type Stage int

// The stages, and how many there are.
const (
	Embedding Stage = iota // rows of tokens and positions
	Products
	Attention
	Norms
	GELU
	Pooling
	Stages
)

func (s Stage) String() string {
	return [...]string{"embedding", "products", "attention", "norms", "GELU", "pooling"}[s]
}

// Embed returns the vectors of texts, of Dim elements each. A text of more than MaxTokens is cut: [SEP] takes the
// place of what follows.
func (m *Model) Embed(texts []string, o Options) ([][]float32, error) {
	batch := make([][]int, len(texts))
	for i, text := range texts {
		batch[i] = m.Tokenizer.Encode(text)
		if n := len(batch[i]); n > MaxTokens {
			batch[i][MaxTokens-1] = batch[i][n-1]
			batch[i] = batch[i][:MaxTokens]
		}
	}
	return m.EmbedTokens(context.Background(), batch, o)
}

// EmbedTokens returns the vectors of texts that are ids of tokens, 1 to MaxTokens each. When ctx is done, it stops
// behind the product that is computed, and returns ctx.Err().
func (m *Model) EmbedTokens(ctx context.Context, batch [][]int, o Options) ([][]float32, error) {
	for i, ids := range batch {
		if len(ids) == 0 || len(ids) > MaxTokens {
			return nil, fmt.Errorf("minilm: text %d has %d tokens, want 1 to %d", i, len(ids), MaxTokens)
		}
		for _, id := range ids {
			if id < 0 || id >= m.Tokenizer.Len() {
				return nil, fmt.Errorf("minilm: text %d has the token %d, want 0 to %d", i, id, m.Tokenizer.Len()-1)
			}
		}
	}
	if len(batch) == 0 {
		return nil, nil
	}
	a := m.pool.Get().(*Activations)
	defer m.pool.Put(a)
	a.reset(batch)
	return m.run(ctx, a, batch, o)
}

// Activations are what is computed of a batch on its way through a model.
type Activations struct {
	// Offsets say where texts lie: the tokens of text i are the rows [Offsets[i], Offsets[i+1]).
	Offsets []int

	// X has a row for each token.
	X kernel.Matrix

	qkv   kernel.Matrix // queries, keys and values side by side, of each the heads side by side
	heads kernel.Matrix // what attention mixed
	inner kernel.Matrix // between the last two products of a layer
}

func (a *Activations) reset(batch [][]int) {
	a.Offsets = append(a.Offsets[:0], 0)
	for i, ids := range batch {
		a.Offsets = append(a.Offsets, a.Offsets[i]+len(ids))
	}
	rows := a.Offsets[len(batch)]
	resize(&a.X, rows, Dim)
	resize(&a.qkv, rows, 3*Dim)
	resize(&a.heads, rows, Dim)
	resize(&a.inner, rows, inner)
}

func resize(x *kernel.Matrix, rows, cols int) {
	*x = kernel.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: slices.Grow(x.Data[:0], rows*cols)[:rows*cols]}
}

// tensor are heads that lie side by side in n rows of x, from a row and a column on.
func tensor(x kernel.Matrix, row, n, col int) kernel.Tensor {
	return kernel.Tensor{
		Data: x.Data[row*x.Stride+col:], Heads: Heads, Len: n, Dim: headDim, HeadStride: headDim, LenStride: x.Stride,
	}
}

// Weights are what the last layer's attention gave in a text: row i is how head shares the attention of token i.
func (a *Activations) Weights(text, head int) (kernel.Matrix, error) {
	from, n := a.Offsets[text], a.Offsets[text+1]-a.Offsets[text]
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	var w kernel.Matrix
	resize(&w, n, n)
	return w, kernel.AttentionWeights(w, tensor(a.qkv, from, n, 0), tensor(a.qkv, from, n, Dim), 0, head, all, nil)
}

// run computes the vectors of the batch that a was made for.
func (m *Model) run(ctx context.Context, a *Activations, batch [][]int, o Options) ([][]float32, error) {
	var failed error
	do := func(s Stage, work func() error) {
		if failed == nil {
			failed = ctx.Err()
		}
		if failed != nil {
			return
		}
		start := time.Now()
		failed = work()
		if o.Times != nil {
			o.Times[s] += time.Since(start)
		}
	}
	after := func(layer int) {
		if o.After != nil && failed == nil {
			o.After(layer, a)
		}
	}
	multiply := func(dst, x kernel.Matrix, l linear, add bool) {
		do(Products, func() error {
			return kernel.MatMulPacked(dst, x, l.weights, &kernel.MatMulOptions{Bias: l.bias, Add: add, Workers: o.Workers})
		})
	}
	normalise := func(n layerNorm) {
		do(Norms, func() error { return kernel.LayerNorm(a.X, a.X, n.gain, n.bias, epsilon) })
	}

	do(Embedding, func() error { m.embed(a.X, batch); return nil })
	normalise(m.norm)
	after(0)
	total := a.X.Rows
	for i := range m.layers {
		l := &m.layers[i]
		multiply(a.qkv, a.X, l.qkv, false)
		do(Attention, func() error {
			q, k, v := tensor(a.qkv, 0, total, 0), tensor(a.qkv, 0, total, Dim), tensor(a.qkv, 0, total, 2*Dim)
			return kernel.AttentionContext(ctx, tensor(a.heads, 0, total, 0), q, k, v,
				&kernel.Options{QueryOffsets: a.Offsets, KeyOffsets: a.Offsets, Workers: o.Workers})
		})
		multiply(a.X, a.heads, l.out, true)
		normalise(l.normOfHeads)
		multiply(a.inner, a.X, l.up, false)
		do(GELU, func() error { kernel.GELU(a.inner.Data, a.inner.Data); return nil })
		multiply(a.X, a.inner, l.down, true)
		normalise(l.normOfSum)
		after(i + 1)
	}
	var vectors [][]float32
	do(Pooling, func() error { vectors = pool(a); return nil })
	return vectors, failed
}

// embed sets each row of x to what its token is, plus where it is.
func (m *Model) embed(x kernel.Matrix, batch [][]int) {
	row := x.Data
	for _, ids := range batch {
		for position, id := range ids {
			word, place := m.words[id*Dim:][:Dim], m.positions[position*Dim:][:Dim]
			for i := range word {
				row[i] = word[i] + place[i]
			}
			row = row[Dim:]
		}
	}
}

// pool returns the mean of each text's tokens, brought to length 1.
func pool(a *Activations) [][]float32 {
	vectors := make([][]float32, len(a.Offsets)-1)
	for i := range vectors {
		sum := make([]float32, Dim)
		for row := a.Offsets[i]; row < a.Offsets[i+1]; row++ {
			for j, x := range a.X.Data[row*Dim:][:Dim] {
				sum[j] += x
			}
		}
		scale := float32(1 / math.Sqrt(float64(kernel.Dot(sum, sum))))
		for j := range sum {
			sum[j] *= scale
		}
		vectors[i] = sum
	}
	return vectors
}

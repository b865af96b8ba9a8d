// Package smollm is the language model SmolLM2-135M on package kernel: from the tokens of a text it computes which one may
// come next.
//
// It is a Llama: 30 layers of attention with 9 heads on 3 KV heads, whose positions are rotary, and of a gated product,
// each behind an RMS norm and added to what it began with. What comes next is told by the products of the last token
// with the rows of the embedding. Keys and values of the tokens before are kept in a [kernel.Cache].
package smollm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/selfattn/attn/kernel"
)

// A Model holds the weights. Any number of goroutines may use it at once.
type Model struct {
	Tokenizer *Tokenizer
	End       int // the token that ends an answer

	dim, inner, heads, kvHeads, headDim, context int
	epsilon                                      float32
	rotary                                       *kernel.RotaryTables
	stored                                       kernel.Type // of weights, keys and values

	embedding ggufTensor // as in the file: rows are decoded as they are looked up
	logits    *kernel.Packed
	norm      []float32
	layers    []layer
}

type layer struct {
	norm, innerNorm        []float32
	qkv, out, gateUp, down *kernel.Packed
}

// Load reads a GGUF file. It keeps the weights, and the keys and values of texts, as elements of a type: float32, in which the
// weights are exact, or smaller.
func Load(path string, stored kernel.Type) (*Model, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m, err := parse(file, stored)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func parse(file []byte, stored kernel.Type) (*Model, error) {
	g, err := parseGGUF(file)
	if err != nil {
		return nil, err
	}
	r := &reader{g: g, stored: stored}
	if name := g.values["general.architecture"]; name != "llama" {
		return nil, fmt.Errorf("a model of type %v, want llama", name)
	}
	m := &Model{
		End: r.int("tokenizer.ggml.eos_token_id"), dim: r.int("llama.embedding_length"), inner: r.int("llama.feed_forward_length"),
		heads: r.int("llama.attention.head_count"), kvHeads: r.int("llama.attention.head_count_kv"), headDim: r.int("llama.rope.dimension_count"),
		context: r.int("llama.context_length"), stored: stored, epsilon: float32(r.float("llama.attention.layer_norm_rms_epsilon")),
	}
	base, layers := r.float("llama.rope.freq_base"), r.int("llama.block_count")
	if r.err != nil {
		return nil, r.err
	}
	if m.heads*m.headDim != m.dim || m.heads%m.kvHeads != 0 || m.headDim%2 != 0 || m.context > 1<<17 || base < 1 || base > 1e9 {
		return nil, fmt.Errorf("%d heads of %d on %d, dimension %d, context %d, rotary base %g", m.heads, m.headDim, m.kvHeads, m.dim, m.context, base)
	}
	m.rotary = kernel.NewRotaryTables(m.context, m.headDim, base, true)
	list := func(name string) []any { x, _ := g.values[name].([]any); return x }
	m.Tokenizer, err = newTokenizer(list("tokenizer.ggml.tokens"), list("tokenizer.ggml.token_type"), list("tokenizer.ggml.merges"))
	if err != nil {
		return nil, err
	}
	vocabulary, kv := len(m.Tokenizer.pieces), m.kvHeads*m.headDim
	m.embedding = r.tensor("token_embd.weight", vocabulary, m.dim)
	m.logits = r.pack([]int{vocabulary}, m.dim, "token_embd.weight")
	m.norm = r.vector("output_norm.weight", m.dim)
	for i := range layers {
		p := fmt.Sprintf("blk.%d.", i)
		m.layers = append(m.layers, layer{
			norm: r.vector(p+"attn_norm.weight", m.dim), innerNorm: r.vector(p+"ffn_norm.weight", m.dim),
			qkv:    r.pack([]int{m.dim, kv, kv}, m.dim, p+"attn_q.weight", p+"attn_k.weight", p+"attn_v.weight"),
			out:    r.pack([]int{m.dim}, m.dim, p+"attn_output.weight"),
			gateUp: r.pack([]int{m.inner, m.inner}, m.dim, p+"ffn_gate.weight", p+"ffn_up.weight"),
			down:   r.pack([]int{m.dim}, m.inner, p+"ffn_down.weight"),
		})
		if r.err != nil {
			break
		}
	}
	return m, r.err
}

// A reader reads values and tensors, until err.
type reader struct {
	g      *gguf
	stored kernel.Type
	err    error
}

// int reads a positive number.
func (r *reader) int(name string) int {
	x, ok := r.g.values[name].(uint64)
	if r.err == nil && (!ok || x == 0 || x > math.MaxInt32) {
		r.err = fmt.Errorf("%s is %v", name, r.g.values[name])
	}
	return int(x)
}

func (r *reader) float(name string) float64 {
	x, ok := r.g.values[name].(float64)
	if r.err == nil && !ok {
		r.err = fmt.Errorf("%s is %v", name, r.g.values[name])
	}
	return x
}

func (r *reader) tensor(name string, shape ...int) ggufTensor {
	t, ok := r.g.tensors[name]
	if r.err == nil && (!ok || !slices.Equal(t.shape, shape)) {
		r.err = fmt.Errorf("tensor %s has the shape %v, want %v", name, t.shape, shape)
	}
	return t
}

func (r *reader) vector(name string, n int) []float32 {
	t := r.tensor(name, n)
	x := make([]float32, n)
	if r.err == nil {
		t.row(x, 0)
	}
	return x
}

// pack packs matrices of outs[i] x in side by side.
func (r *reader) pack(outs []int, in int, names ...string) *kernel.Packed {
	var x []float32
	for i, name := range names {
		t := r.tensor(name, outs[i], in)
		if r.err != nil {
			return nil
		}
		x = slices.Grow(x, outs[i]*in)[:len(x)+outs[i]*in]
		t.row(x[len(x)-outs[i]*in:], 0)
	}
	packed, err := kernel.Pack(kernel.Matrix{Rows: len(x) / in, Cols: in, Stride: in, Data: x}, &kernel.PackOptions{Trans: true, Type: r.stored})
	r.err = err
	return packed
}

// Bytes is how many bytes of weights, of a type that takes some bytes an element, a token needs.
func (m *Model) Bytes(element int) int {
	kv := m.kvHeads * m.headDim
	layer := m.dim*(m.dim+2*kv) + m.dim*m.dim + 3*m.dim*m.inner
	return element * (len(m.layers)*layer + m.dim*len(m.Tokenizer.pieces))
}

// A Text is a text as a model has read it: the keys and values of its tokens, layer by layer. One goroutine uses it at a
// time.
type Text struct {
	model   *Model
	most    int // tokens
	workers int
	observe func(layer int, q, k, v kernel.Tensor)
	caches  []*kernel.Cache
	seqs    []*kernel.Sequence // of each layer

	x, normed, qkv, heads, gateUp, inner, logits kernel.Matrix
}

// TextOptions of NewText.
type TextOptions struct {
	Tokens  int // the most that it will have, at least 1 and at most those that the model was trained for
	Workers int // the most goroutines that share the work, as in [kernel.Options]

	// Stored is what keys and values are stored as; that of [Load] is used instead of Float32.
	Stored kernel.Type

	// Observe, if not nil, is called for each layer with the queries, keys and values of a chunk of tokens, behind their rotation. They
	// are good until it returns.
	Observe func(layer int, q, k, v kernel.Tensor)
}

// chunk is how many tokens go through the model at once.
const chunk = 256

// NewText returns a text without tokens.
func (m *Model) NewText(o TextOptions) (*Text, error) {
	if o.Tokens < 1 || o.Tokens > m.context {
		return nil, fmt.Errorf("a text of %d tokens, want 1 to %d", o.Tokens, m.context)
	}
	t, stored := &Text{model: m, most: o.Tokens, workers: o.Workers, observe: o.Observe}, o.Stored
	if stored == kernel.Float32 {
		stored = m.stored
	}
	const page = 256
	for range m.layers {
		c, err := kernel.NewCache(kernel.CacheConfig{
			KVHeads: m.kvHeads, Dim: m.headDim, Type: stored, Tokens: (o.Tokens + page - 1) / page * page, PageTokens: page,
		})
		if err != nil {
			return nil, err
		}
		t.caches, t.seqs = append(t.caches, c), append(t.seqs, c.NewSequence())
	}
	return t, nil
}

// Len is how many tokens t has.
func (t *Text) Len() int { return t.seqs[0].Len() }

// Read appends tokens to t, and returns for each token of the vocabulary the logarithm of how likely it is next, up to a
// number that all of them share. They are good until the next call. It stops when ctx is done, between some hundred
// tokens.
func (t *Text) Read(ctx context.Context, ids ...int) ([]float32, error) {
	m := t.model
	if len(ids) == 0 {
		return nil, errors.New("no tokens to read")
	}
	if t.Len()+len(ids) > t.most {
		return nil, fmt.Errorf("%d tokens behind %d are more than %d", len(ids), t.Len(), t.most)
	}
	for _, id := range ids {
		if id < 0 || id >= len(m.Tokenizer.pieces) {
			return nil, fmt.Errorf("token %d, want 0 to %d", id, len(m.Tokenizer.pieces)-1)
		}
	}
	for part := range slices.Chunk(ids, chunk) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := t.read(part); err != nil {
			return nil, err
		}
	}
	last := kernel.Matrix{Rows: 1, Cols: m.dim, Stride: m.dim, Data: t.x.Data[(t.x.Rows-1)*m.dim:]}
	resize(&t.normed, 1, m.dim)
	resize(&t.logits, 1, len(m.Tokenizer.pieces))
	if err := kernel.RMSNorm(t.normed, last, m.norm, m.epsilon); err != nil {
		return nil, err
	}
	return t.logits.Data, kernel.MatMulPacked(t.logits, t.normed, m.logits, &kernel.MatMulOptions{Workers: t.workers})
}

// read takes a chunk of tokens through the layers.
func (t *Text) read(ids []int) error {
	m, n, start := t.model, len(ids), []int{t.Len()}
	kv := m.kvHeads * m.headDim
	resize(&t.x, n, m.dim)
	resize(&t.normed, n, m.dim)
	resize(&t.qkv, n, m.dim+2*kv)
	resize(&t.heads, n, m.dim)
	resize(&t.gateUp, n, 2*m.inner)
	resize(&t.inner, n, m.inner)
	for i, id := range ids {
		m.embedding.row(t.x.Data[i*m.dim:][:m.dim], id*m.dim)
	}
	// Heads of tokens lie side by side, queries before keys before values.
	tensor := func(x kernel.Matrix, from, heads int) kernel.Tensor {
		return kernel.Tensor{Data: x.Data[from:], Heads: heads, Len: n, Dim: m.headDim, HeadStride: m.headDim, LenStride: x.Stride}
	}
	q, k, v := tensor(t.qkv, 0, m.heads), tensor(t.qkv, m.dim, m.kvHeads), tensor(t.qkv, m.dim+kv, m.kvHeads)
	attention := kernel.Options{Causal: true, Workers: t.workers}
	products := kernel.MatMulOptions{Workers: t.workers}
	added := kernel.MatMulOptions{Workers: t.workers, Add: true}
	for i := range m.layers {
		l, seq := &m.layers[i], t.seqs[i]
		err := errors.Join(
			kernel.RMSNorm(t.normed, t.x, l.norm, m.epsilon),
			kernel.MatMulPacked(t.qkv, t.normed, l.qkv, &products),
			kernel.Rotary(q, m.rotary.Cos, m.rotary.Sin, start, m.rotary.Interleaved),
			kernel.Rotary(k, m.rotary.Cos, m.rotary.Sin, start, m.rotary.Interleaved),
		)
		if err == nil && t.observe != nil {
			t.observe(i, q, k, v)
		}
		err = errors.Join(err,
			seq.Append(k, v),
			t.caches[i].Attention(tensor(t.heads, 0, m.heads), q, []*kernel.Sequence{seq}, &attention),
			kernel.MatMulPacked(t.x, t.heads, l.out, &added),
			kernel.RMSNorm(t.normed, t.x, l.innerNorm, m.epsilon),
			kernel.MatMulPacked(t.gateUp, t.normed, l.gateUp, &products),
		)
		if err != nil {
			return err
		}
		for i := range n {
			row, dst := t.gateUp.Data[i*2*m.inner:][:2*m.inner], t.inner.Data[i*m.inner:][:m.inner]
			kernel.SiLU(dst, row[:m.inner])
			for j, up := range row[m.inner:] {
				dst[j] *= up
			}
		}
		if err := kernel.MatMulPacked(t.x, t.inner, l.down, &added); err != nil {
			return err
		}
	}
	return nil
}

func resize(x *kernel.Matrix, rows, cols int) {
	*x = kernel.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: slices.Grow(x.Data[:0], rows*cols)[:rows*cols]}
}

// Package minilm is the sentence encoder all-MiniLM-L6-v2 on package kernel: a text becomes a vector of length 1, and
// texts that mean the same have vectors with a large inner product (Reimers and Gurevych, Sentence-BERT, 2019).
//
// It is BERT: 6 layers of attention with 12 heads and of two products with GELU between them, each followed by
// a sum with what it began with and a layer norm; the vector is the mean of the tokens', brought to length 1. Texts
// of a batch lie behind each other without padding, and the vector of a text has the same bits in every batch.
package minilm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/nlpodyssey/safetensors"
	"github.com/selfattn/attn/kernel"
)

// The shape of the model.
const (
	Layers    = 6
	Heads     = 12
	Dim       = 384 // of a token, and of a text
	MaxTokens = 512 // of a text, [CLS] and [SEP] included

	headDim = Dim / Heads
	inner   = 4 * Dim // columns between the two products of a layer
	epsilon = 1e-12   // of layer norms
)

// A Model holds the weights. Any number of goroutines may use it at once.
type Model struct {
	Tokenizer *Tokenizer

	words, positions []float32 // a row for each id, and for each position with what all tokens share
	norm             layerNorm // of their sum
	layers           [Layers]layer

	pool sync.Pool // of *Activations, for their memory
}

type layer struct {
	qkv, out, up, down     linear
	normOfHeads, normOfSum layerNorm
}

// linear is x.weights + bias.
type linear struct {
	weights *kernel.Packed
	bias    []float32
}

type layerNorm struct{ gain, bias []float32 }

// Load reads a model from the files model.safetensors and vocab.txt in a folder, as Hugging Face names them.
func Load(folder string) (*Model, error) {
	vocabulary, err := os.Open(filepath.Join(folder, "vocab.txt"))
	if err != nil {
		return nil, err
	}
	defer vocabulary.Close()
	m := &Model{pool: sync.Pool{New: func() any { return new(Activations) }}}
	if m.Tokenizer, err = ReadTokenizer(vocabulary); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(folder, "model.safetensors"))
	if err != nil {
		return nil, err
	}
	tensors, err := safetensors.Deserialize(data)
	if err != nil {
		return nil, fmt.Errorf("model.safetensors: %w", err)
	}
	w := &reader{tensors: tensors}
	m.words = w.read("embeddings.word_embeddings.weight", m.Tokenizer.Len(), Dim)
	m.positions = w.read("embeddings.position_embeddings.weight", MaxTokens, Dim)
	kind := w.read("embeddings.token_type_embeddings.weight", 2, Dim) // the first one of two is that of all tokens
	m.norm = w.norm("embeddings.LayerNorm")
	for i := range m.layers {
		prefix := fmt.Sprintf("encoder.layer.%d.", i)
		m.layers[i] = layer{
			qkv: w.linear(Dim, Dim, prefix+"attention.self.query", prefix+"attention.self.key", prefix+"attention.self.value"),
			out: w.linear(Dim, Dim, prefix+"attention.output.dense"), normOfHeads: w.norm(prefix + "attention.output.LayerNorm"),
			up: w.linear(inner, Dim, prefix+"intermediate.dense"), down: w.linear(Dim, inner, prefix+"output.dense"),
			normOfSum: w.norm(prefix + "output.LayerNorm"),
		}
	}
	if w.err != nil {
		return nil, fmt.Errorf("model.safetensors: %w", w.err)
	}
	for i := range m.positions {
		m.positions[i] += kind[i%Dim]
	}
	return m, nil
}

// A reader reads tensors, until err.
type reader struct {
	tensors safetensors.SafeTensors
	err     error
}

func (w *reader) read(name string, shape ...int) []float32 {
	size := 1
	for _, n := range shape {
		size *= n
	}
	x := make([]float32, size)
	t, ok := w.tensors.Tensor(name)
	switch {
	case w.err != nil:
	case !ok:
		w.err = fmt.Errorf("no tensor %s", name)
	case t.DType() != safetensors.F32 || !slices.EqualFunc(t.Shape(), shape, func(a uint64, b int) bool { return a == uint64(b) }):
		w.err = fmt.Errorf("%s is %v %v, want F32 %v", name, t.DType(), t.Shape(), shape)
	default:
		_, w.err = binary.Decode(t.Data(), binary.LittleEndian, x)
	}
	return x
}

func (w *reader) norm(name string) layerNorm {
	return layerNorm{w.read(name+".weight", Dim), w.read(name+".bias", Dim)}
}

// linear packs the matrices of names, out x in each, side by side.
func (w *reader) linear(out, in int, names ...string) linear {
	var weights, bias []float32
	for _, name := range names {
		weights = append(weights, w.read(name+".weight", out, in)...)
		bias = append(bias, w.read(name+".bias", out)...)
	}
	b := kernel.Matrix{Rows: len(bias), Cols: in, Stride: in, Data: weights}
	packed, err := kernel.Pack(b, &kernel.PackOptions{Trans: true})
	w.err = errors.Join(w.err, err)
	return linear{packed, bias}
}

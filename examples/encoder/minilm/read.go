package minilm

import (
	"context"
	"fmt"
	"slices"
)

// A Reading is what a model makes of a text, token by token and layer by layer.
type Reading struct {
	Tokens  []string
	Vectors [][][]float32 // [layer][token]: after the embedding, and after each layer
	Weights [][][]float32 // [layer][head]: of attention, tokens x tokens
}

// Read reads a text of at most most tokens, [CLS] and [SEP] included.
func (m *Model) Read(text string, most int) (*Reading, error) {
	ids := m.Tokenizer.Encode(text)
	if len(ids) > most {
		return nil, fmt.Errorf("minilm: the text has %d tokens, want %d at most", len(ids), most)
	}
	r := &Reading{}
	for _, id := range ids {
		r.Tokens = append(r.Tokens, m.Tokenizer.Piece(id))
	}
	var failed error
	_, err := m.EmbedTokens(context.Background(), [][]int{ids}, Options{After: func(layer int, a *Activations) {
		var rows [][]float32
		for i := range ids {
			rows = append(rows, slices.Clone(a.X.Data[i*a.X.Stride:][:Dim]))
		}
		r.Vectors = append(r.Vectors, rows)
		if layer == 0 {
			return
		}
		var heads [][]float32
		for head := range Heads {
			w, err := a.Weights(0, head)
			if err != nil {
				failed = err
				return
			}
			heads = append(heads, w.Data)
		}
		r.Weights = append(r.Weights, heads)
	}})
	if err == nil {
		err = failed
	}
	return r, err
}

// Static cuts a text of at most most pieces, and returns them and the vector of each in the model's table: what a token is
// before it is told where it stands and what stands around it. [CLS] and [SEP], which are around a text, are none of them.
func (m *Model) Static(text string, most int) (pieces []string, vectors [][]float32, err error) {
	ids := m.Tokenizer.Encode(text)
	ids = ids[1 : len(ids)-1]
	if len(ids) > most {
		return nil, nil, fmt.Errorf("minilm: the text has %d pieces, want %d at most", len(ids), most)
	}
	for _, id := range ids {
		pieces = append(pieces, m.Tokenizer.Piece(id))
		vectors = append(vectors, slices.Clone(m.words[id*Dim:][:Dim]))
	}
	return pieces, vectors, nil
}

package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/kernel"
)

// A reading is what a model makes of a sentence, token by token and layer by layer.
type reading struct {
	tokens  []string
	vectors [][][]float32                          // [layer][token]: after the embedding, and after each layer
	weights [minilm.Layers][minilm.Heads][]float32 // of attention, tokens x tokens
}

// read encodes a sentence whose words are pieces of the vocabulary.
func read(m *minilm.Model, sentence string) (*reading, error) {
	r := &reading{tokens: slices.Concat([]string{"[CLS]"}, strings.Fields(strings.ToLower(sentence)), []string{"[SEP]"})}
	n := len(r.tokens)
	var failed error
	_, err := m.Embed([]string{sentence}, minilm.Options{After: func(layer int, a *minilm.Activations) {
		if a.X.Rows != n {
			failed = fmt.Errorf("%q has %d tokens, want one for each word", sentence, a.X.Rows)
			return
		}
		var rows [][]float32
		for i := range n {
			rows = append(rows, slices.Clone(a.X.Data[i*a.X.Stride:][:minilm.Dim]))
		}
		r.vectors = append(r.vectors, rows)
		for head := 0; layer > 0 && head < minilm.Heads; head++ {
			w, err := a.Weights(0, head)
			if err != nil {
				failed = err
				return
			}
			r.weights[layer-1][head] = w.Data
		}
	}})
	if err == nil {
		err = failed
	}
	return r, err
}

// apple shows how one word comes to mean two things: its vector in two sentences, layer by layer, beside words of
// either meaning, each read alone.
func apple(m *minilm.Model, picture string, out io.Writer) error {
	const word = 3 // behind [CLS] I love
	var sentences []*reading
	for _, text := range []string{"I love apple phones", "I love apple juice"} {
		r, err := read(m, text)
		if err != nil {
			return err
		}
		sentences = append(sentences, r)
	}
	phones, juice := sentences[0].vectors, sentences[1].vectors

	fmt.Fprintf(out, "Cosines of 'apple' in 'I love apple phones' (p) and in 'I love apple juice' (j), after each layer:\n")
	fmt.Fprintf(out, "with the other one, and with words that are in neither sentence\n\n")
	header := []string{fmt.Sprintf("%-6s %6s", "layer", "p-j")}
	var lines [minilm.Layers + 1]string
	for layer := range lines {
		lines[layer] = fmt.Sprintf("%-6d %6.3f", layer, cosine(phones[layer][word], juice[layer][word]))
	}
	for _, other := range []string{"computer", "laptop", "samsung", "software", "banana", "fruit", "orange", "lemon"} {
		alone, err := read(m, other)
		if err != nil {
			return err
		}
		header = append(header, fmt.Sprintf("%12s", other))
		for layer := range lines {
			x := alone.vectors[layer][1]
			lines[layer] += fmt.Sprintf("   %5.2f %5.2f", cosine(phones[layer][word], x), cosine(juice[layer][word], x))
		}
	}
	fmt.Fprintln(out, strings.Join(header, "  "))
	fmt.Fprintln(out, strings.Repeat(" ", 13)+strings.Repeat("       p     j", len(header)-1))
	fmt.Fprintln(out, strings.Join(lines[:], "\n"))
	if picture == "" {
		return nil
	}
	file, err := os.Create(picture)
	if err != nil {
		return err
	}
	err = draw(file, sentences, word)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

func cosine(x, y []float32) float64 {
	return float64(kernel.Dot(x, y)) / math.Sqrt(float64(kernel.Dot(x, x))*float64(kernel.Dot(y, y)))
}

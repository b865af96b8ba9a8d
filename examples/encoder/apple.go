package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/kernel"
)

// read encodes a sentence whose words are pieces of the vocabulary.
func read(m *minilm.Model, sentence string) (*minilm.Reading, error) {
	r, err := m.Read(sentence, minilm.MaxTokens)
	if err == nil && len(r.Tokens) != 2+len(strings.Fields(sentence)) {
		err = fmt.Errorf("%q has %d tokens, want one for each word", sentence, len(r.Tokens))
	}
	return r, err
}

// apple shows how one word comes to mean two things: its vector in two sentences, layer by layer, beside words of
// either meaning, each read alone.
func apple(m *minilm.Model, picture string, out io.Writer) error {
	const word = 3 // behind [CLS] I love
	var sentences []*minilm.Reading
	for _, text := range []string{"I love apple phones", "I love apple juice"} {
		r, err := read(m, text)
		if err != nil {
			return err
		}
		sentences = append(sentences, r)
	}
	phones, juice := sentences[0].Vectors, sentences[1].Vectors

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
			x := alone.Vectors[layer][1]
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

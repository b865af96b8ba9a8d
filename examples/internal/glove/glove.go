// Package glove has the word vectors of the examples: 120 words of GloVe, which data/NOTICE describes.
package glove

import (
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Dim is the number of components of a word vector.
const Dim = 100

//go:embed data/glove.txt
var text string

// A Vocabulary holds words and their vectors.
type Vocabulary struct {
	Words   []string
	Vectors map[string][]float32
}

// Load returns the vocabulary of the examples.
func Load() (Vocabulary, error) {
	voc, err := read(text)
	if err != nil {
		return voc, fmt.Errorf("data/glove.txt: %w", err)
	}
	return voc, nil
}

// read reads GloVe's text format: a word and its components on each line.
func read(text string) (Vocabulary, error) {
	voc := Vocabulary{Vectors: map[string][]float32{}}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 1+Dim {
			return voc, fmt.Errorf("line %d has %d fields, want a word and %d numbers", len(voc.Words)+1, len(fields), Dim)
		}
		vector := make([]float32, Dim)
		for i, field := range fields[1:] {
			x, err := strconv.ParseFloat(field, 32)
			if err != nil {
				return voc, fmt.Errorf("%s: %w", fields[0], err)
			}
			vector[i] = float32(x)
		}
		voc.Words = append(voc.Words, fields[0])
		voc.Vectors[fields[0]] = vector
	}
	return voc, nil
}

// Embed returns the vectors of words one after the other: the matrix X, words x Dim.
func (voc Vocabulary) Embed(words []string) ([]float32, error) {
	var x []float32
	for _, word := range words {
		vector, ok := voc.Vectors[word]
		if !ok {
			return nil, fmt.Errorf("no vector of %q among the %d words", word, len(voc.Words))
		}
		x = append(x, vector...)
	}
	return x, nil
}

// Nearest returns the n words, leaving out those of the sentence, whose vectors have the largest cosine with x.
func (voc Vocabulary) Nearest(x []float32, sentence []string, n int) []string {
	words := slices.DeleteFunc(slices.Clone(voc.Words), func(word string) bool {
		return slices.Contains(sentence, word)
	})
	slices.SortStableFunc(words, func(a, b string) int {
		return cmp.Compare(Cosine(x, voc.Vectors[b]), Cosine(x, voc.Vectors[a]))
	})
	return words[:min(n, len(words))]
}

// Cosine returns the cosine of the angle between x and y.
func Cosine(x, y []float32) float64 {
	var xy, xx, yy float64
	for i := range x {
		a, b := float64(x[i]), float64(y[i])
		xy += a * b
		xx += a * a
		yy += b * b
	}
	return xy / math.Sqrt(xx*yy)
}

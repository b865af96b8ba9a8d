package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// dim is the number of components of a word vector.
const dim = 100

//go:embed data/glove.txt
var glove string

// A vocabulary holds words and their vectors.
type vocabulary struct {
	words   []string
	vectors map[string][]float32
}

// loadVocabulary reads GloVe's text format: a word and its components on each line.
func loadVocabulary(text string) (vocabulary, error) {
	voc := vocabulary{vectors: map[string][]float32{}}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 1+dim {
			return voc, fmt.Errorf("line %d has %d fields, want a word and %d numbers", len(voc.words)+1, len(fields), dim)
		}
		vector := make([]float32, dim)
		for i, field := range fields[1:] {
			x, err := strconv.ParseFloat(field, 32)
			if err != nil {
				return voc, fmt.Errorf("%s: %w", fields[0], err)
			}
			vector[i] = float32(x)
		}
		voc.words = append(voc.words, fields[0])
		voc.vectors[fields[0]] = vector
	}
	return voc, nil
}

// embed returns the vectors of words one after the other: the matrix X, words x dim.
func (voc vocabulary) embed(words []string) ([]float32, error) {
	var x []float32
	for _, word := range words {
		vector, ok := voc.vectors[word]
		if !ok {
			return nil, fmt.Errorf("no vector of %q among the %d words of this demo; -vocab lists them", word, len(voc.words))
		}
		x = append(x, vector...)
	}
	return x, nil
}

// nearest returns the n words, leaving out those of the sentence, whose vectors have the largest cosine with x.
func (voc vocabulary) nearest(x []float32, sentence []string, n int) []string {
	words := slices.DeleteFunc(slices.Clone(voc.words), func(word string) bool {
		return slices.Contains(sentence, word)
	})
	slices.SortStableFunc(words, func(a, b string) int {
		return cmp.Compare(cosine(x, voc.vectors[b]), cosine(x, voc.vectors[a]))
	})
	return words[:min(n, len(words))]
}

// cosine returns the cosine of the angle between x and y.
func cosine(x, y []float32) float64 {
	var xy, xx, yy float64
	for i := range x {
		a, b := float64(x[i]), float64(y[i])
		xy += a * b
		xx += a * a
		yy += b * b
	}
	return xy / math.Sqrt(xx*yy)
}

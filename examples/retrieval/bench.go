package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/coder/hnsw"
	"github.com/selfattn/attn/examples/encoder/documents"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/kernel"
)

const nearest = 10

// brute returns the documents nearest to a vector.
func brute(all []documents.Document, vector []float32, n int) []int {
	type match struct {
		number int
		cosine float32
	}
	matches := make([]match, len(all))
	for i, d := range all {
		matches[i] = match{i, kernel.Dot(vector, d.Vector)}
	}
	slices.SortFunc(matches, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.cosine, a.cosine), cmp.Compare(a.number, b.number))
	})
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = matches[i].number
	}
	return numbers
}

// beginnings are the first words of n documents.
func beginnings(all []documents.Document, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		words := strings.Fields(all[i*len(all)/n].Content)
		texts[i] = strings.Join(words[:min(len(words), 12)], " ")
	}
	return texts
}

// bench prints how long searches take, which take turns, and how many of the nearest documents they find. Questions are the first
// words of documents.
func bench(ctx context.Context, m *minilm.Model, all []documents.Document, out io.Writer) error {
	const questions, rounds = 100, 21
	vectors, err := m.Embed(beginnings(all, questions), minilm.Options{})
	if err != nil {
		return err
	}
	collection, err := store(ctx, m, all)
	if err != nil {
		return err
	}
	byNumber := map[string]int{}
	for i, d := range all {
		byNumber[d.ID] = i
	}
	ofGraph := func(g *hnsw.Graph[int], asked int) func([]float32) ([]int, error) {
		return func(v []float32) ([]int, error) { return near(g, v, nearest, asked), nil }
	}
	built := func(distance hnsw.DistanceFunc) (*hnsw.Graph[int], time.Duration) {
		start := time.Now()
		return graph(all, distance), time.Since(start)
	}
	theirs, theirTime := built(hnsw.CosineDistance)
	ours, ourTime := built(distance)
	type search struct {
		name  string
		of    func(vector []float32) ([]int, error)
		found int // of the nearest
		times []float64
	}
	searches := []search{
		{name: "all by kernel.Dot", of: func(v []float32) ([]int, error) { return brute(all, v, nearest), nil }},
		{name: "chromem-go", of: func(v []float32) ([]int, error) {
			found, err := collection.QueryEmbedding(ctx, v, nearest, nil, nil)
			var numbers []int
			for _, f := range found {
				numbers = append(numbers, byNumber[f.ID])
			}
			return numbers, err
		}},
	}
	for _, asked := range []int{nearest, 100, 200, more * nearest, 400} {
		searches = append(searches,
			search{name: fmt.Sprintf("coder/hnsw asked for %d", asked), of: ofGraph(theirs, asked)},
			search{name: "  with kernel.Dot", of: ofGraph(ours, asked)})
	}
	for round := range rounds {
		for i := range searches {
			s := &searches[i]
			start := time.Now()
			for _, v := range vectors {
				found, err := s.of(v)
				if err != nil {
					return err
				}
				if round == 0 {
					want := brute(all, v, nearest)
					for _, n := range found {
						if slices.Contains(want, n) {
							s.found++
						}
					}
				}
			}
			if round > 0 {
				s.times = append(s.times, 1e6*time.Since(start).Seconds()/questions)
			}
		}
	}
	fmt.Fprintf(out, "%s, %d documents, the %d nearest of %d questions\n\n%-28s %12s %8s\n", kernel.Backend(), len(all), nearest, questions, "", "µs a search", "found")
	for _, s := range searches {
		fmt.Fprintf(out, "%-28s %12.1f %7.1f%%\n", s.name, median(s.times), 100*float64(s.found)/(questions*nearest))
	}
	of := func(distance hnsw.DistanceFunc) float64 {
		const calls = 20000
		start := time.Now()
		for i := range calls {
			distance(vectors[i%questions], all[i%len(all)].Vector)
		}
		return 1e9 * time.Since(start).Seconds() / calls
	}
	var a, b, c []float64
	for range rounds {
		a, b, c = append(a, of(hnsw.CosineDistance)), append(b, of(distance)), append(c, of(anyLength))
	}
	_, err = fmt.Fprintf(out, "\nto build the graph: %.0f ms with its distance, %.0f with kernel.Dot\n"+
		"a distance: %.1f ns theirs, %.1f one less kernel.Dot, %.1f for vectors of any length by three kernel.Dot\n",
		1e3*theirTime.Seconds(), 1e3*ourTime.Seconds(), median(a), median(b), median(c))
	return err
}

// anyLength is the distance by cosine of vectors that are not brought to length 1.
func anyLength(a, b []float32) float32 {
	return 1 - kernel.Dot(a, b)/float32(math.Sqrt(float64(kernel.Dot(a, a)*kernel.Dot(b, b))))
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

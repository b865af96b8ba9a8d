package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

const dim = glove.Dim

// The scales of the scores: none, that of scaled dot-product attention, and one that goes further.
var scales = []struct {
	name  string
	value float32
}{
	{"1", 1},
	{fmt.Sprintf("1/√%d", dim), float32(1 / math.Sqrt(dim))},
	{fmt.Sprintf("1/%d", dim), 1. / dim},
}

// attend runs self-attention with Q = K = V = x, n words, and returns the new
// vectors and the weights, n x n. It fails if the backend's bits are not those of generic.
func attend(x []float32, n int, scale float32) (out, weights []float32, err error) {
	out, weights = make([]float32, len(x)), make([]float32, n*n)
	queries := make([]int, n)
	for i := range queries {
		queries[i] = i
	}
	tokens := kernel.Tensor{Data: x, Batch: 1, Heads: 1, Len: n, Dim: dim}
	dst := tokens
	dst.Data = out
	opts := &kernel.Options{Scale: scale, Workers: 1}
	if err := kernel.Attention(dst, tokens, tokens, tokens, opts); err != nil {
		return nil, nil, err
	}
	shares := kernel.Matrix{Rows: n, Cols: n, Stride: n, Data: weights}
	if err := kernel.AttentionWeights(shares, tokens, tokens, 0, 0, queries, opts); err != nil {
		return nil, nil, err
	}
	want := make([]float32, len(x))
	for i := range n {
		generic.AttentionRow(want[i*dim:][:dim], x[i*dim:][:dim], x, x, n, dim, dim, scale)
	}
	return out, weights, sameBits(out, want)
}

// sameBits returns an error if the result of the backend differs from generic's.
func sameBits(got, want []float32) error {
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			return fmt.Errorf("element %d is %v from %s and %v from generic", i, got[i], kernel.Backend(), want[i])
		}
	}
	return nil
}

// showSentence shows the weights of any sentence, and which words its words are near before and after.
func showSentence(w io.Writer, voc glove.Vocabulary, words []string, colours bool) error {
	n := len(words)
	if n == 0 || n > maxWords {
		return fmt.Errorf("the sentence has %d words, want 1 to %d, as many as fit the screen", n, maxWords)
	}
	x, err := voc.Embed(words)
	if err != nil {
		return fmt.Errorf("%w; -vocab lists them", err)
	}
	var maps []heatMap
	var outs [][]float32
	for _, s := range scales {
		out, weights, err := attend(x, n, s.value)
		if err != nil {
			return err
		}
		maps = append(maps, heatMap{"scale " + s.name, weights})
		outs = append(outs, out)
	}
	fmt.Fprintf(w, "'%s'\n\n", strings.Join(words, " "))
	drawHeatMaps(w, words, maps, colours)

	fmt.Fprintf(w, "  The nearest words by cosine, those of the sentence left out\n")
	for i, word := range words {
		label := word
		near := func(name string, vectors []float32) {
			list := strings.Join(voc.Nearest(vectors[i*dim:][:dim], words, 5), " ")
			fmt.Fprintf(w, "  %-12s%-14s%s\n", label, name, list)
			label = ""
		}
		near("before", x)
		for j, s := range scales {
			near("scale "+s.name, outs[j])
		}
	}
	fmt.Fprintln(w)
	return nil
}

// A group is a sense of apple: held-out words, which are in no sentence.
type group struct {
	name  string
	words []string
}

var (
	devices = group{"devices", []string{"iphone", "phone", "laptop"}}
	fruits  = group{"fruits", []string{"fruit", "banana", "lemon"}}
)

// An appleSentence should move apple toward one of its two senses.
type appleSentence struct {
	words            []string
	expected, versus group
}

var appleSentences = [...]appleSentence{
	{[]string{"love", "apple", "phones"}, devices, fruits},
	{[]string{"love", "apple", "juice"}, fruits, devices},
}

const apple = 1 // its index in both sentences

// show runs the sentence at every scale, draws the weights, and says what became of apple.
func (s appleSentence) show(w io.Writer, voc glove.Vocabulary, colours bool) error {
	n := len(s.words)
	x, err := voc.Embed(s.words)
	if err != nil {
		return err
	}
	before := x[apple*dim:][:dim]
	var maps []heatMap
	var effects []effect
	for _, scale := range scales {
		out, weights, err := attend(x, n, scale.value)
		if err != nil {
			return err
		}
		maps = append(maps, heatMap{"scale " + scale.name, weights})
		effects = append(effects, s.effect(voc, scale.name, weights[apple*n:][:n], before, out[apple*dim:][:dim]))
	}
	// What needs no attention at all: the mean of the words.
	mean, equal := make([]float32, dim), make([]float32, n)
	for i := range n {
		equal[i] = 1 / float32(n)
		for c := range mean {
			mean[c] += equal[i] * x[i*dim+c]
		}
	}
	effects = append(effects, s.effect(voc, "equal weights", equal, before, mean))

	fmt.Fprintf(w, "'%s'\n\n", strings.Join(s.words, " "))
	drawHeatMaps(w, s.words, maps, colours)

	fmt.Fprintf(w, "  %-20s%8s", "cosine of apple with", "before")
	for _, e := range effects {
		name := e.scale
		if len(name) < 8 {
			name = "scale " + name
		}
		fmt.Fprintf(w, "%17s", name)
	}
	fmt.Fprintln(w)
	for _, g := range []group{s.expected, s.versus} {
		label := g.name
		for _, word := range g.words {
			was := glove.Cosine(before, voc.Vectors[word])
			fmt.Fprintf(w, "  %-11s%-9s%8.3f", label, word, was)
			label = ""
			for _, e := range effects {
				fmt.Fprintf(w, "%10.3f %s", was+e.change[word], signed(e.change[word]))
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintln(w)
	for _, e := range effects[:len(scales)] {
		weights, move := e.verdict(s)
		fmt.Fprintf(w, "  %-14s%s\n  %-14s%s\n", "scale "+e.scale, weights, "", move)
	}
	slices.SortStableFunc(effects, func(a, b effect) int { return cmp.Compare(b.toward, a.toward) })
	var ranking []string
	for _, e := range effects {
		ranking = append(ranking, e.scale+" "+signed(e.toward))
	}
	fmt.Fprintf(w, "  Furthest toward %s on average: %s.\n\n", s.expected.name, strings.Join(ranking, ", "))
	return nil
}

// An effect is what attention at one scale did to apple.
type effect struct {
	scale        string
	weights      []float32          // apple's row
	change       map[string]float64 // of its cosine with each held-out word
	toward, away float64            // mean change for the expected sense and for the other
}

func (s appleSentence) effect(voc glove.Vocabulary, scale string, weights, before, after []float32) effect {
	e := effect{scale: scale, weights: weights, change: map[string]float64{}}
	mean := func(g group) (sum float64) {
		for _, word := range g.words {
			e.change[word] = glove.Cosine(after, voc.Vectors[word]) - glove.Cosine(before, voc.Vectors[word])
			sum += e.change[word]
		}
		return sum / float64(len(g.words))
	}
	e.toward, e.away = mean(s.expected), mean(s.versus)
	return e
}

// verdict says what the numbers mean: those of the weights, and those of apple's move.
func (e effect) verdict(s appleSentence) (weights, move string) {
	const (
		saturated = 0.01  // less than this is left for the other words
		even      = 1.5   // the largest weight is less than this times the smallest
		still     = 0.001 // no cosine changes by this much
	)
	// Words by weight, without apple.
	order := []int{}
	for i := range e.weights {
		if i != apple {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(e.weights[j], e.weights[i]) })
	first, last := order[0], order[len(order)-1]
	rest := 0.
	for _, i := range order {
		rest += float64(e.weights[i])
	}
	largest, smallest := slices.Max(e.weights), slices.Min(e.weights)
	switch {
	case rest < saturated: // a lead of scores by x is a ratio of weights of e^x
		weights = fmt.Sprintf("Saturated: apple's score with itself leads by %.1f, so the other words share %.1g.",
			math.Log(float64(e.weights[apple]/e.weights[first])), rest)
	case largest < even*smallest:
		weights = fmt.Sprintf("Almost an average: the largest weight is %.2f times the smallest.", largest/smallest)
	default:
		weights = fmt.Sprintf("Apple keeps %.0f%% and is selective: %s weighs %.2f times %s.",
			100*e.weights[apple], s.words[first], e.weights[first]/e.weights[last], s.words[last])
	}

	var most float64
	var against []string
	for _, word := range s.expected.words {
		if e.change[word] < 0 {
			against = append(against, word)
		}
	}
	for _, change := range e.change {
		most = max(most, math.Abs(change))
	}
	numbers := fmt.Sprintf("(%s %s, %s %s on average)", s.expected.name, signed(e.toward), s.versus.name, signed(e.away))
	switch {
	case most < still:
		return weights, fmt.Sprintf("Apple stays where it was: no cosine changes by more than %.1g.", most)
	case e.toward <= 0 || e.toward <= e.away:
		return weights, fmt.Sprintf("Apple does not move toward %s as one would expect %s.", s.expected.name, numbers)
	case len(against) > 0:
		return weights, fmt.Sprintf("Apple moves toward %s %s, but away from %s.", s.expected.name, numbers, strings.Join(against, ", "))
	}
	return weights, fmt.Sprintf("Apple moves toward %s %s.", s.expected.name, numbers)
}

// signed formats a change, without a negative zero.
func signed(x float64) string {
	if math.Abs(x) < 0.0005 {
		return "+0.000"
	}
	return fmt.Sprintf("%+.3f", x)
}

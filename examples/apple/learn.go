package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/examples/internal/learn"
	"github.com/selfattn/attn/kernel"
)

// The senses that the layer learns from, and words in front of theirs.
var (
	learnedOther = strings.Fields(`like hate buy sell use want see play hear catch we you he she they the my our this and of with in is not`)
	learnedSense = [...][]string{
		{"phone", "computer", "software", "microsoft", "google", "samsung", "internet", "screen", "keyboard", "network"},
		{"fruit", "orange", "pear", "grape", "cherry", "peach", "mango", "strawberry", "tomato", "jam"},
		{"bread", "cheese", "milk", "water", "wine", "tea", "coffee", "sugar", "cake", "fish", "rice"},
		{"dog", "cat", "rat", "bird", "snake", "mouse"},
		{"bank", "money", "loan", "deposit", "market"},
		{"river", "shore", "boat"},
		{"king", "queen", "man", "woman", "doctor", "teacher"},
		{"car", "train", "road"},
		{"school", "parliament", "election"},
		{"music", "guitar", "piano", "rock"},
		{"football", "ball", "club", "star"},
		{"winter", "summer", "spring", "rain", "snow", "sun", "moon"},
		{"red", "green", "blue", "white"},
	}
)

// heldOut are words of the senses that sentences are compared with.
var heldOut = map[string]group{
	devices.name: {devices.name, []string{"iphone", "laptop"}},
	fruits.name:  {fruits.name, []string{"banana", "lemon"}},
}

// keptOut are the words that nothing is learned of: those of the sentences that are shown, and those that are compared with.
var keptOut = strings.Fields("love apple phones juice iphone laptop banana lemon blackberry")

// The senses and the numbers were chosen without samsung, keyboard, cherry and tomato among the words learned from: by how the sentences
// 'like blackberry keyboard' and 'like blackberry cherry' move blackberry toward samsung and tomato;
// that W_Q and W_K are square, by apple too. That the word in the middle is two at once was chosen by words of GloVe that are not among
// these: by how blackberry, windows, amazon and raspberry move toward ipod, smartphone, desktop and macintosh beside handsets,
// laptops, gadgets and apps, and toward pineapple, apricot, coconut and plums beside cider, pie, syrup and lemonade.
const (
	learnSeed        = 1
	learnStarts      = 10 // the number of seeds, from learnSeed on, without -quick
	learnSteps       = 300
	learnBatch       = 64
	learnRate        = 1e-3
	learnStart       = .02 // bounds the random numbers at the start, of which what no word learned from has remains
	learnNoise       = .25 // up to which the vectors are shifted, so that few words do for learning what their senses share
	learnTemperature = 10  // what products of normed vectors, 100 times their cosine, are divided by to be logits
)

// A learner is a layer whose result is added to the word vectors: y = x + SelfAttention(x).
type learner struct {
	voc             glove.Vocabulary
	weights         []*learn.Param // WQ, WK and WV
	attention, grad kernel.SelfAttention
	tape            kernel.Tape
	norm            learn.Norm
	candidates      []string      // the words among which one is predicted
	normed          kernel.Matrix // their vectors
	random          *rand.Rand
}

func newLearner(voc glove.Vocabulary, seed uint64) (*learner, error) {
	l := &learner{voc: voc, random: rand.New(rand.NewPCG(seed, 0))}
	for range 3 {
		l.weights = append(l.weights, learn.NewParam(l.random, dim, dim, learnStart))
	}
	w := l.weights
	l.attention = kernel.SelfAttention{WQ: w[0].Value, WK: w[1].Value, WV: w[2].Value}
	l.grad = kernel.SelfAttention{WQ: w[0].Grad, WK: w[1].Grad, WV: w[2].Grad}
	for _, word := range voc.Words {
		if !slices.Contains(keptOut, word) {
			l.candidates = append(l.candidates, word)
		}
	}
	x, err := l.embed(l.candidates)
	if err != nil {
		return nil, err
	}
	l.normed = learn.NewMatrix(x.Rows, dim)
	return l, l.norm.Forward(l.normed, x)
}

// embed returns the vectors of words.
func (l *learner) embed(words []string) (kernel.Matrix, error) {
	x, err := l.voc.Embed(words)
	return kernel.Matrix{Rows: len(words), Cols: dim, Stride: dim, Data: x}, err
}

// step learns from random sentences. The word in the middle is two at once, their sum by 1/√2, as the vector of a word of two senses lies
// between them. Its y, by the cosines with all words but those kept out, shall predict one of the sense of the word
// behind it. step returns the mean cross entropy, in nats.
func (l *learner) step(adam *learn.Adam) (float64, error) {
	var words, second []string
	offsets, targets := []int{0}, make([]int, learnBatch)
	pick := func(from []string) string { return from[l.random.IntN(len(from))] }
	nouns := slices.Concat(learnedSense[:]...)
	for i := range targets {
		sense := learnedSense[l.random.IntN(len(learnedSense))]
		words = append(words, pick(learnedOther), pick(nouns), pick(sense))
		second = append(second, pick(nouns))
		targets[i] = slices.Index(l.candidates, pick(sense))
		offsets = append(offsets, len(words))
	}
	x, err := l.embed(words)
	if err != nil {
		return 0, err
	}
	seconds, err := l.embed(second)
	if err != nil {
		return 0, err
	}
	for i := range targets {
		middle := learn.Row(x, offsets[i]+apple)
		for c, other := range learn.Row(seconds, i) {
			middle[c] = (middle[c] + other) * (math.Sqrt2 / 2)
		}
	}
	for i := range x.Data {
		x.Data[i] += float32((2*l.random.Float32() - 1) * learnNoise)
	}
	n := len(targets)
	y, middle, normed, logits := learn.NewMatrix(x.Rows, dim), learn.NewMatrix(n, dim), learn.NewMatrix(n, dim), learn.NewMatrix(n, len(l.candidates))
	if err := l.attention.ForwardTape(y, x, &l.tape, &kernel.Options{QueryOffsets: offsets, KeyOffsets: offsets}); err != nil {
		return 0, err
	}
	for i := range n {
		copy(learn.Row(middle, i), learn.Row(y, offsets[i]+apple))
		learn.Add(learn.Row(middle, i), learn.Row(x, offsets[i]+apple))
	}
	if err := l.norm.Forward(normed, middle); err != nil {
		return 0, err
	}
	if err := kernel.MatMul(logits, normed, l.normed, &kernel.MatMulOptions{TransB: true}); err != nil {
		return 0, err
	}
	for i := range logits.Data {
		logits.Data[i] /= learnTemperature
	}
	loss := learn.CrossEntropy(logits, logits, targets)
	if err := kernel.MatMul(normed, logits, l.normed, nil); err != nil {
		return 0, err
	}
	for i := range normed.Data {
		normed.Data[i] /= learnTemperature
	}
	l.norm.Backward(normed, middle, normed)
	clear(y.Data)
	for i := range n {
		copy(learn.Row(y, offsets[i]+apple), learn.Row(normed, i))
	}
	if err := l.attention.Backward(&l.grad, kernel.Matrix{}, y, &l.tape); err != nil {
		return 0, err
	}
	adam.Step(learnRate)
	return loss, nil
}

// train trains for steps, and returns the loss of the first one and of the last.
func (l *learner) train(steps int) (first, last float64, err error) {
	adam := &learn.Adam{Params: l.weights}
	for step := range steps {
		if last, err = l.step(adam); err != nil {
			return first, last, err
		}
		if step == 0 {
			first = last
		}
	}
	return first, last, nil
}

// read returns the weights of a sentence, and by how much its word apple moves toward each of the held-out words of its sense, and of the
// other: the changes of the cosines.
func (l *learner) read(s appleSentence) (weights []float32, toward, away []float64, err error) {
	x, err := l.embed(s.words)
	if err != nil {
		return nil, nil, nil, err
	}
	n := len(s.words)
	y, m, queries := learn.NewMatrix(n, dim), learn.NewMatrix(n, n), make([]int, n)
	for i := range queries {
		queries[i] = i
	}
	if err := l.attention.Forward(y, x, nil); err != nil {
		return nil, nil, nil, err
	}
	if err := l.attention.Weights(m, x, 0, queries, nil); err != nil {
		return nil, nil, nil, err
	}
	before := learn.Row(x, apple)
	after := slices.Clone(before)
	learn.Add(after, learn.Row(y, apple))
	changes := func(g group) (all []float64) {
		for _, word := range g.words {
			all = append(all, glove.Cosine(after, l.voc.Vectors[word])-glove.Cosine(before, l.voc.Vectors[word]))
		}
		return all
	}
	return m.Data, changes(heldOut[s.expected.name]), changes(heldOut[s.versus.name]), nil
}

// showLearning trains the projections from random ones, as often as starts says, and shows the two sentences before and after.
func showLearning(w io.Writer, voc glove.Vocabulary, starts int, colours bool) error {
	untrained, err := newLearner(voc, learnSeed)
	if err != nil {
		return err
	}
	var learned []*learner
	var first, last float64 // of the first learner
	for seed := range uint64(starts) {
		l, err := newLearner(voc, learnSeed+seed)
		if err != nil {
			return err
		}
		from, to, err := l.train(learnSteps)
		if err != nil {
			return err
		}
		if seed == 0 {
			first, last = from, to
		}
		learned = append(learned, l)
	}
	fmt.Fprintf(w, "LEARNED PROJECTIONS: y = x + SelfAttention(x); W_Q, W_K, W_V %d x %d, random at first\n\n", dim, dim)
	fmt.Fprintf(w, "%d steps of %d random sentences such as 'buy dog+rain software': the middle word is two at once.\n", learnSteps, learnBatch)
	fmt.Fprintf(w, "Its y shall predict, among %d words, one of the sense of the last word, one of %d:\n", len(untrained.candidates), len(learnedSense))
	fmt.Fprintf(w, "forward, cross entropy, Backward, Adam. The loss falls from %.2f to %.2f nats.\n", first, last)
	fmt.Fprint(w, "No word below is among those learned from.\n\n")
	for _, s := range appleSentences {
		random, toward, away, err := untrained.read(s)
		if err != nil {
			return err
		}
		maps := []heatMap{{"random", random}}
		before := slices.Concat(toward, away)
		after := make([][]float64, len(before)) // of each word, from all starts
		for i, l := range learned {
			weights, toward, away, err := l.read(s)
			if err != nil {
				return err
			}
			if i == 0 {
				maps = append(maps, heatMap{"learned", weights})
			}
			for word, change := range slices.Concat(toward, away) {
				after[word] = append(after[word], change)
			}
		}
		drawHeatMaps(w, s.words, maps, colours)
		fmt.Fprintf(w, "  Apple's cosine changes by    random    learned, mean (range) of random starts: %d\n", starts)
		for i, word := range slices.Concat(heldOut[s.expected.name].words, heldOut[s.versus.name].words) {
			sum := 0.
			for _, x := range after[i] {
				sum += x
			}
			fmt.Fprintf(w, "  with %-22s%+8.3f   %+.3f (%+.3f to %+.3f)\n", word, before[i], sum/float64(starts), slices.Min(after[i]), slices.Max(after[i]))
		}
		fmt.Fprintln(w)
	}
	return nil
}

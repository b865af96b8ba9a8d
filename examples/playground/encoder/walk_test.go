package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/kernel"
)

// TestWords chooses whose vectors words have: MiniLM's, of a sentence with a word in pieces, and GloVe's again. All steps about a
// sentence show what package kernel gives of these.
func TestWords(t *testing.T) {
	m := minilmtest.Model(t, "../../encoder/model")
	b := open(t, encoder{m}, 1100, 900)
	voc, err := glove.Load()
	if err != nil {
		t.Fatal(err)
	}
	static := func(text string) ([]string, kernel.Matrix) {
		pieces, vectors, err := m.Static(text, 100)
		if err != nil {
			t.Fatal(err)
		}
		return pieces, dense(len(pieces), minilm.Dim, slices.Concat(vectors...))
	}
	pieces := glove.Vocabulary{Words: voc.Words, Vectors: map[string][]float32{}}
	for _, word := range voc.Words {
		one, x := static(word)
		if len(one) != 1 {
			t.Fatalf("%s is %q", word, one)
		}
		pieces.Vectors[word] = x.Data
	}

	// The weights of a mix are those of the sentence that is shown, while another is typed.
	for _, id := range []string{"map", "mixing"} {
		b.step(id)
	}
	b.set("sentence", "value", "we love apple earbuds")
	b.set("mixing-sliders-3", "value", 1)
	b.until("document.querySelector('#sentence-note').textContent.includes('earbuds')")
	before := b.walk(voc, []string{"we", "love", "apple"}, b.embed("we", "love", "apple"))
	b.do(chromedp.Click("#words-minilm"))
	words, x := static("we love apple earbuds")
	if want := []string{"we", "love", "apple", "ear", "##bu", "##ds"}; !slices.Equal(words, want) {
		t.Fatalf("the pieces are %q, want %q", words, want)
	}
	b.walk(pieces, words, x)
	b.do(chromedp.Click("#words-glove"))
	if after := b.walk(voc, []string{"we", "love", "apple"}, b.embed("we", "love", "apple")); after != before {
		t.Errorf("after switching back the page says\n%s\nand before\n%s", after, before)
	}
}

// walk compares the steps about a sentence with words, their vectors x, and those that may be near. It returns the text of these steps.
func (b *tab) walk(voc glove.Vocabulary, words []string, x kernel.Matrix) (text string) {
	b.Helper()
	n, dim := x.Rows, x.Cols
	tokens := kernel.Tensor{Data: x.Data, Len: n, Dim: dim}
	var all []int
	for i := range n {
		all = append(all, i)
	}
	shares := func(o kernel.Options) kernel.Matrix {
		w := dense(n, n, make([]float32, n*n))
		if err := kernel.AttentionWeights(w, tokens, tokens, 0, 0, all, &o); err != nil {
			b.Fatal(err)
		}
		return w
	}
	near := func(selector string, v []float32, most int) {
		b.Helper()
		var cosines []float32
		names := voc.Nearest(v, words, most)
		for _, word := range names {
			cosines = append(cosines, float32(glove.Cosine(v, voc.Vectors[word])))
		}
		b.texts(selector+" dt", names)
		b.equal(selector, b.numbers(selector+" dd[data-value]"), cosines)
	}
	see := func(id string) {
		b.Helper()
		b.step(id)
		var said string
		b.js(fmt.Sprintf("document.getElementById(%q).innerText", id), &said)
		text += said
		if other := fmt.Sprint(minilm.Dim + glove.Dim - dim); strings.Contains(strings.ReplaceAll(said, "100 %", ""), other) {
			b.Errorf("%s names the dimension %s, and has %d", id, other, dim)
		}
	}
	root := float32(1 / math.Sqrt(float64(dim)))

	see("meanings")
	b.texts("#meanings-words button", words)
	near("#meanings-nearest", x.Data[2*dim:][:dim], 12)
	var bars int
	b.js("document.querySelectorAll('#meanings-vector rect').length", &bars)
	if bars != dim || !strings.Contains(text, fmt.Sprintf("Here it has %d of them", dim)) {
		b.Errorf("meanings: %d bars, want %d, and so says the text: %s", bars, dim, text)
	}

	see("mixing")
	weights := make([]float32, n) // the same for each second word
	for i := range n {
		weights[i] = float32(i%2) / float32(n/2)
		b.set(fmt.Sprintf("mixing-sliders-%d", i), "value", i%2)
	}
	want, err := json.Marshal(weights)
	if err != nil {
		b.Fatal(err)
	}
	b.until(fmt.Sprintf("%s.every((w, i) => Math.fround(document.querySelectorAll('#mixing-sliders output')[i].dataset.value) === Math.fround(w))", want))
	near("#mixing-nearest", b.product(dense(1, n, weights), x, nil).Data, 6)

	dots := b.product(x, x, &kernel.MatMulOptions{TransB: true}).Data
	see("dots")
	b.texts("#dots-table thead th", words)
	b.equal("dots", b.numbers("#dots-table td[data-value]"), dots)

	see("first")
	var names []string
	b.js("[...document.querySelectorAll('#first-scale span')].map(e => e.textContent)", &names)
	if want := []string{"1", fmt.Sprintf("1/√%d", dim), fmt.Sprintf("1/%d", dim)}; !slices.Equal(names, want) {
		b.Errorf("first has the scales %q, want %q", names, want)
	}
	for i, scale := range []float32{1, 1 / float32(dim), root} {
		b.js(fmt.Sprintf("document.querySelectorAll('#first-scale input')[%d].click()", []int{0, 2, 1}[i]), nil)
		b.step("first")
		b.equal("first", b.numbers("#first-weights td[data-value]"), shares(kernel.Options{Scale: scale}).Data)
		out := kernel.Tensor{Data: make([]float32, n*dim), Len: n, Dim: dim}
		if err := kernel.Attention(out, tokens, tokens, tokens, &kernel.Options{Scale: scale}); err != nil {
			b.Fatal(err)
		}
		near("#first-nearest .pair > :nth-child(1)", x.Data[2*dim:][:dim], 6)
		near("#first-nearest .pair > :nth-child(2)", out.Data[2*dim:][:dim], 6)
	}

	see("roles")
	random := rand.New(rand.NewPCG(1, 0))
	var roles []kernel.Matrix
	for range 2 {
		w := dense(dim, 8, make([]float32, dim*8))
		for k := range w.Data {
			w.Data[k] = float32(random.NormFloat64() / math.Sqrt(float64(dim)))
		}
		roles = append(roles, b.product(x, w, nil))
	}
	b.equal("roles", b.numbers("#roles-dots td[data-value]"), dots)
	b.equal("roles", b.numbers("#roles-scores td[data-value]"), b.product(roles[0], roles[1], &kernel.MatMulOptions{TransB: true}).Data)

	see("masks")
	masked := shares(kernel.Options{Scale: root, Causal: true}).Data
	for i := range masked {
		if i%n > i/n {
			masked[i] = float32(math.Inf(-1))
		}
	}
	b.equal("masks", b.numbers("#masks-weights td[data-value]"), masked)

	see("far")
	fillers := strings.Fields("the of in and with is this")
	var keys []float32
	for i := range 511 {
		word := fillers[i%len(fillers)]
		if i == 511-256 {
			word = "phones"
		}
		keys = append(keys, voc.Vectors[word]...)
	}
	far := make([]float32, 511)
	if err := kernel.AttentionWeights(dense(1, 511, far), kernel.Tensor{Data: voc.Vectors["apple"], Len: 1, Dim: dim},
		kernel.Tensor{Data: keys, Len: 511, Dim: dim}, 0, 0, []int{0}, &kernel.Options{Scale: 0.4}); err != nil {
		b.Fatal(err)
	}
	b.equal("far", b.numbers("#far-result b")[:1], far[255:256])

	see("map")
	if want := fmt.Sprintf("the other %d dimensions", dim-2); !strings.Contains(text, want) {
		b.Errorf("the map does not say %q", want)
	}
	return text
}

// texts compares what elements say.
func (b *tab) texts(selector string, want []string) {
	b.Helper()
	var shown []string
	b.js(fmt.Sprintf("[...document.querySelectorAll(%q)].map(e => e.textContent)", selector), &shown)
	if !slices.Equal(shown, want) {
		b.Errorf("%s has %q, want %q", selector, shown, want)
	}
}

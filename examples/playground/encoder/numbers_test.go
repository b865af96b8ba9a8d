package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/kernel"
)

// dense returns a matrix of numbers.
func dense(rows, cols int, data []float32) kernel.Matrix {
	return kernel.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: data}
}

// product returns x·y.
func (b *tab) product(x, y kernel.Matrix, o *kernel.MatMulOptions) kernel.Matrix {
	b.Helper()
	cols := y.Cols
	if o != nil && o.TransB {
		cols = y.Rows
	}
	m := dense(x.Rows, cols, make([]float32, x.Rows*cols))
	if err := kernel.MatMul(m, x, y, o); err != nil {
		b.Fatal(err)
	}
	return m
}

// embed returns the vectors of words.
func (b *tab) embed(words ...string) kernel.Matrix {
	b.Helper()
	voc, err := glove.Load()
	if err != nil {
		b.Fatal(err)
	}
	data, err := voc.Embed(words)
	if err != nil {
		b.Fatal(err)
	}
	return dense(len(words), glove.Dim, data)
}

// matrices returns the random matrices of a seed and a stream, 8 columns each.
func matrices(seed, stream uint64, n int) []kernel.Matrix {
	random := rand.New(rand.NewPCG(seed, stream))
	all := make([]kernel.Matrix, n)
	for i := range all {
		all[i] = dense(glove.Dim, 8, make([]float32, glove.Dim*8))
		for k := range all[i].Data {
			all[i].Data[k] = float32(random.NormFloat64() / math.Sqrt(glove.Dim))
		}
	}
	return all
}

// TestRoles compares queries times keys, by the matrices of two seeds.
func TestRoles(t *testing.T) {
	b := open(t, nil, 1100, 900)
	x := b.embed("we", "love", "apple", "phones")
	for seed := range uint64(2) {
		b.step("roles")
		w := matrices(seed+1, 0, 2)
		scores := b.product(b.product(x, w[0], nil), b.product(x, w[1], nil), &kernel.MatMulOptions{TransB: true})
		b.equal("roles", b.numbers("#roles-scores td[data-value]"), scores.Data)
		b.do(chromedp.Click("#roles-again"))
	}
}

// TestFar compares the shares of a far word and of the others.
func TestFar(t *testing.T) {
	b := open(t, nil, 1100, 900)
	b.step("far")
	words := strings.Fields("the of in and with is this")
	for _, c := range []struct {
		exponent         int
		along            float64 // from the nearest place to the farthest
		scale, slope     float32
		tokens, distance int
	}{{9, 0.5, 0.4, 0, 512, 256}, {11, 1, 0.25, 0, 2048, 2047}, {6, 0, 0.4, 0.05, 64, 1}, {8, 0.25, 0.3, 0.01, 256, 65}} {
		b.set("far-tokens", "value", c.exponent)
		b.set("far-distance", "value", c.along)
		b.set("far-scale", "value", c.scale)
		b.set("far-slope", "value", c.slope)
		b.step("far")
		n := c.tokens - 1
		text := make([]string, n)
		for i := range text {
			text[i] = words[i%len(words)]
		}
		text[n-c.distance] = "phones"
		weights := make([]float32, n)
		err := kernel.AttentionWeights(dense(1, n, weights), kernel.Tensor{Data: b.embed("apple").Data, Len: 1, Dim: glove.Dim},
			kernel.Tensor{Data: b.embed(text...).Data, Len: n, Dim: glove.Dim}, 0, 0, []int{0},
			&kernel.Options{Scale: c.scale, ALiBi: []float32{c.slope}, Start: []int{n}})
		if err != nil {
			t.Fatal(err)
		}
		var other float32
		for i, w := range weights {
			if i != n-c.distance {
				other += w / float32(n-1)
			}
		}
		b.equal("far", b.numbers("#far-result b"), []float32{weights[n-c.distance], other})
	}
}

// TestMap compares where words and their mix are on the map with their principal components.
func TestMap(t *testing.T) {
	b := open(t, nil, 1100, 900)
	b.step("map")
	words := strings.Fields("we love apple phones iphone laptop computer microsoft fruit banana lemon cherry")
	n := len(words)
	x := b.embed(words...)

	// Less their mean; then the products of the words with each other, whose eigenvectors are places on the map.
	mean := b.product(dense(1, n, slices.Repeat([]float32{1 / float32(n)}, n)), x, nil).Data
	less := func(m kernel.Matrix) kernel.Matrix {
		m.Data = slices.Clone(m.Data)
		for i := range m.Data {
			m.Data[i] -= mean[i%len(mean)]
		}
		return m
	}
	centred := less(x)
	gram := b.product(centred, centred, &kernel.MatMulOptions{TransB: true})
	var total float64
	for i := range n {
		total += float64(gram.Data[i*n+i])
	}
	var axes [2][]float64 // unit vectors
	var sizes [2]float64
	for c := range axes { // the power method, each time without what it found before
		u := make([]float64, n)
		for i := range u {
			u[i] = 1 / float64(i+1)
		}
		for range 5000 {
			next := make([]float64, n)
			for i := range n {
				for j := range n {
					next[i] += float64(gram.Data[i*n+j]) * u[j]
				}
			}
			for d := range c {
				var along float64
				for i := range n {
					along += next[i] * axes[d][i]
				}
				for i := range n {
					next[i] -= along * axes[d][i]
				}
			}
			var squares float64
			for _, v := range next {
				squares += v * v
			}
			sizes[c] = math.Sqrt(squares)
			for i := range n {
				u[i] = next[i] / sizes[c]
			}
		}
		if slices.Max(u) < -slices.Min(u) {
			for i := range u {
				u[i] = -u[i]
			}
		}
		axes[c] = u
	}
	place := func(v kernel.Matrix) (at [2]float64) { // of a centred vector
		dots := b.product(v, centred, &kernel.MatMulOptions{TransB: true}).Data
		for c := range at {
			for i, d := range dots {
				at[c] += float64(d) * axes[c][i] / math.Sqrt(sizes[c])
			}
		}
		return at
	}

	for _, weights := range [][]float32{{0, 0, 1, 0}, {0, 0.5, 0.25, 0.25}} {
		for i, w := range weights {
			b.set(fmt.Sprintf("map-sliders-%d", i), "value", w)
		}
		b.until("[...document.querySelectorAll('#map-sliders output')].map(o => parseFloat(o.textContent) / 100).join() === '" +
			strings.Trim(strings.Join(strings.Fields(fmt.Sprint(weights)), ","), "[]") + "'")
		mix := place(less(b.product(dense(1, 4, weights), dense(4, glove.Dim, x.Data[:4*glove.Dim]), nil)))
		var shown struct {
			Size, At [2]float64
			Places   [][2]float64
			Names    []string
			Spread   string
		}
		b.js(`(() => {
			const svg = document.querySelector('#map-picture svg'), [,, ...size] = svg.getAttribute('viewBox').split(' ').map(Number);
			return {Size: size, At: [+svg.dataset.x, +svg.dataset.y], Names: [...svg.querySelectorAll('text')].map(e => e.textContent),
				Places: [...svg.querySelectorAll('circle')].map(c => [+c.getAttribute('cx'), +c.getAttribute('cy')]),
				Spread: document.querySelector('#map-picture p').textContent};
		})()`, &shown)
		if got, want := strings.Join(shown.Names, " "), strings.Join(words, " "); got != want {
			t.Errorf("map has the words %q, want %q", got, want)
		}
		if want := fmt.Sprintf(" %.1f %% ", 100*(sizes[0]+sizes[1])/total); !strings.Contains(shown.Spread, want) {
			t.Errorf("map: %q, want%s", shown.Spread, want)
		}
		all := [][2]float64{}
		for i := range n {
			all = append(all, place(dense(1, glove.Dim, centred.Data[i*glove.Dim:][:glove.Dim])))
		}
		all = append(all, mix)
		if len(shown.Places) != len(all) {
			t.Fatalf("map has %d places, want %d", len(shown.Places), len(all))
		}
		// In the picture's middle, as large as leaves 70 pixels at each edge; up is up.
		var low, high [2]float64
		unit := 0.
		for c := range low {
			low[c], high[c] = math.Inf(1), math.Inf(-1)
			for _, p := range all {
				low[c], high[c] = min(low[c], p[c]), max(high[c], p[c])
			}
			unit = max(unit, (high[c]-low[c])/(shown.Size[c]-140))
		}
		for c, sign := range []float64{1, -1} {
			if math.Abs(shown.At[c]-mix[c]) > 1e-3 {
				t.Errorf("map: the mix is at %v, want %v", shown.At, mix)
			}
			for i, p := range all {
				want := shown.Size[c]/2 + sign*(p[c]-(low[c]+high[c])/2)/unit
				if math.Abs(shown.Places[i][c]-want) > 0.1 {
					t.Errorf("map: coordinate %d of place %d is %v, want %v", c, i, shown.Places[i][c], want)
				}
			}
		}
	}
}

// meaning compares the cosines of a word in two sentences, layer by layer, with those of its vectors.
func (b *tab) meaning(read func(text string) (tokens []string, vectors [][][]float32)) {
	b.Helper()
	follow := func(text, word string) (layers [][]float32) {
		tokens, vectors := read(text)
		for _, layer := range vectors {
			layers = append(layers, layer[slices.Index(tokens, word)])
		}
		return layers
	}
	b.step("meaning")
	first, second := follow("we love apple phones", "apple"), follow("we love apple juice", "apple")
	want := make([][]float32, len(first))
	for l := range first {
		want[l] = append(want[l], float32(glove.Cosine(second[l], first[l])))
	}
	for _, word := range strings.Fields("computer laptop samsung software banana fruit orange lemon") {
		for l, v := range follow(word, word) {
			want[l] = append(want[l], float32(glove.Cosine(first[l], v)), float32(glove.Cosine(second[l], v)))
		}
	}
	b.equal("meaning", b.numbers("#meaning-between td[data-value]"), slices.Concat(want...))
}

// TestMeaning compares meanings without an encoder: before and after four heads of attention.
func TestMeaning(t *testing.T) {
	b := open(t, nil, 1100, 900)
	b.meaning(func(text string) ([]string, [][][]float32) {
		words := strings.Fields(text)
		n := len(words)
		x := kernel.Tensor{Data: b.embed(words...).Data, Heads: 4, Len: n, Dim: 25, HeadStride: 25, LenStride: glove.Dim}
		out := x
		out.Data = make([]float32, n*glove.Dim)
		if err := kernel.Attention(out, x, x, x, nil); err != nil {
			t.Fatal(err)
		}
		split := func(data []float32) [][]float32 { return slices.Collect(slices.Chunk(data, glove.Dim)) }
		return words, [][][]float32{split(x.Data), split(out.Data)}
	})
}

// TestLearningNumbers takes a few steps, and compares what is shown at each with what package kernel makes of the matrices of
// that step: those of the seed at first, then those that the page has.
func TestLearningNumbers(t *testing.T) {
	b := open(t, nil, 1100, 900)
	split := func(texts string) (all [][]string) {
		for _, text := range strings.Split(texts, "; ") {
			all = append(all, strings.Fields(text))
		}
		return all
	}
	lessons := split("love apple phones; love apple juice; buy apple computer; eat apple cake; use apple software; drink apple wine; want apple keyboard; like apple jam")
	shown := slices.Concat(lessons[:2], split("sell apple phone; hate apple tea"))
	targets := b.embed(strings.Fields("samsung microsoft internet screen pear cherry grape mango")...)
	held := split("iphone phone laptop; fruit banana lemon")

	forward := func(l *kernel.SelfAttention, words []string) (x kernel.Matrix, apple []float32) {
		x = b.embed(words...)
		out := dense(len(words), 8, make([]float32, len(words)*8))
		if err := l.Forward(out, x, nil); err != nil {
			t.Fatal(err)
		}
		return x, out.Data[8:16]
	}
	layer := func(w []float32) *kernel.SelfAttention {
		m := func(i int) kernel.Matrix { return dense(glove.Dim, 8, w[i*glove.Dim*8:][:glove.Dim*8]) }
		return &kernel.SelfAttention{WQ: m(0), WK: m(1), WV: m(2)}
	}
	loss := func(w []float32) (sum float64) {
		l := layer(w)
		values := b.product(targets, l.WV, nil)
		for i, words := range lessons {
			_, apple := forward(l, words)
			p := b.product(dense(1, 8, apple), values, &kernel.MatMulOptions{TransB: true}).Data
			kernel.Softmax(p, p)
			var right float64
			for _, v := range p[i%2*4:][:4] {
				right += float64(v)
			}
			sum -= math.Log(min(right, 1)) / float64(len(lessons))
		}
		return sum
	}

	// What the page goes on from is what it was sent last.
	b.js("{ const fetched = window.fetch; window.fetch = async (...a) => { const r = await fetched(...a); if (a[0] === 'api/learn') window.learned = await r.clone().text(); return r; }; }", nil)
	b.step("learning")
	state := func() []float32 {
		var text string
		b.js("window.learned", &text)
		var r struct{ State struct{ W []float32 } }
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		return r.State.W
	}
	compare := func(w []float32) {
		t.Helper()
		l := layer(w)
		var weights, near []float32
		for _, words := range shown {
			x, apple := forward(l, words)
			m := dense(3, 3, make([]float32, 9))
			if err := l.Weights(m, x, 0, []int{0, 1, 2}, nil); err != nil {
				t.Fatal(err)
			}
			weights = append(weights, m.Data...)
			for _, group := range held {
				var mean float64
				for _, word := range group {
					mean += glove.Cosine(apple, b.product(b.embed(word), l.WV, nil).Data) / float64(len(group))
				}
				near = append(near, float32(mean))
			}
		}
		b.equal("learning's shares", b.numbers("#learning-lessons td[data-value]"), weights)
		b.equal("learning's cosines", b.numbers("#learning-lessons dd[data-value]"), near)
		// The matrices are painted in 16 shades up to 0.3, on their sides.
		var shades [][]float32
		b.js(`[...document.querySelectorAll('#learning-matrices svg')].map(svg => {
			const all = Array(800).fill(0);
			for (const path of svg.querySelectorAll('path')) {
				for (const [, x, y] of path.getAttribute('d').matchAll(/M(\d+) (\d+)/g)) all[x / 6 * 8 + y / 6] = path.getAttribute('fill-opacity') * 16 * (path.classList.contains('neg') ? -1 : 1);
			}
			return all;
		})`, &shades)
		want := make([]float32, len(w))
		for i, v := range w {
			want[i] = float32(math.Copysign(min(16, math.Round(math.Abs(float64(v))/0.3*16)), float64(v)))
		}
		b.equal("learning's matrices", slices.Concat(shades...), want)
	}

	b.js("document.getElementById('learning-seed').click()", nil) // which is 2 then
	b.step("learning")
	b.until("window.learned !== undefined && document.querySelector('#learning-count').textContent === 'step 0'")
	var w []float32
	for _, m := range matrices(2, 1, 3) {
		w = append(w, m.Data...)
	}
	compare(w)
	for step := 1; step <= 4; step++ {
		b.js("document.getElementById('learning-step').click()", nil)
		b.until(fmt.Sprintf("document.querySelector('#learning-count').textContent.startsWith('step %d,') && document.querySelector('#learning-run').textContent === 'Start'", step))
		var is float64
		b.js("+document.querySelector('#learning-count').dataset.value", &is)
		if want := loss(w); is != want {
			t.Errorf("learning: the loss before step %d is %v, want %v", step, is, want)
		}
		next := state()
		if step == 1 {
			// Adam's first step is as long as its rate, against the slope.
			for i := 7; i < len(w); i += 171 {
				at := slices.Clone(w)
				at[i] = w[i] + 0.02
				slope := loss(at)
				at[i] = w[i] - 0.02
				slope -= loss(at)
				if got := float64(next[i] - w[i]); math.Abs(slope) > 1e-5 && math.Abs(got+math.Copysign(0.0005, slope)) > 1e-5 {
					t.Errorf("learning: number %d moves by %v where the loss changes by %v", i, got, slope)
				}
			}
		}
		w = next
		compare(w)
	}
}

// TestTyped compares every matrix of the step in which numbers are typed, when a number of each kind has changed, and as it was.
func TestTyped(t *testing.T) {
	b := open(t, nil, 1100, 900)
	b.step("numbers")
	compare := func(scale float32, q, k, v []float32) {
		t.Helper()
		tensor := func(x []float32) kernel.Tensor { return kernel.Tensor{Data: x, Len: 3, Dim: 2} }
		square := func() kernel.Matrix { return dense(3, 3, make([]float32, 9)) }
		scores, weights, out := square(), square(), make([]float32, 6)
		o, all := &kernel.Options{Scale: scale}, []int{0, 1, 2}
		if err := errors.Join(kernel.AttentionScores(scores, tensor(q), tensor(k), 0, 0, all, kernel.StageBias, o),
			kernel.AttentionWeights(weights, tensor(q), tensor(k), 0, 0, all, o),
			kernel.Attention(tensor(out), tensor(q), tensor(k), tensor(v), o)); err != nil {
			t.Fatal(err)
		}
		b.step("numbers")
		products := b.product(dense(3, 2, q), dense(3, 2, k), &kernel.MatMulOptions{TransB: true})
		for i, want := range [][]float32{products.Data, scores.Data, weights.Data, out} {
			b.equal("numbers", b.numbers(fmt.Sprintf("#numbers-result > :nth-child(%d) td[data-value]", i+1)), want)
		}
	}
	q, k, v := []float32{1, 0, 2, 1, 2, 2}, []float32{1, 0, 1, 1, 0, 2}, []float32{1, 2, 0, 1, 2, 0}
	compare(0.7071068, q, k, v)
	for id, value := range map[string]float32{"queries-3": -5, "keys-0": 0.5, "values-5": 7, "scale": 0.3} {
		b.set("numbers-"+id, "value", value)
	}
	compare(0.3, []float32{1, 0, 2, -5, 2, 2}, []float32{0.5, 0, 1, 1, 0, 2}, []float32{1, 2, 0, 1, 2, 7})
	b.do(chromedp.Click("#numbers-reset"))
	compare(0.7071068, q, k, v)
}

// TestMasks compares shares, and who is hidden from whom, as each control changes.
func TestMasks(t *testing.T) {
	b := open(t, nil, 1100, 900)
	x := kernel.Tensor{Data: b.embed("we", "love", "apple", "phones").Data, Len: 4, Dim: glove.Dim}
	b.step("masks")
	compare := func(what string, o kernel.Options, sees func(query, key int) bool) {
		t.Helper()
		want := make([]float32, 16)
		o.Scale = 0.1
		if err := kernel.AttentionWeights(dense(4, 4, want), x, x, 0, 0, []int{0, 1, 2, 3}, &o); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if !sees(i/4, i%4) {
				want[i] = float32(math.Inf(-1))
			}
		}
		b.step("masks")
		b.equal(what, b.numbers("#masks-weights td[data-value]"), want)
	}
	compare("causal", kernel.Options{Causal: true}, func(q, k int) bool { return k <= q })
	b.do(chromedp.Click("#masks-window"))
	compare("causal, 1 back", kernel.Options{Causal: true, Window: &kernel.Window{Left: 1}}, func(q, k int) bool { return k <= q && k >= q-1 })
	b.do(chromedp.Click("#masks-causal"))
	b.set("masks-left", "value", 0)
	b.set("masks-right", "value", 2)
	compare("2 ahead", kernel.Options{Window: &kernel.Window{Right: 2}}, func(q, k int) bool { return k >= q && k <= q+2 })
	b.set("masks-length", "value", 3)
	compare("2 ahead, 3 words", kernel.Options{Window: &kernel.Window{Right: 2}, KeyLen: []int{3}, Start: []int{0}},
		func(q, k int) bool { return k >= q && k <= q+2 && k < 3 })
	love := func() { // the button, which is another whenever the step has new numbers
		t.Helper()
		b.step("masks")
		b.do(chromedp.Click("#masks-keys button:nth-child(2)"))
	}
	b.do(chromedp.Click("#masks-window"))
	love()
	seen := []bool{true, false, true, true}
	compare("3 words, one hidden", kernel.Options{KeyLen: []int{3}, Start: []int{0}, Mask: &kernel.Mask{Data: seen}},
		func(q, k int) bool { return k < 3 && seen[k] })
	b.set("masks-length", "value", 12)
	love()
	compare("everything", kernel.Options{}, func(q, k int) bool { return true })
}

// near compares a list of words with those that are nearest to a vector, and their cosines.
func (b *tab) near(selector string, x []float32, most int) {
	b.Helper()
	voc, err := glove.Load()
	if err != nil {
		b.Fatal(err)
	}
	words := voc.Nearest(x, strings.Fields("we love apple phones"), most)
	var cosines []float32
	for _, word := range words {
		cosines = append(cosines, float32(glove.Cosine(x, voc.Vectors[word])))
	}
	var shown []string
	b.js(fmt.Sprintf("[...document.querySelectorAll(%q)].map(e => e.textContent)", selector+" dt"), &shown)
	if !slices.Equal(shown, words) {
		b.Errorf("%s has %v, want %v", selector, shown, words)
	}
	b.equal(selector, b.numbers(selector+" dd[data-value]"), cosines)
}

// TestNearest compares what a word is near to, in the first step, and before and after the first attention. A word that is chosen in
// one of them is looked at in the other.
func TestNearest(t *testing.T) {
	b := open(t, nil, 1100, 900)
	data := b.embed("we", "love", "apple", "phones").Data
	x := kernel.Tensor{Data: data, Len: 4, Dim: glove.Dim}
	out := x
	out.Data = make([]float32, len(data))
	if err := kernel.Attention(out, x, x, x, &kernel.Options{Scale: 0.1}); err != nil {
		t.Fatal(err)
	}
	word := func(x []float32, i int) []float32 { return x[i*glove.Dim:][:glove.Dim] }
	compare := func(i int) {
		t.Helper()
		b.step("meanings")
		b.near("#meanings-nearest", word(data, i), 12)
		var bars []float64 // downwards is positive
		b.js("[...document.querySelectorAll('#meanings-vector rect')].map(r => r.getAttribute('height') * (r.classList.contains('neg') ? -1 : 1))", &bars)
		for k, v := range word(data, i) {
			if want := 20 * max(-1, min(1, float64(v)/1.5)); len(bars) != glove.Dim || math.Abs(bars[k]-want) > 1e-4 {
				t.Fatalf("meanings: bar %d of %d of word %d is wrong, want %v", k, len(bars), i, want)
			}
		}
		b.step("first")
		b.near("#first-nearest .pair > :nth-child(1)", word(data, i), 6)
		b.near("#first-nearest .pair > :nth-child(2)", word(out.Data, i), 6)
	}
	compare(2)
	b.step("meanings")
	b.do(chromedp.Click("#meanings-words button:nth-child(4)"))
	compare(3)
	b.do(chromedp.Click("#first-words button:nth-child(1)"))
	compare(0)
}

// heads compares the maps of all heads, and what the words of the enlarged one take, with weights [layer][head].
func (b *tab) heads(weights [][][]float32, n int) {
	b.Helper()
	b.step("heads")
	var all [][]float64 // in 16 shades
	b.js(fmt.Sprintf(`[...document.querySelectorAll('#heads-all svg')].map(svg => {
		const all = Array(%[1]d * %[1]d).fill(0);
		for (const path of svg.querySelectorAll('path')) {
			for (const [, x, y] of path.getAttribute('d').matchAll(/M(\d+) (\d+)/g)) all[y / 6 * %[1]d + x / 6] = path.getAttribute('fill-opacity') * 16;
		}
		return all;
	})`, n), &all)
	heads := slices.Concat(weights...)
	if len(all) != len(heads) {
		b.Fatalf("there are %d maps, want %d", len(all), len(heads))
	}
	for i, w := range heads {
		for k, v := range w {
			if want := math.Round(16 * float64(v)); all[i][k] != want {
				b.Errorf("number %d of map %d has the shade %v, want %v", k, i, all[i][k], want)
			}
		}
	}
}

// TestHeadsWithoutEncoder compares the four heads that GloVe's vectors are cut into, each enlarged, with each word looking.
func TestHeadsWithoutEncoder(t *testing.T) {
	b := open(t, nil, 1100, 900)
	x := kernel.Tensor{Data: b.embed("we", "love", "apple", "phones").Data, Heads: 4, Len: 4, Dim: 25, HeadStride: 25, LenStride: glove.Dim}
	var weights [][]float32
	for head := range 4 {
		w := make([]float32, 16)
		if err := kernel.AttentionWeights(dense(4, 4, w), x, x, 0, head, []int{0, 1, 2, 3}, nil); err != nil {
			t.Fatal(err)
		}
		weights = append(weights, w)
	}
	b.heads([][][]float32{weights}, 4)
	for head, w := range weights {
		b.do(chromedp.Click(fmt.Sprintf("#heads-all button:nth-of-type(%d)", head+1)))
		for i := range 4 {
			b.do(chromedp.Click(fmt.Sprintf("#heads-words button:nth-child(%d)", i+1)))
			b.equal("heads", b.numbers("#heads-words button"), w[4*i:][:4])
		}
	}
}

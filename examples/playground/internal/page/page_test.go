package page

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// An oracle reads every text as the same few tokens.
type oracle struct{}

func (oracle) Read(text string, most int) (*Reading, error) {
	tokens := strings.Fields(text)
	if len(tokens) > most {
		return nil, fmt.Errorf("%d tokens, want %d at most", len(tokens), most)
	}
	r := &Reading{Tokens: tokens}
	for layer := range 3 {
		var vectors [][]float32
		for i := range tokens {
			vectors = append(vectors, []float32{1, float32(i), float32(layer)})
		}
		r.Vectors = append(r.Vectors, vectors)
		if layer > 0 {
			w := make([]float32, len(tokens)*len(tokens))
			for i := range w {
				w[i] = 1 / float32(len(tokens))
			}
			r.Weights = append(r.Weights, [][]float32{w, w})
		}
	}
	return r, nil
}

// Static cuts words of more than six letters in two.
func (oracle) Static(text string, most int) (pieces []string, vectors [][]float32, err error) {
	for _, word := range strings.Fields(text) {
		if len(word) > 6 {
			pieces = append(pieces, word[:6])
			word = "##" + word[6:]
		}
		pieces = append(pieces, word)
	}
	if len(pieces) > most {
		return nil, nil, fmt.Errorf("%d pieces, want %d at most", len(pieces), most)
	}
	for _, piece := range pieces {
		random := rand.New(rand.NewPCG(0, uint64(crc32.ChecksumIEEE([]byte(piece)))))
		v := make([]float32, 9)
		for i := range v {
			v[i] = float32(random.NormFloat64())
		}
		vectors = append(vectors, v)
	}
	return pieces, vectors, nil
}

func serve(t *testing.T, encoder Encoder) (*Server, *httptest.Server) {
	s, err := New("", encoder)
	require.NoError(t, err)
	web := httptest.NewServer(s.Handler())
	t.Cleanup(web.Close)
	return s, web
}

// post asks for numbers and decodes them.
func post(t *testing.T, web *httptest.Server, path string, body, reply any) (status int, text string) {
	t.Helper()
	data, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.Post(web.URL+"/api/"+path, "application/json", bytes.NewReader(data))
	require.NoError(t, err)
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	if r.StatusCode == http.StatusOK && reply != nil {
		require.NoError(t, json.Unmarshal(all, reply))
	}
	return r.StatusCode, string(all)
}

type object = map[string]any

// The tutorial's scores.
func TestSoftmax(t *testing.T) {
	_, web := serve(t, nil)
	var r struct{ Weights, Exponentials []float32 }
	status, text := post(t, web, "softmax", object{"scores": []int{1, 3, 6}, "scale": 1}, &r)
	require.Equal(t, 200, status, text)
	want := make([]float32, 3)
	kernel.Softmax(want, []float32{1, 3, 6})
	require.Equal(t, want, r.Weights, "the bits of the kernel, through JSON")
	require.InDelta(t, math.Exp(-5), r.Exponentials[0], 1e-8)
	require.Equal(t, float32(1), r.Exponentials[2])
}

// Three words in numbers, against their definition in float64.
func TestTypedMatrices(t *testing.T) {
	_, web := serve(t, nil)
	g := func(x ...float32) object { return object{"rows": 3, "cols": 2, "data": x} }
	var r struct{ Products, Scores, Weights, Out grid }
	status, text := post(t, web, "attention", object{
		"queries": g(1, 0, 2, 1, 2, 2), "keys": g(1, 0, 1, 1, 0, 2), "values": g(1, 2, 0, 1, 2, 0), "scale": 0.5, "causal": true,
	}, &r)
	require.Equal(t, 200, status, text)
	require.Equal(t, numbers{1, 1, 0, 2, 3, 2, 2, 4, 4}, r.Products.Data)
	require.Contains(t, text, "null", "what is hidden")
	e := math.Exp
	require.InDeltaSlice(t, []float32{1, 0, 0, float32(1 / (1 + e(.5))), float32(e(.5) / (1 + e(.5))), 0, float32(e(1) / (e(1) + 2*e(2))),
		float32(e(2) / (e(1) + 2*e(2))), float32(e(2) / (e(1) + 2*e(2)))}, r.Weights.Data, 1e-6)
	for i := range 3 {
		w := r.Weights.row(i)
		require.InDeltaSlice(t, []float32{w[0] + 2*w[2], 2*w[0] + w[1]}, r.Out.row(i), 1e-6)
	}
}

func TestMasks(t *testing.T) {
	_, web := serve(t, nil)
	var r struct{ Weights grid }
	status, text := post(t, web, "attention", object{
		"text": "we love apple phones", "scale": .1, "causal": true, "window": object{"left": 2, "right": 0}, "keyLen": 3, "hidden": []int{1},
	}, &r)
	require.Equal(t, 200, status, text)
	for i := range 4 {
		for j, w := range r.Weights.row(i) {
			require.Equal(t, j <= i && j >= i-2 && j < 3 && j != 1, w > 0, "%d sees %d", i, j)
		}
	}
	// Whoever sees nothing has no result, and that is near to nothing.
	status, text = post(t, web, "attention", object{"text": "apple", "scale": .1, "keyLen": 0}, nil)
	require.Equal(t, 200, status, text)
	require.Contains(t, text, `"nearest":[[]]`)
}

// Without learned matrices scores are symmetric; with them they are not.
func TestRoles(t *testing.T) {
	_, web := serve(t, nil)
	var r struct{ Dots, Scores grid }
	status, text := post(t, web, "project", object{"text": "we love apple phones", "seed": 1}, &r)
	require.Equal(t, 200, status, text)
	most := 0.
	for i := range 4 {
		for j := range 4 {
			require.Equal(t, r.Dots.row(i)[j], r.Dots.row(j)[i])
			most = max(most, math.Abs(float64(r.Scores.row(i)[j]-r.Scores.row(j)[i])))
		}
	}
	require.Greater(t, most, 1.)
}

func TestMix(t *testing.T) {
	s, web := serve(t, nil)
	ask := func(weights ...float32) (r mixReply) {
		status, text := post(t, web, "mix", object{"text": "Apple, phones!", "weights": weights, "probes": []string{"banana", "iphone"}}, &r)
		require.Equal(t, 200, status, text)
		return r
	}
	apple, phones, both := ask(1, 0), ask(0, .5), ask(.2, .6)
	require.Equal(t, numbers{.25, .75}, both.Weights)
	require.InDelta(t, glove.Cosine(s.voc.Vectors["apple"], s.voc.Vectors["banana"]), apple.Probes[0].Cosine, 1e-6)
	require.Greater(t, both.Probes[1].Cosine, apple.Probes[1].Cosine)
	// Alone a word is where it stands, and a mix is on the line between its words.
	require.InDelta(t, apple.Points[0].X, apple.At.X, 1e-4)
	require.InDelta(t, phones.Points[1].Y, phones.At.Y, 1e-4)
	require.InDelta(t, .25*apple.At.X+.75*phones.At.X, both.At.X, 1e-4)
}

// The plane of points that lie in one has all of their variance and keeps their distances.
func TestPlane(t *testing.T) {
	points := newGrid(5, 7)
	for i, c := range [][2]float32{{0, 0}, {4, 1}, {-3, 2}, {1, -6}, {2, 2}} {
		points.row(i)[1], points.row(i)[4], points.row(i)[5] = c[0], c[1], 3
	}
	p, err := newPlane(points)
	require.NoError(t, err)
	require.InDelta(t, 1, p.spread, 1e-6)
	var at []position
	for i := range 5 {
		x, err := p.project(points.row(i))
		require.NoError(t, err)
		at = append(at, x)
	}
	require.InDelta(t, math.Hypot(4, 1), math.Hypot(at[0].X-at[1].X, at[0].Y-at[1].Y), 1e-4)
	require.InDelta(t, math.Hypot(4, 8), math.Hypot(at[2].X-at[3].X, at[2].Y-at[3].Y), 1e-4)
	one, err := newPlane(newGrid(1, 7))
	require.NoError(t, err)
	require.False(t, math.IsNaN(one.spread))
}

// A far word gets what a near one does, unless a slope takes it.
func TestFar(t *testing.T) {
	_, web := serve(t, nil)
	ask := func(distance int, slope float32) (r farReply) {
		status, text := post(t, web, "far", object{"tokens": 4096, "distance": distance, "scale": .4, "slope": slope}, &r)
		require.Equal(t, 200, status, text)
		return r
	}
	near, far := ask(1, 0), ask(4095, 0)
	require.InEpsilon(t, near.Weight, far.Weight, .02)
	require.Greater(t, far.Weight, 5*far.Other)
	require.Less(t, ask(4095, .01).Weight, far.Weight/1000)
}

func TestCost(t *testing.T) {
	s, web := serve(t, nil)
	var r costReply
	status, text := post(t, web, "cost", object{"tokens": 300}, &r)
	require.Equal(t, 200, status, text)
	require.Equal(t, 90000, r.Pairs)
	require.Equal(t, 360000, r.Matrix)
	require.Positive(t, r.Fused)
	require.Positive(t, *r.Steps)
	require.Contains(t, r.Plan, kernel.Backend())

	// A visitor who has moved on is not waited for, whether something is timed for him or he waits for his turn.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.cost(ctx, costRequest{maxSequence})
	require.ErrorIs(t, err, context.Canceled)
	s.timing <- struct{}{}
	ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err = s.cost(ctx, costRequest{16})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// Where the encoder gives the words, all numbers are of its vectors, pieces and dimension.
func TestPieces(t *testing.T) {
	s, web := serve(t, oracle{})
	text := "we love strawberry tiger"
	ask := func(path string, body object, reply any) {
		t.Helper()
		body["encoder"] = true
		status, said := post(t, web, path, body, reply)
		require.Equal(t, 200, status, said)
	}
	pieces, vectors, err := oracle{}.Static(text, maxWords)
	require.NoError(t, err)
	x := grid{5, 9, slices.Concat(vectors...)}
	dots := newGrid(5, 5)
	require.NoError(t, products(dots, x, x))

	var words wordsReply
	ask("words", object{"text": text}, &words)
	require.Equal(t, []string{"we", "love", "strawb", "##erry", "tiger"}, words.Words)
	require.Equal(t, pieces, words.Words)
	require.Empty(t, words.Unknown)
	require.Equal(t, x, words.Vectors)
	require.Equal(t, dots, words.Dots)
	require.Nil(t, s.pieces.Vectors["strawberry"], "it is two pieces")
	for i, word := range s.pieces.Nearest(x.row(1), words.Words, 12) {
		require.Equal(t, match{word, glove.Cosine(x.row(1), s.pieces.Vectors[word])}, words.Nearest[1][i])
	}

	o := &kernel.Options{Scale: 1. / 3, Causal: true}
	weights, out := newGrid(5, 5), newGrid(5, 9)
	require.NoError(t, kernel.AttentionWeights(weights.matrix(), x.tensor(), x.tensor(), 0, 0, count(5), o))
	require.NoError(t, kernel.Attention(out.tensor(), x.tensor(), x.tensor(), x.tensor(), o))
	var attention attentionReply
	ask("attention", object{"text": text, "scale": o.Scale, "causal": true}, &attention)
	require.Equal(t, weights, attention.Weights)
	require.Equal(t, out, attention.Out)

	var project projectReply
	ask("project", object{"text": text, "seed": 3}, &project)
	require.Equal(t, dots, project.Dots)
	require.NotEqual(t, project.Scores.row(1)[2], project.Scores.row(2)[1])

	// What a mix is compared with may be cut too.
	var mix mixReply
	ask("mix", object{"text": text, "weights": []int{0, 1, 0, 0, 0}, "probes": []string{"tiger", "strawberry"}}, &mix)
	require.Len(t, mix.Probes, 3)
	require.Equal(t, match{"tiger", glove.Cosine(x.row(1), x.row(4))}, mix.Probes[0])
	require.Equal(t, "##erry", mix.Points[7].Word)

	// Among three words before apple, phones is the first.
	far := func(encoder bool) (r farReply) {
		status, said := post(t, web, "far", object{"tokens": 4, "distance": 3, "scale": .5, "encoder": encoder}, &r)
		require.Equal(t, 200, status, said)
		return r
	}
	_, vectors, err = oracle{}.Static("phones of in apple", maxWords)
	require.NoError(t, err)
	shares := newGrid(1, 3)
	keys, apple := grid{3, 9, slices.Concat(vectors[:3]...)}, grid{1, 9, vectors[3]}
	require.NoError(t, kernel.AttentionWeights(shares.matrix(), apple.tensor(), keys.tensor(), 0, 0, []int{0}, &kernel.Options{Scale: .5}))
	require.Equal(t, shares.Data[0], far(true).Weight)
	require.NotEqual(t, shares.Data[0], far(false).Weight)
}

// Apple goes towards what stands beside it.
func TestMeaning(t *testing.T) {
	_, web := serve(t, oracle{})
	q := object{"texts": []string{"we love apple phones", "we love apple juice"}, "word": "Apple", "probes": []string{"laptop", "lemon"}, "encoder": false}
	var r meaningReply
	status, text := post(t, web, "meaning", q, &r)
	require.Equal(t, 200, status, text)
	require.Equal(t, r.Cosines[0][0], r.Cosines[1][0], "before the first layer it is the same vector")
	require.Greater(t, r.Cosines[0][1][0], r.Cosines[1][1][0])
	require.Less(t, r.Cosines[0][1][1], r.Cosines[1][1][1])
	require.InDelta(t, 1, r.Between[1][0], 1e-9)
	require.Less(t, r.Between[1][1], .97)

	q["encoder"] = true
	status, text = post(t, web, "meaning", q, &r)
	require.Equal(t, 200, status, text)
	require.Equal(t, 3, r.Layers)
	require.InDelta(t, 1/math.Sqrt(5), r.Cosines[0][0][0], 1e-6)
}

func TestHeads(t *testing.T) {
	_, web := serve(t, oracle{})
	for _, test := range []struct {
		encoder       bool
		layers, heads int
	}{{false, 1, 4}, {true, 2, 2}} {
		var r headsReply
		status, text := post(t, web, "heads", object{"text": "we love apple phones", "encoder": test.encoder}, &r)
		require.Equal(t, 200, status, text)
		require.Len(t, r.Weights, test.layers)
		for _, layer := range r.Weights {
			require.Len(t, layer, test.heads)
			for _, w := range layer {
				for row := range slices.Chunk(w, 4) {
					require.InDelta(t, 1, row[0]+row[1]+row[2]+row[3], 1e-6)
				}
			}
		}
	}
}

// The gradient is that of the loss, by central differences.
func TestGradientOfLoss(t *testing.T) {
	s, _ := serve(t, nil)
	c, err := s.class()
	require.NoError(t, err)
	st := newState(3)
	_, gradient, err := c.loss(st.W)
	require.NoError(t, err)
	for i := 7; i < len(st.W); i += 371 {
		const step = 4e-3
		was := st.W[i]
		var losses [2]float64
		for k, sign := range []float32{1, -1} {
			st.W[i] = was + sign*step
			losses[k], _, err = c.loss(st.W)
			require.NoError(t, err)
		}
		st.W[i] = was
		require.InDelta(t, (losses[0]-losses[1])/(2*step), gradient[i], 2e-3, i)
	}
}

// Whatever it starts from, it learns what apple means beside words that it was never shown. To go on from a reply is to
// have never stopped.
func TestLearn(t *testing.T) {
	_, web := serve(t, nil)
	right := 0
	for seed := range 8 {
		var r learnReply
		q := object{"seed": seed, "steps": 50}
		for range 4 {
			status, text := post(t, web, "learn", q, &r)
			require.Equal(t, 200, status, text)
			q = object{"state": r.State, "steps": 50}
		}
		require.Equal(t, 200, r.State.Step)
		require.Less(t, r.Losses[49], .05)
		for _, e := range r.Examples {
			if e.Near[e.Meaning] > e.Near[1-e.Meaning] {
				right++
			} else {
				require.False(t, e.Learned, "%v", e.Words)
			}
		}
	}
	require.GreaterOrEqual(t, right, 30, "of 32")

	var whole, part learnReply
	post(t, web, "learn", object{"seed": 1, "steps": 20}, &whole)
	post(t, web, "learn", object{"seed": 1, "steps": 7}, &part)
	post(t, web, "learn", object{"state": part.State, "steps": 13}, &part)
	require.Equal(t, whole.State, part.State)
}

func TestRefusals(t *testing.T) {
	_, web := serve(t, oracle{})
	g := object{"rows": 1, "cols": 1, "data": []float32{1}}
	for _, test := range []struct {
		path string
		body object
		want string
	}{
		{"softmax", object{"scores": []float32{}, "scale": 1}, "the list of scores has"},
		{"softmax", object{"scores": []float32{1e6}, "scale": 1}, "want numbers from -10000 to 10000"},
		{"softmax", object{"scores": []float32{1}, "scale": -1}, "the scale is -1"},
		{"softmax", object{"score": 1}, "unknown field"},
		{"words", object{"text": "xyzzy"}, "none of these words"},
		{"words", object{"text": strings.Repeat("apple ", maxWords+1)}, "13 words, want 12 at most"},
		{"words", object{"text": strings.Repeat("x", maxText+1)}, "401 bytes"},
		{"words", object{"text": " ", "encoder": true}, "none of these words"},
		{"words", object{"text": strings.Repeat("apple ", maxWords+1), "encoder": true}, "13 pieces, want 12 at most"},
		{"words", object{"text": strings.Repeat("x", maxText+1), "encoder": true}, "401 bytes"},
		{"mix", object{"text": "apple", "weights": []float32{}}, "0 weights, want 1"},
		{"mix", object{"text": "apple", "weights": []float32{0}}, "nothing to mix"},
		{"mix", object{"text": "apple", "weights": []float32{2}}, "a weight is 2"},
		{"mix", object{"text": "apple", "weights": []float32{1}, "probes": []string{"xyzzy"}}, `"xyzzy" has no vector`},
		{"attention", object{"scale": 1}, "not all of queries"},
		{"attention", object{"queries": g, "keys": g, "values": object{"rows": 1, "cols": 2, "data": []float32{1}}, "scale": 1}, "values has 1 rows, 2 columns and 1 numbers"},
		{"attention", object{"queries": g, "keys": g, "values": object{"rows": 2, "cols": 1, "data": []float32{1, 2}}, "scale": 1}, "a value for each key"},
		{"attention", object{"text": "apple", "scale": 0}, "the scale is 0"},
		{"attention", object{"text": "apple", "scale": 1, "hidden": []int{1}}, "a hidden key is 1, want 0 to 0"},
		{"attention", object{"text": "apple", "scale": 1, "keyLen": 2}, "the number of keys is 2"},
		{"far", object{"tokens": 1 << 20, "distance": 1, "scale": 1}, "the number of tokens is 1048576"},
		{"far", object{"tokens": 4, "distance": 4, "scale": 1}, "the distance is 4, want 1 to 3"},
		{"cost", object{"tokens": maxSequence + 1}, "want 16 to 8192"},
		{"heads", object{"text": strings.Repeat("a ", maxTokens+1), "encoder": true}, "25 tokens"},
		{"meaning", object{"texts": []string{}, "word": "apple", "probes": []string{"tea"}}, "0 texts"},
		{"meaning", object{"texts": []string{"we love"}, "word": "apple", "probes": []string{"tea"}}, `"apple" is not one of the tokens`},
		{"learn", object{"steps": maxSteps + 1}, "the number of steps is 51"},
		{"learn", object{"steps": 1, "state": object{"step": 0, "w": []float32{1}}}, "a list of 1 numbers"},
	} {
		status, text := post(t, web, test.path, test.body, nil)
		require.Equal(t, http.StatusBadRequest, status, "%s %s", test.path, text)
		var e struct{ Error string }
		require.NoError(t, json.Unmarshal([]byte(text), &e))
		require.Contains(t, e.Error, test.want)
	}
	status, text := post(t, web, "learn", object{"text": strings.Repeat("x", maxBody)}, nil)
	require.Equal(t, http.StatusBadRequest, status, text)

	none, web := serve(t, nil)
	require.Nil(t, none.encoder)
	for _, path := range []string{"heads", "words"} {
		_, text = post(t, web, path, object{"text": "apple", "encoder": true}, nil)
		require.Contains(t, text, "has not been fetched")
	}
	_, text = post(t, web, "far", object{"tokens": 4, "distance": 1, "scale": 1, "encoder": true}, nil)
	require.Contains(t, text, "has not been fetched")
}

// Only the page itself may ask, under a name that nobody else can take.
func TestOthersAreRefused(t *testing.T) {
	s, err := New("playground.example", nil)
	require.NoError(t, err)
	h := s.Handler()
	ask := func(change func(*http.Request)) int {
		r := httptest.NewRequest("POST", "http://localhost:8042/api/softmax", strings.NewReader(`{"scores":[1],"scale":1}`))
		r.Header.Set("Content-Type", "application/json")
		change(r)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		return w.Code
	}
	for _, host := range []string{"localhost:8042", "localhost", "127.0.0.1:8042", "[::1]:8042", "[::1]", "playground.example:1"} {
		require.Equal(t, 200, ask(func(r *http.Request) { r.Host = host }), host)
	}
	for _, host := range []string{"evil.example:8042", "localhost.evil.example", "127.0.0.1.evil.example:8042", ""} {
		require.Equal(t, http.StatusMisdirectedRequest, ask(func(r *http.Request) { r.Host = host }), host)
	}
	require.Equal(t, 200, ask(func(r *http.Request) { r.Header.Set("Origin", "http://localhost:8042") }))
	for _, origin := range []string{"http://evil.example", "http://localhost:9", "null"} {
		require.Equal(t, http.StatusForbidden, ask(func(r *http.Request) { r.Header.Set("Origin", origin) }), origin)
	}
	require.Equal(t, http.StatusForbidden, ask(func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }))
	// What a form of another page can send without being asked for permission.
	require.Equal(t, http.StatusUnsupportedMediaType, ask(func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }))
}

// Whoever waits for a slot gives up with its request.
func TestSlots(t *testing.T) {
	s, web := serve(t, nil)
	for range maxAtOnce {
		s.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", web.URL+"/api/words", strings.NewReader(`{"text":"apple"}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	_, err = http.DefaultClient.Do(r)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	for range maxAtOnce {
		<-s.slots
	}
	status, _ := post(t, web, "words", object{"text": "apple"}, nil)
	require.Equal(t, 200, status)
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	done := make(chan error)
	go func() { done <- run(ctx, []string{"-address", "localhost:0", "-open=false"}, writer, nil) }()
	var url string
	_, err := fmt.Fscanf(reader, "the page is at %s", &url)
	require.NoError(t, err)
	for path, want := range map[string]string{"": "<title>Attention", "steps.js": "class Step", "api/about": `"backend":"` + kernel.Backend() + `"`} {
		r, err := http.Get(url + path)
		require.NoError(t, err)
		all, err := io.ReadAll(r.Body)
		r.Body.Close()
		require.NoError(t, err)
		require.Contains(t, string(all), want)
	}
	cancel()
	require.NoError(t, <-done)

	require.ErrorContains(t, run(ctx, []string{"apple"}, io.Discard, nil), `unexpected argument "apple"`)
	require.ErrorContains(t, run(ctx, []string{"-address", "8042"}, io.Discard, nil), "-address")
	load := func(folder string) (Encoder, error) { return nil, fmt.Errorf("nothing in %s", folder) }
	require.ErrorContains(t, run(ctx, []string{"-model", "there"}, io.Discard, load), "nothing in there ('go run")
}

// What one visitor asks changes nothing of what another is answered.
func TestNoState(t *testing.T) {
	_, web := serve(t, oracle{})
	text := "we love apple phones"
	ask := func(path string, body object) string {
		status, reply := post(t, web, path, body, nil)
		require.Equal(t, 200, status, reply)
		return reply
	}
	requests := func(text string, seed int) (replies []string) {
		for _, q := range []struct {
			path string
			body object
		}{
			{"softmax", object{"scores": []int{1, seed}, "scale": 1}},
			{"words", object{"text": text}},
			{"words", object{"text": text, "encoder": true}},
			{"mix", object{"text": text, "weights": []int{1, 1, 1, 1}}},
			{"attention", object{"text": text, "scale": .1, "hidden": []int{seed}}},
			{"project", object{"text": text, "seed": seed}},
			{"far", object{"tokens": 64, "distance": seed, "scale": .4}},
			{"heads", object{"text": text, "encoder": true}},
			{"heads", object{"text": text, "encoder": false}},
			{"meaning", object{"texts": []string{text}, "word": "apple", "probes": []string{"tea"}}},
			{"learn", object{"seed": seed, "steps": 2}},
		} {
			replies = append(replies, ask(q.path, q.body))
		}
		return replies
	}
	before := requests(text, 1)
	others := requests("they love apple juice", 2)
	require.Equal(t, before, requests(text, 1))
	for i := range before {
		require.NotEqual(t, before[i], others[i])
	}
}

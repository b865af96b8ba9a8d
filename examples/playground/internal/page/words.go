package page

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/kernel"
)

// A vocabulary has words to compare with, and their vectors of dim numbers.
type vocabulary struct {
	glove.Vocabulary
	dim int
}

// piecesOf returns the vectors that an encoder has for words, but for those that it cuts.
func piecesOf(encoder Encoder, words []string) (vocabulary, error) {
	voc := vocabulary{Vocabulary: glove.Vocabulary{Vectors: map[string][]float32{}}}
	for _, word := range words {
		pieces, vectors, err := encoder.Static(word, maxTokens)
		if err != nil {
			return voc, err
		}
		if len(pieces) == 1 {
			voc.Words, voc.Vectors[word], voc.dim = append(voc.Words, word), vectors[0], len(vectors[0])
		}
	}
	return voc, nil
}

// vocabulary is that of GloVe or of the encoder.
func (s *Server) vocabulary(encoder bool) (vocabulary, error) {
	if !encoder {
		return s.voc, nil
	}
	return s.pieces, s.checkEncoder()
}

func (s *Server) checkEncoder() error {
	if s.encoder == nil {
		return bad("there is no encoder: its model has not been fetched")
	}
	return nil
}

// A sentence is the words of a text that have vectors, or its pieces.
type sentence struct {
	Words   []string `json:"words"`
	Unknown []string `json:"unknown"` // left out
	x       grid
	voc     vocabulary
}

// cut reads a text, of which nothing may be left: the words that GloVe has, or all pieces of the encoder.
func (s *Server) cut(text string, encoder bool) (sentence, error) {
	t := sentence{Words: []string{}, Unknown: []string{}}
	if err := checkText(text); err != nil {
		return t, err
	}
	var err error
	if t.voc, err = s.vocabulary(encoder); err != nil {
		return t, err
	}
	var x []float32
	if encoder {
		pieces, vectors, err := s.encoder.Static(text, maxWords)
		if err != nil {
			return t, badRequest{err}
		}
		t.Words, x = append(t.Words, pieces...), slices.Concat(vectors...)
	} else {
		for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
			if vector := t.voc.Vectors[word]; vector != nil {
				t.Words, x = append(t.Words, word), append(x, vector...)
			} else if !slices.Contains(t.Unknown, word) {
				t.Unknown = append(t.Unknown, word)
			}
		}
		if len(t.Words) > maxWords {
			return t, bad("the sentence has %d words, want %d at most", len(t.Words), maxWords)
		}
	}
	t.x = grid{len(t.Words), t.voc.dim, x}
	return t, nil
}

func checkText(text string) error {
	if len(text) > maxText {
		return bad("the text has %d bytes, want %d at most", len(text), maxText)
	}
	return nil
}

// sentence reads a text that has words.
func (s *Server) sentence(text string, encoder bool) (sentence, error) {
	t, err := s.cut(text, encoder)
	if err == nil && len(t.Words) == 0 {
		err = bad("none of these words has a vector here; try: we love apple phones")
	}
	return t, err
}

// A match is a word and how near it is.
type match struct {
	Word   string  `json:"word"`
	Cosine float64 `json:"cosine"`
}

// nearest lists the words that are nearest to a vector, but for those of the sentence: none if it is zero, which has no direction.
func (t sentence) nearest(x []float32) []match {
	matches := []match{}
	if kernel.Dot(x, x) == 0 {
		return matches
	}
	for _, word := range t.voc.Nearest(x, t.Words, 12) {
		matches = append(matches, match{word, glove.Cosine(x, t.voc.Vectors[word])})
	}
	return matches
}

type textRequest struct {
	Text    string `json:"text"`
	Encoder bool   `json:"encoder"` // whether its words are the encoder's pieces, and else GloVe's
}

type wordsReply struct {
	sentence
	Vectors grid      `json:"vectors"` // a row for each word
	Dots    grid      `json:"dots"`    // of each word with each
	Nearest [][]match `json:"nearest"` // to each word
}

// words gives the vectors of words, and their dot products.
func (s *Server) words(_ context.Context, q textRequest) (*wordsReply, error) {
	t, err := s.sentence(q.Text, q.Encoder)
	if err != nil {
		return nil, err
	}
	r := &wordsReply{sentence: t, Vectors: t.x, Dots: newGrid(t.x.Rows, t.x.Rows)}
	for i := range t.Words {
		r.Nearest = append(r.Nearest, t.nearest(t.x.row(i)))
	}
	return r, products(r.Dots, t.x, t.x)
}

// products sets dst to the dot products of the rows of a with those of b.
func products(dst, a, b grid) error {
	return kernel.MatMul(dst.matrix(), a.matrix(), b.matrix(), &kernel.MatMulOptions{TransB: true})
}

type mixRequest struct {
	textRequest
	Weights []float32 `json:"weights"` // one for each word; they need not sum to 1
	Probes  []string  `json:"probes"`  // words to compare the mix with, and to show beside it
}

type mixReply struct {
	sentence
	Weights numbers  `json:"weights"` // which sum to 1
	Nearest []match  `json:"nearest"`
	Probes  []match  `json:"probes"`
	Points  []point  `json:"points"` // the words, then the probes
	At      position `json:"at"`     // of the mix
	Spread  float64  `json:"spread"` // the share of the variance of the points that the plane shows
}

type position struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

type point struct {
	position
	Word  string `json:"word"`
	Probe bool   `json:"probe"`
}

// mix mixes the vectors of words.
func (s *Server) mix(_ context.Context, q mixRequest) (*mixReply, error) {
	t, err := s.sentence(q.Text, q.Encoder)
	if err != nil {
		return nil, err
	}
	if len(q.Weights) != len(t.Words) {
		return nil, bad("there are %d weights, want %d, one for each word", len(q.Weights), len(t.Words))
	}
	var sum float64
	for _, w := range q.Weights {
		if err := checkRange("a weight", w, 0, 1); err != nil {
			return nil, err
		}
		sum += float64(w)
	}
	if sum == 0 {
		return nil, bad("all weights are 0: there is nothing to mix")
	}
	if len(q.Probes) > maxWords {
		return nil, bad("there are %d words to compare with, want %d at most", len(q.Probes), maxWords)
	}
	probes, err := s.cut(strings.Join(q.Probes, " "), q.Encoder)
	if err != nil {
		return nil, err
	}
	if len(probes.Unknown) > 0 {
		return nil, bad("%q has no vector here", probes.Unknown[0])
	}
	shown := slices.Concat(t.x.Data, probes.x.Data)
	r := &mixReply{sentence: t, Weights: make(numbers, len(q.Weights)), Probes: []match{}, Points: []point{}}
	for i, w := range q.Weights {
		r.Weights[i] = float32(float64(w) / sum)
	}
	mixed := newGrid(1, t.x.Cols)
	if err := kernel.MatMul(mixed.matrix(), grid{1, len(t.Words), r.Weights}.matrix(), t.x.matrix(), nil); err != nil {
		return nil, err
	}
	r.Nearest = t.nearest(mixed.Data)
	for i, word := range probes.Words {
		r.Probes = append(r.Probes, match{word, glove.Cosine(mixed.Data, probes.x.row(i))})
	}
	p, err := newPlane(grid{len(t.Words) + len(probes.Words), t.x.Cols, shown})
	if err != nil {
		return nil, err
	}
	for i := range p.points.Rows {
		at, err := p.project(p.points.row(i))
		if err != nil {
			return nil, err
		}
		word := point{position: at}
		if i < len(t.Words) {
			word.Word = t.Words[i]
		} else {
			word.Word, word.Probe = probes.Words[i-len(t.Words)], true
		}
		r.Points = append(r.Points, word)
	}
	r.Spread = p.spread
	r.At, err = p.project(mixed.Data)
	return r, err
}

type projectRequest struct {
	textRequest
	Seed uint64 `json:"seed"`
}

type projectReply struct {
	sentence
	Dots   grid `json:"dots"`   // X.X^T: symmetric
	Scores grid `json:"scores"` // X.WQ.(X.WK)^T
}

// headDim is the dimension of queries, keys and values where they are not the words themselves.
const headDim = 8

// project compares words by queries and keys that random matrices make of them.
func (s *Server) project(_ context.Context, q projectRequest) (*projectReply, error) {
	t, err := s.sentence(q.Text, q.Encoder)
	if err != nil {
		return nil, err
	}
	n := len(t.Words)
	r := &projectReply{t, newGrid(n, n), newGrid(n, n)}
	queries, keys := newGrid(n, headDim), newGrid(n, headDim)
	random := rand.New(rand.NewPCG(q.Seed, 0))
	for _, g := range []grid{queries, keys} {
		if err := kernel.MatMul(g.matrix(), t.x.matrix(), randomMatrix(random, t.x.Cols).matrix(), nil); err != nil {
			return nil, err
		}
	}
	if err := products(r.Dots, t.x, t.x); err != nil {
		return nil, err
	}
	return r, products(r.Scores, queries, keys)
}

// randomMatrix makes queries, keys or values of words: they are about as long as these divided by their dimensions' square root.
func randomMatrix(random *rand.Rand, dim int) grid {
	w := newGrid(dim, headDim)
	for i := range w.Data {
		w.Data[i] = float32(random.NormFloat64() / math.Sqrt(float64(dim)))
	}
	return w
}

// count returns the numbers from 0 to n-1.
func count(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// glove reads a text without anything learned: one layer whose heads share the dimensions of the words.
func (s *Server) glove(text string) (*Reading, error) {
	const heads = 4
	t, err := s.sentence(text, false)
	if err != nil {
		return nil, err
	}
	n := len(t.Words)
	x := kernel.Tensor{Data: t.x.Data, Heads: heads, Len: n, Dim: dim / heads, HeadStride: dim / heads, LenStride: dim}
	out := x
	out.Data = make([]float32, len(x.Data))
	if err := kernel.Attention(out, x, x, x, nil); err != nil {
		return nil, err
	}
	var weights [][]float32
	for head := range heads {
		w := newGrid(n, n)
		if err := kernel.AttentionWeights(w.matrix(), x, x, 0, head, count(n), nil); err != nil {
			return nil, err
		}
		weights = append(weights, w.Data)
	}
	var vectors [][][]float32
	for _, data := range [][]float32{x.Data, out.Data} {
		vectors = append(vectors, slices.Collect(slices.Chunk(data, dim)))
	}
	return &Reading{t.Words, vectors, [][][]float32{weights}}, nil
}

// read reads a text with the encoder, or without.
func (s *Server) read(text string, encoder bool) (*Reading, error) {
	if !encoder {
		return s.glove(text)
	}
	if err := cmp.Or(s.checkEncoder(), checkText(text)); err != nil {
		return nil, err
	}
	r, err := s.encoder.Read(text, maxTokens)
	if err != nil {
		return nil, badRequest{err}
	}
	return r, nil
}

type headsReply struct {
	Tokens  []string    `json:"tokens"`
	Weights [][]numbers `json:"weights"` // [layer][head]: tokens x tokens
}

// heads gives the weights of all heads.
func (s *Server) heads(_ context.Context, q textRequest) (*headsReply, error) {
	reading, err := s.read(q.Text, q.Encoder)
	if err != nil {
		return nil, err
	}
	r := &headsReply{Tokens: reading.Tokens}
	for _, layer := range reading.Weights {
		var heads []numbers
		for _, w := range layer {
			heads = append(heads, w)
		}
		r.Weights = append(r.Weights, heads)
	}
	return r, nil
}

type meaningRequest struct {
	Texts   []string `json:"texts"`
	Word    string   `json:"word"`
	Probes  []string `json:"probes"` // words to compare with, each read alone
	Encoder bool     `json:"encoder"`
}

type meaningReply struct {
	Layers  int           `json:"layers"`  // with that before the first one
	Between [][]float64   `json:"between"` // [text][layer]: the cosine of the word with itself in the first text
	Cosines [][][]float64 `json:"cosines"` // [text][layer][probe]
}

// meaning follows a word through the layers in several texts.
func (s *Server) meaning(ctx context.Context, q meaningRequest) (*meaningReply, error) {
	if len(q.Texts) < 1 || len(q.Texts) > 2 {
		return nil, bad("there are %d texts, want one or two", len(q.Texts))
	}
	if len(q.Probes) < 1 || len(q.Probes) > maxWords {
		return nil, bad("there are %d words to compare with, want 1 to %d", len(q.Probes), maxWords)
	}
	word := strings.ToLower(strings.TrimSpace(q.Word))
	var probes [][][]float32 // [probe][layer]
	for _, probe := range q.Probes {
		probe = strings.ToLower(strings.TrimSpace(probe))
		vectors, err := s.follow(probe, probe, q.Encoder)
		if err != nil {
			return nil, err
		}
		probes = append(probes, vectors)
	}
	r := &meaningReply{}
	var first [][]float32
	for _, text := range q.Texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		vectors, err := s.follow(text, word, q.Encoder)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = vectors
			r.Layers = len(vectors)
		}
		var between []float64
		var cosines [][]float64
		for layer, x := range vectors {
			between = append(between, glove.Cosine(x, first[layer]))
			var row []float64
			for _, probe := range probes {
				row = append(row, glove.Cosine(x, probe[layer]))
			}
			cosines = append(cosines, row)
		}
		r.Between, r.Cosines = append(r.Between, between), append(r.Cosines, cosines)
	}
	return r, nil
}

// follow returns the vectors of a word in a text, layer by layer.
func (s *Server) follow(text, word string, encoder bool) ([][]float32, error) {
	r, err := s.read(text, encoder)
	if err != nil {
		return nil, err
	}
	i := slices.Index(r.Tokens, word)
	if i < 0 {
		return nil, bad("%q is not one of the tokens of %q: %s", word, text, strings.Join(r.Tokens, " "))
	}
	var vectors [][]float32
	for _, layer := range r.Vectors {
		vectors = append(vectors, layer[i])
	}
	return vectors, nil
}

// A plane shows vectors in two dimensions: those in which they differ most, their principal components.
type plane struct {
	points grid
	mean   []float32
	basis  grid    // two rows
	spread float64 // the share of the variance that the plane has
}

func newPlane(points grid) (*plane, error) {
	n := points.Rows
	p := &plane{points: points, mean: make([]float32, points.Cols), basis: newGrid(2, points.Cols)}
	for i := range n {
		for j, v := range points.row(i) {
			p.mean[j] += v / float32(n)
		}
	}
	centred, gram := newGrid(n, points.Cols), newGrid(n, n)
	for i := range n {
		copy(centred.row(i), p.centre(points.row(i)))
	}
	// An eigenvector u of the dot products gives a principal component, centred^T.u.
	if err := products(gram, centred, centred); err != nil {
		return nil, err
	}
	vectors, values, total := principal(gram)
	for c, u := range vectors {
		if values[c] <= 1e-6*total {
			continue // the points do not differ in that direction
		}
		weights := newGrid(1, n)
		for i := range u {
			weights.Data[i] = float32(u[i] / math.Sqrt(values[c]))
		}
		row := grid{1, points.Cols, p.basis.row(c)}
		if err := kernel.MatMul(row.matrix(), weights.matrix(), centred.matrix(), nil); err != nil {
			return nil, err
		}
		p.spread += values[c] / total
	}
	return p, nil
}

func (p *plane) centre(x []float32) []float32 {
	y := make([]float32, len(x))
	for i := range x {
		y[i] = x[i] - p.mean[i]
	}
	return y
}

// project says where a vector is in the plane.
func (p *plane) project(x []float32) (position, error) {
	at := newGrid(1, 2)
	err := products(at, grid{1, len(x), p.centre(x)}, p.basis)
	return position{float64(at.Data[0]), float64(at.Data[1])}, err
}

// principal returns the two eigenvectors of a symmetric positive semidefinite matrix that have the largest values, their
// values, and the sum of all values. It rotates pairs of axes until no product is left (Jacobi).
func principal(m grid) (vectors [2][]float64, values [2]float64, total float64) {
	n := m.Rows
	a, v := make([][]float64, n), make([][]float64, n)
	for i := range n {
		a[i], v[i] = make([]float64, n), make([]float64, n)
		v[i][i] = 1
		for j, x := range m.row(i) {
			a[i][j] = float64(x)
		}
		total += a[i][i]
	}
	for range 60 {
		left := 0.
		for p := range n {
			for q := p + 1; q < n; q++ {
				left = max(left, math.Abs(a[p][q]))
				if a[p][q] == 0 {
					continue
				}
				theta := math.Atan2(2*a[p][q], a[q][q]-a[p][p]) / 2
				s, c := math.Sincos(theta)
				for k := range n {
					a[k][p], a[k][q] = c*a[k][p]-s*a[k][q], s*a[k][p]+c*a[k][q]
					v[k][p], v[k][q] = c*v[k][p]-s*v[k][q], s*v[k][p]+c*v[k][q]
				}
				for k := range n {
					a[p][k], a[q][k] = c*a[p][k]-s*a[q][k], s*a[p][k]+c*a[q][k]
				}
			}
		}
		if left <= 1e-12*total {
			break
		}
	}
	order := count(n)
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(a[j][j], a[i][i]) })
	for c := range vectors {
		vectors[c] = make([]float64, n)
		if c >= n {
			continue
		}
		values[c] = a[order[c]][order[c]]
		largest := 0.
		for k := range n {
			x := v[k][order[c]]
			vectors[c][k] = x
			if math.Abs(x) > math.Abs(largest)+1e-9 {
				largest = x
			}
		}
		for k := range vectors[c] { // of the two signs the one that makes the largest element positive
			vectors[c][k] = math.Copysign(1, largest) * vectors[c][k]
		}
	}
	return vectors, values, total
}

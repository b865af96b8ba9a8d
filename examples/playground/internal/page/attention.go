package page

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/selfattn/attn/kernel"
)

type softmaxRequest struct {
	Scores []float32 `json:"scores"`
	Scale  float32   `json:"scale"`
}

type softmaxReply struct {
	Exponentials numbers `json:"exponentials"` // of scale times score, less the largest
	Weights      numbers `json:"weights"`
}

// softmax turns scores into weights.
func (s *Server) softmax(_ context.Context, q softmaxRequest) (*softmaxReply, error) {
	if err := (grid{1, len(q.Scores), q.Scores}).check("the list of scores"); err != nil {
		return nil, err
	}
	if err := checkRange("the scale", q.Scale, 0, 100); err != nil {
		return nil, err
	}
	scaled := make([]float32, len(q.Scores))
	largest := float32(math.Inf(-1))
	for i, score := range q.Scores {
		scaled[i] = q.Scale * score
		largest = max(largest, scaled[i])
	}
	r := &softmaxReply{make(numbers, len(scaled)), make(numbers, len(scaled))}
	kernel.Softmax(r.Weights, scaled)
	for i := range scaled {
		r.Exponentials[i] = scaled[i] - largest
	}
	kernel.Exp(r.Exponentials, r.Exponentials)
	return r, nil
}

// An attentionRequest is about the words of a text, which are their own queries, keys and values, or about typed matrices.
type attentionRequest struct {
	textRequest
	Queries *grid   `json:"queries"`
	Keys    *grid   `json:"keys"`
	Values  *grid   `json:"values"`
	Scale   float32 `json:"scale"`

	Causal bool  `json:"causal"`
	Window *span `json:"window"` // how far a word sees, to either side
	KeyLen *int  `json:"keyLen"` // how many keys exist
	Hidden []int `json:"hidden"` // keys that nobody sees
}

type span struct {
	Left  int `json:"left"`
	Right int `json:"right"`
}

type attentionReply struct {
	sentence
	Products grid      `json:"products"` // of queries and keys
	Scores   grid      `json:"scores"`   // scaled, and null where a key is hidden
	Weights  grid      `json:"weights"`
	Out      grid      `json:"out"`
	Nearest  [][]match `json:"nearest"` // to each word's result, where the request is about a text
}

// attention computes attention, and what it goes through.
func (s *Server) attention(ctx context.Context, q attentionRequest) (*attentionReply, error) {
	r := &attentionReply{}
	var queries, keys, values grid
	switch {
	case q.Text != "":
		var err error
		if r.sentence, err = s.sentence(q.Text, q.Encoder); err != nil {
			return nil, err
		}
		queries, keys, values = r.x, r.x, r.x
	case q.Queries == nil || q.Keys == nil || q.Values == nil:
		return nil, bad("there is no text, and not all of queries, keys and values")
	default:
		queries, keys, values = *q.Queries, *q.Keys, *q.Values
		for _, m := range []struct {
			name string
			grid
		}{{"queries", queries}, {"keys", keys}, {"values", values}} {
			if err := m.check(m.name); err != nil {
				return nil, err
			}
		}
		if queries.Cols != keys.Cols || keys.Rows != values.Rows {
			return nil, bad("queries are %d x %d, keys %d x %d and values %d x %d, want queries as wide as keys, and a value for each key",
				queries.Rows, queries.Cols, keys.Rows, keys.Cols, values.Rows, values.Cols)
		}
	}
	o, err := q.options(keys.Rows)
	if err != nil {
		return nil, err
	}
	n, m := queries.Rows, keys.Rows
	r.Products, r.Scores, r.Weights, r.Out = newGrid(n, m), newGrid(n, m), newGrid(n, m), newGrid(n, values.Cols)
	if err := products(r.Products, queries, keys); err != nil {
		return nil, err
	}
	if err := kernel.AttentionScores(r.Scores.matrix(), queries.tensor(), keys.tensor(), 0, 0, count(n), kernel.StageBias, o); err != nil {
		return nil, err
	}
	if err := kernel.AttentionWeights(r.Weights.matrix(), queries.tensor(), keys.tensor(), 0, 0, count(n), o); err != nil {
		return nil, err
	}
	if err := kernel.AttentionContext(ctx, r.Out.tensor(), queries.tensor(), keys.tensor(), values.tensor(), o); err != nil {
		return nil, err
	}
	for i := range r.Words {
		r.Nearest = append(r.Nearest, r.nearest(r.Out.row(i)))
	}
	return r, nil
}

// options are those of the request for a number of keys.
func (q *attentionRequest) options(keys int) (*kernel.Options, error) {
	if err := checkRange("the scale", q.Scale, 1e-6, 100); err != nil {
		return nil, err
	}
	o := &kernel.Options{Scale: q.Scale, Causal: q.Causal}
	if w := q.Window; w != nil {
		o.Window = &kernel.Window{Left: w.Left, Right: w.Right}
	}
	if q.KeyLen != nil {
		if err := checkRange("the number of keys", *q.KeyLen, 0, keys); err != nil {
			return nil, err
		}
		// Queries stay where they are when keys behind them are padding.
		o.KeyLen, o.Start = []int{*q.KeyLen}, []int{0}
	}
	if len(q.Hidden) > 0 {
		seen := make([]bool, keys)
		for j := range seen {
			seen[j] = true
		}
		for _, j := range q.Hidden {
			if err := checkRange("a hidden key", j, 0, keys-1); err != nil {
				return nil, err
			}
			seen[j] = false
		}
		o.Mask = &kernel.Mask{Data: seen}
	}
	return o, nil
}

// maxSequence is the most tokens of the steps about long texts.
const maxSequence = 8192

type farRequest struct {
	Tokens   int     `json:"tokens"`
	Distance int     `json:"distance"` // of the word that is looked for, from the one that looks for it
	Scale    float32 `json:"scale"`    // of scores
	Slope    float32 `json:"slope"`    // of ALiBi: how much a score loses for each token of distance
	Encoder  bool    `json:"encoder"`  // whether words are the encoder's pieces, and else GloVe's
}

type farReply struct {
	Weight float32 `json:"weight"` // of the far word
	Other  float32 `json:"other"`  // of another word, on average
}

// far gives the weight that 'apple', at the end of a text, gives to 'phones', some tokens before it, among words of no concern.
func (s *Server) far(_ context.Context, q farRequest) (*farReply, error) {
	if err := checkRange("the number of tokens", q.Tokens, 2, maxSequence); err != nil {
		return nil, err
	}
	if err := checkRange("the distance", q.Distance, 1, q.Tokens-1); err != nil {
		return nil, err
	}
	if err := checkRange("the slope", q.Slope, 0, 1); err != nil {
		return nil, err
	}
	if err := checkRange("the scale", q.Scale, 1e-6, 100); err != nil {
		return nil, err
	}
	// The word that looks is the query behind these keys, and none of them: it would take most of the weight.
	n := q.Tokens - 1
	at := n - q.Distance
	text := make([]string, n)
	for i := range text {
		text[i] = fillers[i%len(fillers)]
	}
	text[at] = "phones"
	voc, err := s.vocabulary(q.Encoder)
	if err != nil {
		return nil, err
	}
	x, err := voc.Embed(append(text, "apple"))
	if err != nil {
		return nil, badRequest{err}
	}
	keys, apple, weights := grid{n, voc.dim, x[:n*voc.dim]}, grid{1, voc.dim, x[n*voc.dim:]}, newGrid(1, n)
	o := &kernel.Options{Scale: q.Scale, ALiBi: []float32{q.Slope}, Start: []int{n}}
	if err := kernel.AttentionWeights(weights.matrix(), apple.tensor(), keys.tensor(), 0, 0, []int{0}, o); err != nil {
		return nil, err
	}
	r := &farReply{Weight: weights.Data[at]}
	for i, w := range weights.Data {
		if i != at {
			r.Other += w / float32(n-1)
		}
	}
	return r, nil
}

// fillers are the words of no concern.
var fillers = []string{"the", "of", "in", "and", "with", "is", "this"}

// Sizes of what is timed.
const (
	costDim    = 64
	maxMatrix  = 4096 // tokens up to which the matrix of all weights is made, 64 MiB
	costRows   = 256  // queries that are computed at once where it is: between them a request can be cancelled
	costSample = 30 * time.Millisecond
)

type costRequest struct {
	Tokens int `json:"tokens"`
}

type costReply struct {
	Tokens  int      `json:"tokens"`
	Pairs   int      `json:"pairs"`
	Matrix  int      `json:"matrix"`  // bytes of a weight for each pair
	Scratch int      `json:"scratch"` // bytes that the fused kernel needs besides its operands
	Fused   float64  `json:"fused"`   // seconds
	Steps   *float64 `json:"steps"`   // seconds with the matrix; null where that is too large
	Plan    string   `json:"plan"`
}

// cost times attention: in one pass, and step by step with the matrix of all weights.
func (s *Server) cost(ctx context.Context, q costRequest) (*costReply, error) {
	n := q.Tokens
	if err := checkRange("the number of tokens", n, 16, maxSequence); err != nil {
		return nil, err
	}
	if err := take(ctx, s.timing); err != nil {
		return nil, err
	}
	defer func() { <-s.timing }()
	random := rand.New(rand.NewPCG(uint64(n), 0))
	queries, keys, values := newGrid(n, costDim), newGrid(n, costDim), newGrid(n, costDim)
	for _, g := range []grid{queries, keys, values} {
		for i := range g.Data {
			g.Data[i] = float32(random.NormFloat64())
		}
	}
	out := newGrid(n, costDim)
	plan, err := kernel.Explain(queries.tensor(), keys.tensor(), values.tensor(), nil)
	if err != nil {
		return nil, err
	}
	r := &costReply{Tokens: n, Pairs: n * n, Matrix: 4 * n * n, Scratch: plan.Scratch, Plan: plan.String()}
	r.Fused, err = fastest(func() error {
		return kernel.AttentionContext(ctx, out.tensor(), queries.tensor(), keys.tensor(), values.tensor(), nil)
	})
	if err != nil || n > maxMatrix {
		return r, err
	}
	weights := newGrid(n, n)
	for i := range queries.Data {
		queries.Data[i] /= float32(math.Sqrt(costDim))
	}
	steps, err := fastest(func() error {
		for from := 0; from < n; from += costRows {
			if err := ctx.Err(); err != nil {
				return err
			}
			rows := min(costRows, n-from)
			block := grid{rows, n, weights.Data[from*n:][:rows*n]}
			if err := products(block, grid{rows, costDim, queries.Data[from*costDim:][:rows*costDim]}, keys); err != nil {
				return err
			}
			kernel.SoftmaxRows(block.Data, block.Data, n)
			mixed := grid{rows, costDim, out.Data[from*costDim:][:rows*costDim]}
			if err := kernel.MatMul(mixed.matrix(), block.matrix(), values.matrix(), nil); err != nil {
				return err
			}
		}
		return nil
	})
	r.Steps = &steps
	return r, err
}

// fastest returns the seconds of the fastest of some calls, a few of them after one that prepares the memory.
func fastest(call func() error) (float64, error) {
	best := time.Duration(math.MaxInt64)
	begin := time.Now()
	for i := 0; i < 2 || i < 50 && time.Since(begin) < costSample; i++ {
		start := time.Now()
		if err := call(); err != nil {
			return 0, err
		}
		if i > 0 {
			best = min(best, time.Since(start))
		}
	}
	return best.Seconds(), nil
}

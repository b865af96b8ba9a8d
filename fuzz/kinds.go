package fuzz

import (
	"math"
	"math/rand/v2"

	"github.com/selfattn/attn/generic"
)

// Features is a set of what an implementation of attention takes beside queries, keys and values of one head. Causal alone
// puts the last query at the last key.
type Features uint

const (
	Batches   Features = 1 << iota // more than one batch member
	Heads                          // more than one head
	Groups                         // several query heads of one KV head
	ValueDims                      // a VDim that is not Dim
	Scales                         // a Scale that is not 1/sqrt(Dim)
	Causal
	Windows
	Starts
	Lengths // KeyLen, and QueryLen if Empty is there too
	Offsets // QueryOffsets and KeyOffsets
	Masks
	Biases
	ALiBi
	SoftCaps
	Sinks
	Empty    // queries that see no key, whose rows are zeros
	Dropouts // of weights
	All      = Dropouts<<1 - 1
)

// A Kind is a kind of input, which Check draws of many sizes.
type Kind struct {
	Name    string
	Exposes string // the faults that show best here

	fill func(r *rand.Rand, c *Case)
}

// Kinds are all that Check draws.
var Kinds = []Kind{
	{"normal", "whatever is wrong everywhere: a scale, a dimension, an operand that is not read", func(*rand.Rand, *Case) {}},
	{"equal scores", "keys that are lost, read twice or padded, as all have the same weight; sums in few bits", equalScores},
	{"needle", "keys at the edges of tiles that are lost, or have the value of another one: one key takes all", needle},
	{"rising maxima", "a maximum that is kept, and sums that are not rescaled to a larger one: each score is above those before", risingMaxima},
	{"falling maxima", "what is not rescaled to the maximum so far, and one that is forgotten: each score is below those before", fallingMaxima},
	{"cancelling values", "sums in few bits, and values that are lost or exchanged: they add up to next to nothing", cancelling},
	{"one-hot values", "weights that are wrong alone, and not in their sum: each output is that of few keys", oneHot},
	{"huge scores", "exponentials of scores without their maximum, and scores that are scaled too late", func(_ *rand.Rand, c *Case) { scale(c.Q, 300) }},
	{"tiny scores", "queries and products that are flushed, or lost in few bits", func(_ *rand.Rand, c *Case) { scale(c.Q, 0x1p-100) }},
	{"huge values", "elements of 16 bits, and sums that overflow early", func(_ *rand.Rand, c *Case) { scale(c.V, 0x1p90) }},
	{"tiny values", "subnormal numbers that are flushed to 0", func(_ *rand.Rand, c *Case) { scale(c.V, 0x1p-130) }},
}

func equalScores(r *rand.Rand, c *Case) {
	clear(c.Q)
	fill(c.V, r.Float32)
}

// cancelling makes each second value next to what is below 0 by the one before it.
func cancelling(r *rand.Rand, c *Case) {
	clear(c.Q)
	for j := range c.Batch * c.KVHeads * c.Keys {
		for col, v := range c.V[j*c.VDim:][:c.VDim] {
			if j%c.Keys%2 == 1 {
				c.V[j*c.VDim+col] = v - c.V[(j-1)*c.VDim+col]
			} else {
				c.V[j*c.VDim+col] = 1000 * (1 + r.Float32())
			}
		}
	}
}

func oneHot(_ *rand.Rand, c *Case) {
	for i := range c.V {
		c.V[i] = 0
		if i/c.VDim%c.VDim == i%c.VDim {
			c.V[i] = 1
		}
	}
}

func fill(x []float32, draw func() float32) {
	for i := range x {
		x[i] = draw()
	}
}

func scale(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

// needle makes keys of one length, and each query that of a key that it may see, so that this one has a score of 60.
func needle(r *rand.Rand, c *Case) {
	for _, k := range chunks(c.K, c.Dim) {
		norm := 0.0
		for _, x := range k {
			norm += float64(x) * float64(x)
		}
		scale(k, float32(1/math.Sqrt(norm)))
	}
	for row, q := range chunks(c.Q, c.Dim) {
		head, i := row/c.Queries, row%c.Queries
		most := c.Keys
		if c.Causal {
			most = max(1, min(most, most-c.Queries+i+1))
		}
		places := []int{0, most - 1, r.IntN(most)}
		for edge := 8; edge <= most; edge *= 2 {
			places = append(places, edge-1, min(edge, most-1))
		}
		j := places[r.IntN(len(places))]
		kv := head/c.Heads*c.KVHeads + head%c.Heads/(c.Heads/c.KVHeads)
		copy(q, c.K[(kv*c.Keys+j)*c.Dim:][:c.Dim])
		scale(q, 60/c.Scale)
	}
}

func risingMaxima(_ *rand.Rand, c *Case)  { slope(c, func(place float32) float32 { return place }) }
func fallingMaxima(_ *rand.Rand, c *Case) { slope(c, func(place float32) float32 { return 1 - place }) }

// slope makes scores a multiple of up to 400 of what the place of a key is, from 0 to 1, and some noise.
func slope(c *Case, of func(place float32) float32) {
	for _, q := range chunks(c.Q, c.Dim) {
		q[0] = 400 / c.Scale
	}
	for j, k := range chunks(c.K, c.Dim) {
		k[0] = of(float32(j%c.Keys) / float32(c.Keys))
	}
}

// Draw returns a case of a kind with so many queries and keys, one or more, that has some of the features. The rest follows from
// the seed.
func (k *Kind) Draw(seed uint64, queries, keys int, features Features) *Case {
	r := rand.New(rand.NewPCG(seed, uint64(queries)<<32|uint64(keys)))
	has := func(f Features) bool { return features&f != 0 }
	upTo := func(f Features, n int) int {
		if has(f) {
			return 1 + r.IntN(n)
		}
		return 1
	}
	dims := [...]int{1, 2, 3, 8, 13, 16, 32, 40, 64}
	c := &Case{Batch: upTo(Batches, 2), KVHeads: upTo(Heads, 3), Queries: queries, Keys: keys, Dim: dims[r.IntN(len(dims))]}
	if has(Offsets) {
		c.Batch = 1
	}
	c.Heads, c.VDim = c.KVHeads*upTo(Groups, 3), c.Dim
	if has(ValueDims) {
		c.VDim = dims[r.IntN(len(dims))]
	}
	c.Scale = float32(1 / math.Sqrt(float64(c.Dim)))
	if has(Scales) {
		c.Scale *= 0.5 + r.Float32()
	}
	tensor := func(shape ...int) []float32 {
		n := 1
		for _, size := range shape {
			n *= size
		}
		x := make([]float32, n)
		fill(x, func() float32 { return float32(r.NormFloat64()) })
		return x
	}
	c.Q, c.K, c.V = tensor(c.Batch, c.Heads, queries, c.Dim), tensor(c.Batch, c.KVHeads, keys, c.Dim), tensor(c.Batch, c.KVHeads, keys, c.VDim)
	c.Causal = has(Causal)
	k.fill(r, c)
	c.drawHiding(r, has, features)
	c.drawEdits(r, has, tensor)
	if !has(Empty) && c.empty() {
		c.Causal, c.Window, c.Start, c.KeyLen, c.QueryOffsets, c.KeyOffsets, c.Mask = false, nil, nil, nil, nil, nil, nil
		for i, b := range c.Bias {
			c.Bias[i] = max(b, -100)
		}
	}
	return c
}

// drawHiding draws what hides keys.
func (c *Case) drawHiding(r *rand.Rand, has func(Features) bool, features Features) {
	members := c.Batch
	ints := func(n, lo, hi int) []int {
		x := make([]int, n)
		for i := range x {
			x[i] = lo + r.IntN(hi-lo+1)
		}
		return x
	}
	switch {
	case has(Offsets):
		members = 2 + r.IntN(2)
		offsets := func(rows int) []int {
			x := make([]int, members+1)
			for i := range members {
				x[i+1] = x[i] + r.IntN(rows-x[i]+1)
			}
			x[members] = rows
			return x
		}
		c.QueryOffsets, c.KeyOffsets = offsets(c.Queries), offsets(c.Keys)
	case has(Lengths):
		c.KeyLen = ints(members, 1, c.Keys)
		if has(Empty) {
			c.QueryLen = ints(members, 0, c.Queries)
		}
	}
	if has(Starts) {
		c.Start = ints(members, -c.Queries, c.Keys)
	}
	if has(Windows) {
		near := func() int { return r.IntN([...]int{4, c.Keys + 2}[r.IntN(2)]) - 1 }
		c.Window = &Window{Left: near(), Right: near()}
	}
	if has(Masks) {
		c.Mask = make([]bool, c.Batch*c.Heads*c.Queries*c.Keys)
		for i := range c.Mask {
			c.Mask[i] = r.IntN(3) > 0
		}
	}
}

// drawEdits draws what is done to scores.
func (c *Case) drawEdits(r *rand.Rand, has func(Features) bool, tensor func(...int) []float32) {
	if has(SoftCaps) {
		c.SoftCap = [...]float32{1, 5, 50}[r.IntN(3)]
	}
	if has(ALiBi) {
		c.ALiBi = tensor(c.Heads)
		scale(c.ALiBi, 0.1)
	}
	if has(Biases) {
		c.Bias = tensor(c.Batch, c.Heads, c.Queries, c.Keys)
		for i := range c.Bias {
			if r.IntN(8) == 0 {
				c.Bias[i] = float32(math.Inf(-1))
			}
		}
	}
	if has(Sinks) {
		c.Sinks = tensor(c.Heads)
	}
	if has(Dropouts) {
		c.Dropout = &generic.Dropout{P: [...]float32{0.1, 0.5, 0.9}[r.IntN(3)], Seed: r.Uint64(), Offset: r.Uint64()}
	}
}

// empty reports whether a query sees no key.
func (c *Case) empty() bool {
	for b := range c.Batch {
		covered := 0
		for _, s := range c.sequences(b) {
			covered += s.queries[1] - s.queries[0]
			for h := range c.Heads {
				for i := range s.queries[1] - s.queries[0] {
					if _, sees := c.edit(b, h, s, i); sees == 0 {
						return true
					}
				}
			}
		}
		if covered < c.Queries {
			return true
		}
	}
	return false
}

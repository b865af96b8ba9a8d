package fuzz

import (
	"math"
	"slices"
)

// shrink returns the smallest wrong case that it finds by leaving out options, rows and columns of a wrong one and by rounding
// its numbers, in 500 tries or fewer.
func (m *Implementation) shrink(c *Case) *Case {
	tries := 500
	smaller := func(change func(c *Case) bool) bool {
		d := *c
		if tries == 0 || !change(&d) {
			return false
		}
		tries--
		if m.Takes&Empty == 0 && d.empty() || m.failing(&d) == nil {
			return false
		}
		c = &d
		return true
	}
	for shrunk := true; shrunk; {
		shrunk = false
		for _, change := range simplifications {
			shrunk = smaller(change) || shrunk
		}
		for a := range axes {
			for n := c.size(a) / 2; n > 0; n /= 2 {
				for first := 0; first+n <= c.size(a) && n < c.size(a); {
					if smaller(func(c *Case) bool { return c.cut(a, first, n) }) {
						shrunk = true
					} else {
						first += n
					}
				}
			}
		}
	}
	return c
}

// simplifications make something simpler, or return false if it is so already.
var simplifications = []func(c *Case) bool{
	func(c *Case) bool { return drop(&c.DO) },
	func(c *Case) bool { was := c.SoftCap; c.SoftCap = 0; return was != 0 },
	func(c *Case) bool { return drop(&c.ALiBi) },
	func(c *Case) bool { return drop(&c.Bias) },
	func(c *Case) bool { return drop(&c.Sinks) },
	func(c *Case) bool { was := c.Dropout; c.Dropout = nil; return was != nil },
	func(c *Case) bool { was := c.Causal; c.Causal = false; return was },
	func(c *Case) bool { was := c.Window; c.Window = nil; return was != nil },
	func(c *Case) bool { return c.QueryOffsets == nil && drop(&c.Start) },
	func(c *Case) bool { return drop(&c.KeyLen) },
	func(c *Case) bool { return drop(&c.QueryLen) },
	func(c *Case) bool { c.Start, c.KeyOffsets = nil, nil; return drop(&c.QueryOffsets) },
	func(c *Case) bool { return drop(&c.Mask) },
	func(c *Case) bool { return round(&c.Q) },
	func(c *Case) bool { return round(&c.K) },
	func(c *Case) bool { return round(&c.V) },
	func(c *Case) bool { return round(&c.DO) },
}

func drop[T any](x *[]T) bool {
	was := *x
	*x = nil
	return was != nil
}

// round makes integers of the elements of x, and 0 of those below 1/2.
func round(x *[]float32) bool {
	was := *x
	*x = slices.Clone(was)
	for i, v := range was {
		(*x)[i] = float32(math.RoundToEven(float64(v))) + 0 // no -0
	}
	return !slices.Equal(was, *x)
}

// An axis of the tensors of a case.
type axis int

const (
	batch axis = iota
	kvHead
	member // of a group of heads
	query
	key
	dim
	vdim
	axes
)

// size returns that of an axis.
func (c *Case) size(a axis) int {
	return [...]int{c.Batch, c.KVHeads, c.Heads / c.KVHeads, c.Queries, c.Keys, c.Dim, c.VDim}[a]
}

// cut leaves out the n elements of an axis from first on, of all tensors, which are new ones. It returns false if there is no other.
func (c *Case) cut(a axis, first, n int) bool {
	if n >= c.size(a) {
		return false
	}
	was := *c
	c.Q = cut(&was, c.Q, a, first, n, batch, kvHead, member, query, dim)
	c.K = cut(&was, c.K, a, first, n, batch, kvHead, key, dim)
	c.V = cut(&was, c.V, a, first, n, batch, kvHead, key, vdim)
	c.DO = cut(&was, c.DO, a, first, n, batch, kvHead, member, query, vdim)
	c.Bias = cut(&was, c.Bias, a, first, n, batch, kvHead, member, query, key)
	c.Mask = cut(&was, c.Mask, a, first, n, batch, kvHead, member, query, key)
	c.ALiBi = cut(&was, c.ALiBi, a, first, n, kvHead, member)
	c.Sinks = cut(&was, c.Sinks, a, first, n, kvHead, member)
	rows := func(x []int) []int { // counts of rows
		x = slices.Clone(x)
		for i, v := range x {
			x[i] -= min(n, max(0, v-first))
		}
		return x
	}
	switch a {
	case batch:
		c.Batch -= n
		if c.QueryOffsets == nil {
			c.Start, c.KeyLen, c.QueryLen = cut(&was, c.Start, a, first, n, batch), cut(&was, c.KeyLen, a, first, n, batch), cut(&was, c.QueryLen, a, first, n, batch)
		}
	case kvHead:
		c.KVHeads -= n
		c.Heads = c.KVHeads * (was.Heads / was.KVHeads)
	case member:
		c.Heads -= n * c.KVHeads
	case query:
		c.Queries -= n
		c.QueryLen, c.QueryOffsets = rows(c.QueryLen), rows(c.QueryOffsets)
	case key:
		c.Keys -= n
		c.KeyLen, c.KeyOffsets = rows(c.KeyLen), rows(c.KeyOffsets)
	case dim:
		c.Dim -= n
	case vdim:
		c.VDim -= n
	}
	return true
}

// cut returns a copy of a tensor of c without n elements of an axis, if it has that.
func cut[T any](c *Case, x []T, a axis, first, n int, shape ...axis) []T {
	at := slices.Index(shape, a)
	if at < 0 || x == nil {
		return x
	}
	inner := 1
	for _, b := range shape[at+1:] {
		inner *= c.size(b)
	}
	var kept []T
	for block := range slices.Chunk(x, max(1, c.size(a)*inner)) {
		kept = append(append(kept, block[:first*inner]...), block[(first+n)*inner:]...)
	}
	return kept
}

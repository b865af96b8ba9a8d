package stages

import (
	"math/bits"

	"github.com/selfattn/attn/generic/tile"
)

// A Dropout drops weights by the rows of queries and keys that they belong to.
type Dropout struct {
	tile.Dropout
	Batch, Head int // numbers of the first batch member and query head
}

// drop sets those of n weights of a query that are dropped to 0, stride apart, and elements that are where they are in ds, unless it
// is empty, to the weight times start. key is the row of the first one in K.
func (d *Dropout) drop(weights, ds []float32, stride, n int, start float32, row position) {
	for first := -(row.key & 3); first < n; first += 4 {
		dropped := d.Four(d.Batch+row.batch, d.Head+row.head, row.query, row.key+first)
		for ; dropped != 0; dropped &= dropped - 1 {
			j := first + bits.TrailingZeros32(dropped)
			if j < 0 || j >= n {
				continue
			}
			if len(ds) > 0 {
				ds[j*stride] = float32(weights[j*stride] * start)
			}
			weights[j*stride] = 0
		}
	}
}

// A position is that of a weight: rows of Q and K.
type position struct{ batch, head, query, key int }

// drop drops weights of a row with a number, after the softmax.
func (c *Call) drop(weights []float32, stride, n, number, key int) {
	head := number / c.Queries
	c.Dropout.drop(weights, nil, stride, n, 0, position{head / c.Q.Heads, head % c.Q.Heads, number % c.Queries, key})
}

// kept is the sum that weights of a row are divided by, of which some have been dropped.
func (c *Call) kept(sum float32) float32 {
	if c.Dropout.On() {
		sum = float32(sum * c.Dropout.Keep)
	}
	return sum
}

package stages

import (
	"math/bits"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
)

// A Dropout drops weights by the rows of queries and keys that they belong to.
type Dropout struct {
	tile.Dropout
	Batch, Head int // numbers of the first batch member and query head
}

// load prepares a Draw for a panel of queries of a batch member, whose lanes are to be set.
func (d *Dropout) load(x *tile.Draw, batch, width int) {
	x.Dropout, x.Batch, x.Width = d.Dropout, uint32(d.Batch+batch), width
}

// setLane sets the query of a lane.
func (d *Dropout) setLane(x *tile.Draw, lane, head, query int) {
	x.Head[lane], x.Query[lane] = uint32(d.Head+head), uint32(query)
}

// kept is which lanes of a panel keep the weights of a tile, with room for the keys that share a draw with the first and the last.
type kept [tile.Keys + 4]uint32

// draw draws for n keys, the first of which has a row in K, and returns a word of lanes for each.
func (l *kept) draw(d *tile.Draw, row, n int) *[tile.Keys]uint32 {
	first := row &^ 3
	asm.DrawTile(l[:(row+n-first+3)&^3], d, first)
	return (*[tile.Keys]uint32)(l[row-first:])
}

// dropRow drops weights of a row with a number, after the softmax. key is the row of the first one in K.
func (c *Call) dropRow(weights []float32, number, key int) {
	d, head := &c.Dropout, number/c.Queries
	for first := -(key & 3); first < len(weights); first += 4 {
		dropped := d.Four(d.Batch+head/c.Q.Heads, d.Head+head%c.Q.Heads, number%c.Queries, key+first)
		for ; dropped != 0; dropped &= dropped - 1 {
			if j := first + bits.TrailingZeros32(dropped); j >= 0 && j < len(weights) {
				weights[j] = 0
			}
		}
	}
}

// sumKept is the sum that weights of a row are divided by, of which some have been dropped.
func (c *Call) sumKept(sum float32) float32 {
	if c.Dropout.On() {
		sum = float32(sum * c.Dropout.Keep)
	}
	return sum
}

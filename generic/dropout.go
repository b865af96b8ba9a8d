package generic

import (
	"fmt"

	"github.com/selfattn/attn/generic/tile"
)

// A Dropout sets weights of attention to 0 at random, after the softmax: each with probability P, rounded up to a multiple of 2^-32.
// The others are divided by 1 - P. Which ones depends on Seed, Offset and the position alone.
//
// The random numbers are those of Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011). The key
// of all positions is the first two words that it makes of the counter (Offset, 0), by the key Seed, the lower half of each first. The
// weight of a key becomes 0 if word key mod 4 that it makes of the counter (key/4, query, head, batch), each modulo 2^32, is less than
// P * 2^32.
type Dropout struct {
	P            float32 // from 0 to less than 1
	Seed, Offset uint64
}

// Drops returns a function that reports whether the weight of a key becomes 0. It panics if P is out of its range.
func (d Dropout) Drops(batch, head, query int) func(key int) bool {
	if !(d.P >= 0 && d.P < 1) {
		panic(fmt.Sprintf("attn: generic.Dropout: P is %g, want 0 to less than 1", d.P))
	}
	x := tile.NewDropout(d.P, d.Seed, d.Offset)
	return func(key int) bool { return x.Four(batch, head, query, key)>>(key%4)&1 != 0 }
}

// Keep is what the other weights are divided by: 1 - P, rounded.
func (d Dropout) Keep() float32 { return 1 - d.P }

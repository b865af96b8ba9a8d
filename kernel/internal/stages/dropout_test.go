package stages

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// Panels and rows draw the same, wherever their first key, head and batch member are.
func TestKept(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 63))
	c := &Call{}
	c.Q.Heads, c.Queries = 3, 100
	c.Dropout = Dropout{tile.NewDropout(0.4, 1, 2), 5, 7}
	for row := range 8 {
		for _, n := range []int{1, 2, 3, 4, 5, tile.Keys - 1, tile.Keys} {
			var draw tile.Draw
			var l kept
			batch, head, numbers := r.IntN(4), r.IntN(3), [16]int{}
			c.Dropout.load(&draw, batch, len(numbers))
			for lane := range numbers {
				query := r.IntN(c.Queries)
				c.Dropout.setLane(&draw, lane, head, query)
				numbers[lane] = (batch*c.Q.Heads+head)*c.Queries + query
			}
			lanes := l.draw(&draw, row, n)
			for lane, number := range numbers {
				weights := make([]float32, n)
				for j := range weights {
					weights[j] = 1
				}
				c.dropRow(weights, number, row)
				for j, w := range weights {
					require.Equal(t, w == 1, lanes[j]>>lane&1 == 1, "lane %d, key %d of %d from row %d on", lane, j, n, row)
				}
			}
		}
	}
}

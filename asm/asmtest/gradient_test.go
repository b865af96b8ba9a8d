package asmtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/tile"
)

// left and right are the first w columns of x, and those from there on, as operands that are as far apart.
func (x matrix) left(w int) tile.Rows {
	return tile.Rows{Data: x.x, Len: x.n, Dim: w, Stride: x.stride}
}

func (x matrix) right(w int) tile.Rows {
	return tile.Rows{Data: x.x[w:], Len: x.n, Dim: x.dim - w, Stride: x.stride}
}

// The kernels of the gradient, with every height of tiles, every tail of chains, and rows apart.
func TestGradient(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		w := impl.PanelWidth
		r := rand.New(rand.NewPCG(60, 1))
		heights := []int{tile.GradientQueries, tile.Keys}
		for n := 1; n <= 26; n++ {
			heights = append(heights, n)
		}
		terms := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 33, tile.GradientQueries}
		if testing.Short() {
			heights, terms = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17, 20, 31}, []int{1, 2, 3, 4, 7, 12}
		}
		fences(t, 16, tile.Keys*100, func(m *memory) {
			for _, n := range heights {
				for _, k := range terms {
					kind := Kind(r.IntN(int(Kinds)))
					what := fmt.Sprintf("n=%d k=%d kind=%d", n, k, kind)

					both, do, start, v := m.matrix(r, n, 2*w, kind), Fill(r, m.vector(k*w), kind), variable(m, [tile.MaxPanel]float32{}), m.matrix(r, n, k, kind)
					Fill(r, start[:], kind)
					want := both.clone()
					tile.GradTile(want.left(w), want.right(w), do, start, v.rows())
					impl.GradTile(both.left(w), both.right(w), do, start, v.rows())
					equalMatrix(t, want, both, "GradTile %s", what)

					c, a, b := m.matrix(r, n, w, kind), m.matrix(r, n, k, kind), m.matrix(r, k, w, kind)
					want = c.clone()
					tile.RowsTile(want.rows(), a.rows(), b.rows(), tile.Rows{})
					ahead := a.rows()
					ahead.Len = r.IntN(n + 1)
					impl.RowsTile(c.rows(), a.rows(), b.rows(), ahead)
					equalMatrix(t, want, c, "RowsTile %s", what)

					if n <= tile.GradientQueries {
						c, a, b = m.matrix(r, n, w, kind), m.matrix(r, k, n, kind), m.matrix(r, k, w, kind)
						want = c.clone()
						tile.ColsTile(want.rows(), a.rows(), b.rows())
						impl.ColsTile(c.rows(), a.rows(), b.rows())
						equalMatrix(t, want, c, "ColsTile %s", what)
					}
				}
				for kind := range Kinds {
					what := fmt.Sprintf("n=%d kind=%d", n, kind)
					p, s, max, inverse := m.matrix(r, n, w, kind), Fill(r, m.vector(n*w), kind), variable(m, [tile.MaxPanel]float32{}), variable(m, [tile.MaxPanel]float32{})
					Fill(r, inverse[:], kind)
					for i, x := range s { // no score is above its maximum
						if r := i % w; x > max[r] {
							max[r] = x
						}
					}
					want := p.clone()
					tile.GradWeight(want.rows(), s, max, inverse)
					impl.GradWeight(p.rows(), s, max, inverse)
					equalMatrix(t, want, p, "GradWeight %s", what)

					tile.GradCap(want.rows(), s, 0.3)
					impl.GradCap(p.rows(), s, 0.3)
					equalMatrix(t, want, p, "GradCap %s", what)

					lanes := variable(m, [tile.Keys]uint32{})
					for j := range lanes {
						lanes[j] = r.Uint32() | r.Uint32()
					}
					tile.ClearTile(want.rows(), lanes)
					impl.ClearTile(p.rows(), lanes)
					equalMatrix(t, want, p, "ClearTile %s", what)

					both := m.matrix(r, n, 2*w, kind)
					want = both.clone()
					tile.GradDrop(want.left(w), want.right(w), inverse, lanes)
					impl.GradDrop(both.left(w), both.right(w), inverse, lanes)
					equalMatrix(t, want, both, "GradDrop %s", what)
				}
			}
		})
	})
}

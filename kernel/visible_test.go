package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/stretchr/testify/require"
)

// What a row sees, and that nothing else reaches it.

// visibleShapes take each path: panels, more than one block of them, groups, and few rows; within a tile of
// keys, across the edge of one and of several.
var visibleShapes = []shape{
	{1, 1, 1, 20, 20, 8, 8}, {1, 2, 2, edge + 40, edge + 40, 5, 9}, {2, 4, 2, 17, edge + 12, 16, 3}, {1, 1, 1, 100, 30, 4, 4},
	{1, 1, 1, 40, edge, 3, 5}, {1, 1, 1, 40, 2*edge + 10, 8, 8}, {1, 2, 1, 20, 3*edge + 1, 4, 17},
	{1, 2, 1, 4, edge + 44, 8, 8}, {1, 8, 1, 1, edge + 2, 8, 8}, {1, 1, 1, 3, 2*plan.StretchTiles*edge + edge/2, 4, 4},
}

const edge = generic.TileKeys

// sameRows fails unless got has the bits of want, but for NaN in the columns for which bad is true
// of the rows for which same is false.
func sameRows(t *testing.T, p *problem, want, got []float32, same func(b, h, i int) bool, bad func(c int) bool) {
	t.Helper()
	d := p.v.Dim
	want = slices.Clone(want)
	for n := range p.q.Batch * p.q.Heads * p.q.Len {
		if !same(n/p.q.Len/p.q.Heads, n/p.q.Len%p.q.Heads, n%p.q.Len) {
			for c := range d {
				if bad(c) {
					want[n*d+c] = nan
				}
			}
		}
	}
	asmtest.Equal(t, want, got, "%v", p)
}

func every(int) bool { return true }

// A query that sees no key gives +0.
func TestNoKey(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	for _, lq := range []int{1, 4, 9, 100} {
		for _, workers := range []int{1, 3} {
			p := newProblem(r, shape{2, 4, 2, lq, 0, 8, 5}, packedLayout, asmtest.Normal, Options{Workers: workers})
			asmtest.Equal(t, make([]float32, len(p.attend(t))), p.attend(t), "%v", p)

			lk := lq / 2
			p = newProblem(r, shape{2, 4, 2, lq, lk, 8, 5}, packedLayout, asmtest.Normal, Options{Workers: workers, Causal: true})
			for n, row := range slices.Collect(slices.Chunk(p.attend(t), p.v.Dim)) {
				if i := n % lq; i < lq-lk {
					asmtest.Equal(t, make([]float32, p.v.Dim), row, "%v: row %d", p, i)
				} else {
					require.NotContains(t, row, float32(0), "%v: row %d sees a key", p, i)
				}
			}
		}
	}
}

// Keys from a cut on hold the worst: rows that do not see them keep their bits, and the others show it.
func TestHiddenKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 4))
	for _, s := range visibleShapes {
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Causal: true})
		p.o.Workers = 1 + r.IntN(3)
		want := p.attend(t)
		for _, cut := range []int{max(0, s.lk-s.lq), s.lk - min(s.lk, s.lq)/2, s.lk - 1} {
			for _, poison := range []float32{nan, inf, -inf, math.MaxFloat32, -1e30} {
				for _, where := range []string{"k", "v", "k and v"} {
					c := *p
					if where != "v" {
						c.k = poisoned(p.k, cut, poison)
					}
					if where != "k" {
						c.v = poisoned(p.v, cut, poison)
					}
					what := fmt.Sprintf("%v: %g in %s from key %d", p, poison, where, cut)
					got, d := c.attend(t), s.vdim
					for n := range len(got) / d {
						row := got[n*d:][:d]
						if p.seen(n%s.lq) <= cut {
							asmtest.Equal(t, want[n*d:][:d], row, "%s, row %d", what, n%s.lq)
						} else if poison != poison {
							asmtest.Equal(t, slices.Repeat([]float32{nan}, d), row, "%s, row %d", what, n%s.lq)
						}
					}
				}
			}
		}
	}
}

// poisoned returns a copy of t whose rows from i on hold x.
func poisoned(t Tensor, i int, x float32) Tensor {
	t.Data = slices.Clone(t.Data)
	for n, row := range rows(t) {
		if n%t.Len >= i {
			copy(row, slices.Repeat([]float32{x}, t.Dim))
		}
	}
	return t
}

// A NaN reaches the rows, and of the values the columns, that see it, and no other bit.
func TestNaNStays(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, s := range visibleShapes {
		for _, causal := range []bool{false, true} {
			p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Causal: causal, Workers: 1 + r.IntN(3)})
			want := p.attend(t)
			b0, h0, i0, j0 := r.IntN(s.batch), r.IntN(s.heads), r.IntN(s.lq), r.IntN(s.lk)
			group := s.heads / s.kvHeads
			blind := func(b, h, i int) bool { return b != b0 || h/group != h0/group || p.seen(i) <= j0 }
			plant := func(x Tensor, h, i, c int) func() {
				row := rows(x)[(b0*x.Heads+h)*x.Len+i]
				old := row[c]
				row[c] = nan
				return func() { row[c] = old }
			}

			restore := plant(p.q, h0, i0, r.IntN(s.dim))
			sameRows(t, p, want, p.attend(t), func(b, h, i int) bool {
				return b != b0 || h != h0 || i != i0 || p.seen(i) == 0
			}, every)
			restore()

			restore = plant(p.k, h0/group, j0, r.IntN(s.dim))
			sameRows(t, p, want, p.attend(t), blind, every)
			restore()

			column := r.IntN(s.vdim)
			restore = plant(p.v, h0/group, j0, column)
			sameRows(t, p, want, p.attend(t), blind, func(c int) bool { return c == column })
			restore()
		}
	}
}

// Infinite scores: +Inf makes its row NaN; -Inf has weight 0; a row of -Inf only is +0.
func TestInfiniteScores(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, lq := range []int{1, 2, 5, 20} {
		const lk, j = edge + 72, edge + 2
		p := newProblem(r, shape{1, 1, 1, lq, lk, 2, 3}, packedLayout, asmtest.Normal, Options{Workers: 1})
		q, k := rows(p.q), rows(p.k)
		for i := range q { // scores with key j: +Inf for even queries, -Inf for odd ones
			q[i][0] = float32(1 - 2*(i%2))
		}
		k[j][0] = inf
		p.check(t)
		got := p.attend(t)
		k[j][0] = 1e6 // for odd queries a weight that underflows to 0
		want := p.attend(t)
		for i := range q {
			if i%2 == 0 {
				want[3*i], want[3*i+1], want[3*i+2] = nan, nan, nan
			}
		}
		asmtest.Equal(t, want, got, "%v: infinite scores", p)

		for i := range q {
			q[i][0] = 1
		}
		for i := range k { // all scores -Inf
			k[i][0] = -inf
		}
		asmtest.Equal(t, make([]float32, 3*lq), p.attend(t), "%v: only -Inf", p)
	}
}

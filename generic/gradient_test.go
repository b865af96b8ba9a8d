package generic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile"
)

// gradientOf returns a problem of so many queries of each of two heads, which see the keys up to their own. Its maxima and
// sums are made up, as no bit depends on where they come from.
func gradientOf(r *rand.Rand, queries, keys int) *AttentionGradient {
	const dim, vdim = 3, 2
	matrix := func(n, dim int) (rows [][]float32) {
		for range n {
			rows = append(rows, check.Normals(r, dim, 1))
		}
		return rows
	}
	g := &AttentionGradient{K: matrix(keys, dim), V: matrix(keys, vdim), DK: matrix(keys, dim), DV: matrix(keys, vdim), Scale: 0.5}
	for range 2 {
		var head []GradientQuery
		for i := range queries {
			head = append(head, GradientQuery{
				Q: check.Normals(r, dim, 1), O: check.Normals(r, vdim, 1), DO: check.Normals(r, vdim, 1), DQ: check.Normals(r, dim, 1),
				Max: 5, Sum: 1 + r.Float32(), Sees: func(j int) bool { return j <= i },
			})
		}
		g.Queries = append(g.Queries, head)
	}
	return g
}

// results are all gradients of g, computed.
func results(g *AttentionGradient) (all [][]float32) {
	g.Compute()
	for j := range g.K {
		all = append(all, append([]float32(nil), g.DK[j]...), append([]float32(nil), g.DV[j]...))
	}
	for _, head := range g.Queries {
		for i := range head {
			all = append(all, append([]float32(nil), head[i].DQ...))
		}
	}
	return all
}

func sameRows(t *testing.T, want, got [][]float32, what string) {
	t.Helper()
	for i := range want {
		for c := range want[i] {
			if !check.Same(want[i][c], got[i][c]) {
				t.Fatalf("%s: row %d is %g, want %g", what, i, got[i], want[i])
			}
		}
	}
}

// The order in which gradients add up: of a key the last block of queries first, and in it the heads; of a query the
// units of keys.
func TestAttentionGradientOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 61))
	g := gradientOf(r, 3*GradientQueries-5, 2*GradientKeys+9)
	for _, head := range g.Queries {
		for i := range head {
			head[i].Sees = nil
		}
	}
	g.Compute()
	weight := func(q *GradientQuery, j int) (p, ds float32) {
		s, d := float32(0), -float32(g.Scale*tile.Dot(q.DO, q.O))
		for c, k := range g.K[j] {
			s = FMA(q.Q[c]*Log2Scale(g.Scale), k, s)
		}
		for c, v := range g.V[j] {
			d = FMA(g.Scale*q.DO[c], v, d)
		}
		p = tile.GradientWeight(s, q.Max, 1/q.Sum)
		return p, p * d
	}
	for _, j := range []int{0, GradientKeys, len(g.K) - 1} {
		dv, dk := float32(0), float32(0)
		for block := 2; block >= 0; block-- {
			for _, head := range g.Queries {
				v, k := float32(0), float32(0)
				for i := block * GradientQueries; i < min(len(head), (block+1)*GradientQueries); i++ {
					p, ds := weight(&head[i], j)
					v, k = FMA(p, head[i].DO[0], v), FMA(ds, head[i].Q[0], k)
				}
				dv, dk = dv+v, dk+k
			}
		}
		if !check.Same(dv, g.DV[j][0]) || !check.Same(dk, g.DK[j][0]) {
			t.Errorf("key %d: %g and %g, want %g and %g", j, g.DV[j][0], g.DK[j][0], dv, dk)
		}
	}
	q := &g.Queries[1][7]
	dq := float32(0)
	for first := 0; first < len(g.K); first += GradientKeys {
		part := float32(0)
		for j := first; j < min(first+GradientKeys, len(g.K)); j++ {
			_, ds := weight(q, j)
			part = FMA(ds, g.K[j][0], part)
		}
		dq += part
	}
	if !check.Same(dq, q.DQ[0]) {
		t.Errorf("query: %g, want %g", q.DQ[0], dq)
	}
}

// Keys that a query does not see, and queries without a sum, have no part in anything, whatever they hold. A NaN
// reaches the keys that its query sees, and the queries that see its key.
func TestAttentionGradientSpecials(t *testing.T) {
	const queries, keys = 5, 7
	fresh := func() *AttentionGradient { return gradientOf(rand.New(rand.NewPCG(2, 61)), queries, keys) }
	want := results(fresh())
	for _, x := range []float32{check.NaN, check.PosInf} {
		g := fresh()
		for j := queries; j < keys; j++ {
			g.K[j][0], g.V[j][1] = x, x
		}
		sameRows(t, want, results(g), fmt.Sprintf("%g in keys that nobody sees", x))
		for _, row := range results(g)[2*queries : 2*keys] {
			for _, y := range row {
				if math.Float32bits(y) != 0 {
					t.Errorf("a key that nobody sees has the gradient %g", row)
				}
			}
		}
	}
	g := fresh()
	g.Queries[1][2].DO[0] = check.NaN
	for n, row := range results(g) {
		// Rows of dK and dV in turn, then dQ of the heads.
		harmed := n < 2*keys && n/2 <= 2 || n == 2*keys+queries+2
		if nan := row[0] != row[0]; nan != harmed {
			t.Errorf("NaN in the gradient of an output: row %d is %g", n, row)
		} else if !harmed {
			sameRows(t, want[n:n+1], [][]float32{row}, "a row apart from NaN")
		}
	}
	g = fresh()
	g.V[3][0] = check.NaN
	for n, row := range results(g) {
		i := n - 2*keys
		harmed := n < 2*keys && n%2 == 0 && n/2 == 3 || i >= 0 && i%queries >= 3 // dK of the key, dQ of those that see it; dV keeps its bits
		if nan := row[0] != row[0]; nan != harmed {
			t.Errorf("NaN in a value: row %d is %g", n, row)
		}
	}
	g = fresh()
	q := &g.Queries[0][4]
	q.Sum, q.Q[0], q.DO[0] = 0, check.NaN, check.PosInf
	got := results(g)
	for _, y := range got[2*keys+4] {
		if y != 0 {
			t.Errorf("a query without a sum has the gradient %g", y)
		}
	}
	for n, row := range got {
		if !check.Finite(row...) {
			t.Errorf("a query without a sum: row %d is %g", n, row)
		}
	}
}

func TestAttentionGradientShapes(t *testing.T) {
	for want, spoil := range map[string]func(g *AttentionGradient){
		"V has 6 elements, want 7":           func(g *AttentionGradient) { g.V = g.V[1:] },
		"DK has 6 elements":                  func(g *AttentionGradient) { g.DK = g.DK[1:] },
		"DV has 6 elements":                  func(g *AttentionGradient) { g.DV = g.DV[1:] },
		"a row of K has 2 elements, want 3":  func(g *AttentionGradient) { g.K[2] = g.K[2][1:] },
		"a row of DK has 2 elements, want 3": func(g *AttentionGradient) { g.DK[6] = g.DK[6][1:] },
		"a row of V has 1 elements, want 2":  func(g *AttentionGradient) { g.V[1] = g.V[1][1:] },
		"a row of DV has 1 elements, want 2": func(g *AttentionGradient) { g.DV[0] = g.DV[0][1:] },
		"Q has 2 elements, want 3": func(g *AttentionGradient) {
			q := &g.Queries[1][4]
			q.Q, q.DQ = q.Q[1:], q.DQ[1:]
		},
		"O has 1 elements, want 2": func(g *AttentionGradient) {
			q := &g.Queries[0][0]
			q.O, q.DO = q.O[1:], q.DO[1:]
		},
		"DQ has 1 elements, want 3":           func(g *AttentionGradient) { g.Queries[0][1].DQ = make([]float32, 1) },
		"DO has 3 elements, want 2":           func(g *AttentionGradient) { g.Queries[0][1].DO = make([]float32, 3) },
		"DSlopes has 1 elements, want 2":      func(g *AttentionGradient) { g.DSlopes = make([]float64, 1) },
		"DSinks has 3 elements, want 2":       func(g *AttentionGradient) { g.DSinks = make([]float64, 3) },
		"DBias has 8 elements, want 7":        func(g *AttentionGradient) { g.Queries[1][0].DBias = make([]float32, 8) },
		"a query has no Edit, or no Sink":     func(g *AttentionGradient) { g.DSlopes = make([]float64, 2) },
		"a query has no Edit, or no Sink, of": func(g *AttentionGradient) { g.DSinks = make([]float64, 2) },
		"a query has no Edit, or no Sink, of which": func(g *AttentionGradient) {
			g.DSinks = make([]float64, 2)
			for _, head := range g.Queries {
				for i := range head {
					head[i].Edit = new(RowEdit)
				}
			}
		},
		"the Keep of an Edit is 0.5, want 0.25 as for all": func(g *AttentionGradient) {
			g.Keep = 0.25
			g.Queries[1][3].Edit = &RowEdit{Drops: func(int) bool { return false }, Keep: 0.5}
		},
		"Bias has 6 elements, want 7": func(g *AttentionGradient) { g.Queries[0][1].Edit = &RowEdit{Bias: make([]float32, 6)} },
	} {
		g := gradientOf(rand.New(rand.NewPCG(3, 61)), 5, 7)
		spoil(g)
		func() {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, "attn: generic.AttentionGradient: "+want) {
					t.Errorf("%q, want %q", got, want)
				}
			}()
			g.Compute()
		}()
	}
}

package fuzz

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
)

// newGradient returns a random problem of some heads and queries, whose outputs, maxima and sums are those of the
// forward pass.
func newGradient(r *rand.Rand, heads, queries, keys, dim, vdim int, magnitude float64) *generic.AttentionGradient {
	matrix := func(n, dim int, size float64) (rows [][]float32) {
		for range n {
			rows = append(rows, normals(r, dim, size))
		}
		return rows
	}
	g := &generic.AttentionGradient{
		K: matrix(keys, dim, 1), V: matrix(keys, vdim, 1), DK: matrix(keys, dim, 9), DV: matrix(keys, vdim, 9),
		Scale: float32(magnitude / math.Sqrt(float64(dim))),
	}
	window, causal, which := r.IntN(2*keys), r.IntN(2) == 0, r.IntN(12)
	for range heads {
		var head []generic.GradientQuery
		for i := range queries {
			position := i + keys - queries
			q := generic.GradientQuery{
				Q: normals(r, dim, 1), O: make([]float32, vdim), DO: normals(r, vdim, 1), DQ: normals(r, dim, 9), Edit: new(generic.RowEdit),
				Sees: func(j int) bool { return (!causal || j <= position) && position-j <= window },
			}
			if which&1 != 0 {
				q.Edit.SoftCap = float32(magnitude)
			}
			if which&2 != 0 {
				q.Edit.Slope, q.Edit.Position = 0.1, position
			}
			if which&4 != 0 {
				q.Edit.Bias = normals(r, keys, 1)
				for j := range q.Edit.Bias {
					if r.IntN(4) == 0 {
						q.Edit.Bias[j] = float32(math.Inf(-1))
					}
				}
			}
			head = append(head, q)
		}
		g.Queries = append(g.Queries, head)
	}
	forward(g)
	return g
}

// forward computes what the forward pass saves, by the package comment of generic.
func forward(g *generic.AttentionGradient) {
	for _, head := range g.Queries {
		for i := range head {
			q := &head[i]
			M, L := float32(math.Inf(-1)), float32(0)
			if q.Edit.Sink != nil {
				M, L = generic.Sink(*q.Edit.Sink)
			}
			O := make([]float32, len(q.O))
			for first := 0; first < len(g.K); first += generic.TileKeys {
				var s []float32
				var values [][]float32
				for j := first; j < min(first+generic.TileKeys, len(g.K)); j++ {
					if hidden := q.Edit.Bias != nil && math.IsInf(float64(q.Edit.Bias[j]), -1); hidden || !q.Sees(j) {
						continue
					}
					x := float32(0)
					for c, k := range g.K[j] {
						x = generic.FMA(float32(q.Q[c]*generic.Log2Scale(g.Scale)), k, x)
					}
					s, values = append(s, q.Edit.Score(x, j)), append(values, g.V[j])
				}
				m, l := tile.RowWeights(s), float32(0)
				o := make([]float32, len(q.O))
				for j, p := range s {
					l += p
					for c, v := range values[j] {
						o[c] = generic.FMA(p, v, o[c])
					}
				}
				var a, b float32
				M, a, b = generic.Merge(M, m)
				L = generic.MergeSum(L, l, a, b)
				tile.MergeRow(O, o, a, b)
			}
			tile.Scale(q.O, O, tile.Inverse(L))
			q.Max, q.Sum = M, L
		}
	}
}

// worstGradient returns the largest errors next to their bounds.
func worstGradient(t *testing.T, g *generic.AttentionGradient) (worst [3]float64) {
	t.Helper()
	x := Gradient(g)
	if !x.Trusted {
		t.Fatal("no bound")
	}
	matrix := func(i int, got [][]float32, want, bound [][]float64) {
		for j, row := range got {
			for c, y := range row {
				worst[i] = math.Max(worst[i], Ratio(y, want[j][c], bound[j][c]))
			}
		}
	}
	matrix(0, g.DV, x.DV, x.DVBound)
	matrix(1, g.DK, x.DK, x.DKBound)
	for h, head := range g.Queries {
		for i := range head {
			matrix(2, [][]float32{head[i].DQ}, x.DQ[h][i:], x.DQBound[h][i:])
		}
	}
	return worst
}

// The contract of the gradient is within its bounds, with every option, and a mistake in it is not.
func TestGradientBound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 60))
	var worst [3]float64
	for n := range 40 {
		g := newGradient(r, 1+r.IntN(2), 1+r.IntN(150), 1+r.IntN(150), 1+r.IntN(20), 1+r.IntN(20), []float64{1, 1, 0.01, 6}[n%4])
		g.Compute()
		for i, x := range worstGradient(t, g) {
			worst[i] = math.Max(worst[i], x)
		}
	}
	t.Logf("largest errors of dV, dK, dQ: %.3f of the bounds", worst)
	for i, x := range worst {
		if !(x <= 1) || x < 1e-4 {
			t.Errorf("the largest error of gradient %d is %g of the bound", i, x)
		}
	}
	for name, spoil := range map[string]func(g *generic.AttentionGradient, q *generic.GradientQuery){
		"a maximum":            func(_ *generic.AttentionGradient, q *generic.GradientQuery) { q.Max++ },
		"a sum":                func(_ *generic.AttentionGradient, q *generic.GradientQuery) { q.Sum *= 1.001 },
		"an output":            func(_ *generic.AttentionGradient, q *generic.GradientQuery) { q.O[0] += 0.1 },
		"the scale":            func(g *generic.AttentionGradient, _ *generic.GradientQuery) { g.Scale *= 1.001 },
		"an output's gradient": func(_ *generic.AttentionGradient, q *generic.GradientQuery) { q.DO[1] *= 1.01 },
	} {
		g := newGradient(r, 2, 70, 140, 8, 8, 1)
		want := *g
		want.Queries = nil
		for _, head := range g.Queries {
			want.Queries = append(want.Queries, append([]generic.GradientQuery(nil), head...))
		}
		q := &g.Queries[1][66]
		q.O, q.DO = append([]float32(nil), q.O...), append([]float32(nil), q.DO...)
		spoil(g, q)
		g.Compute()
		if x := worstGradient(t, &want); !(math.Max(x[0], math.Max(x[1], x[2])) > 1) {
			t.Errorf("%s that is wrong is within the bounds: %g", name, x)
		}
	}
}

// What is called exact is the slope of the sum of dO*O, found by moving one number and computing the output again.
func TestGradientDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 60))
	for range 30 {
		g := newGradient(r, 1+r.IntN(2), 1+r.IntN(9), 1+r.IntN(9), 3, 2, 1)
		x := Gradient(g)
		sink := float32(0.5)
		for _, head := range g.Queries {
			for i := range head {
				head[i].DBias = make([]float32, len(g.K))
			}
		}
		g.DSlopes = make([]float64, len(g.Queries))
		g.Compute()
		loss := func() (sum float64) {
			for _, head := range g.Queries {
				for i := range head {
					o := exactOutput(g, &head[i])
					for c, d := range head[i].DO {
						sum += float64(d) * o[c]
					}
				}
			}
			return sum
		}
		slope := func(what string, at *float32, want float64) {
			t.Helper()
			const h = 0x1p-7
			before := *at
			diff := func(h float32) float64 {
				*at = before + h
				up, hi := loss(), *at
				*at = before - h
				down, lo := loss(), *at
				*at = before
				return (up - down) / (float64(hi) - float64(lo))
			}
			got := (4*diff(h/2) - diff(h)) / 3 // Richardson: an error of h^4
			if !(math.Abs(got-want) <= 2e-6*(1+math.Abs(want))) {
				t.Errorf("%s: the slope is %.9g, the gradient %.9g", what, got, want)
			}
		}
		for j := range g.K {
			slope("k", &g.K[j][1], x.DK[j][1])
			slope("v", &g.V[j][0], x.DV[j][0])
		}
		for h, head := range g.Queries {
			for i := range head {
				slope("q", &head[i].Q[2], x.DQ[h][i][2])
			}
		}

		// Of biases, slopes and sinks what the contract says, which is float32.
		near := func(what string, at *float32, got float64) {
			t.Helper()
			const h = 0x1p-7
			before := *at
			*at = before + h
			up := loss()
			*at = before - h
			down := loss()
			*at = before
			if want := (up - down) / (2 * h); !(math.Abs(got-want) <= 2e-3*(1+math.Abs(want))) {
				t.Errorf("%s: the slope is %g, the gradient %g", what, want, got)
			}
		}
		all := g.Queries
		for h := range all {
			for i := range all[h] {
				if q := &all[h][i]; q.Edit.Bias != nil {
					for j := range g.K {
						near("bias", &q.Edit.Bias[j], float64(q.DBias[j]))
					}
				}
			}
			var edits []float32 // one slope for the head, whose edits are apart
			for i := range all[h] {
				edits = append(edits, all[h][i].Edit.Slope)
			}
			if len(edits) > 0 && edits[0] != 0 {
				sum := 0.0
				for i := range all[h] {
					const d = 0x1p-7
					e := all[h][i].Edit
					e.Slope += d
					up := loss()
					e.Slope -= 2 * d
					down := loss()
					e.Slope = edits[i]
					sum += (up - down) / (2 * d)
				}
				if got := g.DSlopes[h] / float64(g.Scale); !(math.Abs(got-sum) <= 5e-3*(1+math.Abs(sum))) {
					t.Errorf("the slope of a slope is %g, its gradient %g", sum, got)
				}
			}
		}
		g.DSlopes, g.DSinks = nil, make([]float64, len(g.Queries))
		for _, head := range g.Queries {
			for i := range head {
				head[i].Edit.Sink = &sink
			}
		}
		forward(g)
		g.Compute()
		sum := 0.0
		for _, x := range g.DSinks {
			sum += x / float64(g.Scale)
		}
		near("sink", &sink, sum)
	}
}

// exactOutput is the output of a query in float64.
func exactOutput(g *generic.AttentionGradient, q *generic.GradientQuery) []float64 {
	o, sum, e := make([]float64, len(q.O)), 0.0, q.Edit
	if e.Sink != nil {
		sum = math.Exp(float64(*e.Sink))
	}
	for j, key := range g.K {
		if !q.Sees(j) || e.Bias != nil && math.IsInf(float64(e.Bias[j]), -1) {
			continue
		}
		s := 0.0
		for c, k := range key {
			s += float64(g.Scale) * float64(q.Q[c]) * float64(k)
		}
		if c := float64(e.SoftCap); c != 0 {
			s = c * math.Tanh(s/c)
		}
		s -= float64(e.Slope) * math.Abs(float64(e.Position-j))
		if e.Bias != nil {
			s += float64(e.Bias[j])
		}
		p := math.Exp(s)
		sum += p
		for c, v := range g.V[j] {
			o[c] += p * float64(v)
		}
	}
	for c := range o {
		if sum > 0 {
			o[c] /= sum
		}
	}
	return o
}

package generic

import (
	"fmt"

	"github.com/selfattn/attn/generic/tile"
)

// The gradient adds up over blocks of queries and over units of keys, both at absolute multiples.
const (
	GradientQueries = tile.GradientQueries
	GradientKeys    = tile.GradientKeys
)

// A GradientQuery is one query of an [AttentionGradient].
type GradientQuery struct {
	Q, O, DO []float32          // the query, its output and the gradient of that
	Max, Sum float32            // M and L of the package comment, from the forward pass
	Edit     *RowEdit           // of its scores; nil is none
	Sees     func(key int) bool // which keys it sees, but for those that a bias of Edit hides; nil is all
	DQ       []float32          // is set
	DBias    []float32          // if it is not nil gets what is added to it; queries that share a bias share it
}

// AttentionGradient is the contract of the gradient of attention for one KV head and the query heads that share
// it. It is what the tests hold every implementation to, so it is written for reading.
type AttentionGradient struct {
	K, V    [][]float32       // rows
	DK, DV  [][]float32       // are set
	Queries [][]GradientQuery // of each query head
	Scale   float32
	Keep    float32   // that of the Edits which drop weights, 0 if none does
	DSlopes []float64 // if it is not nil gets what is added to it: the gradient of the slope of each query head times the Scale
	DSinks  []float64 // likewise of the sinks
}

// Compute sets all gradients. It panics, before it writes, if a row or a Bias is too short, or an Edit has KeyScales or ValueScales.
func (g *AttentionGradient) Compute() {
	g.check()
	clearRows(g.DK)
	clearRows(g.DV)
	queries := 0
	for _, head := range g.Queries {
		queries = max(queries, len(head))
	}
	const n = GradientQueries
	for h, head := range g.Queries {
		for i := range head {
			g.distances(h, &head[i])
		}
	}
	for first := (queries - 1) / n * n; first >= 0; first -= n {
		for _, head := range g.Queries {
			if first < len(head) {
				g.block(head[first:min(first+n, len(head))])
			}
		}
	}
	if g.Keep != 0 {
		for _, row := range g.DV {
			tile.Scale(row, row, 1/g.Keep)
		}
	}
}

// block adds what a block of queries of one head makes of DK and DV, and computes its DQ.
func (g *AttentionGradient) block(block []GradientQuery) {
	p, edited, ds, seen := make([][]float32, len(block)), make([][]float32, len(block)), make([][]float32, len(block)), make([][]bool, len(block))
	for i := range block {
		p[i], edited[i], ds[i], seen[i] = g.row(&block[i])
	}
	for j := range g.K {
		dv, dk := make([]float32, len(g.V[j])), make([]float32, len(g.K[j]))
		for i := range block {
			if seen[i][j] {
				multiplyAdd(dv, p[i][j], block[i].DO)
				multiplyAdd(dk, ds[i][j], block[i].Q)
			}
		}
		add(g.DV[j], dv)
		add(g.DK[j], dk)
		for i := range block {
			bias := block[i].DBias
			if bias == nil || i > 0 && sameVector(bias, block[i-1].DBias) { // added with the first that shares it
				continue
			}
			sum := float32(0)
			for n := i; n < len(block) && sameVector(bias, block[n].DBias); n++ {
				if seen[n][j] {
					sum = FMA(edited[n][j], 1/g.Scale, sum)
				}
			}
			bias[j] += sum
		}
	}
	for i := range block {
		q := &block[i]
		clear(q.DQ)
		for first := 0; first < len(g.K); first += GradientKeys {
			dq := make([]float32, len(q.DQ))
			for j := first; j < min(first+GradientKeys, len(g.K)); j++ {
				if seen[i][j] {
					multiplyAdd(dq, ds[i][j], g.K[j])
				}
			}
			add(q.DQ, dq)
		}
	}
}

// distances adds what a query makes of the gradients of a slope and a sink.
func (g *AttentionGradient) distances(head int, q *GradientQuery) {
	if g.DSlopes == nil && g.DSinks == nil {
		return
	}
	_, ds, _, seen := g.row(q)
	sum, any := 0.0, false
	for j := range seen {
		if seen[j] {
			any = true
			sum -= float64(float64(ds[j]) * float64(float32(max(AlibiPosition(q.Edit.Position)-j, j-AlibiPosition(q.Edit.Position)))))
		}
	}
	if g.DSlopes != nil {
		g.DSlopes[head] += sum
	}
	if g.DSinks != nil && any {
		p := tile.GradientWeight(Log2Scale(*q.Edit.Sink), tile.SafeMax(q.Max), tile.Inverse(q.Sum))
		g.DSinks[head] -= float64(float32(p * float32(g.Scale*tile.Dot(q.DO, q.O))))
	}
}

func sameVector(x, y []float32) bool { return len(x) > 0 && len(y) > 0 && &x[0] == &y[0] }

// row returns the weights of a query, the gradients of its edited scores and of its scores, times the scale, and which
// keys count.
func (g *AttentionGradient) row(q *GradientQuery) (p, edited, ds []float32, seen []bool) {
	p, edited, ds, seen = make([]float32, len(g.K)), make([]float32, len(g.K)), make([]float32, len(g.K)), make([]bool, len(g.K))
	edit := q.Edit
	if edit == nil {
		edit = new(RowEdit)
	}
	delta, scale := float32(g.Scale*tile.Dot(q.DO, q.O)), g.Scale
	if g.Keep != 0 {
		scale = float32(scale * (1 / g.Keep))
	}
	for j := range g.K {
		seen[j] = q.Sum != 0 && (q.Sees == nil || q.Sees(j)) && !edit.hidden(j)
		if !seen[j] {
			continue
		}
		s := []float32{0}
		for c, x := range g.K[j] {
			s[0] = FMA(float32(q.Q[c]*Log2Scale(g.Scale)), x, s[0])
		}
		slope := edit.cap(s)
		edit.bias(s, j)
		p[j] = tile.GradientWeight(s[0], tile.SafeMax(q.Max), tile.Inverse(q.Sum))
		d := -delta
		if edit.drops(j) {
			edited[j], p[j] = float32(p[j]*d), 0
		} else {
			for c, x := range g.V[j] {
				d = FMA(float32(scale*q.DO[c]), x, d)
			}
			edited[j] = float32(p[j] * d)
		}
		if ds[j] = edited[j]; edit.SoftCap != 0 {
			ds[j] = float32(ds[j] * slope)
		}
	}
	return p, edited, ds, seen
}

// multiplyAdd adds a*x to sum, rounded once.
func multiplyAdd(sum []float32, a float32, x []float32) {
	for c := range sum {
		sum[c] = FMA(a, x[c], sum[c])
	}
}

// add adds x to sum.
func add(sum, x []float32) {
	for c := range sum {
		sum[c] += x[c]
	}
}

func clearRows(rows [][]float32) {
	for _, row := range rows {
		clear(row)
	}
}

// check panics if shapes differ.
func (g *AttentionGradient) check() {
	same := func(name string, got, want int) {
		if got != want {
			panic(fmt.Sprintf("attn: generic.AttentionGradient: %s has %d elements, want %d", name, got, want))
		}
	}
	same("V", len(g.V), len(g.K))
	for name, x := range map[string][]float64{"DSlopes": g.DSlopes, "DSinks": g.DSinks} {
		if x != nil {
			same(name, len(x), len(g.Queries))
		}
	}
	same("DK", len(g.DK), len(g.K))
	same("DV", len(g.DV), len(g.K))
	var dim, vdim int
	if len(g.K) > 0 {
		dim, vdim = len(g.K[0]), len(g.V[0])
	}
	for j := range g.K {
		same("a row of K", len(g.K[j]), dim)
		same("a row of DK", len(g.DK[j]), dim)
		same("a row of V", len(g.V[j]), vdim)
		same("a row of DV", len(g.DV[j]), vdim)
	}
	for _, head := range g.Queries {
		for i := range head {
			q := &head[i]
			same("DQ", len(q.DQ), len(q.Q))
			same("DO", len(q.DO), len(q.O))
			if len(g.K) > 0 {
				same("Q", len(q.Q), dim)
				same("O", len(q.O), vdim)
			}
			if g.DSlopes != nil && q.Edit == nil || g.DSinks != nil && (q.Edit == nil || q.Edit.Sink == nil) {
				panic("attn: generic.AttentionGradient: a query has no Edit, or no Sink, of which the gradient is asked for")
			}
			if q.Edit != nil && q.Edit.Drops != nil && q.Edit.Keep != g.Keep {
				panic(fmt.Sprintf("attn: generic.AttentionGradient: the Keep of an Edit is %g, want %g as for all", q.Edit.Keep, g.Keep))
			}
			if q.Edit != nil && (q.Edit.KeyScales != nil || q.Edit.ValueScales != nil) {
				panic("attn: generic.AttentionGradient: an Edit has KeyScales or ValueScales, want none")
			}
			if q.DBias != nil {
				same("DBias", len(q.DBias), len(g.K))
			}
			if q.Edit != nil && q.Edit.Bias != nil && len(q.Edit.Bias) < len(g.K) {
				same("Bias", len(q.Edit.Bias), len(g.K))
			}
		}
	}
}

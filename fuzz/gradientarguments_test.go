package fuzz

import (
	"math"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func FuzzGradientArguments(f *testing.F) { fuzzArguments(f, drawGradient) }

func drawGradient(t testing.TB, s *source) call {
	m := newMemory(t, s)
	batch, kvHeads, group := s.Int(1, 2), s.Int(1, 2), s.Int(1, 3)
	queries, keys, dim, vdim := s.Size(0, 80, 3, 80), s.Size(0, 150, 9, 40, 150), s.Size(1, 20, 9, 20), s.Size(1, 20, 9, 20)
	g := &kernel.Gradient{
		Q: m.newOperand(batch, kvHeads*group, queries, dim, false), K: m.newOperand(batch, kvHeads, keys, dim, false),
		V: m.newOperand(batch, kvHeads, keys, vdim, false), O: m.newOperand(batch, kvHeads*group, queries, vdim, false),
		DO: m.newOperand(batch, kvHeads*group, queries, vdim, false), Stats: m.operand(2 * batch * kvHeads * group * queries),
		DQ: m.newOperand(batch, kvHeads*group, queries, dim, true), DK: m.newOperand(batch, kvHeads, keys, dim, true),
		DV: m.newOperand(batch, kvHeads, keys, vdim, true), Add: s.Bool(),
	}
	o := drawOptions(s)
	opts := &o
	changes := []func(){s.change(&o.Workers), s.changeScale(&o.Scale), func() { opts = nil }, func() { g.DBias = []float32{1} }}
	all := [...]*kernel.Tensor{&g.Q, &g.K, &g.V, &g.O, &g.DO, &g.DQ, &g.DK, &g.DV}
	for i, x := range all {
		for _, f := range [...]*int{&x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride} {
			changes = append(changes, s.change(f))
		}
		changes = append(changes, m.changeData(&x.Data, &all[(i+1)%8].Data, &all[(i+3)%8].Data), func() { *x = kernel.Tensor{} })
	}
	changes = append(changes, m.changeData(&g.Stats, &g.DQ.Data, &g.Q.Data))
	s.spoil(changes...)
	if opts == nil {
		o = kernel.Options{}
	}

	c := call{memory: m, run: func() error { return kernel.AttentionGradient(g, opts) }, args: []any{*g, o}}
	q, qRows, ok1 := resolved(g.Q, false)
	k, kRows, ok2 := resolved(g.K, false)
	v, vRows, ok3 := resolved(g.V, false)
	out, outRows, ok4 := resolved(g.O, false)
	do, doRows, ok5 := resolved(g.DO, false)
	shape := func(x kernel.Tensor, heads, length, dim int) bool {
		return x.Batch == q.Batch && x.Heads == heads && x.Len == length && x.Dim == dim
	}
	c.legal = ok1 && ok2 && ok3 && ok4 && ok5 && legalOptions(o) && fits(q, k) && g.DBias == nil &&
		shape(v, k.Heads, k.Len, v.Dim) && shape(out, q.Heads, q.Len, v.Dim) && shape(do, q.Heads, q.Len, v.Dim) &&
		len(g.Stats) == 2*q.Batch*q.Heads*q.Len
	read := [][][]float32{qRows, kRows, vRows, outRows, doRows, {g.Stats}}
	results := make([][][]float32, 3)
	for i, x := range []struct{ t, like kernel.Tensor }{{g.DQ, q}, {g.DK, k}, {g.DV, v}} {
		if x.t.Len == 0 && len(x.t.Data) == 0 {
			continue // not asked for
		}
		d, rows, ok := resolved(x.t, true)
		c.legal = c.legal && ok && shape(d, x.like.Heads, x.like.Len, x.like.Dim) && apart(rows, read...)
		read, results[i] = append(read, rows), rows
	}
	c.expect = func() {
		scale := o.Scale
		if scale == 0 {
			scale = float32(1 / math.Sqrt(float64(q.Dim)))
		}
		group := q.Heads / k.Heads
		settle := func(rows [][]float32, n int, sums []float32) {
			if rows == nil {
				return
			}
			for c, x := range sums {
				if g.Add {
					x += rows[n][c]
				}
				rows[n][c] = x
			}
		}
		a := attention{q: q, k: k, opts: o}
		for head := range q.Batch * k.Heads {
			first := head * k.Len
			h := &generic.AttentionGradient{K: kRows[first:][:k.Len], V: vRows[first:][:k.Len], Scale: scale}
			for range k.Len {
				h.DK, h.DV = append(h.DK, make([]float32, k.Dim)), append(h.DV, make([]float32, v.Dim))
			}
			for i := range group {
				var list []generic.GradientQuery
				for j := range q.Len {
					n := (head*group+i)*q.Len + j
					list = append(list, generic.GradientQuery{
						Q: qRows[n], O: outRows[n], DO: doRows[n], Max: g.Stats[2*n], Sum: g.Stats[2*n+1], DQ: make([]float32, q.Dim),
						Sees: func(key int) bool { return key < a.visible(j) },
					})
				}
				h.Queries = append(h.Queries, list)
			}
			h.Compute()
			for i, list := range h.Queries {
				for j := range list {
					settle(results[0], (head*group+i)*q.Len+j, list[j].DQ)
				}
			}
			for j := range k.Len {
				settle(results[1], first+j, h.DK[j])
				settle(results[2], first+j, h.DV[j])
			}
		}
	}
	return c
}

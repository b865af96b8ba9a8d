package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// newGradient returns the operands of the gradient of a problem, after its forward call. What is written holds garbage.
func newGradient(t testing.TB, r *rand.Rand, p *problem, kind asmtest.Kind, lay func() layout) *Gradient {
	t.Helper()
	g := &Gradient{
		Q: p.q, K: p.k, V: p.v, O: p.dst, Stats: make([]float32, 2*p.q.Batch*p.q.Heads*p.q.Len),
		DO: newTensor(r, p.q.Batch, p.q.Heads, p.q.Len, p.v.Dim, lay(), kind),
		DQ: newTensor(r, p.q.Batch, p.q.Heads, p.q.Len, p.q.Dim, lay(), asmtest.Normal),
		DK: newTensor(r, p.k.Batch, p.k.Heads, p.k.Len, p.k.Dim, lay(), asmtest.Normal),
		DV: newTensor(r, p.v.Batch, p.v.Heads, p.v.Len, p.v.Dim, lay(), asmtest.Normal),
	}
	o := p.o
	o.Stats = g.Stats
	require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &o), "%v", p)
	return g
}

// wants returns DQ, DK and DV by the contract: those of package generic for each KV head of each sequence.
func (g *Gradient) wants(p *problem) (dq, dk, dv []float32) {
	heads, bound := g.contracts(p)
	for _, h := range heads {
		h.Compute()
	}
	return slices.Concat(bound[0]...), slices.Concat(bound[1]...), slices.Concat(bound[2]...)
}

// contracts returns the KV heads of all sequences, and the rows of DQ, DK and DV that they compute.
func (g *Gradient) contracts(p *problem) (heads []*generic.AttentionGradient, results [3][][]float32) {
	heads, results, _ = g.contractsOfEdits(p)
	return heads, results
}

// editGradients are the sums of the gradients of biases, and those of slopes and sinks times the scale.
type editGradients struct {
	bias          []float32
	slopes, sinks []float64
}

func (g *Gradient) contractsOfEdits(p *problem) (heads []*generic.AttentionGradient, results [3][][]float32, edits editGradients) {
	if p.o.Bias != nil {
		edits.bias = make([]float32, len(p.o.Bias.Data))
	}
	if p.o.ALiBi != nil {
		edits.slopes = make([]float64, g.Q.Heads)
	}
	if p.o.Sinks != nil {
		edits.sinks = make([]float64, g.Q.Heads)
	}
	for i, x := range []Tensor{g.Q, g.K, g.V} {
		for range x.Batch * x.Heads * x.Len {
			results[i] = append(results[i], make([]float32, x.Dim))
		}
	}
	type sequence struct{ batch, from, to, queryFrom, queryTo int }
	var all []sequence
	if o := p.o.QueryOffsets; o != nil {
		for i := range len(o) - 1 {
			all = append(all, sequence{0, p.o.KeyOffsets[i], p.o.KeyOffsets[i+1], o[i], o[i+1]})
		}
	} else {
		for b := range g.Q.Batch {
			s := sequence{b, 0, g.K.Len, 0, g.Q.Len}
			if p.o.KeyLen != nil {
				s.to = p.o.KeyLen[b]
			}
			if p.o.QueryLen != nil {
				s.queryTo = p.o.QueryLen[b]
			}
			all = append(all, s)
		}
	}
	q, k, v, out, do := rows(g.Q), rows(g.K), rows(g.V), rows(g.O), rows(g.DO)
	views := p.views()
	group := g.Q.Heads / g.K.Heads
	for _, s := range all {
		for kv := range g.K.Heads {
			first := (s.batch*g.K.Heads + kv) * g.K.Len
			h := &generic.AttentionGradient{
				K: k[first+s.from : first+s.to], V: v[first+s.from : first+s.to],
				DK: results[1][first+s.from : first+s.to], DV: results[2][first+s.from : first+s.to], Scale: p.scale(),
			}
			if p.o.Dropout != nil {
				h.Keep = generic.Dropout(*p.o.Dropout).Keep()
			}
			if p.o.ALiBi != nil {
				h.DSlopes = edits.slopes[kv*group:][:group]
			}
			if p.o.Sinks != nil {
				h.DSinks = edits.sinks[kv*group:][:group]
			}
			for head := kv * group; head < (kv+1)*group; head++ {
				var queries []generic.GradientQuery
				for i := s.queryFrom; i < s.queryTo; i++ {
					n := (s.batch*g.Q.Heads+head)*g.Q.Len + i
					view := views[n]
					queries = append(queries, generic.GradientQuery{
						Q: q[n], O: out[n], DO: do[n], Max: g.Stats[2*n], Sum: g.Stats[2*n+1], Edit: p.edit(&view),
						Sees: func(key int) bool { return view.sees[key] }, DQ: results[0][n],
					})
					if b := p.o.Bias; b != nil {
						queries[len(queries)-1].DBias = edits.bias[s.batch*b.BatchStride+head*b.HeadStride+i*b.QueryStride+s.from:][:s.to-s.from]
					}
				}
				h.Queries = append(h.Queries, queries)
			}
			heads = append(heads, h)
		}
	}
	return heads, results, edits
}

// gradient returns what a call with some workers computes, in memory of its own that held NaN, or what to add to.
func (g *Gradient) compute(t testing.TB, p *problem, workers int) (dq, dk, dv []float32) {
	t.Helper()
	x := *g
	for _, d := range []*Tensor{&x.DQ, &x.DK, &x.DV} {
		if d.Data = slices.Clone(d.Data); !g.Add {
			for i := range d.Data {
				d.Data[i] = nan
			}
		}
	}
	o := p.o
	o.Workers = workers
	require.NoError(t, AttentionGradient(&x, &o), "%v", p)
	return flat(x.DQ), flat(x.DK), flat(x.DV)
}

// check holds a call to the contract.
func (g *Gradient) check(t testing.TB, p *problem, workers ...int) {
	t.Helper()
	dq, dk, dv := g.wants(p)
	for _, n := range workers {
		dq2, dk2, dv2 := g.compute(t, p, n)
		asmtest.Equal(t, dv, dv2, "DV with %d workers of %v", n, p)
		asmtest.Equal(t, dk, dk2, "DK with %d workers of %v", n, p)
		asmtest.Equal(t, dq, dq2, "DQ with %d workers of %v", n, p)
	}
}

// Whatever hides keys and edits scores, in any combination, layout and number of workers, gradients have the bits of
// the contract.
func TestGradientRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 60))
	for n := range trials(120) {
		kvHeads := 1 + r.IntN(2)
		s := shape{1 + r.IntN(2), kvHeads * (1 + r.IntN(3)), kvHeads, 1 + r.IntN(150), 1 + r.IntN(pick(r, 20, 150, 2*edge)), 1 + r.IntN(40), 1 + r.IntN(40)}
		o := randomOptions(r, s)
		if n%4 == 0 {
			o = Options{Causal: true}
			s.dim, s.vdim = 16*(1+r.IntN(4)), 16*(1+r.IntN(4))
		}
		kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
		lay := func() layout { return anyLayout(r) }
		p := newProblem(r, s, lay, kind, o)
		newGradient(t, r, p, kind, lay).check(t, p, 1, 2, 1+r.IntN(5))
	}
}

// Many workers on many tiles of keys, which wait for each other.
func TestGradientWorkers(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 60))
	for _, o := range []Options{{}, {Causal: true}, {Window: &Window{100, 0}}, {Window: &Window{edge, edge}}} {
		s := shape{1, 2, 1, 5 * edge / 2, 3*edge + 9, 16, 20}
		if trials(8) == 1 { // where everything is slow
			s.lq, s.lk, s.dim, s.vdim = edge/2, edge+9, 4, 3
		}
		p := newProblem(r, s, packedLayout, asmtest.Normal, o)
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		dq, dk, dv := g.compute(t, p, 1)
		for range trials(16) {
			for _, workers := range []int{2, 3, 8, 0} {
				dq2, dk2, dv2 := g.compute(t, p, workers)
				asmtest.Equal(t, dq, dq2, "DQ with %d workers", workers)
				asmtest.Equal(t, dk, dk2, "DK with %d workers", workers)
				asmtest.Equal(t, dv, dv2, "DV with %d workers", workers)
			}
		}
	}
}

// A worker that panics has not added to dQ what others wait for: they end, and the panic reaches the caller, here that of
// memory that may not be read. The next call works.
func TestGradientPanics(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("no fences")
	}
	r := rand.New(rand.NewPCG(17, 60))
	// The values of the first tile may not be touched. Scores come before, and take so long that whoever has the other tile, of
	// one key, waits.
	fences := asmtest.NewGuardedRows(t, 2)
	page := fences.Stride / 2
	p := newProblem(r, shape{1, 1, 1, 70, tile.GradientKeys + 1, 512, page / tile.GradientKeys}, packedLayout, asmtest.Normal, Options{})
	g := newGradient(t, r, p, asmtest.Normal, packedLayout)
	dq, dk, dv := g.compute(t, p, 1)
	harmed := *g
	harmed.V.Data = fences.Head(2, page)[page:]
	copy(harmed.V.Data[page:], g.V.Data[page:])
	for range trials(20) {
		caught := make(chan any)
		go func() {
			defer func() { caught <- recover() }()
			debug.SetPanicOnFault(true) // of this goroutine
			AttentionGradient(&harmed, &Options{Workers: 2})
		}()
		select {
		case value := <-caught:
			var fault runtime.Error
			require.ErrorAs(t, value.(error), &fault)
		case <-time.After(time.Minute):
			t.Fatal("workers wait for one that has panicked")
		}
		dq2, dk2, dv2 := g.compute(t, p, 3)
		asmtest.Equal(t, dq, dq2, "DQ after a panic")
		asmtest.Equal(t, dk, dk2, "DK after a panic")
		asmtest.Equal(t, dv, dv2, "DV after a panic")
	}
}

// Gradients are within the rigorous bounds of their errors.
func TestGradientBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 60))
	trusted := 0
	for range trials(24) {
		s := shape{1, 4, 2, 1 + r.IntN(100), 1 + r.IntN(edge+20), 1 + r.IntN(70), 1 + r.IntN(70)}
		o := randomOptions(r, s)
		p := newProblem(r, s, packedLayout, asmtest.Normal, o)
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		dq, dk, dv := g.compute(t, p, 2)
		heads, results := g.contracts(p)
		for i, got := range [][]float32{dq, dk, dv} {
			for n, row := range results[i] {
				copy(row, got[n*len(row):]) // where the contract's head looks for them
			}
		}
		for _, h := range heads {
			x := fuzz.Gradient(h)
			if !x.Trusted {
				continue
			}
			trusted++
			for j := range h.K {
				within(t, x.DK[j], x.DKBound[j], h.DK[j], fmt.Sprintf("dK of key %d of %v", j, p))
				within(t, x.DV[j], x.DVBound[j], h.DV[j], fmt.Sprintf("dV of key %d of %v", j, p))
			}
			for n, head := range h.Queries {
				for i := range head {
					within(t, x.DQ[n][i], x.DQBound[n][i], head[i].DQ, fmt.Sprintf("dQ of query %d of %v", i, p))
				}
			}
		}
	}
	require.Positive(t, trusted)
}

// What is not asked for is not computed, and changes nothing else. With Add each element gets one addition.
func TestGradientParts(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 60))
	for _, dim := range []int{16, 21} {
		s := shape{2, 4, 2, 70, edge + 5, dim, 48 - dim}
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Causal: true, KeyLen: []int{edge, 9}, SoftCap: 3})
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		dq, dk, dv := g.compute(t, p, 1)
		for some := range 8 {
			x := *g
			for i, d := range []*Tensor{&x.DQ, &x.DK, &x.DV} {
				if some>>i&1 == 0 {
					*d = Tensor{}
				}
			}
			dq2, dk2, dv2 := x.compute(t, p, 1+some%3)
			for i, want := range [][]float32{dq, dk, dv} {
				if some>>i&1 != 0 {
					asmtest.Equal(t, want, [][]float32{dq2, dk2, dv2}[i], "gradient %d of %b", i, some)
				}
			}
		}
		x := *g
		x.Add = true
		dq2, dk2, dv2 := x.compute(t, p, 3)
		for i, want := range [][]float32{dq, dk, dv} {
			for n, before := range flat([]Tensor{g.DQ, g.DK, g.DV}[i]) {
				want[n] += before
			}
			asmtest.Equal(t, want, [][]float32{dq2, dk2, dv2}[i], "gradient %d, added", i)
		}
	}
}

// A NaN or an infinity reaches the gradients of what sees it or is seen by it, and no others: these keep their bits.
func TestGradientHidden(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 60))
	for range trials(60) {
		s := shape{1, 4, 2, 1 + r.IntN(100), 1 + r.IntN(2*edge), 1 + r.IntN(24), 1 + r.IntN(24)}
		p := newProblem(r, s, packedLayout, asmtest.Normal, randomOptions(r, s))
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		dq, dk, dv := g.compute(t, p, 1)
		bad, views := pick(r, nan, inf, -inf), p.views()
		var harmed func(v *rowView, key int) bool // of a query and a row of k
		switch n := r.IntN(len(views)); r.IntN(4) {
		case 0: // of one row of dO
			row := rows(g.DO)[n]
			row[r.IntN(len(row))] = bad
			harmed = func(v *rowView, _ int) bool { return v.h == views[n].h && v.i == views[n].i }
		case 1: // of one query, in the forward call too
			rows(p.q)[n][r.IntN(s.dim)] = nan
			harmed = func(v *rowView, _ int) bool { return v.h == views[n].h && v.i == views[n].i }
		default: // of some keys and values, of all heads
			from := r.IntN(s.lk)
			to := min(s.lk, from+1+r.IntN(20))
			for head := range s.kvHeads {
				for j := from; j < to; j++ {
					rows(p.v)[head*s.lk+j][0] = bad
					rows(p.k)[head*s.lk+j][s.dim-1] = bad
				}
			}
			harmed = func(_ *rowView, key int) bool { return key >= from && key < to }
		}
		g2 := newGradient(t, r, p, asmtest.Normal, packedLayout)
		g2.DO = g.DO
		g2.check(t, p, 1, 2)
		dq2, dk2, dv2 := g2.compute(t, p, 1)
		// Keys that a harmed query sees, or harmed ones that some query sees, and the queries.
		spoilt := make([]bool, s.kvHeads*s.lk)
		group := s.heads / s.kvHeads
		for n := range views {
			v := &views[n]
			touched := false
			for j, sees := range v.sees {
				touched = touched || sees && harmed(v, v.from+j)
			}
			if !touched {
				asmtest.Equal(t, dq[n*s.dim:][:s.dim], dq2[n*s.dim:][:s.dim], "dQ of row %+v of %v", *v, p)
				continue
			}
			for j, sees := range v.sees {
				spoilt[v.h/group*s.lk+v.from+j] = spoilt[v.h/group*s.lk+v.from+j] || sees
			}
		}
		for n, is := range spoilt {
			if !is {
				asmtest.Equal(t, dk[n*s.dim:][:s.dim], dk2[n*s.dim:][:s.dim], "dK of key %d of %v", n, p)
				asmtest.Equal(t, dv[n*s.vdim:][:s.vdim], dv2[n*s.vdim:][:s.vdim], "dV of key %d of %v", n, p)
			}
		}
	}
}

// Gradients of biases, whatever broadcasts, of slopes and of sinks have the bits of the contract, alone or with
// others, and with Add.
func TestGradientEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 60))
	for n := range trials(80) {
		kvHeads := 1 + r.IntN(2)
		s := shape{1 + r.IntN(2), kvHeads * (1 + r.IntN(2)), kvHeads, 1 + r.IntN(140), 1 + r.IntN(pick(r, 40, 3*edge/2)), 1 + r.IntN(20), 1 + r.IntN(20)}
		o := randomOptions(r, s)
		o.ALiBi, o.Sinks = asmtest.Fill(r, make([]float32, s.heads), asmtest.Normal), randomSinks(r, s.heads)
		o.Bias = &Bias{}
		size := s.lk + r.IntN(3)
		for i, d := range []struct {
			stride *int
			size   int
		}{{&o.Bias.QueryStride, s.lq}, {&o.Bias.HeadStride, s.heads}, {&o.Bias.BatchStride, s.batch}} {
			if n>>i&1 == 0 {
				*d.stride = size
				size *= d.size
			}
		}
		o.Bias.Data = asmtest.Fill(r, make([]float32, size), asmtest.Normal)
		for i := range o.Bias.Data {
			if r.IntN(9) == 0 {
				o.Bias.Data[i] = -inf
			}
		}
		p := newProblem(r, s, packedLayout, pick(r, asmtest.Normal, asmtest.WithEdges), o)
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		heads, _, edits := g.contractsOfEdits(p)
		for _, h := range heads {
			h.Compute()
		}
		settled := func(sums []float64) (x []float32) {
			for _, sum := range sums {
				x = append(x, float32(sum/float64(p.scale())))
			}
			return x
		}
		wants := [][]float32{edits.bias, settled(edits.slopes), settled(edits.sinks)}
		covered := make([]bool, size)
		for b := range s.batch {
			for h := range s.heads {
				for i := range s.lq {
					for j := range s.lk {
						covered[b*o.Bias.BatchStride+h*o.Bias.HeadStride+i*o.Bias.QueryStride+j] = true
					}
				}
			}
		}
		for workers := range 4 {
			x := *g
			x.Add = r.IntN(2) == 0
			some := r.IntN(4)
			if some == 0 {
				x.DQ, x.DK, x.DV = Tensor{}, Tensor{}, Tensor{}
			}
			for i, d := range []*[]float32{&x.DBias, &x.DALiBi, &x.DSinks} {
				if some == i+1 {
					continue // not asked for
				}
				*d = asmtest.Fill(r, make([]float32, len(wants[i])), asmtest.Normal)
			}
			o := p.o
			o.Workers = workers
			before := [][]float32{slices.Clone(x.DBias), slices.Clone(x.DALiBi), slices.Clone(x.DSinks)}
			require.NoError(t, AttentionGradient(&x, &o), "%v", p)
			for i, got := range [][]float32{x.DBias, x.DALiBi, x.DSinks} {
				if got == nil {
					continue
				}
				want := slices.Clone(wants[i])
				for j := range want {
					if x.Add {
						want[j] += before[i][j]
					}
					if i == 0 && !covered[j] {
						want[j] = before[i][j]
					}
				}
				asmtest.Equal(t, want, got, "gradient of edit %d with %d workers, add %v, of %v", i, workers, x.Add, p)
			}
		}
	}
}

// Heads share a bias of keys: those of packed sequences wait for those of their own sequence alone, and queries in a window
// see keys from the middle of a tile on.
func TestGradientKeyBias(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 60))
	s := shape{1, 4, 4, 60, 3 * edge, 8, 8}
	for _, o := range []Options{{QueryOffsets: []int{0, 20, 60}, KeyOffsets: []int{0, edge + 3, 3 * edge}}, {Window: &Window{30, 5}}} {
		o.Bias = &Bias{Data: asmtest.Fill(r, make([]float32, 3*edge), asmtest.Normal)}
		p := newProblem(r, s, packedLayout, asmtest.Normal, o)
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		heads, _, edits := g.contractsOfEdits(p)
		for _, h := range heads {
			h.Compute()
		}
		for workers := range 4 {
			g.DBias, p.o.Workers = make([]float32, 3*edge), workers
			require.NoError(t, AttentionGradient(g, &p.o))
			asmtest.Equal(t, edits.bias, g.DBias, "%d workers, %v", workers, p)
		}
	}
}

// Nothing outside of the operands is touched.
func TestGradientFences(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 60))
	var memory [9]*fenced
	for i := range memory {
		memory[i] = newFenced(t)
	}
	for range trials(60) {
		s := shape{1 + r.IntN(2), 2, 1 + r.IntN(2), 1 + r.IntN(80), 1 + r.IntN(150), 1 + r.IntN(40), 1 + r.IntN(40)}
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Causal: r.IntN(2) == 0})
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		dq, dk, dv := g.wants(p)
		f := *g
		for i, x := range []*Tensor{&f.Q, &f.K, &f.V, &f.O, &f.DO, &f.DQ, &f.DK, &f.DV} {
			*x = memory[i].tensor(r, *x)
		}
		f.Stats = memory[8].vector(r, g.Stats)
		if f.Add = r.IntN(2) == 0; f.Add {
			for i, x := range []Tensor{f.DQ, f.DK, f.DV} {
				want := [][]float32{dq, dk, dv}[i]
				for n, before := range flat(x) {
					want[n] += before
				}
			}
		}
		require.NoError(t, AttentionGradient(&f, &Options{Causal: p.o.Causal, Workers: 1 + r.IntN(2)}))
		asmtest.Equal(t, dq, flat(f.DQ), "DQ of %v", p)
		asmtest.Equal(t, dk, flat(f.DK), "DK of %v", p)
		asmtest.Equal(t, dv, flat(f.DV), "DV of %v", p)
	}
}

// Bad arguments are refused by name, before anything is written.
func TestBadGradient(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 60))
	p := newProblem(r, shape{2, 4, 2, 5, 9, 8, 6}, packedLayout, asmtest.Normal, Options{})
	good := newGradient(t, r, p, asmtest.Normal, func() layout { return tight })
	bias := &Bias{Data: make([]float32, 9)}
	for _, c := range []struct {
		o     *Options
		spoil func(g *Gradient)
		want  []string
	}{
		{nil, func(g *Gradient) { g.Q.Dim = 0 }, []string{"Gradient.Q"}},
		{nil, func(g *Gradient) { g.K = Tensor{Data: make([]float32, 2*3*9*8), Batch: 2, Heads: 3, Len: 9, Dim: 8} }, []string{"Gradient.K.Heads is 3", "divisor of 4"}},
		{nil, func(g *Gradient) { g.K = Tensor{Data: make([]float32, 2*2*9*7), Batch: 2, Heads: 2, Len: 9, Dim: 7} }, []string{"Gradient.K.Dim is 7", "8"}},
		{nil, func(g *Gradient) { g.K = Tensor{Data: make([]float32, 2*9*8), Batch: 1, Heads: 2, Len: 9, Dim: 8} }, []string{"Gradient.K.Batch is 1", "2"}},
		{nil, func(g *Gradient) { g.V = Tensor{Data: make([]float32, 2*2*8*6), Batch: 2, Heads: 2, Len: 8, Dim: 6} }, []string{"Gradient.V.Len is 8", "want 9 as of Gradient.K"}},
		{nil, func(g *Gradient) { g.O = g.Q }, []string{"Gradient.O.Dim is 8", "want 6 as of Gradient.V"}},
		{nil, func(g *Gradient) { g.DO = g.V }, []string{"Gradient.DO.Heads is 2", "want 4 as of Gradient.Q"}},
		{nil, func(g *Gradient) { g.DQ = g.DK }, []string{"Gradient.DQ.Heads is 2", "want 4 as of Gradient.Q"}},
		{nil, func(g *Gradient) { g.DV = g.DK }, []string{"Gradient.DV.Dim is 8", "want 6 as of Gradient.V"}},
		{nil, func(g *Gradient) { g.DK = g.K }, []string{"Gradient.DK.Data", "Gradient.K.Data"}},
		{nil, func(g *Gradient) { g.DQ = g.Q }, []string{"Gradient.DQ.Data", "Gradient.Q.Data"}},
		{nil, func(g *Gradient) { g.DV = g.V }, []string{"Gradient.DV.Data", "Gradient.V.Data"}},
		{nil, func(g *Gradient) { g.DK.Data = g.DQ.Data[:len(g.DK.Data)] }, []string{"Gradient.DK.Data", "Gradient.DQ.Data"}},
		{nil, func(g *Gradient) { g.DK.HeadStride, g.DK.LenStride, g.DK.BatchStride = 0, 8, 72 }, []string{"Gradient.DK.HeadStride is 0"}},
		{nil, func(g *Gradient) { g.Stats = g.Stats[1:] }, []string{"Gradient.Stats has 79", "[2][4][5][2]"}},
		{nil, func(g *Gradient) { g.Stats = nil }, []string{"Gradient.Stats has 0"}},
		{nil, func(g *Gradient) { g.Stats = g.DQ.Data[:80] }, []string{"Gradient.DQ.Data", "Gradient.Stats"}},
		{nil, func(g *Gradient) { g.DBias = []float32{1} }, []string{"Gradient.DBias has 1", "want 0"}},
		{&Options{ALiBi: make([]float32, 4)}, func(g *Gradient) { g.DALiBi = []float32{} }, []string{"Gradient.DALiBi has 0", "want 4"}},
		{nil, func(g *Gradient) { g.DSinks = []float32{1, 2} }, []string{"Gradient.DSinks has 2", "want 0"}},
		{&Options{Bias: &Bias{Data: make([]float32, 99), HeadStride: 8}}, func(g *Gradient) { g.DBias = make([]float32, 99) }, []string{"Gradient.DBias", "overlap", "HeadStride 8"}},
		{&Options{Bias: &Bias{Data: make([]float32, 9)}, Scale: 1e-44}, func(g *Gradient) { g.DBias = make([]float32, 9) }, []string{"Options.Scale is 1e-44", "DBias"}},
		{&Options{Bias: &Bias{Data: make([]float32, 9)}}, func(g *Gradient) { g.DBias = g.DQ.Data[:9] }, []string{"Gradient.DBias", "Gradient.DQ.Data"}},
		{&Options{ALiBi: make([]float32, 4), Sinks: make([]float32, 4)}, func(g *Gradient) { g.DALiBi = make([]float32, 4); g.DSinks = g.DALiBi }, []string{"Gradient.DSinks", "Gradient.DALiBi"}},
		{&Options{Start: []int{}}, func(*Gradient) {}, []string{"Start", "0 elements"}},
		{&Options{Workers: -1}, func(*Gradient) {}, []string{"Workers is -1"}},
		{&Options{Bias: bias}, func(g *Gradient) { bias.Data = g.DK.Data }, []string{"Gradient.DK.Data", "Bias"}},
	} {
		g := *good
		c.spoil(&g)
		before := [][]float32{slices.Clone(g.DQ.Data), slices.Clone(g.DK.Data), slices.Clone(g.DV.Data)}
		err := AttentionGradient(&g, c.o)
		require.Error(t, err, "%v", c.want)
		for _, part := range append(c.want, "attn: ") {
			require.True(t, strings.Contains(err.Error(), part), "%q of %q", part, err)
		}
		for i, x := range [][]float32{g.DQ.Data, g.DK.Data, g.DV.Data} {
			asmtest.Equal(t, before[i], x, "after %v", err)
		}
	}
	require.ErrorContains(t, AttentionGradient(nil, nil), "attn: the *Gradient is nil")
	// Gradients of edits that are empty are not asked for.
	empty := *good
	empty.DBias, empty.DALiBi, empty.DSinks = []float32{}, []float32{}, []float32{}
	require.NoError(t, AttentionGradient(&empty, nil))
	// Len and Stats of the options do not count, and no rows are no error.
	require.NoError(t, AttentionGradient(good, &Options{LSE: []float32{1}, Stats: []float32{1}}))
	require.NoError(t, AttentionGradient(&Gradient{}, nil))
}

// Calls on one goroutine do not allocate, once their memory is there, and keep no more than a few tiles.
func TestGradientAllocations(t *testing.T) {
	if asmtest.Race {
		t.Skip("the race detector allocates")
	}
	r := rand.New(rand.NewPCG(8, 60))
	for _, o := range []Options{{Workers: 1}, {Workers: 1, Causal: true, SoftCap: 4}} {
		p := newProblem(r, shape{1, 2, 1, 150, 300, 16, 32}, packedLayout, asmtest.Normal, o)
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		require.NoError(t, AttentionGradient(g, &p.o))
		require.Zero(t, testing.AllocsPerRun(20, func() { _ = AttentionGradient(g, &p.o) }), "%v", o)
	}
}

// A weight that two calls share out over their queries: what a training step with batches in parts does.
func TestGradientOfParts(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 60))
	p := newProblem(r, shape{2, 2, 2, 40, 40, 16, 16}, packedLayout, asmtest.Normal, Options{Causal: true})
	g := newGradient(t, r, p, asmtest.Normal, packedLayout)
	dq, dk, dv := g.compute(t, p, 1)
	for b := range 2 {
		one := &problem{
			dst: view(p.dst, b, 1, 0, 2, 0, 40), q: view(p.q, b, 1, 0, 2, 0, 40), k: view(p.k, b, 1, 0, 2, 0, 40), v: view(p.v, b, 1, 0, 2, 0, 40), o: p.o,
		}
		h := newGradient(t, r, one, asmtest.Normal, packedLayout)
		h.DO = view(g.DO, b, 1, 0, 2, 0, 40)
		dq2, dk2, dv2 := h.compute(t, one, 2)
		n := len(dq2)
		asmtest.Equal(t, dq[b*n:][:n], dq2, "dQ of member %d", b)
		asmtest.Equal(t, dk[b*n:][:n], dk2, "dK of member %d", b)
		asmtest.Equal(t, dv[b*n:][:n], dv2, "dV of member %d", b)
	}
}

// gradientCalls returns calls for the tests of all calls.
func gradientCalls(kind asmtest.Kind) (all []call) {
	r := rand.New(rand.NewPCG(10, 60))
	for _, c := range []struct {
		name string
		s    shape
		o    Options
	}{
		{"full", shape{1, 4, 2, 130, 300, 32, 16}, Options{}},
		{"causal, odd dims", shape{2, 2, 2, 140, 140, 20, 9}, Options{Causal: true}},
		{"edits", shape{1, 4, 2, 70, 300, 16, 48}, Options{SoftCap: 1.5, ALiBi: []float32{0.25, 0.0625, 0.015625, -0.125}, Bias: &Bias{Data: make([]float32, 300)}}},
	} {
		p := newProblem(r, c.s, packedLayout, kind, c.o)
		if b := p.o.Bias; b != nil {
			asmtest.Fill(r, b.Data, kind)
			b.Data[7] = -inf
		}
		n := [...]int{len(flat(p.q)), len(flat(p.k)), len(flat(p.v))}
		out := make([]float32, n[0]+n[1]+n[2])
		g := &Gradient{
			Q: p.q, K: p.k, V: p.v, O: p.dst, DO: newTensor(r, c.s.batch, c.s.heads, c.s.lq, c.s.vdim, tight, kind),
			DQ: p.q, DK: p.k, DV: p.v, Stats: make([]float32, 2*c.s.batch*c.s.heads*c.s.lq),
		}
		g.DQ.Data, g.DK.Data, g.DV.Data = out[:n[0]], out[n[0]:][:n[1]], out[n[0]+n[1]:]
		all = append(all, call{"AttentionGradient: " + c.name, out, func(workers int) error {
			o := p.o
			o.Workers, o.Stats = workers, g.Stats
			if err := Attention(g.O, g.Q, g.K, g.V, &o); err != nil {
				return err
			}
			return AttentionGradient(g, &o)
		}})
	}
	return all
}

// trainingCalls are gradients through dropout, with those of all edits, and those of a layer.
func trainingCalls(kind asmtest.Kind) []call {
	r := rand.New(rand.NewPCG(14, 60))
	drop := &Dropout{P: 0.25, Seed: 1, Offset: 2}
	p := newProblem(r, shape{2, 4, 2, 70, 300, 16, 32}, packedLayout, kind, Options{
		SoftCap: 1.5, ALiBi: []float32{0.25, 0.0625, 0.015625, -0.125}, Sinks: []float32{1, -1, 0.5, 2}, Causal: true,
		Bias: &Bias{Data: asmtest.Fill(r, make([]float32, 4*300), kind), HeadStride: 300}, Dropout: drop,
	})
	g := &Gradient{
		Q: p.q, K: p.k, V: p.v, O: p.dst, DO: newTensor(r, 2, 4, 70, 32, tight, kind), DQ: p.q, DK: p.k, DV: p.v,
		Stats: make([]float32, 2*2*4*70),
	}
	n := [...]int{len(p.q.Data), len(p.k.Data), len(p.v.Data), len(p.o.Bias.Data), 4, 4}
	out, at := make([]float32, n[0]+n[1]+n[2]+n[3]+n[4]+n[5]), 0
	for i, x := range [...]*[]float32{&g.DQ.Data, &g.DK.Data, &g.DV.Data, &g.DBias, &g.DALiBi, &g.DSinks} {
		*x = out[at:][:n[i]:n[i]]
		at += n[i]
	}
	dropped := call{"AttentionGradient: dropout", out, func(workers int) error {
		o := p.o
		o.Workers, o.Stats = workers, g.Stats
		if err := Attention(g.O, g.Q, g.K, g.V, &o); err != nil {
			return err
		}
		return AttentionGradient(g, &o)
	}}

	l := newLayer(r, 24, 4, 2, 8, 12, 20, true, kind)
	l.Rotary = NewRotaryTables(70, 8, 100, false)
	tokens, dst, ddst, dx := newMatrix(r, 70, 24, 24, kind), newMatrix(r, 70, 20, 20, kind), newMatrix(r, 70, 20, 20, kind), newMatrix(r, 70, 24, 24, kind)
	start := newGradientLayer(rand.New(rand.NewPCG(15, 60)), l, [weights]Matrix{l.WQ, l.WK, l.WV, l.WO}, false)
	grad, learned := copyOf(start), make([]float32, len(dx.Data)+len(all(start)))
	parts := func(g *SelfAttention) [][]float32 {
		return [][]float32{g.WQ.Data, g.WK.Data, g.WV.Data, g.WO.Data, g.BQ, g.BK, g.BV, g.BO}
	}
	from, to := parts(start), parts(grad)
	for _, x := range from {
		asmtest.Fill(r, x, kind) // what is added to
	}
	var tape Tape
	o := &Options{Causal: true, Start: []int{0}, Dropout: drop}
	return []call{dropped, {"SelfAttention.Backward", learned, func(workers int) error {
		o.Workers = workers
		if err := l.ForwardTape(dst, tokens, &tape, o); err != nil {
			return err
		}
		for i, x := range from {
			copy(to[i], x)
		}
		if err := l.Backward(grad, dx, ddst, &tape); err != nil {
			return err
		}
		at := copy(learned, dx.Data)
		for _, x := range to {
			at += copy(learned[at:], x)
		}
		return nil
	}}}
}

// Gradients need memory for a number a row, and none for scores: four times as many queries and keys take four times as little.
func TestGradientMemory(t *testing.T) {
	if asmtest.Race {
		t.Skip("the race detector allocates")
	}
	const heads, few, many = 2, 512, 2048
	used := func(n int, o Options) (bytes uint64) {
		r := rand.New(rand.NewPCG(16, 60))
		p := newProblem(r, shape{1, heads, heads, n, n, 16, 16}, packedLayout, asmtest.Normal, o)
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		for range 2 { // what pools hold of other calls
			runtime.GC()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, AttentionGradient(g, &p.o))
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, o := range []Options{{Workers: 1}, {Workers: 2, Causal: true, Dropout: &Dropout{P: 0.5}}} {
		a, b := used(few, o), used(many, o)
		t.Logf("%d queries and keys: %d bytes, %d: %d", few, a, many, b)
		require.Less(t, b, a+4*heads*(many-few)+1<<19, "a number a row, and the tiles of a worker that the shorter call may not have had")

	}
}

// The gradient of a softmax has the bits of the contract, also in place, and is that of small differences.
func TestSoftmaxGradient(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 60))
	f := newFenced(t)
	for _, n := range []int{0, 1, 2, 15, 16, 17, 63, 64, 65, 300, 4095, 4096, 4097, 9000} {
		for kind := range asmtest.Kinds {
			y, dy := asmtest.Fill(r, make([]float32, n), kind), asmtest.Fill(r, make([]float32, n), kind)
			want := make([]float32, n)
			generic.SoftmaxGradient(want, y, dy)
			dx := f.vector(r, make([]float32, n))
			SoftmaxGradient(dx, y, dy)
			asmtest.Equal(t, want, dx, "n=%d kind=%d", n, kind)
			inPlace := slices.Clone(y)
			SoftmaxGradient(inPlace, inPlace, dy)
			asmtest.Equal(t, want, inPlace, "n=%d kind=%d, dx is y", n, kind)
			SoftmaxGradient(dy, y, dy)
			asmtest.Equal(t, want, dy, "n=%d kind=%d, dx is dy", n, kind)
		}
	}
	x, dy, y, dx := asmtest.Fill(r, make([]float32, 20), asmtest.Normal), asmtest.Fill(r, make([]float32, 20), asmtest.Normal), make([]float32, 20), make([]float32, 20)
	loss := func(x []float32) (sum float64) {
		z, mix := 0.0, 0.0
		for i, v := range x {
			z += math.Exp(float64(v))
			mix += float64(math.Exp(float64(v)) * float64(dy[i]))
		}
		return mix / z
	}
	Softmax(y, x)
	SoftmaxGradient(dx, y, dy)
	for i := range x {
		const h = 0x1p-8
		moved := slices.Clone(x)
		moved[i] += h
		up, hi := loss(moved), moved[i]
		moved[i] = x[i] - h
		down, lo := loss(moved), moved[i]
		require.InDelta(t, (up-down)/(float64(hi)-float64(lo)), float64(dx[i]), 1e-5, "element %d", i)
	}
	require.PanicsWithValue(t, "attn: SoftmaxGradient: dx has 2 elements, y 2 and dy 3", func() { SoftmaxGradient(x[:2], y[:2], dy[:3]) })
	require.PanicsWithValue(t, "attn: SoftmaxGradient: dx overlaps y without being it", func() { SoftmaxGradient(x[1:3], x[:2], dy[:2]) })
	require.PanicsWithValue(t, "attn: SoftmaxGradient: dx overlaps dy without being it", func() { SoftmaxGradient(x[1:3], dy[:2], x[:2]) })
	require.PanicsWithValue(t, "attn: generic.SoftmaxGradient: dx overlaps dy without being it", func() { generic.SoftmaxGradient(x[1:3], dy[:2], x[:2]) })
	require.PanicsWithValue(t, "attn: generic.SoftmaxGradient: dx has 1 elements, y 2 and dy 2", func() { generic.SoftmaxGradient(x[:1], dy[:2], y[:2]) })
}

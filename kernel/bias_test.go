package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// edit returns what the options do to the scores of a row with the keys of its sequence.
func (p *problem) edit(v *rowView) *generic.RowEdit {
	e := &generic.RowEdit{SoftCap: p.o.SoftCap, Position: v.at}
	if p.o.ALiBi != nil {
		e.Slope = p.o.ALiBi[v.h]
	}
	if p.o.Sinks != nil {
		e.Sink = &p.o.Sinks[v.h]
	}
	if p.o.Dropout != nil {
		d := generic.Dropout(*p.o.Dropout)
		drops := d.Drops(v.b, v.h, v.i)
		e.Drops, e.Keep = func(key int) bool { return drops(v.from + key) }, d.Keep()
	}
	if b := p.o.Bias; b != nil {
		e.Bias = b.Data[v.b*b.BatchStride+v.h*b.HeadStride+v.i*b.QueryStride+v.from:][:v.to-v.from]
	}
	return e
}

// randomEdit draws a cap, slopes, a bias and sinks, or some of them.
func randomEdit(r *rand.Rand, s shape, o *Options) {
	if r.IntN(2) == 0 {
		o.SoftCap = pick[float32](r, 0.3, 1, 5, 50, 0x1p-100)
	}
	if r.IntN(2) == 0 {
		o.ALiBi = asmtest.Fill(r, make([]float32, s.heads), asmtest.Normal)
	}
	if r.IntN(2) == 0 {
		o.Sinks = randomSinks(r, s.heads)
	}
	if r.IntN(3) > 0 {
		o.Bias = randomBias(r, s, asmtest.Normal)
		if r.IntN(2) == 0 { // hidden keys, at times most of them
			often := pick(r, 1, 2, 20)
			for i := range o.Bias.Data {
				if r.IntN(often) == 0 || r.IntN(9) == 0 {
					o.Bias.Data[i] = -inf
				}
			}
		}
		if r.IntN(8) == 0 && len(o.Bias.Data) > 0 {
			o.Bias.Data[r.IntN(len(o.Bias.Data))] = pick(r, nan, inf)
		}
	}
}

// randomSinks draws logits, most of them near scores, some far above or below them, some none.
func randomSinks(r *rand.Rand, heads int) []float32 {
	x := asmtest.Fill(r, make([]float32, heads), asmtest.Normal)
	for h := range x {
		x[h] *= pick[float32](r, 0, 1, 5, 200, -1e30)
		if r.IntN(6) == 0 {
			x[h] = -inf
		}
	}
	return x
}

// randomBias draws a bias with a stride of 0 in some dimensions, and gaps of NaN.
func randomBias(r *rand.Rand, s shape, kind asmtest.Kind) *Bias {
	b, n := &Bias{}, s.lk+r.IntN(3)
	for _, d := range []struct {
		stride *int
		size   int
	}{{&b.QueryStride, s.lq}, {&b.HeadStride, s.heads}, {&b.BatchStride, s.batch}} {
		if r.IntN(3) > 0 {
			*d.stride = n + r.IntN(3)
			n = d.size * *d.stride
		}
	}
	b.Data = slices.Repeat([]float32{nan}, n)
	for m := range s.batch {
		for h := range s.heads {
			for i := range s.lq {
				asmtest.Fill(r, b.Data[m*b.BatchStride+h*b.HeadStride+i*b.QueryStride:][:s.lk], kind)
			}
		}
	}
	return b
}

// What is done to scores, each alone and all together, on each path.
func TestEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 41))
	i := 0
	for _, s := range visibleShapes {
		for kind := range 8 {
			for _, causal := range []bool{false, true} {
				if i++; !sampled(i, 3) {
					continue
				}
				o := Options{Causal: causal, Workers: 1 + r.IntN(3)}
				if kind == 0 || kind == 6 {
					o.SoftCap = 2
				}
				if kind >= 6 {
					o.Sinks = randomSinks(r, s.heads)
				}
				if kind == 1 || kind == 5 || kind == 6 {
					o.ALiBi = asmtest.Fill(r, make([]float32, s.heads), asmtest.Normal)
				}
				switch kind {
				case 2, 5, 6:
					o.Bias = randomBias(r, s, asmtest.Normal)
				case 3: // of keys
					o.Bias = &Bias{Data: asmtest.Fill(r, make([]float32, s.lk), asmtest.Normal)}
				case 4: // of heads and keys
					o.Bias = &Bias{Data: asmtest.Fill(r, make([]float32, s.heads*s.lk), asmtest.Normal), HeadStride: s.lk}
				}
				newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, o).checkViews(t, r)
			}
		}
	}
}

// A bias of -Inf hides its key as a mask does: the same bits, whatever k and v hold there.
func TestBiasHides(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 41))
	for range trials(100) {
		s := shape{1, 4, 2, pick(r, 1, 3, 8, 20, 50), pick(r, 9, 40, edge+30, 3*edge), 1 + r.IntN(20), 1 + r.IntN(20)}
		mask := randomMask(r, s)
		bias := &Bias{make([]float32, len(mask.Data)), mask.BatchStride, mask.HeadStride, mask.QueryStride}
		for i, visible := range mask.Data {
			if !visible {
				bias.Data[i] = -inf
			}
		}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Mask: mask, Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(3)})
		for range 5 {
			key := r.IntN(s.lk)
			for head := range s.kvHeads {
				rows(p.v)[head*s.lk+key][0] = pick(r, nan, inf, -inf)
				rows(p.k)[head*s.lk+key][0] = pick(r, nan, inf, -inf, 1)
			}
		}
		want := p.attend(t)
		p.o.Mask, p.o.Bias = nil, bias
		asmtest.Equal(t, want, p.attend(t), "%v", p)
	}
}

// A NaN or +Inf among the biases makes the rows that it is for NaN, and changes no bit of another.
func TestBiasNaN(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 41))
	for _, s := range visibleShapes {
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Workers: 1 + r.IntN(3)})
		p.o.Bias = &Bias{Data: make([]float32, s.heads*s.lq*s.lk), HeadStride: s.lq * s.lk, QueryStride: s.lk}
		want := p.attend(t)
		h, i, j := r.IntN(s.heads), r.IntN(s.lq), r.IntN(s.lk)
		p.o.Bias.Data[(h*s.lq+i)*s.lk+j] = pick(r, nan, inf)
		for b := range s.batch {
			row := want[((b*s.heads+h)*s.lq+i)*s.vdim:][:s.vdim]
			copy(row, slices.Repeat([]float32{nan}, s.vdim))
		}
		asmtest.Equal(t, want, p.attend(t), "%v", p)
	}
}

// The shares of the softmax of edited scores, in float64, within a loose bound: what the formulas mean.
func TestEditsMean(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 41))
	s := shape{1, 3, 1, 7, 40, 8, 8}
	p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Scale: 0.7, SoftCap: 1.5, ALiBi: []float32{0.1, -0.3, 0}, Bias: randomBias(r, s, asmtest.Normal), Start: []int{4}, Sinks: []float32{0.5, 3, -1}})
	for h := range s.heads {
		for i := range s.lq {
			want, sum := make([]float64, s.lk), math.Exp(float64(p.o.Sinks[h]))
			for j := range want {
				score := 0.0
				for c, x := range rows(p.k)[j] {
					score += 0.7 * float64(x) * float64(rows(p.q)[h*s.lq+i][c])
				}
				b := p.o.Bias
				score = 1.5*math.Tanh(score/1.5) - float64(p.o.ALiBi[h])*math.Abs(float64(4+i-j)) + float64(b.Data[h*b.HeadStride+i*b.QueryStride+j])
				want[j] = math.Exp(score)
				sum += want[j]
			}
			for j, w := range p.weights(t, 0, h, i)[0] {
				require.InDelta(t, want[j]/sum, w, 1e-5, "head %d, query %d, key %d", h, i, j)
			}
		}
	}
}

// Positions far away count as 2^30.
func TestAlibiFar(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 41))
	for _, lq := range []int{1, 20} {
		s := shape{1, 2, 1, lq, edge + 9, 8, 8}
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{ALiBi: []float32{1e-3, -1e-6}})
		for _, far := range [][2]int{{1 << 30, math.MaxInt - 20}, {-1 << 30, math.MinInt + 20}} {
			p.o.Start = far[1:]
			p.checkViews(t, r)
			got := p.attend(t)
			p.o.Start = far[:1]
			if lq == 1 {
				asmtest.Equal(t, p.attend(t), got, "Start %d and %d", far[0], far[1])
			}
		}
	}
}

// What is written shares no element with a bias or slopes; the gaps between its rows may.
func TestEditsApart(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 41))
	p := newProblem(r, shape{1, 2, 1, 5, 9, 8, 8}, packedLayout, asmtest.Normal, Options{})
	p.dst = Tensor{Data: make([]float32, 2*5*20), Heads: 2, Len: 5, Dim: 8, HeadStride: 100, LenStride: 20}
	attend := func(o Options) error { return Attention(p.dst, p.q, p.k, p.v, &o) }
	require.NoError(t, attend(Options{Bias: &Bias{Data: p.dst.Data[8:], HeadStride: 100, QueryStride: 20}}))
	require.ErrorContains(t, attend(Options{Bias: &Bias{Data: p.dst.Data[7:], HeadStride: 100, QueryStride: 20}}), "dst.Data shares memory with Options.Bias.Data")
	require.ErrorContains(t, attend(Options{ALiBi: p.dst.Data[:2]}), "dst.Data shares memory with Options.ALiBi")
	require.ErrorContains(t, attend(Options{Sinks: p.dst.Data[:2]}), "dst.Data shares memory with Options.Sinks")

	m := Matrix{1, 9, 9, make([]float32, 9)}
	for _, o := range []Options{{Bias: &Bias{Data: m.Data}}, {ALiBi: m.Data[:2]}, {Sinks: m.Data[:2]}} {
		require.ErrorContains(t, AttentionWeights(m, p.q, p.k, 0, 0, []int{1}, &o), "dst.Data shares memory with Options.")
	}
	l := newLayer(r, 8, 2, 1, 4, 4, 8, true, asmtest.Normal)
	x := newMatrix(r, 9, 8, 8, asmtest.Normal)
	out := newMatrix(r, 9, 8, 8, asmtest.Normal)
	require.ErrorContains(t, l.Forward(out, x, &Options{Bias: &Bias{Data: out.Data}}), "dst.Data shares memory with Options.Bias.Data")
	require.ErrorContains(t, l.Forward(out, x, &Options{ALiBi: out.Data[:1]}), "ALiBi has 1 elements, want 2")
	require.ErrorContains(t, l.Forward(out, x, &Options{Sinks: out.Data[:3]}), "Sinks has 3 elements, want 2")
}

// A layer does to the scores of its heads what Attention does.
func TestLayerEdits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 41))
	const n, heads = 30, 4
	l := newLayer(r, 24, heads, 2, 8, 12, 20, false, asmtest.Normal)
	l.WO, l.BO = Matrix{}, nil
	x := newMatrix(r, n, 24, 24, asmtest.Normal)
	o := Options{SoftCap: 2, ALiBi: []float32{0.5, 0.2, 0, -0.1}, Sinks: []float32{0.5, -1, 2, -inf}, Causal: true}
	o.Bias = &Bias{asmtest.Fill(r, make([]float32, heads*n*n), asmtest.Normal), 0, n * n, n}
	o.Mask = &Mask{make([]bool, heads*n*n), 0, n * n, n}
	for i := range o.Mask.Data {
		o.Mask.Data[i] = r.IntN(3) > 0
	}
	out := newMatrix(r, n, heads*12, heads*12, asmtest.Normal)
	require.NoError(t, l.Forward(out, x, &o))
	project := func(w Matrix) Matrix {
		y := newMatrix(r, n, w.Cols, w.Cols, asmtest.Normal)
		require.NoError(t, MatMul(y, x, w, nil))
		return y
	}
	q, k, v := headView(project(l.WQ), heads), headView(project(l.WK), 2), headView(project(l.WV), 2)
	want := newMatrix(r, n, heads*12, heads*12, asmtest.Normal)
	require.NoError(t, Attention(headView(want, heads), q, k, v, &o))
	asmtest.Equal(t, flat(headView(want, heads)), flat(headView(out, heads)), "Forward")
	for h := range heads {
		want, got := newMatrix(r, 3, n, n, asmtest.Normal), newMatrix(r, 3, n, n, asmtest.Normal)
		require.NoError(t, AttentionWeights(want, q, k, 0, h, []int{0, 17, 29}, &o))
		require.NoError(t, l.Weights(got, x, h, []int{0, 17, 29}, &o))
		asmtest.Equal(t, slices.Concat(want.rows()...), slices.Concat(got.rows()...), "Weights of head %d", h)
	}
}

// editCalls returns calls for the tests of all calls, with each edit and all.
func editCalls(kind asmtest.Kind) (all []call) {
	r := rand.New(rand.NewPCG(8, 41))
	slopes := []float32{0.25, 0.0625, 0.015625, -0.125}
	for _, c := range []struct {
		name string
		s    shape
		o    Options
	}{
		{"soft cap", shape{1, 4, 2, 70, 300, 32, 16}, Options{SoftCap: 1.5}},
		{"ALiBi", shape{1, 4, 2, 70, 300, 32, 16}, Options{ALiBi: slopes, Causal: true}},
		{"bias", shape{2, 4, 4, 70, 300, 32, 16}, Options{Bias: &Bias{BatchStride: 4 * 70 * 300, HeadStride: 70 * 300, QueryStride: 300}}},
		{"bias of keys", shape{2, 4, 4, 70, 300, 32, 16}, Options{Bias: &Bias{BatchStride: 300}}},
		{"all edits, decode", shape{2, 4, 2, 1, 9000, 16, 16}, Options{SoftCap: 1.5, ALiBi: slopes, Bias: &Bias{HeadStride: 9000}}},
	} {
		p := newProblem(r, c.s, packedLayout, kind, c.o)
		if b := p.o.Bias; b != nil {
			n := c.s.lk + (c.s.lq-1)*b.QueryStride + (c.s.heads-1)*b.HeadStride + (c.s.batch-1)*b.BatchStride
			b.Data = asmtest.Fill(r, make([]float32, n), kind)
			b.Data[n-3], b.Data[n/2] = -inf, -inf
		}
		all = append(all, call{"Attention: " + c.name, p.dst.Data, func(workers int) error {
			o := p.o
			o.Workers = workers
			return Attention(p.dst, p.q, p.k, p.v, &o)
		}})
	}
	return all
}

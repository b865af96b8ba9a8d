package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// newGradientLayer returns room, which holds numbers to add to, for some or all gradients of a layer.
func newGradientLayer(r *rand.Rand, l *SelfAttention, weightShapes [weights]Matrix, some bool) *SelfAttention {
	g := &SelfAttention{}
	skip := func() bool { return some && r.IntN(3) == 0 }
	for w := range weights {
		m, _, _ := g.weight(w)
		if like := weightShapes[w]; like.Cols > 0 && !skip() {
			*m = newMatrix(r, like.Rows, like.Cols, like.Cols+r.IntN(3), asmtest.Normal)
		}
	}
	for _, b := range [...]struct {
		to   *[]float32
		like []float32
	}{{&g.BQ, l.BQ}, {&g.BK, l.BK}, {&g.BV, l.BV}, {&g.BO, l.BO}} {
		if b.like != nil && !skip() {
			*b.to = asmtest.Fill(r, make([]float32, len(b.like)), asmtest.Normal)
		}
	}
	if l.Memory != nil && !skip() {
		m := newMatrix(r, l.Memory.Rows, l.Memory.Cols, l.Memory.Cols, asmtest.Normal)
		g.Memory = &m
	}
	return g
}

// copyOf returns the gradients once more, in memory of their own.
func copyOf(g *SelfAttention) *SelfAttention {
	c := *g
	for w := range weights {
		m, _, _ := c.weight(w)
		m.Data = slices.Clone(m.Data)
	}
	c.BQ, c.BK, c.BV, c.BO = slices.Clone(g.BQ), slices.Clone(g.BK), slices.Clone(g.BV), slices.Clone(g.BO)
	if g.Memory != nil {
		m := *g.Memory
		m.Data = slices.Clone(m.Data)
		c.Memory = &m
	}
	return &c
}

// all returns everything that gradients hold, what lies between rows too.
func all(g *SelfAttention) []float32 {
	x := slices.Concat(g.WQ.Data, g.WK.Data, g.WV.Data, g.WO.Data, g.BQ, g.BK, g.BV, g.BO)
	if g.Memory != nil {
		x = append(x, g.Memory.Data...)
	}
	return x
}

// packedMatrix is a tensor of one batch member as a matrix tokens x heads*dim.
func packedMatrix(x Tensor) Matrix {
	m := Matrix{x.Len, x.Heads * x.Dim, x.Heads * x.Dim, make([]float32, x.Len*x.Heads*x.Dim)}
	for i := range x.Len {
		for h := range x.Heads {
			copy(m.Data[i*m.Stride+h*x.Dim:], x.Data[h*x.HeadStride+i*x.LenStride:][:x.Dim])
		}
	}
	return m
}

// With any options, packed sequences and weights, tables of rotations and memory, gradients of a layer are those of its parts, of
// which each has its own tests: the words of Backward's docstring. So is the output, which is that of Forward.
func TestTapeIsItsParts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 61))
	refused := 0
	var tape Tape
	for range trials(150) {
		kvHeads := 1 + r.IntN(2)
		l := newLayer(r, 9, kvHeads*(1+r.IntN(3)), kvHeads, 6, 5, r.IntN(2)*11, r.IntN(2) == 0, asmtest.Normal)
		x := newMatrix(r, 1+r.IntN(70), 9, 9+r.IntN(3), asmtest.Normal)
		tokens := x
		if r.IntN(2) == 0 {
			tokens = newMatrix(r, r.IntN(pick(r, 3, 40, edge+40)), 7, 7, asmtest.Normal)
			l.Memory = &tokens
			l.WK, l.WV = newMatrix(r, 7, l.WK.Cols, l.WK.Cols, asmtest.Normal), newMatrix(r, 7, l.WV.Cols, l.WV.Cols, asmtest.Normal)
		}
		s := shape{1, l.Heads, kvHeads, x.Rows, tokens.Rows, 6, 5}
		o := randomOptions(r, s)
		p := &problem{q: heads(biased(t, x, l.WQ, l.BQ), l.Heads), k: heads(biased(t, tokens, l.WK, l.BK), kvHeads), v: heads(biased(t, tokens, l.WV, l.BV), kvHeads), o: o}
		back := *l
		if r.IntN(2) == 0 {
			l.Rotary = NewRotaryTables(3*s.lq+3*s.lk, 2*r.IntN(4), 100, r.IntN(2) == 0)
			for i := range o.Start {
				o.Start[i] = max(0, o.Start[i])
			}
			negative := *l.Rotary
			negative.Sin.Data = slices.Clone(negative.Sin.Data)
			for i := range negative.Sin.Data {
				negative.Sin.Data[i] *= -1
			}
			back.Rotary = &negative
			if !rotatedParts(t, l, p) && l.Rotary.Cos.Cols > 0 {
				refused++
				continue
			}
		}
		mix := newMatrix(r, x.Rows, l.Heads*5, l.Heads*5, asmtest.Normal)
		p.dst = heads(mix, l.Heads)
		g := newGradient(t, r, p, asmtest.Normal, packedLayout)
		out, dmix := mix, newMatrix(r, x.Rows, l.Heads*5, l.Heads*5, asmtest.Normal)
		ddst := dmix
		want := newGradientLayer(r, l, [weights]Matrix{l.WQ, l.WK, l.WV, l.WO}, r.IntN(2) == 0)
		got := copyOf(want)
		add := &MatMulOptions{TransA: true, Add: true}
		learn := func(m Matrix, bias []float32, x, dy Matrix) {
			if m.Data != nil {
				require.NoError(t, MatMul(m, x, dy, add))
			}
			if bias != nil {
				ones := Matrix{1, x.Rows, x.Rows, slices.Repeat([]float32{1}, x.Rows)}
				require.NoError(t, MatMul(Matrix{1, len(bias), len(bias), bias}, ones, dy, &MatMulOptions{Add: true}))
			}
		}
		if l.WO.Data != nil {
			out, ddst = biased(t, mix, l.WO, l.BO), newMatrix(r, x.Rows, 11, 13, asmtest.Normal)
			learn(want.WO, want.BO, mix, ddst)
			require.NoError(t, MatMul(dmix, ddst, l.WO, &MatMulOptions{TransB: true}))
		}
		g.DO = heads(dmix, l.Heads)
		require.NoError(t, AttentionGradient(g, &o))
		dq, dk, dv := packedMatrix(g.DQ), packedMatrix(g.DK), packedMatrix(g.DV)
		if l.Rotary != nil {
			rotatedParts(t, &back, &problem{q: heads(dq, l.Heads), k: heads(dk, kvHeads), o: o})
		}
		dx := newMatrix(r, x.Rows, x.Cols, x.Cols+r.IntN(2), asmtest.Normal)
		gotX := dx
		gotX.Data = slices.Clone(dx.Data)
		require.NoError(t, MatMul(dx, dq, l.WQ, &MatMulOptions{TransB: true}))
		to := &dx
		if l.Memory != nil {
			to = want.Memory
		}
		if to != nil && tokens.Rows > 0 {
			require.NoError(t, MatMul(*to, dk, l.WK, &MatMulOptions{TransB: true, Add: true}))
			require.NoError(t, MatMul(*to, dv, l.WV, &MatMulOptions{TransB: true, Add: true}))
		}
		learn(want.WQ, want.BQ, x, dq)
		if tokens.Rows > 0 {
			learn(want.WK, want.BK, tokens, dk)
			learn(want.WV, want.BV, tokens, dv)
		}

		if r.IntN(2) == 0 {
			require.NoError(t, l.Pack(nil))
		}
		o.Workers = 1 + r.IntN(3)
		dst := newMatrix(r, x.Rows, out.Cols, out.Cols+1, asmtest.Normal)
		require.NoError(t, l.ForwardTape(dst, x, &tape, &o))
		asmtest.Equal(t, slices.Concat(out.rows()...), slices.Concat(dst.rows()...), "output of %v", p)
		for i := range dst.Data {
			dst.Data[i] = nan // nobody needs it any more
		}
		again := copyOf(got)
		require.NoError(t, l.Backward(got, gotX, ddst, &tape))
		asmtest.Equal(t, dx.Data, gotX.Data, "gradient of x of %v", p)
		asmtest.Equal(t, all(want), all(got), "gradients of %v", p)
		require.NoError(t, l.Backward(again, Matrix{}, ddst, &tape), "the tape still holds the call")
		asmtest.Equal(t, all(want), all(again), "gradients without that of x of %v", p)
		require.NoError(t, l.Backward(nil, gotX, ddst, &tape), "no gradients of weights")
		asmtest.Equal(t, dx.Data, gotX.Data, "gradient of x alone of %v", p)
	}
	require.Less(t, refused, trials(150))
}

// A layer64 is a layer in float64, written as the formulas are.
type layer64 struct {
	heads, kvHeads, d, e int
	x, memory            [][]float64 // memory may be x
	w                    [weights][][]float64
	b                    [weights][]float64
	sequences            [][4]int // queries from, to, keys from, to
	causal               bool
	rotary               *RotaryTables
}

// loss is the sum of the elements of the output times dst's gradient.
func (l *layer64) loss(ddst [][]float64) (sum float64) {
	project := func(x [][]float64, w weight) (y [][]float64) {
		for _, row := range x {
			out := slices.Clone(l.b[w])
			for k, v := range row {
				for j := range out {
					out[j] += v * l.w[w][k][j]
				}
			}
			y = append(y, out)
		}
		return y
	}
	q, k, v := project(l.x, weightQ), project(l.memory, weightK), project(l.memory, weightV)
	turn := func(row []float64, heads, position int) {
		if l.rotary == nil {
			return
		}
		n := l.rotary.Cos.Cols
		for h := range heads {
			for c := range n {
				cos, sin := float64(l.rotary.Cos.Data[position*n+c]), float64(l.rotary.Sin.Data[position*n+c])
				x0, x1 := &row[h*l.d+c], &row[h*l.d+n+c]
				*x0, *x1 = *x0*cos-*x1*sin, *x1*cos+*x0*sin
			}
		}
	}
	mix := make([][]float64, len(l.x))
	for i := range mix {
		mix[i] = make([]float64, l.heads*l.e)
	}
	for _, s := range l.sequences {
		for j := s[2]; j < s[3]; j++ {
			turn(k[j], l.kvHeads, j-s[2])
		}
		start := (s[3] - s[2]) - (s[1] - s[0])
		for i := s[0]; i < s[1]; i++ {
			position := start + i - s[0]
			turn(q[i], l.heads, position)
			for h := range l.heads {
				kv, total := h/(l.heads/l.kvHeads), 0.0
				out := mix[i][h*l.e:][:l.e]
				for j := s[2]; j < s[3] && (!l.causal || j-s[2] <= position); j++ {
					score := 0.0
					for c := range l.d {
						score += q[i][h*l.d+c] * k[j][kv*l.d+c]
					}
					p := math.Exp(score / math.Sqrt(float64(l.d)))
					total += p
					for c := range out {
						out[c] += p * v[j][kv*l.e+c]
					}
				}
				for c := range out {
					out[c] /= total
				}
			}
		}
	}
	for i, row := range project(mix, weightO) {
		for c, y := range row {
			sum += y * ddst[i][c]
		}
	}
	return sum
}

func rows64(rows [][]float32) (x [][]float64) {
	for _, row := range rows {
		x = append(x, vector64(row))
	}
	return x
}

func vector64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// Gradients of a layer are those of small differences in float64: grouped heads, rotations, packed sequences, causal, and keys
// that come from elsewhere.
func TestTapeDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 61))
	for n := range trials(16) {
		l := newLayer(r, 7, 4, 1+r.IntN(2), 6, 5, 8, true, asmtest.Normal)
		x := newMatrix(r, 9, 7, 7, asmtest.Normal)
		tokens := x
		o := &Options{Causal: n%2 == 0}
		if n/2%2 == 0 {
			tokens = newMatrix(r, 11, 7, 7, asmtest.Normal)
			l.Memory = &tokens
		}
		if n/4%2 == 0 {
			l.Rotary = NewRotaryTables(12, 4, 20, false)
		}
		for _, m := range []Matrix{l.WQ, l.WK} {
			for i := range m.Data {
				m.Data[i] /= 2 // so that no weight is 1
			}
		}
		sequences := [][4]int{{0, 9, 0, tokens.Rows}}
		if n/8%2 == 0 {
			sequences = [][4]int{{0, 4, 0, 5}, {4, 9, 5, tokens.Rows}}
			if l.Memory == nil {
				sequences[0][3], sequences[1][2] = 4, 4
			}
			o.QueryOffsets, o.KeyOffsets = []int{0, 4, 9}, []int{0, sequences[1][2], tokens.Rows}
		}
		ddst, dst, dx := newMatrix(r, 9, 8, 8, asmtest.Normal), newMatrix(r, 9, 8, 8, asmtest.Normal), newMatrix(r, 9, 7, 7, asmtest.Normal)
		grad := newGradientLayer(r, l, [weights]Matrix{l.WQ, l.WK, l.WV, l.WO}, false)
		for w := range weights {
			m, b, _ := grad.weight(w)
			clear(m.Data)
			clear(b)
		}
		if grad.Memory != nil {
			clear(grad.Memory.Data)
		}
		var tape Tape
		require.NoError(t, l.ForwardTape(dst, x, &tape, o))
		require.NoError(t, l.Backward(grad, dx, ddst, &tape))

		exact := &layer64{heads: l.Heads, kvHeads: l.KVHeads, d: 6, e: 5, x: rows64(x.rows()), sequences: sequences, causal: o.Causal, rotary: l.Rotary}
		exact.memory = exact.x
		if l.Memory != nil {
			exact.memory = rows64(tokens.rows())
		}
		want64 := rows64(ddst.rows())
		check := func(at *float64, got float32, what string, i int) {
			const h = 1e-4
			v := *at
			*at = v + h
			up := exact.loss(want64)
			*at = v - h
			down := exact.loss(want64)
			*at = v
			require.InDelta(t, (up-down)/(2*h), float64(got), 1e-4*(1+math.Abs(float64(got))), "%s, element %d of trial %d", what, i, n)
		}
		for w := range weights {
			m, b, _ := l.weight(w)
			exact.w[w], exact.b[w] = rows64(m.rows()), vector64(b)
		}
		matrix := func(of [][]float64, got Matrix, what string) {
			for i := range of {
				for j := range of[i] {
					if r.IntN(3) == 0 {
						check(&of[i][j], got.Data[i*got.Stride+j], what, i*got.Cols+j)
					}
				}
			}
		}
		matrix(exact.x, dx, "x")
		if l.Memory != nil {
			matrix(exact.memory, *grad.Memory, "Memory")
		}
		for w := range weights {
			m, b, name := grad.weight(w)
			matrix(exact.w[w], *m, name)
			for i := range b {
				check(&exact.b[w][i], b[i], "bias of "+name, i)
			}
		}
	}
}

// The gradients of a layer whose weights are packed, in any type and with any number of columns, are those of the values that the
// weights have then.
func TestTapePacked(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 61))
	testLayers(r, func(what string, l *SelfAttention, x Matrix, o Options) {
		opts := PackOptions{Trans: r.IntN(2) == 0, Type: pick(r, Float32, Float16, BFloat16, Int8)}
		what += fmt.Sprintf(", %+v", opts)
		l = newLayer(r, x.Cols, l.Heads, l.KVHeads, pick(r, 1, 2, 3+r.IntN(40), 70), 5, l.WO.Cols, l.BQ != nil, asmtest.Normal)
		plain, packed := *l, *l
		var shapes [weights]Matrix
		for w := range weights {
			m, _, _ := plain.weight(w)
			*m = rounded(opts.Type, *m)
			shapes[w] = *m
			m, _, _ = packed.weight(w)
			if opts.Trans {
				*m = transposed(*m)
			}
		}
		require.NoError(t, packed.Pack(&opts), what)
		cols := l.Heads * 5
		if l.WO.Data != nil {
			cols = l.WO.Cols
		}
		dst, ddst := newMatrix(r, x.Rows, cols, cols, asmtest.Normal), newMatrix(r, x.Rows, cols, cols, asmtest.Normal)
		want := newGradientLayer(r, l, shapes, false)
		got := copyOf(want)
		var dx [2]Matrix
		for i, layer := range []*SelfAttention{&plain, &packed} {
			dx[i] = newMatrix(r, x.Rows, x.Cols, x.Cols, asmtest.Normal)
			var tape Tape
			require.NoError(t, layer.ForwardTape(dst, x, &tape, &o), what)
			require.NoError(t, layer.Backward([]*SelfAttention{want, got}[i], dx[i], ddst, &tape), what)
		}
		asmtest.Equal(t, slices.Concat(dx[0].rows()...), slices.Concat(dx[1].rows()...), "gradient of x, %s", what)
		asmtest.Equal(t, all(want), all(got), "gradients, %s", what)
	})
}

// A weight with more rows than a product has terms in one chain is unpacked block by block.
func TestUnpack(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 61))
	for _, cols := range []int{1, 8, 9, 16, 17, 33, 70} {
		for _, typ := range []Type{Float32, Float16, BFloat16, Int8} {
			m := newMatrix(r, 2100, cols, cols, asmtest.Normal)
			p, err := Pack(m, &PackOptions{Type: typ})
			require.NoError(t, err)
			got := newMatrix(r, 2100, cols, cols+3, asmtest.Normal)
			p.unpack(got)
			asmtest.Equal(t, slices.Concat(rounded(typ, m).rows()...), slices.Concat(got.rows()...), "%d columns of type %v", cols, typ)
		}
	}
}

// No tokens are no error, and add nothing.
func TestTapeWithoutTokens(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 61))
	l := newLayer(r, 8, 2, 2, 4, 4, 6, true, asmtest.Normal)
	var tape Tape
	require.NoError(t, l.ForwardTape(Matrix{0, 6, 6, nil}, Matrix{0, 8, 8, nil}, &tape, nil))
	grad := newGradientLayer(r, l, [weights]Matrix{l.WQ, l.WK, l.WV, l.WO}, false)
	before := all(grad)
	require.NoError(t, l.Backward(grad, Matrix{0, 8, 8, nil}, Matrix{0, 6, 6, nil}, &tape))
	asmtest.Equal(t, before, all(grad), "gradients")
}

// A tape that is used again, and its calls, do not allocate.
func TestTapeAllocations(t *testing.T) {
	if asmtest.Race {
		t.Skip("pools drop values at random under the race detector")
	}
	r := rand.New(rand.NewPCG(6, 61))
	l := newLayer(r, 16, 4, 2, 8, 8, 12, true, asmtest.Normal)
	l.Rotary = NewRotaryTables(60, 8, 100, false)
	memory := newMatrix(r, 40, 16, 16, asmtest.Normal)
	l.Memory = &memory
	require.NoError(t, l.Pack(nil))
	shapes := [weights]Matrix{{Rows: 16, Cols: 32}, {Rows: 16, Cols: 16}, {Rows: 16, Cols: 16}, {Rows: 32, Cols: 12}}
	x, dst, ddst, dx := newMatrix(r, 50, 16, 16, asmtest.Normal), newMatrix(r, 50, 12, 12, asmtest.Normal), newMatrix(r, 50, 12, 12, asmtest.Normal), newMatrix(r, 50, 16, 16, asmtest.Normal)
	grad := newGradientLayer(r, l, shapes, false)
	o := &Options{Workers: 1, Start: []int{0}, Causal: true}
	var tape Tape
	require.Zero(t, testing.AllocsPerRun(20, func() {
		if err := l.ForwardTape(dst, x, &tape, o); err != nil {
			t.Fatal(err)
		}
		if err := l.Backward(grad, dx, ddst, &tape); err != nil {
			t.Fatal(err)
		}
	}))
}

// Bad arguments are refused by name, before anything is written.
func TestBadTape(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 61))
	l := newLayer(r, 8, 2, 2, 4, 4, 6, true, asmtest.Normal)
	other := newLayer(r, 8, 2, 2, 4, 4, 0, false, asmtest.Normal)
	x, dst := newMatrix(r, 5, 8, 8, asmtest.Normal), newMatrix(r, 5, 6, 6, asmtest.Normal)
	beside := newLayer(r, 8, 2, 2, 4, 4, 6, true, asmtest.Normal)
	memory := newMatrix(r, 5, 8, 8, asmtest.Normal)
	beside.Memory = &memory
	var tape, empty, plain, besides Tape
	require.NoError(t, beside.ForwardTape(dst, x, &besides, nil))
	require.EqualError(t, l.ForwardTape(dst, x, nil, nil), "attn: the *Tape is nil")
	require.EqualError(t, (*SelfAttention)(nil).ForwardTape(dst, x, &tape, nil), "attn: the *SelfAttention is nil, want a layer")
	require.EqualError(t, l.ForwardTape(dst, x, &tape, &Options{Stats: make([]float32, 20)}), "attn: Options.Stats has 20 elements, want nil: the Tape keeps them")
	require.EqualError(t, l.ForwardTape(x, x, &tape, nil), "attn: dst is 5 x 8, want 5 x 6, the tokens by the output dim")
	require.NoError(t, l.ForwardTape(dst, x, &tape, nil))
	require.NoError(t, other.ForwardTape(newMatrix(r, 5, 8, 8, asmtest.Normal), x, &plain, nil))
	const noCall = "attn: the *Tape holds no call of this layer, want it to be that of the last ForwardTape"
	for _, c := range []struct {
		want   string
		change func(grad *SelfAttention, dx, ddst *Matrix) (*SelfAttention, *Tape)
	}{
		{"attn: the *SelfAttention is nil, want a layer", func(*SelfAttention, *Matrix, *Matrix) (*SelfAttention, *Tape) { return nil, &tape }},
		{"attn: the *Tape is nil", func(*SelfAttention, *Matrix, *Matrix) (*SelfAttention, *Tape) { return l, nil }},
		{noCall, func(*SelfAttention, *Matrix, *Matrix) (*SelfAttention, *Tape) { return l, &empty }},
		{noCall, func(*SelfAttention, *Matrix, *Matrix) (*SelfAttention, *Tape) { return other, &tape }},
		{"attn: ddst is 5 x 5, want 5 x 6, the tokens by the output dim", func(_ *SelfAttention, _, ddst *Matrix) (*SelfAttention, *Tape) { ddst.Cols = 5; return l, &tape }},
		{"attn: ddst.Stride is 5, want 6 or more, its columns", func(_ *SelfAttention, _, ddst *Matrix) (*SelfAttention, *Tape) { ddst.Stride = 5; return l, &tape }},
		{"attn: dx is 4 x 8, want 5 x 8 as x", func(_ *SelfAttention, dx, _ *Matrix) (*SelfAttention, *Tape) { dx.Rows = 4; return l, &tape }},
		{"attn: dx.Data has 0 elements, want 40 or more for 5 x 8 with stride 8", func(_ *SelfAttention, dx, _ *Matrix) (*SelfAttention, *Tape) { dx.Data = nil; return l, &tape }},
		{"attn: dx shares memory with x", func(_ *SelfAttention, dx, _ *Matrix) (*SelfAttention, *Tape) { dx.Data = x.Data; return l, &tape }},
		{"attn: dx shares memory with ddst", func(_ *SelfAttention, dx, ddst *Matrix) (*SelfAttention, *Tape) {
			ddst.Data = dx.Data
			return l, &tape
		}},
		{"attn: grad.WQ shares memory with WQ", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) { *g = *l; return l, &tape }},
		{"attn: grad.WV is 8 x 7, want 8 x 8 as WV", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) { g.WV.Cols = 7; return l, &tape }},
		{"attn: grad.BK has 7 elements, want 8 as BK", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) { g.BK = g.BK[:7]; return l, &tape }},
		{"attn: grad.BO shares memory with grad.BV", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) { g.BO = g.BV[:6]; return l, &tape }},
		{"attn: grad.WO shares memory with ddst", func(g *SelfAttention, _, ddst *Matrix) (*SelfAttention, *Tape) {
			ddst.Data = g.WO.Data
			return l, &tape
		}},
		{"attn: grad.WK is packed, want a Matrix", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) {
			q := SelfAttention{WK: g.WK}
			require.NoError(t, q.Pack(nil))
			*g = q
			return l, &tape
		}},
		{"attn: grad.Memory is 5 x 8, want nil as in the layer", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) { g.Memory = &x; return l, &tape }},
		{"attn: grad.Memory is 4 x 8, want 5 x 8 as Memory", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) {
			g.Memory = &Matrix{4, 8, 8, make([]float32, 40)}
			return beside, &besides
		}},
		{"attn: grad.BK has 7 elements, want 8 as BK", func(g *SelfAttention, _, _ *Matrix) (*SelfAttention, *Tape) {
			g.Memory, g.BK = &Matrix{5, 8, 8, make([]float32, 40)}, g.BK[:7]
			return beside, &besides
		}},
		{"attn: grad.WO is 8 x 6, want 0 x 0 as WO", func(g *SelfAttention, _, ddst *Matrix) (*SelfAttention, *Tape) {
			*ddst, g.BQ, g.BK, g.BV = newMatrix(r, 5, 8, 8, asmtest.Normal), nil, nil, nil
			return other, &plain
		}},
		{"attn: grad.BQ has 8 elements, want 0 as BQ", func(g *SelfAttention, _, ddst *Matrix) (*SelfAttention, *Tape) {
			*ddst, g.WO = newMatrix(r, 5, 8, 8, asmtest.Normal), Matrix{}
			return other, &plain
		}},
	} {
		grad := newGradientLayer(r, l, [weights]Matrix{l.WQ, l.WK, l.WV, l.WO}, false)
		dx, ddst := newMatrix(r, 5, 8, 8, asmtest.Normal), newMatrix(r, 5, 6, 6, asmtest.Normal)
		layer, tape := c.change(grad, &dx, &ddst)
		before, beforeX := all(grad), slices.Clone(dx.Data)
		require.EqualError(t, layer.Backward(grad, dx, ddst, tape), c.want)
		asmtest.Equal(t, before, all(grad), "gradients after %s", c.want)
		asmtest.Equal(t, beforeX, dx.Data, "dx after %s", c.want)
	}
}

package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// rotatedParts are the queries and keys of a layer, rotated row by row by the words of the options; ok is false if
// the tables lack a row.
func rotatedParts(t *testing.T, l *SelfAttention, p *problem) (ok bool) {
	tables := l.Rotary
	turn := func(x Tensor, i, position int) {
		row := Tensor{Data: x.Data[i*x.LenStride:], Heads: x.Heads, Len: 1, Dim: x.Dim, HeadStride: x.Dim, LenStride: x.LenStride}
		require.NoError(t, Rotary(row, tables.Cos, tables.Sin, []int{position}, tables.Interleaved))
	}
	inside := func(position int) bool { return position >= 0 && position < tables.Cos.Rows }
	ok = true
	first, queries := []int{0}, []int{p.q.Len}
	keys := [][2]int{{0, p.k.Len}}
	if o := p.o; o.QueryOffsets != nil {
		first, queries, keys = nil, nil, nil
		for i, from := range o.QueryOffsets[:len(o.QueryOffsets)-1] {
			first, queries = append(first, from), append(queries, o.QueryOffsets[i+1]-from)
			keys = append(keys, [2]int{o.KeyOffsets[i], o.KeyOffsets[i+1]})
		}
	}
	if p.o.QueryLen != nil {
		queries = p.o.QueryLen
	}
	if p.o.KeyLen != nil {
		keys[0][1] = p.o.KeyLen[0]
	}
	for s := range first {
		for j := keys[s][0]; j < keys[s][1]; j++ {
			if ok = ok && inside(j-keys[s][0]); ok {
				turn(p.k, j, j-keys[s][0])
			}
		}
		for i := range queries[s] {
			v := rowView{i: first[s] + i}
			p.see(&v)
			if ok = ok && inside(v.at); ok {
				turn(p.q, v.i, v.at)
			}
		}
	}
	return ok
}

// With any options, packed sequences, tables of rotations and memory, a layer is its parts, in blocks too.
func TestLayerOptionsRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 43))
	refused := 0
	for range trials(200) {
		kvHeads := 1 + r.IntN(2)
		l := newLayer(r, 9, kvHeads*(1+r.IntN(3)), kvHeads, 6, 5, 0, r.IntN(2) == 0, asmtest.Normal)
		x := newMatrix(r, 1+r.IntN(70), 9, 9+r.IntN(3), asmtest.Normal)
		tokens := x
		if r.IntN(2) == 0 {
			tokens = newMatrix(r, r.IntN(pick(r, 3, 40, edge+40)), 7, 7, asmtest.Normal)
			l.Memory = &tokens
			l.WK, l.WV = newMatrix(r, 7, l.WK.Cols, l.WK.Cols, asmtest.Normal), newMatrix(r, 7, l.WV.Cols, l.WV.Cols, asmtest.Normal)
		}
		s := shape{1, l.Heads, kvHeads, x.Rows, tokens.Rows, 6, 5}
		o := randomOptions(r, s)
		o.LSE = make([]float32, l.Heads*x.Rows)
		p := &problem{q: heads(biased(t, x, l.WQ, l.BQ), l.Heads), k: heads(biased(t, tokens, l.WK, l.BK), kvHeads), v: heads(biased(t, tokens, l.WV, l.BV), kvHeads), o: o}
		if r.IntN(2) == 0 {
			l.Rotary = NewRotaryTables(pick(r, 3*s.lq+3*s.lk, s.lk), 2*r.IntN(4), 100, r.IntN(2) == 0)
			if o.Start != nil && r.IntN(3) > 0 {
				for i := range o.Start {
					o.Start[i] = max(0, o.Start[i])
				}
			}
			if !rotatedParts(t, l, p) && l.Rotary.Cos.Cols > 0 {
				refused++
				out := newMatrix(r, x.Rows, l.Heads*5, l.Heads*5, asmtest.Normal)
				before := slices.Clone(out.Data)
				require.ErrorContains(t, l.Forward(out, x, &o), "attn: Rotary.Cos.Rows is ", "%v", p)
				asmtest.Equal(t, before, out.Data, "what is refused")
				continue
			}
		}
		want := newMatrix(r, x.Rows, l.Heads*5, l.Heads*5, asmtest.Normal)
		require.NoError(t, Attention(heads(want, l.Heads), p.q, p.k, p.v, &o))
		lse := slices.Clone(o.LSE)
		if r.IntN(2) == 0 {
			require.NoError(t, l.Pack(nil))
		}
		for _, block := range []int{x.Rows, 1 + r.IntN(x.Rows)} {
			f, err := l.plan(x, &o)
			require.NoError(t, err)
			f.block = block
			got := newMatrix(r, x.Rows, l.Heads*5, l.Heads*5, asmtest.Normal)
			clear(o.LSE)
			require.NoError(t, f.run(got))
			asmtest.Equal(t, slices.Concat(want.rows()...), slices.Concat(got.rows()...), "blocks of %d: %v", block, p)
			asmtest.Equal(t, lse, o.LSE, "LSE in blocks of %d: %v", block, p)
		}
		h, i := r.IntN(l.Heads), r.IntN(x.Rows)
		w := newMatrix(r, 1, s.lk, s.lk, asmtest.Normal)
		require.NoError(t, l.Weights(w, x, h, []int{i}, &o))
		p.o.LSE = nil
		asmtest.Equal(t, p.weights(t, 0, h, i)[0], w.Data[:s.lk], "weights of head %d, query %d: %v", h, i, p)
	}
	t.Logf("%d were refused for want of rows of the tables", refused)
}

// Options, tables and memory that do not fit a layer are refused by name, before anything is written.
func TestBadLayerOptions(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 43))
	for _, c := range []struct {
		want   string
		change func(l *SelfAttention, o *Options, dst, x *Matrix)
	}{
		{"attn: Options.KeyOffsets[1] is 10, want 0 to 9, the offset before it to the Len of k", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			o.QueryOffsets, o.KeyOffsets, l.Rotary = []int{0, 5}, []int{0, 10}, NewRotaryTables(20, 4, 100, false)
		}},
		{"attn: Options.LSE has 10 elements, want one a row, [1][2][9]", func(l *SelfAttention, o *Options, dst, x *Matrix) { o.LSE = make([]float32, 10) }},
		{"attn: Options.LSE shares memory with dst.Data", func(l *SelfAttention, o *Options, dst, x *Matrix) { o.LSE = dst.Data[:18] }},
		{"attn: Options.LSE shares memory with x", func(l *SelfAttention, o *Options, dst, x *Matrix) { o.LSE = x.Data[:18] }},
		{"attn: Options.LSE shares memory with WQ", func(l *SelfAttention, o *Options, dst, x *Matrix) { o.LSE = l.WQ.Data[:18] }},
		{"attn: Options.Stats shares memory with BV", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			o.Stats = make([]float32, 36)
			l.BV = o.Stats[:8]
		}},
		{"attn: Memory is 3 x 0, want 1 or more columns, the model dim", func(l *SelfAttention, o *Options, dst, x *Matrix) { l.Memory = &Matrix{Rows: 3} }},
		{"attn: Memory is -1 x 8, want 0 or more rows and columns", func(l *SelfAttention, o *Options, dst, x *Matrix) { l.Memory = &Matrix{Rows: -1, Cols: 8} }},
		{"attn: WK is 8 x 8, want 7 rows, the columns of Memory", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			l.Memory = &Matrix{Rows: 1, Cols: 7, Stride: 7, Data: make([]float32, 7)}
		}},
		{"attn: dst.Data shares memory with Memory", func(l *SelfAttention, o *Options, dst, x *Matrix) { l.Memory = &Matrix{9, 8, 8, dst.Data} }},
		{"attn: Options.KeyLen[0] is 9, want 0 to 2, the Len of k", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			l.Memory, o.KeyLen = &Matrix{2, 8, 8, make([]float32, 16)}, []int{9}
		}},
		{"attn: Rotary.Cos.Cols is 3, want at most 2, half of a head", func(l *SelfAttention, o *Options, dst, x *Matrix) { l.Rotary = NewRotaryTables(9, 6, 100, false) }},
		{"attn: Rotary.Cos.Rows is 8, want 9 or more, the keys of sequence 0", func(l *SelfAttention, o *Options, dst, x *Matrix) { l.Rotary = NewRotaryTables(8, 4, 100, false) }},
		{"attn: Rotary.Cos.Rows is 12, want rows for positions 4 to 12, those of the queries of sequence 0 by Options.Start", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			l.Rotary, o.Start = NewRotaryTables(12, 4, 100, false), []int{4}
		}},
		{"attn: Rotary.Cos.Rows is 12, want rows for positions -1 to 7, those of the queries of sequence 0 by Options.Start", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			l.Rotary, o.Start = NewRotaryTables(12, 4, 100, false), []int{-1}
		}},
		{"attn: Rotary.Sin is 9 x 1, want 9 x 2 as Rotary.Cos", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			l.Rotary = NewRotaryTables(9, 4, 100, false)
			l.Rotary.Sin.Cols = 1
		}},
		{"attn: Rotary.Cos.Stride is 1, want 2 or more, its columns", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			l.Rotary = NewRotaryTables(9, 4, 100, false)
			l.Rotary.Cos.Stride = 1
		}},
		{"attn: dst.Data shares memory with Rotary.Sin", func(l *SelfAttention, o *Options, dst, x *Matrix) {
			l.Rotary = NewRotaryTables(9, 4, 100, false)
			l.Rotary.Sin.Data = dst.Data
		}},
	} {
		l := newLayer(r, 8, 2, 2, 4, 4, 8, true, asmtest.Normal)
		dst, x := newMatrix(r, 9, 8, 8, asmtest.Normal), newMatrix(r, 9, 8, 8, asmtest.Normal)
		before := slices.Clone(dst.Data)
		var o Options
		c.change(l, &o, &dst, &x)
		require.EqualError(t, l.Forward(dst, x, &o), c.want)
		asmtest.Equal(t, before, dst.Data, "dst after %s", c.want)
	}
}

// Cross attention with rotations, from memory that other tokens are made of, allocates no more than other layers.
func TestLayerMemoryAllocations(t *testing.T) {
	if asmtest.Race {
		t.Skip("pools drop values at random under the race detector")
	}
	r := rand.New(rand.NewPCG(3, 43))
	l := newLayer(r, 8, 2, 2, 4, 4, 8, true, asmtest.Normal)
	memory := newMatrix(r, 20, 8, 8, asmtest.Normal)
	l.Memory, l.Rotary = &memory, NewRotaryTables(30, 4, 100, true)
	dst, x := newMatrix(r, 9, 8, 8, asmtest.Normal), newMatrix(r, 9, 8, 8, asmtest.Normal)
	o := &Options{Workers: 1}
	require.Zero(t, testing.AllocsPerRun(20, func() {
		if err := l.Forward(dst, x, o); err != nil {
			t.Fatal(err)
		}
	}))
}

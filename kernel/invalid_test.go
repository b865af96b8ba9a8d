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

// Bad input is an error that names the argument, before anything is written.

// tensors are the arguments of Attention and the shapes that they have here.
var tensors = []struct {
	name                   string
	of                     func(p *problem) *Tensor
	batch, heads, len, dim int
}{
	{"dst", func(p *problem) *Tensor { return &p.dst }, 2, 4, 3, 5},
	{"q", func(p *problem) *Tensor { return &p.q }, 2, 4, 3, 6},
	{"k", func(p *problem) *Tensor { return &p.k }, 2, 2, 7, 6},
	{"v", func(p *problem) *Tensor { return &p.v }, 2, 2, 7, 5},
}

// refuses fails unless Attention refuses the problem that change makes, with this error, and
// leaves dst alone.
func refuses(t *testing.T, want string, change func(p *problem)) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 11))
	p := newProblem(r, shape{2, 4, 2, 3, 7, 6, 5}, packedLayout, asmtest.Normal, Options{})
	for _, x := range tensors {
		*x.of(p) = explicit(*x.of(p))
	}
	require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o), "without the change")
	change(p)
	before := slices.Clone(p.dst.Data)
	require.EqualError(t, Attention(p.dst, p.q, p.k, p.v, &p.o), want)
	require.Equal(t, bitsOf(before), bitsOf(p.dst.Data), "%s: nothing is written", want)
}

func bitsOf(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

// One tensor by itself.
func TestBadTensor(t *testing.T) {
	for _, x := range tensors {
		shape := fmt.Sprintf("[%d][%d][%d][%d]", x.batch, x.heads, x.len, x.dim)
		size := x.batch * x.heads * x.len * x.dim
		row, head, member := x.dim, x.len*x.dim, x.heads*x.len*x.dim
		with := func(batch, head, len int) string {
			return fmt.Sprintf("%s with BatchStride %d, HeadStride %d, LenStride %d", shape, batch, head, len)
		}
		for _, c := range []struct {
			want   string
			change func(t *Tensor)
		}{
			{"Batch is -1, want 0 or more", func(t *Tensor) { t.Batch = -1 }},
			{"Heads is -2, want 0 or more", func(t *Tensor) { t.Heads = -2 }},
			{"Len is -3, want 0 or more", func(t *Tensor) { t.Len = -3 }},
			{"Dim is -4, want 0 or more", func(t *Tensor) { t.Dim = -4 }},
			{"BatchStride is -1, want 0 or more", func(t *Tensor) { t.BatchStride = -1 }},
			{"HeadStride is -1, want 0 or more", func(t *Tensor) { t.HeadStride = -1 }},
			{"LenStride is -1, want 0 or more", func(t *Tensor) { t.LenStride = -1 }},

			{"Dim is 0, want 1 to 8192", func(t *Tensor) { t.Dim = 0 }},
			{"Dim is 8193, want 1 to 8192", func(t *Tensor) { t.Dim = 8193 }},

			{fmt.Sprintf("LenStride is %d: rows overlap, want %d or more (%s)", row-1, row, with(member, head, row-1)), func(t *Tensor) { t.LenStride-- }},
			{fmt.Sprintf("LenStride is 0, want %d or more, its Dim (set all strides, or none of a packed tensor)", row), func(t *Tensor) { t.LenStride = 0 }},
			{fmt.Sprintf("LenStride is 0, want %d or more, its Dim (set all strides, or none of a packed tensor)", row),
				func(t *Tensor) { t.BatchStride, t.LenStride = 0, 0 }},
			{fmt.Sprintf("HeadStride is %d: rows overlap, want %d or more (%s)", head-1, head, with(member, head-1, row)), func(t *Tensor) { t.HeadStride-- }},
			{fmt.Sprintf("BatchStride is %d: rows overlap, want %d or more (%s)", member-1, member, with(member-1, head, row)), func(t *Tensor) { t.BatchStride-- }},
			// [B][L][H][D]: heads are nearer than rows.
			{fmt.Sprintf("LenStride is %d: rows overlap, want %d or more (%s)", x.heads*row-1, x.heads*row, with(member, row, x.heads*row-1)),
				func(t *Tensor) { t.HeadStride, t.LenStride = row, x.heads*row-1 }},

			{fmt.Sprintf("Data has %d elements, want %d or more for %s", size-1, size, with(member, head, row)), func(t *Tensor) { t.Data = t.Data[:size-1] }},
			{fmt.Sprintf("Data has 0 elements, want %d or more for %s", size, with(member, head, row)), func(t *Tensor) { t.Data = nil }},
			{fmt.Sprintf("Data has %d elements, want %d or more for %s", size, size+1, with(member+1, head, row)),
				func(t *Tensor) { t.Data, t.BatchStride = t.Data[:size], member+1 }},
		} {
			refuses(t, "attn: "+x.name+"."+c.want, func(p *problem) { c.change(x.of(p)) })
		}

		// Without strides Data has the size of a packed tensor.
		for _, c := range []struct {
			want   string
			change func(t *Tensor)
		}{
			{fmt.Sprintf("Data has %d elements, want exactly %d for packed %s", size-1, size, shape),
				func(t *Tensor) { t.Data = t.Data[:size-1] }},
			{fmt.Sprintf("Data has %d elements, want exactly %d for packed %s; if it has room for %d rows a head, set LenStride %d, HeadStride %d, BatchStride %d",
				2*size, size, shape, 2*x.len, row, 2*head, 2*member), func(t *Tensor) { t.Data = make([]float32, 2*size) }},
			{fmt.Sprintf("Data has 1 elements, want exactly 0 for packed [%d][%d][0][%d]", x.batch, x.heads, x.dim),
				func(t *Tensor) { t.Data, t.Len = make([]float32, 1), 0 }},
		} {
			refuses(t, "attn: "+x.name+"."+c.want, func(p *problem) {
				t := x.of(p)
				t.BatchStride, t.HeadStride, t.LenStride = 0, 0, 0
				c.change(t)
			})
		}

		// Products that overflow int.
		for _, c := range []struct {
			want   string
			change func(t *Tensor)
		}{
			{fmt.Sprintf("%s is [%d][%d][%d][%d]: its size overflows int", x.name, x.batch, x.heads, math.MaxInt, x.dim),
				func(t *Tensor) { t.Len, t.BatchStride, t.HeadStride, t.LenStride = math.MaxInt, 0, 0, 0 }},
			{fmt.Sprintf("%s is [%d][%d][%d][%d]: its size overflows int", x.name, x.batch, math.MaxInt, x.len, x.dim),
				func(t *Tensor) { t.Heads, t.BatchStride, t.HeadStride, t.LenStride = math.MaxInt, 0, 0, 0 }},
			{fmt.Sprintf("%s is [%d][%d][%d][%d]: its size overflows int", x.name, math.MaxInt, x.heads, x.len, x.dim),
				func(t *Tensor) { t.Batch = math.MaxInt }},
			{fmt.Sprintf("%s is [%d][%d][%d][%d]: its size overflows int", x.name, math.MaxInt/4, x.heads, x.len, x.dim), // shared
				func(t *Tensor) { t.Batch, t.BatchStride = math.MaxInt/4, 0 }},
			{fmt.Sprintf("%s is %s with LenStride %d: its size overflows int", x.name, shape, math.MaxInt),
				func(t *Tensor) { t.LenStride = math.MaxInt }},
			{fmt.Sprintf("%s is %s with BatchStride %d: its size overflows int", x.name, shape, math.MaxInt-1),
				func(t *Tensor) { t.BatchStride = math.MaxInt - 1 }},
		} {
			refuses(t, "attn: "+c.want, func(p *problem) { c.change(x.of(p)) })
		}
	}
}

// Tensors that do not fit together, and options.
func TestBadProblem(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(p *problem)
	}{
		{"k.Batch is 1, want 2 as of q", func(p *problem) { p.k.Batch = 1 }},
		{"v.Batch is 1, want 2 as of q", func(p *problem) { p.v.Batch = 1 }},
		{"dst.Batch is 1, want 2 as of q", func(p *problem) { p.dst.Batch = 1 }},
		{"k.Heads is 3, want a divisor of 4, the heads of q", func(p *problem) {
			p.k = newTensor(rand.New(rand.NewPCG(1, 1)), 2, 3, 7, 6, bhld, asmtest.Normal)
		}},
		{"v.Heads is 1, want 2 as of k", func(p *problem) { p.v.Heads = 1 }},
		{"dst.Heads is 2, want 4 as of q", func(p *problem) { p.dst.Heads = 2 }},
		{"k.Dim is 5, want 6 as of q", func(p *problem) { p.k.Dim = 5 }},
		{"dst.Dim is 4, want 5 as of v", func(p *problem) { p.dst.Dim = 4 }},
		{"v.Len is 6, want 7 as of k", func(p *problem) { p.v.Len = 6 }},
		{"dst.Len is 2, want 3 as of q", func(p *problem) { p.dst.Len = 2 }},

		{"dst.HeadStride is 0: rows that are written overlap, want more for [2][4][3][5] (set all strides, or none of a packed tensor)",
			func(p *problem) { p.dst.HeadStride = 0 }},
		{"dst.BatchStride is 0: rows that are written overlap, want more for [2][4][3][5] (set all strides, or none of a packed tensor)",
			func(p *problem) { p.dst.BatchStride = 0 }},
		{"k.Data has 262144 elements, want exactly 320 for packed [1][1][5][64]; if it has room for 4096 rows a head, set LenStride 64, HeadStride 262144, BatchStride 262144",
			func(p *problem) { p.k = Tensor{Data: make([]float32, 4096*64), Len: 5, Dim: 64} }},
		{"k.LenStride is 0, want 64 or more, its Dim (set all strides, or none of a packed tensor)",
			func(p *problem) {
				p.k = Tensor{Data: make([]float32, 2*4096*64), Heads: 2, Len: 5, Dim: 64, HeadStride: 4096 * 64}
			}},
		{"k.Batch is 1, want 2 as of q", func(p *problem) { p.k.Batch = 0 }},

		{"Options.Scale is NaN, want a finite number of a magnitude below 2.3e38", func(p *problem) { p.o.Scale = nan }},
		{"Options.Scale is +Inf, want a finite number of a magnitude below 2.3e38", func(p *problem) { p.o.Scale = inf }},
		{"Options.Scale is -Inf, want a finite number of a magnitude below 2.3e38", func(p *problem) { p.o.Scale = -inf }},
		{"Options.Workers is -1, want 0 or more", func(p *problem) { p.o.Workers = -1 }},

		{"dst.Data shares memory with k.Data", func(p *problem) { p.dst.Data = p.k.Data }},
		{"dst.Data shares memory with v.Data", func(p *problem) { p.dst.Data = p.v.Data }},
		{"dst.Data shares memory with v.Data", func(p *problem) { // by the last element of dst
			memory := slices.Repeat([]float32{1}, 400)
			p.dst.Data, p.v.Data = memory[:120], memory[119:]
		}},
		{"dst.Data shares memory with q.Data without being the same view", func(p *problem) { // rows of other lengths
			p.dst.Data = p.q.Data
		}},
		{"dst.Data shares memory with q.Data without being the same view", func(p *problem) { // one element ahead
			square(p)
			memory := slices.Repeat([]float32{1}, 200)
			p.dst.Data, p.q.Data = memory[1:], memory
		}},
		{"dst.Data shares memory with q.Data without being the same view", func(p *problem) { // other strides
			square(p)
			p.dst.Data = p.q.Data
			p.dst.HeadStride, p.dst.LenStride = 6, 24
		}},
	} {
		refuses(t, "attn: "+c.want, c.change)
	}
}

// square gives the values the dimension of the keys.
func square(p *problem) { p.v, p.dst = p.k, p.q }

// An index of a key fits an int32.
func TestTooManyKeys(t *testing.T) {
	k := Tensor{Batch: 1, Heads: 1, Len: math.MaxInt32, Dim: 1}
	q := Tensor{Batch: 1, Heads: 1, Len: 1, Dim: 1}
	require.NoError(t, checkQueryKey("q", "k", &q, &k))
	if k.Len++; k.Len > 0 { // else int has 32 bits
		require.EqualError(t, checkQueryKey("q", "k", &q, &k), "attn: k.Len is 2147483648, want at most 2147483647")
	}
}

// Memory that only touches, or that a tensor does not use, is not shared.
func TestNeighboursAreNoOverlap(t *testing.T) {
	memory := slices.Repeat([]float32{1}, 30)
	x := func(from int) Tensor { return Tensor{Data: memory[from:][:10], Batch: 1, Heads: 1, Len: 2, Dim: 5} }
	require.NoError(t, Attention(x(10), x(0), x(20), x(20), nil))
	c := func(from int) Matrix { return Matrix{2, 2, 2, memory[from:]} }
	require.NoError(t, MatMul(c(4), c(0), c(8), nil))
	require.NoError(t, MatMul(c(8), c(0), c(4), nil))
}

func TestBadMatMul(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(c, a, b *Matrix)
	}{
		{"c is -1 x 5, want 0 or more rows and columns", func(c, a, b *Matrix) { c.Rows = -1 }},
		{"a is 3 x -1, want 0 or more rows and columns", func(c, a, b *Matrix) { a.Cols = -1 }},
		{"b is -4 x 5, want 0 or more rows and columns", func(c, a, b *Matrix) { b.Rows = -4 }},
		{"c.Stride is 4, want 5 or more, its columns", func(c, a, b *Matrix) { c.Stride = 4 }},
		{"a.Stride is 0, want 4 or more, its columns", func(c, a, b *Matrix) { a.Stride = 0 }},
		{"b.Stride is -5, want 5 or more, its columns", func(c, a, b *Matrix) { b.Stride = -5 }},
		{"c.Data has 14 elements, want 15 or more for 3 x 5 with stride 5", func(c, a, b *Matrix) { c.Data = c.Data[:14] }},
		{"a.Data has 15 elements, want 16 or more for 3 x 4 with stride 6", func(c, a, b *Matrix) { a.Data = a.Data[:15] }},
		{"b.Data has 0 elements, want 20 or more for 4 x 5 with stride 5", func(c, a, b *Matrix) { b.Data = nil }},
		{fmt.Sprintf("a is %d x 4 with stride 6: its size overflows int", math.MaxInt), func(c, a, b *Matrix) { a.Rows = math.MaxInt }},
		{fmt.Sprintf("b is 4 x 5 with stride %d: its size overflows int", math.MaxInt), func(c, a, b *Matrix) { b.Stride = math.MaxInt }},
		{"b is 3 x 5, want 4 rows, the columns of a", func(c, a, b *Matrix) { b.Rows = 3 }},
		{"c is 2 x 5, want 3 x 5, the rows of a by the columns of b", func(c, a, b *Matrix) { c.Rows = 2 }},
		{"c is 3 x 4, want 3 x 5, the rows of a by the columns of b", func(c, a, b *Matrix) { c.Cols = 4 }},
		{"c.Data shares memory with a.Data", func(c, a, b *Matrix) { c.Data = a.Data }},
		{"c.Data shares memory with a.Data", func(c, a, b *Matrix) { c.Data = a.Data[15:31] }},
		{"c.Data shares memory with b.Data", func(c, a, b *Matrix) { c.Data = b.Data }},
	} {
		memory := slices.Repeat([]float32{1}, 100)
		m, a, b := Matrix{3, 5, 5, memory[:15]}, Matrix{3, 4, 6, memory[16:]}, Matrix{4, 5, 5, memory[60:80]}
		require.NoError(t, MatMul(m, a, b, nil))
		c.change(&m, &a, &b)
		before := slices.Clone(memory)
		require.EqualError(t, MatMul(m, a, b, nil), "attn: "+c.want)
		require.Equal(t, before, memory, "%s: nothing is written", c.want)
	}
	memory := make([]float32, 100)
	m := func(rows, cols int, data []float32) Matrix { return Matrix{rows, cols, cols, data} }
	for _, c := range []struct {
		want    string
		c, a, b Matrix
		o       MatMulOptions
	}{
		{"b is 4 x 5, want 3 rows, the rows of a", m(4, 5, memory), m(3, 4, memory[20:]), m(4, 5, memory[40:]), MatMulOptions{TransA: true}},
		{"b is 5 x 4 and transposed, want 3 columns, the columns of a", m(3, 5, memory), m(4, 3, memory[20:]), m(5, 4, memory[40:]), MatMulOptions{TransB: true}},
		{"b is 5 x 4 and transposed, want 3 columns, the rows of a", m(3, 5, memory), m(3, 4, memory[20:]), m(5, 4, memory[40:]), MatMulOptions{TransA: true, TransB: true}},
		{"c is 3 x 5, want 4 x 5, the columns of a by the columns of b", m(3, 5, memory), m(3, 4, memory[20:]), m(3, 5, memory[40:]), MatMulOptions{TransA: true}},
		{"c is 3 x 5, want 3 x 4, the rows of a by the rows of b", m(3, 5, memory), m(3, 5, memory[20:]), m(4, 5, memory[40:]), MatMulOptions{TransB: true}},
		{"MatMulOptions.Bias has 4 elements, want 5, the columns of c", m(3, 5, memory), m(3, 4, memory[20:]), m(4, 5, memory[40:]), MatMulOptions{Bias: memory[90:94]}},
		{"MatMulOptions.Bias has 0 elements, want 5, the columns of c", m(3, 5, memory), m(3, 4, memory[20:]), m(4, 5, memory[40:]), MatMulOptions{Bias: []float32{}}},
		{"c.Data shares memory with MatMulOptions.Bias", m(3, 5, memory), m(3, 4, memory[20:]), m(4, 5, memory[40:]), MatMulOptions{Bias: memory[14:19]}},
	} {
		require.EqualError(t, MatMul(c.c, c.a, c.b, &c.o), "attn: "+c.want)
		if c.o.TransB {
			continue
		}
		p, err := Pack(c.b, nil)
		require.NoError(t, err)
		require.EqualError(t, MatMulPacked(c.c, c.a, p, &c.o), "attn: "+c.want)
	}
	require.Equal(t, make([]float32, 100), memory, "nothing is written")
	p, err := Pack(m(4, 5, memory), nil)
	require.NoError(t, err)
	require.EqualError(t, MatMulPacked(Matrix{}, Matrix{}, nil, nil), "attn: b is nil, want what Pack returned")
	require.EqualError(t, MatMulPacked(m(3, 5, memory), m(3, 4, memory[20:]), p, &MatMulOptions{TransB: true}),
		"attn: MatMulOptions.TransB is set, want PackOptions.Trans when b is packed")
	require.EqualError(t, MatMulPacked(m(3, 5, memory), m(3, 4, memory[20:]), p, &MatMulOptions{Workers: -1}),
		"attn: MatMulOptions.Workers is -1, want 0 or more")
	for _, bad := range []Type{-1, 4} {
		_, err := Pack(m(4, 5, memory), &PackOptions{Type: bad})
		require.EqualError(t, err, fmt.Sprintf("attn: PackOptions.Type is %d, want Float32, Float16, BFloat16 or Int8", bad))
	}
	for _, b := range []struct {
		want string
		b    Matrix
	}{
		{"b is 4 x -5, want 0 or more rows and columns", Matrix{4, -5, 5, memory}},
		{"b.Stride is 4, want 5 or more, its columns", Matrix{4, 5, 4, memory}},
		{"b.Data has 19 elements, want 20 or more for 4 x 5 with stride 5", Matrix{4, 5, 5, memory[:19]}},
	} {
		_, err := Pack(b.b, &PackOptions{Trans: true})
		require.EqualError(t, err, "attn: "+b.want)
	}
	require.EqualError(t, MatMul(Matrix{}, Matrix{}, Matrix{}, &MatMulOptions{Workers: -1}), "attn: MatMulOptions.Workers is -1, want 0 or more")
}

func TestBadSelfAttention(t *testing.T) {
	type layer = SelfAttention
	for _, c := range []struct {
		want   string
		change func(l *layer, dst, x *Matrix)
	}{
		{"Heads is -1, want 0 or more", func(l *layer, dst, x *Matrix) { l.Heads = -1 }},
		{"KVHeads is 3, want a divisor of Heads = 4", func(l *layer, dst, x *Matrix) { l.KVHeads = 3 }},
		{"KVHeads is -2, want a divisor of Heads = 4", func(l *layer, dst, x *Matrix) { l.KVHeads = -2 }},
		{"x is 9 x -8, want 0 or more rows and columns", func(l *layer, dst, x *Matrix) { x.Cols = -8 }},
		{"x is 9 x 0, want 1 or more columns, the model dim", func(l *layer, dst, x *Matrix) { x.Cols = 0 }},
		{"x.Data has 5 elements, want 72 or more for 9 x 8 with stride 8", func(l *layer, dst, x *Matrix) { x.Data = x.Data[:5] }},
		{"WQ is 8 x 12, want 7 rows, the columns of x", func(l *layer, dst, x *Matrix) { x.Cols = 7 }},
		{"WK is 7 x 6, want 8 rows, the columns of x", func(l *layer, dst, x *Matrix) { l.WK.Rows = 7 }},
		{"WV is 7 x 10, want 8 rows, the columns of x", func(l *layer, dst, x *Matrix) { l.WV.Rows = 7 }},
		{"WO is 19 x 7, want 20 rows, WV.Cols * Heads / KVHeads", func(l *layer, dst, x *Matrix) { l.WO.Rows = 19 }},
		{"WQ.Stride is 1, want 12 or more, its columns", func(l *layer, dst, x *Matrix) { l.WQ.Stride = 1 }},
		{"WQ has 11 columns, want a multiple of Heads = 4, each head 1 to 8192", func(l *layer, dst, x *Matrix) { l.WQ.Cols, l.BQ = 11, nil }},
		{"WK has 5 columns, want a multiple of KVHeads = 2, each head 1 to 8192", func(l *layer, dst, x *Matrix) { l.WK.Cols, l.BK = 5, nil }},
		{"WK has 4 columns, want 6, KVHeads = 2 heads of 3 as in WQ", func(l *layer, dst, x *Matrix) { l.WK.Cols, l.BK = 4, nil }},
		{"WV has 9 columns, want a multiple of KVHeads = 2, each head 1 to 8192", func(l *layer, dst, x *Matrix) { l.WV.Cols, l.BV = 9, nil }},
		{"WV has 0 columns, want a multiple of KVHeads = 2, each head 1 to 8192", func(l *layer, dst, x *Matrix) { l.WV = Matrix{Rows: 8}; l.BV = nil }},
		{"BQ has 11 elements, want 12, the columns of WQ", func(l *layer, dst, x *Matrix) { l.BQ = l.BQ[:11] }},
		{"BK has 0 elements, want 6, the columns of WK", func(l *layer, dst, x *Matrix) { l.BK = []float32{} }},
		{"BV has 11 elements, want 10, the columns of WV", func(l *layer, dst, x *Matrix) { l.BV = make([]float32, 11) }},
		{"BO has 1 elements, want 7, the columns of WO", func(l *layer, dst, x *Matrix) { l.BO = l.BO[:1] }},
		{"BO has 7 elements, want none without WO", func(l *layer, dst, x *Matrix) { l.WO = Matrix{} }},
		{"dst is 8 x 7, want 9 x 7, the tokens by the output dim", func(l *layer, dst, x *Matrix) { dst.Rows = 8 }},
		{"dst is 9 x 7, want 9 x 20, the tokens by the output dim", func(l *layer, dst, x *Matrix) { l.WO, l.BO = Matrix{}, nil }},
		{"dst.Stride is 6, want 7 or more, its columns", func(l *layer, dst, x *Matrix) { dst.Stride = 6 }},
		{"dst.Data shares memory with x", func(l *layer, dst, x *Matrix) { x.Data = slices.Concat(dst.Data, dst.Data); dst.Data = x.Data }},
		{"dst.Data shares memory with WQ", func(l *layer, dst, x *Matrix) { dst.Data = l.WQ.Data }},
		{"dst.Data shares memory with WV", func(l *layer, dst, x *Matrix) { dst.Data = l.WV.Data }},
		{"dst.Data shares memory with WO", func(l *layer, dst, x *Matrix) { dst.Data = l.WO.Data }},
		{"dst.Data shares memory with WK", func(l *layer, dst, x *Matrix) { l.WK = Matrix{8, 6, 6, dst.Data} }},
		{"dst.Data shares memory with BQ", func(l *layer, dst, x *Matrix) { l.BQ = dst.Data[51:] }},
		{"dst.Data shares memory with BK", func(l *layer, dst, x *Matrix) { l.BK = dst.Data[:6] }},
		{"dst.Data shares memory with BV", func(l *layer, dst, x *Matrix) { l.BV = dst.Data[:10] }},
		{"dst.Data shares memory with BO", func(l *layer, dst, x *Matrix) { l.BO = dst.Data[20:27] }},
	} {
		r := rand.New(rand.NewPCG(1, 11))
		l := newLayer(r, 8, 4, 2, 3, 5, 7, true, asmtest.Normal)
		x, dst := Matrix{9, 8, 8, make([]float32, 72)}, Matrix{9, 7, 7, make([]float32, 63)}
		require.NoError(t, l.Forward(dst, x, nil))
		c.change(l, &dst, &x)
		before := slices.Clone(dst.Data)
		require.EqualError(t, l.Forward(dst, x, nil), "attn: "+c.want)
		require.Equal(t, bitsOf(before), bitsOf(dst.Data), "%s: nothing is written", c.want)
	}
	r := rand.New(rand.NewPCG(2, 11))
	l := newLayer(r, 8, 4, 2, 3, 5, 7, true, asmtest.Normal)
	for _, c := range []struct {
		want string
		o    Options
	}{{"attn: Options.Workers is -1, want 0 or more", Options{Workers: -1}}, {"attn: Options.Scale is NaN, want a finite number of a magnitude below 2.3e38", Options{Scale: nan}}} {
		dst := newMatrix(r, 9, 7, 7, asmtest.Normal)
		before := slices.Clone(dst.Data)
		require.EqualError(t, l.Forward(dst, newMatrix(r, 9, 8, 8, asmtest.Normal), &c.o), c.want)
		require.Equal(t, bitsOf(before), bitsOf(dst.Data), "%s: nothing is written", c.want)
	}
	for _, c := range []struct {
		want   string
		change func(dst *Matrix, head *int, tokens *[]int)
	}{
		{"head is 4, want one of Heads = 4", func(dst *Matrix, head *int, tokens *[]int) { *head = 4 }},
		{"head is -1, want one of Heads = 4", func(dst *Matrix, head *int, tokens *[]int) { *head = -1 }},
		{"tokens[1] is 9, want one of the 9 of x", func(dst *Matrix, head *int, tokens *[]int) { *tokens = []int{0, 9} }},
		{"tokens[0] is -1, want one of the 9 of x", func(dst *Matrix, head *int, tokens *[]int) { *tokens = []int{-1, 9} }},
		{"dst is 2 x 9, want 1 x 9, the chosen tokens by the keys", func(dst *Matrix, head *int, tokens *[]int) { *tokens = []int{3} }},
		{"dst is 2 x 8, want 2 x 9, the chosen tokens by the keys", func(dst *Matrix, head *int, tokens *[]int) { dst.Cols = 8 }},
		{"dst.Data shares memory with WQ", func(dst *Matrix, head *int, tokens *[]int) { dst.Data = l.WQ.Data }},
		{"dst.Data shares memory with WK", func(dst *Matrix, head *int, tokens *[]int) { dst.Data = l.WK.Data }},
		{"dst.Data shares memory with BQ", func(dst *Matrix, head *int, tokens *[]int) { l.BQ = dst.Data[6:] }},
		{"dst.Data shares memory with BK", func(dst *Matrix, head *int, tokens *[]int) { l.BK = dst.Data[12:] }},
	} {
		bq, bk := l.BQ, l.BK
		dst, head, tokens := Matrix{2, 9, 9, make([]float32, 18)}, 3, []int{0, 8}
		x := newMatrix(r, 9, 8, 8, asmtest.Normal)
		require.NoError(t, l.Weights(dst, x, head, tokens, nil))
		c.change(&dst, &head, &tokens)
		before := slices.Clone(dst.Data)
		require.EqualError(t, l.Weights(dst, x, head, tokens, nil), "attn: "+c.want)
		require.Equal(t, bitsOf(before), bitsOf(dst.Data), "%s: nothing is written", c.want)
		l.BQ, l.BK = bq, bk
	}
	l = nil
	const isNil = "attn: the *SelfAttention is nil, want a layer"
	require.EqualError(t, l.Forward(Matrix{}, Matrix{}, nil), isNil)
	require.EqualError(t, l.Weights(Matrix{}, Matrix{}, 0, nil, nil), isNil)
}

// Sizes whose products no int or no machine holds.
func TestLayerTooLarge(t *testing.T) {
	ones := func(rows, cols int) Matrix { return Matrix{rows, cols, cols, slices.Repeat([]float32{1}, rows*cols)} }
	for _, c := range []struct{ tokens, heads, d int }{{1_000_000, 1000, 1024}, {65_537, 65_537, 1}} {
		cols := c.heads * c.d
		w := ones(1, cols)
		l := &SelfAttention{Heads: c.heads, WQ: w, WK: w, WV: w, WO: ones(cols, 1)}
		dst, x := ones(c.tokens, 1), ones(c.tokens, 1)
		for _, workers := range []int{1, 2} {
			require.EqualError(t, l.Forward(dst, x, &Options{Workers: workers}), fmt.Sprintf(
				"attn: K and V, %d x %d and %[1]d x %[2]d, take %d bytes, want at most 1073741824", c.tokens, cols, 8*int64(c.tokens)*int64(cols)))
		}
		require.Equal(t, ones(c.tokens, 1), dst, "nothing is written")
	}
	f, x := forward{}, Matrix{Rows: 50_000, Cols: 100} // what x takes is the measure
	require.NoError(t, f.checkMemory("K and V", x, 3200, x, 3200))
	require.EqualError(t, f.checkMemory("K and V", x, 3200, x, 3201), "attn: K and V, 50000 x 3200 and 50000 x 3201, take 1280200000 bytes, want at most 1280000000")

	tokens := ones(200_000, 1)
	l := &SelfAttention{WQ: ones(1, 1024), WK: ones(1, 1024), WV: ones(1, 1)}
	require.EqualError(t, l.Weights(ones(1, 200_000), tokens, 0, []int{0}, nil),
		"attn: Q and K of a head, 200000 x 1024 and 200000 x 1024, take 1638400000 bytes, want at most 1073741824")

	// Weights without elements have any number of columns.
	none := func(cols int) Matrix { return Matrix{Cols: cols} }
	l = &SelfAttention{Heads: math.MaxInt, KVHeads: 1, WQ: none(math.MaxInt), WK: none(1), WV: none(2)}
	require.EqualError(t, l.Forward(Matrix{}, Matrix{}, nil), fmt.Sprintf("attn: Heads is %d, with heads of 2 as in WV: their size overflows int", math.MaxInt))

	if math.MaxInt == math.MaxInt32 || asmtest.Emulated {
		t.Skip("an emulator keeps books on every page that is reserved")
	}
	n := math.MaxInt>>20 + 2 // 2^43 + 1
	x = Matrix{n, 1, 1, asmtest.Sparse(t, n)}
	l = &SelfAttention{Heads: 1 << 11, WQ: ones(1, 1<<21), WK: ones(1, 1<<21), WV: ones(1, 1<<21)}
	require.EqualError(t, l.Forward(Matrix{}, x, nil), "attn: x is 8796093022209 x 1, want at most 2147483647 rows")
}

func TestBadWeights(t *testing.T) {
	type args struct {
		dst         Matrix
		q, k        Tensor
		batch, head int
		queries     []int
		o           Options
	}
	for _, c := range []struct {
		want   string
		change func(a *args)
	}{
		{"batch is 2, want 0 to 1, a member of q", func(a *args) { a.batch = 2 }},
		{"batch is -1, want 0 to 1, a member of q", func(a *args) { a.batch = -1 }},
		{"head is 4, want 0 to 3, a head of q", func(a *args) { a.head = 4 }},
		{"head is -1, want 0 to 3, a head of q", func(a *args) { a.head = -1 }},
		{"queries[1] is 3, want an index below 3, the Len of q", func(a *args) { a.queries = []int{0, 3} }},
		{"queries[0] is -1, want an index below 3, the Len of q", func(a *args) { a.queries = []int{-1, 0} }},
		{"dst is 2 x 7, want 1 x 7, the queries by the keys", func(a *args) { a.queries = []int{0} }},
		{"dst is 2 x 6, want 2 x 7, the queries by the keys", func(a *args) { a.dst.Cols = 6 }},
		{"dst.Data has 13 elements, want 14 or more for 2 x 7 with stride 7", func(a *args) { a.dst.Data = a.dst.Data[:13] }},
		{"dst.Data shares memory with q.Data", func(a *args) { a.dst.Data = a.q.Data }},
		{"dst.Data shares memory with k.Data", func(a *args) { a.dst.Data = a.k.Data[10:] }},
		{"q.Dim is 8193, want 1 to 8192", func(a *args) { a.q.Dim = 8193 }},
		{"k.LenStride is -1, want 0 or more", func(a *args) { a.k.LenStride = -1 }},
		{"k.Batch is 1, want 2 as of q", func(a *args) { a.k.Batch = 1 }},
		{"k.Dim is 5, want 6 as of q", func(a *args) { a.k.Dim = 5 }},
		{"Options.Scale is +Inf, want a finite number of a magnitude below 2.3e38", func(a *args) { a.o.Scale = inf }},
		{"Options.Workers is -1, want 0 or more", func(a *args) { a.o.Workers = -1 }},
	} {
		r := rand.New(rand.NewPCG(1, 11))
		a := args{Matrix{2, 7, 7, make([]float32, 14)}, newTensor(r, 2, 4, 3, 6, bhld, asmtest.Normal), newTensor(r, 2, 2, 7, 6, bhld, asmtest.Normal),
			1, 2, []int{0, 2}, Options{}}
		c.change(&a)
		before := slices.Clone(a.dst.Data)
		require.EqualError(t, AttentionWeights(a.dst, a.q, a.k, a.batch, a.head, a.queries, &a.o), "attn: "+c.want)
		require.Equal(t, bitsOf(before), bitsOf(a.dst.Data), "%s: nothing is written", c.want)
	}
}

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// rotated returns x.Data after generic.Rotary on each row.
func rotated(x Tensor, cos, sin Matrix, start []int, interleaved bool) []float32 {
	x.Data = slices.Clone(x.Data)
	for n, row := range rows(x) {
		first := 0
		if start != nil {
			first = start[n/x.Len/x.Heads%len(start)]
		}
		at := first + n%x.Len
		generic.Rotary(row, cos.Data[at*cos.Stride:][:cos.Cols], sin.Data[at*sin.Stride:][:sin.Cols], interleaved)
	}
	return x.Data
}

// Rotary equals generic.Rotary bit for bit, whatever the values, the layout, the part that is rotated and the
// starts are, and writes nothing else.
func TestRotary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 20))
	for range trials(600) {
		kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
		pairs := pick(r, r.IntN(20), 32, 64, 1+r.IntN(100))
		x := newTensor(r, 1+r.IntN(3), 1+r.IntN(4), pick(r, 1, 1+r.IntN(20), 1+r.IntN(300)), max(1, 2*pairs+r.IntN(2)*r.IntN(30)), anyLayout(r), kind)
		var start []int
		for range pick(r, 0, 1, x.Batch) {
			start = append(start, r.IntN(9))
		}
		length := 8 + x.Len
		cos, sin := newMatrix(r, length, pairs, pairs+r.IntN(3), kind), newMatrix(r, length, pairs, pairs+r.IntN(3), kind)
		interleaved := r.IntN(2) == 0
		want := rotated(x, cos, sin, start, interleaved)
		require.NoError(t, Rotary(x, cos, sin, start, interleaved))
		asmtest.Equal(t, want, x.Data, "%d pairs of %s, start %v, interleaved %v, kind %d", pairs, x.shape(), start, interleaved, kind)
	}
}

// x and the tables may begin at any byte.
func TestRotaryAlignment(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 20))
	at := func(x []float32, offset int) []float32 {
		memory := make([]byte, 4*len(x)+128)
		start := (64-int(uintptr(unsafe.Pointer(&memory[0]))%64))%64 + offset
		moved := unsafe.Slice((*float32)(unsafe.Pointer(&memory[start])), len(x))
		copy(moved, x)
		return moved
	}
	x, cos, sin := newTensor(r, 1, 2, 3, 51, tight, asmtest.Normal), newMatrix(r, 3, 23, 23, asmtest.Normal), newMatrix(r, 3, 23, 23, asmtest.Normal)
	for offset := range 64 {
		for _, interleaved := range []bool{false, true} {
			y, c, s := x, cos, sin
			y.Data, c.Data, s.Data = at(x.Data, offset), at(cos.Data, 63-offset), at(sin.Data, offset/2)
			require.NoError(t, Rotary(y, c, s, nil, interleaved))
			asmtest.Equal(t, rotated(x, cos, sin, nil, interleaved), y.Data, "at byte %d", offset)
		}
	}
}

// No memory is touched that the arguments do not contain.
func TestRotaryFences(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	r := rand.New(rand.NewPCG(3, 20))
	memory := [3]*fenced{newFenced(t), newFenced(t), newFenced(t)}
	for range trials(300) {
		pairs := 1 + r.IntN(70)
		x := newTensor(r, 1+r.IntN(2), 1+r.IntN(3), 1+r.IntN(9), 2*pairs+r.IntN(2)*r.IntN(9), tight, asmtest.Normal)
		cos, sin := newMatrix(r, x.Len, pairs, pairs, asmtest.Normal), newMatrix(r, x.Len, pairs, pairs, asmtest.Normal)
		interleaved := r.IntN(2) == 0
		y := memory[0].tensor(r, x)
		require.NoError(t, Rotary(y, memory[1].matrix(r, cos), memory[2].matrix(r, sin), nil, interleaved))
		x.Data = rotated(x, cos, sin, nil, interleaved)
		asmtest.Equal(t, flat(x), flat(y), "%d pairs of %s", pairs, x.shape())
	}
}

// Each element is within the bound of the docstring, by tables of angles and by any factors.
func TestRotaryBound(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 20))
	worst := 0.0
	for _, kind := range []asmtest.Kind{asmtest.Normal, asmtest.Ties, asmtest.Wide} {
		const pairs, length = 33, 50
		tables := NewRotaryTables(length, 2*pairs, 10000, false)
		for _, m := range []Matrix{newMatrix(r, length, pairs, pairs, asmtest.Normal), tables.Cos} {
			x := newTensor(r, 1, 2, length, 2*pairs, tight, kind)
			before := rows(Tensor{Data: slices.Clone(x.Data), Batch: 1, Heads: 2, Len: length, Dim: 2 * pairs})
			require.NoError(t, Rotary(x, m, tables.Sin, nil, false))
			for n, row := range rows(x) {
				for c := range pairs {
					at := n%length*pairs + c
					want, bound := fuzz.Rotary(before[n][c], before[n][pairs+c], m.Data[at], tables.Sin.Data[at])
					worst = max(worst, within(t, want[:], bound[:], []float32{row[c], row[pairs+c]}, fmt.Sprintf("pair %d of row %d", c, n)))
				}
			}
		}
	}
	t.Logf("largest error: %.2f of the bound", worst)
}

// The score of a rotated query and key depends on the difference of their positions alone.
//
// A pair of norm |x| has an error of at most sqrt(8)*u*|x| from its rotation, sqrt(2)*u*|x| from the
// table's roundings and |x|*rows*1.3e-16 from the angle's, which is 4.3*u*|x| and the last. A product of
// two has twice that, and the difference of two scores four times.
func TestRotaryPositions(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 20))
	const u, length = 0x1p-24, 5000
	for _, interleaved := range []bool{false, true} {
		for _, dim := range []int{2, 64, 80} {
			tables := NewRotaryTables(length, dim, 10000, interleaved)
			q, k := asmtest.Fill(r, make([]float32, dim), asmtest.Normal), asmtest.Fill(r, make([]float32, dim), asmtest.Normal)
			at := func(x []float32, position int) []float32 {
				x = slices.Clone(x)
				require.NoError(t, Rotary(Tensor{Data: x, Len: 1, Dim: dim}, tables.Cos, tables.Sin, []int{position}, interleaved))
				return x
			}
			score := func(i, j int) (s float64) {
				x, y := at(q, i), at(k, j)
				for c := range x {
					s += float64(x[c]) * float64(y[c])
				}
				return s
			}
			size := 0.0
			for c := range dim / 2 {
				a, b := c, dim/2+c
				if interleaved {
					a, b = 2*c, 2*c+1
				}
				size += math.Hypot(float64(q[a]), float64(q[b])) * math.Hypot(float64(k[a]), float64(k[b]))
			}
			bound := size * 4 * (4.31*u + length*1.3e-16)
			far := 0.0
			for range 300 {
				i, j := r.IntN(length/2), r.IntN(length/2)
				by := r.IntN(length / 2)
				require.InDelta(t, score(i, j), score(i+by, j+by), bound, "positions %d and %d, and %d further on", i, j, by)
				far = max(far, math.Abs(score(i, j)-score(i, j+by)))
			}
			require.Greater(t, far, 100*bound, "positions matter")
		}
	}
}

// The tables hold the rounded cosines and sines of angles in float64.
func TestRotaryTables(t *testing.T) {
	for _, c := range []struct {
		rows, dim int
		base      float64
	}{{4096, 64, 10000}, {70, 128, 500000}, {50, 2, 3}, {9, 10, 0.01}, {3, 6, 1}, {0, 8, 10000}, {8, 0, 10000}} {
		tables := NewRotaryTables(c.rows, c.dim, c.base, true)
		require.True(t, tables.Interleaved)
		require.False(t, NewRotaryTables(1, 2, 2, false).Interleaved)
		for _, m := range []Matrix{tables.Cos, tables.Sin} {
			require.Equal(t, []int{c.rows, c.dim / 2, c.dim / 2, c.rows * c.dim / 2}, []int{m.Rows, m.Cols, m.Stride, len(m.Data)})
		}
		for i := range c.rows * c.dim / 2 {
			row, pair := i/(c.dim/2), i%(c.dim/2)
			angle := float64(row) * math.Pow(c.base, -2*float64(pair)/float64(c.dim))
			for _, v := range []struct {
				got  float32
				want float64
			}{{tables.Cos.Data[i], math.Cos(angle)}, {tables.Sin.Data[i], math.Sin(angle)}} {
				// Half an ulp, and what powers of package math, and with them angles, are off by.
				_, e := math.Frexp(v.want)
				require.InDelta(t, v.want, v.got, math.Ldexp(0.5, max(e-24, -149))+angle*1e-15+1e-16, "%+v: row %d, pair %d", c, row, pair)
			}
		}
	}
	tables := NewRotaryTables(1, 8, 10000, false)
	require.Equal(t, []float32{1, 1, 1, 1, 0, 0, 0, 0}, append(tables.Cos.Data, tables.Sin.Data...), "position 0 does not turn")
}

func TestBadRotaryTables(t *testing.T) {
	for want, f := range map[string]func(){
		"rows is -1, want 0 or more":                                                             func() { NewRotaryTables(-1, 4, 10000, false) },
		"dim is -2, want an even number, 0 or more":                                              func() { NewRotaryTables(1, -2, 10000, false) },
		"dim is 3, want an even number, 0 or more":                                               func() { NewRotaryTables(1, 3, 10000, false) },
		"base is 0, want a positive finite number":                                               func() { NewRotaryTables(1, 4, 0, false) },
		"base is -2, want a positive finite number":                                              func() { NewRotaryTables(1, 4, -2, false) },
		"base is NaN, want a positive finite number":                                             func() { NewRotaryTables(1, 4, math.NaN(), false) },
		"base is +Inf, want a positive finite number":                                            func() { NewRotaryTables(0, 0, math.Inf(1), false) },
		"base is 1e-30: angles of 1 rows reach 1e+15, want less than 2^40":                       func() { NewRotaryTables(1, 4, 1e-30, false) },
		fmt.Sprintf("rows is %d and dim 4: the size of the tables overflows int", math.MaxInt/8): func() { NewRotaryTables(math.MaxInt/8, 4, 10000, false) },
		fmt.Sprintf("rows is %d and dim 2: the size of the tables overflows int", math.MaxInt):   func() { NewRotaryTables(math.MaxInt, 2, 10000, false) },
	} {
		require.PanicsWithValue(t, "attn: NewRotaryTables: "+want, f)
	}
}

// Bad input is an error that names the argument, before anything is written.
func TestBadRotary(t *testing.T) {
	type arguments struct {
		x        Tensor
		cos, sin Matrix
		start    []int
	}
	data := make([]float32, 1000)
	for want, change := range map[string]func(a *arguments){
		"x.Dim is 0, want 1 to 8192":  func(a *arguments) { a.x.Dim = 0 },
		"x.Len is -1, want 0 or more": func(a *arguments) { a.x.Len = -1 },
		"x.HeadStride is 0: rows that are written overlap, want more for [2][3][4][10] (set all strides, or none of a packed tensor)":  func(a *arguments) { a.x.HeadStride = 0 },
		"x.BatchStride is 0: rows that are written overlap, want more for [2][3][4][10] (set all strides, or none of a packed tensor)": func(a *arguments) { a.x.BatchStride = 0 },
		"x.LenStride is 9: rows overlap, want 10 or more ([2][3][4][10] with BatchStride 120, HeadStride 40, LenStride 9)":             func(a *arguments) { a.x.LenStride = 9 },
		"x.Data has 239 elements, want 240 or more for [2][3][4][10] with BatchStride 120, HeadStride 40, LenStride 10":                func(a *arguments) { a.x.Data = a.x.Data[:239] },
		"cos is -1 x 4, want 0 or more rows and columns":                                                                               func(a *arguments) { a.cos.Rows = -1 },
		"cos.Stride is 3, want 4 or more, its columns":                                                                                 func(a *arguments) { a.cos.Stride = 3 },
		"cos.Data has 43 elements, want 44 or more for 9 x 4 with stride 5":                                                            func(a *arguments) { a.cos.Data = a.cos.Data[:43] },
		"sin.Stride is 0, want 4 or more, its columns":                                                                                 func(a *arguments) { a.sin.Stride = 0 },
		"sin is 8 x 4, want 9 x 4 as cos":                                                                                              func(a *arguments) { a.sin.Rows = 8 },
		"sin is 9 x 3, want 9 x 4 as cos":                                                                                              func(a *arguments) { a.sin.Cols = 3 },
		"cos.Cols is 4, want at most 3, half of x.Dim":                                                                                 func(a *arguments) { a.x.Dim = 7 },
		"start has 0 elements, want 1, or one for each of the 2 batch members":                                                         func(a *arguments) { a.start = []int{} },
		"start has 3 elements, want 1, or one for each of the 2 batch members":                                                         func(a *arguments) { a.start = make([]int, 3) },
		"start[1] is -1, want 0 or more":                                                                                               func(a *arguments) { a.start = []int{0, -1} },
		"start[0] is 6, and x.Len 4: cos.Rows is 9, want the sum or more":                                                              func(a *arguments) { a.start = []int{6} },
		fmt.Sprintf("start[1] is %d, and x.Len 4: cos.Rows is 9, want the sum or more", math.MaxInt):                                   func(a *arguments) { a.start = []int{5, math.MaxInt} },
		"cos.Rows is 3, want 4 or more, as of x.Len":                                                                                   func(a *arguments) { a.cos.Rows, a.sin.Rows = 3, 3 },
		"x.Data shares memory with cos.Data":                                                                                           func(a *arguments) { a.cos.Data = a.x.Data[239:] },
		"x.Data shares memory with sin.Data":                                                                                           func(a *arguments) { a.sin.Data = a.x.Data[:100] },
	} {
		for i := range data {
			data[i] = float32(i + 1)
		}
		a := arguments{
			x:   explicit(Tensor{Data: data[:400], Batch: 2, Heads: 3, Len: 4, Dim: 10}),
			cos: Matrix{9, 4, 5, data[500:]}, sin: Matrix{9, 4, 6, data[600:]},
		}
		require.NoError(t, Rotary(Tensor{Data: make([]float32, 400), Batch: 2, Heads: 3, Len: 4, Dim: 10, LenStride: 10, HeadStride: 40, BatchStride: 120}, a.cos, a.sin, []int{5, 0}, false), "without the change")
		change(&a)
		before := slices.Clone(data)
		require.EqualError(t, Rotary(a.x, a.cos, a.sin, a.start, true), "attn: "+want)
		require.Equal(t, before, data, "%s: nothing is written", want)
	}
}

// Without rows, or pairs, there is nothing to do; x may lie between the rows of its tables.
func TestRotaryOfLittle(t *testing.T) {
	require.NoError(t, Rotary(Tensor{}, Matrix{}, Matrix{}, nil, false))
	tables := NewRotaryTables(5, 4, 10000, false)
	require.NoError(t, Rotary(Tensor{Dim: 4}, tables.Cos, tables.Sin, []int{5}, false))
	x := []float32{1, 2, 3}
	require.NoError(t, Rotary(Tensor{Data: x, Len: 1, Dim: 3}, Matrix{Rows: 1}, Matrix{Rows: 1}, nil, true))
	require.Equal(t, []float32{1, 2, 3}, x)
	data := []float32{0, 1, 5, 6, 7, 0, 1, 8, 9, 10}
	view := func(at, cols int) Matrix { return Matrix{2, cols, 5, data[at:]} }
	require.NoError(t, Rotary(Tensor{Data: data[2:], Len: 2, Dim: 3, LenStride: 5, HeadStride: 1}, view(0, 1), view(1, 1), nil, false))
	require.Equal(t, []float32{0, 1, -6, 5, 7, 0, 1, -9, 8, 10}, data)
}

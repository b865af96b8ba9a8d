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

// elementwise are the functions that write a vector, as fast and as generic code.
var elementwise = []struct {
	name      string
	f, oracle func(dst, x []float32)
}{
	{"Exp", Exp, generic.Exp},
	{"GELU", GELU, generic.GELU},
	{"GELUTanh", GELUTanh, generic.GELUTanh},
	{"SiLU", SiLU, generic.SiLU},
	{"Softmax", Softmax, generic.Softmax},
	{"SoftmaxRows", func(dst, x []float32) { SoftmaxRows(dst, x, max(1, len(x))) }, generic.Softmax},
}

// Every length and alignment, with dst apart from x and equal to it, equals generic. What lies
// around dst stays.
func TestVectors(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	for n := range 131 {
		for offset := range 16 {
			kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
			x := asmtest.Fill(r, make([]float32, offset+n), kind)[offset:]
			y := asmtest.Fill(r, make([]float32, 16+n), kind)[r.IntN(16):][:n]
			asmtest.Equal(t, []float32{generic.Dot(x, y)}, []float32{Dot(x, y)}, "Dot n=%d", n)
			asmtest.Equal(t, []float32{generic.LogSumExp(x)}, []float32{LogSumExp(x)}, "LogSumExp n=%d", n)

			for _, e := range elementwise {
				want := asmtest.Fill(r, make([]float32, 16+n+16), asmtest.Normal)
				got := slices.Clone(want)
				at := r.IntN(16)
				e.oracle(want[at:][:n], x)
				e.f(got[at:][:n], x)
				asmtest.Equal(t, want, got, "%s n=%d kind=%d", e.name, n, kind)
				copy(got[at:], x)
				e.f(got[at:][:n], got[at:][:n])
				asmtest.Equal(t, want, got, "%s n=%d kind=%d in place", e.name, n, kind)
			}
		}
	}
}

// Vectors that the assembly takes in parts.
func TestLongVectors(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 5))
	const n = 1<<16 + 37
	x, y := asmtest.Fill(r, make([]float32, n), asmtest.Normal), asmtest.Fill(r, make([]float32, n), asmtest.Normal)
	want, got := make([]float32, n), make([]float32, n)
	asmtest.Equal(t, []float32{generic.Dot(x, y), generic.LogSumExp(x)}, []float32{Dot(x, y), LogSumExp(x)}, "Dot, LogSumExp")
	for _, e := range elementwise {
		e.oracle(want, x)
		e.f(got, x)
		asmtest.Equal(t, want, got, "%s", e.name)
	}
}

// SoftmaxRows is Softmax row by row.
func TestSoftmaxRows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for _, cols := range []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100} {
		for _, n := range []int{0, 1, 2, 9, 1000} {
			x := asmtest.Fill(r, make([]float32, n*cols), asmtest.WithEdges)
			want, got := make([]float32, len(x)), make([]float32, len(x))
			for i := range n {
				generic.Softmax(want[i*cols:][:cols], x[i*cols:][:cols])
			}
			SoftmaxRows(got, x, cols)
			asmtest.Equal(t, want, got, "%d rows of %d", n, cols)
		}
	}
}

// The values that the documentation promises.
func TestVectorSpecials(t *testing.T) {
	softmax := func(x ...float32) []float32 { Softmax(x, x); return x }
	asmtest.Equal(t, []float32{nan, nan}, softmax(1, nan), "Softmax of NaN")
	asmtest.Equal(t, []float32{nan, nan}, softmax(1, inf), "Softmax of +Inf")
	asmtest.Equal(t, []float32{0, 1}, softmax(-inf, 3), "Softmax of -Inf")
	asmtest.Equal(t, []float32{0, 0, 0}, softmax(-inf, -inf, -inf), "Softmax of -Inf only")
	asmtest.Equal(t, []float32{.5, .5}, softmax(3e38, 3e38), "Softmax of large values")
	asmtest.Equal(t, []float32{-inf, -inf, nan, nan, 3e38},
		[]float32{LogSumExp(nil), LogSumExp([]float32{-inf, -inf}), LogSumExp([]float32{nan}), LogSumExp([]float32{0, inf}),
			LogSumExp([]float32{3e38, -3e38})}, "LogSumExp")
	asmtest.Equal(t, []float32{0, 0}, []float32{Dot(nil, nil), Dot([]float32{}, nil)}, "Dot of nothing")
	e := []float32{0, float32(math.Copysign(0, -1)), -inf, inf, nan}
	Exp(e, e)
	asmtest.Equal(t, []float32{1, 1, 0, inf, nan}, e, "Exp")
	negZero := float32(math.Copysign(0, -1))
	for _, f := range []func(dst, x []float32){GELU, GELUTanh, SiLU} {
		e := []float32{0, negZero, -inf, inf, nan, -nan, 0x1p-149, math.MaxFloat32, -math.MaxFloat32, 200, -200}
		f(e, e)
		asmtest.Equal(t, []float32{0, negZero, negZero, inf, nan, nan, 0, math.MaxFloat32, negZero, 200, negZero}, e, "an activation")
	}
	for _, f := range elementwise {
		require.NotPanics(t, func() { f.f(nil, nil); f.f(nil, []float32{}); f.f([]float32{}, nil) }, f.name)
	}
}

// Bad arguments panic with a message that names function, argument and lengths, before anything is
// written.
func TestVectorPanics(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6}
	memory := slices.Clone(x)
	for _, c := range []struct {
		want string
		f    func()
	}{
		{"Dot: x has 6 elements, y 5", func() { Dot(x, x[:5]) }},
		{"Dot: x has 5 elements, y 6", func() { Dot(x[:5], x) }},
		{"Dot: x has 6 elements, y 0", func() { Dot(x, nil) }},
		{"Exp: dst has 5 elements, x 6", func() { Exp(x[:5], x) }},
		{"Exp: dst has 6 elements, x 5", func() { Exp(x, x[:5]) }},
		{"Exp: dst has 0 elements, x 6", func() { Exp(nil, x) }},
		{"Exp: dst overlaps x: both have 5 elements, and dst begins 4 bytes after x", func() { Exp(x[1:], x[:5]) }},
		{"Exp: dst overlaps x: both have 5 elements, and dst begins -4 bytes after x", func() { Exp(x[:5], x[1:]) }},
		{"Exp: dst overlaps x: both have 3 elements, and dst begins 8 bytes after x", func() { Exp(x[2:5], x[:3]) }},
		{"Softmax: dst has 5 elements, x 6", func() { Softmax(x[:5], x) }},
		{"Softmax: dst overlaps x: both have 5 elements, and dst begins 4 bytes after x", func() { Softmax(x[1:], x[:5]) }},
		{"SoftmaxRows: dst has 3 elements, x 6", func() { SoftmaxRows(x[:3], x, 3) }},
		{"SoftmaxRows: dst overlaps x: both have 4 elements, and dst begins 4 bytes after x", func() { SoftmaxRows(x[1:5], x[:4], 2) }},
		{"SoftmaxRows: cols is 0, want 1 or more", func() { SoftmaxRows(x, x, 0) }},
		{"SoftmaxRows: cols is 0, want 1 or more", func() { SoftmaxRows(nil, nil, 0) }},
		{"SoftmaxRows: cols is -3, want 1 or more", func() { SoftmaxRows(x, x, -3) }},
		{"SoftmaxRows: x has 6 elements, want a multiple of 4, cols", func() { SoftmaxRows(x, x, 4) }},
		{"SoftmaxRows: x has 6 elements, want a multiple of 12, cols", func() { SoftmaxRows(x, x, 12) }},
	} {
		require.PanicsWithValue(t, "attn: "+c.want, c.f)
		require.Equal(t, memory, x, "%s: nothing is written", c.want)
	}
	for name, f := range map[string]func(dst, x []float32){"GELU": GELU, "GELUTanh": GELUTanh, "SiLU": SiLU} {
		require.PanicsWithValue(t, "attn: "+name+": dst has 5 elements, x 6", func() { f(x[:5], x) })
	}
	require.NotPanics(t, func() { Exp(x[3:], x[:3]) }, "neighbours do not overlap")
}

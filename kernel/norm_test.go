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

// Every length, with and without gain, bias and a dst of its own, equals generic; what lies between rows
// stays.
func TestNorms(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 5))
	for _, cols := range []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 384, 1023, 1024, 1025, 2100, 1<<15 + 33} {
		for range 8 {
			x := newMatrix(r, 1+r.IntN(3), cols, cols+r.IntN(3), asmtest.Kind(r.IntN(int(asmtest.Kinds))))
			vector := func() []float32 {
				if r.IntN(2) == 0 {
					return nil
				}
				return asmtest.Fill(r, make([]float32, cols), asmtest.Normal)
			}
			gain, bias := vector(), vector()
			dst := x
			if r.IntN(2) == 0 {
				dst = newMatrix(r, x.Rows, cols, cols+r.IntN(3), asmtest.Normal)
			}
			for name, f := range map[string][2]func(dst, x Matrix){
				"LayerNorm": {
					func(dst, x Matrix) { require.NoError(t, LayerNorm(dst, x, gain, bias, 1e-5)) },
					func(dst, x Matrix) { generic.LayerNorm(dst.Data, x.Data, gain, bias, 1e-5) },
				},
				"RMSNorm": {
					func(dst, x Matrix) { require.NoError(t, RMSNorm(dst, x, gain, 1e-5)) },
					func(dst, x Matrix) { generic.RMSNorm(dst.Data, x.Data, gain, 1e-5) },
				},
			} {
				in, got := x, dst
				in.Data, got.Data = slices.Clone(x.Data), slices.Clone(dst.Data)
				if &dst.Data[0] == &x.Data[0] {
					got = in
				}
				want := slices.Clone(got.Data)
				for i := range x.Rows {
					f[1](Matrix{Data: want[i*dst.Stride:][:cols]}, Matrix{Data: slices.Clone(x.Data[i*x.Stride:][:cols])})
				}
				f[0](got, in)
				asmtest.Equal(t, want, got.Data, "%s of %d x %d, gain %v, bias %v", name, x.Rows, cols, gain != nil, bias != nil)
			}
		}
	}
}

// The values that the documentation promises.
func TestNormSpecials(t *testing.T) {
	row := func(x ...float32) Matrix { return Matrix{1, len(x), len(x), x} }
	layer := func(eps float32, x ...float32) []float32 {
		m := row(x...)
		require.NoError(t, LayerNorm(m, m, nil, nil, eps))
		return x
	}
	rms := func(eps float32, x ...float32) []float32 {
		m := row(x...)
		require.NoError(t, RMSNorm(m, m, nil, eps))
		return x
	}
	asmtest.Equal(t, []float32{nan, nan}, layer(1, 1, nan), "LayerNorm of NaN")
	asmtest.Equal(t, []float32{nan, nan}, layer(1, 1, -inf), "LayerNorm of -Inf")
	asmtest.Equal(t, []float32{nan, nan}, layer(1, -1e30, 1e30), "LayerNorm whose squares overflow")
	asmtest.Equal(t, []float32{nan, nan}, layer(0, 5, 5), "LayerNorm of equal elements")
	asmtest.Equal(t, []float32{0, 0}, layer(1e-5, 5, 5), "LayerNorm of equal elements and eps")
	asmtest.Equal(t, []float32{-1, 1}, layer(0, 16777216, 16777218), "LayerNorm with a large mean")
	asmtest.Equal(t, []float32{nan, nan}, rms(1, 1, inf), "RMSNorm of +Inf")
	asmtest.Equal(t, []float32{nan, nan}, rms(1, 1, 1e30), "RMSNorm whose squares overflow")
	asmtest.Equal(t, []float32{nan, nan}, rms(0, 0, 0), "RMSNorm of zeros")
	asmtest.Equal(t, []float32{0, float32(math.Copysign(0, -1))}, rms(1, 0, float32(math.Copysign(0, -1))), "RMSNorm of zeros and eps")
	require.NoError(t, LayerNorm(Matrix{}, Matrix{}, nil, nil, 0))
	require.NoError(t, RMSNorm(Matrix{Rows: 3}, Matrix{Rows: 3}, nil, 0))
}

// Bad arguments are refused before anything is written.
func TestBadNorms(t *testing.T) {
	memory := asmtest.Fill(rand.New(rand.NewPCG(8, 5)), make([]float32, 40), asmtest.Normal)
	before := slices.Clone(memory)
	m := func(first, rows, cols, stride int) Matrix {
		return Matrix{rows, cols, stride, memory[first:][:(rows-1)*stride+cols]}
	}
	for _, c := range []struct {
		message    string
		dst, x     Matrix
		gain, bias []float32
		eps        float32
	}{
		{"attn: dst is 2 x 3, want 3 x 2 as x", m(0, 2, 3, 3), m(10, 3, 2, 2), nil, nil, 1},
		{"attn: x.Stride is 2, want 3 or more, its columns", m(0, 2, 3, 3), Matrix{2, 3, 2, memory[10:]}, nil, nil, 1},
		{"attn: gain has 2 elements, want 3, the columns of x", m(0, 2, 3, 3), m(10, 2, 3, 3), memory[30:32], nil, 1},
		{"attn: bias has 4 elements, want 3, the columns of x", m(0, 2, 3, 3), m(10, 2, 3, 3), nil, memory[30:34], 1},
		{"attn: eps is -1, want a finite number of 0 or more", m(0, 2, 3, 3), m(10, 2, 3, 3), nil, nil, -1},
		{"attn: eps is NaN, want a finite number of 0 or more", m(0, 2, 3, 3), m(10, 2, 3, 3), nil, nil, nan},
		{"attn: eps is +Inf, want a finite number of 0 or more", m(0, 2, 3, 3), m(10, 2, 3, 3), nil, nil, inf},
		{"attn: dst.Data shares memory with x.Data and is not x", m(1, 2, 3, 3), m(0, 2, 3, 3), nil, nil, 1},
		{"attn: dst.Data shares memory with x.Data and is not x", m(0, 2, 3, 4), m(0, 2, 3, 3), nil, nil, 1},
		{"attn: dst.Data shares memory with gain", m(0, 2, 3, 3), m(10, 2, 3, 3), memory[5:8], nil, 1},
		{"attn: dst.Data shares memory with bias", m(0, 2, 3, 3), m(10, 2, 3, 3), nil, memory[5:8], 1},
	} {
		require.EqualError(t, LayerNorm(c.dst, c.x, c.gain, c.bias, c.eps), c.message)
		if c.bias == nil {
			require.EqualError(t, RMSNorm(c.dst, c.x, c.gain, c.eps), c.message)
		}
		require.Equal(t, before, memory, c.message)
	}
	require.NoError(t, LayerNorm(m(0, 2, 3, 6), m(3, 2, 3, 6), nil, nil, 1), "rows between rows do not overlap")
}

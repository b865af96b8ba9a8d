package tile

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

// Each element is within its bound of the exact rotation, what lies between rows stays, and half-split and
// interleaved pairs have the same bits.
func TestRotaryBound(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	var w check.Worst
	for cols := 1; cols < 40; cols++ {
		for _, kind := range []func(n int) []float32{
			func(n int) []float32 { return check.Normals(r, n, 1) },
			func(n int) []float32 { return check.Wides(r, n, 25) },
			func(n int) []float32 { return check.Normals(r, n, 0x1p-73) },
		} {
			n, stride := 1+r.IntN(4), 2*cols+r.IntN(3)
			x, cos, sin := kind(n*stride), kind(n*cols), kind(n*cols)
			angles := func(x []float32) Rows { return Rows{x, n, cols, cols} }
			got, pairs := append([]float32(nil), x...), append([]float32(nil), x...)
			for i := range n {
				for c := range cols {
					pairs[i*stride+2*c], pairs[i*stride+2*c+1] = x[i*stride+c], x[i*stride+cols+c]
				}
			}
			Rotary(Rows{got, n, 2 * cols, stride}, angles(cos), angles(sin), false)
			Rotary(Rows{pairs, n, 2 * cols, stride}, angles(cos), angles(sin), true)
			for i := range n {
				for c := range cols {
					first := i*stride + c
					x0, x1, f, g := x[first], x[first+cols], cos[i*cols+c], sin[i*cols+c]
					for k, v := range []struct{ x, y, sin float32 }{{x0, x1, -g}, {x1, x0, g}} {
						want, _ := check.ExactDot(0, []float32{v.x, v.y}, []float32{f, v.sin})
						size, _ := new(big.Float).Abs(want).Float64()
						size += max(float64(v.y)*float64(v.sin), -float64(v.y)*float64(v.sin))
						w.Check(t, check.Ratio(got[first+k*cols], want, (1+check.U)*(check.U*size+0x1p-149)), "%d pairs", cols)
						if !check.Same(got[first+k*cols], pairs[i*stride+2*c+k]) {
							t.Fatalf("%d pairs: element %d of pair %d of row %d is %g half-split and %g interleaved",
								cols, k, c, i, got[first+k*cols], pairs[i*stride+2*c+k])
						}
					}
				}
				for j := i*stride + 2*cols; j < (i+1)*stride; j++ {
					if !check.Same(got[j], x[j]) || !check.Same(pairs[j], x[j]) {
						t.Fatalf("%d pairs: wrote behind row %d", cols, i)
					}
				}
			}
		}
	}
	t.Logf("largest error: %.2f of the bound", w)
}

// The signs of zeros, and what is not finite, follow from the operations.
func TestRotarySpecials(t *testing.T) {
	for _, c := range []struct{ x0, x1, cos, sin, want0, want1 float32 }{
		{1, 2, 1, 0, 1, 2},
		{check.NegZero, check.NegZero, 1, 0, 0, check.NegZero}, // -0 - -0*0 and -0 + -0*0
		{0, 0, 1, 0, 0, 0},
		{check.NegZero, 0, 1, 0, check.NegZero, 0},
		{check.PosInf, 1, 0.5, 0.5, check.PosInf, check.PosInf},
		{check.PosInf, 1, 1, 0, check.PosInf, check.NaN},
		{check.NaN, 1, 1, 0, check.NaN, check.NaN},
		{3e38, 3e38, 1, 1, 0, check.PosInf},
	} {
		x := []float32{c.x0, c.x1}
		Rotary(Rows{x, 1, 2, 2}, Rows{[]float32{c.cos}, 1, 1, 1}, Rows{[]float32{c.sin}, 1, 1, 1}, false)
		if !check.Same(x[0], c.want0) || !check.Same(x[1], c.want1) {
			t.Errorf("(%g, %g) by (%g, %g) is %g, want %g, %g", c.x0, c.x1, c.cos, c.sin, x, c.want0, c.want1)
		}
	}
}

package fuzz

import (
	"math"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

func FuzzNorm(f *testing.F) {
	// Draws: rows, limit of the columns (1: 300, 7: 2^15+100), columns - 1, gaps between rows, whether there are a gain, a bias
	// and a dst of its own, eps, the mean in standard deviations, distribution.
	for i, n := range []int{1, 2, 3, 7, 8, 31, 32, 33, 64, 127, 200, 256} {
		f.Add(seed(1+i%3, 1, n-1, i%3, i%2, i/2%2, i/4%2, i%3, i%5, 0))
	}
	f.Add(seed(1, 7, 1<<15+50, 0, 1, 1, 1, 1, 2, 0)) // more than one call of the assembly
	f.Add(seed(1, 7, 1500, 0, 0, 0, 1, 1, 2, 0))     // more than one block
	f.Add(seed(2, 1, 100, 0, 1, 1, 0, 1, 0, 8))      // any bits
	f.Add(seed(2, 1, 100, 0, 1, 1, 0, 1, 0, 9))      // NaN
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSource(data)
		rows := s.Int(0, 3)
		cols := s.Length(1, maxLength/max(rows, 1))
		gap := s.Int(0, 2)
		hasGain, hasBias, apart := s.Int(0, 1) == 1, s.Int(0, 1) == 1, s.Int(0, 1) == 1
		eps := [...]float32{0, 1e-5, 1}[s.Int(0, 2)]
		mean := [...]float32{0, 1, 100, 1e4, 1e7}[s.Int(0, 4)]
		x := kernel.Matrix{Rows: rows, Cols: cols, Stride: cols + gap, Data: s.Fill(make([]float32, rows*(cols+gap)))}
		for i := range x.Data {
			x.Data[i] += mean
		}
		var gain, bias []float32
		if hasGain {
			gain = s.Fill(make([]float32, cols))
		}
		if hasBias {
			bias = s.Fill(make([]float32, cols))
		}
		checkNorms(t, x, gain, bias, eps, apart)
	})
}

func checkNorms(t *testing.T, x kernel.Matrix, gain, bias []float32, eps float32, apart bool) {
	for _, layer := range []bool{true, false} {
		in := x
		in.Data = append([]float32(nil), x.Data...)
		dst := in
		if apart {
			dst.Data = canaries(len(x.Data))
		}
		want := append([]float32(nil), dst.Data...)
		name := "RMSNorm"
		if layer {
			name = "LayerNorm"
		}
		for i := range x.Rows {
			row, to := x.Data[i*x.Stride:][:x.Cols], want[i*x.Stride:][:x.Cols]
			if layer {
				generic.LayerNorm(to, append([]float32(nil), row...), gain, bias, eps)
			} else {
				generic.RMSNorm(to, append([]float32(nil), row...), gain, eps)
			}
		}
		if layer {
			require.NoError(t, kernel.LayerNorm(dst, in, gain, bias, eps))
		} else {
			require.NoError(t, kernel.RMSNorm(dst, in, gain, eps))
		}
		sameMemory(t, want, dst.Data, "%s of %d x %d", name, x.Rows, x.Cols)
		for i := range x.Rows {
			row := x.Data[i*x.Stride:][:x.Cols]
			var exact, bound []float64
			if layer {
				exact, bound = LayerNorm(row, gain, bias, eps)
			} else {
				exact, bound = RMSNorm(row, gain, eps)
			}
			for j := range exact {
				within(t, dst.Data[i*x.Stride+j], exact[j], bound[j], "%s of %d, element %d", name, x.Cols, j)
			}
		}
	}
}

// A planted fault is beyond the bound: a lost element, the mean of the first pass alone, a wrong divisor.
func TestNormBoundsNotice(t *testing.T) {
	x := make([]float32, 1000)
	for i := range x {
		x[i] = 1e4 + float32(math.Sin(float64(i)))
	}
	dst := make([]float32, len(x))
	worst := func(x []float32) (worst float64) {
		generic.LayerNorm(dst[:len(x)], x, nil, nil, 1e-5)
		want, bound := LayerNorm(x, nil, nil, 1e-5)
		for i := range want {
			worst = max(worst, Ratio(dst[i], want[i], bound[i]))
		}
		return worst
	}
	require.LessOrEqual(t, worst(x), 1.0)
	want, bound := LayerNorm(x, nil, nil, 1e-5)
	generic.LayerNorm(dst[1:], x[1:], nil, nil, 1e-5)
	require.Greater(t, Ratio(dst[500], want[500], bound[500]), 1.0, "a lost element")
	require.Greater(t, Ratio(float32(want[500]+0x1p-24*1e4), want[500], bound[500]), 1.0, "a mean that is rounded")
	require.Greater(t, Ratio(float32(want[1]*1000/999), want[1], bound[1]), 1.0, "a divisor that is off by one")
}

// drawNorm draws a call of LayerNorm or RMSNorm, most often one that is legal, or is but for little.
func drawNorm(t testing.TB, s *source) call {
	m := newMemory(t, s)
	rows, cols, layer := s.Size(0, 30, 3, 30), s.Size(0, 1100, 9, 40, 1030), s.Bool()
	x := m.newMatrix(rows, cols)
	dst := x
	if s.Int(0, 2) > 0 {
		dst = m.newMatrix(rows, cols)
	}
	var gain, bias []float32
	if s.Bool() {
		gain = m.operand(cols)
	}
	if layer && s.Bool() {
		bias = m.operand(cols)
	}
	eps := [...]float32{0, 1e-5, 1e-5, 1}[s.Int(0, 3)]
	changes := []func(){func() {
		eps = [...]float32{-1, float32(math.NaN()), float32(math.Inf(1)), math.MaxFloat32}[s.Int(0, 3)]
	},
		m.changeData(&gain, &dst.Data, &x.Data), func() { gain = dst.Data[len(dst.Data)-min(cols, len(dst.Data)):] }}
	if layer {
		changes = append(changes, m.changeData(&bias, &dst.Data, &x.Data), func() { bias = dst.Data[:min(cols, len(dst.Data))] })
	}
	changes = append(changes, s.changeMatrix(m, &x, &dst.Data, &gain)...)
	s.spoil(append(changes, s.changeMatrix(m, &dst, &x.Data, &gain)...)...)

	xRows, ok1 := matrixRows(x)
	dstRows, ok2 := matrixRows(dst)
	fits := func(v []float32) bool { return v == nil || len(v) == x.Cols }
	return call{
		memory: m,
		legal: ok1 && ok2 && dst.Rows == x.Rows && dst.Cols == x.Cols && eps >= 0 && eps <= math.MaxFloat32 && fits(gain) && fits(bias) &&
			apart(dstRows, [][]float32{gain, bias}) && (sameRows(dstRows, xRows) || apart(dstRows, xRows)),
		args: []any{layer, dst, x, gain, bias, eps},
		run: func() error {
			if layer {
				return kernel.LayerNorm(dst, x, gain, bias, eps)
			}
			return kernel.RMSNorm(dst, x, gain, eps)
		},
		expect: func() {
			for i, row := range xRows {
				if layer {
					generic.LayerNorm(dstRows[i], row, gain, bias, eps)
				} else {
					generic.RMSNorm(dstRows[i], row, gain, eps)
				}
			}
		},
	}
}

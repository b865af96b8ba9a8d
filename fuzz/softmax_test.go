package fuzz

import (
	"math"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func FuzzSoftmax(f *testing.F) {
	// Draws: rows, alignment, limit of the columns (1: 300, 7: 2^15+100), columns - 1, magnitude
	// (0, 1, 10, 100, 1e4), distribution.
	for _, n := range []int{1, 2, 7, 8, 9, 31, 32, 33, 127, 128, 129, 256} {
		f.Add(seed(n%4, n%16, 1, n-1, 1+n%4, n%11))
	}
	f.Add(seed(1, 3, 7, 1<<15+77, 2, 0)) // more than one call of the assembly
	f.Add(seed(0, 3, 1, 50))             // no rows
	f.Add(seed(2, 0, 1, 100, 0, 0))      // all the same
	f.Add(seed(2, 0, 1, 100, 1, 8))      // any bits
	f.Add(seed(3, 0, 1, 20, 1, 9))       // NaN
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSource(data)
		rows, offset := s.Int(0, 3), s.Int(0, 15)
		cols := s.Length(1, maxLength/max(rows, 1))
		size := [...]float32{0, 1, 10, 100, 1e4}[s.Int(0, 4)]
		x := s.Fill(make([]float32, offset+rows*cols))[offset:]
		for i := range x {
			x[i] *= size
		}
		checkSoftmax(t, x, cols)
	})
}

func checkSoftmax(t *testing.T, x []float32, cols int) {
	n := len(x)
	want, dst := canaries(n+1), canaries(n+1)
	generic.SoftmaxRows(want[:n], x, cols)
	kernel.SoftmaxRows(dst[:n], x, cols)
	sameMemory(t, want, dst, "SoftmaxRows of %d x %d", n/cols, cols)
	for first := 0; first < n; first += cols {
		row, got := x[first:][:cols], dst[first:][:cols]
		one := append([]float32(nil), row...)
		kernel.Softmax(one, one)
		asmtest.Equal(t, got, one, "Softmax of %d in place", cols)
		lse := kernel.LogSumExp(row)
		asmtest.Equal(t, []float32{generic.LogSumExp(row)}, []float32{lse}, "LogSumExp of %d", cols)

		exact, bound := Softmax(row)
		for i, y := range got {
			within(t, y, exact[i], bound[i], "Softmax of %d, element %d", cols, i)
		}
		logSum, logBound := LogSumExp(row)
		within(t, lse, logSum, logBound, "LogSumExp of %d", cols)

		// What is not finite.
		most, poison := math.Inf(-1), false
		for _, v := range row {
			poison = poison || v != v || math.IsInf(float64(v), 1)
			most = math.Max(most, float64(v))
		}
		for i, y := range got {
			switch {
			case poison && y == y:
				t.Fatalf("Softmax of a row with a NaN or +Inf has the element %g", y)
			case !poison && !(y >= 0 && y <= 1):
				t.Fatalf("Softmax has the element %g", y)
			case !poison && math.IsInf(float64(row[i]), -1) && math.Float32bits(y) != 0:
				t.Fatalf("Softmax of -Inf is %g", y)
			}
		}
		if poison && lse == lse || !poison && float64(lse) < most {
			t.Fatalf("LogSumExp is %g, the maximum %g", lse, most)
		}
	}
}

package fuzz

import (
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func FuzzMatMul(f *testing.F) {
	// Draws: limit of k (8, 40, 600, 3000), k, limit of columns (8, 40, 600), columns, limit of rows (8, 40, 600),
	// rows; for a, b, c: gap between rows, alignment; distribution of a.
	for _, k := range []int{0, 1, 2, 31, 255, 256, 257, 513} { // blocks of 256
		f.Add(seed(2, k, 1, 17, 1, 7, k%3, k%16))
	}
	for _, cols := range []int{0, 1, 15, 16, 17, 33, 511, 512, 513} { // blocks of 512, panels of 16
		f.Add(seed(0, 5, 2, cols, 1, 13))
	}
	for _, rows := range []int{0, 1, 5, 6, 7, 191, 192, 193, 385} { // blocks of 192
		f.Add(seed(1, 9, 1, 16, 2, rows, 2, 1))
	}
	for _, k := range []int{1023, 1024, 1025, 2048, 2050} { // chains of 1024
		f.Add(seed(3, k, 0, 5, 0, 3))
	}
	f.Add(seed(1, 20, 1, 20, 1, 20, 0, 0, 0, 0, 0, 0, 9)) // NaN
	f.Fuzz(func(t *testing.T, data []byte) {
		const work = 100_000
		s := newSource(data)
		k := s.Size(0, work, 8, 40, 600, 3000)
		n := s.Size(0, work/max(k, 1), 8, 40, 600)
		m := s.Size(0, work/max(k*n, 1), 8, 40, 600)
		a, b, c := newMatrix(s, m, k), newMatrix(s, k, n), newMatrix(s, m, n)
		s.FillRows(a)
		s.FillRows(b)
		checkMatMul(t, c, a, b)
	})
}

// newMatrix draws the stride and the alignment of a matrix of canaries.
func newMatrix(s *source, rows, cols int) kernel.Matrix {
	m := kernel.Matrix{Rows: rows, Cols: cols, Stride: cols + s.Int(0, 20)}
	offset := s.Int(0, 15)
	m.Data = canaries(offset + rows*m.Stride)[offset:]
	return m
}

// FillRows fills m, and leaves what is between the rows.
func (s *source) FillRows(m kernel.Matrix) {
	k := s.Kind()
	for i := range m.Rows {
		for j := range m.Cols {
			m.Data[i*m.Stride+j] = s.Float32(k)
		}
	}
}

func checkMatMul(t *testing.T, c, a, b kernel.Matrix) {
	// All of c.Data, with the rows in their places.
	want := canaries(len(c.Data))
	col := make([]float32, b.Rows)
	for j := range c.Cols {
		for p := range col {
			col[p] = b.Data[p*b.Stride+j]
		}
		for i := range c.Rows {
			row := a.Data[i*a.Stride:][:a.Cols]
			got := chain(row, col)
			want[i*c.Stride+j] = got
			exact, bound := Chain(row, col)
			within(t, got, exact, bound, "%d x %d x %d: c[%d][%d]", c.Rows, a.Cols, c.Cols, i, j)
		}
	}
	for workers := 1; workers <= 4; workers++ {
		copy(c.Data, canaries(len(c.Data)))
		if err := kernel.MatMul(c, a, b, &kernel.MatMulOptions{Workers: workers}); err != nil {
			t.Fatal(err)
		}
		sameMemory(t, want, c.Data, "%d x %d x %d, %d workers", c.Rows, a.Cols, c.Cols, workers)
	}
}

// chain is the contract of an element of a matrix product.
func chain(x, y []float32) (acc float32) {
	for first := 0; first < len(x); first += generic.ProductTerms {
		s := float32(0)
		for i := first; i < min(first+generic.ProductTerms, len(x)); i++ {
			s = generic.FMA(x[i], y[i], s)
		}
		if first > 0 {
			s = acc + s
		}
		acc = s
	}
	return acc
}

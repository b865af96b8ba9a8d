package fuzz

import (
	"math"
	"slices"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func FuzzRotary(f *testing.F) {
	// Draws: limit of the pairs (8, 40, 300), pairs less 1, more dimensions, batch, heads, tokens, layout.
	for _, pairs := range []int{0, 1, 3, 4, 7, 8, 9, 15, 16, 31, 32, 63} {
		f.Add(seed(2, pairs, 0, 0, 1, 4))
		f.Add(seed(2, pairs, 3, 1, 2, 2))
	}
	f.Add(seed(2, 300))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSource(data)
		pairs := s.Size(1, 512, 8, 40, 300)
		x := newTensor(s, s.Int(1, 2), s.Int(1, 3), s.Int(1, 5), 2*pairs+s.Int(0, min(9, 1024-2*pairs)))
		x = strided(x)
		x.Data = s.Fill(make([]float32, (x.Batch-1)*x.BatchStride+(x.Heads-1)*x.HeadStride+(x.Len-1)*x.LenStride+x.Dim))
		first := s.Int(0, 3)
		cos, sin := newMatrix(s, first+x.Len, pairs), newMatrix(s, first+x.Len, pairs)
		s.FillRows(cos)
		s.FillRows(sin)
		interleaved := s.Bool()

		before, want := slices.Clone(x.Data), slices.Clone(x.Data)
		for n := range x.Batch * x.Heads * x.Len {
			b, h, i := n/x.Len/x.Heads, n/x.Len%x.Heads, n%x.Len
			at := b*x.BatchStride + h*x.HeadStride + i*x.LenStride
			f, g := cos.Data[(first+i)*cos.Stride:][:pairs], sin.Data[(first+i)*sin.Stride:][:pairs]
			generic.Rotary(want[at:][:x.Dim], f, g, interleaved)
			for c := range pairs {
				first, second := at+c, at+pairs+c
				if interleaved {
					first, second = at+2*c, at+2*c+1
				}
				exact, bound := Rotary(before[first], before[second], f[c], g[c])
				within(t, want[first], exact[0], bound[0], "x0 of pair %d", c)
				within(t, want[second], exact[1], bound[1], "x1 of pair %d", c)
			}
		}
		if err := kernel.Rotary(x, cos, sin, []int{first}, interleaved); err != nil {
			t.Fatal(err)
		}
		sameMemory(t, want, x.Data, "%d pairs of %v, start %d, interleaved %v", pairs, [...]int{x.Batch, x.Heads, x.Len, x.Dim}, first, interleaved)
	})
}

// drawRotary draws a call of Rotary, most often one that is legal, or is but for little.
func drawRotary(t testing.TB, s *source) call {
	m := newMemory(t, s)
	batch, pairs, length := s.Int(1, 3), s.Size(0, 40, 9, 40), s.Size(0, 40, 3, 40)
	x := m.newOperand(batch, s.Int(1, 3), length, max(1, 2*pairs+s.Int(0, 9)), true)
	rows := length + s.Int(0, 9)
	cos, sin := m.newMatrix(rows, pairs), m.newMatrix(rows, pairs)
	var start []int
	switch s.Int(0, 2) {
	case 1:
		start = []int{s.Int(0, rows-length)}
	case 2:
		for range batch {
			start = append(start, s.Int(0, rows-length))
		}
	}
	interleaved := s.Bool()
	changes := []func(){func() { start = make([]int, s.Int(0, 4)) }, func() { start = append(start, s.Int(0, 40)) }}
	if start != nil {
		changes = append(changes, s.change(&start[len(start)-1]))
	}
	for _, field := range []*int{&x.Batch, &x.Heads, &x.Len, &x.Dim, &x.BatchStride, &x.HeadStride, &x.LenStride} {
		changes = append(changes, s.change(field))
	}
	changes = append(changes, m.changeData(&x.Data, &cos.Data, &sin.Data))
	changes = append(changes, s.changeMatrix(m, &cos, &x.Data, &sin.Data)...)
	s.spoil(append(changes, s.changeMatrix(m, &sin, &x.Data, &cos.Data)...)...)

	resolvedX, xRows, ok1 := resolved(x, true)
	cosRows, ok2 := matrixRows(cos)
	sinRows, ok3 := matrixRows(sin)
	legal := ok1 && ok2 && ok3 && cos.Rows == sin.Rows && cos.Cols == sin.Cols && cos.Cols <= x.Dim/2 &&
		(start == nil || len(start) == 1 || len(start) == resolvedX.Batch) && apart(xRows, cosRows, sinRows)
	first := make([]int, max(1, len(start)))
	copy(first, start)
	for _, i := range first {
		legal = legal && i >= 0 && i <= math.MaxInt-x.Len && i+x.Len <= cos.Rows
	}
	return call{
		memory: m, legal: legal, args: []any{x, cos, sin, start, interleaved},
		run: func() error { return kernel.Rotary(x, cos, sin, start, interleaved) },
		expect: func() {
			if cos.Cols == 0 {
				return
			}
			for n, row := range xRows {
				at := first[n/x.Len/resolvedX.Heads%len(first)] + n%x.Len
				generic.Rotary(row, cosRows[at], sinRows[at], interleaved)
			}
		},
	}
}

package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/angle"
	"github.com/selfattn/attn/kernel/internal/source"
)

// RotaryTables are the cosines and sines of a rotary embedding, for [Rotary]: a row for each position and a
// column for each pair of dimensions.
type RotaryTables struct {
	Cos, Sin    Matrix
	Interleaved bool // whether pairs are neighbours, (2c, 2c+1), instead of (c, c+Cols)
}

// NewRotaryTables returns the tables of positions 0 to rows-1 for dim rotated dimensions, which are dim/2
// columns: pair c turns by base^(-2c/dim) radians from a position to the next. Most models have base 10000.
//
// The angle is float64(row) times the float64 that is nearest to base^(-2c/dim), rounded to float64, and an
// entry is off from the cosine or sine of that by at most 0.500001 ulp, and 2^-150. All machines have the
// same bits. For bases of 1 and more the angle is off by at most row * 1.2e-16.
//
// It panics, with a message that names the argument, if rows or dim is negative, dim is odd, base is not
// positive and finite, the size of the tables overflows int, or base is so far below 1 that an angle reaches
// 2^40.
func NewRotaryTables(rows, dim int, base float64, interleaved bool) *RotaryTables {
	size, ok := product(max(rows, 0), max(dim, 0))
	switch {
	case rows < 0:
		panic(fmt.Sprintf("attn: NewRotaryTables: rows is %d, want 0 or more", rows))
	case dim < 0 || dim%2 != 0:
		panic(fmt.Sprintf("attn: NewRotaryTables: dim is %d, want an even number, 0 or more", dim))
	case !(base > 0) || base > math.MaxFloat64:
		panic(fmt.Sprintf("attn: NewRotaryTables: base is %g, want a positive finite number", base))
	case !ok || size > math.MaxInt/4:
		panic(fmt.Sprintf("attn: NewRotaryTables: rows is %d and dim %d: the size of the tables overflows int", rows, dim))
	}
	cols := dim / 2
	steps := make([]float64, cols)
	for c := range steps {
		steps[c] = angle.Root(base, c, cols)
		if most := float64(float64(rows) * steps[c]); !(most < angle.Limit) {
			panic(fmt.Sprintf("attn: NewRotaryTables: base is %g: angles of %d rows reach %g, want less than 2^40", base, rows, most))
		}
	}
	table := func() Matrix { return Matrix{Rows: rows, Cols: cols, Stride: cols, Data: make([]float32, rows*cols)} }
	t := &RotaryTables{table(), table(), interleaved}
	for i := range rows {
		for c, step := range steps {
			sin, cos := angle.SinCos(float64(float64(i) * step))
			t.Cos.Data[i*cols+c], t.Sin.Data[i*cols+c] = float32(cos), float32(sin)
		}
	}
	return t
}

// Rotary rotates pairs of elements of queries or keys in place, which tells attention their positions: the
// score of a query and a key that are both rotated depends on the difference of their positions alone. Row i
// of each head of x, [Batch][Heads][Len][Dim], takes row start+i of cos and sin, which have as many columns
// as there are pairs, and pair c turns by column c:
//
//	x0' = x0*cos - x1*sin
//	x1' = x1*cos + x0*sin
//
// With n = cos.Cols the pairs are (x[c], x[n+c]), as in GPT-NeoX and the checkpoints of Hugging Face, or,
// interleaved, (x[2c], x[2c+1]), as in GPT-J and the Llama checkpoints of Meta and of GGUF files. If 2n is less
// than Dim the other elements of a row stay, which is partial rotation. Results follow the order of the
// tables: weights that were trained for one order need it.
//
// start is the position of row 0: one for each batch member, one for all, or nil for 0. In decoding it is the
// number of keys before. cos and sin may be any factors: tables for stretched positions, or times a scale.
//
// It returns an error that names the argument, before it writes, if shapes, strides, lengths of Data or start
// are wrong, if a row of x would take one that cos and sin do not have, or if x shares an element with one of
// them. Rows of x must not overlap, so that strides of 0 are refused unless x is packed. One goroutine does
// it, and allocates nothing.
//
// The rotation is that of Su et al., RoFormer, 2021. Package generic defines its arithmetic. With u = 2^-24 the
// error of x0' is at most (1+u)*(u*(|x0'| + |x1*sin|) + 2^-149) beside the exact x0' of the factors in cos and
// sin, and that of x1' has |x0*sin|, unless something overflows.
func Rotary(x Tensor, cos, sin Matrix, start []int, interleaved bool) error {
	if err := checkRotary(&x, &cos, &sin, start); err != nil {
		return err
	}
	if x.empty() || cos.Cols == 0 {
		return nil
	}
	tables, rows := RotaryTables{cos, sin, interleaved}, source.Tensor(x)
	for b := range x.Batch {
		first := 0
		if start != nil {
			first = start[b%len(start)]
		}
		tables.rotate(&rows, b, first)
	}
	return nil
}

// rotate rotates a batch member of x, whose first row is at position first. Everything has been checked.
func (t *RotaryTables) rotate(x *source.Tensor, batch, first int) {
	n := t.Cos.Cols
	// Rows that are neighbours go together: those of a head, or the heads of a token, which share their angles.
	if x.Len == 1 || x.Heads > 1 && x.HeadStride < x.LenStride {
		for i := range x.Len {
			at := func(m Matrix) tile.Rows { return tile.Rows{Data: m.Data[(first+i)*m.Stride:], Len: x.Heads, Dim: n} }
			asm.Rotary(tile.Rows{Data: x.Data[x.At(batch, 0, i):], Len: x.Heads, Dim: 2 * n, Stride: x.HeadStride}, at(t.Cos), at(t.Sin), t.Interleaved)
		}
		return
	}
	from := func(m Matrix) tile.Rows {
		return tile.Rows{Data: m.Data[first*m.Stride:], Len: x.Len, Dim: n, Stride: m.Stride}
	}
	for h := range x.Heads {
		asm.Rotary(tile.Rows{Data: x.Data[x.At(batch, h, 0):], Len: x.Len, Dim: 2 * n, Stride: x.LenStride}, from(t.Cos), from(t.Sin), t.Interleaved)
	}
}

// checkRotary resolves the arguments of Rotary and checks that they fit together.
func checkRotary(x *Tensor, cos, sin *Matrix, start []int) (err error) {
	if err = x.resolveWritten("x"); err != nil {
		return err
	}
	if err = cos.resolve("cos"); err != nil {
		return err
	}
	if err = sin.resolve("sin"); err != nil {
		return err
	}
	switch {
	case sin.Rows != cos.Rows || sin.Cols != cos.Cols:
		return fmt.Errorf("attn: sin is %d x %d, want %d x %d as cos", sin.Rows, sin.Cols, cos.Rows, cos.Cols)
	case cos.Cols > x.Dim/2:
		return fmt.Errorf("attn: cos.Cols is %d, want at most %d, half of x.Dim", cos.Cols, x.Dim/2)
	case start != nil && len(start) != 1 && len(start) != x.Batch:
		return fmt.Errorf("attn: start has %d elements, want 1, or one for each of the %d batch members", len(start), x.Batch)
	case start == nil && x.Len > cos.Rows:
		return fmt.Errorf("attn: cos.Rows is %d, want %d or more, as of x.Len", cos.Rows, x.Len)
	}
	for b, first := range start {
		switch {
		case first < 0:
			return fmt.Errorf("attn: start[%d] is %d, want 0 or more", b, first)
		case first > cos.Rows-x.Len:
			return fmt.Errorf("attn: start[%d] is %d, and x.Len %d: cos.Rows is %d, want the sum or more", b, first, x.Len, cos.Rows)
		}
	}
	if name := shared(x.footprint(), operand{"cos.Data", cos.footprint()}, operand{"sin.Data", sin.footprint()}); name != "" {
		return fmt.Errorf("attn: x.Data shares memory with %s", name)
	}
	return nil
}

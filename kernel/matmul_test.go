package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// newMatrix returns a matrix of any alignment, with NaN between its rows.
func newMatrix(r *rand.Rand, rows, cols, stride int, kind asmtest.Kind) Matrix {
	m := Matrix{rows, cols, stride, slices.Repeat([]float32{nan}, 16+rows*stride)[r.IntN(16):]}
	for i := range rows {
		asmtest.Fill(r, m.Data[i*stride:][:cols], kind)
	}
	return m
}

// checkMatMulBits compares all of c.Data, also between its rows, with the reference.
func checkMatMulBits(t *testing.T, c, a, b Matrix, workers int) {
	t.Helper()
	want := slices.Clone(c.Data)
	generic.MatMul(want, c.Stride, a.Data, a.Stride, b.Data, b.Stride, a.Rows, a.Cols, b.Cols)
	what := fmt.Sprintf("%d x %d . %d x %d, %d workers", a.Rows, a.Cols, b.Rows, b.Cols, workers)
	require.NoError(t, MatMul(c, a, b, &MatMulOptions{Workers: workers}), what)
	asmtest.Equal(t, want, c.Data, "%s", what)
}

func TestMatMulBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	check := func(m, n, k int) {
		kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
		a, b := newMatrix(r, m, k, k+r.IntN(9), kind), newMatrix(r, k, n, n+r.IntN(9), kind)
		c := newMatrix(r, m, n, n+r.IntN(9), asmtest.Normal)
		asmtest.Fill(r, c.Data, asmtest.Normal)
		checkMatMulBits(t, c, a, b, 1+r.IntN(4))
	}
	for range trials(1000) {
		check(1+r.IntN(40), 1+r.IntN(40), 1+r.IntN(40))
	}
	for _, s := range [][3]int{ // one block of rows, columns or inner index, and a little more or less
		{191, 20, 10}, {192, 20, 10}, {193, 20, 10}, {400, 17, 3},
		{5, 511, 10}, {5, 512, 10}, {5, 513, 10}, {3, 1100, 4},
		{7, 18, 255}, {7, 18, 256}, {7, 18, 257}, {2, 33, 700}, {193, 513, 257},
		{0, 5, 5}, {5, 0, 5}, {5, 5, 0}, {0, 0, 0}, {0, 0, 5}, {200, 600, 0},
	} {
		check(s[0], s[1], s[2])
	}
	for _, m := range []int{1, 7, 8, 9, manyKeys - 1, manyKeys, 2*generic.TileKeys + 3} { // rows pages apart meet few columns
		for n := range fewColumns + 2 {
			a, b, c := newMatrix(r, m, 50, page*(1+r.IntN(2)), asmtest.Normal), newMatrix(r, 50, n, n, asmtest.Normal), newMatrix(r, m, n, n, asmtest.Normal)
			checkMatMulBits(t, c, a, b, 1)
		}
	}
	for _, n := range []int{asm.NarrowPanel, 2 * asm.NarrowPanel} { // b is a panel, or two, as it lies in memory
		for _, m := range []int{1, 5, lowRows, blockM, blockM + 1, 2*blockM + 1} {
			for _, k := range []int{1, 30, generic.ProductTerms + 1} {
				a, b, c := newMatrix(r, m, k, k, asmtest.Normal), newMatrix(r, k, n, n, asmtest.Normal), newMatrix(r, m, n, n+r.IntN(2), asmtest.Normal)
				checkMatMulBits(t, c, a, b, 1+r.IntN(2))
			}
		}
	}
}

// Workers are goroutines that share blocks, rows split too where columns are few.
func TestMatMulWorkers(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 7))
	for _, s := range [][3]int{{1000, 16, 30}, {1000, 5, 30}, {64, 1100, 30}, {1, 700, 300}, {300, 300, 300}} {
		a, b := newMatrix(r, s[0], s[2], s[2]+1, asmtest.Normal), newMatrix(r, s[2], s[1], s[1], asmtest.Normal)
		want := newMatrix(r, s[0], s[1], s[1]+3, asmtest.Normal)
		require.NoError(t, MatMul(want, a, b, &MatMulOptions{Workers: 1}))
		for _, workers := range []int{2, 3, 4, 8} {
			got := want
			got.Data = slices.Repeat([]float32{nan}, len(want.Data))
			require.NoError(t, MatMul(got, a, b, &MatMulOptions{Workers: workers}))
			for i := range s[0] {
				asmtest.Equal(t, want.Data[i*want.Stride:][:want.Cols], got.Data[i*got.Stride:][:got.Cols], "%v: row %d, %d workers", s, i, workers)
			}
		}
		got := want
		got.Data = slices.Clone(want.Data)
		require.NoError(t, MatMul(got, a, b, nil))
		asmtest.Equal(t, want.Data, got.Data, "%v: MatMul", s)
	}
}

// A NaN or Inf of a reaches its row, one of b its column; 0 times Inf is NaN.
func TestMatMulSpecials(t *testing.T) {
	const n = 20
	for _, bad := range []float32{nan, inf, -inf} {
		for _, inA := range []bool{true, false} {
			a, b, c := make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
			for i := range a {
				a[i], b[i] = 1, 1
			}
			const i, j = 7, 18
			if inA {
				a[i*n+j] = bad
			} else {
				b[i*n+j] = bad
			}
			require.NoError(t, MatMul(Matrix{n, n, n, c}, Matrix{n, n, n, a}, Matrix{n, n, n, b}, nil))
			want := slices.Repeat([]float32{n}, n*n)
			for k := range n {
				if inA {
					want[i*n+k] = bad
				} else {
					want[k*n+j] = bad
				}
			}
			asmtest.Equal(t, want, c, "%g in a: %v", bad, inA)
		}
	}
	c := []float32{1}
	require.NoError(t, MatMul(Matrix{1, 1, 1, c}, Matrix{1, 2, 2, []float32{0, 1}}, Matrix{2, 1, 1, []float32{inf, 1}}, nil))
	asmtest.Equal(t, []float32{nan}, c, "0 * Inf")
}

// The error stays within the bound that the documentation gives.
func TestMatMulBound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	for _, kind := range []asmtest.Kind{asmtest.Normal, asmtest.Ties} {
		a, b := newMatrix(r, 9, 1000, 1000, kind), newMatrix(r, 1000, 20, 20, kind)
		c := newMatrix(r, 9, 20, 20, asmtest.Normal)
		require.NoError(t, MatMul(c, a, b, nil))
		worst := 0.0
		for i := range c.Rows {
			worst = math.Max(worst, withinProduct(t, a.rows()[i], b, nil, c.rows()[i], "MatMul"))
		}
		t.Logf("kind %d: error at most %.3f of the bound", kind, worst)
	}
}

// A factor is a matrix, and how it is handed over: transposed or not, in a view with a stride.
func newFactor(r *rand.Rand, rows, cols int, trans bool, kind asmtest.Kind) (stored, plain Matrix) {
	plain = newMatrix(r, rows, cols, cols, kind)
	if !trans {
		stored = newMatrix(r, rows, cols, cols+pick(r, 0, 1, 9, 1024-cols%1024), kind)
		for i := range rows {
			copy(stored.Data[i*stored.Stride:], plain.Data[i*cols:][:cols])
		}
		return stored, plain
	}
	stored = newMatrix(r, cols, rows, rows+pick(r, 0, 1, 9, 1024-rows%1024), kind)
	for i := range rows {
		for j := range cols {
			stored.Data[j*stored.Stride+i] = plain.Data[i*cols+j]
		}
	}
	return stored, plain
}

// roundTo rounds a vector to the values of a type.
func roundTo(t Type, x []float32) {
	h, q := make([]uint16, len(x)), make([]int8, len(x))
	switch t {
	case Float16:
		ToFloat16(h, x)
		FromFloat16(x, h)
	case BFloat16:
		ToBFloat16(h, x)
		FromBFloat16(x, h)
	case Int8:
		scale := Quantize(q, x)
		Dequantize(x, q, scale)
	}
}

// Every option, packed or not, gives the bits of the contract.
func TestMatMulOptions(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 7))
	sizes := []int{1, 2, 3, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 25, 31, 32, 33, 48, 49, 63, 65, 97, 130}
	terms := []int{0, 1, 2, 3, 4, 5, 17, 64, generic.ProductTerms - 1, generic.ProductTerms, generic.ProductTerms + 1, 3000}
	for range trials(2000) {
		m, n, k := pick(r, sizes...), pick(r, sizes...), pick(r, terms...)
		if m*n*k > 1<<21 {
			m = pick(r, 1, 3, 17)
		}
		kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
		o := MatMulOptions{TransA: r.IntN(2) == 0, TransB: r.IntN(2) == 0, Add: r.IntN(2) == 0, Workers: 1 + r.IntN(4)}
		if r.IntN(2) == 0 {
			o.Bias = asmtest.Fill(r, make([]float32, n), kind)
			for range n {
				o.Bias[r.IntN(n)] = float32(math.Copysign(0, -1))
			}
		}
		a, plainA := newFactor(r, m, k, o.TransA, kind)
		b, plainB := newFactor(r, k, n, o.TransB, kind)
		c := newMatrix(r, m, n, n+pick(r, 0, 5), kind)
		want := slices.Clone(c.Data)
		generic.Product{Bias: o.Bias, Add: o.Add}.MatMul(want, c.Stride, plainA.Data, k, plainB.Data, n, m, k, n)
		what := fmt.Sprintf("%d x %d x %d, %+v", m, k, n, o)
		got := c
		got.Data = slices.Clone(c.Data)
		require.NoError(t, MatMul(got, a, b, &o), what)
		asmtest.Equal(t, want, got.Data, "%s", what)

		// A type rounds the columns of b, no more.
		typ := Type(r.IntN(4))
		column := make([]float32, k)
		for j := range n {
			for i := range column {
				column[i] = plainB.Data[i*n+j]
			}
			roundTo(typ, column)
			for i, x := range column {
				plainB.Data[i*n+j] = x
			}
		}
		want = slices.Clone(c.Data)
		generic.Product{Bias: o.Bias, Add: o.Add}.MatMul(want, c.Stride, plainA.Data, k, plainB.Data, n, m, k, n)
		what += fmt.Sprintf(" type %d", typ)
		packed, err := Pack(b, &PackOptions{Trans: o.TransB, Type: typ})
		require.NoError(t, err, what)
		for i := range b.Data { // it was copied
			b.Data[i] = nan
		}
		o.TransB = false
		require.NoError(t, MatMulPacked(c, a, packed, &o), what)
		asmtest.Equal(t, want, c.Data, "packed: %s", what)
	}
}

// Goroutines share a Packed.
func TestPackedShared(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 7))
	for _, n := range []int{5, 300} {
		a, b := newMatrix(r, 20, 130, 130, asmtest.Normal), newMatrix(r, 130, n, n, asmtest.Normal)
		packed, err := Pack(b, nil)
		require.NoError(t, err)
		var all sync.WaitGroup
		for rows := 1; rows <= 20; rows++ {
			a, c := Matrix{rows, 130, 130, a.Data}, newMatrix(r, rows, n, n, asmtest.Normal)
			want := slices.Clone(c.Data)
			generic.MatMul(want, n, a.Data, 130, b.Data, n, rows, 130, n)
			all.Add(1)
			go func() {
				defer all.Done()
				for range 10 {
					if err := MatMulPacked(c, a, packed, &MatMulOptions{Workers: 1 + rows%3}); err != nil {
						t.Error(err)
					}
				}
				for i := range want {
					if !asmtest.SameBits(want[i], c.Data[i]) {
						t.Errorf("%d x %d: element %d is %g, want %g", rows, n, i, c.Data[i], want[i])
						return
					}
				}
			}()
		}
		all.Wait()
	}
}

// Errors do not grow with the number of terms as they would in one chain.
func TestLongMatMul(t *testing.T) {
	const k = 1 << 20
	ones, tenths, c := slices.Repeat([]float32{1}, k), slices.Repeat([]float32{0.1}, k), make([]float32, 1)
	require.NoError(t, MatMul(Matrix{1, 1, 1, c}, Matrix{1, k, k, ones}, Matrix{k, 1, 1, tenths}, nil))
	exact := k * float64(float32(0.1))
	require.InEpsilon(t, exact, c[0], 2e-5) // one chain is off by 9e-3
}

// No option reads or writes behind its operands.
func TestMatMulOptionsFences(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	room := [4]*asmtest.Guarded{}
	for i := range room {
		room[i] = asmtest.NewGuarded(t, 1<<17)
	}
	for range trials(400) {
		m, n, k := 1+r.IntN(30), 1+r.IntN(70), 1+r.IntN(70)
		o := MatMulOptions{TransA: r.IntN(2) == 0, TransB: r.IntN(2) == 0, Add: r.IntN(2) == 0, Workers: 1}
		factor := func(i, rows, cols int, trans bool) Matrix {
			if trans {
				rows, cols = cols, rows
			}
			stride := cols + pick(r, 0, 3, 1024-cols)
			x := room[i].Tail((rows-1)*stride + cols)
			return Matrix{rows, cols, stride, asmtest.Fill(r, x, asmtest.Normal)}
		}
		a, b, c := factor(0, m, k, o.TransA), factor(1, k, n, o.TransB), factor(2, m, n, false)
		if r.IntN(2) == 0 {
			o.Bias = asmtest.Fill(r, room[3].Tail(n), asmtest.Normal)
		}
		require.NoError(t, MatMul(c, a, b, &o))
		packed, err := Pack(b, &PackOptions{Trans: o.TransB, Type: Type(r.IntN(4))})
		require.NoError(t, err)
		o.TransB = false
		require.NoError(t, MatMulPacked(c, a, packed, &o))
	}
}

// Few rows meet more rows of b, a factor that is transposed, than a tile has keys.
func TestMatMulFewRows(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 7))
	const k, n = 20, 2*tile.Keys + 5
	for m := 1; m <= fewColumns; m++ {
		a, b := newMatrix(r, m, k, k+1, asmtest.Normal), newMatrix(r, k, n, n, asmtest.Normal)
		turned := newMatrix(r, n, k, k+2, asmtest.Normal)
		for i := range n {
			for j := range k {
				turned.Data[i*turned.Stride+j] = b.Data[j*b.Stride+i]
			}
		}
		for workers := 1; workers <= 2; workers++ {
			want, got := newMatrix(r, m, n, n+3, asmtest.Normal), newMatrix(r, m, n, n+3, asmtest.Normal)
			require.NoError(t, MatMul(want, a, b, &MatMulOptions{Workers: workers}))
			require.NoError(t, MatMul(got, a, turned, &MatMulOptions{Workers: workers, TransB: true}))
			for i := range m {
				asmtest.Equal(t, want.Data[i*want.Stride:][:n], got.Data[i*got.Stride:][:n], "%d rows, row %d, %d workers", m, i, workers)
			}
		}
	}
}

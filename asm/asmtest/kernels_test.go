package asmtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"slices"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

var negInf = float32(math.Inf(-1))

// fences calls f with operands right behind, and right before, memory that may not be touched.
func fences(t *testing.T, operands, size int, f func(m *memory)) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var m memory
	for range operands {
		m.vectors = append(m.vectors, NewGuarded(t, size))
	}
	for range 8 {
		m.rows = append(m.rows, NewGuardedRows(t, maxRows))
	}
	f(&m)
	m.tail = true
	f(&m)
}

// maxRows are the rows of a matrix at most: the keys of a tile, or the columns of their queries.
const maxRows = tile.Keys + 16

// memory has room for some operands of each sort at a time.
type memory struct {
	vectors []*Guarded
	rows    []*GuardedRows
	tail    bool
	next    int
}

// vector returns an operand of n elements.
func (m *memory) vector(n int) []float32 {
	m.next++
	v := m.vectors[m.next%len(m.vectors)]
	if m.tail {
		return v.Tail(n)
	}
	return v.Head(n)
}

// variable returns an operand of any type without pointers, with a copy of x.
func variable[T any](m *memory, x T) *T {
	p := (*T)(unsafe.Pointer(&m.vector(int(unsafe.Sizeof(x)) / 4)[0]))
	*p = x
	return p
}

// A matrix is an operand of n rows of dim elements, stride apart. Each row has fences of its own, or
// a canary lies between it and the next.
type matrix struct {
	x              []float32
	n, dim, stride int
	fenced         bool
}

var canary = math.Float32frombits(0xffc0ffee) // a NaN, which would spread if it were read

// matrix returns an operand of random values.
func (m *memory) matrix(r *rand.Rand, n, dim int, kind Kind) matrix {
	x := matrix{n: n, dim: dim, stride: dim + r.IntN(5), fenced: r.IntN(2) == 0}
	if x.fenced {
		m.next++
		rows := m.rows[m.next%len(m.rows)]
		x.stride, x.x = rows.Stride, rows.Head(n, dim)
		if m.tail {
			x.x = rows.Tail(n, dim)
		}
	} else {
		x.x = m.vector((n-1)*x.stride + dim)
		for i := range x.x {
			x.x[i] = canary
		}
	}
	for i := range n {
		Fill(r, x.row(i), kind)
	}
	return x
}

// rows returns x as the operand of a kernel.
func (x matrix) rows() tile.Rows { return tile.Rows{Data: x.x, Len: x.n, Dim: x.dim, Stride: x.stride} }

// at is rows where kernels take them by reference.
func (x matrix) at() *tile.Rows {
	rows := x.rows()
	return &rows
}

func (x matrix) row(i int) []float32 { return x.x[i*x.stride:][:x.dim] }

// clone returns a copy of the same layout, in plain memory.
func (x matrix) clone() matrix {
	y := x
	y.x = make([]float32, len(x.x))
	if !x.fenced {
		copy(y.x, x.x)
	}
	for i := range x.n {
		copy(y.row(i), x.row(i))
	}
	return y
}

// equalMatrix fails the test unless got has the bits of want, and the canaries are alive.
func equalMatrix(t *testing.T, want, got matrix, format string, args ...any) {
	t.Helper()
	for i := range want.n {
		Equal(t, want.row(i), got.row(i), "row %d of "+format, append([]any{i}, args...)...)
		if gap := (i + 1) * got.stride; !got.fenced && gap < len(got.x) {
			for j, v := range got.x[i*got.stride+got.dim : gap] {
				if math.Float32bits(v) != math.Float32bits(canary) {
					t.Fatalf("row %d of "+format+": wrote %d elements behind it", append(append([]any{i}, args...), j+1)...)
				}
			}
		}
	}
}

// tileLengths returns numbers of keys up to a tile, a random step apart, and its edges.
func tileLengths(r *rand.Rand, step int) []int {
	list := []int{tile.Keys - 1, tile.Keys}
	for n := 1; n < tile.Keys-1; n += 1 + r.IntN(step) {
		list = append(list, n)
	}
	return list
}

// No kernel of the table is without a test here.
func TestEveryKernelIsTested(t *testing.T) {
	tests := read(t, "kernels_test.go") + read(t, "gradient_test.go") + read(t, "mask_test.go") + read(t, "dropout_test.go")
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Impl]()) {
		if field.Type.Kind() == reflect.Func {
			require.Contains(t, tests, "impl."+field.Name+"(", "%s of an implementation is compared with nothing", field.Name)
		}
	}
}

func TestVectors(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(1, 2))
		fences(t, 10, 1000, func(m *memory) {
			for n := range 258 {
				for kind := range Kinds {
					x, y, dst := Fill(r, m.vector(n), kind), Fill(r, m.vector(n), kind), m.vector(n)
					want := make([]float32, n)
					what := func(k string) string { return fmt.Sprintf("%s n=%d kind=%d", k, n, kind) }

					Equal(t, []float32{tile.Dot(x, y)}, []float32{impl.Dot(x, y)}, "%s", what("Dot"))
					top := tile.Max(x)
					Equal(t, []float32{top}, []float32{impl.Max(x)}, "%s", what("Max"))
					tile.Exp(want, x)
					impl.Exp(dst, x)
					Equal(t, want, dst, "%s", what("Exp"))
					tile.Gelu(want, x)
					impl.Gelu(dst, x)
					Equal(t, want, dst, "%s", what("Gelu"))
					tile.GeluTanh(want, x)
					impl.GeluTanh(dst, x)
					Equal(t, want, dst, "%s", what("GeluTanh"))
					tile.Silu(want, x)
					impl.Silu(dst, x)
					Equal(t, want, dst, "%s", what("Silu"))
					tile.Div(want, x, 3)
					impl.Div(dst, x, 3)
					Equal(t, want, dst, "%s", what("Div"))
					tile.Scale(want, x, 0.3)
					impl.Scale(dst, x, 0.3)
					Equal(t, want, dst, "%s", what("Scale"))

					var sum [tile.Lanes]float32
					Fill(r, sum[:], Normal)
					s1, s2, s3 := sum, variable(m, sum), variable(m, sum)
					tile.ExpSum(want, x, tile.SafeMax(top), &s1)
					impl.ExpSum(dst, x, tile.SafeMax(top), s2)
					impl.SumExp(x, tile.SafeMax(top), s3)
					Equal(t, want, dst, "%s", what("ExpSum"))
					Equal(t, s1[:], s2[:], "%s", what("ExpSum lanes"))
					Equal(t, s1[:], s3[:], "%s", what("SumExp lanes"))
					Equal(t, []float32{tile.Fold(&s1)}, []float32{impl.Fold(s2)}, "%s", what("Fold"))

					var m1, q1 [tile.Lanes]float32
					m2, q2 := variable(m, m1), variable(m, q1)
					tile.Moments(x, 0.5, &m1, &q1)
					impl.Moments(x, 0.5, m2, q2)
					Equal(t, m1[:], m2[:], "%s", what("Moments sums"))
					Equal(t, q1[:], q2[:], "%s", what("Moments squares"))
					gain := Fill(r, m.vector(n), Normal)
					norm := variable(m, [3]float32{0.5, 3, 0.1})
					tile.Normalize(want, x, gain, y, norm)
					impl.Normalize(dst, x, gain, y, norm)
					Equal(t, want, dst, "%s", what("Normalize"))

					if n > 0 { // in place, at every alignment
						y := append([]float32(nil), x...)
						off := n % 16 % n
						impl.Exp(y[off:], y[off:])
						tile.Exp(want, x)
						Equal(t, want[off:], y[off:], "%s", what("Exp in place"))
						Equal(t, x[:off], y[:off], "%s", what("Exp before"))
					}
				}
			}
		})
	})
}

// elements returns an operand of n elements of another type.
func elements[T uint16 | int8](m *memory, n int) []T {
	each := 4 / int(unsafe.Sizeof(T(0)))
	words := m.vector((n + each - 1) / each)
	all := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(words))), each*len(words))
	if m.tail {
		return all[len(all)-n:]
	}
	return all[:n:n]
}

func TestConversions(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(21, 22))
		fences(t, 5, 1<<15+300, func(m *memory) {
			for n := range 262 {
				if n > 257 { // more than one call of the assembly
					n += 1<<15 - 258
				}
				for kind := range Kinds {
					what := fmt.Sprintf("n=%d kind=%d", n, kind)
					x := Fill(r, m.vector(n), kind)
					most := tile.MaxAbs(x)
					Equal(t, []float32{most}, []float32{impl.MaxAbs(x)}, "MaxAbs %s", what)

					want, got := make([]uint16, n), elements[uint16](m, n)
					tile.ToFloat16(want, x)
					impl.ToFloat16(got, x)
					require.Equal(t, want, got, "ToFloat16 %s", what)
					tile.ToBFloat16(want, x)
					impl.ToBFloat16(got, x)
					require.Equal(t, want, got, "ToBFloat16 %s", what)
					for i := range got {
						got[i] = uint16(r.Uint32())
					}
					wide, back := make([]float32, n), m.vector(n)
					tile.FromFloat16(wide, got)
					impl.FromFloat16(back, got)
					Equal(t, wide, back, "FromFloat16 %s", what)
					tile.FromBFloat16(wide, got)
					impl.FromBFloat16(back, got)
					Equal(t, wide, back, "FromBFloat16 %s", what)

					bytes, wantBytes := elements[int8](m, n), make([]int8, n)
					if scale := tile.ScaleInt8(most); scale > 0 {
						tile.Quantize(wantBytes, x, scale)
						impl.Quantize(bytes, x, scale)
						require.Equal(t, wantBytes, bytes, "Quantize %s", what)
					}
					for i := range bytes {
						bytes[i] = int8(r.Uint32())
					}
					tile.Dequantize(wide, bytes, 0.3)
					impl.Dequantize(back, bytes, 0.3)
					Equal(t, wide, back, "Dequantize %s", what)
				}
			}
		})
	})
}

// A sum of -0 becomes +0 where the tail of a vector is padded, and nowhere else.
func TestDotNegativeZero(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		for _, long := range []int{0, 1 << 15} {
			for n := long + 1; n <= long+100; n++ {
				x, y := make([]float32, n), make([]float32, n)
				for i := range x {
					x[i], y[i] = -0x1p-100, 0x1p-100 // the product underflows
				}
				Equal(t, []float32{tile.Dot(x, y)}, []float32{impl.Dot(x, y)}, "n=%d", n)
			}
		}
	})
}

// Vectors longer than one call of the assembly, with every tail.
func TestLongVectors(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(3, 4))
		fences(t, 3, 1<<16+37, func(m *memory) {
			for i := range 67 {
				n := 1<<15 + i
				if i == 66 {
					n = 1<<16 + 37
				}
				x, y, got := Fill(r, m.vector(n), Normal), Fill(r, m.vector(n), Normal), m.vector(n)
				Equal(t, []float32{tile.Dot(x, y), tile.Max(x)}, []float32{impl.Dot(x, y), impl.Max(x)}, "Dot, Max n=%d", n)
				if i%8 != 2 {
					continue // the others go on from the tail as at the start
				}
				want := make([]float32, n)
				tile.Exp(want, x)
				impl.Exp(got, x)
				Equal(t, want, got, "Exp n=%d", n)
				var s1, s2, s3 [tile.Lanes]float32
				tile.ExpSum(want, x, 4, &s1)
				impl.ExpSum(got, x, 4, &s2)
				impl.SumExp(x, 4, &s3)
				Equal(t, want, got, "ExpSum n=%d", n)
				Equal(t, s1[:], s2[:], "ExpSum lanes n=%d", n)
				Equal(t, s1[:], s3[:], "SumExp lanes n=%d", n)
				var m1, q1, m2, q2 [tile.Lanes]float32
				tile.Moments(x, 0.5, &m1, &q1)
				impl.Moments(x, 0.5, &m2, &q2)
				Equal(t, append(m1[:], q1[:]...), append(m2[:], q2[:]...), "Moments n=%d", n)
				tile.Normalize(want, x, y, y, &[3]float32{0.5, 3, 0.1})
				impl.Normalize(got, x, y, y, &[3]float32{0.5, 3, 0.1})
				Equal(t, want, got, "Normalize n=%d", n)
				tile.Div(want, x, 7)
				impl.Div(got, x, 7)
				Equal(t, want, got, "Div n=%d", n)
				tile.Scale(want, x, 7)
				impl.Scale(got, x, 7)
				Equal(t, want, got, "Scale n=%d", n)
			}
		})
	})
}

// The exponential of every edge, and of random bits.
func TestExpBits(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(5, 6))
		x := append([]float32(nil), Edges...)
		for range 1 << 16 {
			x = append(x, math.Float32frombits(r.Uint32()))
		}
		for range 1 << 19 {
			x = append(x, float32(r.Float64()*200-110))
		}
		want, got := make([]float32, len(x)), make([]float32, len(x))
		tile.Exp(want, x)
		impl.Exp(got, x)
		Equal(t, want, got, "Exp")
		var sum [tile.Lanes]float32
		tile.ExpSum(want, x, 0, &sum)
		impl.ExpSum(got, x, 0, &sum)
		for i := range x {
			if x[i] <= 0 || x[i] != x[i] {
				Equal(t, want[i:i+1], got[i:i+1], "expm(%g)", x[i])
			}
		}
	})
}

func TestMatMulTile(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(7, 8))
		fences(t, 12, 4*64*tile.MaxPanel, func(mem *memory) {
			for m := 1; m <= 26; m++ {
				for _, k := range []int{1, 2, 3, 4, 5, 7, 8, 11, 12, 64} {
					for kind := range Kinds {
						w := impl.PanelWidth
						a, b, c := mem.matrix(r, m, k, kind), Fill(r, mem.vector(w*k), kind), mem.matrix(r, m, w, kind)
						want := c.clone()
						add := r.IntN(2) == 0
						var start tile.Rows // of +0, the rows of a matrix, a row that all share, or c itself
						from := r.IntN(4)
						switch from {
						case 1:
							start = mem.matrix(r, m, w, kind).rows()
						case 2:
							start = tile.Rows{Data: Fill(r, mem.vector(w), kind), Len: m, Dim: w}
						case 3:
							start = c.rows()
						}
						wantStart := start
						if from == 3 {
							wantStart = want.rows()
						}
						tile.MatMulTile(want.rows(), a.rows(), wantStart, b, add)
						impl.MatMulTile(c.rows(), a.rows(), start, b, add)
						equalMatrix(t, want, c, "m=%d k=%d start=%d add=%v kind=%d", m, k, from, add, kind)

						testPanels(t, r, mem, impl, a.rows(), add, kind)
						loose, dst := mem.matrix(r, k, w, kind), mem.vector(w*k)
						if from == 3 {
							start, wantStart = c.rows(), want.rows()
						}
						wantDst := make([]float32, w*k)
						tile.MatMulPack(want.rows(), a.rows(), wantStart, loose.rows(), wantDst, add)
						impl.MatMulPack(c.rows(), a.rows(), start, loose.rows(), dst, add)
						equalMatrix(t, want, c, "MatMulPack: m=%d k=%d start=%d add=%v kind=%d", m, k, from, add, kind)
						Equal(t, wantDst, dst, "MatMulPack: packed")

						// Panels of other types have any bits.
						if from == 3 {
							start, wantStart = c.rows(), want.rows()
						}
						words := mem.vector(w * k / 2)
						for i := range words {
							words[i] = math.Float32frombits(r.Uint32())
						}
						halves := unsafe.Slice((*uint16)(unsafe.Pointer(&words[0])), w*k)
						tile.MatMulTileFloat16(want.rows(), a.rows(), wantStart, halves, add)
						impl.MatMulTileFloat16(c.rows(), a.rows(), start, halves, add)
						equalMatrix(t, want, c, "float16: m=%d k=%d start=%d add=%v kind=%d", m, k, from, add, kind)
						tile.MatMulTileBFloat16(want.rows(), a.rows(), wantStart, halves, add)
						impl.MatMulTileBFloat16(c.rows(), a.rows(), start, halves, add)
						equalMatrix(t, want, c, "bfloat16: m=%d k=%d start=%d add=%v kind=%d", m, k, from, add, kind)
						words, scale := mem.vector(w*k/4), Fill(r, mem.vector(w), kind)
						for i := range words {
							words[i] = math.Float32frombits(r.Uint32())
						}
						quarters := unsafe.Slice((*int8)(unsafe.Pointer(&words[0])), w*k)
						tile.MatMulTileInt8(want.rows(), a.rows(), wantStart, quarters, scale, add)
						impl.MatMulTileInt8(c.rows(), a.rows(), start, quarters, scale, add)
						equalMatrix(t, want, c, "int8: m=%d k=%d start=%d add=%v kind=%d", m, k, from, add, kind)
					}
				}
			}
		})
	})
}

// testPanels holds rows by several panels, of each type and of any bits, to the reference.
func testPanels(t *testing.T, r *rand.Rand, mem *memory, impl Impl, a tile.Rows, add bool, kind Kind) {
	t.Helper()
	w, columns := impl.PanelWidth, impl.PanelWidth*(2+r.IntN(3))
	n := columns * a.Dim
	b, words, scale := Fill(r, mem.vector(n), kind), mem.vector(n/2), Fill(r, mem.vector(columns), kind)
	for i := range words {
		words[i] = math.Float32frombits(r.Uint32())
	}
	halves, octets := unsafe.Slice((*uint16)(unsafe.Pointer(&words[0])), n), unsafe.Slice((*int8)(unsafe.Pointer(&words[n/4])), n)
	c := mem.matrix(r, a.Len, columns, kind)
	start := mem.matrix(r, a.Len, columns, kind).rows()
	start.Len *= r.IntN(2)
	start.Dim = w
	for _, product := range []struct {
		name      string
		want, got func(c tile.Rows)
	}{
		{"float32", func(c tile.Rows) { tile.MatMulTile(c, a, start, b, add) }, func(c tile.Rows) { impl.MatMulTile(c, a, start, b, add) }},
		{"float16", func(c tile.Rows) { tile.MatMulTileFloat16(c, a, start, halves, add) }, func(c tile.Rows) { impl.MatMulTileFloat16(c, a, start, halves, add) }},
		{"bfloat16", func(c tile.Rows) { tile.MatMulTileBFloat16(c, a, start, halves, add) }, func(c tile.Rows) { impl.MatMulTileBFloat16(c, a, start, halves, add) }},
		{"int8", func(c tile.Rows) { tile.MatMulTileInt8(c, a, start, octets, scale, add) }, func(c tile.Rows) { impl.MatMulTileInt8(c, a, start, octets, scale, add) }},
	} {
		want := c.clone()
		to, from := want.rows(), c.rows()
		to.Dim, from.Dim = w, w
		product.want(to)
		product.got(from)
		equalMatrix(t, want, c, "panels of %s: m=%d k=%d columns=%d add=%v kind=%d", product.name, a.Len, a.Dim, columns, add, kind)
	}
}

// The kernels of a panel, one after the other as attention calls them, each against the reference.
func TestPanel(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		w := impl.PanelWidth
		ref := Generic(w)
		r := rand.New(rand.NewPCG(9, 10))
		dims, step := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 33, 48, 64, 80}, 8
		if testing.Short() { // an emulator is hundreds of times slower
			dims, step = []int{1, 3, 7, 16, 33, 80}, 40
		}
		fences(t, 16, tile.Keys*100, func(m *memory) {
			for _, dim := range dims {
				for _, n := range tileLengths(r, step) {
					kind := Kind(r.IntN(int(Kinds)))
					what := fmt.Sprintf("dim=%d n=%d kind=%d", dim, n, kind)
					pad := tile.Pad(dim)

					offset := variable(m, [tile.MaxPanel]int{})
					src := m.matrix(r, w, dim, kind)
					for i := range w {
						offset[i] = i * src.stride
					}
					q1, q2 := make([]float32, pad*w), m.vector(pad*w)
					clear(q2)
					ref.PackPanel(q1, src.x, offset, w, dim, 0.7)
					impl.PackPanel(q2, src.x, offset, w, dim, 0.7)
					Equal(t, q1[:dim*w], q2[:dim*w], "PackPanel %s", what)

					var st1 tile.Panel
					st1.Reset(w)
					from, to := 0, w
					switch r.IntN(3) {
					case 0:
						from = w / 2
					case 1:
						to = w / 2
					}
					for i := from; i < to; i++ { // as after some tiles, at times for a half of the panel alone
						if n%4 > 0 && r.IntN(3) > 0 {
							st1.Max[i], st1.Sum[i] = float32(r.IntN(40)-20), 1+r.Float32()
						}
					}
					for i := w; i < tile.MaxPanel; i++ {
						st1.TileMax[i], st1.Max[i], st1.Sum[i], st1.OldScale[i], st1.NewScale[i] = canary, canary, canary, canary, canary
					}
					st2 := variable(m, st1)
					started := st1.Sum
					// sameState compares the whole state, also the lanes that a narrow panel does not have.
					sameState := func(kernel string) {
						t.Helper()
						for i, f := range [][2]*[tile.MaxPanel]float32{{&st1.TileMax, &st2.TileMax}, {&st1.Max, &st2.Max},
							{&st1.Sum, &st2.Sum}, {&st1.OldScale, &st2.OldScale}, {&st1.NewScale, &st2.NewScale}} {
							Equal(t, f[0][:], f[1][:], "%s state %d %s", kernel, i, what)
						}
						require.Equal(t, st1.Mode, st2.Mode, "%s mode %s", kernel, what)
					}
					k := m.matrix(r, n, dim, kind)
					s1, s2 := make([]float32, n*w), m.vector(n*w)
					copy(s2, s1) // what is not computed stays
					upper := r.IntN(n+1) * r.IntN(2)
					ref.ScoreTile(s1, &st1, q1, k.at(), upper, &tile.Rows{})
					ahead := k.at()
					ahead.Len = r.IntN(n + 1)
					impl.ScoreTile(s2, st2, q2, k.at(), upper, ahead)
					Equal(t, s1, s2, "ScoreTile %s", what)
					sameState("ScoreTile")

					if r.IntN(2) == 0 {
						lanes := variable(m, [tile.Keys]uint32{})
						for i := range lanes {
							lanes[i] = r.Uint32() | uint32(-(r.IntN(4) / 3))
						}
						for i := range w {
							st1.TileMax[i], st2.TileMax[i] = negInf, negInf
						}
						ref.HideTile(s1, &st1, lanes, n)
						impl.HideTile(s2, st2, lanes, n)
						Equal(t, s1, s2, "HideTile %s", what)
						sameState("HideTile")
					}
					ref.SoftmaxTile(s1, &st1, n)
					impl.SoftmaxTile(s2, st2, n)
					Equal(t, s1, s2, "SoftmaxTile %s", what)
					sameState("SoftmaxTile")

					for i := range w { // ValueTile may rely on no scale being 1 but that of MergeAdd
						st1.NewScale[i] = float32(math.Ldexp(1, -r.IntN(4)))
						if st1.Mode == tile.MergeRescale {
							st1.OldScale[i] = float32(math.Ldexp(1, -r.IntN(4)))
						}
					}
					*st2 = st1
					v := m.matrix(r, n, dim, kind)
					acc2 := Fill(r, m.vector(pad*w), Normal)
					for i := range acc2 { // a lane starts at 0
						if started[i%w] == 0 && st1.Mode != tile.MergeFirst {
							acc2[i] = 0
						}
					}
					acc1 := append([]float32(nil), acc2...)
					ref.ValueTile(acc1, s1, &st1, v.at(), upper, &tile.Rows{})
					impl.ValueTile(acc2, s2, st2, v.at(), upper, &tile.Rows{})
					Equal(t, acc1, acc2, "ValueTile %s", what)
					sameState("ValueTile")

					st1.Sum[r.IntN(w)] = 0
					st2.Sum = st1.Sum
					d2 := m.matrix(r, w, dim, Normal)
					d1 := d2.clone()
					for i := range w {
						offset[i] = i * d2.stride
					}
					nan1 := ref.FinishPanel(d1.x, offset, acc1, &st1, dim)
					nan2 := impl.FinishPanel(d2.x, offset, acc2, st2, dim)
					if nan1 != nan2 {
						t.Fatalf("FinishPanel %s: nan = %v, want %v", what, nan2, nan1)
					}
					equalMatrix(t, d1, d2, "FinishPanel %s", what)
				}
			}
		})
	})
}

// FinishPanel reports a NaN wherever it is, and nothing else.
func TestFinishPanelNaN(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(15, 16))
		w := impl.PanelWidth
		var offset [tile.MaxPanel]int
		for i := range w {
			offset[i] = i * 80
		}
		var st tile.Panel
		for i := range st.Sum {
			st.Sum[i] = 2
		}
		dst := make([]float32, w*80)
		for _, dim := range []int{1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 33, 80} {
			acc := Fill(r, make([]float32, tile.Pad(dim)*w), Normal)
			require.False(t, impl.FinishPanel(dst, &offset, acc, &st, dim), "dim=%d", dim)
			for i := range dim * w {
				old := acc[i]
				acc[i] = canary
				require.True(t, impl.FinishPanel(dst, &offset, acc, &st, dim), "dim=%d: column %d of query %d", dim, i/w, i%w)
				acc[i] = old
			}
		}
	})
}

func TestRows(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(11, 12))
		const wide = maxRows // columns, more than those of one query that are in registers together
		dims, step := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 33, 64, 72, 80, 127, 128, wide}, 6
		if testing.Short() {
			dims, step = []int{1, 3, 8, 17, 33, 48, 72, 127, wide}, 40
		}
		fences(t, 12, tile.Keys*(wide+12), func(m *memory) {
			for _, dim := range dims {
				queries, step := []int{1, 4, 8}, step
				if dim == wide {
					queries, step = queries[:1], 40
				}
				for _, n := range tileLengths(r, step) {
					for _, rows := range queries {
						kind := Kind(r.IntN(int(Kinds)))
						what := fmt.Sprintf("rows=%d dim=%d n=%d kind=%d", rows, dim, n, kind)
						q, k := m.matrix(r, dim, rows, kind), m.matrix(r, n, dim, kind)
						s1, s2 := make([]float32, rows*tile.Keys), m.vector(rows*tile.Keys)
						tile.RowScores(s1, q.x, q.stride, rows, k.at(), 0)
						impl.RowScores(s2, q.x, q.stride, rows, k.at(), 0)
						for i := range rows {
							a, b := s1[i*tile.Keys:][:n], s2[i*tile.Keys:][:n]
							Equal(t, a, b, "RowScores %s", what)
							// The weights may be written up to a multiple of 16.
							room := m.vector(tile.Pad(n))
							copy(room, b)
							m1, m2 := tile.RowWeights(a), impl.RowWeights(room[:n])
							Equal(t, []float32{m1}, []float32{m2}, "RowWeights max %s", what)
							Equal(t, a, room[:n], "RowWeights %s", what)
							copy(b, a)
						}
						v := m.matrix(r, n, dim, kind)
						pad := tile.Pad(dim)
						o1, o2 := Fill(r, make([]float32, rows*pad), kind), m.vector(rows*pad)
						l1, l2 := Fill(r, make([]float32, rows), kind), m.vector(rows)
						copy(o2, o1)
						copy(l2, l1)
						tile.RowValues(o1, s1, l1, rows, v.at(), 0)
						impl.RowValues(o2, s2, l2, rows, v.at(), 0)
						Equal(t, l1, l2, "RowValues sum %s", what)
						for i := range rows {
							Equal(t, o1[i*pad:][:dim], o2[i*pad:][:dim], "RowValues %s", what)
						}
						if dim%16 == 0 {
							testStoredRows(t, r, m, impl, storedRows{rows, dim, n, kind}, what)
						}
						a1 := Fill(r, make([]float32, pad), kind)
						a2, o := m.vector(pad), m.vector(pad)
						copy(a2, a1)
						copy(o, o1)
						tile.MergeRow(a1, o1[:pad], 0.25, 1)
						impl.MergeRow(a2, o, 0.25, 1)
						Equal(t, a1, a2, "MergeRow %s", what)
					}
				}
			}
		})
	})
}

// storedRows is a case of rows that are stored in other types.
type storedRows struct {
	rows, dim, n int
	kind         Kind
}

// testStoredRows holds keys and values of other types, of any bits, to the reference, those that lie one behind the other and
// those in groups.
func testStoredRows(t *testing.T, r *rand.Rand, m *memory, impl Impl, c storedRows, what string) {
	stride := c.dim + r.IntN(5)*r.IntN(2)
	half, octets := c.draw(r, m, c.n, stride)
	c.test(t, r, m, impl, half, octets, what)
	if c.n < tile.GroupRows {
		return
	}
	// Groups that are read next, and rows of no group.
	groups := r.Perm(c.n/tile.GroupRows + r.IntN(3))
	half, octets = c.draw(r, m, len(groups)*(tile.GroupRows+1), c.dim)
	c.n -= c.n % tile.GroupRows
	for i := range groups {
		groups[i] = groups[i]*(tile.GroupRows+1) + 1
	}
	half.Len, half.Groups, octets.Len, octets.Groups = c.n, groups, c.n, groups
	c.test(t, r, m, impl, half, octets, fmt.Sprintf("%s groups=%v", what, groups))
}

// draw returns n rows of either size.
func (c storedRows) draw(r *rand.Rand, m *memory, n, stride int) (tile.HalfRows, tile.OctetRows) {
	half := tile.HalfRows{Data: elements[uint16](m, (n-1)*stride+c.dim), Len: n, Dim: c.dim, Stride: stride}
	for i := range half.Data {
		half.Data[i] = uint16(r.Uint32())
		if c.kind < WithEdges && half.Data[i]&0x7c00 == 0x7c00 { // without NaN
			half.Data[i] = 1
		}
	}
	octets := tile.OctetRows{Data: elements[int8](m, (n-1)*stride+c.dim), Scales: m.vector(n), Len: n, Dim: c.dim, Stride: stride}
	for i := range octets.Data {
		octets.Data[i] = int8(r.Uint32())
	}
	Fill(r, octets.Scales, c.kind)
	return half, octets
}

// test holds the kernels of some rows to the reference.
func (c storedRows) test(t *testing.T, r *rand.Rand, m *memory, impl Impl, half tile.HalfRows, octets tile.OctetRows, what string) {
	rows, dim, n, pad, stride := c.rows, c.dim, c.n, tile.Pad(c.dim), half.Stride
	if n >= tile.StoredRows {
		q := m.matrix(r, dim, rows, c.kind)
		s1, s2 := make([]float32, rows*tile.Keys), m.vector((rows-1)*tile.Keys+n)
		equal := func(name string) {
			t.Helper()
			for i := range rows {
				Equal(t, s1[i*tile.Keys:][:n], s2[i*tile.Keys:][:n], "%s %s stride=%d", name, what, stride)
			}
		}
		tile.RowScoresFloat16(s1, q.x, q.stride, rows, half)
		impl.RowScoresFloat16(s2, q.x, q.stride, rows, half)
		equal("RowScoresFloat16")
		tile.RowScoresBFloat16(s1, q.x, q.stride, rows, half)
		impl.RowScoresBFloat16(s2, q.x, q.stride, rows, half)
		equal("RowScoresBFloat16")
		tile.RowScoresInt8(s1, q.x, q.stride, rows, octets)
		impl.RowScoresInt8(s2, q.x, q.stride, rows, octets)
		equal("RowScoresInt8")
	}

	p := m.vector((rows-1)*tile.Keys + n) // of the scores: it may have no more than its rows
	Fill(r, p, c.kind)
	o1, o2 := Fill(r, make([]float32, rows*pad), c.kind), m.vector(rows*pad)
	l1, l2 := Fill(r, make([]float32, rows), c.kind), m.vector(rows)
	copy(o2, o1)
	copy(l2, l1)
	equal := func(name string) {
		t.Helper()
		Equal(t, l1, l2, "%s: sum %s", name, what)
		for i := range rows {
			Equal(t, o1[i*pad:][:dim], o2[i*pad:][:dim], "%s %s stride=%d", name, what, stride)
		}
	}
	tile.RowValuesFloat16(o1, p, l1, rows, half)
	impl.RowValuesFloat16(o2, p, l2, rows, half)
	equal("RowValuesFloat16")
	tile.RowValuesBFloat16(o1, p, l1, rows, half)
	impl.RowValuesBFloat16(o2, p, l2, rows, half)
	equal("RowValuesBFloat16")
	tile.RowValuesInt8(o1, p, l1, rows, octets)
	impl.RowValuesInt8(o2, p, l2, rows, octets)
	equal("RowValuesInt8")
}

// The edits of scores: of all kinds of scores, biases, positions and slopes, for panels and rows.
func TestEdits(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		w := impl.PanelWidth
		ref := Generic(w)
		r := rand.New(rand.NewPCG(17, 18))
		step := 3
		if testing.Short() {
			step = 40
		}
		fences(t, 8, tile.Keys*(w+1), func(m *memory) {
			for _, n := range tileLengths(r, step) {
				kind := Kind(r.IntN(int(Kinds)))
				what := fmt.Sprintf("n=%d kind=%d", n, kind)
				var st1 tile.Panel
				Fill(r, st1.TileMax[:], Normal)
				st2 := variable(m, st1)
				s1, s2 := Fill(r, make([]float32, n*w), kind), m.vector(n*w)
				// step begins with the same scores each time.
				tiles := func(kernel string, edit func(impl Impl, s []float32, st *tile.Panel)) {
					t.Helper()
					st1.Width, st2.Width = w, w
					s := append([]float32(nil), s1...)
					copy(s2, s1)
					edit(ref, s, &st1)
					edit(impl, s2, st2)
					Equal(t, s, s2, "%s %s", kernel, what)
					Equal(t, st1.TileMax[:], st2.TileMax[:], "%s maxima %s", kernel, what)
				}
				cap := float32(math.Ldexp(1+r.Float64(), r.IntN(60)-40+10*r.IntN(2)))
				tiles("CapTile", func(impl Impl, s []float32, st *tile.Panel) { impl.CapTile(s, st, n, cap, 1/cap) })

				position, slope := variable(m, [tile.MaxPanel]int32{}), variable(m, [tile.MaxPanel]float32{})
				first := r.IntN(1<<20) * r.IntN(2) * tile.Keys
				Fill(r, slope[:], Normal)
				for i := range position {
					position[i] = int32(min(first+r.IntN(3*n)-n, 1<<30))
					if r.IntN(9) == 0 {
						position[i] = int32(r.Int64N(1<<31+1) - 1<<30)
					}
				}
				tiles("AlibiTile", func(impl Impl, s []float32, st *tile.Panel) { impl.AlibiTile(s, st, position, slope, n, first) })

				offset := variable(m, [tile.MaxPanel]int{})
				bias := m.matrix(r, w, n, kind)
				for i := range w {
					offset[i] = i * bias.stride
				}
				tiles("BiasTile", func(impl Impl, s []float32, st *tile.Panel) {
					impl.BiasTile(s, st, bias.x, offset, n)
				})
				keys := Fill(r, m.vector(n), kind)
				tiles("BiasKeys", func(impl Impl, s []float32, st *tile.Panel) { impl.BiasKeys(s, st, keys, n) })
				tiles("ScaleTile", func(impl Impl, s []float32, st *tile.Panel) { impl.ScaleTile(s, st, keys, n) })

				// Of a row the scores may be written up to a multiple of 16.
				row := func(kernel string, edit func(impl Impl, s []float32)) {
					t.Helper()
					s, room := append([]float32(nil), s1[:n]...), m.vector(tile.Pad(n))
					copy(room, s)
					edit(ref, s)
					edit(impl, room[:n])
					Equal(t, s, room[:n], "%s %s", kernel, what)
				}
				row("CapRow", func(impl Impl, s []float32) { impl.CapRow(s, cap, 1/cap) })
				at := int(position[0]) - first
				row("AlibiRow", func(impl Impl, s []float32) { impl.AlibiRow(s, at, slope[0]) })
				row("BiasRow", func(impl Impl, s []float32) { impl.BiasRow(s, keys) })
			}
		})
	})
}

// A bias of -Inf hides a score that is NaN or infinite too.
func TestBiasHides(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		w := impl.PanelWidth
		ref := Generic(w)
		r := rand.New(rand.NewPCG(23, 24))
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		for n := 1; n <= 40; n++ {
			scores, bias := make([]float32, n*w), make([]float32, n*w)
			for i := range scores {
				scores[i], bias[i] = [...]float32{nan, inf, -inf, 1}[r.IntN(4)], [...]float32{-inf, 2}[r.IntN(2)]
			}
			var offset [tile.MaxPanel]int
			for i := range w {
				offset[i] = i * n
			}
			for name, edit := range map[string]func(impl Impl, s []float32, st *tile.Panel){
				"BiasRow":  func(impl Impl, s []float32, _ *tile.Panel) { impl.BiasRow(s[:n:tile.Pad(n)], bias[:n]) },
				"BiasKeys": func(impl Impl, s []float32, st *tile.Panel) { impl.BiasKeys(s, st, bias[:n], n) },
				"BiasTile": func(impl Impl, s []float32, st *tile.Panel) { impl.BiasTile(s, st, bias, &offset, n) },
			} {
				want, got, st1, st2 := slices.Clone(scores), slices.Clone(scores), tile.Panel{Width: w}, tile.Panel{Width: w}
				edit(ref, want, &st1)
				edit(impl, got, &st2)
				some := len(want)
				if name == "BiasRow" { // which may write up to a whole vector
					some = n
				}
				Equal(t, want[:some], got[:some], "%s n=%d", name, n)
				Equal(t, st1.TileMax[:], st2.TileMax[:], "%s n=%d: maxima", name, n)
			}
		}
	})
}

// The cap where it bends, and of random bits.
func TestCapBits(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(19, 20))
		w := impl.PanelWidth
		want, got := make([]float32, tile.Keys*w), make([]float32, tile.Keys*w)
		for round := range 40 {
			for i := range want {
				if want[i] = float32(r.Float64()*18 - 9); round%4 == 0 {
					want[i] = math.Float32frombits(r.Uint32())
				}
			}
			copy(got, want)
			for i := 0; i < len(want); i += tile.Keys {
				x, y := append([]float32(nil), want[i:][:tile.Keys]...), append([]float32(nil), want[i:][:tile.Keys]...)
				tile.CapRow(x, 1, 1)
				impl.CapRow(y, 1, 1)
				Equal(t, x, y, "CapRow")
			}
			st := tile.Panel{Width: w}
			tile.CapTile(want, &st, tile.Keys, 1, 1)
			impl.CapTile(got, &st, tile.Keys, 1, 1)
			Equal(t, want, got, "CapTile")
		}
	})
}

func TestRotary(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(17, 18))
		fences(t, 4, 12*300, func(m *memory) {
			for cols := range 67 {
				cols++
				for kind := range Kinds {
					n := 1 + r.IntN(12)
					x, cos, sin := m.matrix(r, n, 2*cols, kind), m.matrix(r, n, cols, kind), m.matrix(r, n, cols, kind)
					a, b := cos.rows(), sin.rows()
					if r.IntN(4) == 0 { // all rows at one position
						a.Stride, b.Stride = 0, 0
					}
					for _, interleaved := range []bool{false, true} {
						want := x.clone()
						tile.Rotary(want.rows(), a, b, interleaved)
						impl.Rotary(x.rows(), a, b, interleaved)
						equalMatrix(t, want, x, "%d pairs of %d rows, interleaved %v, kind=%d", cols, n, interleaved, kind)
					}
				}
			}
		})
	})
}

// More rows than one call of the assembly takes, of which the last is not whole, and rows that are longer.
func TestLongRotary(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(19, 20))
		fences(t, 3, 1<<17+1<<10, func(m *memory) {
			for _, s := range [][2]int{{tile.Keys, 3}, {2*tile.Keys + 1, 17}, {3*tile.Keys - 1, 64}, {70, 600}, {2, tile.SumPart/2 + 3}} {
				rows := func(dim int) tile.Rows {
					return tile.Rows{Data: Fill(r, m.vector(s[0]*dim), Normal), Len: s[0], Dim: dim, Stride: dim}
				}
				for _, interleaved := range []bool{false, true} {
					x, cos, sin := rows(2*s[1]), rows(s[1]), rows(s[1])
					want := x
					want.Data = append([]float32(nil), x.Data...)
					tile.Rotary(want, cos, sin, interleaved)
					impl.Rotary(x, cos, sin, interleaved)
					Equal(t, want.Data, x.Data, "%d rows of %d pairs, interleaved %v", s[0], s[1], interleaved)
				}
			}
		})
	})
}

package asmtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

var negInf = float32(math.Inf(-1))

func lengths() []int {
	var n []int
	for i := range 4*32 + 2 {
		n = append(n, i)
	}
	return append(n, 255, 256, 257, 1000)
}

// fences calls f with every operand right behind, and right before, a page that may not be touched:
// place(n) is such an operand of n elements.
func fences(t *testing.T, operands, size int, f func(place func(n int) []float32)) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var mem []*Guarded
	for range operands {
		mem = append(mem, NewGuarded(t, size))
	}
	for _, tail := range []bool{false, true} {
		i := 0
		f(func(n int) []float32 {
			m := mem[i%operands]
			i++
			if tail {
				return m.Tail(n)
			}
			return m.Head(n)
		})
	}
}

func TestVectors(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(1, 2))
		fences(t, 3, 1000, func(place func(int) []float32) {
			for _, n := range lengths() {
				for kind := range Kinds {
					x, y, dst := Fill(r, place(n), kind), Fill(r, place(n), kind), place(n)
					want := make([]float32, n)
					what := func(k string) string { return fmt.Sprintf("%s n=%d kind=%d", k, n, kind) }

					Equal(t, []float32{generic.Dot(x, y)}, []float32{impl.Dot(x, y)}, "%s", what("Dot"))
					m := generic.Max(x)
					Equal(t, []float32{m}, []float32{impl.Max(x)}, "%s", what("Max"))
					generic.Exp(want, x)
					impl.Exp(dst, x)
					Equal(t, want, dst, "%s", what("Exp"))
					generic.Div(want, x, 3)
					impl.Div(dst, x, 3)
					Equal(t, want, dst, "%s", what("Div"))
					generic.Scale(want, x, 0.3)
					impl.Scale(dst, x, 0.3)
					Equal(t, want, dst, "%s", what("Scale"))

					var s1, s2, s3 [generic.Lanes]float32
					Fill(r, s1[:], Normal)
					s2, s3 = s1, s1
					generic.ExpSum(want, x, generic.SafeMax(m), &s1)
					impl.ExpSum(dst, x, generic.SafeMax(m), &s2)
					impl.SumExp(x, generic.SafeMax(m), &s3)
					Equal(t, want, dst, "%s", what("ExpSum"))
					Equal(t, s1[:], s2[:], "%s", what("ExpSum lanes"))
					Equal(t, s1[:], s3[:], "%s", what("SumExp lanes"))
					Equal(t, []float32{generic.Fold(&s1)}, []float32{impl.Fold(&s1)}, "%s", what("Fold"))

					if n > 0 { // in place, at every alignment
						y := append([]float32(nil), x...)
						off := n % 16 % n
						impl.Exp(y[off:], y[off:])
						generic.Exp(want, x)
						Equal(t, want[off:], y[off:], "%s", what("Exp in place"))
						Equal(t, x[:off], y[:off], "%s", what("Exp before"))
					}
				}
			}
		})
	})
}

// Vectors longer than one call of the assembly.
func TestLongVectors(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(3, 4))
		for i := range 67 { // every tail
			n := 1<<15 + i
			if i == 66 {
				n = 1<<16 + 37
			}
			x, y := Fill(r, make([]float32, n), Normal), Fill(r, make([]float32, n), Normal)
			want, got := make([]float32, n), make([]float32, n)
			Equal(t, []float32{generic.Dot(x, y), generic.Max(x)}, []float32{impl.Dot(x, y), impl.Max(x)}, "Dot, Max n=%d", n)
			generic.Exp(want, x)
			impl.Exp(got, x)
			Equal(t, want, got, "Exp n=%d", n)
			var s1, s2, s3 [generic.Lanes]float32
			generic.ExpSum(want, x, 4, &s1)
			impl.ExpSum(got, x, 4, &s2)
			impl.SumExp(x, 4, &s3)
			Equal(t, want, got, "ExpSum n=%d", n)
			Equal(t, s1[:], s2[:], "ExpSum lanes n=%d", n)
			Equal(t, s1[:], s3[:], "SumExp lanes n=%d", n)
			generic.Div(want, x, 7)
			impl.Div(got, x, 7)
			Equal(t, want, got, "Div n=%d", n)
			generic.Scale(want, x, 7)
			impl.Scale(got, x, 7)
			Equal(t, want, got, "Scale n=%d", n)
		}
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
		for range 1 << 16 {
			x = append(x, float32(r.Float64()*200-110))
		}
		want, got := make([]float32, len(x)), make([]float32, len(x))
		generic.Exp(want, x)
		impl.Exp(got, x)
		Equal(t, want, got, "Exp")
		var sum [generic.Lanes]float32
		generic.ExpSum(want, x, 0, &sum)
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
		fences(t, 3, 40*80, func(place func(int) []float32) {
			for m := 1; m <= 26; m++ {
				for _, k := range []int{1, 2, 3, 4, 5, 7, 8, 11, 12, 64} {
					for kind := range Kinds {
						w := impl.PanelWidth
						lda, ldc := k+r.IntN(9), w+r.IntN(9)
						a := Fill(r, place((m-1)*lda+k), kind)
						b := Fill(r, place(w*k), kind)
						c := Fill(r, place((m-1)*ldc+w), kind)
						want := append([]float32(nil), c...)
						add := r.IntN(2) == 0
						Generic(w).MatMulTile(want, ldc, a, lda, b, m, k, add)
						impl.MatMulTile(c, ldc, a, lda, b, m, k, add)
						Equal(t, want, c, "m=%d k=%d add=%v kind=%d", m, k, add, kind)
					}
				}
			}
		})
	})
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
		fences(t, 5, generic.TileKeys*100, func(place func(int) []float32) {
			for _, dim := range dims {
				for n := 1; n <= generic.TileKeys; n += 1 + r.IntN(step) {
					kind := Kind(r.IntN(int(Kinds)))
					what := fmt.Sprintf("dim=%d n=%d kind=%d", dim, n, kind)
					stride := dim + r.IntN(5)
					pad := generic.Pad(dim)

					var offset [generic.MaxPanel]int
					src := Fill(r, place((w-1)*stride+dim), kind)
					for i := range w {
						offset[i] = i * stride
					}
					q1, q2 := make([]float32, pad*w), place(pad*w)
					clear(q2)
					ref.PackPanel(q1, src, &offset, dim, 0.7)
					impl.PackPanel(q2, src, &offset, dim, 0.7)
					Equal(t, q1[:dim*w], q2[:dim*w], "PackPanel %s", what)

					var st1, st2 generic.Panel
					st1.Reset(w)
					for i := range w { // as after some tiles
						if n%4 > 0 && r.IntN(3) > 0 {
							st1.Max[i], st1.Sum[i] = float32(r.IntN(40)-20), 1+r.Float32()
						}
					}
					st2 = st1
					started := st1.Sum
					k := Fill(r, place((n-1)*stride+dim), kind)
					s1, s2 := make([]float32, n*w), place(n*w)
					ref.ScoreTile(s1, &st1, q1, k, dim, n, stride)
					impl.ScoreTile(s2, &st2, q1, k, dim, n, stride)
					Equal(t, s1, s2, "ScoreTile %s", what)
					Equal(t, st1.TileMax[:w], st2.TileMax[:w], "ScoreTile max %s", what)

					if r.IntN(2) == 0 {
						var limit [generic.MaxPanel]int32
						first := r.IntN(5) * generic.TileKeys
						for i := range limit {
							limit[i] = int32(first + r.IntN(n+20) - 10)
						}
						for i := range w {
							st1.TileMax[i], st2.TileMax[i] = negInf, negInf
						}
						ref.MaskTile(s1, &st1, &limit, n, first)
						impl.MaskTile(s2, &st2, &limit, n, first)
						Equal(t, s1, s2, "MaskTile %s", what)
						Equal(t, st1.TileMax[:w], st2.TileMax[:w], "MaskTile max %s", what)
					}
					ref.SoftmaxTile(s1, &st1, n)
					impl.SoftmaxTile(s2, &st2, n)
					Equal(t, s1, s2, "SoftmaxTile %s", what)
					for i, f := range [][2]*[generic.MaxPanel]float32{{&st1.TileMax, &st2.TileMax}, {&st1.Max, &st2.Max},
						{&st1.Sum, &st2.Sum}, {&st1.OldScale, &st2.OldScale}, {&st1.NewScale, &st2.NewScale}} {
						Equal(t, f[0][:w], f[1][:w], "SoftmaxTile state %d %s", i, what)
					}

					require.Equal(t, st1.Mode, st2.Mode, "SoftmaxTile mode %s", what)

					v := Fill(r, place((n-1)*stride+dim), kind)
					acc2 := Fill(r, place(pad*w), Normal)
					for i := range acc2 { // a lane starts at 0
						if started[i%w] == 0 && st1.Mode != generic.MergeFirst {
							acc2[i] = 0
						}
					}
					acc1 := append([]float32(nil), acc2...)
					ref.ValueTile(acc1, s1, v, &st1, dim, n, stride)
					impl.ValueTile(acc2, s1, v, &st1, dim, n, stride)
					Equal(t, acc1, acc2, "ValueTile %s", what)

					st1.Sum[r.IntN(w)] = 0
					d2 := Fill(r, place((w-1)*stride+dim), Normal)
					d1 := append([]float32(nil), d2...)
					nan1 := ref.FinishPanel(d1, &offset, acc1, &st1, dim)
					nan2 := impl.FinishPanel(d2, &offset, acc1, &st1, dim)
					if nan1 != nan2 {
						t.Fatalf("FinishPanel %s: nan = %v, want %v", what, nan2, nan1)
					}
					Equal(t, d1, d2, "FinishPanel %s", what)
				}
			}
		})
	})
}

func TestRows(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(11, 12))
		dims, step := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 31, 33, 64, 72, 80, 127, 128}, 6
		if testing.Short() {
			dims, step = []int{1, 3, 8, 17, 33, 72, 127}, 40
		}
		fences(t, 4, generic.TileKeys*140, func(place func(int) []float32) {
			for _, dim := range dims {
				for n := 1; n <= generic.TileKeys; n += 1 + r.IntN(step) {
					for _, rows := range []int{1, 4} {
						kind := Kind(r.IntN(int(Kinds)))
						what := fmt.Sprintf("rows=%d dim=%d n=%d kind=%d", rows, dim, n, kind)
						stride := dim + r.IntN(5)
						w := rows + r.IntN(5)
						q := Fill(r, place((dim-1)*w+rows), kind)
						k := Fill(r, place((n-1)*stride+dim), kind)
						s1, s2 := make([]float32, rows*generic.TileKeys), place(rows*generic.TileKeys)
						generic.RowScores(s1, q, k, w, rows, dim, n, stride)
						impl.RowScores(s2, q, k, w, rows, dim, n, stride)
						for i := range rows {
							a, b := s1[i*generic.TileKeys:][:n], s2[i*generic.TileKeys:][:n]
							Equal(t, a, b, "RowScores %s", what)
							m1, m2 := generic.RowWeights(a), impl.RowWeights(b)
							Equal(t, []float32{m1}, []float32{m2}, "RowWeights max %s", what)
							Equal(t, a, b, "RowWeights %s", what)
						}
						v := Fill(r, place((n-1)*stride+dim), kind)
						pad := generic.Pad(dim)
						o1, o2 := make([]float32, rows*pad), Fill(r, place(rows*pad), Normal)
						l1 := generic.RowValues(o1, s1, v, rows, dim, n, stride)
						l2 := impl.RowValues(o2, s1, v, rows, dim, n, stride)
						Equal(t, l1[:rows], l2[:rows], "RowValues sum %s", what)
						for i := range rows {
							Equal(t, o1[i*pad:][:dim], o2[i*pad:][:dim], "RowValues %s", what)
						}
						a1 := Fill(r, make([]float32, pad), kind)
						a2 := append([]float32(nil), a1...)
						generic.MergeRow(a1, o1[:pad], 0.25, 1)
						impl.MergeRow(a2, o1[:pad], 0.25, 1)
						Equal(t, a1, a2, "MergeRow %s", what)
					}
				}
			}
		})
	})
}

package kernel

import (
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// No function touches memory that its arguments do not contain: not before, not behind and, where
// rows are apart, not between them.

// fenced is memory for one argument: between fences, or with a fence between any two rows.
type fenced struct {
	block *asmtest.Guarded
	rows  *asmtest.GuardedRows
}

const (
	fencedElements = 1 << 16
	fencedRows     = 1 << 10
)

func newFenced(t *testing.T) *fenced {
	return &fenced{asmtest.NewGuarded(t, fencedElements), asmtest.NewGuardedRows(t, fencedRows)}
}

// vector returns a copy of x next to a fence.
func (f *fenced) vector(r *rand.Rand, x []float32) []float32 {
	y := f.block.Head(len(x))
	if r.IntN(2) == 0 {
		y = f.block.Tail(len(x))
	}
	copy(y, x)
	return y
}

// tensor returns a copy of x, packed or with each row between fences, in [B][H][L] or [B][L][H].
func (f *fenced) tensor(r *rand.Rand, x Tensor) Tensor {
	y, n := x, x.Batch*x.Heads*x.Len
	if n > fencedRows || r.IntN(2) == 0 {
		y.BatchStride, y.HeadStride, y.LenStride = 0, 0, 0
		y.Data = f.vector(r, make([]float32, n*x.Dim))
	} else {
		step := f.rows.Stride
		y.LenStride, y.HeadStride, y.BatchStride = step, x.Len*step, x.Heads*x.Len*step
		if r.IntN(2) == 0 {
			y.HeadStride, y.LenStride = step, x.Heads*step
		}
		y.Data = f.rows.Head(n, x.Dim)
		if r.IntN(2) == 0 {
			y.Data = f.rows.Tail(n, x.Dim)
		}
	}
	from := rows(x)
	for i, row := range rows(y) {
		copy(row, from[i])
	}
	return y
}

// matrix returns such a copy of m.
func (f *fenced) matrix(r *rand.Rand, m Matrix) Matrix {
	t := explicit(f.tensor(r, asTensor(m)))
	return Matrix{m.Rows, m.Cols, t.LenStride, t.Data}
}

// asTensor is m as a tensor, for rows and flat.
func asTensor(m Matrix) Tensor {
	return Tensor{Data: m.Data, Batch: 1, Heads: 1, Len: m.Rows, Dim: m.Cols, LenStride: m.Stride}
}

func TestFences(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	r := rand.New(rand.NewPCG(1, 13))
	var memory [8]*fenced
	for i := range memory {
		memory[i] = newFenced(t)
	}

	for n := range 258 {
		for range 4 {
			kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
			x, y := memory[0].vector(r, asmtest.Fill(r, make([]float32, n), kind)), memory[1].vector(r, asmtest.Fill(r, make([]float32, n), kind))
			asmtest.Equal(t, []float32{generic.Dot(x, y), generic.LogSumExp(x)}, []float32{Dot(x, y), LogSumExp(x)}, "Dot, LogSumExp n=%d", n)
			for _, e := range elementwise {
				want, dst := make([]float32, n), memory[2].vector(r, make([]float32, n))
				e.oracle(want, x)
				e.f(dst, x)
				asmtest.Equal(t, want, dst, "%s n=%d kind=%d", e.name, n, kind)
			}
		}
	}

	for range trials(200) {
		m, n, k := 1+r.IntN(70), 1+r.IntN(70), 1+r.IntN(70)
		a, b := newMatrix(r, m, k, k, asmtest.Normal), newMatrix(r, k, n, n, asmtest.Normal)
		want := newMatrix(r, m, n, n, asmtest.Normal)
		generic.MatMul(want.Data, n, a.Data, k, b.Data, n, m, k, n)
		a, b, c := memory[0].matrix(r, a), memory[1].matrix(r, b), memory[2].matrix(r, want)
		require.NoError(t, MatMul(c, a, b, &MatMulOptions{Workers: 1 + r.IntN(2)}))
		asmtest.Equal(t, flat(asTensor(want)), flat(asTensor(c)), "%d x %d . %d x %d", m, k, k, n)
	}

	const tile = generic.TileKeys
	for range trials(400) {
		kvHeads, group := 1+r.IntN(2), 1+r.IntN(4)
		s := shape{1 + r.IntN(2), kvHeads * group, kvHeads, pick(r, 1, 2, 4, 9, 17, 40), 1 + r.IntN(150), 1 + r.IntN(40), 1 + r.IntN(40)}
		if r.IntN(8) == 0 { // one long head
			s = shape{1, 1, 1, s.lq, pick(r, tile-1, tile, tile+1, 2*tile+1), 1 + r.IntN(100), 1 + r.IntN(100)}
		}
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(2)})
		p.check(t)
		want := flat(p.dst)
		weights := p.weights(t, 0, s.heads-1, 0, s.lq-1)

		f := &problem{memory[0].tensor(r, p.dst), memory[1].tensor(r, p.q), memory[2].tensor(r, p.k), memory[3].tensor(r, p.v), p.o}
		require.NoError(t, Attention(f.dst, f.q, f.k, f.v, &f.o), "%v", f)
		asmtest.Equal(t, want, flat(f.dst), "%v", f)
		w := memory[4].matrix(r, Matrix{2, s.lk, s.lk, make([]float32, 2*s.lk)})
		require.NoError(t, AttentionWeights(w, f.q, f.k, 0, s.heads-1, []int{0, s.lq - 1}, &f.o), "%v", f)
		for i, row := range weights {
			asmtest.Equal(t, row, w.Data[i*w.Stride:][:s.lk], "weights of %v", f)
		}
	}

	for range trials(50) {
		dim, out, tokens := 1+r.IntN(40), 1+r.IntN(40), 1+r.IntN(70)
		l := newLayer(r, dim, 4, 2, 1+r.IntN(20), 1+r.IntN(20), out, true, asmtest.Normal)
		x, want := newMatrix(r, tokens, dim, dim, asmtest.Normal), newMatrix(r, tokens, out, out, asmtest.Normal)
		require.NoError(t, l.Forward(want, x, nil))
		f := *l
		for i, m := range []*Matrix{&f.WQ, &f.WK, &f.WV, &f.WO, &x} {
			*m = memory[i].matrix(r, *m)
		}
		f.BQ, f.BO = memory[5].vector(r, f.BQ), memory[6].vector(r, f.BO)
		dst := memory[7].matrix(r, want)
		require.NoError(t, f.Forward(dst, x, nil))
		asmtest.Equal(t, flat(asTensor(want)), flat(asTensor(dst)), "layer of %d tokens", tokens)
	}
}

// Elements that lie more than 2^32 elements, and single strides that are more than 2^31 elements,
// from the start. Most of that memory is only reserved.
func TestFarElements(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("no memory is that large")
	}
	r := rand.New(rand.NewPCG(2, 13))
	step := 1<<28 + 3
	far := func(x Tensor, batch, head, row int) Tensor {
		y := x
		y.BatchStride, y.HeadStride, y.LenStride = batch, head, row
		y.Data = asmtest.Sparse(t, (x.Batch-1)*batch+(x.Heads-1)*head+(x.Len-1)*row+x.Dim)
		from := rows(x)
		for i, row := range rows(y) {
			copy(row, from[i])
		}
		return y
	}
	for _, c := range []struct {
		what             string
		s                shape
		batch, head, row int
	}{
		{"rows, by panels", shape{1, 1, 1, 12, 20, 19, 33}, 0, 0, step},
		{"rows, by rows", shape{1, 2, 1, 2, 20, 19, 33}, 0, 64, step},
		{"far rows", shape{1, 1, 1, 3, 9, 70, 40}, 0, 0, 8*step + 100},
		{"heads and members", shape{2, 3, 3, 12, 20, 19, 33}, 8 * step, 2 * step, 40},
	} {
		for _, workers := range []int{1, 2} {
			if asmtest.Emulated && (workers > 1 || c.s.heads > 2) {
				continue // an emulator keeps books on every page that is reserved
			}
			p := newProblem(r, c.s, packedLayout, asmtest.Normal, Options{Causal: true, Workers: workers})
			p.check(t)
			f := &problem{far(p.dst, c.batch, c.head, c.row), far(p.q, c.batch, c.head, c.row), far(p.k, c.batch, c.head, c.row),
				far(p.v, c.batch, c.head, c.row), p.o}
			require.NoError(t, Attention(f.dst, f.q, f.k, f.v, &f.o), c.what)
			asmtest.Equal(t, flat(p.dst), flat(f.dst), "%s", c.what)
			asmtest.Equal(t, p.weights(t, 0, 0, c.s.lq-1)[0], f.weights(t, 0, 0, c.s.lq-1)[0], "weights, %s", c.what)
		}
	}
	farMatrix := func(m Matrix) Matrix { return Matrix{m.Rows, m.Cols, step, far(asTensor(m), 0, 0, step).Data} }
	a, b, c := newMatrix(r, 13, 20, 20, asmtest.Normal), newMatrix(r, 20, 50, 50, asmtest.Normal), newMatrix(r, 13, 50, 50, asmtest.Normal)
	require.NoError(t, MatMul(c, a, b, nil))
	fc := farMatrix(c)
	clear(fc.Data[:c.Cols])
	require.NoError(t, MatMul(fc, farMatrix(a), farMatrix(b), nil))
	asmtest.Equal(t, flat(asTensor(c)), flat(asTensor(fc)), "MatMul")
}

// A vector of more than 2^31 elements, nearly all of which share one page of zeros.
func TestFarthestElement(t *testing.T) {
	if math.MaxInt == math.MaxInt32 || testing.Short() || asmtest.Race || Backend() == "generic" || asmtest.Emulated {
		t.Skip("takes seconds in assembly, and minutes otherwise")
	}
	n := 1<<30 + 22
	x := asmtest.Sparse(t, 2*n+1)
	x[0], x[2*n] = 3, 4
	require.Equal(t, float32(25), Dot(x, x))
}

// Weights of no queries, or over no keys.
func TestWeightsOfNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 13))
	p := newProblem(r, shape{1, 2, 1, 3, 0, 8, 8}, packedLayout, asmtest.Normal, Options{})
	require.NoError(t, AttentionWeights(Matrix{Rows: 2}, p.q, p.k, 0, 1, []int{0, 2}, nil))
	p = newProblem(r, shape{1, 2, 1, 3, 5, 8, 8}, packedLayout, asmtest.Normal, Options{})
	require.NoError(t, AttentionWeights(Matrix{Cols: 5}, p.q, p.k, 0, 1, nil, nil))
	require.NoError(t, AttentionWeights(Matrix{}, Tensor{}, Tensor{}, 0, 0, nil, nil))
}

// Pools keep none of the tensors of a call alive: not of panels, of rows, of both, nor of a short call.
func TestPoolsKeepNoData(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // one more collection empties the pools
	for _, s := range []shape{{1, 2, 2, 16, 20, 64, 64}, {1, 2, 2, 1, 300, 64, 64}, {1, 4, 2, 9, 300, 64, 64}, {1, 2, 2, 1, 20, 64, 64}} {
		collected := make(chan string, 4)
		func() {
			p := newProblem(rand.New(rand.NewPCG(5, 60)), s, packedLayout, asmtest.Normal, Options{Workers: 1})
			for name, x := range map[string]*Tensor{"dst": &p.dst, "q": &p.q, "k": &p.k, "v": &p.v} {
				runtime.SetFinalizer(&x.Data[0], func(*float32) { collected <- name })
			}
			require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o))
		}()
		runtime.GC()
		var got []string
		for range cap(collected) {
			select {
			case name := <-collected:
				got = append(got, name)
			case <-time.After(5 * time.Second):
				t.Fatalf("%v: of dst, q, k and v only %v were collected", s, got)
			}
		}
	}
}

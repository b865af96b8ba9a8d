package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// newLayer returns a layer with heads of d and e elements; without a projection of the output if outDim is 0.
func newLayer(r *rand.Rand, model, heads, kvHeads, d, e, outDim int, biases bool, kind asmtest.Kind) *SelfAttention {
	matrix := func(rows, cols int) Matrix { return newMatrix(r, rows, cols, cols+r.IntN(5), kind) }
	l := &SelfAttention{Heads: heads, KVHeads: kvHeads, WQ: matrix(model, heads*d), WK: matrix(model, kvHeads*d), WV: matrix(model, kvHeads*e)}
	if outDim > 0 {
		l.WO = matrix(heads*e, outDim)
	}
	if biases {
		l.BQ, l.BK, l.BV = make([]float32, heads*d), make([]float32, kvHeads*d), make([]float32, kvHeads*e)
		if outDim > 0 {
			l.BO = make([]float32, outDim)
		}
		for _, b := range [][]float32{l.BQ, l.BK, l.BV, l.BO} {
			asmtest.Fill(r, b, kind)
		}
	}
	return l
}

// layers of all variants, and tokens for them.
func testLayers(r *rand.Rand, test func(what string, l *SelfAttention, x Matrix, o Options)) {
	for _, heads := range [][2]int{{1, 1}, {4, 4}, {4, 2}, {6, 1}} {
		for _, outDim := range []int{0, 11} {
			for _, biases := range []bool{false, true} {
				for _, n := range []int{1, 3, 40} {
					l := newLayer(r, 13, heads[0], heads[1], 6, 5, outDim, biases, asmtest.Normal)
					o := Options{Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(3), Scale: pick[float32](r, 0, .3)}
					what := fmt.Sprintf("heads %v, output %d, biases %v, %d tokens, %+v", heads, outDim, biases, n, o)
					test(what, l, newMatrix(r, n, 13, 15, asmtest.Normal), o)
				}
			}
		}
	}
}

// biased computes x.w + bias by MatMul alone: the chain of [1, x].[bias; w] starts from the bias.
func biased(t *testing.T, x, w Matrix, bias []float32) Matrix {
	t.Helper()
	a, b := Matrix{Rows: x.Rows}, Matrix{Cols: w.Cols, Stride: w.Cols}
	if bias != nil {
		b.Data, b.Rows = append(b.Data, bias...), 1
	}
	for k := range w.Rows {
		b.Data = append(b.Data, w.Data[k*w.Stride:][:w.Cols]...)
		b.Rows++
	}
	for i := range x.Rows {
		if bias != nil {
			a.Data = append(a.Data, 1)
		}
		a.Data = append(a.Data, x.Data[i*x.Stride:][:x.Cols]...)
	}
	a.Cols, a.Stride = b.Rows, b.Rows
	y := Matrix{x.Rows, w.Cols, w.Cols, make([]float32, x.Rows*w.Cols)}
	require.NoError(t, MatMul(y, a, b, nil))
	return y
}

// heads is a matrix tokens x heads*dim as a tensor.
func heads(m Matrix, n int) Tensor {
	d := m.Cols / n
	return Tensor{Data: m.Data, Batch: 1, Heads: n, Len: m.Rows, Dim: d, HeadStride: d, LenStride: m.Stride, BatchStride: m.Rows * m.Stride}
}

func (m Matrix) rows() [][]float32 {
	var rows [][]float32
	for i := range m.Rows {
		rows = append(rows, m.Data[i*m.Stride:][:m.Cols])
	}
	return rows
}

// The layer is its parts: products, attention, a product.
func TestLayerIsItsParts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	testLayers(r, func(what string, l *SelfAttention, x Matrix, o Options) {
		q, k, v := biased(t, x, l.WQ, l.BQ), biased(t, x, l.WK, l.BK), biased(t, x, l.WV, l.BV)
		e := l.WV.Cols / l.KVHeads
		want := Matrix{x.Rows, l.Heads * e, l.Heads * e, make([]float32, x.Rows*l.Heads*e)}
		require.NoError(t, Attention(heads(want, l.Heads), heads(q, l.Heads), heads(k, l.KVHeads), heads(v, l.KVHeads), &o), what)
		if l.WO.Data != nil {
			want = biased(t, want, l.WO, l.BO)
		}
		got := newMatrix(r, want.Rows, want.Cols, want.Cols+2, asmtest.Normal)
		before := slices.Clone(got.Data)
		require.NoError(t, l.Forward(got, x, &o), what)
		for i, row := range want.rows() {
			copy(before[i*got.Stride:], row)
		}
		asmtest.Equal(t, before, got.Data, "%s", what)
	})
}

// Each step of the layer against float64, from what the step before made of it (TestLayerIsItsParts), and
// its weights: they sum to 1, and mix the values to the output before WO.
func TestLayerBound(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 9))
	worst := 0.0
	testLayers(r, func(what string, l *SelfAttention, x Matrix, o Options) {
		d, e, group := l.WQ.Cols/l.Heads, l.WV.Cols/l.KVHeads, l.Heads/l.KVHeads
		scale := o.Scale
		if scale == 0 {
			scale = float32(1 / math.Sqrt(float64(d)))
		}
		q, k, v := biased(t, x, l.WQ, l.BQ).rows(), biased(t, x, l.WK, l.BK).rows(), biased(t, x, l.WV, l.BV).rows()
		for i, token := range x.rows() {
			withinProduct(t, token, l.WQ, l.BQ, q[i], what+": queries")
			withinProduct(t, token, l.WK, l.BK, k[i], what+": keys")
			withinProduct(t, token, l.WV, l.BV, v[i], what+": values")
		}
		columns := func(m [][]float32, first, n, rows int) (part [][]float32) {
			for _, row := range m[:rows] {
				part = append(part, row[first:first+n])
			}
			return part
		}

		noWO := *l
		noWO.WO, noWO.BO = Matrix{}, nil
		mix := newMatrix(r, x.Rows, l.Heads*e, l.Heads*e, asmtest.Normal)
		require.NoError(t, noWO.Forward(mix, x, &o), what)

		for h := range l.Heads {
			weights := newMatrix(r, x.Rows, x.Rows, x.Rows, asmtest.Normal)
			all := make([]int, x.Rows)
			for i := range all {
				all[i] = i
			}
			require.NoError(t, l.Weights(weights, x, h, all, &o), what)
			for i := range x.Rows {
				n := x.Rows
				if o.Causal {
					n = i + 1
				}
				query, w, out := q[i][h*d:][:d], weights.rows()[i], mix.rows()[i][h*e:][:e]
				keys, values := columns(k, h/group*d, d, n), columns(v, h/group*e, e, n)
				withinWeights(t, query, keys, scale, w[:n], what+": weights")
				asmtest.Equal(t, make([]float32, x.Rows-n), w[n:], "%s: hidden weights", what)
				worst = math.Max(worst, withinAttention(t, query, keys, values, scale, out, what+": attention"))
				withinMix(t, w[:n], values, out, what+": weights times values")
			}
		}
		if l.WO.Data == nil {
			return
		}
		got := newMatrix(r, x.Rows, l.WO.Cols, l.WO.Cols, asmtest.Normal)
		require.NoError(t, l.Forward(got, x, &o), what)
		for i, row := range mix.rows() {
			withinProduct(t, row, l.WO, l.BO, got.rows()[i], what+": output")
		}
	})
	t.Logf("error of attention at most %.3f of the bound", worst)
}

// transposed is m stored with a row for each of its columns.
func transposed(m Matrix) Matrix {
	if m.Data == nil {
		return m
	}
	t := Matrix{m.Cols, m.Rows, m.Rows, make([]float32, m.Rows*m.Cols)}
	for i, row := range m.rows() {
		for j, x := range row {
			t.Data[j*t.Stride+i] = x
		}
	}
	return t
}

// rounded is m with the elements of each column rounded to a type.
func rounded(typ Type, m Matrix) Matrix {
	if m.Data == nil {
		return m
	}
	t := transposed(m)
	for _, column := range t.rows() {
		roundTo(typ, column)
	}
	return transposed(t)
}

// A packed layer is the layer of the weights as they are stored, and reads nothing but its copy of them.
func TestPackedLayer(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 9))
	testLayers(r, func(what string, l *SelfAttention, x Matrix, o Options) {
		opts := PackOptions{Trans: r.IntN(2) == 0, Type: pick(r, Float32, Float32, Float16, BFloat16, Int8)}
		what += fmt.Sprintf(", %+v", opts)
		if r.IntN(2) == 0 { // few columns, or heads that begin inside of a panel
			l = newLayer(r, x.Cols, l.Heads, l.KVHeads, pick(r, 1, 2, 3+r.IntN(40), 70), 5, l.WO.Cols, l.BQ != nil, asmtest.Normal)
		}
		plain, packed := *l, *l
		given := make([]Matrix, 0, 4)
		for w := range weights {
			m, _, _ := plain.weight(w)
			*m = rounded(opts.Type, *m)
			m, _, _ = packed.weight(w)
			if opts.Trans {
				*m = transposed(*m)
			} else if m.Data != nil {
				m.Data = slices.Clone(m.Data)
			}
			given = append(given, *m)
		}
		require.NoError(t, packed.Pack(&opts), what)
		require.Equal(t, [4]Matrix{}, [4]Matrix{packed.WQ, packed.WK, packed.WV, packed.WO}, what)
		for _, m := range given {
			for i := range m.Data {
				m.Data[i] = nan
			}
		}
		same := func(plain, packed *SelfAttention, x Matrix) {
			t.Helper()
			cols := plain.Heads * (plain.WV.Cols / plain.KVHeads)
			if plain.WO.Data != nil {
				cols = plain.WO.Cols
			}
			want, got := newMatrix(r, x.Rows, cols, cols, asmtest.Normal), newMatrix(r, x.Rows, cols, cols, asmtest.Normal)
			require.NoError(t, plain.Forward(want, x, &o), what)
			require.NoError(t, packed.Forward(got, x, &o), what)
			asmtest.Equal(t, slices.Concat(want.rows()...), slices.Concat(got.rows()...), "%s", what)
			want, got = newMatrix(r, 1, x.Rows, x.Rows, asmtest.Normal), newMatrix(r, 1, x.Rows, x.Rows, asmtest.Normal)
			h := r.IntN(plain.Heads)
			require.NoError(t, plain.Weights(want, x, h, []int{x.Rows - 1}, &o), what)
			require.NoError(t, packed.Weights(got, x, h, []int{x.Rows - 1}, &o), what)
			asmtest.Equal(t, want.rows()[0], got.rows()[0], "weights of head %d, %s", h, what)
		}
		same(&plain, &packed, x)
		require.NoError(t, packed.Pack(nil), "nothing is left to pack")
		same(&plain, &packed, x)

		// A field that is set again counts, as it is and after another Pack.
		plain.WK = newMatrix(r, x.Cols, plain.WK.Cols, plain.WK.Cols, asmtest.Normal)
		packed.WK = plain.WK
		same(&plain, &packed, x)
		require.NoError(t, packed.Pack(nil), what)
		same(&plain, &packed, x)
	})
}

// What is wrong with a weight is said of its field, when it is packed or used, and nothing is half packed.
func TestBadPackedLayer(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 9))
	l := newLayer(r, 8, 2, 2, 4, 4, 6, true, asmtest.Normal)
	good := *l
	l.WO.Stride = 5
	bad := *l
	require.EqualError(t, l.Pack(nil), "attn: WO.Stride is 5, want 6 or more, its columns")
	require.Equal(t, bad, *l, "it is as it was")
	require.EqualError(t, good.Pack(&PackOptions{Type: 4}), "attn: PackOptions.Type is 4, want Float32, Float16, BFloat16 or Int8")
	require.NoError(t, good.Pack(nil))
	x, dst := newMatrix(r, 3, 8, 8, asmtest.Normal), newMatrix(r, 3, 6, 6, asmtest.Normal)
	require.NoError(t, good.Forward(dst, x, nil))
	good.BV = good.BV[:7]
	require.EqualError(t, good.Forward(dst, x, nil), "attn: BV has 7 elements, want 8, the columns of WV")
	x.Cols = 7
	require.EqualError(t, good.Forward(dst, x, nil), "attn: WQ is 8 x 8, want 7 rows, the columns of x")
	good.Heads, good.KVHeads = 3, 3
	x.Cols = 8
	require.EqualError(t, good.Forward(dst, x, nil), "attn: WQ has 8 columns, want a multiple of Heads = 3, each head 1 to 8192")
	l = nil
	require.EqualError(t, l.Pack(nil), "attn: the *SelfAttention is nil, want a layer")
}

// Heads of 0 is 1, KVHeads of 0 is Heads.
func TestLayerDefaults(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	for _, n := range []int{0, 4} {
		l := newLayer(r, 8, max(n, 1), max(n, 1), 4, 4, 6, true, asmtest.Normal)
		x, want, got := newMatrix(r, 9, 8, 8, asmtest.Normal), newMatrix(r, 9, 6, 6, asmtest.Normal), newMatrix(r, 9, 6, 6, asmtest.Normal)
		require.NoError(t, l.Forward(want, x, nil))
		l.Heads, l.KVHeads = n, 0
		require.NoError(t, l.Forward(got, x, nil))
		require.Equal(t, want.rows(), got.rows())
	}
}

// No tokens, after a text whose buffers are still there.
func TestLayerWithoutTokens(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 9))
	l := newLayer(r, 8, 2, 2, 4, 4, 6, true, asmtest.Normal)
	require.NoError(t, l.Forward(newMatrix(r, 9, 6, 6, asmtest.Normal), newMatrix(r, 9, 8, 8, asmtest.Normal), nil))
	require.NoError(t, l.Forward(Matrix{0, 6, 6, nil}, Matrix{0, 8, 8, nil}, nil))
	require.NoError(t, l.Weights(Matrix{}, Matrix{0, 8, 8, nil}, 1, nil, nil))
}

// Blocks of tokens change no bit.
func TestLayerInBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 9))
	testLayers(r, func(what string, l *SelfAttention, x Matrix, o Options) {
		if r.IntN(8) == 0 { // longer than a tile, and with anything in it
			x = newMatrix(r, 2*generic.TileKeys+r.IntN(40), 13, 15, asmtest.Kind(r.IntN(int(asmtest.Kinds))))
		}
		f, err := l.plan(x, &o)
		require.NoError(t, err, what)
		if r.IntN(2) == 0 {
			require.NoError(t, l.Pack(nil), what)
			f, err = l.plan(x, &o)
			require.NoError(t, err, what)
		}
		want, got := newMatrix(r, x.Rows, f.outDim, f.outDim+1, asmtest.Normal), newMatrix(r, x.Rows, f.outDim, f.outDim, asmtest.Normal)
		require.GreaterOrEqual(t, f.block, x.Rows, "all of these are one block")
		require.NoError(t, f.run(want), what)
		f.block = 1 + r.IntN(min(x.Rows, 100))
		require.NoError(t, f.run(got), what)
		for i, row := range want.rows() {
			asmtest.Equal(t, row, got.rows()[i], "%s: row %d of %d tokens in blocks of %d", what, i, x.Rows, f.block)
		}
	})
}

// Q and the heads of all tokens are never in memory if they are large.
func TestLayerMemory(t *testing.T) {
	if Backend() == "generic" || asmtest.Emulated {
		t.Skip("takes a minute")
	}
	const n, tokens = 1 << 20 / maxDim, 33
	const cols = n * maxDim
	matrix := func(rows, cols int) Matrix { return Matrix{rows, cols, cols, make([]float32, rows*cols)} }
	l := &SelfAttention{Heads: n, KVHeads: 1, WQ: matrix(1, cols), WK: matrix(1, maxDim), WV: matrix(1, maxDim), WO: matrix(cols, 1)}
	dst, x := matrix(tokens, 1), matrix(tokens, 1)
	empty := func() { runtime.GC(); runtime.GC() } // the pools
	defer empty()
	empty()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, l.Forward(dst, x, &Options{Workers: 1}))
	runtime.ReadMemStats(&after)
	bytes := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d MiB, of %d for all tokens", bytes>>20, 2*tokens*cols*4>>20)
	require.Less(t, bytes, uint64(2*tokens*cols*4*2/3))
}

// dst may lie between the rows of what is read, and must not share an element with it.
func TestLayerBetweenRows(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 9))
	l := newLayer(r, 8, 2, 1, 4, 4, 6, true, asmtest.Normal)
	x, want := newMatrix(r, 40, 8, 8, asmtest.Normal), newMatrix(r, 40, 6, 6, asmtest.Normal)
	require.NoError(t, l.Forward(want, x, nil))
	memory := newMatrix(r, 40, 14, 14, asmtest.Normal)
	dst, between := Matrix{40, 6, 14, memory.Data}, Matrix{40, 8, 14, memory.Data[6:]}
	for i, row := range between.rows() {
		copy(row, x.rows()[i])
	}
	require.NoError(t, l.Forward(dst, between, nil))
	for i, row := range want.rows() {
		asmtest.Equal(t, row, dst.rows()[i], "row %d", i)
		asmtest.Equal(t, x.rows()[i], between.rows()[i], "row %d of x", i)
	}
	between.Data = memory.Data[5:]
	require.EqualError(t, l.Forward(dst, between, nil), "attn: dst.Data shares memory with x")
	between.Data = memory.Data[7:]
	between.Rows, dst.Rows = 39, 39
	require.EqualError(t, l.Forward(dst, between, nil), "attn: dst.Data shares memory with x")
}

// A layer that gets one more token with each call allocates rarely, and a few times what it needs last.
func TestLayerThatGrows(t *testing.T) {
	if asmtest.Race {
		t.Skip("pools drop values at random under the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties the pools
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))  // each P has a pool of its own
	runtime.GC()
	runtime.GC()
	r := rand.New(rand.NewPCG(9, 9))
	l := newLayer(r, 32, 4, 4, 16, 16, 32, true, asmtest.Normal)
	const most = 300
	x, dst := newMatrix(r, most, 32, 32, asmtest.Normal), newMatrix(r, most, 32, 32, asmtest.Normal)
	var before, after runtime.MemStats
	for n := 1; n <= most; n++ {
		if n == 2 { // all but the matrices has its size
			runtime.ReadMemStats(&before)
		}
		x.Rows, dst.Rows = n, n
		require.NoError(t, l.Forward(dst, x, &Options{Workers: 1, Causal: true}))
	}
	runtime.ReadMemStats(&after)
	bytes, last := after.TotalAlloc-before.TotalAlloc, uint64(4*most*4*16*4)
	t.Logf("%d bytes, where %d do at last", bytes, last)
	require.Less(t, bytes, 5*last)
}

// One layer serves many goroutines.
func TestLayerIsShared(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 9))
	l := newLayer(r, 16, 4, 2, 8, 8, 16, true, asmtest.Normal)
	packed := *l
	require.NoError(t, packed.Pack(nil))
	x, want := newMatrix(r, 50, 16, 16, asmtest.Normal), newMatrix(r, 50, 16, 16, asmtest.Normal)
	require.NoError(t, l.Forward(want, x, nil))
	var wait sync.WaitGroup
	got := make([]Matrix, 8)
	errs := make([]error, len(got))
	for i := range got {
		got[i] = newMatrix(r, 50, 16, 16, asmtest.Normal)
		wait.Add(1)
		go func() {
			defer wait.Done()
			l := []*SelfAttention{l, &packed}[i/2%2]
			for range 10 {
				if err := l.Forward(got[i], x, &Options{Workers: 1 + i%2}); err != nil {
					errs[i] = err
				}
			}
		}()
	}
	wait.Wait()
	for i := range got {
		require.NoError(t, errs[i])
		require.Equal(t, want.rows(), got[i].rows())
	}
}

package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// elements returns the offsets of the elements of t, with those of rows that a stride of 0 makes the
// same once.
func elements(t Tensor) (all []int) {
	once := func(size, stride int) int {
		if stride == 0 {
			return 1
		}
		return size
	}
	for b := range once(t.Batch, t.BatchStride) {
		for h := range once(t.Heads, t.HeadStride) {
			for i := range once(t.Len, t.LenStride) {
				for c := range t.Dim {
					all = append(all, b*t.BatchStride+h*t.HeadStride+i*t.LenStride+c)
				}
			}
		}
	}
	return all
}

// anyTensor returns a small tensor of any strides in memory.
func anyTensor(r *rand.Rand, memory []float32) (t Tensor, at int) {
	for {
		t := Tensor{Batch: 1 + r.IntN(3), Heads: 1 + r.IntN(4), Len: 1 + r.IntN(6), Dim: 1 + r.IntN(4),
			BatchStride: r.IntN(40), HeadStride: r.IntN(20), LenStride: r.IntN(20)}
		at := r.IntN(len(memory))
		if end := at + slices.Max(elements(t)); end < len(memory) {
			t.Data = memory[at : end+1]
			return t, at
		}
	}
}

// What overlaps is known to the element: a tensor of two rows that share one is refused, and no other.
func TestRowsMeet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 14))
	memory := make([]float32, 300)
	met, nested := 0, 0
	for range trials(20000) {
		x, _ := anyTensor(r, memory)
		all := elements(x)
		slices.Sort(all)
		want := len(slices.Compact(slices.Clone(all))) < len(all)
		require.Equal(t, want, x.rowsMeet(), "%+v", x)
		if x.LenStride > 0 {
			err := x.resolve("x")
			require.Equal(t, want, err != nil, "%+v: %v", x, err)
		}
		if want {
			met++
		} else if !x.packed() {
			nested++
		}
	}
	require.Greater(t, min(met, nested), trials(20000)/10, "of both kinds")
}

// Two tensors, or matrices, share memory if an element is of both.
func TestFootprintsMeet(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 14))
	memory := make([]float32, 150)
	var count [2][2]int // by extents, and in fact
	for range trials(20000) {
		x, i := anyTensor(r, memory)
		y, j := anyTensor(r, memory)
		if r.IntN(2) == 0 { // of one buffer
			y.BatchStride, y.HeadStride, y.LenStride = x.BatchStride, x.HeadStride, x.LenStride
			end := j + slices.Max(elements(y))
			if end >= len(memory) {
				continue
			}
			y.Data = memory[j : end+1]
		}
		used := make([]bool, len(memory))
		for _, e := range elements(x) {
			used[i+e] = true
		}
		want := slices.ContainsFunc(elements(y), func(e int) bool { return used[j+e] })
		got := x.footprint().meets(y.footprint())
		require.Equal(t, want, got, "%+v at %d, %+v at %d", x, i, y, j)
		require.Equal(t, want, y.footprint().meets(x.footprint()), "the other way round")
		var e, f int
		if overlap(x.Data, y.Data) {
			e = 1
		}
		if want {
			f = 1
		}
		count[e][f]++
	}
	require.Greater(t, min(count[0][0], count[1][0], count[1][1]), trials(20000)/20, "of each kind: %v", count)

	m := Matrix{Rows: 3, Cols: 4, Stride: 10, Data: memory[:24]}
	n := Matrix{Rows: 3, Cols: 6, Stride: 10, Data: memory[4:30]}
	require.False(t, m.footprint().meets(n.footprint()))
	n.Data, n.Cols = memory[3:29], 5
	require.True(t, m.footprint().meets(n.footprint()))
	require.True(t, m.footprint().meets(vectorFootprint(memory[23:25])))
	require.False(t, m.footprint().meets(vectorFootprint(memory[24:30])))
	require.False(t, m.footprint().meets(vectorFootprint(memory[4:10])))
}

// Sums of larger steps, against all of them.
func TestReaches(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 14))
	hits := 0
	n := trials(4000)
	for range n {
		sums := []int64{0}
		var steps []step
		for range 1 + r.IntN(3) {
			s := step{r.Int64N(60), 1 + r.Int64N(12)}
			if r.IntN(3) == 0 {
				s.size *= 6
			}
			steps = append(steps, s)
			var more []int64
			for _, x := range sums {
				for i := range s.count {
					more = append(more, x+i*s.size)
				}
			}
			sums = more
		}
		lo := r.Int64N(slices.Max(sums)+20) - 10
		hi := lo + r.Int64N(1+r.Int64N(8))
		want := slices.ContainsFunc(sums, func(x int64) bool { return lo <= x && x <= hi })
		require.Equal(t, want, reaches(slices.Clone(steps), lo, hi), "%v in [%d, %d]", steps, lo, hi)
		if want {
			hits++
		}
	}
	require.Greater(t, min(hits, n-hits), n/10)
}

// What takes too long to tell counts as reached, at once.
func TestReachesGivesUp(t *testing.T) {
	steps := []step{{1_000_000_000_039, 1500}, {1_000_000_000_061, 1500}, {1_000_000_000_063, 1500}}
	lo := int64(1_500_500_000_000_001)
	work := 1 << 30
	require.False(t, search(slices.Clone(steps), lo, lo, &work), "no sum is there")
	require.Less(t, work, 1<<30-mostWork, "an instance that is too large")
	require.True(t, reaches(steps, lo, lo))
}

// Layouts whose extents meet, though no element does, and rows that are shared by what reads them.
func TestSharedAndInterleaved(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 14))
	fill := func(n int) []float32 { return asmtest.Fill(r, make([]float32, n), asmtest.Normal) }
	for range trials(200) {
		batch, kvHeads, group, dim := 1+r.IntN(3), 1+r.IntN(4), 1+r.IntN(3), 1+r.IntN(40)
		lq, lk := pick(r, 1, 1, 3, 20, 70), pick(r, 1, 7, 40, 300)
		o := Options{Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(3)}
		p := newProblem(r, shape{batch, kvHeads * group, kvHeads, lq, lk, dim, dim}, func() layout { return anyLayout(r) }, asmtest.Normal, o)
		share := func(t *Tensor) {
			*t = explicit(*t)
			if t.Batch == 1 && t.Heads == 1 && t.Len == 1 {
				return
			}
			if r.IntN(2) == 0 {
				t.BatchStride = 0
			}
			if r.IntN(2) == 0 {
				t.HeadStride = 0
			}
		}
		share(&p.q)
		share(&p.k)
		share(&p.v)
		p.check(t)

		// The q, k and v of a fused projection, with the result in place of q, or of something else.
		heads, n := kvHeads*group, pick(r, 1, 2, 17, 70)
		row := 3*heads*dim + 5
		data := fill(batch*n*row + 5)
		part := func(i int) Tensor {
			return Tensor{Data: data[i*heads*dim:], Batch: batch, Heads: heads, Len: n, Dim: dim, HeadStride: dim, LenStride: row, BatchStride: n * row}
		}
		fused := &problem{part(0), part(0), part(1), part(2), o}
		fused.check(t)
		q := newTensor(r, batch, heads, n, dim, anyLayout(r), asmtest.Normal)
		(&problem{part(0), q, part(1), part(2), o}).check(t)
	}

	// Heads and rows that neither divide nor step over each other.
	x := func() Tensor {
		return Tensor{Data: fill(16), Heads: 3, Len: 2, Dim: 2, HeadStride: 4, LenStride: 6}.filled()
	}
	(&problem{x(), x(), x(), x(), Options{}}).check(t)
	found := 0
	for found < trials(200) {
		memory := fill(400)
		k, _ := anyTensor(r, memory)
		v, _ := anyTensor(r, fill(400))
		dst, _ := anyTensor(r, fill(400))
		v.Batch, v.Heads, v.Len = k.Batch, k.Heads, k.Len
		dst.Batch, dst.Heads, dst.Dim = k.Batch, k.Heads, v.Dim
		q := newTensor(r, k.Batch, k.Heads, dst.Len, k.Dim, anyLayout(r), asmtest.Normal)
		p := &problem{dst, q, k, v, Options{Causal: true, Workers: 1 + found%2}}
		dst, q, k, v = p.dst, p.q, p.k, p.v
		if checkAttention(&dst, &q, &k, &v) == nil {
			p.check(t)
			found++
		}
	}

	// Products whose columns lie beside those of a factor.
	for range trials(100) {
		m, k, n := 1+r.IntN(30), 1+r.IntN(30), 1+r.IntN(30)
		data := fill(m * (k + n))
		a, c := Matrix{m, k, k + n, data}, Matrix{m, n, k + n, data[k:]}
		checkMatMulBits(t, c, a, newMatrix(r, k, n, n, asmtest.Normal), 1+r.IntN(3))
	}

	// Weights between the rows of the keys that they are of.
	data := fill(5 * 20)
	k := Tensor{Data: data, Len: 5, Dim: 8, LenStride: 20}
	w, want := Matrix{5, 5, 20, data[8:]}, Matrix{5, 5, 5, make([]float32, 25)}
	all := []int{0, 1, 2, 3, 4}
	require.NoError(t, AttentionWeights(want, k, k, 0, 0, all, nil))
	require.NoError(t, AttentionWeights(w, k, k, 0, 0, all, nil))
	for i := range all {
		asmtest.Equal(t, want.Data[5*i:][:5], w.Data[20*i:][:5], "row %d", i)
	}
}

// filled returns t with the sizes that were left out.
func (t Tensor) filled() Tensor {
	t.Batch, t.Heads = max(1, t.Batch), max(1, t.Heads)
	return t
}

// Batch and Heads that are left out are 1.
func TestSizesLeftOut(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 14))
	p := newProblem(r, shape{1, 1, 1, 20, 30, 8, 8}, packedLayout, asmtest.Normal, Options{Causal: true})
	want := p.attend(t)
	for _, x := range []*Tensor{&p.dst, &p.q, &p.k, &p.v} {
		x.Batch, x.Heads = 0, 0
	}
	require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o))
	asmtest.Equal(t, want, flat(p.dst.filled()), "Attention")
	w, v := Matrix{1, 30, 30, make([]float32, 30)}, Matrix{1, 30, 30, make([]float32, 30)}
	require.NoError(t, AttentionWeights(w, p.q, p.k, 0, 0, []int{7}, nil))
	require.NoError(t, AttentionWeights(v, p.q.filled(), p.k.filled(), 0, 0, []int{7}, nil))
	asmtest.Equal(t, v.Data, w.Data, "AttentionWeights")
}

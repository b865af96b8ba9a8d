package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/stretchr/testify/require"
)

// The bits of a row depend on its query and on the keys and values that it sees, and on nothing
// else.

// Each row alone, one query of one head against its prefix, equals its row of the batch.
func TestRowsAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	for range trials(40) {
		kvHeads, group := 1+r.IntN(3), 1+r.IntN(4)
		s := shape{1 + r.IntN(3), kvHeads * group, kvHeads, 1 + r.IntN(40), 1 + r.IntN(edge+44), 1 + r.IntN(24), 1 + r.IntN(24)}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.WithEdges,
			Options{Causal: r.IntN(3) > 0, Workers: 1 + r.IntN(3)})
		all := p.attend(t)
		for n := range s.batch * s.heads * s.lq {
			b, h, i := n/s.lq/s.heads, n/s.lq%s.heads, n%s.lq
			alone := &problem{
				dst: Tensor{Data: make([]float32, s.vdim), Batch: 1, Heads: 1, Len: 1, Dim: s.vdim},
				q:   view(p.q, b, 1, h, 1, i, 1),
				k:   view(p.k, b, 1, h/group, 1, 0, p.seen(i)),
				v:   view(p.v, b, 1, h/group, 1, 0, p.seen(i)),
				o:   Options{Workers: 1},
			}
			asmtest.Equal(t, all[n*s.vdim:][:s.vdim], alone.attend(t), "%v: member %d head %d row %d", p, b, h, i)
		}
	}
}

// A causal prefill equals its chunks, of one query (decoding) or more, each against the prefix
// that ends with it.
func TestPrefillEqualsDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, s := range []shape{
		{2, 4, 2, edge + 22, edge + 22, 16, 16}, {1, 2, 2, 60, 2*edge + 24, 20, 9}, {1, 8, 1, 33, edge + 12, 8, 8}, {1, 1, 1, 40, 30, 8, 8}, {1, 6, 2, 20, edge + 44, 5, 5},
	} {
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{Causal: true})
		require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o))
		for _, chunk := range []int{1, 2, 7, 16} {
			for i := 0; i < s.lq; i += chunk {
				n := min(chunk, s.lq-i)
				part := &problem{
					dst: newTensor(r, s.batch, s.heads, n, s.vdim, anyLayout(r), asmtest.Normal),
					q:   view(p.q, 0, s.batch, 0, s.heads, i, n),
					k:   view(p.k, 0, s.batch, 0, s.kvHeads, 0, p.seen(i+n-1)),
					v:   view(p.v, 0, s.batch, 0, s.kvHeads, 0, p.seen(i+n-1)),
					o:   Options{Causal: true, Workers: 1 + r.IntN(2)},
				}
				want := flat(view(p.dst, 0, s.batch, 0, s.heads, i, n))
				asmtest.Equal(t, want, part.attend(t), "%v: rows %d to %d", p, i, i+n-1)
			}
		}
	}
}

// Few queries against many keys are split over workers by keys.
func TestSplitKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	const span = plan.StretchTiles * generic.TileKeys
	for _, lk := range []int{span - 1, span, span + 1, 2*span + 1, 12345, 40000} {
		for _, s := range []shape{{1, 1, 1, 1, lk, 12, 12}, {1, 4, 1, 1, lk, 8, 5}, {1, 6, 2, 2, lk, 4, 8}, {2, 1, 1, 5, lk, 3, 3}} {
			p := newProblem(r, s, func() layout { return anyLayout(r) }, pick(r, asmtest.Normal, asmtest.Wide), Options{Causal: true, Workers: 1})
			p.check(t)
			want := flat(p.dst)
			for _, workers := range []int{2, 3, 8} {
				asmtest.Equal(t, want, p.with(Options{Causal: true, Workers: workers}).attend(t), "%v: %d workers", p, workers)
			}
		}
	}
}

// Strides and alignments are only ways to find the elements.
func TestLayouts(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 3))
	for _, s := range []shape{{2, 4, 2, 37, edge + 12, 17, 24}, {2, 4, 2, 1, edge + 12, 17, 24}} {
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{})
		want := p.attend(t)
		for range trials(64) {
			c := &problem{relaid(r, p.dst, anyLayout(r)), relaid(r, p.q, anyLayout(r)), relaid(r, p.k, anyLayout(r)), relaid(r, p.v, anyLayout(r)), p.o}
			asmtest.Equal(t, want, c.attend(t), "%v", c)
		}
	}
}

// Few queries take KV heads together whose keys are neighbours in memory.
func TestNeighbouringHeads(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	counts := []int{8, 9, 1, 3, 20}
	for _, heads := range counts[:min(len(counts), trials(20))] {
		for _, s := range []shape{
			{2, heads, heads, 1, 700, 9, 5}, {1, 2 * heads, heads, 3, 520, 16, 18}, {2, 4 * heads, heads, 1, 300, 7, 8},
			{1, heads, heads, 8, 263, 5, 4}, {1, heads, heads, 2, 7, 5, 4}, {1, heads, heads, 1, 600, 3 * page / 24, 3},
			{1, heads, heads, 1, 2500, 4, 4},
		} {
			p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Causal: true, Workers: 1})
			want := p.attend(t)
			c := &problem{p.dst, p.q, relaid(r, p.k, blhd), relaid(r, p.v, blhd), p.o}
			for _, workers := range []int{1, 2, 5} {
				c.o.Workers = workers
				asmtest.Equal(t, want, c.attend(t), "%v", c)
			}
			c.v = p.v
			asmtest.Equal(t, want, c.attend(t), "%v", c)
		}
	}
}

// Operands may begin at any byte.
func TestAlignment(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 3))
	// at returns the elements of x at an address that is offset more than a multiple of 64.
	at := func(x []float32, offset int) []float32 {
		memory := make([]byte, 4*len(x)+128)
		start := (64-int(uintptr(unsafe.Pointer(&memory[0]))%64))%64 + offset
		moved := unsafe.Slice((*float32)(unsafe.Pointer(&memory[start])), len(x))
		copy(moved, x)
		return moved
	}
	for _, s := range []shape{{1, 2, 1, 20, 40, 17, 18}, {1, 4, 1, 1, 270, 33, 16}} { // panels, rows
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Causal: true, Workers: 1})
		want := p.attend(t)
		for offset := range 64 {
			for operand := range 4 {
				c := *p
				x := []*Tensor{&c.dst, &c.q, &c.k, &c.v}[operand]
				x.Data = at(x.Data, offset)
				require.NoError(t, Attention(c.dst, c.q, c.k, c.v, &c.o))
				asmtest.Equal(t, want, flat(c.dst), "%v: operand %d at byte %d", p, operand, offset)
			}
		}
	}
	x, y := asmtest.Fill(r, make([]float32, 131), asmtest.Normal), asmtest.Fill(r, make([]float32, 131), asmtest.Normal)
	for offset := range 64 {
		a, b := at(x, offset), at(y, 63-offset)
		asmtest.Equal(t, []float32{Dot(x, y), LogSumExp(x)}, []float32{Dot(a, b), LogSumExp(a)}, "Dot, LogSumExp at byte %d", offset)
		for _, e := range elementwise {
			e.oracle(y, x)
			e.f(b, a)
			asmtest.Equal(t, y, b, "%s from byte %d to %d", e.name, offset, 63-offset)
		}
	}
}

// Decoding against a cache that grows token by token, in the layouts that caches have, equals the
// prefill. Its free part holds NaN.
func TestCacheLayouts(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 3))
	const batch, heads, kvHeads, tokens, room, dim = 2, 6, 2, 300, 320, 12
	p := newProblem(r, shape{batch, heads, kvHeads, tokens, tokens, dim, dim}, packedLayout, asmtest.Normal, Options{Causal: true})
	prefill := p.attend(t)
	cache := func() []float32 { return slices.Repeat([]float32{nan}, 2*batch*kvHeads*room*dim) }
	separate := func(batchStride, headStride, lenStride int) (k, v Tensor) {
		k = Tensor{Data: cache(), Batch: batch, Heads: kvHeads, Dim: dim, BatchStride: batchStride, HeadStride: headStride, LenStride: lenStride}
		v = k
		v.Data = cache()
		return k, v
	}
	for _, c := range []struct {
		name string
		make func() (k, v Tensor)
	}{
		{"[Batch][Heads][Len][Dim]", func() (k, v Tensor) { return separate(kvHeads*room*dim, room*dim, dim) }},
		{"[Batch][Len][Heads][Dim]", func() (k, v Tensor) { return separate(room*kvHeads*dim, dim, kvHeads*dim) }},
		{"[Len][Batch][Heads][Dim]", func() (k, v Tensor) { return separate(kvHeads*dim, dim, batch*kvHeads*dim) }},
		{"[Batch][Len][K, V][Heads][Dim]", func() (k, v Tensor) {
			k, v = separate(room*2*kvHeads*dim, dim, 2*kvHeads*dim)
			v.Data = k.Data[kvHeads*dim:]
			return k, v
		}},
	} {
		k, v := c.make()
		for i := range tokens {
			k.Len, v.Len = i+1, i+1
			for b := range batch {
				for h := range kvHeads {
					copy(rows(view(k, b, 1, h, 1, i, 1))[0], rows(view(p.k, b, 1, h, 1, i, 1))[0])
					copy(rows(view(v, b, 1, h, 1, i, 1))[0], rows(view(p.v, b, 1, h, 1, i, 1))[0])
				}
			}
			step := &problem{Tensor{Data: make([]float32, batch*heads*dim), Batch: batch, Heads: heads, Len: 1, Dim: dim},
				view(p.q, 0, batch, 0, heads, i, 1), k, v, Options{Workers: 1}}
			got := step.attend(t)
			for n := range batch * heads {
				asmtest.Equal(t, prefill[(n*tokens+i)*dim:][:dim], got[n*dim:][:dim], "%s: token %d, head %d", c.name, i, n)
			}
		}
	}
}

// Keys that are cut at multiples of a tile may be computed anywhere, tile by tile and in any order:
// the partials, merged in order, have the bits of the whole.
func TestShards(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 3))
	const dim, vdim = 20, 16
	for _, n := range []int{100, generic.TileKeys, 3*generic.TileKeys + 1, 20 * generic.TileKeys} {
		p := newProblem(r, shape{1, 1, 1, 1, n, dim, vdim}, packedLayout, pick(r, asmtest.Normal, asmtest.Wide), Options{Scale: 0.3})
		type partial struct {
			max float32
			sum [1]float32
			o   [vdim]float32
		}
		tiles := make([]partial, plan.CeilDiv(n, generic.TileKeys))
		for _, i := range r.Perm(len(tiles)) {
			first := i * generic.TileKeys
			keys := min(generic.TileKeys, n-first)
			q := make([]float32, dim)
			for c, x := range p.q.Data[:dim] {
				q[c] = x * generic.Log2Scale(0.3)
			}
			s := make([]float32, generic.TileKeys)
			asm.RowScores(s, q, 1, 1, &tile.Rows{Data: p.k.Data[first*dim:], Len: keys, Dim: dim, Stride: dim}, keys*dim)
			tiles[i].max = asm.RowWeights(s[:keys])
			asm.RowValues(tiles[i].o[:], s, tiles[i].sum[:], 1, &tile.Rows{Data: p.v.Data[first*vdim:], Len: keys, Dim: vdim, Stride: vdim}, keys*vdim)
		}
		acc, out := make([]float32, vdim), make([]float32, vdim)
		M, L := float32(math.Inf(-1)), float32(0)
		for i := range tiles {
			var a, b float32
			M, a, b = generic.Merge(M, tiles[i].max)
			L = generic.MergeSum(L, tiles[i].sum[0], a, b)
			asm.MergeRow(acc, tiles[i].o[:], a, b)
		}
		asm.Scale(out, acc, tile.Inverse(L))
		asmtest.Equal(t, p.attend(t), out, "%d keys", n)
	}
}

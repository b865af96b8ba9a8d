package fuzz

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// stored are the types of a cache, and how far elements are from what is read back.
var stored = []struct {
	name string
	typ  kernel.Type
	as   Element
}{
	{"float32", kernel.Float32, func(row []float32) []float64 { return make([]float64, len(row)) }},
	{"float16", kernel.Float16, Float16}, {"bfloat16", kernel.BFloat16, BFloat16}, {"int8", kernel.Int8, Int8},
}

// readBack returns rows as a cache has them: those of Int8 as integers, with their scales.
func readBack(typ kernel.Type, rows [][]float32) (read [][]float32, scales []float32) {
	for _, row := range rows {
		x, half, bytes, scale := slices.Clone(row), make([]uint16, len(row)), make([]int8, len(row)), float32(1)
		switch typ {
		case kernel.Float16:
			kernel.ToFloat16(half, x)
			kernel.FromFloat16(x, half)
		case kernel.BFloat16:
			kernel.ToBFloat16(half, x)
			kernel.FromBFloat16(x, half)
		case kernel.Int8:
			scale = kernel.Quantize(bytes, x)
			kernel.Dequantize(x, bytes, 1)
		}
		read, scales = append(read, x), append(scales, scale)
	}
	return read, scales
}

// cacheFeatures are what a cache takes in this test: one sequence, all that hides keys and edits scores.
const cacheFeatures = All &^ (Batches | Lengths | Offsets | Dropouts)

// storedOutputs returns attention over a cache with the keys and values of a case and, if typ has 16 bits, over tensors of it.
func storedOutputs(t testing.TB, c *Case, typ kernel.Type) (outs [][]float32) {
	const page = 16
	cache, err := kernel.NewCache(kernel.CacheConfig{KVHeads: c.KVHeads, Dim: c.Dim, VDim: c.VDim, Type: typ, Tokens: ceilDiv(c.Keys, page) * page, PageTokens: page})
	require.NoError(t, err)
	s := cache.NewSequence()
	q, k, v, o := kernelCall(c, 1)
	require.NoError(t, s.Append(k, v))
	dst := func() kernel.Tensor {
		outs = append(outs, make([]float32, c.Heads*c.Queries*c.VDim))
		return kernel.Tensor{Data: outs[len(outs)-1], Batch: 1, Heads: c.Heads, Len: c.Queries, Dim: c.VDim}
	}
	require.NoError(t, cache.Attention(dst(), q, []*kernel.Sequence{s}, o))
	to := map[kernel.Type]func(dst []uint16, src []float32){kernel.Float16: kernel.ToFloat16, kernel.BFloat16: kernel.ToBFloat16}[typ]
	if to == nil {
		return outs
	}
	half := func(x kernel.Tensor) kernel.HalfTensor {
		h := kernel.HalfTensor{Type: typ, Data: make([]uint16, len(x.Data)), Batch: x.Batch, Heads: x.Heads, Len: x.Len, Dim: x.Dim,
			BatchStride: x.BatchStride, HeadStride: x.HeadStride, LenStride: x.LenStride}
		to(h.Data, x.Data)
		return h
	}
	require.NoError(t, kernel.AttentionHalf(dst(), q, half(k), half(v), o))
	return outs
}

// storedRatio returns the largest error of storedOutputs beside exact attention over the case itself, in units of what as says.
func storedRatio(t testing.TB, c *Case, typ kernel.Type, as Element) (worst float64) {
	keys, keyScales := readBack(typ, chunks(c.K, c.Dim))
	values, valueScales := readBack(typ, chunks(c.V, c.VDim))
	exact, err := c.Exact(&Kernel)
	require.NoError(t, err)
	outs := storedOutputs(t, c, typ)
	for row := range c.Heads * c.Queries {
		head, i := row/c.Queries, row%c.Queries
		kv := head / (c.Heads / c.KVHeads) * c.Keys
		e, _ := c.edit(0, head, c.sequences(0)[0], i)
		q := c.Q[row*c.Dim:][:c.Dim]
		off := Storing(q, chunks(c.K, c.Dim)[kv:][:c.Keys], chunks(c.V, c.VDim)[kv:][:c.Keys], c.Scale, e, as)
		if typ == kernel.Int8 {
			e.KeyScales, e.ValueScales = keyScales[kv:][:c.Keys], valueScales[kv:][:c.Keys]
		}
		_, computed := EditedAttention(q, keys[kv:][:c.Keys], values[kv:][:c.Keys], c.Scale, e)
		for col, bound := range off {
			at := row*c.VDim + col
			if bound += computed[col]; math.IsInf(bound, 1) || math.IsNaN(bound) {
				continue
			}
			for _, out := range outs {
				worst = math.Max(worst, Ratio(out[at], exact.Out.Want[at], bound))
			}
		}
	}
	return worst
}

// Attention over a cache of any content or tensors of 16 bits, with all options, is as near to attention over what was stored as
// the type allows.
func FuzzStored(f *testing.F) {
	for kind := range Kinds {
		for i, size := range sizes[:17] {
			f.Add(uint8(kind), uint8(i), uint64(i), uint16(size[0]), uint16(size[1]), uint16(1<<(i%16)))
		}
	}
	f.Fuzz(func(t *testing.T, kind, typ uint8, seed uint64, queries, keys, features uint16) {
		x := stored[int(typ)%len(stored)]
		k := &Kinds[int(kind)%len(Kinds)]
		c := k.Draw(seed, 1+int(queries)%20, 1+int(keys)%600, Features(features)&cacheFeatures)
		if worst := storedRatio(t, c, x.typ, x.as); worst > 1 {
			t.Errorf("%s, %s: the error is %g times the bound, of %v", k.Name, x.name, worst, c)
		}
	})
}

// The bounds are not so wide that they would hold for a type of fewer bits: one that is taken for another is found, and errors of scores that
// are spread as those of models are come near to them.
func TestStored(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 18))
	ratio := func(typ kernel.Type, as Element) (worst float64) {
		for range 20 {
			c := Kinds[0].Draw(r.Uint64(), 3, 1+r.IntN(9), Heads|Groups)
			worst = max(worst, storedRatio(t, c, typ, as))
		}
		return worst
	}
	for i, x := range stored {
		worst := ratio(x.typ, x.as)
		t.Logf("%s: %.2g of the bound", x.name, worst)
		require.LessOrEqual(t, worst, 1.0, x.name)
		require.Greater(t, worst, 0.05, x.name)
		if i > 0 {
			require.Greater(t, ratio(x.typ, stored[i-1].as), 1.0, "%s as %s", x.name, stored[i-1].name)
		}
	}
}

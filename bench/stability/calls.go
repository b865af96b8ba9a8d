package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/kernel"
)

// packed are the tensors and the options of a case.
func packed(c *fuzz.Case) (q, k, v, dst kernel.Tensor, o *kernel.Options) {
	q = kernel.Tensor{Data: c.Q, Batch: c.Batch, Heads: c.Heads, Len: c.Queries, Dim: c.Dim}
	k = kernel.Tensor{Data: c.K, Batch: c.Batch, Heads: c.KVHeads, Len: c.Keys, Dim: c.Dim}
	v, dst = k, q
	v.Data, v.Dim, dst.Dim = c.V, c.VDim, c.VDim
	dst.Data = make([]float32, max(1, c.Batch)*max(1, c.Heads)*c.Queries*c.VDim)
	o = &kernel.Options{
		Scale: c.Scale, SoftCap: c.SoftCap, ALiBi: c.ALiBi, Sinks: c.Sinks, Causal: c.Causal, Window: (*kernel.Window)(c.Window), Start: c.Start,
		KeyLen: c.KeyLen, QueryLen: c.QueryLen, QueryOffsets: c.QueryOffsets, KeyOffsets: c.KeyOffsets, Dropout: (*kernel.Dropout)(c.Dropout),
	}
	batch, head, query := c.Heads*c.Queries*c.Keys, c.Queries*c.Keys, c.Keys
	if c.Bias != nil {
		o.Bias = &kernel.Bias{Data: c.Bias, BatchStride: batch, HeadStride: head, QueryStride: query}
	}
	if c.Mask != nil {
		o.Mask = &kernel.Mask{Data: c.Mask, BatchStride: batch, HeadStride: head, QueryStride: query}
	}
	return q, k, v, dst, o
}

// must panics: the shapes here are right.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// attendWith is kernel.Attention on a case.
func attendWith(c *fuzz.Case) []float32 {
	q, k, v, dst, o := packed(c)
	must(kernel.Attention(dst, q, k, v, o))
	return dst.Data
}

// options prints the errors of attention with each option, over cases of 1000 keys and fewer.
func options(out io.Writer) (ok bool) {
	fmt.Fprintf(out, "\nErrors with each option, likewise: 7 queries, 1000 keys, normal scores.\n\n")
	fmt.Fprintf(out, "%-16s %14s %14s %14s\n", "option", "attn", "bound", "attn / bound")
	ok = true
	for _, option := range []struct {
		name string
		use  fuzz.Features
	}{
		{"none", 0}, {"groups", fuzz.Heads | fuzz.Groups}, {"causal", fuzz.Causal}, {"window", fuzz.Windows}, {"start", fuzz.Causal | fuzz.Starts},
		{"lengths", fuzz.Batches | fuzz.Lengths}, {"sequences", fuzz.Causal | fuzz.Offsets}, {"mask", fuzz.Masks}, {"bias", fuzz.Biases},
		{"ALiBi", fuzz.ALiBi}, {"soft cap", fuzz.SoftCaps}, {"sinks", fuzz.Sinks}, {"dropout", fuzz.Dropouts}, {"all of them", fuzz.All},
	} {
		var worst fuzz.Deviation
		inHull := true
		for seed := range uint64(10) {
			c := fuzz.Kinds[0].Draw(seed, 7, 1000, option.use)
			d := deviation(c, attendWith(c))
			worst = fuzz.Deviation{Error: max(worst.Error, d.Error), Bound: max(worst.Bound, d.Bound), Ratio: max(worst.Ratio, d.Ratio)}
			inHull = inHull && d.InHull
		}
		right := worst.Ratio <= 1 && inHull
		ok = ok && right
		fmt.Fprintf(out, "%-16s %14.3g %14.3g %14.3f%s\n", option.name, worst.Error, worst.Bound, worst.Ratio, verdict(right))
	}
	return ok
}

// A curve has an error for each number of keys, relative to the largest value.
type curve struct {
	name          string
	keys          []int
	errors, bound []float64
}

func keyCounts(quick bool, most int) (counts []int) {
	for _, n := range lengths {
		if n <= most && !(quick && n > chartKeys) {
			counts = append(counts, n)
		}
	}
	return counts
}

// types prints the errors of attention over a cache, for each type that it stores: what is lost by rounding
// keys and values is the most of it. Next to its bound stands what is left beside exact attention over the rounded ones.
func types(out io.Writer, quick bool) (curves []curve, ok bool) {
	fmt.Fprintf(out, "\nErrors by what a cache stores keys and values as, likewise: scores of 1.\n\n")
	fmt.Fprintf(out, "%-10s %8s %14s %24s %14s\n", "type", "keys", "error", "beside rounded elements", "/ bound")
	ok = true
	for _, t := range []struct {
		name string
		typ  kernel.Type
	}{{"float32", kernel.Float32}, {"float16", kernel.Float16}, {"bfloat16", kernel.BFloat16}, {"int8", kernel.Int8}} {
		line := curve{name: t.name}
		for _, n := range keyCounts(quick, 65536) {
			var lost float64
			var left fuzz.Deviation
			for seed := range uint64(min(16, max(1, 1<<16/n))) {
				c := fuzz.NewRow(seed, n, 1)
				got := cached(c, t.typ)
				lost = max(lost, deviation(c, got).Error)
				rounded := *c
				rounded.K, rounded.V = stored(c.K, c.Dim, t.typ), stored(c.V, c.VDim, t.typ)
				d := deviation(&rounded, got)
				left.Error, left.Ratio = max(left.Error, d.Error), max(left.Ratio, d.Ratio)
			}
			right := left.Ratio <= 1
			ok = ok && right
			fmt.Fprintf(out, "%-10s %8d %14.3g %24.3g %14.3f%s\n", t.name, n, lost, left.Error, left.Ratio, verdict(right))
			line.keys, line.errors = append(line.keys, n), append(line.errors, lost*0x1p-24)
		}
		curves = append(curves, line)
	}
	return curves, ok
}

// cached is attention over a cache that stores the type.
func cached(c *fuzz.Case, typ kernel.Type) []float32 {
	const page = 64
	q, k, v, dst, o := packed(c)
	cache, err := kernel.NewCache(kernel.CacheConfig{KVHeads: 1, Dim: c.Dim, VDim: c.VDim, Type: typ, Tokens: (c.Keys + page - 1) / page * page, PageTokens: page})
	must(err)
	s := cache.NewSequence()
	must(s.Append(k, v))
	must(cache.Attention(dst, q, []*kernel.Sequence{s}, o))
	return dst.Data
}

// stored is what rows of so many elements are when they have been stored: of int8 the products with their scales, which attention over a
// cache does not round.
func stored(x []float32, dim int, typ kernel.Type) []float32 {
	y, bits := make([]float32, len(x)), make([]uint16, len(x))
	switch typ {
	case kernel.Float32:
		copy(y, x)
	case kernel.Float16:
		kernel.ToFloat16(bits, x)
		kernel.FromFloat16(y, bits)
	case kernel.BFloat16:
		kernel.ToBFloat16(bits, x)
		kernel.FromBFloat16(y, bits)
	case kernel.Int8:
		row := make([]int8, dim)
		for i := 0; i < len(x); i += dim {
			kernel.Dequantize(y[i:][:dim], row, kernel.Quantize(row, x[i:][:dim]))
		}
	}
	return y
}

// gradients prints the errors of the gradients of 16 queries, relative to the largest element of each.
func gradients(out io.Writer, quick bool) (curves []curve, ok bool) {
	fmt.Fprintf(out, "\nErrors of gradients, relative to the largest element of each and in units of 2^-24: 16 queries, scores of 1.\n\n")
	fmt.Fprintf(out, "%-10s %8s %14s %14s %14s\n", "gradient", "keys", "attn", "bound", "attn / bound")
	ok = true
	curves = []curve{{name: "of queries"}, {name: "of keys"}, {name: "of values"}}
	for _, n := range keyCounts(quick, 65536) {
		worst := make([]struct{ err, bound, ratio float64 }, len(curves))
		for seed := range uint64(min(8, max(1, 1<<13/n))) {
			c := fuzz.NewRow(seed, n, 1)
			r := rand.New(rand.NewPCG(seed, 1))
			c.Queries, c.Q, c.DO = 16, make([]float32, 16*c.Dim), make([]float32, 16*c.VDim)
			for i := range c.Q {
				c.Q[i], c.DO[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
			}
			exact, err := c.Exact(&fuzz.Kernel)
			must(err)
			got := slopes(c)
			for i, x := range []fuzz.Bounded{exact.DQ, exact.DK, exact.DV} {
				largest, w := 0.0, &worst[i]
				for _, y := range x.Want {
					largest = max(largest, math.Abs(y))
				}
				if largest == 0 { // the gradient of a score that has no other beside it
					continue
				}
				for j, y := range x.Want {
					w.err = max(w.err, math.Abs(float64(got[i][j])-y)/largest)
					w.bound = max(w.bound, x.Bound[j]/largest)
				}
				ratio, _ := x.Worst(got[i])
				w.ratio = max(w.ratio, ratio)
			}
		}
		for i := range curves {
			w, line := worst[i], &curves[i]
			right := w.ratio <= 1
			ok = ok && right
			fmt.Fprintf(out, "%-10s %8d %14.3g %14.3g %14.3f%s\n", line.name, n, w.err*0x1p24, w.bound*0x1p24, w.ratio, verdict(right))
			line.keys, line.errors, line.bound = append(line.keys, n), append(line.errors, w.err), append(line.bound, w.bound)
		}
	}
	return curves, ok
}

// slopes are the gradients of queries, keys and values.
func slopes(c *fuzz.Case) [3][]float32 {
	q, k, v, dst, o := packed(c)
	o.Stats = make([]float32, 2*c.Queries)
	must(kernel.Attention(dst, q, k, v, o))
	g := kernel.Gradient{Q: q, K: k, V: v, O: dst, DO: dst, DQ: q, DK: k, DV: v, Stats: o.Stats}
	g.DO.Data = c.DO
	all := [3][]float32{make([]float32, len(c.Q)), make([]float32, len(c.K)), make([]float32, len(c.V))}
	g.DQ.Data, g.DK.Data, g.DV.Data = all[0], all[1], all[2]
	must(kernel.AttentionGradient(&g, o))
	return all
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/selfattn/attn/examples/generate/smollm"
	"github.com/selfattn/attn/kernel"
)

// types prints what a cache of each type loses on the keys and values of the model: of the outputs of attention over the longest of the
// prompts, in all layers and the worst, among the tokens that go through the model at once, and of the logits behind the same texts, which
// are what float32 writes of n tokens.
func types(ctx context.Context, m *smollm.Model, texts [][]int, n int, out io.Writer) error {
	fmt.Fprintf(out, "%-10s %6s %12s %12s %12s %12s\n", "", "bytes", "mean error", "worst layer", "same tokens", "logits off by")
	for _, t := range []struct {
		name string
		typ  kernel.Type
		size int
	}{{"float16", kernel.Float16, 2}, {"bfloat16", kernel.BFloat16, 2}, {"int8", kernel.Int8, 1}} {
		var all, most float64
		var layers int
		var err error
		text, e := m.NewText(smollm.TextOptions{Tokens: len(texts[len(texts)-1]), Observe: func(_ int, q, k, v kernel.Tensor) {
			x, e := lost(q, k, v, t.typ)
			if e != nil {
				err = e
			}
			all, most, layers = all+x*x, max(most, x), layers+1
		}})
		if e != nil {
			return e
		}
		if _, e := text.Read(ctx, texts[len(texts)-1]...); e != nil || err != nil {
			return errors.Join(e, err)
		}
		var logits parting
		for _, ids := range texts {
			a, err := m.NewText(smollm.TextOptions{Tokens: len(ids) + n})
			if err != nil {
				return err
			}
			b, err := m.NewText(smollm.TextOptions{Tokens: len(ids) + n, Stored: t.typ})
			if err != nil {
				return err
			}
			p, err := part(ctx, a, b, ids, n)
			if err != nil {
				return err
			}
			logits.add(p)
		}
		fmt.Fprintf(out, "%-10s %6d %11.2g%% %11.2g%% %8d/%d %12.2g\n", t.name, t.size, 100*math.Sqrt(all/float64(layers)), 100*most, logits.same, n*len(texts), logits.farthest)
	}
	return nil
}

// lost returns how far causal attention over a cache of the type is from that over float32, as root mean squares: a part of
// the outputs.
func lost(q, k, v kernel.Tensor, typ kernel.Type) (float64, error) {
	o := &kernel.Options{Causal: true}
	dense := func() kernel.Tensor {
		return kernel.Tensor{Data: make([]float32, q.Heads*q.Len*q.Dim), Heads: q.Heads, Len: q.Len, Dim: q.Dim}
	}
	want, got := dense(), dense()
	if err := kernel.Attention(want, q, k, v, o); err != nil {
		return 0, err
	}
	const page = 256
	cache, err := kernel.NewCache(kernel.CacheConfig{KVHeads: k.Heads, Dim: k.Dim, Type: typ, Tokens: (k.Len + page - 1) / page * page, PageTokens: page})
	if err != nil {
		return 0, err
	}
	s := cache.NewSequence()
	if err := s.Append(k, v); err != nil {
		return 0, err
	}
	if err := cache.Attention(got, q, []*kernel.Sequence{s}, o); err != nil {
		return 0, err
	}
	var off, size float64
	for i, x := range want.Data {
		d := float64(got.Data[i] - x)
		off, size = off+d*d, size+float64(x)*float64(x)
	}
	return math.Sqrt(off / size), nil
}

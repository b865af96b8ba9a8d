package fuzz

import (
	"bytes"
	"testing"

	"github.com/selfattn/attn/kernel"
)

// newPartial returns the partial of some keys for two queries of two heads, and its bytes.
func newPartial(t testing.TB, keys int, sinks []float32) (*kernel.Partial, []byte) {
	p := new(kernel.Partial)
	x := func(heads, n, dim int) kernel.Tensor {
		data := make([]float32, heads*n*dim)
		for i := range data {
			data[i] = float32(i%7) - 3
		}
		return kernel.Tensor{Data: data, Heads: heads, Len: n, Dim: dim}
	}
	if err := kernel.AttentionPartial(p, x(2, 2, 2), x(1, keys, 2), x(1, keys, 1), 0, &kernel.Options{Sinks: sinks, Workers: 1}); err != nil {
		t.Fatal(err)
	}
	return p, mustMarshal(t, p)
}

func mustMarshal(t testing.TB, p *kernel.Partial) []byte {
	data, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Any bytes are refused and change nothing, or are those of a partial: which has the same bytes again, and can be
// merged and finished.
func FuzzPartialBytes(f *testing.F) {
	for _, keys := range []int{0, 5} {
		for _, sinks := range [][]float32{nil, {1, -2}} {
			_, data := newPartial(f, keys, sinks)
			f.Add(data)
			f.Add(data[:len(data)-1])
		}
	}
	f.Add(mustMarshal(f, new(kernel.Partial)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, before := newPartial(t, 5, nil)
		if err := p.UnmarshalBinary(data); err != nil {
			if !bytes.Equal(before, mustMarshal(t, p)) {
				t.Fatalf("refused by %v, and changed", err)
			}
			return
		}
		if !bytes.Equal(data, mustMarshal(t, p)) {
			t.Fatal("other bytes come out")
		}
		other, was := newPartial(t, 5, []float32{1, -2})
		if err := other.Merge(p); err != nil && !bytes.Equal(was, mustMarshal(t, other)) {
			t.Fatalf("Merge refused by %v, and changed", err)
		}
		dst := kernel.Tensor{Data: make([]float32, 4), Heads: 2, Len: 2, Dim: 1}
		if err := p.Finish(dst, make([]float32, 4)); err != nil && !bytes.Equal(data, mustMarshal(t, p)) {
			t.Fatal("Finish changes the partial")
		}
	})
}

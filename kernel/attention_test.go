package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// A layout says how a test tensor lies in memory.
type layout int

const (
	packed4 layout = iota // [B][H][L][D], strides 0
	blhd                  // [B][L][H][D]
	padded                // [B][H][L][D] with gaps
	layouts
)

func newTensor(r *rand.Rand, b, h, l, d int, lay layout, kind asmtest.Kind) Tensor {
	t := Tensor{Batch: b, Heads: h, Len: l, Dim: d}
	size := b * h * l * d
	switch lay {
	case blhd:
		t.HeadStride, t.LenStride, t.BatchStride = d, h*d, h*l*d
	case padded:
		t.LenStride = d + 3
		t.HeadStride = l*t.LenStride + 5
		t.BatchStride = h*t.HeadStride + 7
		size = b * t.BatchStride
	}
	off := r.IntN(16) // any alignment
	t.Data = asmtest.Fill(r, make([]float32, off+size), kind)[off:]
	return t
}

// reference computes every row by generic.AttentionRow.
func reference(t testing.TB, q, k, v Tensor, o Options) []float32 {
	q, err := q.resolve("q")
	require.NoError(t, err)
	k, err = k.resolve("k")
	require.NoError(t, err)
	v, err = v.resolve("v")
	require.NoError(t, err)
	scale := o.Scale
	if scale == 0 {
		scale = float32(1 / math.Sqrt(float64(q.Dim)))
	}
	var out []float32
	for b := range q.Batch {
		for h := range q.Heads {
			for i := range q.Len {
				n := k.Len
				if o.Causal {
					n = min(max(i+1+k.Len-q.Len, 0), n)
				}
				g := h / (q.Heads / k.Heads)
				row := make([]float32, v.Dim)
				generic.AttentionRow(row, q.head(b, h)[i*q.LenStride:][:q.Dim], k.head(b, g), v.head(b, g), n, k.LenStride, v.LenStride, scale)
				out = append(out, row...)
			}
		}
	}
	return out
}

// flat returns the elements of t in the order [B][H][L][D].
func flat(t testing.TB, x Tensor) []float32 {
	x, err := x.resolve("x")
	require.NoError(t, err)
	var out []float32
	for b := range x.Batch {
		for h := range x.Heads {
			for i := range x.Len {
				out = append(out, x.head(b, h)[i*x.LenStride:][:x.Dim]...)
			}
		}
	}
	return out
}

func TestAttentionEqualsReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for n := range 300 {
		kvHeads := 1 + r.IntN(3)
		b, h := 1+r.IntN(2), kvHeads*(1+r.IntN(5))
		lq, lk := 1+r.IntN(40), 1+r.IntN(300)
		if n%3 == 0 {
			lq = 1 + r.IntN(3) // decoding
		}
		d, dv := 1+r.IntN(40), 1+r.IntN(40)
		kind := asmtest.Kind(r.IntN(int(asmtest.Kinds)))
		lay := func() layout { return layout(r.IntN(int(layouts))) }
		q := newTensor(r, b, h, lq, d, lay(), kind)
		k := newTensor(r, b, kvHeads, lk, d, lay(), kind)
		v := newTensor(r, b, kvHeads, lk, dv, lay(), kind)
		dst := newTensor(r, b, h, lq, dv, lay(), asmtest.Normal)
		o := Options{Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(4)}
		if r.IntN(3) == 0 {
			o.Scale = r.Float32() * 3
		}
		what := fmt.Sprintf("case %d: q %s k %s v %s kind %d %+v", n, q.shape(), k.shape(), v.shape(), kind, o)
		before := append([]float32(nil), dst.Data...)
		require.NoError(t, Attention(dst, q, k, v, &o), what)
		asmtest.Equal(t, reference(t, q, k, v, o), flat(t, dst), "%s", what)
		// Nothing between the rows was written.
		resolved, _ := dst.resolve("dst")
		for b := range dst.Batch {
			for h := range dst.Heads {
				for i := range dst.Len {
					copy(before[b*resolved.BatchStride+h*resolved.HeadStride+i*resolved.LenStride:], resolved.head(b, h)[i*resolved.LenStride:][:dst.Dim])
				}
			}
		}
		asmtest.Equal(t, before, dst.Data, "%s: all of dst.Data", what)
	}
}

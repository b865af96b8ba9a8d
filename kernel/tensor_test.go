package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

// trials is the number of random cases of a test: n with assembly, fewer where everything is slow.
func trials(n int) int {
	if testing.Short() || asmtest.Race || Backend() == "generic" {
		return max(1, n/8)
	}
	return n
}

// sampled reports whether case number i of a test runs: each with assembly, one of n where everything is slow.
func sampled(i, n int) bool { return trials(n) == n || i%n == 0 }

func pick[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

// A layout says how a test tensor lies in memory.
type layout int

const (
	bhld  layout = iota // [B][H][L][D], in more memory
	blhd                // [B][L][H][D]
	gaps                // [B][H][L][D], with gaps between rows, heads and members
	fused               // one of the three in [B][L][3][H][D]
	tight               // packed: [B][H][L][D], strides 0
	layouts
)

func anyLayout(r *rand.Rand) layout { return layout(r.IntN(int(layouts))) }

// newTensor returns a tensor of any alignment. Between its rows is NaN.
func newTensor(r *rand.Rand, b, h, l, d int, lay layout, kind asmtest.Kind) Tensor {
	t := Tensor{Batch: b, Heads: h, Len: l, Dim: d}
	start, size := r.IntN(16), b*h*l*d
	switch lay {
	case blhd:
		t.HeadStride, t.LenStride, t.BatchStride = d, h*d, h*l*d
	case gaps:
		t.LenStride = d + 3
		t.HeadStride = l*t.LenStride + 5
		t.BatchStride = h*t.HeadStride + 7
		size = b * t.BatchStride
	case fused:
		t.HeadStride, t.LenStride, t.BatchStride = d, 3*h*d, 3*h*l*d
		start += r.IntN(3) * h * d
		size = 3 * size
	}
	t.Data = slices.Repeat([]float32{nan}, 16+max(size, start))[start:]
	switch lay {
	case bhld:
		t = explicit(t)
	case tight:
		t.Data = t.Data[:size]
	}
	for _, row := range rows(t) {
		asmtest.Fill(r, row, kind)
	}
	return t
}

// explicit spells out the strides of a packed tensor.
func explicit(t Tensor) Tensor {
	if t.BatchStride == 0 && t.HeadStride == 0 && t.LenStride == 0 {
		t.LenStride, t.HeadStride, t.BatchStride = t.Dim, t.Len*t.Dim, t.Heads*t.Len*t.Dim
	}
	return t
}

// rows returns the rows of t in the order [B][H][L].
func rows(t Tensor) [][]float32 {
	t = explicit(t)
	var rows [][]float32
	for b := range t.Batch {
		for h := range t.Heads {
			for i := range t.Len {
				rows = append(rows, t.Data[b*t.BatchStride+h*t.HeadStride+i*t.LenStride:][:t.Dim:t.Dim])
			}
		}
	}
	return rows
}

// flat returns the elements of t in the order [B][H][L][D].
func flat(t Tensor) []float32 { return slices.Concat(rows(t)...) }

// view returns a part of t in place: nb members from b on, nh heads from h on, n rows from i on.
func view(t Tensor, b, nb, h, nh, i, n int) Tensor {
	t = explicit(t)
	t.Data = t.Data[min(len(t.Data), b*t.BatchStride+h*t.HeadStride+i*t.LenStride):]
	t.Batch, t.Heads, t.Len = nb, nh, n
	return t
}

// relaid returns the elements of t in another layout, at another alignment.
func relaid(r *rand.Rand, t Tensor, lay layout) Tensor {
	c := newTensor(r, t.Batch, t.Heads, t.Len, t.Dim, lay, asmtest.Normal)
	from := rows(t)
	for i, row := range rows(c) {
		copy(row, from[i])
	}
	return c
}

// A shape is the sizes of a problem.
type shape struct{ batch, heads, kvHeads, lq, lk, dim, vdim int }

// A problem is one call of Attention.
type problem struct {
	dst, q, k, v Tensor
	o            Options
}

// newProblem returns random inputs. dst holds garbage.
func newProblem(r *rand.Rand, s shape, lay func() layout, kind asmtest.Kind, o Options) *problem {
	p := &problem{
		dst: newTensor(r, s.batch, s.heads, s.lq, s.vdim, lay(), asmtest.Normal),
		q:   newTensor(r, s.batch, s.heads, s.lq, s.dim, lay(), kind),
		k:   newTensor(r, s.batch, s.kvHeads, s.lk, s.dim, lay(), kind),
		v:   newTensor(r, s.batch, s.kvHeads, s.lk, s.vdim, lay(), kind),
		o:   o,
	}
	asmtest.Fill(r, p.dst.Data, asmtest.Normal)
	return p
}

func packedLayout() layout { return bhld }

func (p *problem) String() string {
	return fmt.Sprintf("q %s k %s v %s %+v", p.q.shape(), p.k.shape(), p.v.shape(), p.o)
}

// attend returns the result of the call, into memory of its own.
func (p *problem) attend(t testing.TB) []float32 {
	t.Helper()
	dst := p.dst
	dst.Data = slices.Repeat([]float32{nan}, len(p.dst.Data))
	require.NoError(t, Attention(dst, p.q, p.k, p.v, &p.o), "%v", p)
	return flat(dst)
}

// with returns a copy of p with other options.
func (p *problem) with(o Options) *problem {
	c := *p
	c.o = o
	return &c
}

func (p *problem) scale() float32 {
	if p.o.Scale != 0 {
		return p.o.Scale
	}
	return float32(1 / math.Sqrt(float64(p.q.Dim)))
}

// seen is the number of keys that query i sees.
func (p *problem) seen(i int) int {
	if !p.o.Causal {
		return p.k.Len
	}
	return min(max(i+1+p.k.Len-p.q.Len, 0), p.k.Len)
}

// check compares the whole of dst.Data, also what lies between its rows, with generic.AttentionRow.
func (p *problem) check(t testing.TB) {
	t.Helper()
	want := p.dst
	want.Data = slices.Clone(p.dst.Data)
	k, v, q, out := explicit(p.k), explicit(p.v), rows(p.q), rows(want)
	for n, row := range out {
		b, h, i := n/p.q.Len/p.q.Heads, n/p.q.Len%p.q.Heads, n%p.q.Len
		g := h / (p.q.Heads / p.k.Heads)
		keys, values := []float32(nil), []float32(nil)
		if p.k.Len > 0 {
			keys, values = k.Data[b*k.BatchStride+g*k.HeadStride:], v.Data[b*v.BatchStride+g*v.HeadStride:]
		}
		generic.AttentionRow(row, q[n], keys, values, p.seen(i), k.LenStride, v.LenStride, p.scale())
	}
	require.NoError(t, Attention(p.dst, p.q, p.k, p.v, &p.o), "%v", p)
	asmtest.Equal(t, want.Data, p.dst.Data, "%v", p)
}

package kernel

import (
	"fmt"

	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// HalfTensor is a [Tensor] whose elements are stored in 16 bits each, as Type says: [Float16] or [BFloat16]. Shapes and
// strides are those of Tensor.
type HalfTensor struct {
	Type                               Type
	Data                               []uint16
	Batch, Heads, Len, Dim             int
	BatchStride, HeadStride, LenStride int
}

// AttentionHalf is [Attention] with keys and values of 16 bits, which may be of two types: with the bits that it has for
// the elements as float32, which are exact.
//
// It returns an error that names the argument, before it writes, where Attention would, and if a type is none of 16 bits.
func AttentionHalf(dst, q Tensor, k, v HalfTensor, opts *Options) error {
	o, err := opts.resolve()
	if err != nil {
		return err
	}
	if err := dst.resolveWritten("dst"); err != nil {
		return err
	}
	if err := q.resolve("q"); err != nil {
		return err
	}
	keys, err := k.resolve("k")
	if err != nil {
		return err
	}
	values, err := v.resolve("v")
	if err != nil {
		return err
	}
	kt, vt := Tensor(keys.Tensor), Tensor(values.Tensor)
	if err := checkFit(&q, &kt, &vt); err != nil {
		return err
	}
	if err := checkOutput(&dst, &q, &vt); err != nil {
		return err
	}
	if err := o.check(&q, &kt, q.Len); err != nil {
		return err
	}
	if err := o.checkWritten(&dst, &q, q.Len, k.Len); err != nil {
		return err
	}
	if q.empty() {
		return nil
	}
	c := stages.NewCall()
	c.Dst, c.Q, c.K, c.V = source.Tensor(dst), source.Tensor(q), keys, values
	o.arguments(&c.Arguments, 0, q.Len)
	c.Attention()
	return nil
}

// resolve checks h and returns where its rows are.
func (h *HalfTensor) resolve(name string) (s source.Stored, err error) {
	if h.Type != Float16 && h.Type != BFloat16 {
		return s, fmt.Errorf("attn: %s.Type is %d, want Float16 or BFloat16, %d or %d", name, h.Type, Float16, BFloat16)
	}
	t := Tensor{Batch: h.Batch, Heads: h.Heads, Len: h.Len, Dim: h.Dim, BatchStride: h.BatchStride, HeadStride: h.HeadStride, LenStride: h.LenStride}
	extent, err := t.resolveShape(name, len(h.Data))
	s.Tensor = source.Tensor(t)
	switch {
	case err != nil || extent == 0:
	case h.Type == Float16:
		s.Float16 = h.Data[:extent]
	default:
		s.BFloat16 = h.Data[:extent]
	}
	return s, err
}

package kernel

import (
	"fmt"
	"math"
)

// checkAttention resolves the tensors, in place, and checks that they fit together.
func checkAttention(dst, q, k, v *Tensor) error {
	if err := dst.resolveWritten("dst"); err != nil {
		return err
	}
	if err := checkInputs(q, k, v); err != nil {
		return err
	}
	if err := checkOutput(dst, q, v); err != nil {
		return err
	}
	switch {
	case dst.meets(k):
		return fmt.Errorf("attn: dst.Data shares memory with k.Data")
	case dst.meets(v):
		return fmt.Errorf("attn: dst.Data shares memory with v.Data")
	}
	return nil
}

// checkOutput checks that resolved dst fits q and v, and is apart from q or the same view.
func checkOutput(dst, q, v *Tensor) error {
	if dst.Batch != q.Batch || dst.Heads != q.Heads || dst.Len != q.Len || dst.Dim != v.Dim {
		return checkSizes("dst", dst, [...]int{q.Batch, q.Heads, q.Len, v.Dim}, [...]string{"q", "q", "q", "v"})
	}
	if overlap(dst.Data, q.Data) && !dst.is(q) && dst.meets(q) {
		return fmt.Errorf("attn: dst.Data shares memory with q.Data without being the same view")
	}
	return nil
}

// checkInputs is checkAttention without dst.
func checkInputs(q, k, v *Tensor) error {
	if err := q.resolve("q"); err != nil {
		return err
	}
	if err := k.resolve("k"); err != nil {
		return err
	}
	if err := v.resolve("v"); err != nil {
		return err
	}
	return checkFit(q, k, v)
}

// checkFit checks that resolved inputs fit together.
func checkFit(q, k, v *Tensor) error {
	if err := checkQueryKey("q", "k", q, k); err != nil {
		return err
	}
	if v.Batch != q.Batch || v.Heads != k.Heads || v.Len != k.Len {
		return checkSizes("v", v, [...]int{q.Batch, k.Heads, k.Len, v.Dim}, [...]string{"q", "k", "k", ""})
	}
	return nil
}

// is reports whether t and x, resolved and not empty, are the same view, but for the number of rows.
func (t *Tensor) is(x *Tensor) bool {
	return t.Dim == x.Dim && t.BatchStride == x.BatchStride && t.HeadStride == x.HeadStride && t.LenStride == x.LenStride && &t.Data[0] == &x.Data[0]
}

// meets reports whether t and x, resolved, share an element.
func (t *Tensor) meets(x *Tensor) bool {
	return overlap(t.Data, x.Data) && t.footprint().meets(x.footprint())
}

// An operand is what a call reads: where it is, and what messages call it.
type operand struct {
	name string
	at   footprint
}

// shared returns the name of the first of the inputs that shares an element with dst, or "".
func shared(dst footprint, inputs ...operand) string {
	for i := range inputs {
		if dst.meets(inputs[i].at) {
			return inputs[i].name
		}
	}
	return ""
}

// checkSizes returns an error that names the first size of a resolved tensor that is not the one it must be, as of others.
func checkSizes(name string, x *Tensor, want [4]int, of [4]string) error {
	for i, got := range [...]int{x.Batch, x.Heads, x.Len, x.Dim} {
		if got != want[i] {
			return fmt.Errorf("attn: %s.%s is %d, want %d as of %s", name, [...]string{"Batch", "Heads", "Len", "Dim"}[i], got, want[i], of[i])
		}
	}
	return nil
}

// checkQueryKey checks that resolved queries and keys, which messages call so, fit together.
func checkQueryKey(qName, kName string, q, k *Tensor) error {
	switch {
	case k.Batch != q.Batch:
		return fmt.Errorf("attn: %s.Batch is %d, want %d as of %s", kName, k.Batch, q.Batch, qName)
	case q.Heads%k.Heads != 0:
		return fmt.Errorf("attn: %s.Heads is %d, want a divisor of %d, the heads of %s", kName, k.Heads, q.Heads, qName)
	case k.Dim != q.Dim:
		return fmt.Errorf("attn: %s.Dim is %d, want %d as of %s", kName, k.Dim, q.Dim, qName)
	case k.Len > math.MaxInt32:
		return fmt.Errorf("attn: %s.Len is %d, want at most %d", kName, k.Len, math.MaxInt32)
	}
	return nil
}

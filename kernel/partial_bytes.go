package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// The binary form of a Partial, in little endian: a header of 64 bytes,
//
//	"attnpart", version, 1 if there are sinks, batch, heads, queries, dim, number of spans, 0    (8 bytes; 2 of 4; 5 of 8; 8)
//
// then of the sinks the maxima and the sums of all rows and, for each span in increasing order, its number (8 bytes) and
// the maxima, the sums and the mixes of all rows. Every NaN is 0x7fc00000 and every zero +0, so that equal partials have equal bytes.
const (
	partialMagic   = "attnpart"
	partialVersion = 1
	partialHeader  = 64
)

// MarshalBinary returns the binary form of p, which is the same on every machine. It returns an error if
// that is longer than an int counts.
func (p *Partial) MarshalBinary() ([]byte, error) {
	if p == nil {
		return nil, errors.New("attn: MarshalBinary: the Partial is nil")
	}
	size, ok := p.size(len(p.spans))
	if !ok {
		return nil, fmt.Errorf("attn: MarshalBinary: the states of %d spans for rows %s are longer than an int counts", len(p.spans), p.shape())
	}
	b := make([]byte, 0, size)
	b = append(b, partialMagic...)
	b = binary.LittleEndian.AppendUint32(b, partialVersion)
	sinks := uint32(0)
	if p.sinks != nil {
		sinks = 1
	}
	b = binary.LittleEndian.AppendUint32(b, sinks)
	for _, n := range [...]int{p.batch, p.heads, p.queries, p.dim, len(p.spans), 0} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	if p.sinks != nil {
		b = appendState(b, p.sinks)
	}
	for _, s := range p.spans {
		b = binary.LittleEndian.AppendUint64(b, uint64(s.number))
		b = appendState(b, s.state)
	}
	return b, nil
}

// UnmarshalBinary sets p to a Partial in binary form. It returns an error, and leaves p as it is, if data is not what
// MarshalBinary gives.
func (p *Partial) UnmarshalBinary(data []byte) error {
	if p == nil {
		return errors.New("attn: UnmarshalBinary: the Partial is nil")
	}
	if len(data) < partialHeader || string(data[:8]) != partialMagic {
		return fmt.Errorf("attn: UnmarshalBinary: %d bytes are no Partial, which begins with %q and a header of %d bytes", len(data), partialMagic, partialHeader)
	}
	version, sinks := binary.LittleEndian.Uint32(data[8:]), binary.LittleEndian.Uint32(data[12:])
	if version != partialVersion {
		return fmt.Errorf("attn: UnmarshalBinary: the version is %d, want %d", version, partialVersion)
	}
	var numbers [6]uint64
	for i := range numbers {
		numbers[i] = binary.LittleEndian.Uint64(data[16+8*i:])
	}
	for _, n := range numbers {
		if n > math.MaxInt {
			return fmt.Errorf("attn: UnmarshalBinary: a size of %d is more than an int counts", n)
		}
	}
	n := Partial{batch: int(numbers[0]), heads: int(numbers[1]), queries: int(numbers[2]), dim: int(numbers[3])}
	spans := int(numbers[4])
	given := n.batch > 0 && n.heads > 0 && 0 < n.dim && n.dim <= maxDim
	if zero := n.shape() == new(Partial).shape() && spans == 0 && sinks == 0; !given && !zero || sinks > 1 || numbers[5] != 0 {
		return fmt.Errorf("attn: UnmarshalBinary: no Partial has rows %s of %d spans", n.shape(), spans)
	}
	if sinks > 0 {
		n.sinks = new(stages.State) // that size counts
	}
	if size, ok := n.size(spans); !ok || size != len(data) {
		return fmt.Errorf("attn: UnmarshalBinary: %d bytes, want %d for rows %s of %d spans", len(data), size, n.shape(), spans)
	}
	d := decoder{data[partialHeader:]}
	rows := n.batch * n.heads * n.queries
	var ok bool
	if sinks > 0 {
		if n.sinks, ok = d.state(rows, 0); !ok {
			return errors.New("attn: UnmarshalBinary: the sinks are no states of rows")
		}
	}
	for i := range spans {
		number := binary.LittleEndian.Uint64(d.data)
		d.data = d.data[8:]
		if number > math.MaxInt/generic.SpanKeys || i > 0 && int(number) <= n.spans[i-1].number {
			return fmt.Errorf("attn: UnmarshalBinary: span %d of %d has number %d, want increasing ones up to %d", i, spans, number, math.MaxInt/generic.SpanKeys)
		}
		s := span{number: int(number)}
		if s.state, ok = d.state(rows, n.dim); !ok {
			return fmt.Errorf("attn: UnmarshalBinary: span %d of %d is no state of rows", i, spans)
		}
		n.spans = append(n.spans, s)
	}
	*p = n
	return nil
}

// size returns the length of the binary form with so many spans, and whether it fits an int.
func (p *Partial) size(spans int) (int, bool) {
	rows, ok := product(p.batch, p.heads)
	rows, ok2 := product(rows, p.queries)
	state, ok3 := product(rows, 4*(p.dim+2))
	if !ok || !ok2 || !ok3 || state > math.MaxInt/2 {
		return 0, false
	}
	all, ok := product(state+8, spans)
	sinks := 0
	if p.sinks != nil {
		sinks = 8 * rows
	}
	return partialHeader + sinks + all, ok && all <= math.MaxInt-partialHeader-sinks
}

func appendState(b []byte, s *stages.State) []byte {
	for _, x := range [...][]float32{s.Max, s.Sum, s.Mix} {
		for _, v := range x {
			b = binary.LittleEndian.AppendUint32(b, canonical(v))
		}
	}
	return b
}

// canonical returns the bits of x, one pattern for all NaN and one for all zeros.
func canonical(x float32) uint32 {
	switch {
	case x != x:
		return 0x7fc00000
	case x == 0:
		return 0
	}
	return math.Float32bits(x)
}

// A decoder reads the rest of a binary form whose length has been checked.
type decoder struct{ data []byte }

// state reads the states of rows, and reports whether keys may have them.
func (d *decoder) state(rows, dim int) (s *stages.State, ok bool) {
	s, ok = stages.NewState(rows, dim), true
	for _, x := range [...][]float32{s.Max, s.Sum, s.Mix} {
		for i := range x {
			bits := binary.LittleEndian.Uint32(d.data[4*i:])
			x[i] = math.Float32frombits(bits)
			ok = ok && canonical(x[i]) == bits
		}
		d.data = d.data[4*len(x):]
	}
	for i, m := range s.Max {
		// An integer or infinite; the sum of weights of at most 1.
		integer := m <= -1<<23 || m >= 1<<23 || m == float32(int32(m))
		ok = ok && integer && !(s.Sum[i] < 0 || s.Sum[i] > generic.SpanKeys)
	}
	return s, ok
}

package smollm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/selfattn/attn/kernel"
)

// A gguf is a file in the format of llama.cpp: little endian, a header, values by name, descriptions of tensors, and
// their data, aligned.
type gguf struct {
	values  map[string]any // an integer is uint64 or int64, a float float64; an array is []any
	tensors map[string]ggufTensor
}

type ggufTensor struct {
	shape []int // the last dimension is the one whose elements are neighbours
	kind  uint32
	data  []byte
}

// The kinds of tensors that are read, as the format numbers them.
const (
	kindF32  = 0
	kindQ4_1 = 3
	kindQ8_0 = 8

	blockLen = 32 // elements of a block of Q4_1 or Q8_0
)

// blockBytes are the bytes of a block, or of an element of kindF32.
func blockBytes(kind uint32) (elements, bytes int) {
	switch kind {
	case kindF32:
		return 1, 4
	case kindQ4_1:
		return blockLen, 2 + 2 + blockLen/2
	case kindQ8_0:
		return blockLen, 2 + blockLen
	}
	return 0, 0
}

var errTruncated = errors.New("it ends too early")

// parseGGUF reads a file, of which the tensors stay part.
func parseGGUF(file []byte) (*gguf, error) {
	r := &cursor{data: file}
	if magic := r.take(4); string(magic) != "GGUF" {
		return nil, fmt.Errorf("it begins with %q, want GGUF", magic)
	}
	if version := r.u32(); version < 2 || version > 3 {
		return nil, fmt.Errorf("version %d, want 2 or 3", version)
	}
	tensors, values := r.u64(), r.u64()
	g := &gguf{map[string]any{}, map[string]ggufTensor{}}
	for i := uint64(0); i < values && r.err == nil; i++ {
		name := r.string()
		g.values[name] = r.value(r.u32(), 0)
	}
	type place struct {
		name   string
		offset uint64
		size   int
	}
	var places []place
	for i := uint64(0); i < tensors && r.err == nil; i++ {
		name := r.string()
		dims := r.u32()
		if dims > 4 {
			return nil, fmt.Errorf("tensor %s has %d dimensions, want up to 4", name, dims)
		}
		t := ggufTensor{shape: make([]int, dims)}
		size := 1
		for i := range t.shape {
			n := r.u64()
			if n == 0 || n > uint64(len(file))*2/uint64(size) { // an element has half a byte at least
				return nil, fmt.Errorf("tensor %s: dimension %d does not fit into the file", name, n)
			}
			size *= int(n)
			t.shape[len(t.shape)-1-i] = int(n) // the file begins with the last one
		}
		t.kind = r.u32()
		elements, bytes := blockBytes(t.kind)
		if elements == 0 {
			return nil, fmt.Errorf("tensor %s is of type %d, want F32, Q4_1 or Q8_0", name, t.kind)
		}
		if dims == 0 || t.shape[dims-1]%elements != 0 {
			return nil, fmt.Errorf("tensor %s: a row of %v is no multiple of %d", name, t.shape, elements)
		}
		g.tensors[name] = t
		places = append(places, place{name, r.u64(), size / elements * bytes})
	}
	if r.err != nil {
		return nil, r.err
	}
	alignment := uint64(32)
	if a, ok := g.values["general.alignment"].(uint64); ok && a > 0 {
		alignment = a
	}
	start := (uint64(r.at) + alignment - 1) / alignment * alignment
	for _, p := range places {
		end := start + p.offset + uint64(p.size)
		if p.offset > uint64(len(file)) || end > uint64(len(file)) {
			return nil, fmt.Errorf("tensor %s: %w", p.name, errTruncated)
		}
		t := g.tensors[p.name]
		t.data = file[start+p.offset : end]
		g.tensors[p.name] = t
	}
	return g, nil
}

// A cursor reads from data, until err.
type cursor struct {
	data []byte
	at   int
	err  error
}

// take returns the next n bytes, or nil.
func (r *cursor) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.data)-r.at) {
		if r.err == nil {
			r.err = errTruncated
		}
		return nil
	}
	r.at += int(n)
	return r.data[r.at-int(n) : r.at]
}

// uint returns an integer of n bytes.
func (r *cursor) uint(n uint64) uint64 {
	var b [8]byte
	copy(b[:], r.take(n))
	return binary.LittleEndian.Uint64(b[:])
}

func (r *cursor) u32() uint32    { return uint32(r.uint(4)) }
func (r *cursor) u64() uint64    { return r.uint(8) }
func (r *cursor) string() string { return string(r.take(r.u64())) }

// value reads a value of a type, as the format numbers them.
func (r *cursor) value(kind uint32, depth int) any {
	switch kind {
	case 0, 2, 4, 10:
		return r.uint(map[uint32]uint64{0: 1, 2: 2, 4: 4, 10: 8}[kind])
	case 1:
		return int64(int8(r.uint(1)))
	case 3:
		return int64(int16(r.uint(2)))
	case 5:
		return int64(int32(r.uint(4)))
	case 11:
		return int64(r.u64())
	case 6:
		return float64(math.Float32frombits(r.u32()))
	case 12:
		return math.Float64frombits(r.u64())
	case 7:
		return r.uint(1) != 0
	case 8:
		return r.string()
	case 9:
		if depth > 3 {
			r.err = errors.New("arrays in arrays in arrays")
			return nil
		}
		kind := r.u32()
		var list []any
		for n := r.u64(); n > 0 && r.err == nil; n-- {
			list = append(list, r.value(kind, depth+1))
		}
		return list
	}
	if r.err == nil {
		r.err = fmt.Errorf("a value of type %d", kind)
	}
	return nil
}

// row decodes n elements of t, whole blocks from element from on.
func (t ggufTensor) row(dst []float32, from int) {
	elements, bytes := blockBytes(t.kind)
	data := t.data[from/elements*bytes:]
	half := func(b []byte) float32 {
		var x [1]float32
		kernel.FromFloat16(x[:], []uint16{binary.LittleEndian.Uint16(b)})
		return x[0]
	}
	for ; len(dst) > 0; dst, data = dst[elements:], data[bytes:] {
		switch t.kind {
		case kindF32:
			dst[0] = math.Float32frombits(binary.LittleEndian.Uint32(data))
		case kindQ4_1:
			scale, least := half(data), half(data[2:])
			for i, b := range data[4:bytes] {
				dst[i] = float32(float32(b&15)*scale) + least
				dst[i+blockLen/2] = float32(float32(b>>4)*scale) + least
			}
		case kindQ8_0:
			scale := half(data)
			for i, b := range data[2:bytes] {
				dst[i] = float32(int8(b)) * scale
			}
		}
	}
}

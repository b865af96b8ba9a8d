package smollm

import (
	"encoding/binary"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A writer makes files.
type writer struct{ data []byte }

func (w *writer) add(x any)       { w.data, _ = binary.Append(w.data, binary.LittleEndian, x) }
func (w *writer) string(s string) { w.add(uint64(len(s))); w.data = append(w.data, s...) }

// value writes what the models that are read have.
func (w *writer) value(x any) {
	kinds := map[reflect.Kind]uint32{reflect.Uint32: 4, reflect.Float32: 6, reflect.Bool: 7, reflect.String: 8, reflect.Int32: 5, reflect.Slice: 9}
	v := reflect.ValueOf(x)
	w.add(kinds[v.Kind()])
	switch v.Kind() {
	case reflect.String:
		w.string(x.(string))
	case reflect.Slice:
		w.add(kinds[v.Type().Elem().Kind()])
		w.add(uint64(v.Len()))
		for i := range v.Len() {
			if s, ok := v.Index(i).Interface().(string); ok {
				w.string(s)
			} else {
				w.add(v.Index(i).Interface())
			}
		}
	default:
		w.add(x)
	}
}

// file is a GGUF file with tensors in the order of their names.
func file(values map[string]any, tensors map[string]ggufTensor) []byte {
	w := &writer{data: []byte("GGUF")}
	w.add(uint32(3))
	w.add(uint64(len(tensors)))
	w.add(uint64(len(values)))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		w.string(name)
		w.value(values[name])
	}
	names := slices.Sorted(maps.Keys(tensors))
	offset := uint64(0)
	for _, name := range names {
		t := tensors[name]
		w.string(name)
		w.add(uint32(len(t.shape)))
		for _, n := range slices.Backward(t.shape) {
			w.add(uint64(n))
		}
		w.add(t.kind)
		w.add(offset)
		offset += uint64(len(t.data)+31) / 32 * 32
	}
	for _, name := range names {
		w.data = append(w.data, make([]byte, -len(w.data)&31)...)
		w.data = append(w.data, tensors[name].data...)
	}
	return w.data
}

// floats is a tensor of kindF32.
func floats(x []float32, shape ...int) ggufTensor {
	w := &writer{}
	w.add(x)
	return ggufTensor{shape, kindF32, w.data}
}

// small has a tensor of each kind.
func small() (map[string]any, map[string]ggufTensor) {
	q4 := &writer{}
	q4.add([]uint16{0x3800, 0xc000}) // 0.5, -2
	for i := range 16 {
		q4.add(uint8(i | (15-i)<<4))
	}
	q8 := &writer{}
	q8.add(uint16(0x3400)) // 0.25
	for i := range 32 {
		q8.add(int8(8*i - 128))
	}
	values := map[string]any{"a": uint32(7), "b": float32(0.5), "c": true, "d": "text", "e": []string{"x", "yz"}, "f": []int32{-1, 2}}
	return values, map[string]ggufTensor{
		"floats": floats([]float32{1, 2, 3, 4, 5, 6}, 2, 3),
		"q4":     {[]int{1, 32}, kindQ4_1, q4.data},
		"q8":     {[]int{1, 32}, kindQ8_0, q8.data},
	}
}

func TestGGUF(t *testing.T) {
	values, tensors := small()
	g, err := parseGGUF(file(values, tensors))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"a": uint64(7), "b": 0.5, "c": true, "d": "text", "e": []any{"x", "yz"}, "f": []any{int64(-1), int64(2)}}
	if !reflect.DeepEqual(g.values, want) {
		t.Errorf("%v, want %v", g.values, want)
	}
	var q4, q8 []float32
	for i := range 16 {
		q4 = append(q4, float32(i)/2-2)
	}
	for i := range 16 {
		q4 = append(q4, float32(15-i)/2-2)
	}
	for i := range 32 {
		q8 = append(q8, float32(2*i-32))
	}
	for name, want := range map[string][]float32{"floats": {1, 2, 3, 4, 5, 6}, "q4": q4, "q8": q8} {
		got := make([]float32, len(want))
		if g.tensors[name].row(got, 0); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if shape := g.tensors[name].shape; !slices.Equal(shape, tensors[name].shape) {
			t.Errorf("%s: the shape is %v, want %v", name, shape, tensors[name].shape)
		}
	}
	row := make([]float32, 3)
	if g.tensors["floats"].row(row, 3); !slices.Equal(row, []float32{4, 5, 6}) {
		t.Errorf("the second row is %v", row)
	}
}

// TestTruncated wants an error of each beginning of a file.
func TestTruncated(t *testing.T) {
	whole := file(small())
	for n := range len(whole) {
		if _, err := parseGGUF(whole[:n:n]); err == nil {
			t.Errorf("no error of the first %d bytes of %d", n, len(whole))
		}
	}
}

// TestBroken changes each byte to some others: there may be an error, but no panic, and no memory beyond the file.
func TestBroken(t *testing.T) {
	whole := file(small())
	for i := range whole {
		for _, b := range []byte{0, 1, 9, 0x7f, 0x80, 0xff} {
			broken := slices.Clone(whole)
			broken[i] = b
			if g, err := parseGGUF(broken); err == nil {
				for name, tensor := range g.tensors {
					size := 1
					for _, n := range tensor.shape {
						size *= n
					}
					if size > 2*len(whole) {
						t.Fatalf("byte %d = %d: tensor %s has %d elements", i, b, name, size)
					}
					tensor.row(make([]float32, size), 0)
				}
			}
		}
	}
}

func TestBadGGUF(t *testing.T) {
	for name, c := range map[string]struct {
		tensor ggufTensor
		want   string
	}{
		"a type":     {ggufTensor{[]int{1, 32}, 2, make([]byte, 64)}, "is of type 2"},
		"dimensions": {floats(make([]float32, 1), 1, 1, 1, 1, 1), "has 5 dimensions"},
		"a row":      {ggufTensor{[]int{2, 16}, kindQ8_0, make([]byte, 34)}, "no multiple of 32"},
		"overflow":   {ggufTensor{[]int{math.MaxInt, 16}, kindF32, make([]byte, 64)}, "does not fit"},
	} {
		if _, err := parseGGUF(file(nil, map[string]ggufTensor{"x": c.tensor})); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, head := range []string{"GGML", "GGUF\x01\x00\x00\x00"} {
		if _, err := parseGGUF([]byte(head)); err == nil {
			t.Errorf("no error of %q", head)
		}
	}
}

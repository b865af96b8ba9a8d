package tile

import (
	"math"
	"testing"
)

// The vectors of philox4x32-10 in tests/kat_vectors of Random123, the library of the authors of Philox:
// https://github.com/DEShawResearch/random123
func TestPhilox(t *testing.T) {
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{want: [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{
			[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, [2]uint32{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		var got [4]uint32
		got[0], got[1], got[2], got[3] = Philox(c.counter[0], c.counter[1], c.counter[2], c.counter[3], c.key[0], c.key[1])
		if got != c.want {
			t.Errorf("counter %x, key %x: %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

// Each word decides about one key: which, and from which number on, is that of the words themselves. The share of what is dropped
// is P, along keys, queries, heads, batch members and offsets.
func TestDropout(t *testing.T) {
	const n = 1 << 12
	for _, p := range []float32{0, 0x1p-40, 0.1, 0.5, 0.999, 1 - 0x1p-24} {
		d := NewDropout(p, 1<<40+5, 1<<33+3)
		if d.On() != (p > 0) || d.Keep != 1-p {
			t.Errorf("P = %g: on %v, keep %g", p, d.On(), d.Keep)
		}
		k0, k1, _, _ := Philox(3, 2, 0, 0, 5, 1<<8)
		dropped := [5]int{}
		for i := range n {
			x := [4]uint32{}
			x[0], x[1], x[2], x[3] = Philox(uint32(i), 7, 8, 9, k0, k1)
			got := d.Four(9, 8, 7, 4*i+i%4)
			for k, v := range x {
				if want := float64(v) < float64(p)*(1<<32); want != (got>>k&1 != 0) {
					t.Fatalf("P = %g, word %d of %d: %x", p, k, i, v)
				}
			}
			other := NewDropout(p, 1<<40+5, uint64(i))
			for axis, bits := range [...]uint32{got, d.Four(9, 8, i, 7), d.Four(9, i, 8, 7), d.Four(i, 9, 8, 7), other.Four(9, 8, 7, 6)} {
				dropped[axis] += int(bits & 1)
			}
		}
		for axis, count := range dropped {
			if off := math.Abs(float64(count) - n*float64(p)); off > 6*math.Sqrt(n*float64(p)*(1-float64(p)))+1 {
				t.Errorf("P = %g: %d of %d are dropped along axis %d", p, count, n, axis)
			}
		}
	}
}

// A panel draws what its queries do one by one, and no more; what is dropped leaves the start of a gradient, times its weight.
func TestDrawTile(t *testing.T) {
	const first, n = 1<<30 + 8, 12
	d := Draw{Batch: 3, Width: 5, Dropout: NewDropout(0.3, 1, 2)}
	for r := range d.Query {
		d.Query[r], d.Head[r] = uint32(7*r), uint32(r%2)
	}
	var lanes [Keys]uint32
	for i := range lanes {
		lanes[i] = 1 << 31
	}
	DrawTile(lanes[:n], &d, first)
	ds, p, start := make([]float32, n*5), make([]float32, n*5), [MaxPanel]float32{2, 3, 4, 5, 6}
	for i := range p {
		ds[i], p[i] = 1, float32(i+1)
	}
	rows := func(x []float32) Rows { return Rows{Data: x, Len: n, Dim: 5, Stride: 5} }
	GradDrop(rows(ds), rows(p), &start, &lanes)
	for j := range n {
		if lanes[j]>>d.Width != 0 {
			t.Errorf("key %d: bits %x behind the lanes", j, lanes[j])
		}
		for r := range d.Width {
			dropped := d.Four(3, int(d.Head[r]), int(d.Query[r]), first+j)>>(j%4)&1 != 0
			want := float32(1)
			if dropped {
				want = float32(j*5+r+1) * start[r]
			}
			if lanes[j]>>r&1 == 0 != dropped || ds[j*5+r] != want {
				t.Errorf("key %d, lane %d: lanes %x, gradient %g, want %v, %g", j, r, lanes[j], ds[j*5+r], dropped, want)
			}
		}
	}
}

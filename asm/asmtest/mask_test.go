package asmtest

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// bools returns n elements that end with a vector or begin it: some true, all, none, or all but one of either; at times
// true ones are any byte but 0, as unsafe code leaves them.
func (m *memory) bools(r *rand.Rand, n int) []bool {
	v := m.vector((n + 3) / 4)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
	if m.tail {
		bytes = bytes[len(bytes)-n:]
	}
	bytes = bytes[:n]
	often, raw := [...]int{0, 1, 2, 10, 1, 0}[r.IntN(6)], r.IntN(3) == 0
	for i := range bytes {
		bytes[i] = byte(min(often, 1))
		if often > 1 && r.IntN(often) == 0 {
			bytes[i] = 0
		}
	}
	if i := r.IntN(n); r.IntN(2) == 0 && often < 2 {
		bytes[i] ^= 1
	}
	for i, b := range bytes {
		if raw && b == 1 {
			bytes[i] = byte(1 + r.IntN(255))
		}
	}
	return unsafe.Slice((*bool)(unsafe.Pointer(&bytes[0])), n)
}

func TestMasks(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(21, 22))
		w, seen := impl.PanelWidth, map[int]int{}
		ref := Generic(w)
		fences(t, 4, tile.MaxPanel*(tile.Keys+10), func(m *memory) {
			for n := 1; n <= tile.Keys; n++ {
				stride, kind := n+r.IntN(10), r.IntN(4)
				if kind == 0 {
					stride = 0
				}
				mask, offset := m.bools(r, (w-1)*stride+n), variable(m, [tile.MaxPanel]int{})
				for i, row := range r.Perm(w) {
					if offset[i] = row * stride; kind == 1 { // the last one has another than all others
						offset[i] = row / (w - 1) * stride
					}
				}
				var want [tile.Keys]uint32
				for j := range want {
					want[j] = r.Uint32()
				}
				got := variable(m, want)
				first := ref.PackMask(&want, mask, offset, w, n)
				require.Equal(t, first, impl.PackMask(got, mask, offset, w, n), "%d keys, stride %d", n, stride)
				require.Equal(t, want, *got, "%d keys, stride %d", n, stride)
				seen[first]++
				for j := range n {
					for i := range w {
						if tile.Sees(mask, offset[i]+j) != (want[j]>>i&1 == 1) {
							t.Fatalf("key %d, query %d of %d keys, stride %d", j, i, n, stride)
						}
					}
				}

				s := Fill(r, m.vector(n), WithEdges)
				keep, row := append([]float32(nil), s...), m.bools(r, n)
				require.Equal(t, ref.HideRow(keep, row), impl.HideRow(s, row), "HideRow of %d", n)
				Equal(t, keep, s, "HideRow of %d", n)
			}
		})
		require.Len(t, seen, 3, "what the queries see: none, some and all")
	})
}

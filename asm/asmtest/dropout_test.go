package asmtest

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// Draws of every length, from any key on, of shares down to one word in 2^32 and up to all but 256.
func TestDrawTile(t *testing.T) {
	Run(t, func(t *testing.T, impl Impl) {
		r := rand.New(rand.NewPCG(63, 1))
		w := impl.PanelWidth
		fences(t, 4, tile.Keys+4, func(m *memory) {
			for n := 4; n <= tile.Keys+4; n += 4 {
				for _, p := range []float32{0x1p-32, 0.1, 0.5, float32(r.Float64()), 1 - 0x1p-24} {
					d := tile.Draw{Batch: r.Uint32(), Width: w, Dropout: tile.NewDropout(p, r.Uint64(), r.Uint64())}
					for i := range d.Query {
						d.Query[i], d.Head[i] = r.Uint32(), r.Uint32()
					}
					first := int(r.Uint64()>>r.IntN(64)) & math.MaxInt &^ 3
					if n <= 16 { // a word as it is, the least one that stays, and the greatest one that does not
						x, _, _, _ := tile.Philox(uint32(first/4), d.Query[w/2], d.Head[w/2], d.Batch, d.Keys[0][0], d.Keys[0][1])
						d.Below = x + uint32(r.IntN(2))
					}
					words := m.vector(n)
					got, want := unsafe.Slice((*uint32)(unsafe.Pointer(&words[0])), n), make([]uint32, n)
					for i := range got {
						got[i] = r.Uint32()
					}
					tile.DrawTile(want, &d, first)
					impl.DrawTile(got, variable(m, d), first)
					require.Equal(t, want, got, "%d keys from %d on, P of %g", n, first, p)
				}
			}
		})
	})
}

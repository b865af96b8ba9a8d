package asmtest

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// Every conversion of every element against the reference: all that can be read, and of what can be written one
// block in 61 or, for the implementations that ATTN_EXHAUSTIVE names, all.
func TestAllConversions(t *testing.T) {
	SkipRace(t)
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	Run(t, func(t *testing.T, impl Impl) {
		want, got := make([]float32, len(all)), make([]float32, len(all))
		tile.FromFloat16(want, all)
		impl.FromFloat16(got, all)
		Equal(t, want, got, "FromFloat16")
		tile.FromBFloat16(want, all)
		impl.FromBFloat16(got, all)
		Equal(t, want, got, "FromBFloat16")

		const block = 1 << 16
		step := uint32(61)
		if slices.Contains(strings.Split(os.Getenv("ATTN_EXHAUSTIVE"), ","), impl.Name) {
			step = 1
		}
		x, to, from := make([]float32, block), make([]uint16, block), make([]uint16, block)
		for b := uint32(0); b < 1<<32/block; b += step {
			for i := range x {
				x[i] = math.Float32frombits(b*block + uint32(i))
			}
			tile.ToFloat16(from, x)
			impl.ToFloat16(to, x)
			require.True(t, slices.Equal(from, to), "ToFloat16: block %#x", b)
			tile.ToBFloat16(from, x)
			impl.ToBFloat16(to, x)
			require.True(t, slices.Equal(from, to), "ToBFloat16: block %#x", b)
		}
	})
}

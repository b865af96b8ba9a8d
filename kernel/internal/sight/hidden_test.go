package sight

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// draw fills a mask with runs of true and false, of which some true ones are bytes that no Go code writes.
func draw(r *rand.Rand, n int) []bool {
	data := make([]bool, n)
	for i, run, seen := 0, 0, false; i < n; i++ {
		if run--; run < 0 {
			run, seen = r.IntN(20), r.IntN(3) > 0
		}
		if data[i] = seen; seen && r.IntN(20) == 0 {
			*(*byte)(unsafe.Pointer(&data[i])) = []byte{2, 0x80, 0xff}[r.IntN(3)]
		}
	}
	return data
}

// Where an element is, by the strides.
func TestMaskRow(t *testing.T) {
	m := Mask{BatchStride: 1000, HeadStride: 100, QueryStride: 10}
	require.Equal(t, 2345, m.Row(2, 3, 4, 5))
	require.Equal(t, 0, new(Mask).Row(2, 3, 4, 0), "one mask for all")
}

// Whether some and whether all elements are true.
func TestMaskAnyAll(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 30))
	for range 2000 {
		n, at := r.IntN(70), r.IntN(9)
		m := Mask{Data: draw(r, at+n)} // nothing behind it may be read
		any, all := false, true
		for i := range n {
			any, all = any || m.Sees(at+i), all && m.Sees(at+i)
		}
		require.Equal(t, any, m.Any(at, n))
		require.Equal(t, all, m.All(at, n))
	}
}

// What lanes see of a tile through a mask and their keys together, key by key.
func TestMaskedLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 30))
	masked, empty, whole := 0, 0, 0
	for range 4000 {
		width, keys := []int{asm.NarrowPanel, asm.PanelWidth(tile.MaxPanel)}[r.IntN(2)], 1+r.IntN(100)
		stride := keys + r.IntN(3)
		rule := Rule{Mask: Mask{Data: draw(r, width*stride)}}
		switch r.IntN(4) {
		case 0: // one mask for all
			stride = 0
		case 1:
			for i := range rule.Data { // nothing hidden, but for one element
				rule.Data[i] = true
			}
			rule.Data[r.IntN(len(rule.Data))] = r.IntN(2) == 0
		}
		rule.Causal = r.IntN(2) == 0
		q := Sequence{Queries: tile.MaxPanel, Keys: keys, Start: r.IntN(keys)}
		at := Rows{Group: 1 + r.IntN(2), Behind: width - 1 - r.IntN(4)}
		var l Lanes
		l.Load(&rule, &q, &at, width)
		for lane := range width {
			l.SetMask(lane, lane*stride)
			got, mask := l.Lane(lane)
			require.True(t, got == rule.Seen(&q, at.Query) && mask == lane*stride)
			at.Next()
		}
		require.False(t, l.Uniform(), "a mask")
		before, behind := l.Edges()
		first := r.IntN(keys)
		n := 1 + r.IntN(min(tile.Keys, keys-first))
		var bits [tile.Keys]uint32
		var c Cover
		l.Cover(&c, first, n, &bits)
		if c.Any.Len() == 0 {
			empty++
		}
		if c.Masked {
			masked++
			require.Zero(t, c.All.Len())
		} else if c.Any.Len() > 0 {
			whole++
		}
		for key := range n {
			seen := uint32(0)
			for lane := range width {
				if k, mask := l.Lane(lane); k.From <= first+key && first+key < k.To && rule.Data[mask+first+key] {
					seen |= 1 << lane
				}
			}
			require.Equal(t, ^seen&uint32(1<<width-1), l.Hidden(first+key), "key %d", key)
			inside := c.Any.From <= key && key < c.Any.To
			switch {
			case !inside:
				require.Zero(t, seen, "key %d is not among %v", key, c.Any)
			case c.Masked:
				require.Equal(t, seen, bits[key-c.Any.From], "key %d", key)
			case c.All.From <= key && key < c.All.To:
				require.Equal(t, uint32(1<<width-1), seen, "key %d is said to be seen by all", key)
			}
			if seen != 0 && seen != 1<<width-1 {
				at := first + key
				require.True(t, before.From <= at && at < before.To || behind.From <= at && at < behind.To, "key %d is at no edge", at)
			}
		}
	}
	require.True(t, masked > 500 && empty > 100 && whole > 100, "%d masked, %d empty, %d whole", masked, empty, whole)
}

// Without a mask, lanes that see the same are uniform and have no edges; those that begin or end to see later make
// edges there, and those without a key in common are nothing else.
func TestEdges(t *testing.T) {
	const width = 16
	for _, c := range []struct {
		rule           Rule
		start          int
		uniform        bool
		before, behind Keys
	}{
		{Rule{}, 5, true, Keys{0, 0}, Keys{100, 100}},
		{Rule{Causal: true}, 5, false, Keys{0, 0}, Keys{6, 21}},
		{Rule{Causal: true}, 200, true, Keys{0, 0}, Keys{100, 100}},
		{Rule{Window: true, Left: 20, Right: -1}, 30, false, Keys{10, 25}, Keys{100, 100}},
		{Rule{Window: true, Left: 20, Right: 20}, 30, false, Keys{10, 25}, Keys{51, 66}},
		{Rule{Window: true, Left: 2, Right: 2}, 30, false, Keys{28, 48}, Keys{}},
	} {
		var l Lanes
		l.Load(&c.rule, &Sequence{Queries: width, Keys: 100, Start: c.start}, &Rows{Group: 1, Behind: width - 1}, width)
		before, behind := l.Edges()
		require.Equal(t, c.uniform, l.Uniform(), "%+v", c)
		require.Equal(t, [2]Keys{c.before, c.behind}, [2]Keys{before, behind}, "%+v", c)
	}
}

// Sums that overflow are the int next to them, so that no position comes round to the keys.
func TestAdd(t *testing.T) {
	for _, c := range [][3]int{
		{1, 2, 3}, {-1, 1, 0}, {0, 0, 0}, {math.MaxInt, 0, math.MaxInt}, {0, math.MinInt, math.MinInt}, {math.MaxInt, 1, math.MaxInt},
		{1, math.MaxInt, math.MaxInt}, {math.MinInt, -1, math.MinInt}, {math.MinInt, math.MinInt, math.MinInt}, {-1, -math.MaxInt, math.MinInt},
		{math.MaxInt, math.MinInt, -1}, {math.MaxInt - 1, 1, math.MaxInt}, {math.MaxInt/2 + 1, math.MaxInt/2 + 1, math.MaxInt},
	} {
		require.Equal(t, c[2], add(c[0], c[1]), "%d + %d", c[0], c[1])
	}
}

// Bits beyond the keys that are asked for stay, also where there are none: at the end of a whole tile.
func TestBitsOfTile(t *testing.T) {
	for _, n := range []int{1, 5, tile.Keys - 1, tile.Keys} {
		var l Lanes
		l.Load(new(Rule), &Sequence{Queries: 16, Keys: n}, &Rows{Group: 1, Behind: 15}, 16)
		var bits, want [tile.Keys]uint32
		for i := range bits {
			if bits[i], want[i] = 5, 5; i < n {
				want[i] = 1<<16 - 1
			}
		}
		l.Bits(&bits, 0, n)
		require.Equal(t, want, bits, "%d keys", n)
	}
}

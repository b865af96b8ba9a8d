package tile

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// A mask is bools that say whether a query sees a key. One that unsafe code has set to a byte other than 0 and 1 is
// true too: of such a bool compiled code may look at any bit, so that masks are read as bytes.

// What the queries of a panel see of keys, all together.
const (
	SeenNone = iota
	SeenSome
	SeenAll
)

// PackMask sets bit r of lanes[j] to whether query r of w sees key j of n, which is mask[offset[r]+j]; its other bits
// are 0. It returns what they see: SeenNone, SeenSome or SeenAll.
func PackMask(lanes *[Keys]uint32, mask []bool, offset *[MaxPanel]int, w, n int) (seen int) {
	clear(lanes[:n])
	j := 0
	for ; j+8 <= n; j += 8 {
		for r := 0; r < w; r += 8 {
			// The elements of 8 queries become the bits of a byte, of 8 keys at once.
			var plane uint64
			for last := r + 7; last >= r; last-- {
				plane = plane<<1 | eight(mask[offset[last]+j:])
			}
			for k := range 8 {
				lanes[j+k] |= uint32(plane>>(8*k)&0xff) << r
			}
		}
	}
	for ; j < n; j++ {
		for r := range w {
			if Sees(mask, offset[r]+j) {
				lanes[j] |= 1 << r
			}
		}
	}
	all, any := uint32(1<<w-1), uint32(0)
	for _, b := range lanes[:n] {
		all, any = all&b, any|b
	}
	switch {
	case all == 1<<w-1:
		return SeenAll
	case any == 0:
		return SeenNone
	}
	return SeenSome
}

// HideRow hides keys from a row of scores: it sets s[j] to -Inf where mask[j] is false. It returns whether any is.
func HideRow(s []float32, mask []bool) (hides bool) {
	for j := range s {
		if !Sees(mask, j) {
			s[j], hides = float32(math.Inf(-1)), true
		}
	}
	return hides
}

const (
	eightTrue = 0x0101010101010101
	low7      = 0x7f7f7f7f7f7f7f7f
)

// Sees reports whether an element is true.
func Sees(mask []bool, j int) bool { return *(*byte)(unsafe.Pointer(&mask[j])) != 0 }

// eight returns the first 8 elements as bytes of 0 or 1.
func eight(mask []bool) uint64 {
	x := binary.LittleEndian.Uint64(unsafe.Slice((*byte)(unsafe.Pointer(&mask[0])), 8))
	if x&^eightTrue == 0 {
		return x
	}
	return (x&low7 + low7 | x) >> 7 & eightTrue
}

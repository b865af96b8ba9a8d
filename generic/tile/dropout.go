package tile

import "math"

// Philox returns the four words that Philox4x32-10 makes of a counter and a key (Salmon et al., Parallel Random Numbers: As Easy as
// 1, 2, 3, 2011): ten rounds of products and exclusive ors.
func Philox(c0, c1, c2, c3, k0, k1 uint32) (x0, x1, x2, x3 uint32) {
	const m0, m1, w0, w1 = 0xd2511f53, 0xcd9e8d57, 0x9e3779b9, 0xbb67ae85
	for range 5 { // two at a time, in which nothing moves between registers
		p, q := uint64(m0)*uint64(c0), uint64(m1)*uint64(c2)
		d0, d2 := uint32(q>>32)^c1^k0, uint32(p>>32)^c3^k1
		r, s := uint64(m0)*uint64(d0), uint64(m1)*uint64(d2)
		c0, c1, c2, c3 = uint32(s>>32)^uint32(q)^(k0+w0), uint32(s), uint32(r>>32)^uint32(p)^(k1+w1), uint32(r)
		k0, k1 = k0+2*w0%(1<<32), k1+2*w1%(1<<32)
	}
	return c0, c1, c2, c3
}

// A Dropout says which weights become 0. The zero value is none.
type Dropout struct {
	Keep   float32 // the share of those that stay, 1 - P
	k0, k1 uint32
	below  uint64 // words below this one, of 2^32, drop a weight
}

// NewDropout returns the Dropout of a share 0 <= p < 1, rounded up to a multiple of 2^-32. Its key is what Philox makes of
// offset by the key seed.
func NewDropout(p float32, seed, offset uint64) Dropout {
	k0, k1, _, _ := Philox(uint32(offset), uint32(offset>>32), 0, 0, uint32(seed), uint32(seed>>32))
	return Dropout{1 - p, k0, k1, uint64(math.Ceil(float64(p) * (1 << 32)))}
}

// On reports whether some weights may become 0.
func (d *Dropout) On() bool { return d.below > 0 }

// Four returns a bit for each key of the four from key&^3 on: whether its weight becomes 0. Word key%4 of counter (key/4, query,
// head, batch) decides.
func (d *Dropout) Four(batch, head, query, key int) (dropped uint32) {
	x0, x1, x2, x3 := Philox(uint32(key/4), uint32(query), uint32(head), uint32(batch), d.k0, d.k1)
	below := func(x uint32) uint32 { return uint32((uint64(x) - d.below) >> 63) } // without a branch, which would be mispredicted
	return below(x0) | below(x1)<<1 | below(x2)<<2 | below(x3)<<3
}

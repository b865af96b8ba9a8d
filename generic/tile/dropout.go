package tile

import "math"

// The multipliers of Philox4x32, what it adds to its keys, and its rounds.
const (
	PhiloxMul0, PhiloxMul1 = 0xd2511f53, 0xcd9e8d57
	philoxAdd0, philoxAdd1 = 0x9e3779b9, 0xbb67ae85

	PhiloxRounds = 10
)

// Philox returns the four words that Philox4x32-10 makes of a counter and a key (Salmon et al., Parallel Random Numbers: As Easy as
// 1, 2, 3, 2011): ten rounds of products and exclusive ors.
func Philox(c0, c1, c2, c3, k0, k1 uint32) (x0, x1, x2, x3 uint32) {
	const m0, m1, w0, w1 = PhiloxMul0, PhiloxMul1, philoxAdd0, philoxAdd1
	for range PhiloxRounds / 2 { // two at a time, in which nothing moves between registers
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
	Keep  float32                 // the share of those that stay, 1 - P
	Below uint32                  // words below this one drop a weight
	Keys  [PhiloxRounds][2]uint32 // of each round
}

// NewDropout returns the Dropout of a share 0 <= p < 1, rounded up to a multiple of 2^-32. Its key is what Philox makes of
// offset by the key seed.
func NewDropout(p float32, seed, offset uint64) Dropout {
	k0, k1, _, _ := Philox(uint32(offset), uint32(offset>>32), 0, 0, uint32(seed), uint32(seed>>32))
	d := Dropout{Keep: 1 - p, Below: uint32(math.Ceil(float64(p) * (1 << 32)))} // less than 2^32, as p has 24 bits
	for i := range d.Keys {
		d.Keys[i] = [2]uint32{k0, k1}
		k0, k1 = k0+philoxAdd0, k1+philoxAdd1
	}
	return d
}

// On reports whether some weights may become 0.
func (d *Dropout) On() bool { return d.Below > 0 }

// Four returns a bit for each key of the four from key&^3 on: whether its weight becomes 0. Word key%4 of counter (key/4, query,
// head, batch) decides.
func (d *Dropout) Four(batch, head, query, key int) (dropped uint32) {
	x0, x1, x2, x3 := Philox(uint32(key/4), uint32(query), uint32(head), uint32(batch), d.Keys[0][0], d.Keys[0][1])
	below := func(x uint32) uint32 { return uint32((uint64(x) - uint64(d.Below)) >> 63) } // without a branch, which would be mispredicted
	return below(x0) | below(x1)<<1 | below(x2)<<2 | below(x3)<<3
}

// A Draw says which weights of a panel become 0.
type Draw struct {
	Query, Head [MaxPanel]uint32 // the numbers of each lane's, modulo 2^32
	Batch       uint32
	Width       int // w, the number of lanes
	Dropout
}

// DrawTile sets bit r of lanes[j] to whether the weight of query r and key number key+j stays, and the other bits to 0. key and the
// number of lanes are multiples of 4.
func DrawTile(lanes []uint32, d *Draw, key int) {
	clear(lanes)
	for j := 0; j < len(lanes); j += 4 {
		for r := range d.Width {
			dropped := d.Four(int(d.Batch), int(d.Head[r]), int(d.Query[r]), key+j)
			for i := range 4 {
				lanes[j+i] |= (dropped>>i&1 ^ 1) << r
			}
		}
	}
}

package x86

import (
	"fmt"
	"math"
	"slices"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Masks are vectors in AVX2 and the registers K1 and K2 in AVX-512. The functions here are the only
// ones that tell them apart; a register that they are given for a mask is not used in AVX-512.

func (g *gen) avx512() bool { return g.lanes == 16 }

// tailMask prepares the mask of the first n lanes, not all. n is destroyed.
func (g *gen) tailMask(n reg.GPVirtual, mask reg.VecPhysical) {
	if !g.avx512() {
		g.vectorMask(n, mask)
		return
	}
	m := g.GP64() // 1<<n - 1
	g.XORQ(m, m)
	g.BTSQ(n, m)
	g.DECQ(m)
	g.KMOVW(m.As32(), reg.K1)
}

// vectorMask is tailMask for a Y or X register, with any instruction set: a window of as many lanes on
// a table that is on, then off.
func (g *gen) vectorMask(n reg.GPVirtual, mask reg.VecPhysical) {
	lanes := int(mask.Size()) / 4
	on, off := slices.Repeat([]uint32{math.MaxUint32}, lanes-1), make([]uint32, lanes)
	t := g.words(fmt.Sprintf("tail%d", lanes), append(on, off...)...)
	a := g.GP64()
	g.LEAQ(t.Offset(4*len(on)), a)
	g.SHLQ(U8(2), n)
	g.SUBQ(n, a)
	g.VMOVUPS(mem(a, 0), mask)
}

// loadTail loads the lanes of the tail, and +0 into the others.
func (g *gen) loadTail(m Mem, mask, x reg.VecPhysical) {
	if g.avx512() {
		g.VMOVUPS_Z(m, reg.K1, x)
	} else {
		g.VMASKMOVPS(m, mask, x)
	}
}

// storeTail stores the lanes of the tail.
func (g *gen) storeTail(x, mask reg.VecPhysical, m Mem) {
	if g.avx512() {
		g.VMOVUPS(x, reg.K1, m)
	} else {
		g.VMASKMOVPS(x, mask, m)
	}
}

// fillTail sets the lanes of x behind the tail to those of fill.
func (g *gen) fillTail(x, mask, fill reg.VecPhysical) {
	if g.avx512() {
		g.VBLENDMPS(x, fill, reg.K1, x)
	} else {
		g.VBLENDVPS(mask, x, fill, x)
	}
}

// clearBehind sets the lanes of x behind the tail to +0.
func (g *gen) clearBehind(x, mask reg.VecPhysical) {
	if g.avx512() {
		g.VMOVAPS_Z(x, reg.K1, x)
	} else {
		g.VANDPS(mask, x, x)
	}
}

const (
	equal     = 0
	unordered = 3
	notEqual  = 4
	notLess   = 5
)

// zeroWhere sets the lanes of x to +0 where x equals y; t is scratch.
func (g *gen) zeroWhere(x reg.VecPhysical, y Op, t reg.VecPhysical) {
	if g.avx512() {
		g.VCMPPS(U8(notEqual), y, x, reg.K1)
		g.VMOVAPS_Z(x, reg.K1, x)
	} else {
		g.VCMPPS(U8(notEqual), y, x, t)
		g.VANDPS(t, x, x)
	}
}

// same prepares the mask of the lanes where x has the bits of y. They are compared as integers, in units that FMA and maxima
// leave alone.
func (g *gen) same(x, y, mask reg.VecPhysical) {
	if g.avx512() {
		g.VPCMPEQD(y, x, reg.K1)
	} else {
		g.VPCMPEQD(y, x, mask)
	}
}

// setWhere sets the lanes of x to those of y where the mask is on.
func (g *gen) setWhere(x, y, mask reg.VecPhysical) {
	if g.avx512() {
		g.VBLENDMPS(y, x, reg.K1, x)
	} else {
		g.VBLENDVPS(mask, y, x, x)
	}
}

// setWhereZero sets the lanes of x to those of y where z, of integers, is 0, and further bits in bits there; zero is
// 0, t scratch.
func (g *gen) setWhereZero(x, y, z, zero, t reg.VecPhysical, bits reg.GPVirtual) {
	b := g.GP32()
	if g.avx512() {
		g.VPTESTNMD(z, z, reg.K1)
		g.VBLENDMPS(y, x, reg.K1, x)
		g.KMOVW(reg.K1, b)
	} else {
		g.VPCMPEQD(zero, z, t)
		g.VBLENDVPS(t, y, x, x)
		g.VMOVMSKPS(t, b)
	}
	g.ORL(b, bits.As32())
}

// orDiffer sets further bits in bits where x equals neither y, which may be nil, nor z; t and u are
// scratch.
func (g *gen) orDiffer(x, y, z, t, u reg.VecPhysical, bits reg.GPVirtual) {
	b := g.GP32()
	if g.avx512() {
		if y == nil {
			g.VCMPPS(U8(notEqual), z, x, reg.K2)
		} else {
			g.VCMPPS(U8(notEqual), y, x, reg.K1)
			g.VCMPPS(U8(notEqual), z, x, reg.K1, reg.K2)
		}
		g.KMOVW(reg.K2, b)
	} else {
		g.VCMPPS(U8(notEqual), z, x, t)
		if y != nil {
			g.VCMPPS(U8(notEqual), y, x, u)
			g.VANDPS(u, t, t)
		}
		g.VMOVMSKPS(t, b)
	}
	g.ORL(b, bits)
}

// storeNotBelow stores a bit for each lane of x, integers without a sign: whether it is not less than y. They are those of half h of
// a panel in the word at m, of which the first half clears the rest; t is scratch.
func (g *gen) storeNotBelow(x, y, t reg.VecPhysical, h int, m Mem) {
	if g.avx512() {
		g.VPCMPUD(U8(notLess), y, x, reg.K1)
		g.KMOVW(reg.K1, m.Offset(2*h))
		return
	}
	g.VPMAXUD(x, y, t)
	g.VPCMPEQD(x, t, t)
	b := g.GP32()
	g.VMOVMSKPS(t, b)
	if h == 0 {
		g.MOVL(b, m)
	} else {
		g.MOVB(b.As8(), m.Offset(1))
	}
}

// whereBits returns a function that sets the lanes of x to those of m, which are half h of a panel, where
// their bit of the word at bits is set, else to those of other; t and shifts are scratch.
func (g *gen) whereBits(bits reg.GPVirtual, other, x, t reg.VecPhysical, shifts ...reg.VecPhysical) func(h int, m Mem) {
	if g.avx512() {
		return func(h int, m Mem) {
			g.KMOVW(mem(bits, 2*h), reg.K1)
			g.VMOVAPS(other, x)
			g.VMOVUPS(m, reg.K1, x)
		}
	}
	// A lane's bit becomes its sign, which is what a blend looks at.
	for h := range 2 {
		var by []uint32
		for lane := range g.lanes {
			by = append(by, uint32(31-h*g.lanes-lane))
		}
		g.VMOVUPS(g.words(fmt.Sprintf("lanes%d", h), by...), shifts[h])
	}
	return func(h int, m Mem) {
		g.VPBROADCASTD(mem(bits, 0), t)
		g.VPSLLVD(shifts[h], t, t)
		g.VBLENDVPS(t, m, other, x)
	}
}

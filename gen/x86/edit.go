package x86

import (
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile"
)

// Edits: one pass in place over the scores of a tile, [key][panel], or of a row, for each kind. What they cost is
// little beside the product that made the scores, but for the polynomials and the quotient of the cap.
//
// On Zen 4 a store of 512 bits takes two cycles, which all but the cap come near: 1.4% of attention with 64 elements. The cap takes
// 14 slots of FMA a vector, of which the quotient is two, and comes within one of them. To edit the scores of 72 to 120 keys at a
// time, while they are in L1, loses more in the calls of the product than it saves.
func genEdit(g *gen) {
	g.begin("capTile", "func(s *float32, st *tile.Panel, n int, cap, inverse float32)",
		"capTile caps the scores of n keys for a panel, as [tile.CapTile].")
	g.capTile()
	g.end()

	g.begin("capRow", "func(s *float32, n int, cap, inverse float32)",
		"capRow caps n scores of one query, as [tile.CapRow]. It may write to s up to a whole vector.")
	g.capRow()
	g.end()

	g.begin("alibiTile", "func(s *float32, st *tile.Panel, position *[tile.MaxPanel]int32, slope *[tile.MaxPanel]float32, n, first int)",
		"alibiTile biases the scores of n keys for a panel by distance, as [tile.AlibiTile].")
	g.alibiTile()
	g.end()

	g.begin("alibiRow", "func(s *float32, n, position int, slope float32)",
		"alibiRow biases n scores of one query by distance, as [tile.AlibiRow]. It may write to s up to a",
		"whole vector.")
	g.alibiRow()
	g.end()

	g.begin("biasTile", "func(s *float32, st *tile.Panel, bias *float32, offset *[tile.MaxPanel]int, n int)",
		"biasTile adds biases to the scores of n keys for a panel, as [tile.BiasTile].")
	g.biasTile()
	g.end()

	g.begin("biasKeys", "func(s *float32, st *tile.Panel, bias *float32, n int)",
		"biasKeys adds the biases of n keys to their scores for a panel, as [tile.BiasKeys].")
	g.biasKeys()
	g.end()

	g.begin("scaleTile", "func(s *float32, st *tile.Panel, scale *float32, n int)",
		"scaleTile multiplies the scores or weights of n keys for a panel by the scales of the keys, as [tile.ScaleTile].")
	g.scaleTile()
	g.end()

	g.begin("biasRow", "func(s, bias *float32, n int)",
		"biasRow adds biases to n scores of one query, as [tile.BiasRow]. It may write to s up to a whole",
		"vector.")
	g.biasRow()
	g.end()
}

// tileMaxima loads the maxima of a panel into two registers, and returns what stores them.
func (g *gen) tileMaxima(st reg.GPVirtual, first int) (store func()) {
	for h := range 2 {
		g.VMOVUPS(mem(st, offTileMax+g.w()*h), g.V(first+h))
	}
	return func() {
		for h := range 2 {
			g.VMOVUPS(g.V(first+h), mem(st, offTileMax+g.w()*h))
		}
	}
}

// capped caps n vectors of scores in lockstep, which are V0, V3, V6, ... afterwards.
//
//	V0-V11 four vectors with two scratch registers each, V12 shared scratch, then the cap, V15 its inverse
func (g *gen) capped(m machine, s reg.GPVirtual, n int) {
	var x, a, b []Op
	for v := range n {
		x, a, b = append(x, g.V(3*v)), append(a, g.V(3*v+1)), append(b, g.V(3*v+2))
		g.VMULPS(mem(s, g.w()*v), g.V(15), g.V(3*v))
	}
	vector.Tanh(m, x, a, b)
	g.VBROADCASTSS(g.param("cap"), g.V(12))
	for v := range n {
		g.VMULPS(g.V(12), g.V(3*v), g.V(3*v))
		g.VMOVUPS(g.V(3*v), mem(s, g.w()*v))
	}
}

// capTile: V13 and V14 maxima, the others as in capped.
func (g *gen) capTile() {
	s, st, n := g.ptr("s"), g.ptr("st"), g.ptr("n")
	store := g.tileMaxima(st, 13)
	g.VBROADCASTSS(g.param("inverse"), g.V(15))
	m := g.machine(g.V(12), 0)
	g.pairs(n, func(k int) {
		g.capped(m, s, 2*k)
		for v := range 2 * k {
			g.VMAXPS(g.V(13+v%2), g.V(3*v), g.V(13+v%2))
		}
		g.ADDQ(I32(2*k*g.w()), s)
	})
	store()
}

func (g *gen) capRow() {
	s, n := g.ptr("s"), g.ptr("n")
	g.VBROADCASTSS(g.param("inverse"), g.V(15))
	m := g.machine(g.V(12), 0)
	vectors := func(k int) {
		g.capped(m, s, k)
		g.ADDQ(I32(k*g.w()), s)
	}
	four, one, last, done := g.label("four"), g.label("one"), g.label("last"), g.label("done")
	g.SUBQ(U8(4*g.lanes), n)
	g.JL(LabelRef(last))
	g.loop(four)
	vectors(4)
	g.SUBQ(U8(4*g.lanes), n)
	g.JGE(LabelRef(four))
	g.Label(last)
	g.ADDQ(U8(4*g.lanes), n)
	g.JZ(LabelRef(done))
	g.Label(one)
	vectors(1)
	g.SUBQ(U8(g.lanes), n)
	g.JG(LabelRef(one))
	g.Label(done)
}

// alibiTile: V0 and V1 position - key, V2 and V3 slopes, V4 and V5 maxima, V6 one, V7 and V8 scratch.
func (g *gen) alibiTile() {
	s, st, position, slope, n := g.ptr("s"), g.ptr("st"), g.ptr("position"), g.ptr("slope"), g.ptr("n")
	store := g.tileMaxima(st, 4)
	g.VPBROADCASTD(g.param("first"), g.V(7))
	g.VPBROADCASTD(g.words("one", 1), g.V(6))
	for h := range 2 {
		g.VMOVUPS(mem(position, g.w()*h), g.V(h))
		g.VPSUBD(g.V(7), g.V(h), g.V(h))
		g.VMOVUPS(mem(slope, g.w()*h), g.V(2+h))
	}
	key := g.label("key")
	g.loop(key)
	for h := range 2 {
		x := g.V(7 + h)
		g.distance(g.V(h), g.V(2+h), x, mem(s, g.w()*h))
		g.VMAXPS(g.V(4+h), x, g.V(4+h))
		g.VPSUBD(g.V(6), g.V(h), g.V(h))
	}
	g.ADDQ(I32(g.row()), s)
	g.DECQ(n)
	g.JNZ(LabelRef(key))
	store()
}

// distance biases a vector of scores by slope and a distance with sign, and leaves it in x too.
func (g *gen) distance(d, slope, x reg.VecPhysical, s Mem) {
	g.VPABSD(d, x)
	g.VCVTDQ2PS(x, x)
	g.VFNMADD213PS(s, slope, x)
	g.VMOVUPS(x, s)
}

// alibiRow: V0 position - key, V1 the slope, V2 the lanes of a vector, V3 scratch.
func (g *gen) alibiRow() {
	s, n := g.ptr("s"), g.ptr("n")
	var lane, lanes []uint32
	for i := range g.lanes {
		lane, lanes = append(lane, uint32(i)), append(lanes, uint32(g.lanes))
	}
	g.VPBROADCASTD(g.param("position"), g.V(0))
	g.VMOVUPS(g.words("lane", lane...), g.V(3))
	g.VPSUBD(g.V(3), g.V(0), g.V(0))
	g.VBROADCASTSS(g.param("slope"), g.V(1))
	g.VMOVUPS(g.words("lanes", lanes...), g.V(2))
	vec := g.label("vec")
	g.loop(vec)
	g.distance(g.V(0), g.V(1), g.V(3), mem(s, 0))
	g.VPSUBD(g.V(2), g.V(0), g.V(0))
	g.ADDQ(I32(g.w()), s)
	g.SUBQ(U8(g.lanes), n)
	g.JG(LabelRef(vec))
}

// biasTile transposes the biases of 4 keys for 8 queries at a time.
//
//	Y0-Y3 biases and then scores of a key, Y4-Y7 scratch, Y8 log2 e, Y9 -Inf, Y10 maxima,
//	X11 the mask of the tail
func (g *gen) biasTile() {
	g.VBROADCASTSS(g.words("log2e", math.Float32bits(tile.Log2E)), Y(8))
	g.VBROADCASTSS(g.words("hidden", math.Float32bits(negInf)), Y(9))
	g.remainder("n", X(11))
	for part := range g.Panel / 8 {
		var row [8]reg.GPVirtual
		offset, bias := g.ptr("offset"), g.ptr("bias")
		for i := range row {
			row[i] = g.GP64()
			g.MOVQ(mem(offset, 64*part+8*i), row[i])
			g.LEAQ(at(bias, row[i], 4, 0), row[i])
		}
		st := g.ptr("st")
		g.VMOVUPS(mem(st, offTileMax+32*part), Y(10))
		s, n, i := g.ptr("s"), g.ptr("n"), g.GP64()
		g.XORQ(i, i)
		key := func(c int) {
			m := mem(s, g.row()*c+32*part)
			g.VPCMPEQD(Y(9), Y(c), Y(4)) // as integers, in units that FMA and maxima leave alone
			g.VFMADD213PS(m, Y(8), Y(c))
			g.VBLENDVPS(Y(4), Y(9), Y(c), Y(c))
			g.VMAXPS(Y(10), Y(c), Y(10))
			g.VMOVUPS(Y(c), m)
		}
		fours, tail, done := g.label("fours"), g.label("tail"), g.label("done")
		g.SUBQ(I8(4), n)
		g.JL(LabelRef(tail))
		g.loop(fours)
		g.columns(4, func(r int) Mem { return at(row[r], i, 4, 0) }, nil)
		for c := range 4 {
			key(c)
		}
		g.ADDQ(I32(4*g.row()), s)
		g.ADDQ(I8(4), i)
		g.SUBQ(I8(4), n)
		g.JGE(LabelRef(fours))
		g.Label(tail)
		g.ADDQ(I8(4), n)
		g.JZ(LabelRef(done))
		g.columns(3, func(r int) Mem { return at(row[r], i, 4, 0) }, X(11))
		for c := range 3 {
			key(c)
			if c < 2 {
				g.DECQ(n)
				g.JZ(LabelRef(done))
			}
		}
		g.Label(done)
		st = g.ptr("st")
		g.VMOVUPS(Y(10), mem(st, offTileMax+32*part))
	}
}

// biased adds the biases b to a vector of scores, which it leaves in x and stores: V13 is log2 e, V14 -Inf, and
// hidden the mask of biases that are.
func (g *gen) biased(b, x, hidden reg.VecPhysical, s Mem) {
	g.VMOVUPS(s, x)
	g.VFMADD231PS(b, g.V(13), x)
	g.setWhere(x, g.V(14), hidden)
	g.VMOVUPS(x, s)
}

func (g *gen) biasConstants() {
	g.VMOVUPS(g.splat(tile.Log2E), g.V(13))
	g.VMOVUPS(g.splat(negInf), g.V(14))
}

// eachKey edits the scores of a panel by a number of each key, and raises the maxima. start comes first, and found when a number
// has been loaded.
//
//	V0 and V1 maxima, V2 the number, V3 and V4 scores
func (g *gen) eachKey(numbers string, start, found func(), edit func(x reg.VecPhysical, s Mem)) {
	s, st, number, n := g.ptr("s"), g.ptr("st"), g.ptr(numbers), g.ptr("n")
	store := g.tileMaxima(st, 0)
	start()
	key := g.label("key")
	g.loop(key)
	g.VBROADCASTSS(mem(number, 0), g.V(2))
	found()
	for h := range 2 {
		x := g.V(3 + h)
		edit(x, mem(s, g.w()*h))
		g.VMAXPS(g.V(h), x, g.V(h))
	}
	g.ADDQ(I8(4), number)
	g.ADDQ(I32(g.row()), s)
	g.DECQ(n)
	g.JNZ(LabelRef(key))
	store()
}

func (g *gen) scaleTile() {
	g.eachKey("scale", func() {}, func() {}, func(x reg.VecPhysical, s Mem) {
		g.VMULPS(s, g.V(2), x)
		g.VMOVUPS(x, s)
	})
}

// biasKeys: V5 is whether the bias hides the key.
func (g *gen) biasKeys() {
	g.eachKey("bias", g.biasConstants, func() { g.same(g.V(2), g.V(14), g.V(5)) }, func(x reg.VecPhysical, s Mem) {
		g.biased(g.V(2), x, g.V(5), s)
	})
}

// biasRow: V0 biases, V1 and V2 scratch, V12 the mask of the tail.
func (g *gen) biasRow() {
	s, bias, n := g.ptr("s"), g.ptr("bias"), g.ptr("n")
	g.biasConstants()
	vec, tail, done := g.label("vec"), g.label("tail"), g.label("done")
	g.SUBQ(U8(g.lanes), n)
	g.JL(LabelRef(tail))
	g.loop(vec)
	g.VMOVUPS(mem(bias, 0), g.V(0))
	g.same(g.V(0), g.V(14), g.V(2))
	g.biased(g.V(0), g.V(1), g.V(2), mem(s, 0))
	g.ADDQ(I32(g.w()), bias)
	g.ADDQ(I32(g.w()), s)
	g.SUBQ(U8(g.lanes), n)
	g.JGE(LabelRef(vec))
	g.Label(tail)
	g.ADDQ(U8(g.lanes), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, g.V(12))
	g.loadTail(mem(bias, 0), g.V(12), g.V(0))
	g.same(g.V(0), g.V(14), g.V(2))
	g.biased(g.V(0), g.V(1), g.V(2), mem(s, 0))
	g.Label(done)
}

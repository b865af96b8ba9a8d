package x86

import (
	. "github.com/mmcloughlin/avo/operand"

	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile/exponent"
)

// exponential is a machine for one of package vector's exponentials, which keeps constants in
// registers, with AVX2 three:
//
//	V0 least argument, V1 magic, V2 table of 2^(j/8)
func (g *gen) exponential(least, magic float32) machine {
	return g.machine(nil, 0, g.splat(least), g.splat(magic), g.table(&vector.High))
}

// genExp: element-wise, two vectors in flight.
//
//	V0-V2 constants, V3 mask of the tail, V4-V7 and V8-V11 a vector each with its scratch
func genExp(g *gen) {
	g.begin("exp", "func(dst, x *float32, n int)",
		"exp sets dst[i] = e^x[i] for n elements, as [tile.Exp].")
	m := g.exponential(exponent.ExpMin, exponent.Magic)
	g.elementwise(4, func(v [][]Op) { vector.Exp(m, v[0], v[1], v[2], v[3]) })
	g.end()
}

// elementwise loads n elements of x, applies op and stores them to dst. op works on a group of one vector
// or two, the first of size groups, of which the others are scratch: V4 and on, and as many behind
// them for a second vector. V3 is the mask of the tail.
func (g *gen) elementwise(size int, op func(v [][]Op)) {
	dst, x, n := g.ptr("dst"), g.ptr("x"), g.ptr("n")
	pair, vec, tail, done := g.label("pair"), g.label("vec"), g.label("tail"), g.label("done")
	apply := func(vectors int) {
		v := make([][]Op, size)
		for i := range v {
			for k := range vectors {
				v[i] = append(v[i], g.V(4+size*k+i))
			}
		}
		op(v)
	}
	g.SUBQ(I8(2*g.lanes), n)
	g.JL(LabelRef(vec))
	g.loop(pair)
	for i := range 2 {
		g.VMOVUPS(mem(x, g.w()*i), g.V(4+size*i))
	}
	apply(2)
	for i := range 2 {
		g.VMOVUPS(g.V(4+size*i), mem(dst, g.w()*i))
	}
	g.ADDQ(I32(2*g.w()), x)
	g.ADDQ(I32(2*g.w()), dst)
	g.SUBQ(I8(2*g.lanes), n)
	g.JGE(LabelRef(pair))
	g.Label(vec)
	g.ADDQ(I8(g.lanes), n) // n-lanes are left
	g.JL(LabelRef(tail))
	g.VMOVUPS(mem(x, 0), g.V(4))
	apply(1)
	g.VMOVUPS(g.V(4), mem(dst, 0))
	g.ADDQ(I8(g.w()), x)
	g.ADDQ(I8(g.w()), dst)
	g.SUBQ(I8(g.lanes), n)
	g.Label(tail)
	g.ADDQ(I8(g.lanes), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, g.V(3))
	g.loadTail(mem(x, 0), g.V(3), g.V(4))
	apply(1)
	g.storeTail(g.V(4), g.V(3), mem(dst, 0))
	g.Label(done)
}

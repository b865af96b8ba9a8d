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

// genExp: element-wise, three vectors in lockstep.
//
//	V0-V2 constants, V3 mask of the tail, V4-V7, V8-V11 and V12-V15 a vector each with its scratch
func genExp(g *gen) {
	g.begin("exp", "func(dst, x *float32, n int)",
		"exp sets dst[i] = e^x[i] for n elements, as [tile.Exp].")
	m := g.exponential(exponent.ExpMin, exponent.Magic)
	g.elementwise(4, func(v [][]Op) { vector.Exp(m, v[0], v[1], v[2], v[3]) })
	g.end()
}

// elementwise loads n elements of x, applies op and stores them to dst. op works on a group of one vector
// or of as many as V4 to V15 have room for, up to three, the first of size groups, of which the others are scratch. V3 is
// the mask of the tail.
func (g *gen) elementwise(size int, op func(v [][]Op)) {
	dst, x, n := g.ptr("dst"), g.ptr("x"), g.ptr("n")
	block, vecs, vec, tail, done := g.label("block"), g.label("vecs"), g.label("vec"), g.label("tail"), g.label("done")
	together := min(12/size, 3)
	apply := func(vectors int) {
		v := make([][]Op, size)
		for i := range v {
			for k := range vectors {
				v[i] = append(v[i], g.V(4+size*k+i))
			}
		}
		op(v)
	}
	whole := func(vectors int) {
		for i := range vectors {
			g.VMOVUPS(mem(x, g.w()*i), g.V(4+size*i))
		}
		apply(vectors)
		for i := range vectors {
			g.VMOVUPS(g.V(4+size*i), mem(dst, g.w()*i))
		}
		g.ADDQ(I32(vectors*g.w()), x)
		g.ADDQ(I32(vectors*g.w()), dst)
		g.SUBQ(I8(vectors*g.lanes), n)
	}
	g.SUBQ(I8(together*g.lanes), n)
	g.JL(LabelRef(vecs))
	g.loop(block)
	whole(together)
	g.JGE(LabelRef(block))
	g.Label(vecs)
	g.ADDQ(I8((together-1)*g.lanes), n) // n-lanes are left
	g.JL(LabelRef(tail))
	g.Label(vec)
	whole(1)
	g.JGE(LabelRef(vec))
	g.Label(tail)
	g.ADDQ(I8(g.lanes), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, g.V(3))
	g.loadTail(mem(x, 0), g.V(3), g.V(4))
	apply(1)
	g.storeTail(g.V(4), g.V(3), mem(dst, 0))
	g.Label(done)
}

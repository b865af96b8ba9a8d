package x86

import (
	. "github.com/mmcloughlin/avo/operand"

	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile/exponent"
)

// genActivation: element-wise, two vectors in lockstep.
//
//	V0-V2 constants, V3 mask of the tail, V4-V9 and V10-V15 a vector each with its scratch
func genActivation(g *gen) {
	for _, f := range []struct {
		name, doc string
		apply     func(vector.Machine[Op], []Op, [vector.Scratch][]Op)
	}{
		{"gelu", "gelu sets dst[i] = x[i]*Phi(x[i]) for n elements, as [tile.Gelu].", vector.GELU[Op]},
		{"geluTanh", "geluTanh sets dst[i] = x[i]/(1 + e^-2y) for n elements, as [tile.GeluTanh].", vector.GELUTanh[Op]},
		{"silu", "silu sets dst[i] = x[i]/(1 + e^-x[i]) for n elements, as [tile.Silu].", vector.SiLU[Op]},
	} {
		g.begin(f.name, "func(dst, x *float32, n int)", f.doc)
		m := g.exponential(1, exponent.MagicB)
		g.elementwise(1+vector.Scratch, func(v [][]Op) { f.apply(m, v[0], [vector.Scratch][]Op(v[1:])) })
		g.end()
	}
}

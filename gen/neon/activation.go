package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/vector"
)

func genActivation(g *gen) {
	for _, f := range []struct {
		name, doc string
		apply     func(vector.Machine[a64.V], []a64.V, [vector.Scratch][]a64.V)
	}{
		{"gelu", "gelu sets dst[i] = x[i]*Phi(x[i]) for n elements, as [tile.Gelu].", vector.GELU[a64.V]},
		{"geluTanh", "geluTanh sets dst[i] = x[i]/(1 + e^-2y) for n elements, as [tile.GeluTanh].", vector.GELUTanh[a64.V]},
		{"silu", "silu sets dst[i] = x[i]/(1 + e^-x[i]) for n elements, as [tile.Silu].", vector.SiLU[a64.V]},
	} {
		g.Begin(f.name, "func(dst, x *float32, n int)", f.doc)
		g.elementwise(func(x []a64.V) {
			var scratch [vector.Scratch][]a64.V
			for i := range scratch {
				scratch[i] = g.group(len(x))
			}
			f.apply(g, x, scratch)
		})
		g.RET()
	}
}

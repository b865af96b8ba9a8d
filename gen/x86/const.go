package x86

import (
	"fmt"
	"math"
	"slices"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"

	"github.com/selfattn/attn/gen/vector"
)

// words emits read-only 32-bit words once a file and returns their address.
func (g *gen) words(name string, w ...uint32) operand.Mem {
	if m, ok := g.data[name]; ok {
		return m
	}
	m := g.StaticGlobal(name)
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, v := range w {
		g.AddDatum(4*i, operand.U32(v))
	}
	g.data[name] = m
	return m
}

// splat returns a vector of v in each lane.
func (g *gen) splat(v float32) operand.Mem { return g.splatBits(math.Float32bits(v)) }

// splatBits is splat of the float32 with some bits.
func (g *gen) splatBits(w uint32) operand.Mem {
	return g.words(fmt.Sprintf("splat%08x", w), slices.Repeat([]uint32{w}, g.lanes)...)
}

// table returns the eight elements of t, twice in a wider vector: an index of VPERMPS that counts
// modulo 8 finds them either way.
func (g *gen) table(t *vector.Table) operand.Mem {
	var w []uint32
	for i := range g.lanes {
		w = append(w, math.Float32bits(t.Values[i%8]))
	}
	return g.words(t.Name, w...)
}

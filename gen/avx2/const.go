package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
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

// splat returns a vector of eight times v.
func (g *gen) splat(v float32) operand.Mem {
	w := math.Float32bits(v)
	return g.words(fmt.Sprintf("splat%08x", w), w, w, w, w, w, w, w, w)
}

// vector returns the eight elements of v.
func (g *gen) vector(name string, v [8]float32) operand.Mem {
	var w [8]uint32
	for i := range v {
		w[i] = math.Float32bits(v[i])
	}
	return g.words(name, w[:]...)
}

// tailMask loads into m the mask of the first n < 8 lanes. n is destroyed.
func (g *gen) tailMask(n reg.GPVirtual, m reg.VecPhysical) {
	on, off := uint32(math.MaxUint32), uint32(0)
	t := g.words("tail", on, on, on, on, on, on, on, on, off, off, off, off, off, off, off, off)
	a := g.GP64()
	g.LEAQ(t.Offset(32), a)
	g.SHLQ(operand.U8(2), n)
	g.SUBQ(n, a)
	g.VMOVUPS(mem(a, 0), m)
}

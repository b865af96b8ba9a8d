package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/generic/tile"
)

// A storedType is a type of elements, of so many bytes.
type storedType struct {
	name, pointer string
	size          int
	convert       func(g *gen, v a64.V) // 4 elements in the low lanes
}

var storedTypes = []storedType{
	{"Float16", "*uint16", 2, func(g *gen, v a64.V) { g.FCVTL(v, v) }},
	{"BFloat16", "*uint16", 2, func(g *gen, v a64.V) { g.SHLL16(v, v) }},
	{"Int8", "*int8", 1, func(g *gen, v a64.V) {
		g.SXTLB(v, v)
		g.SXTL(v, v)
		g.SCVTF(v, v)
	}},
}

// scales is the parameter of the scales of rows, if they have some.
func (e *storedType) scales() string {
	if e.size > 1 {
		return ""
	}
	return ", scales *float32"
}

// load loads 4 elements of a row and converts them.
func (e *storedType) load(g *gen, v a64.V, m a64.Mem) {
	g.LDRBytes(v, m, 4*e.size)
	e.convert(g, v)
}

// stored loads an int parameter that counts elements of a type, as bytes.
func (g *gen) stored(name string, e storedType) a64.X {
	r := g.Param(name)
	if e.size > 1 {
		g.LSL(r, r, e.size/2)
	}
	return r
}

// storedScores1 is as rowScores1, with rows that are converted as they are loaded.
//
//	V0-V3 rows of K and then their columns, V4-V7 scratch, V16-V19 elements of q, V20-V23 scales, V24-V27 scores
func (g *gen) storedScores1(e storedType) {
	s, q0, k, dim := g.Param("s"), g.Param("q"), g.Param("k"), g.Param("dim")
	w, stride, half, blocks := g.elems("w"), g.stored("stride", e), g.Param("half"), g.Param("blocks")
	var scales a64.X
	if e.size == 1 {
		scales = g.Param("scales")
	}
	pf := g.walk()
	q, n, at, p := g.X(), g.X(), g.X(), g.X()
	g.Blocks(blocks, 1, func() {
		g.MOV(q, q0)
		g.MOV(at, k)
		pf.start(k)
		g.clear(grid(24, 4))
		if e.size == 1 {
			g.load(grid(20, 2), scales, 0)
			g.ADDL(p, scales, half, 2)
			g.load(grid(22, 2), p, 0)
			g.ADDI(scales, scales, 64)
		}
		g.MOV(n, dim)
		g.Blocks(n, 16, func() {
			for range 4 {
				for c := range a64.V(4) {
					g.LDRS(16+c, mem(q, 0))
					g.ADD(q, q, w)
				}
				g.MOV(p, at)
				for i := range a64.V(4) {
					if i == 2 {
						g.MUL(p, half, stride)
						g.ADD(p, p, at)
					}
					for r := range a64.V(4) {
						e.load(g, r, mem(p, 0))
						g.ADD(p, p, stride)
					}
					g.transpose(0, 4)
					for c := range a64.V(4) {
						g.FMLAElement(24+i, c, 16+c, 0)
					}
				}
				g.ADDI(at, at, 4*e.size)
			}
			for range e.size {
				pf.next(4)
			}
		})
		if e.size == 1 {
			for i := range a64.V(4) {
				g.FMUL(24+i, 24+i, 20+i)
			}
		}
		g.store(grid(24, 2), s, 0)
		g.ADDL(p, s, half, 2)
		g.store(grid(26, 2), p, 0)
		g.ADDI(s, s, 64)
		g.ADDL(k, k, stride, 4)
	})
}

// storedScores4 is as rowScores4, with rows that are converted as they are loaded.
//
//	V0-V7 rows of K, V16-V19 elements of the queries, V20 and V21 scales, V24-V31 scores
func (g *gen) storedScores4(e storedType) {
	s, q0, k, dim := g.Param("s"), g.Param("q"), g.Param("k"), g.Param("dim")
	w, stride, blocks := g.elems("w"), g.stored("stride", e), g.Param("blocks")
	var scales a64.X
	if e.size == 1 {
		scales = g.Param("scales")
	}
	pf := g.walk()
	q, n, at, p := g.X(), g.X(), g.X(), g.X()
	g.Blocks(blocks, 1, func() {
		g.MOV(q, q0)
		g.MOV(at, k)
		pf.start(k)
		g.clear(grid(24, 8))
		g.MOV(n, dim)
		g.Blocks(n, 16, func() {
			for range 4 {
				for c := range a64.V(4) {
					g.LDRQ(16+c, mem(q, 0))
					g.ADD(q, q, w)
				}
				g.MOV(p, at)
				for r := range a64.V(8) {
					e.load(g, r, mem(p, 0))
					g.ADD(p, p, stride)
				}
				for c := range 4 {
					for r := range a64.V(8) {
						g.FMLAElement(24+r, 16+a64.V(c), r, c)
					}
				}
				g.ADDI(at, at, 4*e.size)
			}
			for range e.size {
				pf.next(2)
			}
		})
		g.transpose(24, 0)
		g.transpose(28, 0)
		if e.size == 1 {
			g.load(grid(20, 2), scales, 0)
		}
		g.MOV(p, s)
		for r := range a64.V(4) {
			if e.size == 1 {
				g.FMUL(24+r, 24+r, 20)
				g.FMUL(28+r, 28+r, 21)
			}
			g.STPQ(24+r, 28+r, mem(p, 0))
			g.ADDI(p, p, 4*tile.Keys)
		}
		g.ADDI(s, s, 32)
		if e.size == 1 {
			g.ADDI(scales, scales, 32)
		}
		g.ADDL(k, k, stride, 3)
	})
}

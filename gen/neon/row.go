package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/gen/vector"
	"github.com/selfattn/attn/generic/tile"
)

// Rows are the way of decoding: one query, or four that share their keys,
// so that K and V are read once at the speed of memory.
func genRow(g *gen) {
	g.Begin("rowScores1", "func(s, q, k *float32, w, dim, stride, half, blocks, distance, row, wrap int)",
		"rowScores1 computes the scores of one query against blocks of 16 keys, as",
		"[tile.RowScores]. A block is the 8 keys at k and the 8 keys half keys further on.",
		"distance and wrap are those of prefetch, row is the bytes of a row.")
	g.rowScores1()
	g.RET()

	g.Begin("rowScores4", "func(s, q, k *float32, w, dim, stride, blocks, distance, row, wrap int)",
		"rowScores4 computes the scores of four queries against blocks of 8 keys.")
	g.rowScores4()
	g.RET()

	g.Begin("rowWeights", "func(s *float32, n int) float32",
		"rowWeights turns n scores of one query into weights and returns their integer maximum,",
		"as [tile.RowWeights]. It may write to s up to a whole vector.")
	g.rowWeights()
	g.RET()

	for _, e := range storedTypes {
		scales := e.scales()
		g.Begin("rowScores1"+e.name, "func(s, q *float32, k "+e.pointer+scales+", w, dim, stride, half, blocks, distance, row, wrap int)",
			"rowScores1"+e.name+" computes the scores of one query against blocks of 16 keys, as",
			"[tile.RowScores"+e.name+"]. A block is the 8 keys at k and the 8 keys half keys further on.",
			"distance and wrap are those of prefetch, row is the bytes of a row.")
		g.storedScores1(e)
		g.RET()

		g.Begin("rowScores4"+e.name, "func(s, q *float32, k "+e.pointer+scales+", w, dim, stride, blocks, distance, row, wrap int)",
			"rowScores4"+e.name+" computes the scores of four queries against blocks of 8 keys.")
		g.storedScores4(e)
		g.RET()
	}

	for _, rows := range []int{1, 4} {
		name := map[int]string{1: "rowValues1", 4: "rowValues4"}[rows]
		g.Begin(name, "func(o, p, v, sum *float32, dim, n, stride, distance int)",
			name+" sums the weights of n keys and adds the mix of their values to o,",
			"as [tile.RowValues].")
		g.rowValues(rows, nil)
		g.RET()
		for _, e := range storedTypes {
			g.Begin(name+e.name, "func(o, p *float32, v "+e.pointer+e.scales()+", sum *float32, dim, n, stride int)",
				name+e.name+" is "+name+" with values of another type, as [tile.RowValues"+e.name+"].")
			g.rowValues(rows, &e)
			g.RET()
		}
	}

	g.Begin("mergeRow", "func(acc, o *float32, n int, a, b float32)",
		"mergeRow merges the partial o of a tile into acc, as [tile.MergeRow].",
		"n is a multiple of 16.")
	acc, o, n, a, b := g.Param("acc"), g.Param("o"), g.Param("n"), g.ParamFloat("a"), g.ParamFloat("b")
	g.Blocks(n, 16, func() {
		x, y := g.group(4), g.group(4)
		g.load(x, acc, 0)
		g.load(y, o, 0)
		g.Mul(x, x, []a64.V{a})
		g.MulAdd(x, y, []a64.V{b})
		g.store(x, acc, 0)
		g.ADDI(acc, acc, 64)
		g.ADDI(o, o, 64)
	})
	g.RET()
}

// The rows of a block are read side by side, 16 bytes of each in turn, in which the hardware may
// not recognise the stream that they are. So a pointer walks through a later block, row by row,
// the distance, in bytes, from here: start sets it, and next, once every 16 bytes of the rows, moves it on by
// lines cache lines. A row is a whole number of such steps for this, and wrap leads from the end of
// the last to the next row.
type prefetch struct {
	*gen
	distance, wrap, row, p, left a64.X
}

// walk returns the prefetch of the parameters.
func (g *gen) walk() *prefetch {
	return &prefetch{g, g.Param("distance"), g.Param("wrap"), g.Param("row"), g.X(), g.X()}
}

func (f *prefetch) start(block a64.X) {
	f.ADD(f.p, block, f.distance)
	f.MOV(f.left, f.row)
}

func (f *prefetch) next(lines int) {
	same := f.NewLabel("same")
	for i := range lines {
		f.Prefetch(mem(f.p, 64*i))
	}
	f.ADDI(f.p, f.p, 64*lines)
	f.SUBS(f.left, f.left, 64*lines)
	f.BGT(same)
	f.ADD(f.p, f.p, f.wrap)
	f.MOV(f.left, f.row)
	f.Label(same)
}

// rowScores1: 16 keys on the lanes, four chains of FMAs.
//
//	V0-V3 rows of K and then their columns, V4-V7 scratch, V16-V19 elements of q, V24-V27 scores
func (g *gen) rowScores1() {
	s, q0, k, dim := g.Param("s"), g.Param("q"), g.Param("k"), g.Param("dim")
	w, stride, half, blocks := g.elems("w"), g.elems("stride"), g.Param("half"), g.Param("blocks")
	pf := g.walk()
	q, n, at, p := g.X(), g.X(), g.X(), g.X()
	fours := func(four func(i a64.V)) { // the four groups of keys, row after row from at
		g.MOV(p, at)
		for i := range a64.V(4) {
			if i == 2 {
				g.MUL(p, half, stride)
				g.ADD(p, p, at)
			}
			four(i)
		}
	}
	g.Blocks(blocks, 1, func() {
		g.MOV(q, q0)
		g.MOV(at, k)
		pf.start(k)
		g.clear(grid(24, 4))
		g.MOV(n, dim)
		g.Blocks(n, 4, func() {
			for c := range a64.V(4) {
				g.LDRS(16+c, mem(q, 0))
				g.ADD(q, q, w)
			}
			fours(func(i a64.V) {
				for r := range a64.V(4) {
					g.LDRQ(r, mem(p, 0))
					g.ADD(p, p, stride)
				}
				g.transpose(0, 4)
				for c := range a64.V(4) {
					g.FMLAElement(24+i, c, 16+c, 0)
				}
			})
			pf.next(4)
			g.ADDI(at, at, 16)
		})
		g.Blocks(n, 1, func() {
			g.LDRS(16, mem(q, 0))
			g.ADD(q, q, w)
			fours(func(i a64.V) {
				for r := range 4 {
					if r == 0 {
						g.LDRS(0, mem(p, 0))
					} else {
						g.LDLane(0, r, p)
					}
					g.ADD(p, p, stride)
				}
				g.FMLAElement(24+i, 0, 16, 0)
			})
			g.ADDI(at, at, 4)
		})
		g.store(grid(24, 2), s, 0)
		g.ADDL(p, s, half, 2)
		g.store(grid(26, 2), p, 0)
		g.ADDI(s, s, 64)
		g.ADDL(k, k, stride, 4)
	})
}

// rowScores4: the queries are on the lanes and FMLA takes the elements of K as they are, a chain
// for each of 8 keys.
//
//	V0-V7 rows of K, V16-V19 elements of the queries, V24-V31 scores
func (g *gen) rowScores4() {
	s, q0, k, dim := g.Param("s"), g.Param("q"), g.Param("k"), g.Param("dim")
	w, stride, blocks := g.elems("w"), g.elems("stride"), g.Param("blocks")
	pf := g.walk()
	q, n, at, p := g.X(), g.X(), g.X(), g.X()
	g.Blocks(blocks, 1, func() {
		g.MOV(q, q0)
		g.MOV(at, k)
		pf.start(k)
		g.clear(grid(24, 8))
		g.MOV(n, dim)
		steps := func(n int, load func(v a64.V, m a64.Mem)) {
			for c := range a64.V(n) {
				g.LDRQ(16+c, mem(q, 0))
				g.ADD(q, q, w)
			}
			g.MOV(p, at)
			for r := range a64.V(8) {
				load(r, mem(p, 0))
				g.ADD(p, p, stride)
			}
			for c := range n {
				for r := range a64.V(8) {
					g.FMLAElement(24+r, 16+a64.V(c), r, c)
				}
			}
			g.ADDI(at, at, 4*n)
		}
		g.Blocks(n, 4, func() {
			steps(4, g.LDRQ)
			pf.next(2)
		})
		g.Blocks(n, 1, func() { steps(1, g.LDRS) })
		g.transpose(24, 0)
		g.transpose(28, 0)
		g.MOV(p, s)
		for r := range a64.V(4) {
			g.STPQ(24+r, 28+r, mem(p, 0))
			g.ADDI(p, p, 4*tile.Keys)
		}
		g.ADDI(s, s, 32)
		g.ADDL(k, k, stride, 3)
	})
}

func (g *gen) rowWeights() {
	s, n := g.Param("s"), g.Param("n")
	m, zero, inf := g.max(s, n)
	g.ceil(m, zero)
	g.ResultFloat(m)
	g.zeroWhere(m, inf, g.V())
	g.DUP(m, m, 0)
	g.ParamTo(s, "s")
	g.ParamTo(n, "n")
	g.ADDI(n, n, lanes-1)
	g.Blocks(n, 2*lanes, func() {
		g.weights(s, []a64.V{m, m})
		g.ADDI(s, s, 32)
	})
	x := g.group(1)
	g.Blocks(n, lanes, func() {
		g.LDRQ(x[0], mem(s, 0))
		g.Sub(x, []a64.V{m}, x)
		vector.Exp2Neg(g, x, g.group(1), g.group(1))
		g.STRQ(x[0], mem(s, 0))
		g.ADDI(s, s, 16)
	})
}

// rowValues adds p.V to o, 16 keys at a time, so that V is read nearly in
// linear order, and at most 16 vectors of columns at a time, which stay in registers. Values of a stored type
// are converted, if it is not nil, and fill blocks of 16.
//
//	V0-V3 values, V4-V7 weights, V8-V11 sums, V12 a scale, V16-V31 columns
func (g *gen) rowValues(rows int, e *storedType) {
	p, v0, n := g.Param("p"), g.Param("v"), g.Param("n")
	o0, dim, stride := g.Param("o"), g.Param("dim"), g.Param("stride")
	size := 4 // bytes of a value
	var distance, scales0, scales a64.X
	if e != nil {
		size = e.size
	} else {
		distance = g.Param("distance")
	}
	if size == 1 {
		scales0, scales = g.Param("scales"), g.X()
	} else {
		g.LSL(stride, stride, size/2)
	}
	ld := g.X() // bytes from row to row of o
	g.ADDI(ld, dim, 15)
	g.Mask(ld, ld, 4)
	g.LSL(ld, ld, 2)
	keys, t, pk, vk, v, o, cols, later, sixteen := g.X(), g.X(), g.X(), g.X(), g.X(), g.X(), g.X(), g.X(), g.X()
	g.MOVI(sixteen, 16)
	sums := func(f func(a64.V, a64.Mem)) {
		sum := g.Param("sum")
		for r := range rows {
			f(8+a64.V(r), mem(sum, 4*r))
		}
	}
	sums(g.LDRS)

	// each runs f for each row of vecs vectors of columns, with a pointer to it.
	each := func(vecs int, f func(col a64.V, m a64.Mem)) {
		g.MOV(t, o)
		for r := range rows {
			for i := range vecs {
				f(16+a64.V(r*vecs+i), mem(t, 16*i))
			}
			g.ADD(t, t, ld)
		}
	}
	// chunk continues vecs vectors of columns, or one column, by the keys of the block.
	chunk := func(vecs, width int, load, store func(v a64.V, m a64.Mem)) {
		each(vecs, load)
		g.MOV(pk, p)
		g.MOV(vk, v)
		left := t
		g.MOV(left, keys)
		if size == 1 {
			g.MOV(scales, scales0)
		}
		g.Blocks(left, 1, func() {
			if size == 1 {
				g.LDRS(12, mem(scales, 0))
				g.ADDI(scales, scales, 4)
			}
			if 4*width >= 64 && e == nil {
				g.ADD(later, vk, distance)
				for line := 0; line+64 <= 4*width; line += 64 {
					g.Prefetch(mem(later, line))
				}
			}
			for r := range rows {
				g.LDRS(4+a64.V(r), mem(pk, 4*tile.Keys*r))
				if size == 1 {
					g.FMUL(4+a64.V(r), 4+a64.V(r), 12)
				}
			}
			for i := range vecs {
				if e == nil {
					load(a64.V(i%4), mem(vk, 16*i))
				} else {
					e.load(g, a64.V(i%4), mem(vk, 4*size*i))
				}
				for r := range rows {
					g.FMLAElement(16+a64.V(r*vecs+i), a64.V(i%4), 4+a64.V(r), 0)
				}
			}
			g.ADDI(pk, pk, 4)
			g.ADD(vk, vk, stride)
		})
		each(vecs, store)
		g.ADDI(v, v, size*width)
		g.ADDI(o, o, 4*width)
	}

	block := g.NewLabel("keys")
	g.Label(block)
	g.CMP(n, 16)
	g.CSELLT(keys, n, sixteen)
	// The sums are one chain a row.
	g.MOV(t, keys)
	g.MOV(pk, p)
	g.Blocks(t, 1, func() {
		for r := range rows {
			g.LDRS(0, mem(pk, 4*tile.Keys*r))
			g.FADD(8+a64.V(r), 8+a64.V(r), 0)
		}
		g.ADDI(pk, pk, 4)
	})
	g.MOV(v, v0)
	g.MOV(o, o0)
	g.MOV(cols, dim)
	for vecs := 16 / rows; vecs > 0; vecs /= 2 {
		g.Blocks(cols, lanes*vecs, func() { chunk(vecs, lanes*vecs, g.LDRQ, g.STRQ) })
	}
	if e == nil {
		g.Blocks(cols, 1, func() { chunk(1, 1, g.LDRS, g.STRS) })
	}
	g.ADDL(v0, v0, stride, 4)
	if size == 1 {
		g.ADDI(scales0, scales0, 64)
	}
	g.ADDI(p, p, 64)
	g.SUBS(n, n, 16)
	g.BGT(block)
	sums(g.STRS)
}

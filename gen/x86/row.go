package x86

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Rows are the way of decoding: one query, or four or eight that share their keys, so that K and V are
// read once at the speed of memory.
func genRow(g *gen) {
	g.begin("rowScores1", "func(s, q, k *float32, w, dim, stride, half, blocks, distance, far, jump, turn, row, wrap, left, apart int)",
		"rowScores1 computes the scores of one query against blocks of 16 keys, as",
		"[tile.RowScores]. A block is the 8 keys at k and the 8 keys half keys further on.",
		"distance, far, jump, turn, row, wrap, left and apart are those of readAhead.")
	g.rowScores1()
	g.end()

	g.begin("rowScore", "func(s, q, k *float32, w, dim int)", "rowScore computes the score of one query and one key.")
	g.rowScore()
	g.end()

	for i, name := range []string{"rowScores4", "rowScores4By16"} {
		keys := 8 << i
		g.begin(name, "func(s, q, k *float32, w, dim, stride, blocks, distance, far, jump, turn, row, wrap, left int)",
			fmt.Sprintf("%s computes the scores of 4 queries against blocks of %d keys.", name, keys))
		g.rowScores4(keys)
		g.end()
	}

	g.begin("rowScores8", "func(s, q, k *float32, w, dim, stride, blocks, distance, far, jump, turn, row, wrap, left int)",
		"rowScores8 computes the scores of 8 queries against blocks of 8 keys.")
	g.rowScores8()
	g.end()

	g.begin("rowWeights", "func(s *float32, n int) float32",
		"rowWeights turns n scores of one query into weights and returns their integer maximum,",
		"as [tile.RowWeights]. It may write to s up to a whole vector.")
	g.rowWeights()
	g.end()

	for _, rows := range []int{1, 4, 8} {
		name, scratch := fmt.Sprintf("rowValues%d", rows), "left"
		if rows == 1 {
			scratch = "left, apart"
		}
		g.begin(name, "func(o, p, v, sum *float32, dim, n, stride, distance, far, jump, row, wrap, "+scratch+" int)",
			name+" adds the weights of n keys to sum and the mix of their values to o,",
			"as [tile.RowValues]. The parameters from distance on are those of readAhead.")
		g.rowValues(rows, nil)
		g.end()
	}

	g.begin("mergeRow", "func(acc, o *float32, n int, a, b float32)",
		"mergeRow merges the partial o of a tile into acc, as [tile.MergeRow].",
		"n is a multiple of 16.")
	acc, o, n := g.ptr("acc"), g.ptr("o"), g.ptr("n")
	g.VBROADCASTSS(g.param("a"), g.V(0))
	g.VBROADCASTSS(g.param("b"), g.V(1))
	loop := g.label("loop")
	g.Label(loop)
	g.VMULPS(mem(acc, 0), g.V(0), g.V(2))
	g.VFMADD231PS(mem(o, 0), g.V(1), g.V(2))
	g.VMOVUPS(g.V(2), mem(acc, 0))
	g.ADDQ(I8(g.w()), o)
	g.ADDQ(I8(g.w()), acc)
	g.SUBQ(I8(g.lanes), n)
	g.JG(LabelRef(loop))
	g.end()
}

// eightRows addresses 8 rows by three base registers.
type eightRows struct{ base, base3, base6, stride reg.GPVirtual }

func (g *gen) eightRows(stride reg.GPVirtual) eightRows {
	return eightRows{g.GP64(), g.GP64(), g.GP64(), stride}
}

func (g *gen) pointEight(p eightRows, row reg.GPVirtual) {
	g.MOVQ(row, p.base)
	g.MOVQ(row, p.base3)
	g.advance(p.base3, p.stride, 3)
	g.MOVQ(p.base3, p.base6)
	g.advance(p.base6, p.stride, 3)
}

func (p eightRows) pointers() []reg.GPVirtual { return []reg.GPVirtual{p.base, p.base3, p.base6} }

func (g *gen) shiftEight(p eightRows, bytes int) {
	for _, r := range p.pointers() {
		g.ADDQ(I8(bytes), r)
	}
}

func (g *gen) moveEight(p eightRows, by Op) {
	for _, r := range p.pointers() {
		g.ADDQ(by, r)
	}
}

func (p eightRows) at(row int) Mem {
	switch row {
	case 0:
		return mem(p.base, 0)
	case 3:
		return mem(p.base3, 0)
	case 6:
		return mem(p.base6, 0)
	case 5, 7:
		return at(p.base3, p.stride, uint8(row-3), 0)
	}
	return at(p.base, p.stride, uint8(row), 0)
}

// keptMask is vectorMask, but keeps n.
func (g *gen) keptMask(n reg.GPVirtual, mask reg.VecPhysical) {
	t := g.GP64()
	g.MOVQ(n, t)
	g.vectorMask(t, mask)
}

// addScaled adds a scalar times x to acc; t is scratch. With AVX-512 the FMA broadcasts, and reads one
// register less.
func (g *gen) addScaled(scalar Mem, x, acc, t reg.VecPhysical) {
	if g.avx512() {
		g.VFMADD231PS_BCST(scalar, x, acc)
		return
	}
	g.VBROADCASTSS(scalar, t)
	g.VFMADD231PS(t, x, acc)
}

// rowScores1: two groups of 8 keys, because one chain alone would wait for its FMAs.
//
//	Y0-Y3 columns, Y4-Y7 scratch, Y8 a broadcast of q, Y9 and Y10 scores
func (g *gen) rowScores1() {
	stride, w := g.elems("stride"), g.elems("w")
	q, n := g.GP64(), g.GP64()
	lo, hi := g.eightRows(stride), g.eightRows(stride)
	t := g.GP64()
	block, four, tail, done := g.label("block"), g.label("four"), g.label("tail"), g.label("done")
	g.Label(block)
	g.MOVQ(g.param("q"), q)
	g.MOVQ(g.param("k"), n)
	ahead := g.startAhead(n, stride, t, 16, 1, 128)
	g.pointEight(lo, n)
	g.MOVQ(g.param("half"), t)
	g.IMULQ(stride, t)
	g.ADDQ(n, t)
	g.pointEight(hi, t)
	g.zero(Y(9), Y(10))
	g.MOVQ(g.param("dim"), n)
	g.SUBQ(U8(4), n)
	g.JL(LabelRef(tail))
	steps := func(p eightRows, acc reg.VecPhysical) {
		g.columns(4, p.at, nil)
		g.MOVQ(q, t)
		for i := range 4 {
			if i > 0 {
				g.ADDQ(w, t)
			}
			g.addScaled(mem(t, 0), Y(i), acc, Y(8))
		}
	}
	g.loop(four)
	steps(lo, Y(9))
	steps(hi, Y(10))
	g.LEAQ(at(t, w, 1, 0), q)
	ahead.next(256)
	g.shiftEight(lo, 16)
	g.shiftEight(hi, 16)
	g.SUBQ(U8(4), n)
	g.JGE(LabelRef(four))
	g.Label(tail)
	g.ADDQ(U8(4), n)
	g.JZ(LabelRef(done))
	g.keptMask(n, X(11))
	for i, p := range []eightRows{lo, hi} {
		next := g.label("next")
		g.columns(3, p.at, X(11))
		g.MOVQ(q, t)
		for c := range 3 {
			g.addScaled(mem(t, 0), Y(c), Y(9+i), Y(8))
			if c < 2 {
				g.CMPQ(n, U8(c+1))
				g.JE(LabelRef(next))
				g.ADDQ(w, t)
			}
		}
		g.Label(next)
	}
	g.Label(done)
	g.MOVQ(g.param("s"), q)
	g.MOVQ(g.param("half"), t)
	g.VMOVUPS(Y(9), mem(q, 0))
	g.VMOVUPS(Y(10), at(q, t, 4, 0))
	g.ADDQ(U8(64), g.param("s"))
	g.MOVQ(stride, t)
	g.SHLQ(U8(4), t)
	g.ADDQ(t, g.param("k"))
	g.DECQ(g.param("blocks"))
	g.JNZ(LabelRef(block))
}

// rowScore is one chain, of two instructions a term: few enough for that of another key, or head, to begin before it ends.
func (g *gen) rowScore() {
	q, k, n, w := g.ptr("q"), g.ptr("k"), g.ptr("dim"), g.elems("w")
	four, one, last, done := g.label("four"), g.label("one"), g.label("last"), g.label("done")
	g.zero(X(0))
	term := func(c int, q Mem) {
		g.VMOVSS(q, X(1+c))
		g.VFMADD231SS(mem(k, 4*c), X(1+c), X(0))
	}
	w3 := g.GP64()
	g.LEAQ(at(w, w, 2, 0), w3)
	g.SUBQ(U8(4), n)
	g.JL(LabelRef(last))
	g.loop(four)
	for c, q := range []Mem{mem(q, 0), at(q, w, 1, 0), at(q, w, 2, 0), at(q, w3, 1, 0)} {
		term(c, q)
	}
	g.LEAQ(at(q, w, 4, 0), q)
	g.ADDQ(U8(16), k)
	g.SUBQ(U8(4), n)
	g.JGE(LabelRef(four))
	g.Label(last)
	g.ADDQ(U8(4), n)
	g.JZ(LabelRef(done))
	g.Label(one)
	term(0, mem(q, 0))
	g.ADDQ(w, q)
	g.ADDQ(U8(4), k)
	g.DECQ(n)
	g.JNZ(LabelRef(one))
	g.Label(done)
	g.MOVQ(g.param("s"), q)
	g.VMOVSS(X(0), mem(q, 0))
}

// rowScores4 is as rowScores1, with a chain for each query: blocks are 8 keys, or 16 to hide more latency, which are one vector with
// AVX-512 and two with AVX2.
//
//	V0-V3 columns, V4-V7 scratch, then broadcasts of q, V8-V15 scores; X3 the mask of the tail
func (g *gen) rowScores4(keys int) {
	s, q0, k, dim, stride := g.ptr("s"), g.ptr("q"), g.ptr("k"), g.ptr("dim"), g.elems("stride")
	w := g.elems("w")
	q, n, t := g.GP64(), g.GP64(), g.GP64()
	p := g.eightRows(stride)
	v, vectors := Y, keys/8
	if keys == 16 && g.avx512() {
		v, vectors = g.V, 1
	}
	back := g.GP64() // from the last 8 keys to the next columns of the first ones
	g.MOVQ(U32(16), back)
	if keys == 16 {
		g.MOVQ(stride, t)
		g.SHLQ(U8(3), t)
		g.SUBQ(t, back)
	}
	// terms multiplies by so many columns of all keys, or fewer where end, which is told of each, jumps over the others.
	terms := func(columns int, mask reg.VecPhysical, end func(c int, over string)) {
		given := 0
		eight := func() func(row int) Mem {
			if given++; given > 1 {
				for _, r := range p.pointers() {
					g.advance(r, stride, 8)
				}
			}
			return p.at
		}
		for i := range vectors {
			over := g.label("over")
			if vectors == keys/8 {
				g.columns(columns, eight(), mask)
			} else {
				g.doubleColumns(columns, 0, eight, mask)
			}
			g.MOVQ(q, t)
			for c := range columns {
				for r := range 4 {
					g.addScaled(mem(t, 4*r), v(c), v(8+4*i+r), v(4+r))
				}
				g.ADDQ(w, t)
				end(c, over)
			}
			g.Label(over)
		}
	}
	block, four, tail, done := g.label("block"), g.label("four"), g.label("tail"), g.label("done")
	g.Label(block)
	g.MOVQ(q0, q)
	ahead := g.startAhead(k, stride, t, keys, 16/keys, 0)
	g.pointEight(p, k)
	for i := range 4 * vectors {
		g.zero(v(8 + i))
	}
	g.MOVQ(dim, n)
	g.SUBQ(U8(4), n)
	g.JL(LabelRef(tail))
	g.loop(four)
	terms(4, nil, func(int, string) {})
	g.MOVQ(t, q)
	g.moveEight(p, back)
	ahead.next(16 * keys)
	g.SUBQ(U8(4), n)
	g.JGE(LabelRef(four))
	g.Label(tail)
	g.ADDQ(U8(4), n)
	g.JZ(LabelRef(done))
	g.keptMask(n, X(3))
	terms(3, X(3), func(c int, over string) {
		if c < 2 {
			g.CMPQ(n, U8(c+1))
			g.JE(LabelRef(over))
		}
	})
	g.Label(done)
	for i := range vectors {
		for r := range 4 {
			g.VMOVUPS(v(8+4*i+r), mem(s, 4*tileKeys*r+32*i))
		}
	}
	g.ADDQ(I8(4*keys), s)
	g.advance(k, stride, keys)
	g.DECQ(g.param("blocks"))
	g.JNZ(LabelRef(block))
}

// rowScores8 has the queries on the lanes: elements of K are broadcast in place, which takes less than to
// transpose them once there are as many queries as keys. The scores are transposed at the end.
//
//	Y0 queries, Y1-Y4 broadcasts of k, Y8-Y15 scores of a key each; Y0-Y7 as in transpose at the end
func (g *gen) rowScores8() {
	s, q0, k, dim, stride := g.ptr("s"), g.ptr("q"), g.ptr("k"), g.ptr("dim"), g.elems("stride")
	w := g.elems("w")
	q, n, t := g.GP64(), g.GP64(), g.GP64()
	keys := g.eightRows(stride)
	block, four, tail, single, done := g.label("block"), g.label("four"), g.label("tail"), g.label("single"), g.label("done")
	step := func(c int) {
		g.VMOVUPS(mem(q, 0), Y(0))
		g.ADDQ(w, q)
		for r := range 8 {
			k := keys.at(r)
			k.Disp = 4 * c
			g.addScaled(k, Y(0), Y(8+r), Y(1+r%4))
		}
	}
	g.Label(block)
	g.MOVQ(q0, q)
	ahead := g.startAhead(k, stride, t, 8, 2, 0)
	g.pointEight(keys, k)
	for r := range 8 {
		g.zero(Y(8 + r))
	}
	g.MOVQ(dim, n)
	g.SUBQ(U8(4), n)
	g.JL(LabelRef(tail))
	g.loop(four)
	for c := range 4 {
		step(c)
	}
	ahead.next(128)
	g.shiftEight(keys, 16)
	g.SUBQ(U8(4), n)
	g.JGE(LabelRef(four))
	g.Label(tail)
	g.ADDQ(U8(4), n)
	g.JZ(LabelRef(done))
	g.Label(single)
	step(0)
	g.shiftEight(keys, 4)
	g.DECQ(n)
	g.JNZ(LabelRef(single))
	g.Label(done)
	for half := range 2 { // four queries each
		for i := range 4 {
			g.VPERM2F128(U8(0x20+0x11*half), Y(12+i), Y(8+i), Y(4+i))
		}
		g.transpose(4)
		for r := range 4 {
			g.VMOVUPS(Y(r), mem(s, 4*tileKeys*(4*half+r)))
		}
	}
	g.ADDQ(I8(32), s)
	g.advance(k, stride, 8)
	g.DECQ(g.param("blocks"))
	g.JNZ(LabelRef(block))
}

// rowWeights: registers as in exp2s; V13 is the maximum.
func (g *gen) rowWeights() {
	s, n := g.ptr("s"), g.ptr("n")
	g.max(s, n)
	g.zero(Y(1))
	g.ceil(X(0), X(1))
	g.result(X(0))
	g.safeMax(X(0), X(1))
	g.VBROADCASTSS(X(0), g.V(13))
	m := g.exp2()
	g.Load(g.Param("s"), s)
	g.Load(g.Param("n"), n)
	vectors := func(k int) {
		for v := range k {
			g.VSUBPS(mem(s, g.w()*v), g.V(13), g.V(3*v)) // max - s
		}
		g.exp2s(m, k)
		for v := range k {
			g.VMOVUPS(g.V(3*v), mem(s, g.w()*v))
		}
		g.ADDQ(I32(g.w()*k), s)
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

// rowValues adds p.V to o, 16 keys at a time, so that V is read nearly in linear order, and at most
// 8 vectors of columns at a time, which stay in registers. Values of a stored type, if it is not nil, are converted as they
// are loaded; they fill whole vectors, and the hardware sees the stream of one query. Where they have scales, the weights of a block
// are scaled while they are added up.
//
//	V0-V7 columns, V8 and V9 values, V10 a broadcast of p, V11 mask of the tail, V12-V15 values
//	V16-V31 instead the columns with AVX-512, up to twice as many
//	X0-X7 sums, V8 weights, V9 their scales, before the columns of a block
func (g *gen) rowValues(rows int, e *storedType) {
	p, stride := g.ptr("p"), g.ptr("stride")
	w := g.w()                           // bytes of a vector of values
	weights, scaled := 4*tileKeys, false // bytes from those of a row to the next one's
	switch {
	case e == nil:
		g.SHLQ(U8(2), stride)
	case e.size == 2:
		w /= 2
		g.SHLQ(U8(1), stride)
	default:
		w /= 4
		weights, scaled = 4*16, true
	}
	ld := g.ptr("dim") // bytes from row to row of o
	g.ADDQ(U8(15), ld)
	g.ANDQ(I8(-16), ld)
	g.SHLQ(U8(2), ld)
	ahead := readAhead{gen: g, far: g.GP64(), t: g.GP64()}
	group := rows // of rows whose columns are in registers together
	if !g.avx512() {
		group = min(rows, 4) // 8 broadcasts for a vector of values would be slower than to load those twice
	}
	most := 8 / group // vectors of columns
	column, value := g.V, func(i int) reg.VecPhysical { return g.V(8 + i) }
	if g.avx512() {
		most *= 2
		column, value = func(i int) reg.VecPhysical { return g.V(16 + i) }, func(i int) reg.VecPhysical { return g.V(12 + i) }
	}
	// 4 queries compute for as long as their values are read. Narrower columns and a second prefetch, 8 values ahead, keep both
	// going: .92 of the speed of memory instead of .78 on Zen 4, and as fast as before in L2.
	twice := rows == 4 && e == nil && g.avx512()
	if twice {
		most = 2
	}
	if rows == 1 && (e == nil || e.size == 2) {
		ahead.widest = most * g.lanes
	}
	keys, t, pk, vk, v, o, cols := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()

	// chunk continues vecs vectors of columns by the keys of the block.
	chunk := func(vecs int, masked bool) {
		o3, o6 := t, g.GP64() // o + 3*ld, o + 6*ld
		or := func(r, i int) Mem {
			switch r {
			case 0:
				return mem(o, g.w()*i)
			case 3:
				return mem(o3, g.w()*i)
			case 6:
				return mem(o6, g.w()*i)
			case 5, 7:
				return at(o3, ld, uint8(r-3), g.w()*i)
			}
			return at(o, ld, uint8(r), g.w()*i)
		}
		if rows > 3 {
			g.LEAQ(at(o, ld, 2, 0), o3)
			g.ADDQ(ld, o3)
		}
		if rows > 6 {
			g.LEAQ(at(o3, ld, 2, 0), o6)
			g.ADDQ(ld, o6)
		}
		for first := 0; first < rows; first += group {
			for r := range group {
				for i := range vecs {
					g.VMOVUPS(or(first+r, i), column(r*vecs+i))
				}
			}
			key := g.label("key")
			left := g.GP64()
			g.MOVQ(keys, left)
			if scaled {
				g.MOVQ(g.param("scaled"), pk)
			} else {
				g.MOVQ(p, pk)
			}
			g.MOVQ(v, vk)
			g.Label(key)
			if first == 0 && !masked {
				ahead.next(w * vecs)
				for line := 0; twice && line < w*vecs; line += 64 {
					g.PREFETCHT1(at(vk, stride, 8, line))
				}
			}
			if rows == 1 {
				g.VBROADCASTSS(mem(pk, 0), g.V(10))
				for i := range vecs {
					if masked {
						g.loadTail(mem(vk, 0), g.V(11), g.V(8))
						g.VFMADD231PS(g.V(8), g.V(10), column(i))
					} else if e != nil {
						e.load(g, mem(vk, w*i), g.V(12+i%4))
						g.VFMADD231PS(g.V(12+i%4), g.V(10), column(i))
					} else {
						g.VFMADD231PS(mem(vk, w*i), g.V(10), column(i))
					}
				}
			} else {
				for i := range vecs {
					if masked {
						g.loadTail(mem(vk, 0), g.V(11), value(0))
					} else if e != nil {
						e.load(g, mem(vk, w*i), value(i))
					} else {
						g.VMOVUPS(mem(vk, w*i), value(i))
					}
				}
				for r := range group {
					weight := mem(pk, weights*(first+r))
					if vecs == 1 {
						g.addScaled(weight, value(0), column(r), g.V(10))
						continue
					}
					g.VBROADCASTSS(weight, g.V(10))
					for i := range vecs {
						g.VFMADD231PS(value(i), g.V(10), column(r*vecs+i))
					}
				}
			}
			g.ADDQ(I8(4), pk)
			g.ADDQ(stride, vk)
			g.DECQ(left)
			g.JNZ(LabelRef(key))
			for r := range group {
				for i := range vecs {
					g.VMOVUPS(column(r*vecs+i), or(first+r, i))
				}
			}
		}
		if !masked { // the last one
			g.ADDQ(I32(w*vecs), v)
			g.ADDQ(I32(g.w()*vecs), o)
		}
	}

	block := g.label("block")
	g.Label(block)
	g.MOVQ(U32(16), keys)
	g.CMPQ(keys, g.param("n"))
	g.CMOVQGT(g.param("n"), keys)
	// The sums are one chain a row: it runs beside the loads of the mix.
	g.MOVQ(g.param("sum"), v)
	for r := range rows {
		g.VMOVSS(mem(v, 4*r), X(r))
	}
	g.MOVQ(keys, t)
	g.MOVQ(p, pk)
	if scaled {
		packed := g.label("packed")
		g.MOVQ(g.param("scales"), vk)
		g.MOVQ(g.param("groups"), o)
		g.TESTQ(o, o)
		g.JZ(LabelRef(packed))
		g.MOVQ(g.param("apart"), cols)
		g.MOVQ(at(o, cols, 8, 0), cols)
		g.PREFETCHT0(at(vk, cols, 4, 0))
		g.MOVQ(mem(o, 0), cols)
		g.LEAQ(at(vk, cols, 4, 0), vk)
		g.Label(packed)
		g.MOVQ(g.param("scaled"), o)
	}
	some, added := g.label("some"), g.label("added")
	if e != nil { // a loop over 16 ends with a branch that is mispredicted, and stored values are soon mixed
		g.CMPQ(keys, U8(16))
		g.JL(LabelRef(some))
		for i := 0; scaled && i < 64; i += g.w() {
			g.VMOVUPS(mem(vk, i), g.V(9))
			for r := range rows {
				g.VMULPS(mem(pk, 4*tileKeys*r+i), g.V(9), g.V(8))
				g.VMOVUPS(g.V(8), mem(o, weights*r+i))
			}
		}
		for key := range 16 {
			for r := range rows {
				g.VADDSS(mem(pk, 4*tileKeys*r+4*key), X(r), X(r))
			}
		}
		g.JMP(LabelRef(added))
	}
	g.Label(some)
	if scaled {
		g.VMOVSS(mem(vk, 0), X(9))
		g.ADDQ(I8(4), vk)
	}
	for r := range rows {
		weight := mem(pk, 4*tileKeys*r)
		g.VADDSS(weight, X(r), X(r))
		if scaled {
			g.VMULSS(weight, X(9), X(8))
			g.VMOVSS(X(8), mem(o, weights*r))
		}
	}
	g.ADDQ(I8(4), pk)
	if scaled {
		g.ADDQ(I8(4), o)
	}
	g.DECQ(t)
	g.JNZ(LabelRef(some))
	g.Label(added)
	for r := range rows {
		g.VMOVSS(X(r), mem(v, 4*r))
	}
	g.MOVQ(g.param("v"), v)
	if e == nil {
		ahead.start(v, "n")
	} else {
		packed, begin := g.label("packed"), g.label("begin")
		g.MOVQ(g.param("groups"), t)
		g.TESTQ(t, t)
		g.JZ(LabelRef(packed))
		g.MOVQ(g.param("apart"), o)
		g.MOVQ(at(t, o, 8, 0), ahead.far)
		g.IMULQ(stride, ahead.far)
		g.ADDQ(v, ahead.far)
		g.MOVQ(mem(t, 0), o)
		g.IMULQ(stride, o)
		g.ADDQ(o, v)
		g.MOVQ(g.param("row"), t)
		g.MOVQ(t, g.param("left"))
		g.JMP(LabelRef(begin))
		g.Label(packed)
		ahead.start(v, "n")
		g.Label(begin)
	}
	g.MOVQ(g.param("o"), o)
	g.MOVQ(g.param("dim"), cols)
	least := 1
	if e != nil { // as they are a multiple of 16
		least = 16 / g.lanes
	}
	for vecs := most; vecs >= least; vecs /= 2 {
		again, next := g.label("again"), g.label("next")
		g.Label(again)
		g.CMPQ(cols, I32(g.lanes*vecs))
		g.JL(LabelRef(next))
		chunk(vecs, false)
		g.SUBQ(I32(g.lanes*vecs), cols)
		if vecs == most { // the others are needed once at most
			g.JMP(LabelRef(again))
		}
		g.Label(next)
	}
	if e == nil {
		end := g.label("end")
		g.TESTQ(cols, cols)
		g.JZ(LabelRef(end))
		g.tailMask(cols, g.V(11))
		chunk(1, true)
		g.Label(end)
	}
	follow := func() {
		g.MOVQ(stride, t)
		g.SHLQ(U8(4), t)
		g.ADDQ(t, g.param("v"))
		if scaled {
			g.ADDQ(U8(64), g.param("scales"))
		}
	}
	if e == nil {
		follow()
	} else {
		packed, next := g.label("packed"), g.label("next")
		g.CMPQ(g.param("groups"), U8(0))
		g.JE(LabelRef(packed))
		g.ADDQ(U8(8), g.param("groups"))
		g.JMP(LabelRef(next))
		g.Label(packed)
		follow()
		g.Label(next)
	}
	g.ADDQ(I8(64), p)
	g.SUBQ(U8(16), g.param("n"))
	g.JG(LabelRef(block))
}

package x86

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/gen/spec"
	"github.com/selfattn/attn/generic/tile"
)

// Keys of 16 and 8 bits an element are transposed as they are stored, which takes a half and a quarter of what it
// takes once they are float32, and converted column by column.
func genStored(g *gen) {
	for _, e := range storedTypes {
		for _, rows := range []int{1, 4} {
			name, scales, scaled, at, keys := fmt.Sprintf("rowScores%d%s", rows, e.name), "", "", "", g.lanes
			if e.size == 1 {
				scales, scaled = "scales *float32, ", "scaled *[4][16]float32, "
			}
			if rows == 1 {
				at, keys = "at *gather, ", tile.GroupRows*spec.GatherGroups
			}
			doc := []string{
				fmt.Sprintf("%s computes the scores of %d queries against blocks of %d keys, as", name, rows, keys),
				"[tile.RowScores" + e.name + "]. distance, far, jump, turn, row, wrap and left are those of readAhead.",
			}
			if rows == 1 {
				doc = append(doc, "A block is groups of 16 keys, the first one at k.")
			}
			g.begin(name, "func(s, q *float32, k "+e.pointer+", "+scales+"w, dim, stride int, "+at+"blocks, distance, far, jump, turn, row, wrap, left int)", doc...)
			g.storedScores(rows, e)
			g.end()

			name = fmt.Sprintf("rowValues%d", rows)
			g.begin(name+e.name, "func(o, p *float32, v "+e.pointer+", "+scales+scaled+"sum *float32, groups *int, dim, n, stride, apart, distance, far, jump, row, wrap, left int)",
				name+e.name+" is "+name+" with values of another type, as [tile.RowValues"+e.name+"]. If groups is not nil, it has the",
				"numbers of the first one of each 16 values; those that are so many groups apart are prefetched.")
			g.rowValues(rows, &e)
			g.end()
		}
	}
}

// A storedType is a type of elements, of so many bytes.
type storedType struct {
	name, pointer string
	size          int
	// columns transposes 16 bytes of each of as many rows as a vector has lanes, to registers from number first on: eight goes to the
	// next 8 of them, of which it addresses each. column converts column c to V9.
	columns func(g *gen, first int, eight func() func(row int) Mem) (column func(c int))
	// load loads a vector of elements.
	load func(g *gen, m Mem, to reg.VecPhysical)
}

var storedTypes = []storedType{
	{"Float16", "*uint16", 2, (*gen).columnsFloat16, (*gen).loadFloat16},
	{"BFloat16", "*uint16", 2, (*gen).columnsBFloat16, (*gen).loadBFloat16},
	{"Int8", "*int8", 1, (*gen).columnsInt8, (*gen).loadInt8},
}

// storedScores: a block is groups of 16 keys for one query, whose chain of FMAs would be waited for otherwise, and a vector of keys
// for four queries.
//
//	V0-V8 columns as they are stored and scratch, V9 a column, V10 a broadcast of q, V11 and V16-V19 constants,
//	V12-V15 scores, of vectors of keys or of queries, V20-V31 columns of more vectors of keys
func (g *gen) storedScores(rows int, e storedType) {
	stride, w := g.ptr("stride"), g.elems("w")
	if e.size > 1 {
		g.SHLQ(U8(e.size/2), stride)
	}
	q, n, t := g.GP64(), g.GP64(), g.GP64()
	keys := g.eightRows(stride)
	block, step := g.label("block"), g.label("step")
	vectors := 1            // of keys
	var where reg.GPVirtual // the groups are: a gather
	if rows == 1 {
		vectors = spec.GatherGroups * tile.GroupRows / g.lanes
		where = g.ptr("at")
	}
	part := func(field string, i int) Mem { return mem(where, spec.GatherAt(field, i)) }
	groups := vectors * g.lanes / tile.GroupRows
	eights := vectors * g.lanes / 8 // of keys of a block
	var back Op                     // leads from the last 8 keys to the next 16 bytes of the first ones
	if rows == 1 {
		back = part("jump", groups-1)
	} else {
		t := g.GP64()
		g.MOVQ(stride, t)
		g.IMUL3Q(I8(-8*(eights-1)), t, t)
		g.ADDQ(U8(16), t)
		back = t
	}
	if e.name == "BFloat16" {
		g.VPBROADCASTD(g.words("upper", 0xffff0000), g.V(11))
	}
	if e.size == 1 && g.avx512() {
		for i, b := range int8Bytes {
			g.VPBROADCASTD(g.splatBits(b.mask), g.V(16+2*i))
			g.VPBROADCASTD(g.splatBits(b.unit), g.V(17+2*i))
		}
	}
	g.Label(block)
	g.MOVQ(g.param("q"), q)
	g.MOVQ(g.param("k"), n)
	ahead := g.startAhead(n, stride, t, 8*eights, 1, 0)
	ahead.nearer = g.PREFETCHT0
	g.pointEight(keys, n)
	if e.size == 1 && rows == 1 {
		g.MOVQ(g.param("scales"), q)
		for i := range groups {
			g.MOVQ(part("ahead", i), n)
			g.PREFETCHT0(at(q, n, 1, 0))
		}
		g.MOVQ(g.param("q"), q)
	}
	for i := range max(vectors, rows) {
		g.zero(g.V(12 + i))
	}
	g.MOVQ(g.param("dim"), n)
	g.loop(step)
	given := 0
	eight := func() func(row int) Mem {
		switch {
		case given == 0:
		case rows == 1 && given%2 == 0:
			g.moveEight(keys, part("jump", given/2-1))
		default:
			for _, p := range keys.pointers() {
				g.advance(p, stride, 8)
			}
		}
		given++
		return keys.at
	}
	columns := 16 / e.size
	together := 1 // vectors of keys whose columns are in registers, and share a broadcast of q
	if g.avx512() && rows == 1 && e.name != "Float16" {
		together = vectors
	}
	element := g.GP64() // of q
	for i := 0; i < vectors; i += together {
		var convert []func(c int)
		for _, first := range []int{0, 20, 24, 28}[:together] {
			convert = append(convert, e.columns(g, first, eight))
		}
		g.MOVQ(q, element)
		for c := range columns {
			for r := range rows {
				if together > 1 {
					g.VBROADCASTSS(mem(element, 4*r), g.V(10))
				}
				for j, column := range convert {
					if r == 0 {
						column(c)
					}
					if together > 1 {
						g.VFMADD231PS(g.V(10), g.V(9), g.V(12+i+j))
					} else {
						g.addScaled(mem(element, 4*r), g.V(9), g.V(12+i+r), g.V(10))
					}
				}
			}
			g.ADDQ(w, element)
			if (c+1)*together%columns > 0 {
				continue
			}
			vector := i + (c+1)*together/columns - 1
			switch group := (vector+1)*g.lanes/tile.GroupRows - 1; { // that is whole
			case rows > 1:
				ahead.next(128 * eights)
			case (vector+1)*g.lanes%tile.GroupRows == 0:
				ahead.next(256)
				g.ADDQ(part("near", group), ahead.near)
				g.ADDQ(part("far", group), ahead.far)
			}
		}
	}
	g.MOVQ(element, q)
	g.moveEight(keys, back)
	g.SUBQ(U8(columns), n)
	g.JG(LabelRef(step))
	if e.size == 1 {
		g.MOVQ(g.param("scales"), q)
		if rows == 1 {
			for i := range vectors {
				group, column := i*g.lanes/tile.GroupRows, i*g.lanes%tile.GroupRows
				g.MOVQ(part("scale", group), t)
				g.VMULPS(at(q, t, 1, 4*column), g.V(12+i), g.V(12+i))
			}
		} else {
			for r := range rows {
				g.VMULPS(mem(q, 0), g.V(12+r), g.V(12+r))
			}
		}
	}
	g.MOVQ(g.param("s"), q)
	if rows == 1 {
		for i := range vectors {
			group, column := i*g.lanes/tile.GroupRows, i*g.lanes%tile.GroupRows
			g.MOVQ(part("score", group), t)
			g.VMOVUPS(g.V(12+i), at(q, t, 1, 4*column))
		}
	} else {
		for r := range rows {
			g.VMOVUPS(g.V(12+r), mem(q, 4*tileKeys*r))
		}
	}
	g.ADDQ(I32(32*eights), g.param("s"))
	if e.size == 1 {
		g.ADDQ(I32(32*eights), g.param("scales"))
	}
	g.MOVQ(stride, t)
	g.IMUL3Q(I8(8*eights), t, t)
	g.ADDQ(t, g.param("k"))
	g.DECQ(g.param("blocks"))
	g.JNZ(LabelRef(block))
}

// readAhead prefetches rows while a block of them is computed, which are read side by side, some bytes of each in turn: in
// that the hardware does not recognise the stream that they are. It does in prefetches row by row, the distance, in bytes,
// ahead, to L2. Keys have a second chance when they are in the next block: a CPU that is busy with enough misses drops a
// prefetch. Where so many blocks are left that these would be behind the last one, far for the distance, they are what is
// read next, a jump further on; behind the last block those of the next one are, a turn further on.
//
// It walks through rows of some bytes, in steps; wrap leads from the end of the last step to the next row, and left, which is
// scratch, is the bytes to there.
//
// Rows of float32, and values of 16 bits, that lie one behind the other are a stream that the hardware reads ahead by itself, where
// prefetches of all lines are in its way: one in a step is enough then, and L1 has room for what is near. apart, which is scratch, is 0
// for these. Values are read in that order if all columns of a row are, and two blocks of keys fit into L1. That holds for powers of two
// of columns; keys of 80 and 96 read at .76 and .71 of memory so, and at .86 and .88 with all lines.
type readAhead struct {
	*gen
	far, near, t reg.GPVirtual // near is nil for values
	nearer       func(Op)      // prefetches what is near
	widest       int           // columns of rows of such a stream, or 0
}

// startAhead begins the prefetches of a block of so many keys, which is at k; so many blocks on they are near. widest is that of readAhead.
func (g *gen) startAhead(k, stride, t reg.GPVirtual, keys, blocks, widest int) readAhead {
	a := readAhead{g, g.GP64(), g.GP64(), t, g.PREFETCHT1, widest}
	inside := g.label("inside")
	g.IMUL3Q(I8(keys*blocks), stride, a.near)
	g.ADDQ(k, a.near)
	a.start(k, "blocks")
	g.CMPQ(g.param("blocks"), I8(blocks))
	g.JG(LabelRef(inside))
	g.ADDQ(g.param("turn"), a.near)
	g.Label(inside)
	return a
}

// start begins those of the block at p; left names the parameter that counts what is left as far does.
func (a readAhead) start(p reg.GPVirtual, left string) {
	within := a.label("within")
	a.MOVQ(p, a.far)
	a.ADDQ(a.param("distance"), a.far)
	if a.widest > 0 {
		fits := a.label("fits")
		a.MOVQ(a.param("dim"), a.t)
		a.DECQ(a.t)
		a.ANDQ(a.param("dim"), a.t)
		if a.near != nil { // keys of a page gain nothing
			a.ORQ(a.param("jump"), a.t)
		}
		a.CMPQ(a.param("dim"), I32(a.widest))
		a.JLE(LabelRef(fits))
		a.MOVQ(U32(1), a.t)
		a.Label(fits)
		a.MOVQ(a.t, a.param("apart"))
	}
	a.MOVQ(a.param(left), a.t)
	a.CMPQ(a.t, a.param("far"))
	a.JG(LabelRef(within))
	a.MOVQ(a.param("jump"), a.t)
	a.ADDQ(a.t, a.far)
	if a.widest > 0 {
		a.ORQ(a.t, a.param("apart"))
	}
	a.Label(within)
	a.MOVQ(a.param("row"), a.t)
	a.MOVQ(a.t, a.param("left"))
}

// next goes on by some bytes.
func (a readAhead) next(bytes int) {
	lines := func(p reg.GPVirtual, from int, fetch func(Op)) {
		for line := from; p != nil && line < bytes; line += 64 {
			fetch(mem(p, line))
		}
	}
	if a.widest == 0 {
		lines(a.far, 0, a.PREFETCHT1)
		lines(a.near, 0, a.nearer)
	} else {
		stream, done := a.label("stream"), a.label("done")
		a.PREFETCHT1(mem(a.far, 0))
		a.CMPQ(a.param("apart"), U8(0))
		a.JE(LabelRef(stream))
		lines(a.far, 64, a.PREFETCHT1)
		lines(a.near, 0, a.nearer)
		if a.near != nil {
			a.JMP(LabelRef(done))
		}
		a.Label(stream)
		lines(a.near, 0, a.PREFETCHT0)
		a.Label(done)
	}
	same := a.label("same")
	step := func(by Op) {
		a.ADDQ(by, a.far)
		if a.near != nil {
			a.ADDQ(by, a.near)
		}
	}
	step(I32(bytes))
	a.SUBQ(I32(bytes), a.param("left"))
	a.JG(LabelRef(same))
	step(a.param("wrap"))
	a.MOVQ(a.param("row"), a.t)
	a.MOVQ(a.t, a.param("left"))
	a.Label(same)
}

// doubleColumns is columns of as many rows as a vector has lanes, from number first on, of 4 bytes an element: eight goes to the next 8 of them.
func (g *gen) doubleColumns(n, first int, eight func() func(row int) Mem, mask reg.VecPhysical) {
	if !g.avx512() {
		g.columns(n, eight(), mask)
		return
	}
	for half := range 2 {
		row := eight()
		for i := range 4 {
			for quarter := 2 * half; quarter < 2*half+2; quarter++ {
				from := Op(row(i + 4*(quarter%2)))
				if mask != nil {
					g.VMASKMOVPS(from, mask, X(0))
					from = X(0)
				}
				switch quarter {
				case 0:
					g.VMOVUPS(from, X(4+i))
				case 1:
					g.VINSERTF128(U8(1), from, Y(4+i), Y(4+i))
				default:
					g.VINSERTF32X4(U8(quarter), from, g.V(4+i), g.V(4+i))
				}
			}
		}
	}
	g.transposeFours(func(i int) reg.VecPhysical {
		if i < 4 {
			i += first
		}
		return g.V(i)
	}, n)
}

// columnsBFloat16: a column is a half of the elements of 4 bytes.
func (g *gen) columnsBFloat16(first int, eight func() func(row int) Mem) func(c int) {
	g.doubleColumns(4, first, eight, nil)
	return func(c int) {
		if c%2 == 0 {
			g.VPSLLD(U8(16), g.V(first+c/2), g.V(9))
		} else {
			g.VANDPS(g.V(11), g.V(first+c/2), g.V(9))
		}
	}
}

// columnsInt8: a column is a quarter of the elements of 4 bytes. Which of them it is says the float32 whose last bits it becomes, of
// which the place of the byte is the unit: the lowest of 2^23, the next of 2^15. With its sign turned a byte is 128 more, and so
// one subtraction leaves the element. That takes less than to shift both ways and to convert, as shifts share their ports with the
// transposes.
func (g *gen) columnsInt8(first int, eight func() func(row int) Mem) func(c int) {
	g.doubleColumns(4, first, eight, nil)
	return func(c int) {
		from, b := g.V(first+c/4), int8Bytes[c%2]
		if c%4 == 2 {
			g.VPSRLD(U8(16), from, from)
		}
		if g.avx512() {
			mask, unit := g.V(16+2*(c%2)), g.V(17+2*(c%2))
			g.VMOVAPS(from, g.V(9))
			g.VPTERNLOGD(U8(0x6a), unit, mask, g.V(9)) // and, xor
			g.VSUBPS(unit, g.V(9), g.V(9))
			return
		}
		g.VANDPS(g.splatBits(b.mask), from, g.V(9))
		g.VXORPS(g.splatBits(b.unit), g.V(9), g.V(9))
		g.VSUBPS(g.splatBits(b.unit), g.V(9), g.V(9))
	}
}

// int8Bytes are the two lower bytes of an element of 4, and the float32 of 2^23 + 128 and 2^15 + 128 that turn them into numbers.
var int8Bytes = [2]struct{ mask, unit uint32 }{{0xff, 0x4b000080}, {0xff00, 0x47008000}}

// columnsFloat16 transposes 8x8 blocks of 16 bits: to interleave rows i and i+4 for all i, which are two new rows each,
// turns the 6 bits that number rows and columns by one, and three times exchanges rows and columns. There are no other registers for them.
func (g *gen) columnsFloat16(_ int, eight func() func(row int) Mem) func(c int) {
	row, half := eight(), X
	for i := range 8 {
		g.VMOVUPS(row(i), X(i))
	}
	if g.avx512() {
		row, half = eight(), Y
		for i := range 8 {
			g.VINSERTI128(U8(1), row(i), Y(i), Y(i))
		}
	}
	r, free := [8]int{0, 1, 2, 3, 4, 5, 6, 7}, 8
	for range 3 {
		old := r
		for i := range 4 {
			a, b := old[i], old[i+4]
			g.VPUNPCKLWD(half(b), half(a), half(free))
			g.VPUNPCKHWD(half(b), half(a), half(b))
			r[2*i], r[2*i+1], free = free, b, a
		}
	}
	return func(c int) { g.VCVTPH2PS(half(r[c]), g.V(9)) }
}

func (g *gen) loadFloat16(m Mem, to reg.VecPhysical) { g.VCVTPH2PS(m, to) }

func (g *gen) loadBFloat16(m Mem, to reg.VecPhysical) {
	g.VPMOVZXWD(m, to)
	g.VPSLLD(U8(16), to, to)
}

func (g *gen) loadInt8(m Mem, to reg.VecPhysical) {
	g.VPMOVSXBD(m, to)
	g.VCVTDQ2PS(to, to)
}

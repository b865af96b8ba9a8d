package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/selfattn/attn/generic/tile"
)

// gemm is the microkernel of every matrix product here: rows of two vectors of outer products, each
// element one FMA chain in increasing index.
//
//	V0 ...  accumulators, 2 a row: 6 rows with AVX2, 12 with AVX-512
//	spare   0 and 1 a row of the operand that has its columns on the lanes,
//	        2 and 3 broadcasts of the other operand
//
// A broadcast serves two FMAs, so a step of 6 rows is 12 FMAs and 8 loads: FMA bound, and 12 chains
// cover the latency of FMA.
//
// A burst of stores at the end of a tile takes FMA issue slots, so the last four steps are skewed:
// they run pair of rows by pair of rows, and each pair is finished while the next one computes.
//
// On Zen 4 stores share the port through which an FMA reads its third register. With AVX-512 an FMA
// broadcasts from memory itself and reads two: all of the skewed steps do, and every other row
// elsewhere, for the stores that are late. With all rows, the loads would fill both ports of a CPU
// with two FMAs of 512 bits a cycle.
//
// Where a causal mask cuts a panel, the last keys are for its second vector of queries alone.
type gemm struct {
	*gen
	half    int                                       // 1 computes the second vector of each row alone
	upper   Op                                        // number of steps, behind k, that are for the second vector alone, or nil
	k       reg.GPVirtual                             // number of steps, kept
	load    func(step, half int) Mem                  // the operand on the lanes, steps from here
	convert func(m Mem, half int, to reg.VecPhysical) // loads it as float32, or nil if it is
	scalar  func(row, step int) Mem                   // the other operand
	start   func(rows int)                            // sets the accumulators and the operands
	next    func(rows, steps int)                     // advances the operands
	settle  func()                                    // loads what finish wants in the spares, or nil
	finish  func(row int)                             // uses up the accumulators of a row, in order
}

// tile emits the product for a number of rows.
func (g *gemm) tile(rows int) {
	single, four, skew, short, done := g.label("single"), g.label("four"), g.label("skew"), g.label("short"), g.label("done")
	singles, fours := g.GP64(), g.GP64()
	g.start(rows)
	// k = singles + 4*fours + 4 skewed, or singles only if k < 4.
	g.MOVQ(g.k, fours)
	g.MOVQ(g.k, singles)
	g.SHRQ(U8(2), fours)
	g.ANDQ(U8(3), singles)
	g.JZ(LabelRef(four))
	g.Label(single)
	g.steps(rows, 1)
	g.next(rows, 1)
	g.DECQ(singles)
	g.JNZ(LabelRef(single))
	g.Label(four)
	loop, upper := g.label("loop"), g.label("upper")
	if g.upper != nil {
		skewed := g.label("skewed")
		g.CMPQ(g.upper, U8(0))
		g.JE(LabelRef(skewed))
		g.TESTQ(fours, fours)
		g.JZ(LabelRef(upper))
		g.JMP(LabelRef(loop))
		g.Label(skewed)
	}
	g.SUBQ(U8(1), fours)
	g.JL(LabelRef(short))
	g.JZ(LabelRef(skew))
	g.loop(loop)
	g.steps(rows, 4)
	g.next(rows, 4)
	g.DECQ(fours)
	g.JNZ(LabelRef(loop))
	if g.upper != nil {
		g.CMPQ(g.upper, U8(0))
		g.JNE(LabelRef(upper))
	}

	g.Label(skew)
	for r := 0; r < rows; {
		n := 2
		if (rows-r)%2 == 1 {
			n = min(3, rows)
		}
		for s := range 4 {
			g.step(r, n, s, true)
		}
		g.finishRows(r, n)
		r += n
	}
	g.JMP(LabelRef(done))
	if g.upper != nil {
		again := g.label("again")
		g.Label(upper)
		g.MOVQ(g.upper, singles)
		g.Label(again)
		half := *g
		half.half = 1
		half.steps(rows, 1)
		g.next(rows, 1)
		g.DECQ(singles)
		g.JNZ(LabelRef(again))
	}
	g.Label(short)
	g.finishRows(0, rows)
	g.Label(done)
}

// finishRows finishes n rows from row. All spares are free.
func (g *gemm) finishRows(row, n int) {
	if g.settle != nil {
		g.settle()
	}
	for r := row; r < row+n; r++ {
		g.finish(r)
	}
}

// steps emits n steps of all rows.
func (g *gemm) steps(rows, n int) {
	for s := range n {
		g.step(0, rows, s, false)
	}
}

// step emits one step of n rows from row.
func (g *gemm) step(row, n, step int, skewed bool) {
	for h := g.half; h < 2; h++ {
		if g.convert != nil {
			g.convert(g.load(step, h), h, g.spare(h))
		} else {
			g.VMOVUPS(g.load(step, h), g.spare(h))
		}
	}
	for r := row; r < row+n; r++ {
		if g.avx512() && (r%2 == 1 || skewed) {
			for h := g.half; h < 2; h++ {
				g.VFMADD231PS_BCST(g.scalar(r, step), g.spare(h), g.V(2*r+h))
			}
			continue
		}
		b := g.spare(2 + r%2)
		g.VBROADCASTSS(g.scalar(r, step), b)
		for h := g.half; h < 2; h++ {
			g.VFMADD231PS(g.spare(h), b, g.V(2*r+h))
		}
	}
}

// readAhead prefetches a piece of the rows that are needed next, into L2, once every four steps, which
// is often enough for a tile. Rows are a whole number of pieces for this, and wrap leads from the end
// of the last to the next row; left is what is left of the row's width.
func (g *gen) readAhead(steps int) {
	if steps < 4 {
		return
	}
	p, done := g.GP64(), g.label("ahead")
	g.CMPQ(g.param("rows"), U8(0))
	g.JE(LabelRef(done))
	g.MOVQ(g.param("ahead"), p)
	for line := 0; line < 4*tile.Piece; line += 64 {
		g.PREFETCHT1(mem(p, line))
	}
	g.ADDQ(I32(4*tile.Piece), p)
	g.SUBQ(U8(tile.Piece), g.param("left"))
	g.MOVQ(p, g.param("ahead"))
	g.JG(LabelRef(done))
	g.ADDQ(g.param("wrap"), p)
	g.MOVQ(p, g.param("ahead"))
	g.MOVQ(g.param("width"), p)
	g.MOVQ(p, g.param("left"))
	g.DECQ(g.param("rows"))
	g.Label(done)
}

// clear zeroes the first n vector registers.
func (g *gen) clear(n int) {
	for i := range n {
		g.zero(g.V(i))
	}
}

// groups runs small and big tiles as often as the parameters of that name say, then one of rest <
// small rows. The parameters are counted down in place.
func (g *gen) groups(tile func(rows int)) {
	g.repeat(g.param("small"), func() { tile(g.Small) })
	g.repeat(g.param("big"), func() { tile(g.Big) })
	end := g.label("end")
	for r := 1; r < g.Small; r++ {
		next := g.label("next")
		g.CMPQ(g.param("rest"), U8(r))
		g.JNE(LabelRef(next))
		tile(r)
		if r < g.Small-1 {
			g.JMP(LabelRef(end))
		}
		g.Label(next)
	}
	g.Label(end)
}

// repeat runs body n times and counts n down.
func (g *gen) repeat(n Op, body func()) {
	again, end := g.label("again"), g.label("end")
	g.CMPQ(n, U8(0))
	g.JE(LabelRef(end))
	g.Label(again)
	body()
	g.DECQ(n)
	g.JNZ(LabelRef(again))
	g.Label(end)
}

// advance adds n*stride to p.
func (g *gen) advance(p, stride reg.GPVirtual, n int) {
	for _, scale := range []int{8, 4, 2, 1} {
		for ; n >= scale; n -= scale {
			if scale == 1 {
				g.ADDQ(stride, p)
			} else {
				g.LEAQ(at(p, stride, uint8(scale), 0), p)
			}
		}
	}
}

// rowPointers addresses rows that are stride bytes apart by a base register for each three.
type rowPointers struct {
	base   []reg.GPVirtual
	stride reg.GPVirtual
}

// rowPointers returns pointers for the rows of a big tile.
func (g *gen) rowPointers(stride reg.GPVirtual) rowPointers {
	p := rowPointers{stride: stride}
	for range g.Big / 3 {
		p.base = append(p.base, g.GP64())
	}
	return p
}

// used is the base registers of n rows.
func (p rowPointers) used(n int) []reg.GPVirtual { return p.base[:(n+2)/3] }

// point sets p to n rows from row.
func (g *gen) point(p rowPointers, row reg.GPVirtual, n int) {
	for i, b := range p.used(n) {
		if i == 0 {
			g.MOVQ(row, b)
		} else {
			g.LEAQ(at(p.base[i-1], p.stride, 2, 0), b)
			g.ADDQ(p.stride, b)
		}
	}
}

// shift moves the pointers of n rows by bytes.
func (g *gen) shift(p rowPointers, n, bytes int) {
	for _, b := range p.used(n) {
		g.ADDQ(I8(bytes), b)
	}
}

func (p rowPointers) at(row, disp int) Mem {
	if row%3 == 0 {
		return mem(p.base[row/3], disp)
	}
	return at(p.base[row/3], p.stride, uint8(row%3), disp)
}

package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gemm is the microkernel of every matrix product here: R rows by 16 columns of
// outer products, each element one FMA chain in increasing index.
//
//	Y0-Y11  accumulators, 2 a row
//	Y12-Y13 a row of the 16-column operand
//	Y14-Y15 broadcasts of the other operand
//
// An FMA needs one broadcast for two columns' vectors, so a step of 6 rows is 12
// FMAs and 8 loads: FMA bound. 5 rows still cover the FMA latency (10 chains).
//
// A burst of 12 stores at the end of a tile takes FMA issue slots, so the
// last four steps are skewed: they run pair of rows by pair of rows, and each pair is
// finished while the next one computes.
type gemm struct {
	*gen
	k      reg.GPVirtual            // number of steps, kept
	load   func(step, half int) Mem // the 16-column operand, steps from here
	scalar func(row, step int) Mem  // the other operand
	start  func(rows int)           // sets the accumulators and the operands
	next   func(rows, steps int)    // advances the operands
	finish func(row int)            // uses up the accumulators of a row; Y12-Y15 are free
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
	g.SUBQ(U8(1), fours)
	g.JL(LabelRef(short))
	g.JZ(LabelRef(skew))
	loop := g.label("loop")
	g.loop(loop)
	g.steps(rows, 4)
	g.next(rows, 4)
	g.DECQ(fours)
	g.JNZ(LabelRef(loop))

	g.Label(skew)
	for r := 0; r < rows; {
		n := 2
		if (rows-r)%2 == 1 {
			n = min(3, rows)
		}
		for s := range 4 {
			g.step(r, n, s)
		}
		for range n {
			g.finish(r)
			r++
		}
	}
	g.JMP(LabelRef(done))
	g.Label(short)
	for r := range rows {
		g.finish(r)
	}
	g.Label(done)
}

// steps emits n steps of all rows.
func (g *gemm) steps(rows, n int) {
	for s := range n {
		g.step(0, rows, s)
	}
}

// step emits one step of n rows from row.
func (g *gemm) step(row, n, step int) {
	g.VMOVUPS(g.load(step, 0), Y(12))
	g.VMOVUPS(g.load(step, 1), Y(13))
	for r := row; r < row+n; r++ {
		b := Y(14 + r%2)
		g.VBROADCASTSS(g.scalar(r, step), b)
		g.VFMADD231PS(Y(12), b, Y(2*r))
		g.VFMADD231PS(Y(13), b, Y(2*r+1))
	}
}

// clear starts the accumulators at +0.
func (g *gen) clear(rows int) {
	for i := range 2 * rows {
		g.zero(Y(i))
	}
}

// groups runs tiles of 5 and of 6 rows as often as the parameters fives and sixes
// say, then one of rest < 5 rows. The parameters are counted down in place.
func (g *gen) groups(tile func(rows int)) {
	g.repeat(g.param("fives"), func() { tile(5) })
	g.repeat(g.param("sixes"), func() { tile(6) })
	g.rest(tile)
}

// rest runs a tile of as many rows as the parameter rest says, 0 to 4.
func (g *gen) rest(tile func(rows int)) {
	end := g.label("end")
	for r := 1; r <= 4; r++ {
		next := g.label("next")
		g.CMPQ(g.param("rest"), U8(r))
		g.JNE(LabelRef(next))
		tile(r)
		g.JMP(LabelRef(end))
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

// rowPointers addresses six rows that are stride bytes apart by two base
// registers: rows 0-2 from base, 3-5 from base3.
type rowPointers struct{ base, base3, stride reg.GPVirtual }

// point sets p to n rows from row.
func (g *gen) point(p rowPointers, row reg.GPVirtual, n int) {
	if p.base != row {
		g.MOVQ(row, p.base)
	}
	if n > 3 {
		g.MOVQ(row, p.base3)
		g.advance(p.base3, p.stride, 3)
	}
}

// shift moves the pointers of n rows by bytes.
func (g *gen) shift(p rowPointers, n, bytes int) {
	g.ADDQ(I8(bytes), p.base)
	if n > 3 {
		g.ADDQ(I8(bytes), p.base3)
	}
}

func (p rowPointers) at(row, disp int) Mem {
	b := p.base
	if row >= 3 {
		b, row = p.base3, row-3
	}
	if row == 0 {
		return mem(b, disp)
	}
	return at(b, p.stride, uint8(row), disp)
}

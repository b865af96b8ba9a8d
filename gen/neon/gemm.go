package main

import (
	"github.com/selfattn/attn/gen/a64"
	"github.com/selfattn/attn/generic/tile"
)

// gemm is the microkernel of every matrix product here: rows of four vectors of outer products,
// each element one FMA chain in increasing index.
//
//	V0-V23  accumulators, 4 a row
//	V24-V29 elements of the other operand, which FMLA takes from any lane: no broadcasts
//	V30 V31 two vectors of a row of the panel at a time
//
// A step of 6 rows is 24 FMAs and 2 loads of pairs, and the elements of four steps are 6 loads
// more, so it is bound by the FMAs on every core, and 24 chains cover their latency.
//
// Where a causal mask cuts a panel, the last keys are for its second half of queries alone.
type gemm struct {
	*gen
	half           a64.V                                  // 2 computes the last two vectors of each row alone
	upper          string                                 // parameter: number of steps, behind k, that are for these alone, or ""
	k              a64.X                                  // number of steps, kept
	panel          a64.X                                  // the operand on the lanes
	stride         a64.X                                  // of its rows, in bytes, or 0 where they are neighbours
	elements       func(rows, steps, step int)            // loads those of the step, or of this and later ones of steps
	element        func(rows, row, step int) (a64.V, int) // register and lane of one
	start          func(rows int)                         // sets the accumulators and the operands
	next           func(rows, steps int)                  // advances the other operand
	finish         func(rows int)                         // uses up the accumulators; V24-V31 are free
	singles, fours a64.X
}

// tile emits the product for a number of rows.
func (g *gemm) tile(rows int) {
	g.start(rows)
	g.LowBits(g.singles, g.k, 2)
	g.LSR(g.fours, g.k, 2)
	g.Blocks(g.singles, 1, func() { g.steps(rows, 1) })
	g.Blocks(g.fours, 1, func() { g.steps(rows, 4) })
	if g.upper != "" {
		half := *g
		half.half = 2
		g.ParamTo(g.singles, g.upper)
		g.Blocks(g.singles, 1, func() { half.steps(rows, 1) })
	}
	g.finish(rows)
}

func (g *gemm) steps(rows, steps int) {
	for s := range steps {
		g.elements(rows, steps, s)
		from := 4 * panel * s
		if g.stride != 0 {
			from = 0
		}
		for h := g.half; h < 4; h += 2 {
			g.load(grid(30, 2), g.panel, from+16*int(h))
			for r := range rows {
				v, lane := g.element(rows, r, s)
				g.FMLAElement(acc(r)+h, 30, v, lane)
				g.FMLAElement(acc(r)+h+1, 31, v, lane)
			}
		}
		if g.stride != 0 {
			g.ADD(g.panel, g.panel, g.stride)
		}
	}
	if g.stride == 0 {
		g.ADDI(g.panel, g.panel, 4*panel*steps)
	}
	g.next(rows, steps)
}

// ahead is what is needed next: rows that are prefetched into L2, a piece once every four steps, which
// is often enough for a tile. Rows are a whole number of pieces for this, and wrap leads from the end of
// the last to the next row; left is what is left of the row's width.
type ahead struct {
	*gen
	p, rows, width, wrap, left a64.X
}

func (g *gen) ahead() *ahead {
	return &ahead{g, g.Param("ahead"), g.Param("rows"), g.Param("width"), g.Param("wrap"), g.Param("width")}
}

func (a *ahead) read(steps int) {
	if steps < 4 {
		return
	}
	done := a.NewLabel("ahead")
	a.CBZ(a.rows, done)
	for line := 0; line < 4*tile.Piece; line += 64 {
		a.Prefetch(mem(a.p, line))
	}
	a.ADDI(a.p, a.p, 4*tile.Piece)
	a.SUBS(a.left, a.left, tile.Piece)
	a.BGT(done)
	a.ADD(a.p, a.p, a.wrap)
	a.MOV(a.left, a.width)
	a.SUBS(a.rows, a.rows, 1)
	a.Label(done)
}

// acc is the first accumulator of a row.
func acc(row int) a64.V { return a64.V(4 * row) }

// groups runs small and big tiles as often as the parameters of that name say, then one of rest <
// small rows.
func (g *gen) groups(tile func(rows int)) {
	n := g.X()
	g.ParamTo(n, "small")
	g.Blocks(n, 1, func() { tile(small) })
	g.ParamTo(n, "big")
	g.Blocks(n, 1, func() { tile(big) })
	end := g.NewLabel("end")
	g.ParamTo(n, "rest")
	for r := 1; r < small; r++ {
		next := g.NewLabel("next")
		g.CMP(n, r)
		g.BNE(next)
		tile(r)
		g.B(end)
		g.Label(next)
	}
	g.Label(end)
}

// rows is an operand whose rows are stride bytes apart, read in steps of 4 elements of each.
type rows struct {
	*gen
	row    []a64.X
	stride a64.X
	offset a64.X // of the current step
}

func (g *gen) rows(first, stride a64.X) *rows {
	p := &rows{gen: g, row: make([]a64.X, big), stride: stride, offset: g.X()}
	p.row[0] = first
	for i := 1; i < big; i++ {
		p.row[i] = g.X()
	}
	return p
}

// point sets p to n rows from the first one.
func (p *rows) point(n int) {
	p.MOVI(p.offset, 0)
	for i := 1; i < n; i++ {
		p.ADD(p.row[i], p.row[i-1], p.stride)
	}
}

// advance makes the row behind n rows the first one.
func (p *rows) advance(n int) { p.ADD(p.row[0], p.row[n-1], p.stride) }

func (p *rows) elements(rows, steps, step int) {
	for r := range rows {
		switch {
		case steps == 1:
			p.LDRSX(24+a64.V(r), p.row[r], p.offset)
		case step == 0:
			p.LDRQX(24+a64.V(r), p.row[r], p.offset)
		}
	}
}

func (p *rows) element(_, row, step int) (a64.V, int) { return 24 + a64.V(row), step }

func (p *rows) next(_, steps int) { p.ADDI(p.offset, p.offset, 4*steps) }

// columns is an operand of which a row of a tile is a column: a step is one row of it, stride bytes from the one
// before. It is loaded in pieces of 4, 2 and 1 columns, into three registers in turn for even and for odd steps.
type columns struct {
	*gen
	first, stride a64.X
	at            a64.X // the row of the current step
}

func (g *gen) columns(first, stride a64.X) *columns { return &columns{g, first, stride, g.X()} }

// point sets p to the columns from the first one.
func (p *columns) point(int) { p.MOV(p.at, p.first) }

// advance makes the column behind n columns the first one.
func (p *columns) advance(n int) { p.ADDI(p.first, p.first, 4*n) }

func (p *columns) piece(step int) a64.V { return 24 + 3*a64.V(step%2) }

func (p *columns) elements(cols, _, step int) {
	r := p.piece(step)
	if cols&4 != 0 {
		p.LDRQ(r, mem(p.at, 0))
	}
	if cols&2 != 0 {
		p.LDRD(r+1, mem(p.at, 4*(cols&4)))
	}
	if cols&1 != 0 {
		p.LDRS(r+2, mem(p.at, 4*(cols&6)))
	}
	p.ADD(p.at, p.at, p.stride)
}

func (p *columns) element(cols, col, step int) (a64.V, int) {
	switch {
	case col < cols&4:
		return p.piece(step), col
	case col < cols&6:
		return p.piece(step) + 1, col - cols&4
	}
	return p.piece(step) + 2, 0
}

package tile

// MatMulTile sets c or, with add, adds to it a block of a matrix product, a of c.Len rows and b a
// packed panel of a.Dim rows of c.Dim columns:
//
//	s[i][j] = chain over p < a.Dim of FMA(a[i][p], b[p*c.Dim+j], .)
//
// starting from start[i][j], whose stride may be 0, or from +0 where start has no rows.
func MatMulTile(c, a, start Rows, b []float32, add bool) {
	for i := range c.Len {
		row, terms := c.Row(i), a.Row(i)
		for j := range row {
			s := float32(0)
			if start.Len > 0 {
				s = start.Row(i)[j]
			}
			for p, v := range terms {
				s = FMA(v, b[p*c.Dim+j], s)
			}
			if add {
				s = row[j] + s
			}
			row[j] = s
		}
	}
}

// MatMulRow is [MatMulTile] of one row by two panels, one behind the other in b: the rows of c are the
// columns of each, also one behind the other. An empty start is +0.
func MatMulRow(c Rows, a, start, b []float32, add bool) {
	for p := range 2 {
		var from Rows
		if len(start) > 0 {
			from = Rows{Data: start[p*c.Dim:], Len: 1, Dim: c.Dim}
		}
		to := Rows{Data: c.Row(p), Len: 1, Dim: c.Dim}
		MatMulTile(to, Rows{Data: a, Len: 1, Dim: len(a)}, from, b[p*c.Dim*len(a):], add)
	}
}

// MatMulPack is [MatMulTile] with a panel that is not packed, the rows of b, and packs it into dst.
func MatMulPack(c, a, start, b Rows, dst []float32, add bool) {
	for i := range b.Len {
		copy(dst[i*b.Dim:], b.Row(i))
	}
	MatMulTile(c, a, start, dst, add)
}

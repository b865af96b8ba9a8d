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

package tile

// MatMulTile sets c = a.b or, with add, continues it, a of c.Len rows and b a packed panel of a.Dim
// rows of c.Dim columns:
//
//	c[i][j] = chain over p < a.Dim of FMA(a[i][p], b[p*c.Dim+j], .)
//
// starting from +0, or from c[i][j] where add is set.
func MatMulTile(c, a Rows, b []float32, add bool) {
	for i := range c.Len {
		row, terms := c.Row(i), a.Row(i)
		for j := range row {
			acc := float32(0)
			if add {
				acc = row[j]
			}
			for p, v := range terms {
				acc = FMA(v, b[p*c.Dim+j], acc)
			}
			row[j] = acc
		}
	}
}

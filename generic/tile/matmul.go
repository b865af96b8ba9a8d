package tile

// MatMulTile sets c or, with add, adds to it a block of a matrix product, a of c.Len rows and b all of some
// packed panels of a.Dim rows of c.Dim columns, whose columns are side by side in c and in start:
//
//	s[i][j] = chain over p < a.Dim of FMA(a[i][p], b[p*c.Dim+j], .)
//
// of the first panel, starting from start[i][j], whose stride may be 0, or from +0 where start has no rows.
func MatMulTile(c, a, start Rows, b []float32, add bool) {
	for first := 0; first < len(b)/a.Dim; first += c.Dim {
		panel := b[first*a.Dim:]
		for i := range c.Len {
			row, terms := c.Data[i*c.Stride+first:][:c.Dim], a.Row(i)
			for j := range row {
				s := float32(0)
				if start.Len > 0 {
					s = start.Data[i*start.Stride+first+j]
				}
				for p, v := range terms {
					s = FMA(v, panel[p*c.Dim+j], s)
				}
				if add {
					s = row[j] + s
				}
				row[j] = s
			}
		}
	}
}

// MatMulPack is [MatMulTile] with a panel that is not packed, the rows of b, and packs it into dst.
func MatMulPack(c, a, start, b Rows, dst []float32, add bool) {
	for i := range b.Len {
		copy(dst[i*b.Dim:], b.Row(i))
	}
	MatMulTile(c, a, start, dst[:b.Len*c.Dim], add)
}

package generic

// MatMulTile sets, or with add continues, a block of a matrix product:
//
//	c[i*ldc+j] = chain over p < k of FMA(a[i*lda+p], b[p*16+j], .)
//
// for i < m and j < 16, starting from +0, or from c where add is set. b is a
// packed panel: k rows of 16 columns.
func MatMulTile(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	for i := range m {
		row := a[i*lda:][:k]
		for j := range PanelCols {
			acc := float32(0)
			if add {
				acc = c[i*ldc+j]
			}
			for p, v := range row {
				acc = FMA(v, b[p*PanelCols+j], acc)
			}
			c[i*ldc+j] = acc
		}
	}
}

// PanelCols is the width of a packed panel of [MatMulTile].
const PanelCols = 16

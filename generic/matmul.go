package generic

// MatMulTile sets, or with add continues, a block of a matrix product:
//
//	c[i*ldc+j] = chain over p < k of FMA(a[i*lda+p], b[p*w+j], .)
//
// for i < m and j < w, starting from +0, or from c where add is set. b is a
// packed panel: k rows of w columns.
func MatMulTile(c []float32, ldc int, a []float32, lda int, b []float32, w, m, k int, add bool) {
	for i := range m {
		row := a[i*lda:][:k]
		for j := range w {
			acc := float32(0)
			if add {
				acc = c[i*ldc+j]
			}
			for p, v := range row {
				acc = FMA(v, b[p*w+j], acc)
			}
			c[i*ldc+j] = acc
		}
	}
}

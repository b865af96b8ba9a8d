package generic

// MatMul sets the m x n matrix c = a.b, a of m x k and b of k x n, all in row-major order with rows
// that are ldc, lda and ldb apart:
//
//	c[i*ldc+j] = chain over p < k of FMA(a[i*lda+p], b[p*ldb+j], .)
//
// With u = 2^-24 the error is at most gamma_k * sum |a_ip*b_pj| + k*2^-150, gamma_k = k*u/(1-k*u).
func MatMul(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int) {
	for i := range m {
		row := c[i*ldc:][:n]
		clear(row)
		for p, x := range a[i*lda:][:k] {
			for j, y := range b[p*ldb:][:n] {
				row[j] = FMA(x, y, row[j])
			}
		}
	}
}

// MatMulTile sets, or with add continues, a block of a matrix product:
//
//	c[i*ldc+j] = chain over p < k of FMA(a[i*lda+p], b[p*w+j], .)
//
// for i < m and j < w, starting from +0, or from c where add is set. b is a packed panel: k rows of
// w columns.
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

package generic

// MatMul sets the m x n matrix c = a.b, a of m x k and b of k x n, all in row-major order with rows
// that are ldc, lda and ldb apart:
//
//	c[i*ldc+j] = chain over p < k of FMA(a[i*lda+p], b[p*ldb+j], .)
//
// It panics, before it writes, if c, a or b does not hold its rows.
//
// With u = 2^-24 the error is at most k*(u*sum |a_ip*b_pj| + 2^-150), unless a partial sum overflows.
func MatMul(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int) {
	checkRows("MatMul", "c", c, m, n, ldc)
	checkRows("MatMul", "a", a, m, k, lda)
	checkRows("MatMul", "b", b, k, n, ldb)
	if n == 0 {
		return // ldc may be anything
	}
	for i := range m {
		row := c[i*ldc:][:n]
		clear(row)
		if k == 0 {
			continue // and lda
		}
		for p, x := range a[i*lda:][:k] {
			for j, y := range b[p*ldb:][:n] {
				row[j] = FMA(x, y, row[j])
			}
		}
	}
}

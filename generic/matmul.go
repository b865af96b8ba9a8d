package generic

import "fmt"

// ProductTerms is the number of terms of a matrix product that one chain sums. The sums of chains are
// added up, so that errors hardly grow with the number of terms.
const ProductTerms = 1024

// MatMul sets the m x n matrix c = a.b, a of m x k and b of k x n, all in row-major order with rows
// that are ldc, lda and ldb apart. Element c[i][j] is the sum (s_0 + s_1) + ..., from the left, where s_t
// is of the terms from t*ProductTerms on, as many or what is left of them:
//
//	s_t = chain over p of FMA(a[i*lda+p], b[p*ldb+j], .), from +0
//
// It panics, before it writes, if c, a or b does not hold its rows.
//
// With u = 2^-24 and S = sum |a_ip*b_pj| the chains are off by at most E = min(k, 1024)*u*S + k*2^-150 together
// (Jeannerod and Rump, Improved error bounds for inner products in floating-point arithmetic, 2013), and the
// element by E + (ceil(k/1024)-1)*u*(S+E), unless a partial sum overflows.
func MatMul(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int) {
	Product{}.MatMul(c, ldc, a, lda, b, ldb, m, k, n)
}

// Product is what a matrix product begins with.
type Product struct {
	Bias []float32 // s_0 of column j starts from Bias[j]; nil means +0
	Add  bool      // c is added to: ((c[i][j] + s_0) + s_1) + ...
}

// MatMul is [MatMul] with a bias, or added to c. In its bound |bias_j| is one more term of S, and with Add
// the element is off by E + ceil(k/1024)*u*(S+E+|c_ij|).
func (p Product) MatMul(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, k, n int) {
	checkRows("MatMul", "c", c, m, n, ldc)
	checkRows("MatMul", "a", a, m, k, lda)
	checkRows("MatMul", "b", b, k, n, ldb)
	if p.Bias != nil && len(p.Bias) != n {
		panic(fmt.Sprintf("attn: generic.MatMul: Bias has %d elements, want %d", len(p.Bias), n))
	}
	if n == 0 {
		return // ldc may be anything
	}
	s := make([]float32, n)
	for i := range m {
		row := c[i*ldc:][:n]
		add := p.Add
		for first := 0; first == 0 || first < k; first += ProductTerms {
			clear(s)
			if first == 0 {
				copy(s, p.Bias)
			}
			for t := first; t < min(first+ProductTerms, k); t++ {
				x := a[i*lda+t]
				for j, y := range b[t*ldb:][:n] {
					s[j] = FMA(x, y, s[j])
				}
			}
			for j, x := range s {
				if add {
					x = row[j] + x
				}
				row[j] = x
			}
			add = true
		}
	}
}

package tile

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

// A chain of k FMAs: the error is at most gamma_k * sum |terms| + k*2^-150.
const width = 16 // of a panel

func TestMatMulTileBound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var w check.Worst
	for _, k := range []int{1, 2, 3, 7, 16, 100, 500} {
		for _, add := range []bool{false, true} {
			for _, kind := range []func(n int) []float32{
				func(n int) []float32 { return check.Normals(r, n, 1) },
				func(n int) []float32 { return check.Wides(r, n, 25) },
				func(n int) []float32 { return check.Normals(r, n, 0x1p-73) },
			} {
				m, lda, ldc := 1+r.IntN(4), k+r.IntN(3), width+r.IntN(3)
				a, b, c := kind(m*lda), kind(k*width), kind(m*ldc)
				before := append([]float32(nil), c...)
				start := Rows{kind(width), m, width, 0} // of every row, or +0
				if r.IntN(2) == 0 {
					start.Len = 0
				}
				MatMulTile(Rows{c, m, width, ldc}, Rows{a, m, k, lda}, start, b, add)
				column := make([]float32, k)
				for i := range m {
					for j := range ldc {
						at := i*ldc + j
						if j >= width { // between the rows
							if !check.Same(c[at], before[at]) {
								t.Fatalf("wrote c[%d] beyond row %d", at, i)
							}
							continue
						}
						for p := range k {
							column[p] = b[p*width+j]
						}
						z, old := float32(0), float32(0)
						if start.Len > 0 {
							z = start.Data[j]
						}
						if add {
							old = before[at]
						}
						want, abs := check.ExactDot(z, append([]float32{old}, a[i*lda:][:k]...), append([]float32{1}, column...))
						bound, _ := abs.Float64()
						w.Check(t, check.Ratio(c[at], want, check.Gamma(k+1)*bound+float64(k)*0x1p-150), "k=%d add=%v", k, add)
					}
				}
			}
		}
	}
	t.Logf("largest error: %.2f of the bound", w)
}

// Cutting k into parts that start from each other changes no bit.
func TestMatMulTileParts(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	const m, k = 3, 50
	a, b := check.Wides(r, m*k, 20), check.Wides(r, k*width, 20)
	whole, parts := make([]float32, m*width), make([]float32, m*width)
	MatMulTile(Rows{whole, m, width, width}, Rows{a, m, k, k}, Rows{}, b, false)
	for cut := 1; cut < k; cut++ {
		c := Rows{parts, m, width, width}
		MatMulTile(c, Rows{a, m, cut, k}, Rows{}, b[:cut*width], false)
		MatMulTile(c, Rows{a[cut:], m, k - cut, k}, c, b[cut*width:], false)
		for i := range whole {
			if !check.Same(whole[i], parts[i]) {
				t.Fatalf("cut at %d: element %d is %g, want %g", cut, i, parts[i], whole[i])
			}
		}
	}
}

package generic

import (
	"math/rand/v2"
	"testing"
)

// A chain of k FMAs: the error is at most gamma_k * sum |terms| + k*2^-150.
const width = 16 // of a panel

func TestMatMulTileBound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var w worst
	for _, k := range []int{1, 2, 3, 7, 16, 100, 500} {
		for _, add := range []bool{false, true} {
			for _, kind := range []func(n int) []float32{
				func(n int) []float32 { return normals(r, n, 1) },
				func(n int) []float32 { return wides(r, n, 25) },
				func(n int) []float32 { return normals(r, n, 0x1p-73) },
			} {
				m, lda, ldc := 1+r.IntN(4), k+r.IntN(3), width+r.IntN(3)
				a, b, c := kind(m*lda), kind(k*width), kind(m*ldc)
				before := append([]float32(nil), c...)
				MatMulTile(c, ldc, a, lda, b, width, m, k, add)
				column := make([]float32, k)
				for i := range m {
					for j := range ldc {
						at := i*ldc + j
						if j >= width { // between the rows
							if !same(c[at], before[at]) {
								t.Fatalf("wrote c[%d] beyond row %d", at, i)
							}
							continue
						}
						for p := range k {
							column[p] = b[p*width+j]
						}
						z := float32(0)
						if add {
							z = before[at]
						}
						want, abs := exactDot(z, a[i*lda:][:k], column)
						bound, _ := abs.Float64()
						w.check(t, ratio(c[at], want, gamma(k)*bound+float64(k)*0x1p-150), "k=%d add=%v", k, add)
					}
				}
			}
		}
	}
	t.Logf("largest error: %.2f of the bound", w)
}

// Cutting k into parts that continue each other changes no bit.
func TestMatMulTileParts(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	const m, k = 3, 50
	a, b := wides(r, m*k, 20), wides(r, k*width, 20)
	whole, parts := make([]float32, m*width), make([]float32, m*width)
	MatMulTile(whole, width, a, k, b, width, m, k, false)
	for cut := 1; cut < k; cut++ {
		MatMulTile(parts, width, a, k, b, width, m, cut, false)
		MatMulTile(parts, width, a[cut:], k, b[cut*width:], width, m, k-cut, true)
		for i := range whole {
			if !same(whole[i], parts[i]) {
				t.Fatalf("cut at %d: element %d is %g, want %g", cut, i, parts[i], whole[i])
			}
		}
	}
}

// A product in one go has the bits of its tiles.
func TestMatMul(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	const m, k, ldc = 5, 37, width + 3
	a, b := wides(r, m*k, 20), wides(r, k*width, 20)
	whole, tile := wides(r, m*ldc, 20), make([]float32, m*width)
	MatMul(whole, ldc, a, k, b, width, m, k, width)
	MatMulTile(tile, width, a, k, b, width, m, k, false)
	for i := range m {
		for j := range width {
			if !same(whole[i*ldc+j], tile[i*width+j]) {
				t.Fatalf("element %d, %d is %g, want %g", i, j, whole[i*ldc+j], tile[i*width+j])
			}
		}
	}
}

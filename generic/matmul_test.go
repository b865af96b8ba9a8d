package generic

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile"
)

// A product in one go has the bits of its tiles.
func TestMatMul(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	const m, k, width, ldc = 5, 37, 16, 16 + 3
	a, b := check.Wides(r, m*k, 20), check.Wides(r, k*width, 20)
	whole, parts := check.Wides(r, m*ldc, 20), make([]float32, m*width)
	MatMul(whole, ldc, a, k, b, width, m, k, width)
	tile.MatMulTile(tile.Rows{Data: parts, Len: m, Dim: width, Stride: width}, tile.Rows{Data: a, Len: m, Dim: k, Stride: k}, tile.Rows{}, b, false)
	for i := range m {
		for j := range width {
			if !check.Same(whole[i*ldc+j], parts[i*width+j]) {
				t.Fatalf("element %d, %d is %g, want %g", i, j, whole[i*ldc+j], parts[i*width+j])
			}
		}
	}
}

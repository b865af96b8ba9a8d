// Package check is what the tests of generic and of tile share: kinds of input, sums without rounding,
// and errors next to their bounds.
package check

import (
	"hash/fnv"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// U is the unit roundoff of float32.
const U = 0x1p-24

var (
	NaN     = float32(math.NaN())
	PosInf  = float32(math.Inf(1))
	NegInf  = float32(math.Inf(-1))
	NegZero = float32(math.Copysign(0, -1))
)

// Edges are the values at which arithmetic changes its ways.
var Edges = []float32{
	0, NegZero, 1, -1, 1 + 0x1p-23, 1 - 0x1p-24, 3, 1 + 0x1p-12, 0x1p-80, -0x1p-80,
	0x1p-149, -0x1p-149, 0x1p-127, 0x1p-126, -0x1p-126, 0x1p-75, 0x1p-74, 0x1p64, 0x1p103, -0x1p103,
	math.MaxFloat32, -math.MaxFloat32, PosInf, NegInf, NaN,
}

// Gamma bounds the relative error of k roundings in a row.
func Gamma(k int) float64 { return float64(k) * U / (1 - float64(k)*U) }

func Same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Digest returns a hash of the bits of results, in which all NaN are one.
func Digest(results ...[]float32) uint64 {
	h := fnv.New64a()
	for _, x := range results {
		for _, v := range x {
			b := math.Float32bits(v)
			if v != v {
				b = 0x7fc00000
			}
			h.Write([]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)})
		}
	}
	return h.Sum64()
}

func Finite(x ...float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// Normals returns n normally distributed values times scale.
func Normals(r *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * scale)
	}
	return x
}

// Wides returns n values whose exponents spread over 2*spread binades.
func Wides(r *rand.Rand, n, spread int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Ldexp(r.NormFloat64(), r.IntN(2*spread)-spread))
	}
	return x
}

// Exact returns a big.Float that holds every sum of products of float32 without rounding: bits from
// 2^-298 to 2^256, and room for carries.
func Exact(x float32) *big.Float { return new(big.Float).SetPrec(640).SetFloat64(float64(x)) }

// ExactDot returns z + sum x[i]*y[i] and the sum of the absolute values, without rounding.
func ExactDot(z float32, x, y []float32) (sum, abs *big.Float) {
	sum, abs = Exact(z), new(big.Float).Abs(Exact(z))
	for i := range x {
		p := Exact(x[i])
		p.Mul(p, Exact(y[i]))
		sum.Add(sum, p)
		abs.Add(abs, p.Abs(p))
	}
	return sum, abs
}

// Ratio returns |got - want| / bound, at most 1 where the bound holds.
func Ratio(got float32, want *big.Float, bound float64) float64 {
	d := Exact(got)
	err, _ := d.Sub(d, want).Float64()
	if err == 0 {
		return 0
	}
	return math.Abs(err) / bound
}

// Worst keeps the largest Ratio of an error to its bound.
type Worst float64

// Check fails the test if an error exceeds its bound.
func (w *Worst) Check(t *testing.T, ratio float64, format string, args ...any) {
	t.Helper()
	if !(ratio <= 1) {
		t.Fatalf("error is %.4g of the bound: "+format, append([]any{ratio}, args...)...)
	}
	*w = max(*w, Worst(ratio))
}

package tile

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

// exactFMA rounds the exact x*y + z once.
func exactFMA(x, y, z float32) float32 {
	if !check.Finite(x, y, z) { // no product of float32 overflows float64
		return float32(float64(x)*float64(y) + float64(z))
	}
	s := check.Exact(x)
	s.Mul(s, check.Exact(y))
	f, _ := s.Add(s, check.Exact(z)).Float32()
	return f
}

func checkFMA(t *testing.T, x, y, z float32) {
	t.Helper()
	want := exactFMA(x, y, z)
	if got := FMA(x, y, z); !check.Same(got, want) {
		t.Fatalf("FMA(%x, %x, %x) = %x, want %x", x, y, z, got, want)
	}
	if got := fmaOdd(x, y, z); !check.Same(got, want) {
		t.Fatalf("fmaOdd(%x, %x, %x) = %x, want %x", x, y, z, got, want)
	}
}

func TestFMAEdges(t *testing.T) {
	for _, x := range check.Edges {
		for _, y := range check.Edges {
			for _, z := range check.Edges {
				checkFMA(t, x, y, z)
			}
		}
	}
	if got := FMA(1+0x1p-12, 1+0x1p-12, 0x1p-80); got != 0x1.002002p0 {
		t.Errorf("just above a tie: %x", got)
	}
	// The largest float32 and half an ulp is a tie that overflows; anything less does not.
	if got := FMA(0x1p51, 0x1p52, math.MaxFloat32); got != check.PosInf {
		t.Errorf("overflow: %x", got)
	}
	if got := FMA(0x1p51, 0x1.fffffep51, math.MaxFloat32); got != math.MaxFloat32 {
		t.Errorf("no overflow: %x", got)
	}
}

func TestFMARandomBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200_000 {
		x, y, z := math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32())
		checkFMA(t, x, y, z)
		if p := float32(float64(x) * float64(y)); check.Finite(p) { // z near the product, where they interact
			checkFMA(t, x, y, p*float32(math.Ldexp(r.NormFloat64(), r.IntN(60)-30)))
			checkFMA(t, x, y, -p)
		}
	}
}

// Sums that lie on a tie of float32 or so close to one that float64 cannot tell, in every binade
// down to the subnormals. Rounding to float64 first fails many of them.
func TestFMATies(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	sign := func() float64 { return float64(2*r.IntN(2) - 1) }
	const cases = 300_000
	twice := 0
	for range cases {
		var x, y, z float64
		exponent := r.IntN(240) - 174 // of all
		half := func() {              // x*y is 1/2, or off by less than float64 can tell beside z
			d := float64(r.IntN(1000)) * 0x1p-23
			x, y = 1+d, (1-d)/2
			if r.IntN(2) == 0 {
				x += float64(r.IntN(3)) * 0x1p-23
			}
		}
		switch r.IntN(4) {
		case 0: // the product is an odd number of 25 bits: a tie; z is 0 or tiny
			x = float64(1<<12 + 2*r.IntN(1<<11) + 1)
			y = float64(1<<12 + 2*r.IntN(1<<10) + 1)
			z = sign() * math.Ldexp(float64(r.IntN(3)), -r.IntN(100))
		case 1: // the product is about half an ulp of z
			half()
			z = sign() * float64(1<<23+r.IntN(1<<23))
		case 2: // the check.Same where the ulp below z is half of that above
			half()
			y = math.Ldexp(y, -r.IntN(3))
			z = sign() * 0x1p23
		case 3: // the check.Same where z is subnormal
			half()
			z = sign() * float64(r.IntN(1<<23))
			exponent = -149
		}
		x *= sign()
		a := exponent/2 + r.IntN(20) - 10
		x32, y32, z32 := float32(math.Ldexp(x, a)), float32(math.Ldexp(y, exponent-a)), float32(math.Ldexp(z, exponent))
		checkFMA(t, x32, y32, z32)
		if float32(math.FMA(float64(x32), float64(y32), float64(z32))) != exactFMA(x32, y32, z32) {
			twice++
		}
	}
	if twice < cases/100 {
		t.Errorf("only %d of %d cases tell one rounding from two", twice, cases)
	}
}

// Of two zeros the maximum so far stays, as VMAXPS has it.
func TestMaxNum(t *testing.T) {
	for _, c := range [][3]float32{{0, check.NegZero, check.NegZero}, {check.NegZero, 0, 0}, {1, 2, 2}, {2, 1, 2}, {check.NaN, 1, 1}, {check.NaN, check.NegInf, check.NegInf}, {check.NegInf, check.NegInf, check.NegInf}, {check.PosInf, 3, check.PosInf}} {
		if got := maxNum(c[0], c[1]); !check.Same(got, c[2]) {
			t.Errorf("maxNum(%g, %g) = %g, want %g", c[0], c[1], got, c[2])
		}
	}
}

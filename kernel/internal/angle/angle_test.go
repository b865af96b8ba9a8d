package angle

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

const precision = 400

func number(x float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(x) }

func power(x *big.Float, n int) *big.Float {
	p := number(1)
	for range n {
		p.Mul(p, x)
	}
	return p
}

// The root is the nearest float64: of the numbers half way to its neighbours one is too large, and the other
// too small. f = base^(-n/d) is f^d * base^n = 1.
func TestRoot(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	check := func(base float64, n, d int) {
		f := Root(base, n, d)
		side := func(neighbour float64) int {
			x := number(f)
			x.Add(x, number(neighbour)).Quo(x, number(2))
			x = power(x, d)
			return x.Mul(x, power(number(base), n)).Cmp(number(1))
		}
		require.Negative(t, side(math.Nextafter(f, 0)), "%g^(-%d/%d) is %g", base, n, d, f)
		require.Positive(t, side(math.Nextafter(f, math.Inf(1))), "%g^(-%d/%d) is %g", base, n, d, f)
	}
	for _, base := range []float64{10000, 500000, 1e6, 2, 0.5, 3, 1e-5, math.E, 1e300, 1e-300, math.MaxFloat64} {
		for _, d := range []int{1, 2, 3, 32, 64} {
			for n := range d {
				check(base, n, d)
			}
		}
	}
	for range 300 {
		d := 1 + r.IntN(128)
		check(math.Exp(r.Float64()*40-20), r.IntN(d), d)
	}
	for _, n := range []int{0, 5, 31} {
		require.Equal(t, 1.0, Root(1, n, 32))
	}
	require.Equal(t, []float64{1, 0.1, 0.01, 0.001}, []float64{Root(1e4, 0, 4), Root(1e4, 1, 4), Root(1e4, 2, 4), Root(1e4, 3, 4)})
}

// sinCos returns the sine and the cosine of x to 90 bits and more, by the series of e^ix after halving x.
func sinCos(x float64) (sin, cos *big.Float) {
	const halvings, terms = 60, 15
	y := number(x)
	y.SetMantExp(y, -halvings)
	re, im := number(1), number(0)
	for n := terms; n > 0; n-- { // e = 1 + e*iy/n
		re, im = new(big.Float).Mul(im, y), new(big.Float).Mul(re, y)
		re.Quo(re, number(-float64(n))).Add(re, number(1))
		im.Quo(im, number(float64(n)))
	}
	for range halvings {
		a, b := new(big.Float).Mul(re, re), new(big.Float).Mul(im, im)
		im.Mul(im, re).Mul(im, number(2))
		re.Sub(a, b)
	}
	return im, re
}

func TestSinCos(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	arguments := []float64{0, 1, 2, 3, 1e-300, 5e-324, 0.5, math.Pi / 4, math.Pi / 2, math.Pi, 6381956970095103, Limit - 1, Limit - 0.001}
	for k := range 400 { // next to multiples of pi/2, and of pi/4
		x := float64(k) * math.Pi / 4
		arguments = append(arguments, x, math.Nextafter(x, 0), math.Nextafter(x, math.Inf(1)), float64(k))
	}
	for range 500 {
		arguments = append(arguments, math.Exp2(r.Float64()*80-40), math.RoundToEven(math.Exp2(r.Float64()*38)*2/math.Pi)*math.Pi/2)
	}
	worst := 0.0
	for _, x := range arguments {
		if x >= Limit {
			continue
		}
		for _, x := range []float64{x, -x} {
			sin, cos := SinCos(x)
			wantSin, wantCos := sinCos(x)
			for i, p := range []struct {
				got  float64
				want *big.Float
			}{{sin, wantSin}, {cos, wantCos}} {
				if p.want.Sign() == 0 {
					require.Zero(t, p.got, "of %g", x)
					continue
				}
				d := number(p.got)
				ratio, _ := d.Sub(d, p.want).Quo(d, p.want).Float64()
				worst = max(worst, math.Abs(ratio)*0x1p51)
				require.LessOrEqual(t, math.Abs(ratio), 0x1p-51, "function %d of %x is %g, want %g", i, x, p.got, p.want)
			}
		}
	}
	t.Logf("largest error: %.2f of the bound", worst)
}

// The bits of every machine, committed once.
func TestDigest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1)) // integers: equal everywhere
	h := fnv.New64a()
	write := func(x float64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], math.Float64bits(x))
		h.Write(b[:])
	}
	for range 20000 {
		sin, cos := SinCos(math.Float64frombits(r.Uint64()>>12 | uint64(1023-30+r.IntN(70))<<52))
		write(sin)
		write(cos)
	}
	for d := 1; d <= 64; d++ {
		for _, base := range []float64{10000, 500000, 0x1.8p-3, 1e6, 1 + 0x1p-52} {
			write(Root(base, r.IntN(d), d))
		}
	}
	require.Equal(t, uint64(0xa7159644bc6efda1), h.Sum64(), "%#016x", h.Sum64())
}

package tile

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

func TestMax(t *testing.T) {
	for _, c := range []struct {
		x    []float32
		want float32
	}{
		{nil, check.NegInf},
		{[]float32{check.NaN, check.NaN}, check.NegInf},
		{[]float32{check.NegInf, check.NaN}, check.NegInf},
		{[]float32{check.NaN, -3, check.NaN}, -3},
		{[]float32{1, check.PosInf, check.NaN}, check.PosInf},
		{[]float32{check.NegZero}, 0},
		{[]float32{check.NegZero, 0}, 0},
		{[]float32{-2, -1, -3}, -1},
	} {
		if got := Max(c.x); !check.Same(got, c.want) {
			t.Errorf("Max(%g) = %g, want %g", c.x, got, c.want)
		}
	}
}

// ExpSum and SumExp add to the lanes what the parts of a vector add up to, one after the other.
func TestExpSumParts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{1, 31, 32, 33, 100, 1023, 1024, 1025, 3000, SumPart, SumPart + 1, 3*SumPart + 1500} {
		x := check.Normals(r, n, 10)
		m := Max(x)
		var whole, sumOnly [Lanes]float32
		a, b := make([]float32, n), make([]float32, n)
		ExpSum(a, x, m, &whole)
		SumExp(x, m, &sumOnly)
		var parts LongSum
		for from := 0; from < n; from += SumPart {
			var part [Lanes]float32
			to := min(from+SumPart, n)
			ExpSum(b[from:to], x[from:to], m, &part)
			parts.Add(&part)
		}
		if whole != parts.Lanes() || whole != sumOnly {
			t.Errorf("n=%d: lanes %g, by parts %g, without results %g", n, whole, parts.Lanes(), sumOnly)
		}
		lanes := levels(n, func(lane float32, i int) float32 { return lane + a[i] })
		for i := range a {
			if a[i] != expm(x[i]-m) || a[i] != b[i] || whole[i%Lanes] != lanes[i%Lanes] {
				t.Fatalf("n=%d: element %d is %g, by parts %g; lane %g, want %g", n, i, a[i], b[i], whole[i%Lanes], lanes[i%Lanes])
			}
		}
	}
}

func TestDivScale(t *testing.T) {
	x := []float32{1, 2, -3, 0, check.NegZero, check.NegInf, check.NaN, 0x1p-149}
	div, scaled := make([]float32, len(x)), make([]float32, len(x))
	Div(div, x, 3)
	Scale(scaled, x, 0.5)
	for i, want := range [][2]float32{{1.0 / 3, 0.5}, {2.0 / 3, 1}, {-1, -1.5}, {0, 0}, {check.NegZero, 0}, {check.NegInf, check.NegInf}, {check.NaN, check.NaN}, {0, 0}} {
		if !check.Same(div[i], want[0]) || !check.Same(scaled[i], want[1]) {
			t.Errorf("%g/3 = %g, want %g; %g*0.5 = %g, want %g", x[i], div[i], want[0], x[i], scaled[i], want[1])
		}
	}
}

// bigLog returns log x to 120 bits: x = f*2^k, log f = 2*atanh((f-1)/(f+1)).
func bigLog(x float64) *big.Float {
	atanh2 := func(s *big.Float) *big.Float {
		sum, power, square := bigFloat(0), bigFloat(0).Set(s), bigFloat(0).Mul(s, s)
		for i := 1; i < 150; i += 2 {
			sum.Add(sum, bigFloat(0).Quo(power, bigFloat(float64(i))))
			power.Mul(power, square)
		}
		return sum.Mul(sum, bigFloat(2))
	}
	f, k := math.Frexp(x)
	if f < math.Sqrt2/2 {
		f, k = 2*f, k-1
	}
	ln2 := atanh2(bigFloat(0).Quo(bigFloat(1), bigFloat(3)))
	log := atanh2(bigFloat(0).Quo(bigFloat(0).Sub(bigFloat(f), bigFloat(1)), bigFloat(0).Add(bigFloat(f), bigFloat(1))))
	return log.Add(log, ln2.Mul(ln2, bigFloat(float64(k))))
}

func bigFloat(x float64) *big.Float { return new(big.Float).SetPrec(120).SetFloat64(x) }

func TestLog(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	x := []float64{1, 2, 0.5, math.Sqrt2, math.Sqrt2 / 2, math.Nextafter(math.Sqrt2/2, 0), math.Nextafter(math.Sqrt2/2, 1),
		0x1p-126, math.MaxFloat32, math.MaxFloat64, 1 + 0x1p-23, 1 - 0x1p-24, math.E, 10}
	for range 500 {
		x = append(x, math.Ldexp(1+r.Float64(), r.IntN(254)-126), 1+math.Ldexp(r.Float64(), -r.IntN(24)), 1-math.Ldexp(r.Float64(), -1-r.IntN(24)))
	}
	var w check.Worst
	for _, x := range x {
		got, want := log(x), bigLog(x)
		diff, _ := want.Sub(bigFloat(got), want).Float64()
		ulp := math.Nextafter(math.Abs(got), math.Inf(1)) - math.Abs(got)
		w.Check(t, math.Abs(diff)/(3e-16+2*ulp), "log(%g) = %g", x, got)
	}
	t.Logf("largest error: %.2f of the bound", w)
	if !math.IsNaN(log(math.NaN())) || log(math.Inf(1)) != math.Inf(1) || log(1) != 0 {
		t.Errorf("log of NaN, +Inf, 1: %g, %g, %g", log(math.NaN()), log(math.Inf(1)), log(1))
	}
}

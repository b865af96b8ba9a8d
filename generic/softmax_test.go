package generic

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// softmax64 returns the softmax of x, its log-sum-exp and the mean of max(x)-x[i] under it, in float64.
func softmax64(x []float32) (p []float64, lse, spread float64) {
	m := math.Inf(-1)
	for _, v := range x {
		m = max(m, float64(v))
	}
	p = make([]float64, len(x))
	sum := 0.0
	for i, v := range x {
		p[i] = math.Exp(float64(v) - m)
		sum += p[i]
	}
	for i, v := range x {
		p[i] /= sum
		if p[i] > 0 {
			spread += p[i] * (m - float64(v))
		}
	}
	return p, m + math.Log(sum), spread
}

// rows calls f with rows of many lengths and spreads.
func rows(r *rand.Rand, f func(x []float32)) {
	for _, n := range []int{1, 2, 3, 31, 32, 33, 64, 100, 1000, 5000} {
		for _, scale := range []float64{0, 0.01, 1, 10, 40, 1e4, 1e30} {
			for _, shift := range []float32{0, 50, -1000, 1e6} {
				x := normals(r, n, scale)
				for i := range x {
					x[i] += shift
				}
				f(x)
			}
		}
	}
}

func TestSoftmaxBound(t *testing.T) {
	var w worst
	rows(rand.New(rand.NewPCG(1, 1)), func(x []float32) {
		want, _, spread := softmax64(x)
		got := make([]float32, len(x))
		Softmax(got, x)
		n, m := float64(len(x)), float64(Max(x))
		sum := 0.0
		for i, p := range got {
			sum += float64(p)
			switch {
			case p > 0x1p-126:
				bound := u * (m - float64(x[i]) + n/Lanes + 12)
				w.check(t, math.Abs(float64(p)-want[i])/want[i]/bound, "softmax of %d elements: x[%d] = %g, max %g", len(x), i, x[i], m)
			case p < 0 || want[i] > 0x1.01p-126:
				t.Fatalf("softmax of %d elements: %g, want %g", len(x), p, want[i])
			}
		}
		w.check(t, math.Abs(sum-1)/(u*(spread+n/Lanes+12)+n*0x1p-126), "softmax of %d elements sums to %g", len(x), sum)
	})
	t.Logf("largest error: %.2f of the bound", w)
}

func TestLogSumExpBound(t *testing.T) {
	var w worst
	rows(rand.New(rand.NewPCG(2, 2)), func(x []float32) {
		_, want, spread := softmax64(x)
		got := LogSumExp(x)
		bound := u * (math.Abs(want) + float64(len(x))/Lanes + 12 + spread)
		w.check(t, math.Abs(float64(got)-want)/bound, "log-sum-exp of %d elements: %g, want %g", len(x), got, want)
	})
	t.Logf("largest error: %.2f of the bound", w)
}

func TestSoftmaxSpecials(t *testing.T) {
	for _, c := range []struct{ x, softmax []float32 }{
		{nil, nil},
		{[]float32{-1e30}, []float32{1}},
		{[]float32{negInf}, []float32{0}},
		{[]float32{negInf, negInf, negInf}, []float32{0, 0, 0}},
		{[]float32{negInf, 3, negInf, 3}, []float32{0, 0.5, 0, 0.5}},
		{[]float32{0, negZero}, []float32{0.5, 0.5}},
		{[]float32{math.MaxFloat32, -math.MaxFloat32}, []float32{1, 0}}, // the difference overflows
		{[]float32{1, nan, 2}, []float32{nan, nan, nan}},
		{[]float32{nan}, []float32{nan}},
		{[]float32{nan, negInf}, []float32{nan, nan}},
		{[]float32{1, posInf}, []float32{nan, nan}},
		{[]float32{posInf, negInf}, []float32{nan, nan}},
	} {
		got := append([]float32(nil), c.x...)
		Softmax(got, got) // in place
		for i := range got {
			if !same(got[i], c.softmax[i]) {
				t.Errorf("softmax of %g is %g, want %g", c.x, got, c.softmax)
				break
			}
		}
	}
	for _, c := range []struct {
		x    []float32
		want float32
	}{
		{nil, negInf},
		{[]float32{negInf, negInf}, negInf},
		{[]float32{0}, 0},
		{[]float32{negInf, -5}, -5},
		{[]float32{math.MaxFloat32, math.MaxFloat32}, math.MaxFloat32}, // ln 2 is far below an ulp
		{[]float32{-1e30}, -1e30},
		{[]float32{1, 1}, float32(1 + math.Ln2)},
		{[]float32{1, nan}, nan},
		{[]float32{1, posInf}, nan},
	} {
		if got := LogSumExp(c.x); !same(got, c.want) {
			t.Errorf("LogSumExp(%g) = %g, want %g", c.x, got, c.want)
		}
	}
}

func TestMax(t *testing.T) {
	for _, c := range []struct {
		x    []float32
		want float32
	}{
		{nil, negInf},
		{[]float32{nan, nan}, negInf},
		{[]float32{negInf, nan}, negInf},
		{[]float32{nan, -3, nan}, -3},
		{[]float32{1, posInf, nan}, posInf},
		{[]float32{negZero}, 0},
		{[]float32{negZero, 0}, 0},
		{[]float32{-2, -1, -3}, -1},
	} {
		if got := Max(c.x); !same(got, c.want) {
			t.Errorf("Max(%g) = %g, want %g", c.x, got, c.want)
		}
	}
}

// A vector cut at multiples of 32 gives the lanes of the whole, and SumExp those of ExpSum.
func TestExpSumParts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{1, 31, 32, 33, 100, 257} {
		x := normals(r, n, 10)
		m := Max(x)
		var whole, parts, sumOnly [Lanes]float32
		a, b := make([]float32, n), make([]float32, n)
		ExpSum(a, x, m, &whole)
		for from := 0; from < n; {
			to := min(from+Lanes*(1+r.IntN(3)), n)
			ExpSum(b[from:to], x[from:to], m, &parts)
			from = to
		}
		SumExp(x, m, &sumOnly)
		if whole != parts || whole != sumOnly {
			t.Errorf("n=%d: lanes %g, by parts %g, without results %g", n, whole, parts, sumOnly)
		}
		for i := range a {
			lane := float32(0)
			for j := i % Lanes; j < n; j += Lanes {
				lane += a[j]
			}
			if a[i] != expm(x[i]-m) || a[i] != b[i] || whole[i%Lanes] != lane {
				t.Fatalf("n=%d: element %d is %g, by parts %g; lane %g", n, i, a[i], b[i], whole[i%Lanes])
			}
		}
	}
}

func TestDivScale(t *testing.T) {
	x := []float32{1, 2, -3, 0, negZero, negInf, nan, 0x1p-149}
	div, scaled := make([]float32, len(x)), make([]float32, len(x))
	Div(div, x, 3)
	Scale(scaled, x, 0.5)
	for i, want := range [][2]float32{{1.0 / 3, 0.5}, {2.0 / 3, 1}, {-1, -1.5}, {0, 0}, {negZero, 0}, {negInf, negInf}, {nan, nan}, {0, 0}} {
		if !same(div[i], want[0]) || !same(scaled[i], want[1]) {
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
		0x1p-126, math.MaxFloat32, 1 + 0x1p-23, 1 - 0x1p-24, math.E, 10}
	for range 500 {
		x = append(x, math.Ldexp(1+r.Float64(), r.IntN(254)-126), 1+math.Ldexp(r.Float64(), -r.IntN(24)), 1-math.Ldexp(r.Float64(), -1-r.IntN(24)))
	}
	var w worst
	for _, x := range x {
		got, want := log(x), bigLog(x)
		diff, _ := want.Sub(bigFloat(got), want).Float64()
		ulp := math.Nextafter(math.Abs(got), math.Inf(1)) - math.Abs(got)
		w.check(t, math.Abs(diff)/(3e-16+2*ulp), "log(%g) = %g", x, got)
	}
	t.Logf("largest error: %.2f of the bound", w)
	if !math.IsNaN(log(math.NaN())) || log(math.Inf(1)) != math.Inf(1) || log(1) != 0 {
		t.Errorf("log of NaN, +Inf, 1: %g, %g, %g", log(math.NaN()), log(math.Inf(1)), log(1))
	}
}

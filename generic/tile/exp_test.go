package tile

import (
	"fmt"
	"math"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile/exponent"
)

// Every float32 has an index, in increasing order from the negative NaN to the positive ones.

func at(i uint32) float32 {
	if i < 1<<31 {
		return math.Float32frombits(^i)
	}
	return math.Float32frombits(i ^ 1<<31)
}

func indexOf(x float32) uint32 {
	if b := math.Float32bits(x); b < 1<<31 {
		return b ^ 1<<31
	} else {
		return ^b
	}
}

// ulpError returns |y - want| in units of the last place of want.
func ulpError(y float32, want float64) float64 {
	exponent := int(math.Float64bits(want)>>52)&0x7ff - 1023
	ulp := math.Float64frombits(uint64(max(exponent-23, -149)+1023) << 52)
	return math.Abs(float64(y)-want) / ulp
}

// An exponential and what is claimed of it.
type exponential struct {
	name              string
	f                 func(float32) float32
	want              func(float64) float64
	max               float32 // the largest argument
	zero              float32 // results for arguments up to here are +0
	normal, subnormal float64 // bounds in ulp
	monotone          bool
}

var exponentials = []exponential{
	{name: "exp", f: exp, want: math.Exp, max: check.PosInf, zero: math.Float32frombits(0xc2cff1b5), normal: 0.60, subnormal: 0.77, monotone: true},
	{name: "expm", f: expm, want: math.Exp, max: 0, zero: expmZero, normal: 0.60, subnormal: 0.77, monotone: true},
	{name: "exp2", f: exp2, want: math.Exp2, max: 0, zero: -125.5, normal: 0.80},
}

const (
	firstOverflow = 0x42b17218      // the bits of the least x for which e^x rounds to +Inf
	expmZero      = -0x1.5d84fep+06 // expm is +0 up to here, where the multiple of 1/8 falls below -126
)

// An extreme is the largest error seen, and where.
type extreme struct {
	err float64
	x   float32
}

func (e *extreme) raise(o extreme) {
	if o.err > e.err {
		*e = o
	}
}

// scan checks the arguments with the indices from, from+step, ... before to.
func (e exponential) scan(from, to, step uint64) (normal, subnormal extreme, err error) {
	prev := float32(0)
	for i := from; i < to; i += step {
		x := at(uint32(i))
		y := e.f(x)
		switch {
		case x != x:
			if y == y {
				return normal, subnormal, fmt.Errorf("%s(NaN) = %x", e.name, y)
			}
			continue
		case x <= e.zero:
			if math.Float32bits(y) != 0 {
				return normal, subnormal, fmt.Errorf("%s(%x) = %x, want +0", e.name, x, y)
			}
		case math.Float32bits(x) < 1<<31 && math.Float32bits(x) >= firstOverflow:
			if y != check.PosInf {
				return normal, subnormal, fmt.Errorf("%s(%x) = %x, want +Inf", e.name, x, y)
			}
		case !(y > 0 && y <= math.MaxFloat32), x <= 0 && y > 1, x == 0 && y != 1:
			return normal, subnormal, fmt.Errorf("%s(%x) = %x", e.name, x, y)
		default:
			want := e.want(float64(x))
			if o := (extreme{ulpError(y, want), x}); want >= 0x1p-126 {
				normal.raise(o)
			} else {
				subnormal.raise(o)
			}
		}
		if e.monotone && y < prev {
			return normal, subnormal, fmt.Errorf("%s falls to %x at %x", e.name, y, x)
		}
		prev = y
	}
	return normal, subnormal, nil
}

// Each exponential over its whole domain, every 257th argument, fewer in short. Package asmtest takes every one.
func TestExponentials(t *testing.T) {
	step := uint64(257)
	if testing.Short() {
		step = 4099
	}
	for _, e := range exponentials {
		last := uint64(indexOf(e.max))
		if e.max == check.PosInf {
			last = math.MaxUint32 // with the NaN
		}
		normal, subnormal, err := e.scan(0, last+1, step)
		if err != nil {
			t.Error(err)
		}
		e.check(t, normal, subnormal)
	}
}

func (e exponential) check(t *testing.T, normal, subnormal extreme) {
	t.Helper()
	t.Logf("%s: at most %.4f ulp at %x, subnormal %.4f ulp at %x", e.name, normal.err, normal.x, subnormal.err, subnormal.x)
	if normal.err > e.normal {
		t.Errorf("%s(%x) is off by %.4f ulp, want at most %g", e.name, normal.x, normal.err, e.normal)
	}
	if subnormal.err > e.subnormal {
		t.Errorf("%s(%x) is off by %.4f ulp (subnormal), want at most %g", e.name, subnormal.x, subnormal.err, e.subnormal)
	}
}

// Every argument around the places where an exponential changes its ways.
func TestExponentialsNearEdges(t *testing.T) {
	near := append([]float32{math.Float32frombits(firstOverflow), exponent.ExpMin, exponent.ExpMax, exponent.NegMin, exponent.TwoMin, -125, -87.33654, -103.2789,
		0x1p-24, -0x1p-24, -0x1p-25}, check.Edges...)
	for n := -150; n <= 128; n++ {
		near = append(near, float32(n), float32(float64(n)*math.Ln2), float32((float64(n)+0.5)*math.Ln2/8))
	}
	for _, e := range exponentials {
		near := append(near, e.zero)
		for _, x := range near {
			last := uint64(indexOf(e.max))
			from, to := uint64(indexOf(x)), uint64(indexOf(x))+400
			normal, subnormal, err := e.scan(max(from, 400)-400, min(to, last+1, 1<<32), 1)
			if err != nil {
				t.Fatal(err)
			}
			if normal.err > e.normal || subnormal.err > e.subnormal {
				e.check(t, normal, subnormal)
			}
		}
	}
}

func TestExpSpecials(t *testing.T) {
	b := math.Float32frombits
	for _, c := range [][2]float32{
		{0, 1}, {check.NegZero, 1}, {check.PosInf, check.PosInf}, {check.NegInf, 0}, {check.NaN, check.NaN},
		{b(firstOverflow - 1), 0x1.ffff08p127}, {b(firstOverflow), check.PosInf}, {math.MaxFloat32, check.PosInf},
		{b(0xc2cff1b4), 0x1p-149}, {b(0xc2cff1b5), 0}, {-math.MaxFloat32, 0}, {0x1p-149, 1}, {-0x1p-149, 1},
	} {
		y := make([]float32, 1)
		Exp(y, c[:1])
		if !check.Same(y[0], c[1]) {
			t.Errorf("Exp(%x) = %x, want %x", c[0], y[0], c[1])
		}
	}
}

// expm has the bits of exp but for what it flushes, which is less than 2^-126.
func TestExpmIsExp(t *testing.T) {
	for i := uint64(indexOf(expmZero)) + 1; i <= uint64(indexOf(0)); i += 401 {
		if x := at(uint32(i)); !check.Same(expm(x), exp(x)) {
			t.Fatalf("expm(%x) = %x, exp gives %x", x, expm(x), exp(x))
		}
	}
	if y := exp(expmZero); y >= 0x1p-126 {
		t.Errorf("expm(%x) flushes %x", float32(expmZero), y)
	}
}

func TestPow2Float(t *testing.T) {
	for n := -130; n <= 0; n++ {
		want := float32(math.Ldexp(1, n))
		if n < -126 {
			want = 0
		}
		if got := pow2Float(float32(n)); got != want {
			t.Errorf("pow2Float(%d) = %x, want %x", n, got, want)
		}
	}
	for _, x := range []float32{check.NaN, check.NegInf, -1e30} {
		if got := pow2Float(x); !check.Same(got, 0) {
			t.Errorf("pow2Float(%g) = %g, want 0", x, got)
		}
	}
}

package tile

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile/exponent"
)

const tanhULP = 5.06

// The tangent of every 257th float, of fewer in short, or of each one with ATTN_EXHAUSTIVE=generic: within its bound, odd,
// at most 1, and 1 from TanhMax on.
func TestTanh(t *testing.T) {
	step := uint32(257)
	switch {
	case os.Getenv("ATTN_EXHAUSTIVE") == "generic":
		step = 1
	case testing.Short():
		step = 4099
	}
	worst := extreme{}
	at := func(x float32) {
		y := tanh(x)
		if math.Float32bits(tanh(-x)) != math.Float32bits(y)|1<<31 {
			t.Fatalf("tanh(%x) = %x, tanh(%x) = %x", x, y, -x, tanh(-x))
		}
		if !(y <= 1) || x >= exponent.TanhMax && y != 1 {
			t.Fatalf("tanh(%x) = %x", x, y)
		}
		if want := math.Tanh(float64(x)); want > 0 {
			worst.raise(extreme{math.Abs(float64(y)-want) / ulpBelow(want), x})
		}
	}
	for b := uint32(0); b <= math.Float32bits(check.PosInf); b += step {
		at(math.Float32frombits(b))
	}
	at(0x1.c23086p2) // the worst of all
	if y := tanh(check.NaN); y == y {
		t.Errorf("tanh(NaN) = %x", y)
	}
	if worst.err > tanhULP || worst.err < 0.99*tanhULP {
		t.Errorf("the error is %g ulp at %x, the bound %g", worst.err, worst.x, tanhULP)
	}
}

// ulpBelow returns 2^-24 times a number, or a subnormal's unit if that is more: less than its ulp.
func ulpBelow(x float64) float64 { return max(x*0x1p-24, 0x1p-149) }

// The documented error of CapTile, relative to scores of all sizes, with caps of all sizes.
func TestCapError(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 40))
	for range 200000 {
		cap := float32(math.Ldexp(1+r.Float64(), r.IntN(250)-125))
		s := float32(math.Ldexp(1+r.Float64(), r.IntN(40)-34) * float64(cap))
		inverse := 1 / cap
		got := capped(s, cap, inverse)
		want := float64(cap) * math.Tanh(float64(s)/float64(cap))
		bound := 9.1*0x1p-24*math.Abs(want) + 0x1p-150*float64(cap) + 0x1p-150
		if err := math.Abs(float64(got) - want); err > bound || got > cap {
			t.Fatalf("cap %x: %x becomes %x, want %x: error %g, bound %g", cap, s, got, want, err, bound)
		}
		if got := capped(8.18*cap, cap, inverse); got != cap {
			t.Fatalf("cap %x of 8.18 times that is %x", cap, got)
		}
	}
	if got := capped(check.PosInf, 30, 1./30); got != 30 {
		t.Errorf("+Inf becomes %g", got)
	}
	if got := capped(check.NegInf, 30, 1./30); got != -30 {
		t.Errorf("-Inf becomes %g", got)
	}
}

// What a bias of -Inf, NaN and +Inf makes of scores.
func TestBiasSpecials(t *testing.T) {
	for _, s := range []float32{0, 3, check.NaN, check.PosInf, check.NegInf} {
		x := []float32{s, s, s, s}
		BiasRow(x, []float32{check.NegInf, check.NaN, check.PosInf, 1})
		if x[0] != check.NegInf {
			t.Errorf("%g with a bias of -Inf is %g", s, x[0])
		}
		if x[1] == x[1] {
			t.Errorf("%g with a bias of NaN is %g", s, x[1])
		}
		if s-s == 0 && x[2] != check.PosInf {
			t.Errorf("%g with a bias of +Inf is %g", s, x[2])
		}
		if s-s == 0 && x[3] != s+Log2E {
			t.Errorf("%g with a bias of 1 is %g", s, x[3])
		}
	}
}

// Scores of a key are multiplied by its scale, those behind them stay, and maxima rise to what they become, but for NaN.
func TestScaleTile(t *testing.T) {
	const w, n = MaxPanel, 3
	var st Panel
	st.Reset(w)
	scales, s, want := []float32{0.5, -2, check.NaN, 7}, make([]float32, (n+1)*w), make([]float32, (n+1)*w)
	for i := range s {
		s[i], want[i] = float32(i%11-5), float32(i%11-5)
		if j := i / w; j < n {
			want[i] *= scales[j]
		}
	}
	ScaleTile(s, &st, scales, n)
	for i, x := range s {
		if !check.Same(x, want[i]) {
			t.Errorf("score %d is %g, want %g", i, x, want[i])
		}
	}
	for r := range w {
		if most := max(want[r], want[w+r]); st.TileMax[r] != most {
			t.Errorf("maximum %d is %g, want %g", r, st.TileMax[r], most)
		}
	}
}

// Distances count both ways from the position, and are exact up to 2^24.
func TestAlibi(t *testing.T) {
	s := make([]float32, 10)
	AlibiRow(s, 6, 0.5)
	for j, want := range []float32{-3, -2.5, -2, -1.5, -1, -.5, 0, -.5, -1, -1.5} {
		if s[j] != want {
			t.Errorf("key %d: %g, want %g", j, s[j], want)
		}
	}
	st := &Panel{Width: 2}
	st.Reset(2)
	tile := make([]float32, 2)
	AlibiTile(tile, st, &[MaxPanel]int32{1<<24 - 1, -1 << 30}, &[MaxPanel]float32{1, 1}, 1, 1<<30-1)
	if tile[0] != -(1<<30-1<<24) || tile[1] != -1<<31 || st.TileMax[0] != tile[0] || st.TileMax[1] != tile[1] {
		t.Errorf("%v, maxima %v", tile, st.TileMax[:2])
	}
}

package kernel

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// Every stored value is read as what its sign, exponent and fraction say, and written back as it was.
func TestHalvesReading(t *testing.T) {
	h, x, back := make([]uint16, 1<<16), make([]float32, 1<<16), make([]uint16, 1<<16)
	for i := range h {
		h[i] = uint16(i)
	}
	value := func(h uint16, fraction, bias int) float64 {
		sign, e, f := 1-2*float64(h>>15), int(h>>fraction)&(2*bias+1), float64(h&(1<<fraction-1))
		switch {
		case e == 2*bias+1 && f > 0:
			return math.NaN()
		case e == 2*bias+1:
			return math.Inf(int(sign))
		case e == 0:
			return sign * math.Ldexp(f, 1-bias-fraction)
		}
		return sign * math.Ldexp(f+float64(int(1)<<fraction), e-bias-fraction)
	}
	for _, c := range []struct {
		name           string
		fraction, bias int
		from           func(dst []float32, src []uint16)
		to             func(dst []uint16, src []float32)
	}{{"Float16", 10, 15, FromFloat16, ToFloat16}, {"BFloat16", 7, 127, FromBFloat16, ToBFloat16}} {
		c.from(x, h)
		c.to(back, x)
		for i, v := range x {
			want := value(h[i], c.fraction, c.bias)
			if want != want {
				require.True(t, v != v, "%s: %#04x is %g, want NaN", c.name, i, v)
				require.Equal(t, h[i]|1<<(c.fraction-1), back[i], "%s: NaN %#04x", c.name, i)
				continue
			}
			require.Equal(t, math.Float64bits(want), math.Float64bits(float64(v)), "%s: %#04x is %g, want %g", c.name, i, v, want)
			require.Equal(t, h[i], back[i], "%s: %#04x", c.name, i)
		}
	}
}

// What is written is the nearest value, of two the even one.
func TestHalvesWriting(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   func(dst []float32, src []uint16)
		to     func(dst []uint16, src []float32)
		inf    uint16
		limit  float64 // what would come behind the largest value
		digest uint64
	}{{"Float16", FromFloat16, ToFloat16, 0x7c00, 0x1p16, 0xdad4b474428c44b0}, {"BFloat16", FromBFloat16, ToBFloat16, 0x7f80, 0x1p128, 0xeaa16484c8575ea3}} {
		all, values := make([]uint16, c.inf), make([]float32, c.inf)
		for i := range all {
			all[i] = uint16(i)
		}
		c.from(values, all)
		at := func(h uint16) float64 {
			if h == c.inf {
				return c.limit
			}
			return float64(values[h])
		}
		// Around each value and each middle, and many of all bits.
		var x []float32
		for h := range c.inf {
			for _, v := range []float64{at(h), (at(h) + at(h+1)) / 2} {
				f := float32(v)
				x = append(x, f, math.Nextafter32(f, -1), math.Nextafter32(f, float32(math.Inf(1))))
			}
		}
		const step = 4099
		for i := range uint32(1 << 32 / step) {
			x = append(x, math.Float32frombits(i*step))
		}
		got, digest := make([]uint16, len(x)), fnv.New64a()
		c.to(got, x)
		for i, v := range x {
			digest.Write([]byte{byte(got[i]), byte(got[i] >> 8)})
			if v != v {
				require.Greater(t, got[i]&0x7fff, c.inf, "%s: NaN", c.name)
				continue
			}
			h, sign := got[i]&0x7fff, got[i]>>15
			require.Equal(t, math.Signbit(float64(v)), sign == 1, "%s: %g", c.name, v)
			if h > c.inf {
				t.Fatalf("%s: %g is NaN", c.name, v)
			}
			exact := math.Abs(float64(v))
			if math.IsInf(exact, 0) {
				require.Equal(t, c.inf, h, "%s: Inf", c.name)
				continue
			}
			off := math.Abs(at(h) - exact)
			for _, other := range []uint16{h - 1, h + 1} {
				if other > c.inf {
					continue
				}
				d := math.Abs(at(other) - exact)
				if d < off || d == off && h&1 == 1 {
					t.Fatalf("%s: %g (%#08x) became %#04x, %g, want %#04x", c.name, v, math.Float32bits(v), h, at(h), other)
				}
			}
		}
		require.Equal(t, c.digest, digest.Sum64(), "%s: %#x", c.name, digest.Sum64())
	}
}

func TestQuantize(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 7))
	for n := range 300 {
		x := asmtest.Fill(r, make([]float32, n), asmtest.Kind(r.IntN(int(asmtest.Kinds))))
		if n%5 > 0 { // without edges
			asmtest.Fill(r, x, asmtest.Kind(r.IntN(int(asmtest.WithEdges))))
		}
		q, back := make([]int8, n), make([]float32, n)
		scale := Quantize(q, x)
		Dequantize(back, q, scale)
		most := 0.0
		for _, v := range x {
			most = math.Max(most, math.Abs(float64(v))) // a NaN stays
		}
		switch want := float32(most) / 127; {
		case math.IsNaN(most) || math.IsInf(most, 0):
			require.True(t, scale != scale)
			for i := range q {
				require.Zero(t, q[i])
				require.True(t, back[i] != back[i])
			}
		case want < 0x1p-126:
			require.Equal(t, float32(0), scale)
			require.Equal(t, make([]int8, n), q)
		default:
			require.Equal(t, want, scale)
			for i, v := range x {
				require.Equal(t, math.RoundToEven(float64(v/scale)), float64(q[i]), "%g / %g", v, scale)
				require.Equal(t, float32(q[i])*scale, back[i])
				if float64(scale) < math.MaxFloat32/256 {
					require.LessOrEqual(t, math.Abs(float64(v)-float64(back[i])), 0.501*float64(scale))
				}
			}
		}
	}
	q := make([]int8, 6)
	require.Equal(t, float32(1), Quantize(q, []float32{127, 0.5, 1.5, -2.5, -127, 0.49}))
	require.Equal(t, []int8{127, 0, 2, -2, -127, 0}, q) // ties to even
	require.Equal(t, float32(0), Quantize(nil, nil))
}

func TestTypePanics(t *testing.T) {
	for name, f := range map[string]func(){
		"ToFloat16":    func() { ToFloat16(make([]uint16, 3), make([]float32, 4)) },
		"FromFloat16":  func() { FromFloat16(make([]float32, 3), make([]uint16, 4)) },
		"ToBFloat16":   func() { ToBFloat16(make([]uint16, 3), make([]float32, 4)) },
		"FromBFloat16": func() { FromBFloat16(make([]float32, 3), make([]uint16, 4)) },
		"Quantize":     func() { Quantize(make([]int8, 3), make([]float32, 4)) },
		"Dequantize":   func() { Dequantize(make([]float32, 3), make([]int8, 4), 1) },
	} {
		require.PanicsWithValue(t, "attn: "+name+": dst has 3 elements, src 4", f)
	}
}

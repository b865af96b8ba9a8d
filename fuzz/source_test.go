package fuzz

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
)

// A source turns the fuzzer's bytes into arguments. When they run out it goes on with a generator that
// they seed, so that a short input still fills a large tensor.
type source struct {
	bytes []byte
	more  *rand.PCG
}

func newSource(data []byte) *source {
	h := fnv.New64a()
	h.Write(data)
	return &source{data, rand.NewPCG(h.Sum64(), 0)}
}

// seed is the input whose first draws of Int are lo + the given numbers.
func seed(draws ...int) (data []byte) {
	for _, d := range draws {
		data = binary.LittleEndian.AppendUint16(data, uint16(d))
	}
	return data
}

func (s *source) uint16() (x uint16) {
	if len(s.bytes) < 2 {
		s.bytes = nil
		return uint16(s.more.Uint64() >> 48)
	}
	x = binary.LittleEndian.Uint16(s.bytes)
	s.bytes = s.bytes[2:]
	return x
}

// Int draws a number from lo to hi, which are less than 2^16 apart.
func (s *source) Int(lo, hi int) int { return lo + int(s.uint16())%(hi-lo+1) }

// Bool draws false or true.
func (s *source) Bool() bool { return s.Int(0, 1) == 1 }

// Size draws one of the limits, and then a number from lo to that limit, or to most if that is less: small
// sizes are as likely as large ones.
func (s *source) Size(lo, most int, limits ...int) int {
	return s.Int(lo, max(lo, min(most, limits[s.Int(0, len(limits)-1)])))
}

// kind is a distribution of values.
type kind int

const (
	normal kind = iota // like normal values, in [-2.5, 2.5]
	wide               // normal values times 2^-40 to 2^40
	tiny               // normal values times 2^-147: a few of the least subnormals
	ties               // multiples of 2^-12, many next to 1: products that lie on ties
	raw                // any 32 bits
	strewn             // normal values with zeros, subnormals, limits, infinities and NaN strewn in
)

// Kind draws a distribution, most often one that keeps scores moderate.
func (s *source) Kind() kind {
	return [...]kind{normal, normal, normal, normal, ties, ties, ties, wide, raw, strewn, tiny}[s.Int(0, 10)]
}

// Float32 draws a value.
func (s *source) Float32(k kind) float32 {
	word := uint32(s.uint16())<<16 | uint32(s.uint16())
	// The difference of two uniform numbers has the variance 1/6.
	x := float32(float64(int(word>>16)-int(word&0xffff)) * 0x1p-16 * math.Sqrt(6))
	switch k {
	case wide:
		return float32(math.Ldexp(float64(x), s.Int(-40, 40)))
	case tiny:
		return x * 0x1p-147
	case ties:
		tie := float32(word%64) * 0x1p-12
		return [...]float32{tie, -tie, 1 + tie, -1 - tie}[word>>30]
	case raw:
		return math.Float32frombits(word)
	case strewn:
		if word%8 == 0 {
			return asmtest.Edges[word>>3%uint32(len(asmtest.Edges))]
		}
	}
	return x
}

// Fill draws a distribution and all elements of x.
func (s *source) Fill(x []float32) []float32 {
	k := s.Kind()
	for i := range x {
		x[i] = s.Float32(k)
	}
	return x
}

// Length draws the length of a vector: one in eight may be longer than one call of the assembly takes.
func (s *source) Length(lo, most int) int {
	return s.Size(lo, most, 40, 300, 40, 300, 40, 300, 300, maxLength)
}

const maxLength = 1<<15 + 100

// within fails the test unless got is at most bound away from want.
func within(t testing.TB, got float32, want, bound float64, format string, args ...any) {
	t.Helper()
	if r := Ratio(got, want, bound); !math.IsInf(bound, 1) && r > 1 {
		t.Fatalf(format+": %g is %.3g times as far from %g as the bound %g", append(args, got, r, want, bound)...)
	}
}

// canary marks memory that must not be written, or whose content must not matter. It is a NaN.
var canary = math.Float32frombits(0xffedcba9)

func canaries(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = canary
	}
	return x
}

// sameMemory fails the test unless got has the bits of want, a NaN in place of another NaN aside, and
// a canary wherever want has one.
func sameMemory(t testing.TB, want, got []float32, format string, args ...any) {
	t.Helper()
	asmtest.Equal(t, want, got, format, args...)
	for i := range want {
		if isCanary(want[i]) && !isCanary(got[i]) {
			t.Fatalf(format+": wrote to element %d, outside of the result", append(args, i)...)
		}
	}
}

func isCanary(x float32) bool { return math.Float32bits(x) == math.Float32bits(canary) }

package asmtest

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"math/big"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// Every exponential on every argument, against a reference that is right to 2^-26 ulp.
//
// An argument is its 32 bits. Those of a chunk, 4096 in a row, have one sign and one exponent e,
// and are x = s + i*ulp or s - i*ulp: e^x = e^s * e^(i*ulp), where the first factor comes from
// math/big, once a chunk, and the second from a table that the chunks of a binade share. So the
// reference of an argument costs one multiplication.
const (
	chunkLen    = 1 << 12
	blockLen    = 1 << 20 // an eighth of a binade, the arguments of one digest
	blockChunks = blockLen / chunkLen
	blocks      = 1 << 32 / blockLen

	// The reference is off by at most 2^-51 relatively: half an ulp of float64 for e^s, one for the
	// table and half for the product. A float32 result is at most 2^24 ulp.
	referenceULP = 0x1p-26

	firstOverflow = 0x42b17218 // the least argument for which e^x rounds to +Inf
	one           = 0x1p-26    // arguments up to this size give 1, which is then within 0.25 ulp
)

// An exponential is one of those of package generic, the way in which a kernel computes it, and
// what generic claims of it.
type exponential struct {
	name, digests string
	// f works in place on x[1:], of chunkLen arguments. x[0] is 0.
	f                 func(impl Impl, x []float32)
	log               *big.Float // of the base
	positive          bool       // positive arguments are allowed
	zero              float32    // arguments up to here give +0
	normal, subnormal float64    // bounds in ulp
	monotone          bool
}

var exponentials = []exponential{
	{
		name: "Exp", digests: "Exp", log: bigFloat(1), positive: true,
		f:    func(impl Impl, x []float32) { impl.Exp(x[1:], x[1:]) },
		zero: math.Float32frombits(0xc2cff1b5), normal: 0.60, subnormal: 0.77, monotone: true,
	},
	{
		name: "exp of Softmax", digests: "expm", log: bigFloat(1),
		f:    func(impl Impl, x []float32) { impl.ExpSum(x[1:], x[1:], 0, new([tile.Lanes]float32)) },
		zero: -0x1.5d84fep+06, normal: 0.60, subnormal: 0.77, monotone: true,
	},
	{
		name: "exp2 of rows", digests: "exp2", log: bigLn2(),
		f:    func(impl Impl, x []float32) { impl.RowWeights(x) }, // of which the maximum is 0
		zero: -125.5, normal: 0.80,
	},
	{
		name: "exp2 of panels", digests: "exp2", log: bigLn2(),
		f: func(impl Impl, x []float32) {
			st := tile.Panel{Width: impl.PanelWidth} // all maxima are 0
			impl.SoftmaxTile(x[1:], &st, chunkLen/impl.PanelWidth)
		},
		zero: -125.5, normal: 0.80,
	},
}

// expected returns the result for an argument that needs no reference.
func (e *exponential) expected(bits uint32) (y float32, ok bool) {
	x := math.Float32frombits(bits)
	switch {
	case x != x:
		return x, true
	case x >= -one && x <= one:
		return 1, true
	case x <= e.zero:
		return 0, true
	case bits < 1<<31 && bits >= firstOverflow:
		return float32(math.Inf(1)), true
	}
	return 0, false
}

// A scan is what was found over some arguments.
type scan struct {
	normal, subnormal extreme // largest errors
	falls             int     // neighbours whose results are in the wrong order
	args              int
}

// An extreme is an error in ulp, and where.
type extreme struct {
	ulp  float64
	x, y float32
}

func (s *scan) add(o scan) {
	for _, e := range []struct{ to, from *extreme }{{&s.normal, &o.normal}, {&s.subnormal, &o.subnormal}} {
		if e.from.ulp > e.to.ulp {
			*e.to = *e.from
		}
	}
	s.falls += o.falls
	s.args += o.args
}

// A scanner checks one block after the other.
type scanner struct {
	*exponential
	impl Impl
	// Whether errors are measured, or left to the digests of the blocks.
	measure bool
	memory  [1 + chunkLen + 16]float32 // RowWeights may write 16 more
	// e^|i*ulp|, or with a negative argument its inverse, for the sign and exponent of tableFor.
	table    [chunkLen]float64
	tableFor uint32
}

// block checks every step-th chunk of a block, and returns the digest of the results that are not
// expected.
func (s *scanner) block(b, step uint32) (found scan, digest uint32, err error) {
	var hash uint64
	var last float32 // of the chunk before
	for c := uint32(0); c < blockChunks; c += step {
		first := b*blockLen + c*chunkLen
		y := s.memory[1 : 1+chunkLen]
		for i := range y {
			y[i] = math.Float32frombits(first + uint32(i))
		}
		s.memory[0] = 0
		s.f(s.impl, s.memory[:1+chunkLen])
		if c == 0 || step > 1 {
			last = y[0]
		}
		if want, ok := s.constant(first); ok {
			if i := differs(y, want); i >= 0 {
				return found, 0, s.wrong(first+uint32(i), y[i], want)
			}
			found.args += chunkLen
		} else {
			if s.measure {
				f, err := s.chunk(first, y, last)
				if err != nil {
					return found, 0, err
				}
				found.add(f)
			}
			hash = addDigest(hash, y)
		}
		last = y[chunkLen-1]
	}
	return found, uint32(hash >> 32), nil
}

// constant returns the result for all arguments of a chunk, if it is one.
func (e *exponential) constant(first uint32) (y float32, ok bool) {
	y, ok = e.expected(first)
	z, ok2 := e.expected(first + chunkLen - 1)
	return y, ok && ok2 && SameBits(y, z)
}

// differs returns the index of the first element of y that is not c, or -1.
func differs(y []float32, c float32) int {
	diff, bits := uint32(0), math.Float32bits(c)
	for _, v := range y {
		diff |= math.Float32bits(v) ^ bits
	}
	if diff == 0 {
		return -1
	}
	return slices.IndexFunc(y, func(v float32) bool { return !SameBits(v, c) }) // the bits of NaN are many
}

func (s *scanner) wrong(bits uint32, got float32, want any) error {
	return fmt.Errorf("%s: %s(%x) is %x, want %v", s.impl.Name, s.name, math.Float32frombits(bits), got, want)
}

// chunk checks the results y for the arguments from first on; before is the result for the one
// before.
func (s *scanner) chunk(first uint32, y []float32, before float32) (found scan, err error) {
	found.args = len(y)
	_, firstKnown := s.expected(first)
	_, lastKnown := s.expected(first + chunkLen - 1)
	mixed := firstKnown || lastKnown
	negative := first >= 1<<31
	most := float32(math.MaxFloat32)
	if negative {
		most = 1
	}
	start := s.start(first)
	s.tabulate(first)
	for i, v := range y {
		if mixed {
			if c, ok := s.expected(first + uint32(i)); ok {
				if !SameBits(v, c) {
					return found, s.wrong(first+uint32(i), v, c)
				}
				before = v
				continue
			}
		}
		want := start * s.table[i]
		if !(v > 0 && v <= most) {
			return found, s.wrong(first+uint32(i), v, want)
		}
		if v != before && v < before != negative {
			found.falls++
		}
		before = v
		// One ulp is 2^(e-23), or 2^-149 for subnormal results, where want is 2^e to 2^(e+1).
		const minNormal = (1023 - 126) << 52
		bits := math.Float64bits(want) &^ (1<<52 - 1)
		err, worst := math.Abs(float64(v)-want), &found.normal
		if bits < minNormal {
			bits, worst = minNormal, &found.subnormal
		}
		err *= math.Float64frombits((2*1023+23)<<52 - bits)
		if err > worst.ulp {
			*worst = extreme{err, math.Float32frombits(first + uint32(i)), v}
		}
	}
	return found, nil
}

// start returns the exponential of an argument to float64, or 0 where that is not of use.
func (s *scanner) start(bits uint32) float64 {
	x := float64(math.Float32frombits(bits))
	if !(math.Abs(x) < 256) {
		return 0
	}
	y, _ := s.exact(x).Float64()
	return y
}

// exact returns base^x to more than 120 bits, |x| < 256: with x*log(base) = 2^20*r, the series of
// e^r and 20 squarings.
func (e *exponential) exact(x float64) *big.Float {
	const halvings = 20
	r := bigFloat(x)
	r.Mul(r, e.log)
	r.SetMantExp(r, -halvings)
	sum, term := bigFloat(1), bigFloat(1)
	for i := 1; i <= 10; i++ { // |r| < 2^-12, and 2^-132/11! is what is left
		term.Mul(term, r)
		term.Quo(term, bigFloat(float64(i)))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// tabulate sets the table for the binade of an argument below 2^7: |i*ulp| is below 2^-4, and 11
// terms leave less than 2^-48/12!.
func (s *scanner) tabulate(bits uint32) {
	binade := bits >> 23
	if binade == s.tableFor || binade&0xff >= 127+7 {
		return
	}
	s.tableFor = binade
	ulp, _ := s.log.Float64()
	ulp = math.Ldexp(ulp, int(binade&0xff)-127-23)
	if binade >= 1<<8 {
		ulp = -ulp
	}
	for i := range s.table {
		r, sum := float64(i)*ulp, 0.0
		for n := 11; n >= 1; n-- {
			sum = (1 + sum) * r / float64(n)
		}
		s.table[i] = 1 + sum
	}
}

// addDigest continues a polynomial in the bits of results modulo 2^64; all NaN are one.
func addDigest(h uint64, y []float32) uint64 {
	const p1 uint64 = 0x9e3779b97f4a7c15
	const p2 uint64 = 0xdf442d22ce4859b9 // its square
	word := func(v float32) uint64 {
		if v != v {
			return 0x7fc00000
		}
		return uint64(math.Float32bits(v))
	}
	for i := 0; i < len(y); i += 2 {
		h = h*p2 + (word(y[i])*p1 + word(y[i+1]))
	}
	return h
}

// The digests of the blocks whose results are not all 0, 1, +Inf or NaN.
//
//go:embed testdata/exponentials.txt
var exponentialDigests []byte

// readDigests returns the committed digests by exponential and block.
func readDigests(t *testing.T) map[string]map[uint32]uint32 {
	all := map[string]map[uint32]uint32{}
	for lines := bufio.NewScanner(bytes.NewReader(exponentialDigests)); lines.Scan(); {
		var name string
		var block, digest uint32
		_, err := fmt.Sscanf(lines.Text(), "%s %x %x", &name, &block, &digest)
		require.NoError(t, err, lines.Text())
		if all[name] == nil {
			all[name] = map[uint32]uint32{}
		}
		all[name][block] = digest
	}
	return all
}

// varies reports whether a block has a digest.
func (e *exponential) varies(b uint32) bool {
	c, first := e.expected(b * blockLen)
	d, last := e.expected(b*blockLen + blockLen - 1)
	return !(first && last && SameBits(c, d)) && b&0x7ff < 0xff<<3 // an infinity starts a block of NaN
}

// By default each implementation computes the first chunk of each block and, of those with a
// digest, the last one too and one block in 31 as a whole; those that ATTN_EXHAUSTIVE names, all
// arguments. The first of these is measured, and its digests are those of the others.
func TestExponentials(t *testing.T) {
	SkipRace(t)
	golden := readDigests(t)
	names, exhausted := os.Getenv("ATTN_EXHAUSTIVE"), false
	test := func(t *testing.T, impl Impl) {
		exhaustive := slices.Contains(strings.Split(names, ","), impl.Name)
		measure := !(exhaustive && exhausted)
		exhausted = exhausted || exhaustive
		for i := range exponentials {
			e := &exponentials[i]
			found, lines := e.all(t, impl, golden[e.digests], exhaustive, measure)
			row := fmt.Sprintf("%-15s %-8s %10d arguments   error %.4f ulp at %-16x subnormal %.4f ulp at %-16x falls %-5d digests %d",
				e.name, impl.Name, found.args, found.normal.ulp, found.normal.x, found.subnormal.ulp, found.subnormal.x, found.falls, lines)
			if !measure {
				row = fmt.Sprintf("%-15s %-8s the same bits by %d digests", e.name, impl.Name, lines)
			}
			if exhaustive {
				fmt.Println(row)
			} else {
				t.Log(row)
			}
			require.LessOrEqual(t, found.normal.ulp+referenceULP, e.normal, row)
			require.LessOrEqual(t, found.subnormal.ulp+referenceULP, max(e.subnormal, referenceULP), row)
			require.False(t, e.monotone && found.falls > 0, row)
		}
	}
	if !Emulated { // there TestDigests must do: pure Go takes minutes
		t.Run("generic", func(t *testing.T) { test(t, Generic(16)) })
	}
	Run(t, test)
	if names != "" && !exhausted {
		t.Errorf("ATTN_EXHAUSTIVE is %s: this machine supports none of them", names)
	}
}

// all checks the blocks by as many goroutines as there are CPUs, and returns how many digests were
// compared too.
func (e *exponential) all(t *testing.T, impl Impl, golden map[uint32]uint32, exhaustive, measure bool) (found scan, digests int) {
	work := make(chan uint32)
	var mutex sync.Mutex
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			s := &scanner{exponential: e, impl: impl, measure: measure, tableFor: math.MaxUint32}
			for b := range work {
				step := uint32(blockChunks)
				switch {
				case exhaustive || e.varies(b) && b%31 == 0:
					step = 1
				case e.varies(b):
					step = blockChunks - 1
				}
				f, digest, err := s.block(b, step)
				mutex.Lock()
				found.add(f)
				if err != nil {
					t.Error(err)
				}
				if e.varies(b) && step == 1 {
					digests++
					if want, ok := golden[b]; !ok || digest != want {
						t.Errorf("%s %03x %08x: the digest of %s is not the committed one", e.digests, b, digest, impl.Name)
					}
				}
				mutex.Unlock()
			}
		}()
	}
	for b := range uint32(blocks) {
		if e.positive || b >= blocks/2 {
			work <- b
		}
	}
	close(work)
	wait.Wait()
	// Where blocks meet.
	s := &scanner{exponential: e, impl: impl}
	edge := func(bits uint32) float32 {
		x := s.memory[:1+chunkLen]
		clear(x)
		x[1] = math.Float32frombits(bits)
		s.f(impl, x)
		return x[1]
	}
	for b := range uint32(blocks) {
		if first := b * blockLen; e.varies(b) && (e.positive || b >= blocks/2) {
			y, before := edge(first), edge(first-1)
			if y != before && y < before != (b >= blocks/2) {
				found.falls++
			}
		}
	}
	return found, digests
}

// The limits of the range are where the exact exponential says.
func TestExponentialThresholds(t *testing.T) {
	e := &exponentials[0]
	exact := func(bits uint32) *big.Float { return e.exact(float64(math.Float32frombits(bits))) }
	infinite, tiny := bigFloat(0x1p128-0x1p103), bigFloat(0x1p-150) // round to +Inf and, as a tie, to +0
	zero := math.Float32bits(e.zero)
	require.Negative(t, exact(firstOverflow-1).Cmp(infinite))
	require.Positive(t, exact(firstOverflow).Cmp(infinite))
	require.Positive(t, exact(zero-1).Cmp(tiny))
	require.Negative(t, exact(zero).Cmp(tiny))
}

// The reference of neighbours, from the table, is that of math/big.
func TestExponentialReference(t *testing.T) {
	for i := range exponentials {
		e := &exponentials[i]
		s := &scanner{exponential: e}
		for _, first := range []uint32{0x32801000, 0x3f800000, 0x42affff0 &^ (chunkLen - 1), 0xb2801000, 0xbf801000, 0xc2fe0000} {
			start := s.start(first)
			s.tabulate(first)
			for i := 0; i < chunkLen; i += 65 {
				want, _ := e.exact(float64(math.Float32frombits(first + uint32(i)))).Float64()
				require.InEpsilon(t, want, start*s.table[i], 0x1p-51, "%s of %x", e.name, first+uint32(i))
			}
		}
	}
}

// bigFloat returns x with room for 160 bits.
func bigFloat(x float64) *big.Float { return new(big.Float).SetPrec(160).SetFloat64(x) }

// bigLn2 returns ln 2 = 2*(1/3 + 1/(3*3^3) + 1/(5*3^5) + ...).
func bigLn2() *big.Float {
	sum, power := bigFloat(0), bigFloat(2)
	power.Quo(power, bigFloat(3))
	for i := 1; i < 110; i += 2 {
		sum.Add(sum, new(big.Float).Quo(power, bigFloat(float64(i))))
		power.Quo(power, bigFloat(9))
	}
	return sum
}

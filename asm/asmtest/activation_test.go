package asmtest

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every activation on every argument, against float64, in the blocks and chunks of the exponentials.

// An activation is one of package tile, and what it claims.
type activation struct {
	name  string
	f     func(impl Impl, x []float32)
	exact func(x float64) float64
	zero  float32 // arguments up to here give -0
}

var activations = []activation{
	{
		name: "Gelu", f: func(impl Impl, x []float32) { impl.Gelu(x, x) }, zero: -13,
		exact: func(x float64) float64 { return x / 2 * math.Erfc(-x*(math.Sqrt2/2)) },
	}, {
		name: "GeluTanh", f: func(impl Impl, x []float32) { impl.GeluTanh(x, x) }, zero: -10.0625,
		exact: func(x float64) float64 {
			return x / (1 + math.Exp(-2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		},
	}, {
		name: "Silu", f: func(impl Impl, x []float32) { impl.Silu(x, x) }, zero: -88.75,
		exact: func(x float64) float64 { return x / (1 + math.Exp(-x)) },
	},
}

// The digests of the blocks of arguments from 2^-26 to 2^7.
//
//go:embed testdata/activations.txt
var activationDigests []byte

const (
	leastVarying = 127 - 26 // the exponents of these
	mostVarying  = 127 + 6
)

func varies(b uint32) bool {
	e := b * blockLen >> 23 & 0xff
	return e >= leastVarying && e <= mostVarying
}

// expected returns the result for an argument of another block: half of a tiny one, and a large one or
// -0.
func (a *activation) expected(x float32) float32 {
	switch {
	case x != x || x >= 1:
		return x
	case x <= -1:
		return float32(math.Copysign(0, -1))
	}
	return float32(x * 0.5)
}

// Errors are the largest in ulp, for arguments from -1 on and for the others; of those, where an error is
// less than 2^-26 |x|, it does not count. fraction is the largest error below -1 relative to 2^-26 |x|.
type activationErrors struct{ upper, lower, fraction float64 }

func (e *activationErrors) add(o activationErrors) {
	e.upper, e.lower, e.fraction = max(e.upper, o.upper), max(e.lower, o.lower), max(e.fraction, o.fraction)
}

// block checks every step-th chunk of a block, and returns the digest of the results. Unless it is to measure, it
// leaves those of a varying block to the digest.
func (a *activation) block(impl Impl, b, step uint32, measure bool) (found activationErrors, digest uint32, err error) {
	var hash uint64
	var x, y [chunkLen]float32
	for c := uint32(0); c < blockChunks; c += step {
		for i := range x {
			x[i] = math.Float32frombits(b*blockLen + c*chunkLen + uint32(i))
		}
		y = x
		a.f(impl, y[:])
		hash = addDigest(hash, y[:])
		if varies(b) && !measure {
			continue
		}
		for i, v := range x {
			if !varies(b) || v <= a.zero {
				if want := a.expected(v); !SameBits(want, y[i]) {
					return found, 0, fmt.Errorf("%s: %s(%x) is %x, want %x", impl.Name, a.name, v, y[i], want)
				}
				continue
			}
			want := a.exact(float64(v))
			e := math.Abs(float64(y[i]) - want)
			_, exp := math.Frexp(want)
			ulps := math.Ldexp(e, -max(exp-24, -149))
			if !(ulps < 1e30) || math.Signbit(float64(y[i])) != (v < 0) {
				return found, 0, fmt.Errorf("%s: %s(%x) is %x, want %g", impl.Name, a.name, v, y[i], want)
			}
			if v >= -1 {
				found.upper = max(found.upper, ulps)
				continue
			}
			part := e / (-float64(v) * 0x1p-26)
			found.fraction = max(found.fraction, part)
			if part > 1 {
				found.lower = max(found.lower, ulps)
			}
		}
	}
	return found, uint32(hash >> 32), nil
}

// By default each implementation computes the first and the last chunk of each varying block, the first
// of the others, and one varying block in 61 as a whole; those that ATTN_EXHAUSTIVE names, all
// arguments. The first of these is measured, and its digests are those of the others.
func TestActivations(t *testing.T) {
	SkipRace(t)
	golden := map[string]uint32{}
	for lines := bufio.NewScanner(bytes.NewReader(activationDigests)); lines.Scan(); {
		var name string
		var block, digest uint32
		_, err := fmt.Sscanf(lines.Text(), "%s %x %x", &name, &block, &digest)
		require.NoError(t, err, lines.Text())
		golden[fmt.Sprintf("%s %03x", name, block)] = digest
	}
	names, measured := strings.Split(os.Getenv("ATTN_EXHAUSTIVE"), ","), false
	test := func(t *testing.T, impl Impl) {
		exhaustive := slices.Contains(names, impl.Name)
		measure := !(exhaustive && measured)
		measured = measured || exhaustive
		for i := range activations {
			a := &activations[i]
			t.Run(a.name, func(t *testing.T) { scanActivation(t, a, impl, exhaustive, measure, golden) })
		}
	}
	if !Emulated {
		t.Run("generic", func(t *testing.T) { test(t, Generic(16)) })
	}
	Run(t, test)
}

// scanActivation checks all blocks by as many goroutines as there are CPUs.
func scanActivation(t *testing.T, a *activation, impl Impl, exhaustive, measure bool, golden map[string]uint32) {
	var mutex sync.Mutex
	var wait sync.WaitGroup
	var all activationErrors
	digests := 0
	work := make(chan uint32)
	for range runtime.GOMAXPROCS(0) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for b := range work {
				step := uint32(blockChunks)
				switch {
				case exhaustive || varies(b) && b%61 == 0:
					step = 1
				case varies(b):
					step = blockChunks - 1
				}
				found, digest, err := a.block(impl, b, step, measure)
				mutex.Lock()
				all.add(found)
				if err != nil {
					t.Error(err)
				}
				if varies(b) && step == 1 {
					key := fmt.Sprintf("%s %03x", a.name, b)
					digests++
					if want, ok := golden[key]; !ok || want != digest {
						t.Errorf("%s %08x: the digest of %s is not the committed one", key, digest, impl.Name)
					}
				}
				mutex.Unlock()
			}
		}()
	}
	for b := range uint32(blocks) {
		work <- b
	}
	close(work)
	wait.Wait()
	row := fmt.Sprintf("%-9s %-8s error from -1 on %.4f ulp, below %.4f ulp or %.4f of 2^-26|x|   digests %d",
		a.name, impl.Name, all.upper, all.lower, all.fraction, digests)
	if !measure {
		row = fmt.Sprintf("%-9s %-8s the same bits by %d digests", a.name, impl.Name, digests)
	}
	if exhaustive {
		fmt.Println(row)
	} else {
		t.Log(row)
	}
	require.LessOrEqual(t, all.upper, 2.0, row)
	require.LessOrEqual(t, all.lower, 2.0, row)
}

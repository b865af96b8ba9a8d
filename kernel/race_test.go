//go:build race

package kernel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// A plant is two pieces of work without synchronization, one of the package and one of a user. race
// says whether they meet in memory.
type plant struct {
	name       string
	race       bool
	ours, user func()
}

func plants() (all []plant) {
	r := rand.New(rand.NewPCG(1, 12))
	add := func(name string, race bool, ours, user func()) { all = append(all, plant{name, race, ours, user}) }
	read := func(x []float32, i int) func() { return func() { sink = x[i] } }
	write := func(x []float32, i int) func() { return func() { x[i] = 1 } }

	vector := func() []float32 { return asmtest.Fill(r, make([]float32, 1003), asmtest.Normal) }
	for _, v := range []struct {
		name   string
		writes bool
		f      func(dst, x []float32)
	}{
		{"Exp", true, Exp},
		{"GELU", true, GELU},
		{"GELUTanh", true, GELUTanh},
		{"SiLU", true, SiLU},
		{"Softmax", true, Softmax},
		{"SoftmaxRows", true, func(dst, x []float32) { SoftmaxRows(dst, x, 27) }},
		{"Dot", false, func(y, x []float32) { sink = Dot(y, x) }},
		{"LogSumExp", false, func(_, x []float32) { sink = LogSumExp(x) }},
	} {
		call := func() (dst, x []float32, f func()) {
			dst, x = vector(), vector()
			return dst, x, func() { v.f(dst[1:1000], x[1:1000]) }
		}
		_, x, f := call()
		add(v.name+" reads what is written", true, f, write(x, 999))
		if v.writes {
			dst, _, f := call()
			add(v.name+" writes what is read", true, f, read(dst, 1))
		}
		dst, x, f := call()
		add(v.name+" beside its vectors", false, f, func() { dst[0], dst[1000], x[0], x[1000] = 1, 1, 1, 1 })
	}

	product := func() (c, a, b Matrix, f func()) {
		c, a, b = newMatrix(r, 201, 90, 91, asmtest.Normal), newMatrix(r, 201, 70, 75, asmtest.Normal), newMatrix(r, 70, 90, 95, asmtest.Normal)
		return c, a, b, func() { must(MatMul(c, a, b, &MatMulOptions{Workers: 2})) }
	}
	c, _, _, f := product()
	add("MatMul writes what is read", true, f, read(c.Data, 200*91+89))
	_, a, _, f := product()
	add("MatMul reads a that is written", true, f, write(a.Data, 100*75+69))
	_, _, b, f := product()
	add("MatMul reads b that is written", true, f, write(b.Data, 69*95))
	c, a, b, f = product()
	add("MatMul between its rows", false, f, func() { c.Data[90], a.Data[74], b.Data[90] = 1, 1, 1 })

	for _, norm := range []struct {
		name string
		f    func(dst, x Matrix, gain, bias []float32)
	}{
		{"LayerNorm", func(dst, x Matrix, gain, bias []float32) { must(LayerNorm(dst, x, gain, bias, 1e-5)) }},
		{"RMSNorm", func(dst, x Matrix, gain, _ []float32) { must(RMSNorm(dst, x, gain, 1e-5)) }},
	} {
		call := func() (dst, x Matrix, gain, bias []float32, f func()) {
			dst, x = newMatrix(r, 30, 90, 91, asmtest.Normal), newMatrix(r, 30, 90, 92, asmtest.Normal)
			gain, bias = vector()[:91], vector()[:91]
			return dst, x, gain, bias, func() { norm.f(dst, x, gain[:90], bias[:90]) }
		}
		dst, _, _, _, f := call()
		add(norm.name+" writes what is read", true, f, read(dst.Data, 29*91+89))
		_, x, _, _, f := call()
		add(norm.name+" reads what is written", true, f, write(x.Data, 29*92))
		_, _, gain, _, f := call()
		add(norm.name+" reads gains that are written", true, f, write(gain, 89))
		if norm.name == "LayerNorm" {
			_, _, _, bias, f := call()
			add(norm.name+" reads biases that are written", true, f, write(bias, 0))
		}
		dst, x, gain, bias, f := call()
		add(norm.name+" beside its rows", false, f, func() { dst.Data[90], x.Data[90], gain[90], bias[90] = 1, 1, 1, 1 })
	}

	packed, err := Pack(newMatrix(r, 70, 90, 95, asmtest.Normal), nil)
	must(err)
	withPacked := func(rows int) (c, a Matrix, bias []float32, f func()) {
		c, a, bias = newMatrix(r, rows, 90, 91, asmtest.Normal), newMatrix(r, rows, 70, 75, asmtest.Normal), vector()[:91]
		return c, a, bias, func() { must(MatMulPacked(c, a, packed, &MatMulOptions{Bias: bias[:90], Workers: 2})) }
	}
	for _, rows := range []int{1, 201} {
		name := fmt.Sprintf("MatMulPacked of %d rows ", rows)
		c, _, _, f := withPacked(rows)
		add(name+"writes what is read", true, f, read(c.Data, (rows-1)*91+63)) // not of the first panel
		_, a, _, f := withPacked(rows)
		add(name+"reads a that is written", true, f, write(a.Data, (rows-1)*75+69))
		_, _, bias, f := withPacked(rows)
		add(name+"reads a bias that is written", true, f, write(bias, 63))
		c, a, bias, f = withPacked(rows)
		add(name+"between its rows", false, f, func() { c.Data[90], a.Data[74], bias[90] = 1, 1, 1 })
	}

	rotary := func() (x Tensor, cos, sin Matrix, f func()) {
		x, cos, sin = newTensor(r, 1, 2, 300, 20, gaps, asmtest.Normal), newMatrix(r, 300, 8, 9, asmtest.Normal), newMatrix(r, 300, 8, 9, asmtest.Normal)
		return x, cos, sin, func() { must(Rotary(x, cos, sin, nil, len(all)%2 == 0)) }
	}
	x, _, _, f := rotary()
	add("Rotary writes what is read", true, f, read(x.Data, x.HeadStride+299*x.LenStride+15))
	_, cos, _, f := rotary()
	add("Rotary reads cos that is written", true, f, write(cos.Data, 299*9+7))
	_, _, sin, f := rotary()
	add("Rotary reads sin that is written", true, f, write(sin.Data, 0))
	x, cos, sin, f = rotary()
	add("Rotary beside its pairs", false, f, func() { x.Data[16], x.Data[20], cos.Data[8], sin.Data[8] = 1, 1, 1, 1 })

	// Heads of a buffer [Len][Heads][Dim] may be attended to at the same time.
	const heads, dim = 2, 24
	for _, s := range []struct {
		path   string
		lq, lk int
	}{{"prefill", 150, 150}, {"decode", 1, 300}, {"split decode", 1, 10000}} {
		head := func(n int) Tensor {
			return view(newTensor(r, 1, heads, n, dim, blhd, asmtest.Normal), 0, 1, 0, 1, 0, n)
		}
		call := func() (dst, q, k, v Tensor, f func()) {
			dst, q, k, v = head(s.lq), head(s.lq), head(s.lk), head(s.lk)
			return dst, q, k, v, func() { must(Attention(dst, q, k, v, &Options{Causal: true, Workers: 3})) }
		}
		at := func(t Tensor, i, d int) int { return i*t.LenStride + d }
		dst, _, _, _, f := call()
		add(s.path+" writes what is read", true, f, read(dst.Data, at(dst, s.lq-1, dim-1)))
		dst, _, _, _, f = call()
		add(s.path+" writes what is written", true, f, write(dst.Data, at(dst, s.lq/2, 0)))
		_, q, _, _, f := call()
		add(s.path+" reads q that is written", true, f, write(q.Data, at(q, s.lq/2, 3)))
		_, _, k, _, f := call()
		add(s.path+" reads k that is written", true, f, write(k.Data, at(k, s.lk-1, dim-1)))
		_, _, _, v, f := call()
		add(s.path+" reads v that is written", true, f, write(v.Data, at(v, s.lk/2, 0)))
		dst, q, k, v, f = call()
		neighbours := []Tensor{dst, q, k, v}
		add(s.path+" beside another head", false, f, func() {
			for _, t := range neighbours {
				for i := range t.Len {
					t.Data[at(t, i, dim)], t.Data[at(t, i, 2*dim-1)] = 1, 1
				}
			}
		})

		stride := s.lk + 8
		dst, q, k, v = head(s.lq), head(s.lq), head(s.lk), head(s.lk)
		mask := &Mask{Data: make([]bool, s.lq*stride), QueryStride: stride}
		for i := range mask.Data {
			mask.Data[i] = i%3 > 0
		}
		masked := func() { must(Attention(dst, q, k, v, &Options{Mask: mask, Workers: 1})) }
		last := (s.lq/2)*stride + s.lk - 1
		add(s.path+" reads a mask that is written", true, masked, func() { mask.Data[last] = true })
		add(s.path+" beside a mask", false, masked, func() { mask.Data[last+1], mask.Data[last+8] = true, true })

		// Two workers that take the same rows. A pool puts one call after the end of another: of many
		// calls some go on at the same time.
		dst, q, k, v = head(s.lq), head(s.lq), head(s.lk), head(s.lk)
		work := func() {
			for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
				must(Attention(dst, q, k, v, &Options{Workers: 1}))
			}
		}
		add(s.path+" by two workers with the same rows", true, work, work)
	}
	return all
}

var sink float32

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// The race detector sees what the assembly reads and writes, to the element: races are planted in a
// child process, in which it has to report those and no others.
func TestPlantedRaces(t *testing.T) {
	if os.Getenv("ATTN_PLANT") != "" {
		for _, p := range plants() {
			t.Run(p.name, func(t *testing.T) {
				var wait sync.WaitGroup
				for _, f := range []func(){p.ours, p.user} {
					wait.Add(1)
					go func() { defer wait.Done(); f() }()
				}
				wait.Wait()
			})
		}
		return
	}
	if Backend() == "generic" {
		t.Skip("the compiler instruments Go code, and the detector drops some races with what is long past")
	}
	// What goroutines that have ended did is forgotten now and then, on a busy machine most of all: a race has more than one chance.
	missed := plants()
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPlantedRaces$", "-test.v")
		cmd.Env = append(os.Environ(), "ATTN_PLANT=1", "GORACE=suppress_equal_stacks=0")
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "the child finds races")
		require.Contains(t, string(out), "WARNING: DATA RACE")
		for _, p := range plants() {
			verdict := func(v string) bool {
				return strings.Contains(string(out), "--- "+v+": TestPlantedRaces/"+strings.ReplaceAll(p.name, " ", "_")+" (")
			}
			require.Truef(t, verdict("PASS") || p.race && verdict("FAIL"), "%s in\n%s", p.name, out)
			if !p.race || verdict("FAIL") {
				missed = slices.DeleteFunc(missed, func(m plant) bool { return m.name == p.name })
			}
		}
		if len(missed) == 0 {
			return
		}
	}
	for _, p := range missed {
		t.Errorf("%s: no race has been found", p.name)
	}
}

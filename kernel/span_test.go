package kernel

import (
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// Rows over several spans have the bits of the contract, with sinks and without, on each path: one row, few, panels with
// a tail, keys that are split among workers.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 60))
	const span = generic.SpanKeys
	n := 0
	for _, s := range []shape{
		{1, 2, 1, 1, 2*span + 300, 3, 2}, {1, 4, 1, 2, span + 1, 4, 3}, {1, 2, 2, 19, span + 3*edge + 1, 2, 3}, {1, 1, 1, 40, span + 2*edge + 9, 3, 5},
	} {
		for i, o := range []Options{{Workers: 3}, {Window: &Window{span - 100, 5}}, {Start: []int{span - 5}, Causal: true}} {
			if n++; !sampled(n, 5) {
				continue
			}
			if o.Workers == 0 {
				o.Workers = 1 + r.IntN(3)
			}
			if i > 0 {
				o.Sinks = randomSinks(r, s.heads)
			}
			if i == 1 {
				o.Bias = &Bias{Data: asmtest.Fill(r, make([]float32, s.lk), asmtest.Normal)}
				for j := range o.Bias.Data { // a span without keys, and few in another
					if j < span || j%1000 > 0 {
						o.Bias.Data[j] = -inf
					}
				}
			}
			newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, o).checkViews(t, r)
		}
	}
}

// A hidden key never matters, whatever span it is in; a NaN of a visible one makes its row NaN.
func TestHiddenSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 60))
	const span = generic.SpanKeys
	for _, lq := range []int{1, 3, 20, 40} {
		s := shape{1, 2, 1, lq, 2*span + 300, 3, 4}
		o := Options{Causal: true, Start: []int{span - lq/2}, Sinks: []float32{1, -inf}, Workers: 1 + r.IntN(2)}
		p := newProblem(r, s, packedLayout, asmtest.Normal, o)
		want := p.attend(t)
		key := span - 1 // the last of its span, which some rows see
		rows(p.v)[key][1] = nan
		rows(p.v)[span+lq][2] = inf // which none sees
		got := p.attend(t)
		for n, v := range p.views() {
			out := got[n*s.vdim:][:s.vdim]
			if v.sees[key] {
				require.True(t, out[1] != out[1] && allFinite(append(out[:1:1], out[2:]...)), "row %+v", v)
				continue
			}
			asmtest.Equal(t, want[n*s.vdim:][:s.vdim], out, "row %+v", v)
		}
	}
}

// spanCalls returns calls for the tests of all calls, with sinks and over several spans.
func spanCalls(kind asmtest.Kind) (all []call) {
	r := rand.New(rand.NewPCG(9, 41))
	sinks := []float32{0.5, 3, -1, 0}
	for _, c := range []struct {
		name string
		s    shape
		o    Options
	}{
		{"sinks", shape{1, 4, 2, 70, 300, 32, 16}, Options{Sinks: sinks}},
		{"sinks, decode over spans", shape{2, 4, 2, 1, 2*generic.SpanKeys + 300, 16, 16}, Options{Sinks: sinks}},
		{"prefill over spans", shape{1, 2, 1, 20, generic.SpanKeys + 300, 16, 16}, Options{Causal: true}},
	} {
		p := newProblem(r, c.s, packedLayout, kind, c.o)
		all = append(all, call{"Attention: " + c.name, p.dst.Data, func(workers int) error {
			o := p.o
			o.Workers = workers
			return Attention(p.dst, p.q, p.k, p.v, &o)
		}})
	}
	return all
}

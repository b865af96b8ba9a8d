package generic

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile"
)

// states64 is what is known of keys without rounding: the sum of their weights and their mix, in units of e^0.
func states64(q, k, v []float32, n int) (sum, mix float64) {
	for j := range n {
		p := math.Exp(float64(q[0]) * float64(k[j]))
		sum += p
		mix += p * float64(v[j])
	}
	return sum, mix
}

// A row is the chain of its spans, each the chain of its tiles: it has the bits of states that are computed apart and
// merged in order, and not those of one chain of tiles. A row of one span is a chain of tiles.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 50))
	differ := 0
	for _, n := range []int{5, SpanKeys - 1, SpanKeys, SpanKeys + 1, 3*SpanKeys + 300} {
		q, k, v := check.Normals(r, 1, 1), check.Normals(r, n, 1), check.Normals(r, n, 1)
		k[n-1] += 5 // the maximum grows in the last span
		chain := func(first, end int) *state {
			all := newState(1)
			for ; first < end; first += TileKeys {
				s := make([]float32, TileKeys)
				keys := min(TileKeys, end-first)
				tile.RowScores(s, []float32{q[0] * Log2Scale(1)}, 1, 1, &tile.Rows{Data: k[first:], Len: keys, Dim: 1, Stride: 1}, keys)
				one := newState(1)
				one.m = tile.RowWeights(s[:keys])
				sum := []float32{0}
				tile.RowValues(one.o, s, sum, 1, &tile.Rows{Data: v[first:], Len: keys, Dim: 1, Stride: 1}, keys)
				one.l = sum[0]
				all.merge(one)
			}
			return all
		}
		finish := func(s *state) float32 { return FMA(s.o[0], tile.Inverse(s.l), 0) }
		spans := newState(1)
		for first := 0; first < n; first += SpanKeys {
			spans.merge(chain(first, min(first+SpanKeys, n)))
		}
		got := []float32{0}
		AttentionRow(got, q, k, v, n, 1, 1, 1)
		if got[0] != finish(spans) {
			t.Errorf("%d keys: %x, by spans %x", n, got[0], finish(spans))
		}
		if got[0] != finish(chain(0, n)) {
			differ++
			if n <= SpanKeys {
				t.Errorf("%d keys of one span: %x, by tiles %x", n, got[0], finish(chain(0, n)))
			}
		}
		sum, mix := states64(q, k, v, n)
		if !(math.Abs(float64(got[0])-mix/sum) <= 1e-5) {
			t.Errorf("%d keys: %g, want %g", n, got[0], mix/sum)
		}
	}
	if differ == 0 {
		t.Error("spans change nothing")
	}
}

// A sink is a weight of the denominator alone, whatever its size: as a key of the value 0. A row without keys is 0, and a
// sink of -Inf is none.
func TestSink(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 50))
	for _, n := range []int{0, 1, 40, TileKeys + 1, SpanKeys + 10} {
		q, k, v := check.Normals(r, 1, 1), check.Normals(r, n, 1), check.Normals(r, n, 1)
		plain := []float32{7}
		AttentionRow(plain, q, k, v, n, 1, 1, 1)
		for _, sink := range []float32{0, 1.5, -2, 0.001, -0.001, 30, -300, 1e30, -1e30, check.NegInf} {
			got := []float32{7}
			e := &RowEdit{Sink: &sink}
			e.AttentionRow(got, q, k, v, n, 1, 1, 1)
			sum, mix := states64(q, k, v, n)
			want := mix / (sum + math.Exp(float64(sink)))
			if n == 0 {
				want = 0
			}
			if !(math.Abs(float64(got[0])-want) <= 1e-5) {
				t.Errorf("%d keys, sink %g: %g, want %g", n, sink, got[0], want)
			}
			if sink < -1e9 && got[0] != plain[0] {
				t.Errorf("%d keys, sink %g: %x, without %x", n, sink, got, plain)
			}
		}
	}
	for _, logit := range []float32{0, 1, -1, 3 * math.Ln2, -0.5 * math.Ln2, 1e-20, -1e-20, 80} {
		m, l := Sink(logit)
		if want := math.Exp(float64(logit)); math.Abs(math.Ldexp(float64(l), int(m))-want) > 1e-5*want || l <= 0.5-1e-6 || l > 1 || math.Float32bits(m) == 1<<31 {
			t.Errorf("sink %g has the state %g, %g", logit, m, l)
		}
	}
	if m, l := Sink(check.NegInf); m != check.NegInf || l != 0 {
		t.Errorf("no sink has the state %g, %g", m, l)
	}
}

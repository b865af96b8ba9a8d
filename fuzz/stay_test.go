package fuzz

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// stay are sums of the logarithms of bounds, committed once: a smaller bound gets another number here, a larger one is a
// change of the API.
var stay = map[string]float64{
	"Attention of tiny values": -197.05873490607979,
	"Chain":                    -191.65267768754052,
	"Dot":                      -198.20428675994313,
	"LayerNorm of tiny values": -20241.760309015917,
	"LayerNorm":                -272659.87038468005,
	"LogSumExp":                -27.48509603940802,
	"Mix of tiny values":       -191.14109831856723,
	"Mix":                      -149.71920540177652,
	"Rotary":                   -8392.557590672388,
	"Softmax":                  -423174.02371001849,
	"and dropout, any order":   -4056457.1861263406,
	"and dropout, kernel":      -4066224.7546966779,
	"and dropout, tiles of 16": -4054250.2455084808,
	"attention, any order":     -775341.47345669067,
	"attention, kernel":        -785398.79835814959,
	"attention, tiles of 16":   -770729.00407040119,
	"functions":                -11383.627784978607,
	"stored as bfloat16":       -193.2053426506601,
	"stored as float16":        5861.2287660494094,
	"stored as int8":           -189.60176453879333,
	"with edits, any order":    -4068888.5291322912,
	"with edits, kernel":       -4078776.2543751667,
	"with edits, tiles of 16":  -4066676.8606476253,
}

// multiples returns n multiples of size/64, made of integers: equal everywhere.
func multiples(r *rand.Rand, n int, size float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.IntN(257)-128) / 64 * size
	}
	return x
}

// Bounds are those that have been committed, of ordinary numbers, of tiny ones, where what underflows is most of them, and
// of large ones.
func TestBoundsStay(t *testing.T) {
	got, counts := map[string]float64{}, map[string]int{}
	add := func(name string, bounds ...[]float64) {
		for _, x := range bounds {
			for _, b := range x {
				switch counts[name]++; {
				case math.IsInf(b, 1):
					got[name] += 1000
				case b > 0:
					got[name] += math.Log(b)
				}
			}
		}
	}
	one := func(_, bound float64) []float64 { return []float64{bound} }
	rows := func(_, bound []float64) []float64 { return bound }
	for i, size := range []float32{1, 0x1p-70, 0x1p40} {
		r := rand.New(rand.NewPCG(uint64(i), 90))
		for _, n := range []int{1, 40, 1500} {
			x, y, z := multiples(r, n, size), multiples(r, n, 1), multiples(r, n, size)
			add("Dot", one(Dot(x, z)))
			add("Chain", one(Chain(x, z)))
			add("Mix", one(Mix(y, x)))
			add("LayerNorm", rows(LayerNorm(x, y, z, 0x1p-20)), rows(LayerNorm(x, nil, nil, size*size)), rows(RMSNorm(x, y, 0x1p-20)), rows(RMSNorm(x, nil, size)))
			for _, v := range [][]float32{multiples(r, n, 1), multiples(r, n, 40)} {
				add("Softmax", rows(Softmax(v)), one(LogSumExp(v)))
			}
			for _, v := range multiples(r, 20, 4) {
				add("functions", one(Exp(v)), one(GELU(v)), one(GELUTanh(v)), one(SiLU(v)))
			}
			for k := range min(n, 30) {
				_, bound := Rotary(x[k], z[k], y[k], y[n-1-k])
				add("Rotary", bound[:])
			}
		}

		// Two query heads on a KV head, with all that a call may have.
		const batch, heads, kvHeads, queries, keys, dim, vdim = 2, 4, 2, 5, 300, 6, 3
		all := func(n int) []float32 { return multiples(r, n, 1) }
		c := &Case{Batch: batch, Heads: heads, KVHeads: kvHeads, Queries: queries, Keys: keys, Dim: dim, VDim: vdim, Scale: 0.25,
			Q: all(batch * heads * queries * dim), K: all(batch * kvHeads * keys * dim), V: multiples(r, batch*kvHeads*keys*vdim, size),
			DO: multiples(r, batch*heads*queries*vdim, size)}
		for _, set := range []struct {
			name   string
			change func()
		}{
			{"attention", func() {}},
			{"with edits", func() { c.SoftCap, c.ALiBi, c.Sinks, c.Bias = 2, all(heads), all(heads), all(batch*heads*queries*keys) }},
			{"and dropout", func() { c.Dropout, c.Causal = &generic.Dropout{P: 0.25, Seed: 5}, true }},
		} {
			set.change()
			for _, o := range []struct {
				name string
				Order
			}{{"kernel", Kernel}, {"any order", Order{}}, {"tiles of 16", Order{Tile: 16}}} {
				x, err := c.Exact(&o.Order)
				require.NoError(t, err)
				name := set.name + ", " + o.name
				for _, b := range []Bounded{x.Out, x.LSE, x.DQ, x.DK, x.DV, x.DBias, x.DALiBi, x.DSinks} {
					add(name, b.Bound)
				}
				spread := make([]float64, len(x.Low))
				for i := range spread {
					spread[i] = x.High[i] - x.Low[i]
				}
				add(name, spread)
			}
		}
		q, k, v := all(dim), chunks(all(keys*dim), dim), chunks(multiples(r, keys*vdim, size), vdim)
		sink := float32(0.5)
		edit := &generic.RowEdit{SoftCap: 2, Slope: 1. / 64, Position: 40, Bias: all(keys), Sink: &sink}
		for name, as := range map[string]Element{"float16": Float16, "bfloat16": BFloat16, "int8": Int8} {
			add("stored as "+name, Storing(q, k, v, 0.25, new(generic.RowEdit), as), Storing(q, k, v, 0.25, edit, as))
		}
	}
	// By themselves, what other bounds would hide: of one logarithm, and of values so tiny that most is what underflows.
	r := rand.New(rand.NewPCG(3, 90))
	for _, n := range []int{3, 700} {
		x, y := multiples(r, n, 0x1p-125), multiples(r, n, 1)
		add("LogSumExp", one(LogSumExp(y)))
		add("Mix of tiny values", one(Mix(y, x)))
		add("LayerNorm of tiny values", rows(LayerNorm(x, y, nil, 0x1p-100)))
		q, k, v := multiples(r, 2, 1), chunks(multiples(r, 2*n, 1), 2), chunks(x, 1)
		_, bound := Attention(q, k, v, 0.5)
		add("Attention of tiny values", bound)
	}
	for name, x := range got {
		t.Logf("%q: %.17g,", name, x)
	}
	for name, x := range got {
		require.InDelta(t, stay[name], x, 1e-10*float64(counts[name]), name)
	}
	require.Len(t, stay, len(got))
}

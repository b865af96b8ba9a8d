package fuzz

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/stretchr/testify/require"
)

// The bounds are the formulas of their docstrings, evaluated here a second time as they are written. oracle
// adds at most little to them.
func formula(t *testing.T, want, got float64, what string) {
	t.Helper()
	require.Greater(t, want, 0.0, what)
	require.True(t, want*(1-1e-12) <= got && got <= want*(1+1e-4), "%s: %g, by the formula %g", what, got, want)
}

func TestGamma(t *testing.T) {
	for _, k := range []int{1, 2, 100, 1 << 20, 1<<24 - 1} {
		// k roundings down shrink a value by no more than gamma(k) of what is left.
		require.InEpsilon(t, 1/(1-float64(k)*0x1p-24)-1, gamma(k), 1e-9)
		require.LessOrEqual(t, -math.Expm1(-float64(k)*-math.Log1p(-u)), gamma(k))
	}
	require.True(t, math.IsInf(gamma(1<<24), 1) && math.IsInf(gamma(1<<25), 1))
	require.InEpsilon(t, (1000+16)*0x1p-29, oracle(1000)-1, 1e-6)
}

// The first element of a sum passes the most additions: they are counted as the lanes, blocks, parts and spans
// of package generic come.
func TestAdditions(t *testing.T) {
	for _, n := range []int{1, 31, 32, 33, 64, 1023, 1024, 1025, 2048, 2049, 1<<15 - 1, 1 << 15, 1<<15 + 1, 1 << 16, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3<<20 + 5000} {
		count, level, filled := 0, 0, [4]bool{}
		into := func(k int) { // an addition into a level
			if level == k && filled[k] || k == 0 && level == 0 {
				count++
			}
			filled[k] = true
		}
		carry := func(k int) {
			if !filled[k] {
				return
			}
			if level == k {
				level++
				filled[k+1] = true // the first, to +0
			} else {
				into(k + 1)
			}
			filled[k] = false
		}
		for i := 0; i < n; i += generic.Lanes {
			into(0)
			for k, full := range []int{1 << 10, 1 << 15, 1 << 20} {
				if n > 1<<10 && (i+generic.Lanes)%full == 0 {
					carry(k)
				}
			}
		}
		if n > 1<<10 {
			carry(0)
			carry(1)
			carry(2)
		}
		require.Equal(t, count+5, additions(n), "%d terms", n)
	}
}

func TestVectorFormulas(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for _, n := range []int{1, 2, 40, 2000} {
		for _, size := range []float64{1, 0x1p-70, 30} {
			x, y := normals(r, n, size), normals(r, n, size)
			var abs, dot float64
			for i := range x {
				dot += float64(x[i]) * float64(y[i])
				abs += math.Abs(float64(x[i]) * float64(y[i]))
			}
			g := gamma(additions(n))
			want, bound := Dot(x, y)
			require.Equal(t, dot, want)
			formula(t, g*abs+float64(n)*eta*(1+g), bound, "Dot")
			want, bound = Chain(x, y)
			require.Equal(t, dot, want)
			E := math.Min(float64(n), 1024)*u*abs + float64(n)*eta
			formula(t, E+(math.Ceil(float64(n)/1024)-1)*u*(abs+E), bound, "Chain")

			// Softmax: P_i, X_i, w_i, S and the growth of what is computed.
			most := math.Inf(-1)
			for _, v := range x {
				most = max(most, float64(v))
			}
			var z, S, mean float64
			for _, v := range x {
				z += math.Exp(float64(v) - most)
			}
			w := func(i int) float64 { return math.Expm1(u*(most-float64(x[i])) + 1.2*u) }
			for i, v := range x {
				p := math.Exp(float64(v)-most) / z
				S += p * w(i)
				mean += p * (most - float64(v))
			}
			S += float64(n) * 0x1p-126
			k := float64(max(additions(n)-1, 5))
			growth := (1 + u) / ((1 - S) * math.Pow(1-u, k))
			shares, bounds := Softmax(x)
			for i, v := range x {
				p := math.Exp(float64(v)-most) / z
				require.InEpsilon(t, p, shares[i], 1e-12)
				if p > 0x1p-60 {
					require.InEpsilon(t, p*(1+w(i))*growth+eta-p, bounds[i], 1e-5, "Softmax")
				} else {
					require.GreaterOrEqual(t, bounds[i], p*(1+w(i))*growth+eta-p, "Softmax: a flushed weight")
				}
			}
			// The logarithm of a sum that is off by the factor of 1/((1-S)*(1-u)^k), rounded once.
			lse, lseBound := LogSumExp(x)
			require.InDelta(t, most+math.Log(z), lse, 1e-12)
			err := -math.Log1p(-S) - k*math.Log1p(-u)
			require.InEpsilon(t, err+u*(math.Abs(lse)+err)+eta, lseBound, 1e-5, "LogSumExp")
		}
	}
}

func TestAttentionFormulas(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for _, n := range []int{1, 2, generic.TileKeys, generic.TileKeys + 1, 3*generic.TileKeys + 1, 2*generic.SpanKeys + 1} {
		for i, size := range []float64{0.1, 1, 20, 0x1p-80, 0.1, 1, 20} {
			if n > generic.SpanKeys && size != 1 {
				continue
			}
			const d, scale = 5, 0.75
			q, k, v := normals(r, d, size), make([][]float32, n), make([][]float32, n)
			for j := range k {
				k[j], v[j] = normals(r, d, 1), normals(r, 3, size)
			}
			var e generic.RowEdit
			if i >= 4 {
				sink := float32(size) * 0.7
				e.Sink = &sink
			}
			T, S := math.Ceil(float64(n)/generic.TileKeys), math.Ceil(float64(n)/generic.SpanKeys)
			nt := math.Min(float64(n), generic.TileKeys)
			no, B := nt+math.Min(T, 64)-1+S-1, T
			if S > 1 {
				B += S
			}
			hullNo, hullB := no, B
			if e.Sink != nil {
				if no++; S == 1 {
					B += S
				}
			}
			gl, g0, gd := gamma(int(no-1)), gamma(int(no)), gamma(d+2)
			score, sigma := make([]float64, n), make([]float64, n)
			top, most := math.Inf(-1), math.Inf(-1)
			for j := range k {
				var A, K float64
				for i, x := range k[j] {
					score[j] += scale * float64(q[i]) * float64(x)
					A += math.Abs(float64(q[i]) * float64(x))
					K += math.Abs(float64(x))
				}
				sigma[j] = gd*scale*A + math.Ln2*eta*(d+K+A)*(1+gd)
				top, most = max(top, score[j]+sigma[j]), max(most, score[j])
			}
			all := v // with that of the sink
			if e.Sink != nil {
				x := float64(*e.Sink)
				score, sigma, all = append(score, x), append(sigma, u*x+eta), append(v[:n:n], make([]float32, 3))
				top, most = max(top, x+u*x+eta), max(most, x)
			}
			P, w := make([]float64, len(all)), make([]float64, len(all))
			var z, W float64
			for _, s := range score {
				z += math.Exp(s - most)
			}
			for j := range all {
				P[j] = math.Exp(score[j]-most) / z
				X := math.Ln2 + top - score[j] + sigma[j]
				w[j] = P[j] * math.Expm1(sigma[j]+u*X+2*0.80*u)
				W += w[j]
			}
			D := math.Exp2(1 + (top-most)/math.Ln2)
			F := float64(len(all)) * 0x1p-125 * D
			W += F
			under := (float64(n) + 2*B) * eta * D
			L := (1-W)*(1-gl) - under
			want, bound := EditedAttention(q, k, v, scale, &e)
			lo, hi := Hull(q, k, v, scale)
			for c := range want {
				o, N, sum, far := 0.0, 0.0, 0.0, 0.0
				least, largest, magnitude := math.Inf(1), math.Inf(-1), 0.0
				for j := range all {
					x := float64(all[j][c])
					if o += P[j] * x; j == n {
						break
					}
					least, largest, magnitude = min(least, x), max(largest, x), max(magnitude, math.Abs(x))
				}
				for j := range all {
					x := float64(all[j][c])
					N += w[j] * math.Abs(x-o)
					sum += (P[j] + w[j]) * math.Abs(x)
					far = max(far, math.Abs(x-o))
				}
				N += F*far + g0*sum + gl*math.Abs(o)*(1+W) + under*(1+math.Abs(o))*(1+g0)
				require.InDelta(t, o, want[c], 1e-12*magnitude)
				formula(t, N/L*(1+gamma(2))+gamma(2)*math.Abs(o)+eta, bound[c], "Attention")
				g := gamma(int(hullNo + hullNo - 1 + 2))
				tau := g*magnitude + (2*(float64(n)+2*hullB)*(1+magnitude)+1)*eta*(1+g)
				require.InDelta(t, least-tau, lo[c], 1e-9*tau+1e-15*magnitude)
				require.InDelta(t, largest+tau, hi[c], 1e-9*tau+1e-15*magnitude)
			}
			// Mix, of the first column.
			weights, column := make([]float32, n), make([]float32, n)
			var mix, abs, magnitude float64
			for j := range v {
				weights[j], column[j] = float32(P[j]), v[j][0]
				mix += float64(weights[j]) * float64(column[j])
				abs += math.Abs(float64(weights[j]) * float64(column[j]))
				magnitude = max(magnitude, math.Abs(float64(column[j])))
			}
			g := gamma(int(hullNo + 2))
			got, mixBound := Mix(weights, column)
			require.Equal(t, mix, got)
			formula(t, g*abs+(4*(float64(n)+2*hullB)*(1+magnitude)+1)*eta*(1+g), mixBound, "Mix")
		}
	}
}

// Dropout adds two roundings to the bound of attention over values of 0 or divided by what is kept, and one that is not shown here
// where 1-P is rounded: what kernel.Dropout says.
func TestDropoutBound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 62))
	for range 50 {
		n, dim := 1+r.IntN(600), 1+r.IntN(16)
		q, k, v, kept := normals(r, dim, 1), make([][]float32, n), make([][]float32, n), make([][]float32, n)
		drops := generic.Dropout{P: 0.5, Seed: r.Uint64()}.Drops(0, 0, 0)
		for j := range k {
			k[j], v[j], kept[j] = normals(r, dim, 1), normals(r, 3, 1), make([]float32, 3)
			for c, x := range v[j] {
				if !drops(j) {
					kept[j][c] = 2 * x
				}
			}
		}
		want, without := Attention(q, k, kept, 1)
		got, bound := EditedAttention(q, k, v, 1, &generic.RowEdit{Drops: drops, Keep: 0.5})
		for c := range want {
			require.InDelta(t, want[c], got[c], 1e-14)
			require.InDelta(t, without[c]+u*math.Abs(want[c]), bound[c], 1e-4*bound[c])
		}
	}
}

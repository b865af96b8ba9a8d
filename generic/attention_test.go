package generic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile"
)

// attention64 is softmax attention of one query in float64, and the bound of what float32
// in the order of the package comment may differ from it.
//
//	kappa = error of a weight: gamma_(d+2) of sum |q*k|, for the scale, the scaled query and the chain; of s-m; of exp2
//	no    = roundings of an element: the chain over a tile, a merge a tile, 1/L and the product
//	nl    = roundings of the sum: likewise
//
// Weights below 2^-125.5 of a tile's largest are flushed: tiny.
func attention64(q, k, v []float32, n, dim, vdim int, scale float32) (out, bound []float64, informative bool) {
	c := float64(scale)
	s, abs := make([]float64, n), make([]float64, n)
	m, tiles := math.Inf(-1), (n+TileKeys-1)/TileKeys
	tileMax := make([]float64, tiles)
	for t := range tileMax {
		tileMax[t] = math.Inf(-1)
	}
	for j := range n {
		for i, x := range k[j*dim:][:dim] {
			s[j] += c * float64(q[i]) * float64(x)
			abs[j] += math.Abs(c * float64(q[i]) * float64(x))
		}
		m = max(m, s[j])
		tileMax[j/TileKeys] = max(tileMax[j/TileKeys], s[j])
	}
	weight, w, sum := make([]float64, n), make([]float64, n), 0.0
	for j := range n {
		weight[j] = math.Exp(s[j] - m)
		sum += weight[j]
		score := check.Gamma(dim+2) * abs[j]
		x := tileMax[j/TileKeys] - s[j] + math.Ln2 + 2*check.Gamma(dim+2)*abs[j]
		w[j] = math.Expm1(score + check.U*x + 2*0.80*check.U)
	}
	pw, largest := 0.0, 0.0
	for j := range n {
		weight[j] /= sum
		pw += weight[j] * w[j]
	}
	no, nl := float64(min(n, TileKeys)+tiles+2), float64(min(n, TileKeys)+tiles)
	gammaO, gammaL := check.Gamma(int(no)), check.Gamma(int(nl))
	out, bound = make([]float64, vdim), make([]float64, vdim)
	for e := range vdim {
		for j := range n {
			out[e] += weight[j] * float64(v[j*vdim+e])
			largest = max(largest, math.Abs(float64(v[j*vdim+e])))
		}
	}
	tiny := float64(n) * 0x1p-123 * largest
	for e := range vdim {
		for j := range n {
			x := float64(v[j*vdim+e])
			bound[e] += weight[j] * (w[j]*math.Abs(x-out[e]) + gammaO*(1+w[j])*math.Abs(x))
		}
		bound[e] = (bound[e]+gammaL*math.Abs(out[e]))/(1-pw-gammaL) + tiny
	}
	return out, bound, pw+gammaL < 0.5
}

func TestAttentionRowBound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var w check.Worst
	hulls := 0
	for _, dim := range []int{1, 2, 16, 64, 128} {
		for _, n := range []int{1, 2, 5, TileKeys / 2, TileKeys - 1, TileKeys, TileKeys + 1, 1000} {
			for _, magnitude := range []float64{0, 1e-20, 1, 10, 100, 1e4, 1e30} { // of the scores
				const vdim = 5
				scale := float32(1 / math.Sqrt(float64(dim)))
				q, k, v := check.Normals(r, dim, 1), check.Normals(r, n*dim, 1), check.Normals(r, n*vdim, 1)
				if n > 2 { // a key that takes the most, at the edge of a tile
					copy(k[min(n-1, TileKeys-r.IntN(2))*dim:][:dim], q)
				}
				for i := range q {
					q[i] *= float32(magnitude)
				}
				got := make([]float32, vdim)
				AttentionRow(got, q, k, v, n, dim, vdim, scale)
				want, bound, informative := attention64(q, k, v, n, dim, vdim, scale)
				for e, x := range got {
					what := fmt.Sprintf("dim=%d n=%d magnitude=%g element %d: %g, want %g", dim, n, magnitude, e, x, want[e])
					if informative {
						w.Check(t, math.Abs(float64(x)-want[e])/bound[e], "%s", what)
					} else {
						hulls++
					}
					lo, hi, largest := math.Inf(1), math.Inf(-1), 0.0
					for j := range n {
						y := float64(v[j*vdim+e])
						lo, hi, largest = min(lo, y), max(hi, y), max(largest, math.Abs(y))
					}
					tau := check.Gamma(2*(TileKeys+(n+TileKeys-1)/TileKeys)+3) * largest
					if !(float64(x) >= lo-tau && float64(x) <= hi+tau) {
						t.Fatalf("outside of the values %g to %g: %s", lo, hi, what)
					}
				}
			}
		}
	}
	t.Logf("largest error: %.2f of the bound; %d results held to the hull only", w, hulls)
}

// With one-hot values the outputs are the weights: every key has its own.
func TestAttentionRowWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	const dim, n = 8, 300
	q, k, v := check.Normals(r, dim, 1), check.Normals(r, n*dim, 1), make([]float32, n*n)
	for j := range n {
		v[j*n+j] = 1
	}
	got := make([]float32, n)
	AttentionRow(got, q, k, v, n, dim, n, 1)
	want, bound, informative := attention64(q, k, v, n, dim, n, 1)
	if !informative {
		t.Fatal("scores too large for the bound")
	}
	var w check.Worst
	for j, p := range got {
		w.Check(t, math.Abs(float64(p)-want[j])/bound[j], "weight %d is %g, want %g", j, p, want[j])
	}
}

func TestAttentionRowSpecials(t *testing.T) {
	row := func(q, k, v []float32, n int) float32 {
		dst := []float32{7}
		AttentionRow(dst, q, k, v, n, 1, 1, 1)
		return dst[0]
	}
	one := []float32{1}
	for _, c := range []struct {
		name string
		k, v []float32
		n    int
		want float32
	}{
		{"no key", nil, nil, 0, 0},
		{"one key", []float32{-1e30}, []float32{3}, 1, 3},
		{"equal keys", []float32{0, 0, 0, 0}, []float32{1, 2, 3, 4}, 4, 2.5},
		{"hidden keys", []float32{0, check.NaN, check.PosInf}, []float32{3, check.NaN, check.PosInf}, 1, 3},
		{"a score of -Inf", []float32{check.NegInf, 0}, []float32{5, 3}, 2, 3},
		{"only -Inf", []float32{check.NegInf, check.NegInf}, []float32{5, 3}, 2, 0},
		{"a NaN score", []float32{1, check.NaN}, []float32{5, 3}, 2, check.NaN},
		{"a score of +Inf", []float32{1, check.PosInf}, []float32{5, 3}, 2, check.NaN},
		{"-0", []float32{0}, []float32{check.NegZero}, 1, 0},
		{"no weight left", []float32{0, -200}, []float32{1, 1e30}, 2, 1},
		{"a difference that overflows", []float32{2e38, -2e38}, []float32{1, 2}, 2, 1},
		{"a score that overflows in base 2", []float32{math.MaxFloat32}, []float32{1}, 1, check.NaN},
	} {
		if got := row(one, c.k, c.v, c.n); !check.Same(got, c.want) {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
	// A whole tile of such keys, before and after one of scores 0.
	for _, special := range []struct{ key, want float32 }{{check.NegInf, 1}, {check.NaN, check.NaN}, {check.PosInf, check.NaN}, {-1e30, 1}, {1e30, 9}} {
		for _, first := range []int{0, TileKeys} {
			k, v := make([]float32, 2*TileKeys), make([]float32, 2*TileKeys)
			for j := range k {
				v[j] = 1
			}
			for j := range TileKeys {
				k[first+j], v[first+j] = special.key, 9
			}
			if got := row(one, k, v, len(k)); !check.Same(got, special.want) {
				t.Errorf("keys %g from %d on: %g, want %g", special.key, first, got, special.want)
			}
		}
	}
}

// scale * log2 e is rounded once; rounding log2 e first would double the error.
func TestLog2Scale(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, scale := range check.Wides(r, 1000, 60) {
		want := float64(scale) * math.Log2E
		if got := Log2Scale(scale); !(math.Abs(float64(got)-want) <= 1.0001*check.U*math.Abs(want)) {
			t.Fatalf("Log2Scale(%g) = %g, want %g", scale, got, want)
		}
	}
}

// A panel of w queries goes through the tiles of keys as in package kernel; every lane has the bits
// of AttentionRow over the keys that it sees, whatever the width and the other lanes.
func TestPanelEqualsRow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for n := range 60 {
		w := []int{1, 5, 16, tile.MaxPanel}[n%4]
		dim, vdim, keys := 1+r.IntN(20), 1+r.IntN(20), 1+r.IntN(3*TileKeys)
		kStride, vStride := dim+r.IntN(3), vdim+r.IntN(3)
		q, k, v := check.Normals(r, w*dim, 3), check.Normals(r, keys*kStride, 3), check.Normals(r, keys*vStride, 1)
		if n%5 == 0 {
			q[r.IntN(len(q))] = check.NaN
			q[r.IntN(len(q))] = check.PosInf
		}
		if n%7 == 0 {
			v[r.IntN(len(v))] = check.NegZero
			k[r.IntN(len(k))] = -math.MaxFloat32
		}
		scale := r.Float32()

		var st tile.Panel
		st.Reset(w)
		var qOffset, dstOffset [tile.MaxPanel]int
		var limit [tile.MaxPanel]int32
		for i := range w {
			qOffset[i], dstOffset[i] = (w-1-i)*dim, i*(vdim+1)
			limit[i] = int32(r.IntN(keys + 1))
		}
		packed, acc := make([]float32, w*tile.Pad(dim)), make([]float32, w*tile.Pad(vdim))
		tile.PackPanel(packed, q, &qOffset, w, dim, Log2Scale(scale))
		s := make([]float32, w*TileKeys)
		for first := 0; first < keys; first += TileKeys {
			size := min(TileKeys, keys-first)
			upper := 0
			if n%3 > 0 { // what the first half does not see need not be computed
				seen := int(slices.Max(limit[:max(1, w/2)]))
				upper = size - max(0, min(size, seen-first))
			}
			tile.ScoreTile(s, &tile.Panel{Width: w}, packed, &tile.Rows{Data: k[first*kStride:], Len: size, Dim: dim, Stride: kStride}, upper, &tile.Rows{})
			var lanes [TileKeys]uint32
			for j := range size {
				for i := range w {
					if first+j < int(limit[i]) {
						lanes[j] |= 1 << i
					}
				}
			}
			tile.HideTile(s, &st, &lanes, size)
			tile.SoftmaxTile(s, &st, size)
			tile.ValueTile(acc, s, &st, &tile.Rows{Data: v[first*vStride:], Len: size, Dim: vdim, Stride: vStride}, upper, &tile.Rows{})
		}
		dst := make([]float32, w*(vdim+1))
		hasNaN := tile.FinishPanel(dst, &dstOffset, acc, &st, vdim)

		want := make([]float32, vdim)
		wantNaN := false
		for i := range w {
			AttentionRow(want, q[qOffset[i]:][:dim], k, v, int(limit[i]), kStride, vStride, scale)
			for e, x := range want {
				wantNaN = wantNaN || x != x
				if got := dst[dstOffset[i]+e]; !check.Same(got, x) {
					t.Fatalf("case %d: w=%d dim=%d keys=%d lane %d element %d is %g, want %g", n, w, dim, keys, i, e, got, x)
				}
			}
			if dst[dstOffset[i]+vdim] != 0 {
				t.Fatalf("case %d: wrote behind row %d", n, i)
			}
		}
		if hasNaN != wantNaN {
			t.Errorf("case %d: tile.FinishPanel reports NaN %v, want %v", n, hasNaN, wantNaN)
		}
	}
}

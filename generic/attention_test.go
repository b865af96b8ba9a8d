package generic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
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
		score := gamma(dim+2) * abs[j]
		x := tileMax[j/TileKeys] - s[j] + math.Ln2 + 2*gamma(dim+2)*abs[j]
		w[j] = math.Expm1(score + u*x + 2*0.80*u)
	}
	pw, largest := 0.0, 0.0
	for j := range n {
		weight[j] /= sum
		pw += weight[j] * w[j]
	}
	no, nl := float64(min(n, TileKeys)+tiles+2), float64(min(n, TileKeys)+tiles)
	gammaO, gammaL := gamma(int(no)), gamma(int(nl))
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
	var w worst
	hulls := 0
	for _, dim := range []int{1, 2, 16, 64, 128} {
		for _, n := range []int{1, 2, 5, 127, 128, 129, 256, 300, 1000} {
			for _, magnitude := range []float64{0, 1e-20, 1, 10, 100, 1e4, 1e30} { // of the scores
				const vdim = 5
				scale := float32(1 / math.Sqrt(float64(dim)))
				q, k, v := normals(r, dim, 1), normals(r, n*dim, 1), normals(r, n*vdim, 1)
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
						w.check(t, math.Abs(float64(x)-want[e])/bound[e], "%s", what)
					} else {
						hulls++
					}
					lo, hi, largest := math.Inf(1), math.Inf(-1), 0.0
					for j := range n {
						y := float64(v[j*vdim+e])
						lo, hi, largest = min(lo, y), max(hi, y), max(largest, math.Abs(y))
					}
					tau := gamma(2*(TileKeys+(n+TileKeys-1)/TileKeys)+3) * largest
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
	q, k, v := normals(r, dim, 1), normals(r, n*dim, 1), make([]float32, n*n)
	for j := range n {
		v[j*n+j] = 1
	}
	got := make([]float32, n)
	AttentionRow(got, q, k, v, n, dim, n, 1)
	want, bound, informative := attention64(q, k, v, n, dim, n, 1)
	if !informative {
		t.Fatal("scores too large for the bound")
	}
	var w worst
	for j, p := range got {
		w.check(t, math.Abs(float64(p)-want[j])/bound[j], "weight %d is %g, want %g", j, p, want[j])
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
		{"hidden keys", []float32{0, nan, posInf}, []float32{3, nan, posInf}, 1, 3},
		{"a score of -Inf", []float32{negInf, 0}, []float32{5, 3}, 2, 3},
		{"only -Inf", []float32{negInf, negInf}, []float32{5, 3}, 2, 0},
		{"a NaN score", []float32{1, nan}, []float32{5, 3}, 2, nan},
		{"a score of +Inf", []float32{1, posInf}, []float32{5, 3}, 2, nan},
		{"-0", []float32{0}, []float32{negZero}, 1, 0},
		{"no weight left", []float32{0, -200}, []float32{1, 1e30}, 2, 1},
		{"a difference that overflows", []float32{2e38, -2e38}, []float32{1, 2}, 2, 1},
		{"a score that overflows in base 2", []float32{math.MaxFloat32}, []float32{1}, 1, nan},
	} {
		if got := row(one, c.k, c.v, c.n); !same(got, c.want) {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
	// A whole tile of such keys, before and after one of scores 0.
	for _, special := range []struct{ key, want float32 }{{negInf, 1}, {nan, nan}, {posInf, nan}, {-1e30, 1}, {1e30, 9}} {
		for _, first := range []int{0, TileKeys} {
			k, v := make([]float32, 2*TileKeys), make([]float32, 2*TileKeys)
			for j := range k {
				v[j] = 1
			}
			for j := range TileKeys {
				k[first+j], v[first+j] = special.key, 9
			}
			if got := row(one, k, v, len(k)); !same(got, special.want) {
				t.Errorf("keys %g from %d on: %g, want %g", special.key, first, got, special.want)
			}
		}
	}
}

func TestMerge(t *testing.T) {
	for _, c := range [][5]float32{ // M, m, max, a, b
		{negInf, negInf, negInf, 0, 0},
		{negInf, 3, 3, 0, 1},
		{3, negInf, 3, 1, 0},
		{2, 2, 2, 1, 1},
		{1, 4, 4, 0.125, 1},
		{4, 1, 4, 1, 0.125},
		{-60, 66, 66, 0x1p-126, 1},
		{-60, 67, 67, 0, 1},
		{-3e38, 3e38, 3e38, 0, 1},
		{5, posInf, posInf, 0, 0}, // the weights of that tile are NaN
		{posInf, 5, posInf, 0, 0},
	} {
		if max, a, b := Merge(c[0], c[1]); max != c[2] || a != c[3] || b != c[4] {
			t.Errorf("Merge(%g, %g) = %g, %g, %g, want %g", c[0], c[1], max, a, b, c[2:])
		}
	}
	if m := RowWeights([]float32{-0.5}); !same(m, 0) {
		t.Errorf("the maximum of -0.5 is %g, want +0", m)
	}
	acc := []float32{1, 2, 3}
	MergeRow(acc, []float32{8, 16, 24}, 0.5, 0.25)
	if acc[0] != 2.5 || acc[1] != 5 || acc[2] != 7.5 || MergeSum(1, 8, 0.5, 0.25) != 2.5 {
		t.Errorf("merged %g, %g", acc, MergeSum(1, 8, 0.5, 0.25))
	}
	// The product L*a is rounded by itself, here from 1.5 to 2 of the least subnormals; one
	// rounding of the whole would give 2 where two give 3.
	if got := MergeSum(0x1.8p-126, 0x1p-126, 0x1p-23, 0x1p-23); got != 3*0x1p-149 {
		t.Errorf("MergeSum = %x", got)
	}
}

// scale * log2 e is rounded once; rounding log2 e first would double the error.
func TestLog2Scale(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, scale := range wides(r, 1000, 60) {
		want := float64(scale) * math.Log2E
		if got := Log2Scale(scale); math.Abs(float64(got)-want) > 1.0001*u*math.Abs(want) {
			t.Fatalf("Log2Scale(%g) = %g, want %g", scale, got, want)
		}
	}
}

// A panel of w queries goes through the tiles of keys as in package kernel; every lane has the bits
// of AttentionRow over the keys that it sees, whatever the width and the other lanes.
func TestPanelEqualsRow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for n := range 60 {
		w := []int{1, 5, 16, MaxPanel}[n%4]
		dim, vdim, keys := 1+r.IntN(20), 1+r.IntN(20), 1+r.IntN(3*TileKeys)
		kStride, vStride := dim+r.IntN(3), vdim+r.IntN(3)
		q, k, v := normals(r, w*dim, 3), normals(r, keys*kStride, 3), normals(r, keys*vStride, 1)
		if n%5 == 0 {
			q[r.IntN(len(q))] = nan
			q[r.IntN(len(q))] = posInf
		}
		if n%7 == 0 {
			v[r.IntN(len(v))] = negZero
			k[r.IntN(len(k))] = -math.MaxFloat32
		}
		scale := r.Float32()

		var st Panel
		st.Reset(w)
		var qOffset, dstOffset [MaxPanel]int
		var limit [MaxPanel]int32
		for i := range w {
			qOffset[i], dstOffset[i] = (w-1-i)*dim, i*(vdim+1)
			limit[i] = int32(r.IntN(keys + 1))
		}
		packed, acc := make([]float32, w*Pad(dim)), make([]float32, w*Pad(vdim))
		PackPanel(packed, q, &qOffset, w, dim, Log2Scale(scale))
		s := make([]float32, w*TileKeys)
		for first := 0; first < keys; first += TileKeys {
			tile := min(TileKeys, keys-first)
			upper := 0
			if n%3 > 0 { // what the first half does not see need not be computed
				seen := int(slices.Max(limit[:max(1, w/2)]))
				upper = tile - max(0, min(tile, seen-first))
			}
			ScoreTile(s, &Panel{}, packed, k[first*kStride:], w, dim, tile, upper, kStride)
			MaskTile(s, &st, &limit, w, tile, first)
			SoftmaxTile(s, &st, w, tile)
			ValueTile(acc, s, v[first*vStride:], &st, w, vdim, tile, upper, vStride)
		}
		dst := make([]float32, w*(vdim+1))
		hasNaN := FinishPanel(dst, &dstOffset, acc, &st, w, vdim)

		want := make([]float32, vdim)
		wantNaN := false
		for i := range w {
			AttentionRow(want, q[qOffset[i]:][:dim], k, v, int(limit[i]), kStride, vStride, scale)
			for e, x := range want {
				wantNaN = wantNaN || x != x
				if got := dst[dstOffset[i]+e]; !same(got, x) {
					t.Fatalf("case %d: w=%d dim=%d keys=%d lane %d element %d is %g, want %g", n, w, dim, keys, i, e, got, x)
				}
			}
			if dst[dstOffset[i]+vdim] != 0 {
				t.Fatalf("case %d: wrote behind row %d", n, i)
			}
		}
		if hasNaN != wantNaN {
			t.Errorf("case %d: FinishPanel reports NaN %v, want %v", n, hasNaN, wantNaN)
		}
	}
}

// Each lane of the tile functions has the bits of the row functions, and raises the maxima of its state.
func TestTileEqualsRow(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	const w, rows = MaxPanel, 4
	for _, n := range []int{1, 7, TileKeys} {
		const dim, vdim = 9, 11
		q, k, v := wides(r, w*dim, 3), wides(r, n*dim, 3), wides(r, n*vdim, 3)
		var st Panel
		st.Reset(w)
		s, byRow := make([]float32, n*w), make([]float32, rows*TileKeys)
		ScoreTile(s, &st, q, k, w, dim, n, 0, dim)
		RowScores(byRow, q, k, w, rows, dim, n, dim)
		for i := range rows {
			row := byRow[i*TileKeys:][:n]
			for j, x := range row {
				if !same(s[j*w+i], x) {
					t.Fatalf("n=%d: score %d of lane %d is %g, want %g", n, j, i, s[j*w+i], x)
				}
			}
			if !same(st.TileMax[i]+0, Max(row)) {
				t.Errorf("n=%d: maximum of lane %d is %g, want %g", n, i, st.TileMax[i], Max(row))
			}
		}
		SoftmaxTile(s, &st, w, n)
		acc := make([]float32, w*Pad(vdim))
		ValueTile(acc, s, v, &st, w, vdim, n, 0, vdim)
		o := make([]float32, rows*Pad(vdim))
		for i := range rows {
			m := RowWeights(byRow[i*TileKeys:][:n])
			if !same(st.Max[i], m) || m != float32(math.Ceil(float64(m))) {
				t.Errorf("n=%d: lane %d has the maximum %g, want %g", n, i, st.Max[i], m)
			}
		}
		sum := make([]float32, rows)
		RowValues(o, byRow, v, sum, rows, vdim, n, vdim)
		for i := range rows {
			if !same(st.Sum[i], sum[i]) || st.OldScale[i] != 0 || st.NewScale[i] != 1 || st.Mode != MergeFirst || st.TileMax[i] != negInf {
				t.Errorf("n=%d: lane %d is %+v, want the sum %g", n, i, st, sum[i])
			}
			for e := range vdim {
				if got, want := acc[e*w+i], o[i*Pad(vdim)+e]+0; !same(got, want) {
					t.Errorf("n=%d: column %d of lane %d is %g, want %g", n, e, i, got, want)
				}
			}
		}
		// A larger maximum later: it has grown, and the old partial counts less.
		for i := range w {
			s[i] = st.Max[i] + 2
			st.TileMax[i] = s[i]
		}
		SoftmaxTile(s, &st, w, 1)
		for i := range rows {
			if want := FMA(1, 1, sum[i]/4); st.Mode != MergeRescale || st.OldScale[i] != 0.25 || st.NewScale[i] != 1 || st.Sum[i] != want {
				t.Errorf("n=%d: after a larger maximum lane %d is %+v, want the sum %g", n, i, st, want)
			}
		}
	}
}

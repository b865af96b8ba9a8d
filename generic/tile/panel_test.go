package tile

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

func TestMerge(t *testing.T) {
	for _, c := range [][5]float32{ // M, m, max, a, b
		{check.NegInf, check.NegInf, check.NegInf, 0, 0},
		{check.NegInf, 3, 3, 0, 1},
		{3, check.NegInf, 3, 1, 0},
		{2, 2, 2, 1, 1},
		{1, 4, 4, 0.125, 1},
		{4, 1, 4, 1, 0.125},
		{-60, 66, 66, 0x1p-126, 1},
		{-60, 67, 67, 0, 1},
		{-3e38, 3e38, 3e38, 0, 1},
		{5, check.PosInf, check.PosInf, 0, 0}, // the weights of that tile are NaN
		{check.PosInf, 5, check.PosInf, 0, 0},
	} {
		if max, a, b := Merge(c[0], c[1]); max != c[2] || a != c[3] || b != c[4] {
			t.Errorf("Merge(%g, %g) = %g, %g, %g, want %g", c[0], c[1], max, a, b, c[2:])
		}
	}
	if m := RowWeights([]float32{-0.5}); !check.Same(m, 0) {
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

// Each lane of the tile functions has the bits of the row functions, and raises the maxima of its state.
func TestTileEqualsRow(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	const w, rows = MaxPanel, 4
	for _, n := range []int{1, 7, Keys} {
		const dim, vdim = 9, 11
		q, k, v := check.Wides(r, w*dim, 3), check.Wides(r, n*dim, 3), check.Wides(r, n*vdim, 3)
		var st Panel
		st.Reset(w)
		s, byRow := make([]float32, n*w), make([]float32, rows*Keys)
		ScoreTile(s, &st, q, &Rows{k, n, dim, dim}, 0, &Rows{})
		RowScores(byRow, q, w, rows, &Rows{k, n, dim, dim}, 0)
		for i := range rows {
			row := byRow[i*Keys:][:n]
			for j, x := range row {
				if !check.Same(s[j*w+i], x) {
					t.Fatalf("n=%d: score %d of lane %d is %g, want %g", n, j, i, s[j*w+i], x)
				}
			}
			if !check.Same(st.TileMax[i]+0, Max(row)) {
				t.Errorf("n=%d: maximum of lane %d is %g, want %g", n, i, st.TileMax[i], Max(row))
			}
		}
		SoftmaxTile(s, &st, n)
		acc := make([]float32, w*Pad(vdim))
		ValueTile(acc, s, &st, &Rows{v, n, vdim, vdim}, 0, &Rows{})
		o := make([]float32, rows*Pad(vdim))
		for i := range rows {
			m := RowWeights(byRow[i*Keys:][:n])
			if !check.Same(st.Max[i], m) || m != float32(math.Ceil(float64(m))) {
				t.Errorf("n=%d: lane %d has the maximum %g, want %g", n, i, st.Max[i], m)
			}
		}
		sum := make([]float32, rows)
		RowValues(o, byRow, sum, rows, &Rows{v, n, vdim, vdim}, 0)
		for i := range rows {
			if !check.Same(st.Sum[i], sum[i]) || st.OldScale[i] != 0 || st.NewScale[i] != 1 || st.Mode != MergeFirst || st.TileMax[i] != check.NegInf {
				t.Errorf("n=%d: lane %d is %+v, want the sum %g", n, i, st, sum[i])
			}
			for e := range vdim {
				if got, want := acc[e*w+i], o[i*Pad(vdim)+e]+0; !check.Same(got, want) {
					t.Errorf("n=%d: column %d of lane %d is %g, want %g", n, e, i, got, want)
				}
			}
		}
		// A larger maximum later: it has grown, and the old partial counts less.
		for i := range w {
			s[i] = st.Max[i] + 2
			st.TileMax[i] = s[i]
		}
		SoftmaxTile(s, &st, 1)
		for i := range rows {
			if want := FMA(1, 1, sum[i]/4); st.Mode != MergeRescale || st.OldScale[i] != 0.25 || st.NewScale[i] != 1 || st.Sum[i] != want {
				t.Errorf("n=%d: after a larger maximum lane %d is %+v, want the sum %g", n, i, st, want)
			}
		}
	}
}

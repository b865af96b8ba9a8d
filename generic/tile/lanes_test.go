package tile

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/selfattn/attn/generic/internal/check"
)

// lanes calls f with widths of panels, and with numbers of keys of which the last upper are for the second
// half of the lanes alone.
func lanes(f func(w, n, upper int)) {
	for _, w := range []int{2, 16, MaxPanel} {
		for _, n := range []int{1, 7} {
			for upper := range n + 1 {
				f(w, n, upper)
			}
		}
	}
}

// Each lane is a query by itself: it has the scores and the maximum of the keys that are for it, and keys that
// are for the other half do not reach it.
func TestScoreLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 4))
	lanes(func(w, n, upper int) {
		const dim = 3
		q, k := check.Wides(r, w*dim, 3), check.Wides(r, n*dim, 3)
		for i := range k {
			k[i] *= float32(i + 1) // the last ones would raise every maximum
		}
		before := check.Normals(r, w, 1)
		st := Panel{Width: w}
		copy(st.TileMax[:], before)
		s := make([]float32, n*w)
		ScoreTile(s, &st, q, &Rows{k, n, dim, dim}, upper, &Rows{})
		for lane := range w {
			seen := n
			if lane < w/2 {
				seen -= upper
			}
			row := make([]float32, Keys)
			RowScores(row, q[lane:], w, 1, &Rows{k, seen, dim, dim}, 0)
			for j, x := range row[:seen] {
				if !check.Same(s[j*w+lane], x) {
					t.Fatalf("score %d of lane %d of %d is %g, want %g", j, lane, w, s[j*w+lane], x)
				}
			}
			if want := Max(append(row[:seen], before[lane])); st.TileMax[lane] != want {
				t.Fatalf("%d of %d keys for all lanes: lane %d of %d has the maximum %g, want %g", n-upper, n, lane, w, st.TileMax[lane], want)
			}
		}
	})
}

// Each lane has the mix of its own keys, merged as one row is, whatever the mode; what lies in acc before
// the first tile is not read.
func TestValueLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 4))
	lanes(func(w, n, upper int) {
		const vdim = 5
		values, p := Rows{check.Wides(r, n*vdim, 3), n, vdim, vdim}, check.Normals(r, n*w, 1)
		for _, mode := range []int32{MergeAdd, MergeRescale, MergeFirst} {
			st := Panel{Width: w, Mode: mode}
			acc := check.Normals(r, w*vdim, 1)
			before := slices.Clone(acc)
			for lane := range w {
				st.OldScale[lane], st.NewScale[lane] = 1, pow2(int32(-lane))
				if mode != MergeAdd {
					st.OldScale[lane] = pow2(int32(-2 * lane))
				}
			}
			if mode == MergeFirst {
				clear(before)
				for i := range acc {
					acc[i] = check.NaN
				}
			}
			ValueTile(acc, p, &st, &values, upper, &Rows{})
			for lane := range w {
				mine := values
				if lane < w/2 {
					mine.Len -= upper
				}
				weights, want := make([]float32, Keys), make([]float32, vdim)
				for j := range n {
					weights[j] = p[j*w+lane]
				}
				for c := range want {
					want[c] = before[c*w+lane]
				}
				o, sum := make([]float32, Pad(vdim)), make([]float32, 1)
				RowValues(o, weights, sum, 1, &mine, 0)
				MergeRow(want, o[:vdim], st.OldScale[lane], st.NewScale[lane])
				for c := range want {
					if got := acc[c*w+lane]; !check.Same(got, want[c]) {
						t.Fatalf("mode %d, %d of %d values for all lanes: column %d of lane %d of %d is %g, want %g",
							mode, n-upper, n, c, lane, w, got, want[c])
					}
				}
			}
		}
	})
}

// A panel is packed and unpacked in place: rows anywhere, one to a lane. A hidden key leaves -Inf, and the
// maximum of the others.
func TestPackHideFinish(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 4))
	const w, dim, stride = 16, 5, 7
	var offset [MaxPanel]int
	for i := range w {
		offset[i] = (w - 1 - i) * stride
	}
	src := check.Normals(r, w*stride, 1)
	packed := make([]float32, w*Pad(dim))
	PackPanel(packed, src, &offset, w, dim, 3)
	st := Panel{Width: w}
	for i := range w {
		st.Sum[i] = float32(i) // the first has seen no key
	}
	dst := check.Normals(r, w*stride, 1)
	between := slices.Clone(dst)
	if FinishPanel(dst, &offset, packed, &st, dim) {
		t.Error("a NaN among numbers")
	}
	for i := range w {
		for c := range stride {
			want := between[offset[i]+c]
			if c < dim {
				want = FMA(src[offset[i]+c]*3, Inverse(st.Sum[i]), 0)
			}
			if got := dst[offset[i]+c]; !check.Same(got, want) {
				t.Fatalf("element %d of row %d is %g, want %g", c, i, got, want)
			}
		}
	}
	for i := range w * dim {
		one := slices.Clone(packed)
		one[i] = check.NaN
		if !FinishPanel(dst, &offset, one, &st, dim) {
			t.Errorf("the NaN at %d is not reported", i)
		}
	}

	const n = 6
	s := check.Normals(r, n*w, 1)
	before := slices.Clone(s)
	var seen [Keys]uint32
	for j := range n {
		seen[j] = r.Uint32() &^ 1 // the first lane sees none
	}
	seen[n] = 1 // beyond
	st.Reset(w)
	HideTile(s, &st, &seen, n)
	for lane := range w {
		most := check.NegInf
		for j := range n {
			want := check.NegInf
			if seen[j]>>lane&1 == 1 {
				want = before[j*w+lane]
			}
			if most = max(most, want); s[j*w+lane] != want {
				t.Fatalf("key %d of lane %d is %g, want %g", j, lane, s[j*w+lane], want)
			}
		}
		if st.TileMax[lane] != most {
			t.Fatalf("lane %d has the maximum %g, want %g", lane, st.TileMax[lane], most)
		}
	}
}

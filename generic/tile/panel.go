package tile

import "math"

// MaxPanel is the widest panel.
const MaxPanel = 32

// Panel is the softmax state of a panel, one element a query.
type Panel struct {
	TileMax  [MaxPanel]float32 // maximum of the tile's visible scores, -Inf if none
	Max      [MaxPanel]float32 // M, -Inf before the first visible key
	Sum      [MaxPanel]float32 // L
	OldScale [MaxPanel]float32 // a = 2^(M-M')
	NewScale [MaxPanel]float32 // b = 2^(m-M')
	Mode     int32             // how ValueTile merges
	Width    int               // w, the number of queries
}

// The modes of merging a tile into the outputs so far. All give the same bits where they apply.
const (
	MergeAdd     = iota // no a is other than 1
	MergeRescale        // some maximum has grown
	MergeFirst          // there are no outputs yet; they are not read
)

// Rows are Len rows of Dim elements, Stride apart.
type Rows struct {
	Data             []float32
	Len, Dim, Stride int
}

// Row returns row i.
func (r Rows) Row(i int) []float32 { return r.Data[i*r.Stride:][:r.Dim] }

// Piece is the number of elements that the assembly reads ahead at a time: the argument ahead of a
// kernel is rows that the next one will read. It changes no result, and the reference ignores it.
const Piece = 64

// Reset prepares p for the first tile of w queries.
func (p *Panel) Reset(w int) {
	p.Width = w
	p.TileMax = noMax
	p.Max = noMax
	p.Sum = [MaxPanel]float32{}
}

// noMax is the maxima of nothing.
var noMax = func() (m [MaxPanel]float32) {
	for r := range m {
		m[r] = float32(math.Inf(-1))
	}
	return m
}()

// PackPanel transposes w rows of dim elements, row r starting at src[offset[r]], into dst[i*w+r] =
// src[offset[r]+i] * scale. dst has room for dim rounded up by Pad.
func PackPanel(dst, src []float32, offset *[MaxPanel]int, w, dim int, scale float32) {
	for r := range w {
		for i, v := range src[offset[r]:][:dim] {
			dst[i*w+r] = v * scale
		}
	}
}

// ScoreTile computes the scores of a panel q of queries against keys, the rows of k: s[j*w+r] =
// chain over i < k.Dim of FMA(q[i*w+r], k[j][i], .). It raises st.TileMax[r] to the maximum of the
// scores, ignoring NaN. The last upper keys are compared with the second half of the panel alone.
func ScoreTile(s []float32, st *Panel, q []float32, k *Rows, upper int, ahead *Rows) {
	w := st.Width
	for j := range k.Len {
		first := 0
		if j >= k.Len-upper {
			first = w / 2
		}
		key := k.Row(j)
		for r := first; r < w; r++ {
			acc := float32(0)
			for i, v := range key {
				acc = FMA(q[i*w+r], v, acc)
			}
			s[j*w+r] = acc
			st.TileMax[r] = maxNum(acc, st.TileMax[r])
		}
	}
}

// HideTile hides n keys: it sets s[j*w+r] to -Inf unless bit r of lanes[j] is set, and raises
// st.TileMax[r] to the maximum of the others.
func HideTile(s []float32, st *Panel, lanes *[Keys]uint32, n int) {
	w := st.Width
	for j, seen := range lanes[:n] {
		for r := range w {
			if seen>>r&1 == 0 {
				s[j*w+r] = float32(math.Inf(-1))
			}
			st.TileMax[r] = maxNum(s[j*w+r], st.TileMax[r])
		}
	}
}

// SoftmaxTile turns the n*w scores of a tile into weights, s[j*w+r] = exp2(s[j*w+r] -
// ceil(st.TileMax[r])), merges their sums into st, and resets st.TileMax to -Inf for the next tile.
func SoftmaxTile(s []float32, st *Panel, n int) {
	w, grown := st.Width, false
	st.Mode = MergeFirst
	for r := range w {
		m := ceil(st.TileMax[r])
		var sum float32
		for j := range n {
			p := exp2(s[j*w+r] - SafeMax(m))
			s[j*w+r] = p
			sum += p
		}
		old := st.Max[r]
		st.Max[r], st.OldScale[r], st.NewScale[r] = Merge(old, m)
		if old != float32(math.Inf(-1)) {
			grown = grown || st.Max[r] != old
			st.Mode = MergeAdd
		}
		st.Sum[r] = MergeSum(st.Sum[r], sum, st.OldScale[r], st.NewScale[r])
		st.TileMax[r] = float32(math.Inf(-1))
	}
	if grown {
		st.Mode = MergeRescale
	}
}

// ValueTile mixes values, the rows of v, by the weights p of SoftmaxTile, and merges the result into
// acc: with o = chain over j < v.Len of FMA(p[j*w+r], v[j][c], .), acc[c*w+r] = O' of package generic.
// acc need not be set before the first tile (MergeFirst). The last upper values are for the second half
// of the panel alone.
func ValueTile(acc, p []float32, st *Panel, v *Rows, upper int, ahead *Rows) {
	w := st.Width
	for c := range v.Dim {
		for r := range w {
			seen := v.Len
			if r < w/2 {
				seen -= upper
			}
			o := float32(0)
			for j := range seen {
				o = FMA(p[j*w+r], v.Data[j*v.Stride+c], o)
			}
			before := acc[c*w+r]
			if st.Mode == MergeFirst {
				before = 0
			}
			acc[c*w+r] = MergeSum(before, o, st.OldScale[r], st.NewScale[r])
		}
	}
}

// FinishPanel writes the rows dst[offset[r]+c] = FMA(acc[c*w+r], Inverse(st.Sum[r]), +0) and
// reports whether it wrote a NaN.
func FinishPanel(dst []float32, offset *[MaxPanel]int, acc []float32, st *Panel, dim int) (nan bool) {
	w := st.Width
	for r := range w {
		row, inverse := dst[offset[r]:][:dim], Inverse(st.Sum[r])
		for c := range row {
			row[c] = FMA(acc[c*w+r], inverse, 0)
			nan = nan || row[c] != row[c]
		}
	}
	return nan
}

// MaxRows is the most queries of RowScores and RowValues.
const MaxRows = 8

// RowScores is ScoreTile for few queries, the way of decoding: query r < rows is lane r of the
// packed panel q of width w, and its scores go to s[r*Keys+j]. With less than 8 keys the first 16
// scores of each query may be overwritten. What is read behind the last keys begins next elements from the first one, or
// anywhere: it is prefetched.
func RowScores(s, q []float32, w, rows int, k *Rows, next int) {
	for r := range rows {
		for j := range k.Len {
			acc := float32(0)
			for i, v := range k.Row(j) {
				acc = FMA(q[i*w+r], v, acc)
			}
			s[r*Keys+j] = acc
		}
	}
}

// RowWeights turns the scores of one query into weights, s[j] = exp2(s[j]-m), and returns the
// integer m = ceil(max s[j]). Elements of s beyond its length, up to a multiple of 16, may be
// overwritten.
func RowWeights(s []float32) (m float32) {
	m = ceil(Max(s))
	for j, v := range s {
		s[j] = exp2(v - SafeMax(m))
	}
	return m
}

// RowValues continues the sum and the mix of one tile for rows queries by the values v: with the
// weights p[r*Keys+j], one after the other, it adds them to sum[r], and o[r*Pad(v.Dim)+c] becomes
// FMA(p[r*Keys+j], v[j][c], .). Both are 0 at the start of a tile. next is that of RowScores.
func RowValues(o, p, sum []float32, rows int, v *Rows, next int) {
	for r := range rows {
		row := o[r*Pad(v.Dim):][:v.Dim]
		for j, w := range p[r*Keys:][:v.Len] {
			sum[r] += w
			for c, x := range v.Row(j) {
				row[c] = FMA(w, x, row[c])
			}
		}
	}
}

// Pad rounds a dimension up to a multiple of 16, the room of a row in scratch memory.
func Pad(dim int) int { return (dim + 15) &^ 15 }

// MergeRow merges the partial o of a tile into acc: acc[c] = O' of package generic.
func MergeRow(acc, o []float32, a, b float32) {
	acc = acc[:len(o)]
	for c, x := range o {
		acc[c] = MergeSum(acc[c], x, a, b)
	}
}

// Merge returns the maximum M' of the maxima M and m of two states, integers or infinite, and the
// scales a = 2^(M-M') and b = 2^(m-M'), which are exact, or 0 below 2^-126.
func Merge(M, m float32) (max, a, b float32) {
	max = maxNum(m, M)
	return max, pow2Float(M - max), pow2Float(m - max)
}

// Sink returns the maximum and the sum of a sink whose logit, in units of log 2, is t: -Inf is no sink.
func Sink(t float32) (max, sum float32) {
	max = ceil(t)
	return max, exp2(t - SafeMax(max))
}

// MergeSum returns L' of package generic, or O' for an element of O and o.
func MergeSum(L, l, a, b float32) float32 { return FMA(l, b, L*a) }

// pow2Float returns 2^x for an integer -126 <= x <= 0, else (and for NaN, the difference of two
// infinities) 0.
func pow2Float(x float32) float32 {
	if x >= -126 {
		return pow2(int32(x))
	}
	return 0
}

func ceil(x float32) float32 { return float32(math.Ceil(float64(x))) + 0 }

// Inverse returns 1 / sum, or 0 for a sum of 0.
func Inverse(sum float32) float32 {
	if sum == 0 {
		return 0
	}
	return 1 / sum
}

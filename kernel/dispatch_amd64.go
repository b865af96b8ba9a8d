//go:build !purego

package kernel

import (
	"github.com/selfattn/attn/asm/avx2"
	"github.com/selfattn/attn/asm/avx512"
	"github.com/selfattn/attn/generic/tile"
)

// Each function branches instead of calling through a variable, which would make its arguments
// escape to the heap.

// Written only by tests. AVX-512 is used together with AVX2, which serves the narrow panels.
var (
	useAVX2   = avx2.Supported
	useAVX512 = avx512.Supported && avx2.Supported
)

// wideVector elements or more are worth the wide registers, and wideSum where their lanes are added
// up.
const (
	wideVector = 64
	wideSum    = 256
)

func backend() string {
	switch {
	case useAVX512:
		return "avx512"
	case useAVX2:
		return "avx2"
	}
	return "generic"
}

// panelWidth is the width of the next panel for n more queries, or of the next tile for n more
// columns: the widest one that they fill by more than half.
func panelWidth(n int) int {
	if useAVX512 && n > avx2.PanelWidth {
		return avx512.PanelWidth
	}
	return narrowPanel
}

// dot is not faster with AVX-512: the contract's 32 lanes are two accumulators there, which wait
// for each other.
func dot(x, y []float32) float32 {
	if useAVX2 {
		return avx2.Dot(x, y)
	}
	return tile.Dot(x, y)
}

func exp(dst, x []float32) {
	switch {
	case useAVX512 && len(x) >= wideVector:
		avx512.Exp(dst, x)
	case useAVX2:
		avx2.Exp(dst, x)
	default:
		tile.Exp(dst, x)
	}
}

func maximum(x []float32) float32 {
	if useAVX512 && len(x) >= wideSum {
		return avx512.Max(x)
	}
	if useAVX2 {
		return avx2.Max(x)
	}
	return tile.Max(x)
}

func expSum(dst, x []float32, m float32, sum *[tile.Lanes]float32) {
	switch {
	case useAVX512 && len(x) >= wideSum:
		avx512.ExpSum(dst, x, m, sum)
	case useAVX2:
		avx2.ExpSum(dst, x, m, sum)
	default:
		tile.ExpSum(dst, x, m, sum)
	}
}

func sumExp(x []float32, m float32, sum *[tile.Lanes]float32) {
	switch {
	case useAVX512 && len(x) >= wideSum:
		avx512.SumExp(x, m, sum)
	case useAVX2:
		avx2.SumExp(x, m, sum)
	default:
		tile.SumExp(x, m, sum)
	}
}

func div(dst, x []float32, d float32) {
	switch {
	case useAVX512 && len(x) >= wideVector:
		avx512.Div(dst, x, d)
	case useAVX2:
		avx2.Div(dst, x, d)
	default:
		tile.Div(dst, x, d)
	}
}

func scaleBy(dst, x []float32, f float32) {
	switch {
	case useAVX512 && len(x) >= wideVector:
		avx512.Scale(dst, x, f)
	case useAVX2:
		avx2.Scale(dst, x, f)
	default:
		tile.Scale(dst, x, f)
	}
}

func fold(sum *[tile.Lanes]float32) float32 {
	if useAVX2 {
		return avx2.Fold(sum)
	}
	return tile.Fold(sum)
}

func matMulTile(c, a tile.Rows, b []float32, add bool) {
	switch {
	case useAVX512 && c.Dim == avx512.PanelWidth:
		avx512.MatMulTile(c, a, b, add)
	case useAVX2:
		avx2.MatMulTile(c, a, b, add)
	default:
		tile.MatMulTile(c, a, b, add)
	}
}

func packPanel(dst, src []float32, offset *[tile.MaxPanel]int, w, dim int, scale float32) {
	switch {
	case useAVX512 && w == avx512.PanelWidth:
		avx512.PackPanel(dst, src, offset, w, dim, scale)
	case useAVX2 && w == avx2.PanelWidth:
		avx2.PackPanel(dst, src, offset, w, dim, scale)
	default:
		tile.PackPanel(dst, src, offset, w, dim, scale)
	}
}

func scoreTile(s []float32, st *tile.Panel, q []float32, k tile.Rows, upper int, ahead tile.Rows) {
	switch {
	case useAVX512 && st.Width == avx512.PanelWidth:
		avx512.ScoreTile(s, st, q, k, upper, ahead)
	case useAVX2:
		avx2.ScoreTile(s, st, q, k, upper, ahead)
	default:
		tile.ScoreTile(s, st, q, k, upper, ahead)
	}
}

func maskTile(s []float32, st *tile.Panel, limit *[tile.MaxPanel]int32, n, first int) {
	switch {
	case useAVX512 && st.Width == avx512.PanelWidth:
		avx512.MaskTile(s, st, limit, n, first)
	case useAVX2:
		avx2.MaskTile(s, st, limit, n, first)
	default:
		tile.MaskTile(s, st, limit, n, first)
	}
}

func softmaxTile(s []float32, st *tile.Panel, n int) {
	switch {
	case useAVX512 && st.Width == avx512.PanelWidth:
		avx512.SoftmaxTile(s, st, n)
	case useAVX2:
		avx2.SoftmaxTile(s, st, n)
	default:
		tile.SoftmaxTile(s, st, n)
	}
}

func valueTile(acc, p []float32, st *tile.Panel, v tile.Rows, upper int, ahead tile.Rows) {
	switch {
	case useAVX512 && st.Width == avx512.PanelWidth:
		avx512.ValueTile(acc, p, st, v, upper, ahead)
	case useAVX2:
		avx2.ValueTile(acc, p, st, v, upper, ahead)
	default:
		tile.ValueTile(acc, p, st, v, upper, ahead)
	}
}

func finishPanel(dst []float32, offset *[tile.MaxPanel]int, acc []float32, st *tile.Panel, dim int) (nan bool) {
	if useAVX512 && st.Width == avx512.PanelWidth {
		return avx512.FinishPanel(dst, offset, acc, st, dim)
	}
	if useAVX2 {
		return avx2.FinishPanel(dst, offset, acc, st, dim)
	}
	return tile.FinishPanel(dst, offset, acc, st, dim)
}

func rowScores(s, q []float32, w, rows int, k tile.Rows) {
	switch {
	case useAVX512:
		avx512.RowScores(s, q, w, rows, k)
	case useAVX2:
		avx2.RowScores(s, q, w, rows, k)
	default:
		tile.RowScores(s, q, w, rows, k)
	}
}

func rowWeights(s []float32) (m float32) {
	if useAVX512 && len(s) >= wideVector {
		return avx512.RowWeights(s)
	}
	if useAVX2 {
		return avx2.RowWeights(s)
	}
	return tile.RowWeights(s)
}

func rowValues(o, p, sum []float32, rows int, v tile.Rows) {
	switch {
	case useAVX512:
		avx512.RowValues(o, p, sum, rows, v)
	case useAVX2:
		avx2.RowValues(o, p, sum, rows, v)
	default:
		tile.RowValues(o, p, sum, rows, v)
	}
}

func mergeRow(acc, o []float32, a, b float32) {
	switch {
	case useAVX512:
		avx512.MergeRow(acc, o, a, b)
	case useAVX2:
		avx2.MergeRow(acc, o, a, b)
	default:
		tile.MergeRow(acc, o, a, b)
	}
}

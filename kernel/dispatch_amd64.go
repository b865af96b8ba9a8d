//go:build !purego

package kernel

import (
	"github.com/selfattn/attn/asm/avx2"
	"github.com/selfattn/attn/asm/avx512"
	"github.com/selfattn/attn/generic"
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
	return generic.Dot(x, y)
}

func exp(dst, x []float32) {
	switch {
	case useAVX512 && len(x) >= wideVector:
		avx512.Exp(dst, x)
	case useAVX2:
		avx2.Exp(dst, x)
	default:
		generic.Exp(dst, x)
	}
}

func maximum(x []float32) float32 {
	if useAVX512 && len(x) >= wideSum {
		return avx512.Max(x)
	}
	if useAVX2 {
		return avx2.Max(x)
	}
	return generic.Max(x)
}

func expSum(dst, x []float32, m float32, sum *[generic.Lanes]float32) {
	switch {
	case useAVX512 && len(x) >= wideSum:
		avx512.ExpSum(dst, x, m, sum)
	case useAVX2:
		avx2.ExpSum(dst, x, m, sum)
	default:
		generic.ExpSum(dst, x, m, sum)
	}
}

func sumExp(x []float32, m float32, sum *[generic.Lanes]float32) {
	switch {
	case useAVX512 && len(x) >= wideSum:
		avx512.SumExp(x, m, sum)
	case useAVX2:
		avx2.SumExp(x, m, sum)
	default:
		generic.SumExp(x, m, sum)
	}
}

func div(dst, x []float32, d float32) {
	switch {
	case useAVX512 && len(x) >= wideVector:
		avx512.Div(dst, x, d)
	case useAVX2:
		avx2.Div(dst, x, d)
	default:
		generic.Div(dst, x, d)
	}
}

func scaleBy(dst, x []float32, f float32) {
	switch {
	case useAVX512 && len(x) >= wideVector:
		avx512.Scale(dst, x, f)
	case useAVX2:
		avx2.Scale(dst, x, f)
	default:
		generic.Scale(dst, x, f)
	}
}

func fold(sum *[generic.Lanes]float32) float32 {
	if useAVX2 {
		return avx2.Fold(sum)
	}
	return generic.Fold(sum)
}

func matMulTile(c []float32, ldc int, a []float32, lda int, b []float32, w, m, k int, add bool) {
	switch {
	case useAVX512 && w == avx512.PanelWidth:
		avx512.MatMulTile(c, ldc, a, lda, b, m, k, add)
	case useAVX2:
		avx2.MatMulTile(c, ldc, a, lda, b, m, k, add)
	default:
		generic.MatMulTile(c, ldc, a, lda, b, w, m, k, add)
	}
}

func packPanel(dst, src []float32, offset *[generic.MaxPanel]int, w, dim int, scale float32) {
	switch {
	case useAVX512 && w == avx512.PanelWidth:
		avx512.PackPanel(dst, src, offset, dim, scale)
	case useAVX2 && w == avx2.PanelWidth:
		avx2.PackPanel(dst, src, offset, dim, scale)
	default:
		generic.PackPanel(dst, src, offset, w, dim, scale)
	}
}

func scoreTile(s []float32, st *generic.Panel, q, k []float32, w, dim, n, upper, stride int, ahead generic.Rows) {
	switch {
	case useAVX512 && w == avx512.PanelWidth:
		avx512.ScoreTile(s, st, q, k, dim, n, upper, stride, ahead)
	case useAVX2:
		avx2.ScoreTile(s, st, q, k, dim, n, upper, stride, ahead)
	default:
		generic.ScoreTile(s, st, q, k, w, dim, n, upper, stride)
	}
}

func maskTile(s []float32, st *generic.Panel, limit *[generic.MaxPanel]int32, w, n, first int) {
	switch {
	case useAVX512 && w == avx512.PanelWidth:
		avx512.MaskTile(s, st, limit, n, first)
	case useAVX2:
		avx2.MaskTile(s, st, limit, n, first)
	default:
		generic.MaskTile(s, st, limit, w, n, first)
	}
}

func softmaxTile(s []float32, st *generic.Panel, w, n int) {
	switch {
	case useAVX512 && w == avx512.PanelWidth:
		avx512.SoftmaxTile(s, st, n)
	case useAVX2:
		avx2.SoftmaxTile(s, st, n)
	default:
		generic.SoftmaxTile(s, st, w, n)
	}
}

func valueTile(acc, p, v []float32, st *generic.Panel, w, dim, n, upper, stride int, ahead generic.Rows) {
	switch {
	case useAVX512 && w == avx512.PanelWidth:
		avx512.ValueTile(acc, p, v, st, dim, n, upper, stride, ahead)
	case useAVX2:
		avx2.ValueTile(acc, p, v, st, dim, n, upper, stride, ahead)
	default:
		generic.ValueTile(acc, p, v, st, w, dim, n, upper, stride)
	}
}

func finishPanel(dst []float32, offset *[generic.MaxPanel]int, acc []float32, st *generic.Panel, w, dim int) (nan bool) {
	if useAVX512 && w == avx512.PanelWidth {
		return avx512.FinishPanel(dst, offset, acc, st, dim)
	}
	if useAVX2 {
		return avx2.FinishPanel(dst, offset, acc, st, dim)
	}
	return generic.FinishPanel(dst, offset, acc, st, w, dim)
}

func rowScores(s, q, k []float32, w, rows, dim, n, stride int) {
	switch {
	case useAVX512:
		avx512.RowScores(s, q, k, w, rows, dim, n, stride)
	case useAVX2:
		avx2.RowScores(s, q, k, w, rows, dim, n, stride)
	default:
		generic.RowScores(s, q, k, w, rows, dim, n, stride)
	}
}

func rowWeights(s []float32) (m float32) {
	if useAVX512 && len(s) >= wideVector {
		return avx512.RowWeights(s)
	}
	if useAVX2 {
		return avx2.RowWeights(s)
	}
	return generic.RowWeights(s)
}

func rowValues(o, p, v, sum []float32, rows, dim, n, stride int) {
	switch {
	case useAVX512:
		avx512.RowValues(o, p, v, sum, rows, dim, n, stride)
	case useAVX2:
		avx2.RowValues(o, p, v, sum, rows, dim, n, stride)
	default:
		generic.RowValues(o, p, v, sum, rows, dim, n, stride)
	}
}

func mergeRow(acc, o []float32, a, b float32) {
	switch {
	case useAVX512:
		avx512.MergeRow(acc, o, a, b)
	case useAVX2:
		avx2.MergeRow(acc, o, a, b)
	default:
		generic.MergeRow(acc, o, a, b)
	}
}

//go:build !purego

package kernel

import (
	"github.com/selfattn/attn/asm/avx2"
	"github.com/selfattn/attn/generic"
)

// Each function branches instead of calling through a variable, which would make its
// arguments escape to the heap.

var useAVX2 = avx2.Supported // written only by tests

func backend() string {
	if useAVX2 {
		return "avx2"
	}
	return "generic"
}

// panelWidth is the number of queries of a panel.
func panelWidth() int {
	if useAVX2 {
		return avx2.PanelWidth
	}
	return genericWidth
}

func dot(x, y []float32) float32 {
	if useAVX2 {
		return avx2.Dot(x, y)
	}
	return generic.Dot(x, y)
}

func exp(dst, x []float32) {
	if useAVX2 {
		avx2.Exp(dst, x)
	} else {
		generic.Exp(dst, x)
	}
}

func maximum(x []float32) float32 {
	if useAVX2 {
		return avx2.Max(x)
	}
	return generic.Max(x)
}

func expSum(dst, x []float32, m float32, sum *[generic.Lanes]float32) {
	if useAVX2 {
		avx2.ExpSum(dst, x, m, sum)
	} else {
		generic.ExpSum(dst, x, m, sum)
	}
}

func sumExp(x []float32, m float32, sum *[generic.Lanes]float32) {
	if useAVX2 {
		avx2.SumExp(x, m, sum)
	} else {
		generic.SumExp(x, m, sum)
	}
}

func div(dst, x []float32, d float32) {
	if useAVX2 {
		avx2.Div(dst, x, d)
	} else {
		generic.Div(dst, x, d)
	}
}

func scaleBy(dst, x []float32, f float32) {
	if useAVX2 {
		avx2.Scale(dst, x, f)
	} else {
		generic.Scale(dst, x, f)
	}
}

func fold(sum *[generic.Lanes]float32) float32 {
	if useAVX2 {
		return avx2.Fold(sum)
	}
	return generic.Fold(sum)
}

func matMulTile(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	if useAVX2 {
		avx2.MatMulTile(c, ldc, a, lda, b, m, k, add)
	} else {
		generic.MatMulTile(c, ldc, a, lda, b, m, k, add)
	}
}

func packPanel(dst, src []float32, offset *[generic.MaxPanel]int, dim int, scale float32) {
	if useAVX2 {
		avx2.PackPanel(dst, src, offset, dim, scale)
	} else {
		generic.PackPanel(dst, src, offset, genericWidth, dim, scale)
	}
}

func scoreTile(s []float32, st *generic.Panel, q, k []float32, dim, n, stride int) {
	if useAVX2 {
		avx2.ScoreTile(s, st, q, k, dim, n, stride)
	} else {
		generic.ScoreTile(s, st, q, k, genericWidth, dim, n, stride)
	}
}

func maskTile(s []float32, st *generic.Panel, limit *[generic.MaxPanel]int32, n, first int) {
	if useAVX2 {
		avx2.MaskTile(s, st, limit, n, first)
	} else {
		generic.MaskTile(s, st, limit, genericWidth, n, first)
	}
}

func softmaxTile(s []float32, st *generic.Panel, n int) {
	if useAVX2 {
		avx2.SoftmaxTile(s, st, n)
	} else {
		generic.SoftmaxTile(s, st, genericWidth, n)
	}
}

func valueTile(acc, p, v []float32, st *generic.Panel, dim, n, stride int) {
	if useAVX2 {
		avx2.ValueTile(acc, p, v, st, dim, n, stride)
	} else {
		generic.ValueTile(acc, p, v, st, genericWidth, dim, n, stride)
	}
}

func finishPanel(dst []float32, offset *[generic.MaxPanel]int, acc []float32, st *generic.Panel, dim int) (nan bool) {
	if useAVX2 {
		return avx2.FinishPanel(dst, offset, acc, st, dim)
	}
	return generic.FinishPanel(dst, offset, acc, st, genericWidth, dim)
}

func rowScores(s, q, k []float32, w, rows, dim, n, stride int) {
	if useAVX2 {
		avx2.RowScores(s, q, k, w, rows, dim, n, stride)
	} else {
		generic.RowScores(s, q, k, w, rows, dim, n, stride)
	}
}

func rowWeights(s []float32) (m float32) {
	if useAVX2 {
		return avx2.RowWeights(s)
	}
	return generic.RowWeights(s)
}

func rowValues(o, p, v []float32, rows, dim, n, stride int) (sum [4]float32) {
	if useAVX2 {
		return avx2.RowValues(o, p, v, rows, dim, n, stride)
	}
	return generic.RowValues(o, p, v, rows, dim, n, stride)
}

func mergeRow(acc, o []float32, a, b float32) {
	if useAVX2 {
		avx2.MergeRow(acc, o, a, b)
	} else {
		generic.MergeRow(acc, o, a, b)
	}
}

//go:build !purego

package kernel

import (
	"github.com/selfattn/attn/asm/neon"
	"github.com/selfattn/attn/generic"
)

// Each function branches instead of calling through a variable, which would make its
// arguments escape to the heap.

// Written only by tests.
var useNEON = neon.Supported

func backend() string {
	if useNEON {
		return "neon"
	}
	return "generic"
}

func panelWidth(int) int { return narrowPanel }

func dot(x, y []float32) float32 {
	if useNEON {
		return neon.Dot(x, y)
	}
	return generic.Dot(x, y)
}

func exp(dst, x []float32) {
	if useNEON {
		neon.Exp(dst, x)
	} else {
		generic.Exp(dst, x)
	}
}

func maximum(x []float32) float32 {
	if useNEON {
		return neon.Max(x)
	}
	return generic.Max(x)
}

func expSum(dst, x []float32, m float32, sum *[generic.Lanes]float32) {
	if useNEON {
		neon.ExpSum(dst, x, m, sum)
	} else {
		generic.ExpSum(dst, x, m, sum)
	}
}

func sumExp(x []float32, m float32, sum *[generic.Lanes]float32) {
	if useNEON {
		neon.SumExp(x, m, sum)
	} else {
		generic.SumExp(x, m, sum)
	}
}

func div(dst, x []float32, d float32) {
	if useNEON {
		neon.Div(dst, x, d)
	} else {
		generic.Div(dst, x, d)
	}
}

func scaleBy(dst, x []float32, f float32) {
	if useNEON {
		neon.Scale(dst, x, f)
	} else {
		generic.Scale(dst, x, f)
	}
}

func fold(sum *[generic.Lanes]float32) float32 {
	if useNEON {
		return neon.Fold(sum)
	}
	return generic.Fold(sum)
}

func matMulTile(c []float32, ldc int, a []float32, lda int, b []float32, w, m, k int, add bool) {
	if useNEON {
		neon.MatMulTile(c, ldc, a, lda, b, m, k, add)
	} else {
		generic.MatMulTile(c, ldc, a, lda, b, w, m, k, add)
	}
}

func packPanel(dst, src []float32, offset *[generic.MaxPanel]int, w, dim int, scale float32) {
	if useNEON && w == neon.PanelWidth {
		neon.PackPanel(dst, src, offset, dim, scale)
	} else {
		generic.PackPanel(dst, src, offset, w, dim, scale)
	}
}

func scoreTile(s []float32, st *generic.Panel, q, k []float32, w, dim, n, upper, stride int, ahead generic.Rows) {
	if useNEON {
		neon.ScoreTile(s, st, q, k, dim, n, upper, stride, ahead)
	} else {
		generic.ScoreTile(s, st, q, k, w, dim, n, upper, stride)
	}
}

func maskTile(s []float32, st *generic.Panel, limit *[generic.MaxPanel]int32, w, n, first int) {
	if useNEON {
		neon.MaskTile(s, st, limit, n, first)
	} else {
		generic.MaskTile(s, st, limit, w, n, first)
	}
}

func softmaxTile(s []float32, st *generic.Panel, w, n int) {
	if useNEON {
		neon.SoftmaxTile(s, st, n)
	} else {
		generic.SoftmaxTile(s, st, w, n)
	}
}

func valueTile(acc, p, v []float32, st *generic.Panel, w, dim, n, upper, stride int, ahead generic.Rows) {
	if useNEON {
		neon.ValueTile(acc, p, v, st, dim, n, upper, stride, ahead)
	} else {
		generic.ValueTile(acc, p, v, st, w, dim, n, upper, stride)
	}
}

func finishPanel(dst []float32, offset *[generic.MaxPanel]int, acc []float32, st *generic.Panel, w, dim int) (nan bool) {
	if useNEON {
		return neon.FinishPanel(dst, offset, acc, st, dim)
	}
	return generic.FinishPanel(dst, offset, acc, st, w, dim)
}

func rowScores(s, q, k []float32, w, rows, dim, n, stride int) {
	if useNEON {
		neon.RowScores(s, q, k, w, rows, dim, n, stride)
	} else {
		generic.RowScores(s, q, k, w, rows, dim, n, stride)
	}
}

func rowWeights(s []float32) (m float32) {
	if useNEON {
		return neon.RowWeights(s)
	}
	return generic.RowWeights(s)
}

func rowValues(o, p, v, sum []float32, rows, dim, n, stride int) {
	if useNEON {
		neon.RowValues(o, p, v, sum, rows, dim, n, stride)
	} else {
		generic.RowValues(o, p, v, sum, rows, dim, n, stride)
	}
}

func mergeRow(acc, o []float32, a, b float32) {
	if useNEON {
		neon.MergeRow(acc, o, a, b)
	} else {
		generic.MergeRow(acc, o, a, b)
	}
}

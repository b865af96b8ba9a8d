//go:build !purego

package kernel

import (
	"github.com/selfattn/attn/asm/neon"
	"github.com/selfattn/attn/generic/tile"
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
	return tile.Dot(x, y)
}

func exp(dst, x []float32) {
	if useNEON {
		neon.Exp(dst, x)
	} else {
		tile.Exp(dst, x)
	}
}

func maximum(x []float32) float32 {
	if useNEON {
		return neon.Max(x)
	}
	return tile.Max(x)
}

func expSum(dst, x []float32, m float32, sum *[tile.Lanes]float32) {
	if useNEON {
		neon.ExpSum(dst, x, m, sum)
	} else {
		tile.ExpSum(dst, x, m, sum)
	}
}

func sumExp(x []float32, m float32, sum *[tile.Lanes]float32) {
	if useNEON {
		neon.SumExp(x, m, sum)
	} else {
		tile.SumExp(x, m, sum)
	}
}

func div(dst, x []float32, d float32) {
	if useNEON {
		neon.Div(dst, x, d)
	} else {
		tile.Div(dst, x, d)
	}
}

func scaleBy(dst, x []float32, f float32) {
	if useNEON {
		neon.Scale(dst, x, f)
	} else {
		tile.Scale(dst, x, f)
	}
}

func fold(sum *[tile.Lanes]float32) float32 {
	if useNEON {
		return neon.Fold(sum)
	}
	return tile.Fold(sum)
}

func matMulTile(c, a tile.Rows, b []float32, add bool) {
	if useNEON {
		neon.MatMulTile(c, a, b, add)
	} else {
		tile.MatMulTile(c, a, b, add)
	}
}

func packPanel(dst, src []float32, offset *[tile.MaxPanel]int, w, dim int, scale float32) {
	if useNEON && w == neon.PanelWidth {
		neon.PackPanel(dst, src, offset, w, dim, scale)
	} else {
		tile.PackPanel(dst, src, offset, w, dim, scale)
	}
}

func scoreTile(s []float32, st *tile.Panel, q []float32, k tile.Rows, upper int, ahead tile.Rows) {
	if useNEON {
		neon.ScoreTile(s, st, q, k, upper, ahead)
	} else {
		tile.ScoreTile(s, st, q, k, upper, ahead)
	}
}

func maskTile(s []float32, st *tile.Panel, limit *[tile.MaxPanel]int32, n, first int) {
	if useNEON {
		neon.MaskTile(s, st, limit, n, first)
	} else {
		tile.MaskTile(s, st, limit, n, first)
	}
}

func softmaxTile(s []float32, st *tile.Panel, n int) {
	if useNEON {
		neon.SoftmaxTile(s, st, n)
	} else {
		tile.SoftmaxTile(s, st, n)
	}
}

func valueTile(acc, p []float32, st *tile.Panel, v tile.Rows, upper int, ahead tile.Rows) {
	if useNEON {
		neon.ValueTile(acc, p, st, v, upper, ahead)
	} else {
		tile.ValueTile(acc, p, st, v, upper, ahead)
	}
}

func finishPanel(dst []float32, offset *[tile.MaxPanel]int, acc []float32, st *tile.Panel, dim int) (nan bool) {
	if useNEON {
		return neon.FinishPanel(dst, offset, acc, st, dim)
	}
	return tile.FinishPanel(dst, offset, acc, st, dim)
}

func rowScores(s, q []float32, w, rows int, k tile.Rows) {
	if useNEON {
		neon.RowScores(s, q, w, rows, k)
	} else {
		tile.RowScores(s, q, w, rows, k)
	}
}

func rowWeights(s []float32) (m float32) {
	if useNEON {
		return neon.RowWeights(s)
	}
	return tile.RowWeights(s)
}

func rowValues(o, p, sum []float32, rows int, v tile.Rows) {
	if useNEON {
		neon.RowValues(o, p, sum, rows, v)
	} else {
		tile.RowValues(o, p, sum, rows, v)
	}
}

func mergeRow(acc, o []float32, a, b float32) {
	if useNEON {
		neon.MergeRow(acc, o, a, b)
	} else {
		tile.MergeRow(acc, o, a, b)
	}
}

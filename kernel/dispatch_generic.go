//go:build (!amd64 && !arm64) || purego

package kernel

import "github.com/selfattn/attn/generic"

func backend() string { return "generic" }

func panelWidth(int) int { return narrowPanel }

func dot(x, y []float32) float32 {
	return generic.Dot(x, y)
}

func exp(dst, x []float32) {
	generic.Exp(dst, x)
}

func maximum(x []float32) float32 {
	return generic.Max(x)
}

func expSum(dst, x []float32, m float32, sum *[generic.Lanes]float32) {
	generic.ExpSum(dst, x, m, sum)
}

func sumExp(x []float32, m float32, sum *[generic.Lanes]float32) {
	generic.SumExp(x, m, sum)
}

func div(dst, x []float32, d float32) {
	generic.Div(dst, x, d)
}

func scaleBy(dst, x []float32, f float32) {
	generic.Scale(dst, x, f)
}

func fold(sum *[generic.Lanes]float32) float32 {
	return generic.Fold(sum)
}

func matMulTile(c []float32, ldc int, a []float32, lda int, b []float32, w, m, k int, add bool) {
	generic.MatMulTile(c, ldc, a, lda, b, w, m, k, add)
}

func packPanel(dst, src []float32, offset *[generic.MaxPanel]int, w, dim int, scale float32) {
	generic.PackPanel(dst, src, offset, w, dim, scale)
}

func scoreTile(s []float32, st *generic.Panel, q, k []float32, w, dim, n, upper, stride int, _ generic.Rows) {
	generic.ScoreTile(s, st, q, k, w, dim, n, upper, stride)
}

func maskTile(s []float32, st *generic.Panel, limit *[generic.MaxPanel]int32, w, n, first int) {
	generic.MaskTile(s, st, limit, w, n, first)
}

func softmaxTile(s []float32, st *generic.Panel, w, n int) {
	generic.SoftmaxTile(s, st, w, n)
}

func valueTile(acc, p, v []float32, st *generic.Panel, w, dim, n, upper, stride int, _ generic.Rows) {
	generic.ValueTile(acc, p, v, st, w, dim, n, upper, stride)
}

func finishPanel(dst []float32, offset *[generic.MaxPanel]int, acc []float32, st *generic.Panel, w, dim int) (nan bool) {
	return generic.FinishPanel(dst, offset, acc, st, w, dim)
}

func rowScores(s, q, k []float32, w, rows, dim, n, stride int) {
	generic.RowScores(s, q, k, w, rows, dim, n, stride)
}

func rowWeights(s []float32) (m float32) {
	return generic.RowWeights(s)
}

func rowValues(o, p, v, sum []float32, rows, dim, n, stride int) {
	generic.RowValues(o, p, v, sum, rows, dim, n, stride)
}

func mergeRow(acc, o []float32, a, b float32) {
	generic.MergeRow(acc, o, a, b)
}

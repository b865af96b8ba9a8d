//go:build (!amd64 && !arm64) || purego

package kernel

import "github.com/selfattn/attn/generic/tile"

func backend() string { return "generic" }

func panelWidth(int) int { return narrowPanel }

func dot(x, y []float32) float32 {
	return tile.Dot(x, y)
}

func exp(dst, x []float32) {
	tile.Exp(dst, x)
}

func maximum(x []float32) float32 {
	return tile.Max(x)
}

func expSum(dst, x []float32, m float32, sum *[tile.Lanes]float32) {
	tile.ExpSum(dst, x, m, sum)
}

func sumExp(x []float32, m float32, sum *[tile.Lanes]float32) {
	tile.SumExp(x, m, sum)
}

func div(dst, x []float32, d float32) {
	tile.Div(dst, x, d)
}

func scaleBy(dst, x []float32, f float32) {
	tile.Scale(dst, x, f)
}

func fold(sum *[tile.Lanes]float32) float32 {
	return tile.Fold(sum)
}

func matMulTile(c, a tile.Rows, b []float32, add bool) {
	tile.MatMulTile(c, a, b, add)
}

func packPanel(dst, src []float32, offset *[tile.MaxPanel]int, w, dim int, scale float32) {
	tile.PackPanel(dst, src, offset, w, dim, scale)
}

func scoreTile(s []float32, st *tile.Panel, q []float32, k tile.Rows, upper int, ahead tile.Rows) {
	tile.ScoreTile(s, st, q, k, upper, ahead)
}

func maskTile(s []float32, st *tile.Panel, limit *[tile.MaxPanel]int32, n, first int) {
	tile.MaskTile(s, st, limit, n, first)
}

func softmaxTile(s []float32, st *tile.Panel, n int) {
	tile.SoftmaxTile(s, st, n)
}

func valueTile(acc, p []float32, st *tile.Panel, v tile.Rows, upper int, ahead tile.Rows) {
	tile.ValueTile(acc, p, st, v, upper, ahead)
}

func finishPanel(dst []float32, offset *[tile.MaxPanel]int, acc []float32, st *tile.Panel, dim int) (nan bool) {
	return tile.FinishPanel(dst, offset, acc, st, dim)
}

func rowScores(s, q []float32, w, rows int, k tile.Rows) {
	tile.RowScores(s, q, w, rows, k)
}

func rowWeights(s []float32) (m float32) {
	return tile.RowWeights(s)
}

func rowValues(o, p, sum []float32, rows int, v tile.Rows) {
	tile.RowValues(o, p, sum, rows, v)
}

func mergeRow(acc, o []float32, a, b float32) {
	tile.MergeRow(acc, o, a, b)
}

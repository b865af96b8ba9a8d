// Package asmtest is the support of the tests: the table of implementations, memory with guard
// pages, edge inputs, and comparisons by bits and by ulp.
package asmtest

import (
	"os"
	"strings"
	"testing"

	"github.com/selfattn/attn/generic/tile"
)

// Impl is one implementation of every kernel. Package tile documents them. The width of a
// panel is PanelWidth.
type Impl struct {
	Name       string
	Supported  bool
	PanelWidth int

	Dot         func(x, y []float32) float32
	Exp         func(dst, x []float32)
	Max         func(x []float32) float32
	ExpSum      func(dst, x []float32, m float32, sum *[tile.Lanes]float32)
	SumExp      func(x []float32, m float32, sum *[tile.Lanes]float32)
	Div         func(dst, x []float32, d float32)
	Scale       func(dst, x []float32, f float32)
	Fold        func(sum *[tile.Lanes]float32) float32
	MatMulTile  func(c, a tile.Rows, b []float32, add bool)
	PackPanel   func(dst, src []float32, offset *[tile.MaxPanel]int, w, dim int, scale float32)
	ScoreTile   func(s []float32, st *tile.Panel, q []float32, k tile.Rows, upper int, ahead tile.Rows)
	MaskTile    func(s []float32, st *tile.Panel, limit *[tile.MaxPanel]int32, n, first int)
	SoftmaxTile func(s []float32, st *tile.Panel, n int)
	ValueTile   func(acc, p []float32, st *tile.Panel, v tile.Rows, upper int, ahead tile.Rows)
	FinishPanel func(dst []float32, offset *[tile.MaxPanel]int, acc []float32, st *tile.Panel, dim int) bool
	RowScores   func(s, q []float32, w, rows int, k tile.Rows)
	RowWeights  func(s []float32) float32
	RowValues   func(o, p, sum []float32, rows int, v tile.Rows)
	MergeRow    func(acc, o []float32, a, b float32)
}

// Generic returns the reference with panels of width w.
func Generic(w int) Impl {
	return Impl{
		Name: "generic", Supported: true, PanelWidth: w,
		Dot: tile.Dot, Exp: tile.Exp, Max: tile.Max, ExpSum: tile.ExpSum, SumExp: tile.SumExp,
		Div: tile.Div, Scale: tile.Scale, Fold: tile.Fold,
		MatMulTile: tile.MatMulTile, PackPanel: tile.PackPanel, ScoreTile: tile.ScoreTile, MaskTile: tile.MaskTile,
		SoftmaxTile: tile.SoftmaxTile, ValueTile: tile.ValueTile, FinishPanel: tile.FinishPanel,
		RowScores: tile.RowScores, RowWeights: tile.RowWeights, RowValues: tile.RowValues, MergeRow: tile.MergeRow,
	}
}

// Run runs test for each assembly implementation that this machine supports. An implementation that
// the environment variable ATTN_REQUIRE names (several are separated by commas) fails where it is
// not supported; another one is skipped.
func Run(t *testing.T, test func(t *testing.T, impl Impl)) {
	for _, impl := range Impls {
		t.Run(impl.Name, func(t *testing.T) {
			if !impl.Supported {
				if Required(impl.Name) {
					t.Fatalf("ATTN_REQUIRE names %s, which this machine does not support", impl.Name)
				}
				t.Skipf("this machine does not support %s", impl.Name)
			}
			test(t, impl)
		})
	}
}

// Required reports whether ATTN_REQUIRE names a backend.
func Required(name string) bool {
	for _, r := range strings.Split(os.Getenv("ATTN_REQUIRE"), ",") {
		if r == name {
			return true
		}
	}
	return false
}

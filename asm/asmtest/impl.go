// Package asmtest is the support of the tests: the table of implementations, memory with guard
// pages, edge inputs, and comparisons by bits and by ulp.
package asmtest

import (
	"os"
	"strings"
	"testing"

	"github.com/selfattn/attn/generic"
)

// Impl is one implementation of every kernel. Package generic documents them; w is left out, as an
// implementation has one panel width.
type Impl struct {
	Name       string
	Supported  bool
	PanelWidth int

	Dot         func(x, y []float32) float32
	Exp         func(dst, x []float32)
	Max         func(x []float32) float32
	ExpSum      func(dst, x []float32, m float32, sum *[generic.Lanes]float32)
	SumExp      func(x []float32, m float32, sum *[generic.Lanes]float32)
	Div         func(dst, x []float32, d float32)
	Scale       func(dst, x []float32, f float32)
	Fold        func(sum *[generic.Lanes]float32) float32
	MatMulTile  func(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool)
	PackPanel   func(dst, src []float32, offset *[generic.MaxPanel]int, dim int, scale float32)
	ScoreTile   func(s []float32, st *generic.Panel, q, k []float32, dim, n, upper, stride int, ahead generic.Rows)
	MaskTile    func(s []float32, st *generic.Panel, limit *[generic.MaxPanel]int32, n, first int)
	SoftmaxTile func(s []float32, st *generic.Panel, n int)
	ValueTile   func(acc, p, v []float32, st *generic.Panel, dim, n, upper, stride int, ahead generic.Rows)
	FinishPanel func(dst []float32, offset *[generic.MaxPanel]int, acc []float32, st *generic.Panel, dim int) bool
	RowScores   func(s, q, k []float32, w, rows, dim, n, stride int)
	RowWeights  func(s []float32) float32
	RowValues   func(o, p, v, sum []float32, rows, dim, n, stride int)
	MergeRow    func(acc, o []float32, a, b float32)
}

// Generic returns the reference with panels of width w.
func Generic(w int) Impl {
	return Impl{
		Name: "generic", Supported: true, PanelWidth: w,
		Dot: generic.Dot, Exp: generic.Exp, Max: generic.Max, ExpSum: generic.ExpSum, SumExp: generic.SumExp,
		Div: generic.Div, Scale: generic.Scale, Fold: generic.Fold,
		MatMulTile: func(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
			generic.MatMulTile(c, ldc, a, lda, b, w, m, k, add)
		},
		PackPanel: func(dst, src []float32, offset *[generic.MaxPanel]int, dim int, scale float32) {
			generic.PackPanel(dst, src, offset, w, dim, scale)
		},
		ScoreTile: func(s []float32, st *generic.Panel, q, k []float32, dim, n, upper, stride int, _ generic.Rows) {
			generic.ScoreTile(s, st, q, k, w, dim, n, upper, stride)
		},
		MaskTile: func(s []float32, st *generic.Panel, limit *[generic.MaxPanel]int32, n, first int) {
			generic.MaskTile(s, st, limit, w, n, first)
		},
		SoftmaxTile: func(s []float32, st *generic.Panel, n int) { generic.SoftmaxTile(s, st, w, n) },
		ValueTile: func(acc, p, v []float32, st *generic.Panel, dim, n, upper, stride int, _ generic.Rows) {
			generic.ValueTile(acc, p, v, st, w, dim, n, upper, stride)
		},
		FinishPanel: func(dst []float32, offset *[generic.MaxPanel]int, acc []float32, st *generic.Panel, dim int) bool {
			return generic.FinishPanel(dst, offset, acc, st, w, dim)
		},
		RowScores: generic.RowScores, RowWeights: generic.RowWeights, RowValues: generic.RowValues, MergeRow: generic.MergeRow,
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

package asmtest

import (
	"github.com/selfattn/attn/asm/avx2"
	"github.com/selfattn/attn/asm/avx512"
)

// Impls is the assembly implementations of this architecture.
var Impls = []Impl{{
	Name: "avx2", Supported: avx2.Supported, PanelWidth: avx2.PanelWidth,
	Dot: avx2.Dot, Exp: avx2.Exp, Max: avx2.Max, ExpSum: avx2.ExpSum, SumExp: avx2.SumExp,
	Div: avx2.Div, Scale: avx2.Scale, Fold: avx2.Fold, MatMulTile: avx2.MatMulTile,
	PackPanel: avx2.PackPanel, ScoreTile: avx2.ScoreTile, MaskTile: avx2.MaskTile, SoftmaxTile: avx2.SoftmaxTile,
	ValueTile: avx2.ValueTile, FinishPanel: avx2.FinishPanel,
	RowScores: avx2.RowScores, RowWeights: avx2.RowWeights, RowValues: avx2.RowValues, MergeRow: avx2.MergeRow,
}, {
	Name: "avx512", Supported: avx512.Supported, PanelWidth: avx512.PanelWidth,
	Dot: avx512.Dot, Exp: avx512.Exp, Max: avx512.Max, ExpSum: avx512.ExpSum, SumExp: avx512.SumExp,
	Div: avx512.Div, Scale: avx512.Scale, Fold: avx512.Fold, MatMulTile: avx512.MatMulTile,
	PackPanel: avx512.PackPanel, ScoreTile: avx512.ScoreTile, MaskTile: avx512.MaskTile, SoftmaxTile: avx512.SoftmaxTile,
	ValueTile: avx512.ValueTile, FinishPanel: avx512.FinishPanel,
	RowScores: avx512.RowScores, RowWeights: avx512.RowWeights, RowValues: avx512.RowValues, MergeRow: avx512.MergeRow,
}}

package asmtest

import "github.com/selfattn/attn/asm/avx2"

// Impls is the assembly implementations of this architecture.
var Impls = []Impl{{
	Name: "avx2", Supported: avx2.Supported, PanelWidth: avx2.PanelWidth,
	Dot: avx2.Dot, Exp: avx2.Exp, Max: avx2.Max, ExpSum: avx2.ExpSum, SumExp: avx2.SumExp,
	Div: avx2.Div, Scale: avx2.Scale, Fold: avx2.Fold, MatMulTile: avx2.MatMulTile,
	PackPanel: avx2.PackPanel, ScoreTile: avx2.ScoreTile, MaskTile: avx2.MaskTile, SoftmaxTile: avx2.SoftmaxTile,
	ValueTile: avx2.ValueTile, FinishPanel: avx2.FinishPanel,
	RowScores: avx2.RowScores, RowWeights: avx2.RowWeights, RowValues: avx2.RowValues, MergeRow: avx2.MergeRow,
}}

package asmtest

import "github.com/selfattn/attn/asm/neon"

// Impls is the assembly implementations of this architecture.
var Impls = []Impl{{
	Name: "neon", Supported: neon.Supported, PanelWidth: neon.PanelWidth,
	Dot: neon.Dot, Exp: neon.Exp, Max: neon.Max, ExpSum: neon.ExpSum, SumExp: neon.SumExp,
	Div: neon.Div, Scale: neon.Scale, Fold: neon.Fold, MatMulTile: neon.MatMulTile,
	PackPanel: neon.PackPanel, ScoreTile: neon.ScoreTile, MaskTile: neon.MaskTile, SoftmaxTile: neon.SoftmaxTile,
	ValueTile: neon.ValueTile, FinishPanel: neon.FinishPanel,
	RowScores: neon.RowScores, RowWeights: neon.RowWeights, RowValues: neon.RowValues, MergeRow: neon.MergeRow,
}}

package generic

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Wrong arguments panic, with a message that names them, before anything is written.
func TestArguments(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6}
	for want, call := range map[string]func(){
		"attn: generic.Dot: x has 2 elements, y 3":                                         func() { Dot(x[:2], x[:3]) },
		"attn: generic.Exp: dst has 3 elements, x 2":                                       func() { Exp(x[:3], x[:2]) },
		"attn: generic.Exp: dst overlaps x and is not x":                                   func() { Exp(x[1:4], x[:3]) },
		"attn: generic.Softmax: dst overlaps x and is not x":                               func() { Softmax(x[:3], x[2:5]) },
		"attn: generic.SoftmaxRows: dst has 6 elements, x 5":                               func() { SoftmaxRows(x, x[:5], 1) },
		"attn: generic.SoftmaxRows: cols is 0, want a divisor of the 6 elements of x":      func() { SoftmaxRows(x, x, 0) },
		"attn: generic.SoftmaxRows: cols is -2, want a divisor of the 6 elements of x":     func() { SoftmaxRows(x, x, -2) },
		"attn: generic.SoftmaxRows: cols is 4, want a divisor of the 6 elements of x":      func() { SoftmaxRows(x, x, 4) },
		"attn: generic.MatMul: c is -1 x 2":                                                func() { MatMul(x, 2, x, 2, x, 2, -1, 2, 2) },
		"attn: generic.MatMul: rows of c are 1 apart, want 2 or more":                      func() { MatMul(x, 1, x, 2, x, 2, 2, 2, 2) },
		"attn: generic.MatMul: a has 6 elements, want 2 rows of 3, 4 apart":                func() { MatMul(x, 2, x, 4, x, 2, 2, 3, 2) },
		"attn: generic.MatMul: b has 6 elements, want 2 rows of 1, 1073741824 apart":       func() { MatMul(x, 2, x, 2, x, 1<<30, 2, 2, 1) },
		"attn: generic.AttentionRow: k has 6 elements, want 3 rows of 2, 3 apart":          func() { AttentionRow(x[:2], x[:2], x, x, 3, 3, 2, 1) },
		"attn: generic.AttentionRow: v has 6 elements, want 1 rows of 7, 0 apart":          func() { AttentionRow(make([]float32, 7), x[:2], x, x, 1, 0, 0, 1) },
		"attn: generic.AttentionRow: k has 6 elements, want 1000000000 rows of 3, 3 apart": func() { AttentionRow(x[:2], x[:3], x, x, 1e9, 3, 2, 1) },
		"attn: generic.MatMul: Bias has 3 elements, want 2":                                func() { Product{Bias: x[:3]}.MatMul(x, 2, x, 2, x, 2, 2, 1, 2) },
		"attn: generic.LayerNorm: gain has 2 elements, want 3":                             func() { LayerNorm(x[:3], x[:3], x[:2], nil, 1) },
		"attn: generic.LayerNorm: bias has 4 elements, want 3":                             func() { LayerNorm(x[:3], x[:3], nil, x[:4], 1) },
		"attn: generic.RMSNorm: gain has 0 elements, want 3":                               func() { RMSNorm(x[:3], x[:3], x[:0], 1) },
		"attn: generic.SoftmaxGradient: dx has 2 elements, y 3 and dy 2":                   func() { SoftmaxGradient(x[:2], x[:3], x[:2]) },
		"attn: generic.SoftmaxGradient: dx has 2 elements, y 2 and dy 3":                   func() { SoftmaxGradient(x[:2], x[:2], x[:3]) },
		"attn: generic.SoftmaxGradient: dx overlaps y without being it":                    func() { SoftmaxGradient(x[1:3], x[:2], x[1:3]) },
		"attn: generic.SoftmaxGradient: dx overlaps dy without being it":                   func() { SoftmaxGradient(x[1:3], x[1:3], x[2:4]) },
		"attn: generic.Dropout: P is 1, want 0 to less than 1":                             func() { Dropout{P: 1}.Drops(0, 0, 0) },
		"attn: generic.Dropout: P is -1, want 0 to less than 1":                            func() { Dropout{P: -1}.Drops(0, 0, 0) },
		"attn: generic.Dropout: P is NaN, want 0 to less than 1":                           func() { Dropout{P: x[0] * float32(math.NaN())}.Drops(0, 0, 0) },
		"attn: generic.AttentionRow: Bias has 1 elements, want 2 or more, the keys":        func() { (&RowEdit{Bias: x[:1]}).AttentionRow(x[:1], x[:1], x, x, 2, 1, 1, 1) },
		"attn: generic.AttentionRow: KeyScales has 1 elements, want 2 or more, the keys":   func() { (&RowEdit{KeyScales: x[:1]}).AttentionRow(x[:1], x[:1], x, x, 2, 1, 1, 1) },
		"attn: generic.AttentionRow: ValueScales has 1 elements, want 2 or more, the keys": func() { (&RowEdit{ValueScales: x[:1]}).AttentionRow(x[:1], x[:1], x, x, 2, 1, 1, 1) },
		"attn: generic.AttentionRow: dst has 0 elements and q 1, want 1 or more":           func() { AttentionRow(nil, x[:1], x, x, 1, 1, 1, 1) },
		"attn: generic.AttentionRow: k is -1 x 2":                                          func() { AttentionRow(x[:2], x[:2], x, x, -1, 2, 2, 1) },
	} {
		before := slices.Clone(x)
		require.PanicsWithValue(t, want, call)
		require.Equal(t, before, x, want)
	}
	// The least that is enough, and neighbours, which do not overlap.
	y := slices.Clone(x)
	const n = TileKeys
	k := make([]float32, (n-1)*4+3)
	require.NotPanics(t, func() {
		SoftmaxRows(nil, nil, 3)
		Exp(y[:3], y[3:])
		Exp(y[3:], y[:3])
		SoftmaxGradient(y[:2], y[2:4], y[4:])
		SoftmaxGradient(y[:2], y[:2], y[:2])
		SoftmaxGradient(nil, nil, nil)
		Dropout{}.Drops(0, 0, 0)
		(&RowEdit{Bias: x[:1]}).AttentionRow(make([]float32, 1), x[:1], x, x, 1, 1, 1, 1)
		MatMul(make([]float32, 4), 3, x[:4], 2, x[:3], 2, 2, 2, 1)
		AttentionRow(make([]float32, 2), x[:1], x[:3], x, 3, 1, 2, 1)
		AttentionRow(make([]float32, 3), x[:3], k, k, n, 4, 4, 1)
	})
}

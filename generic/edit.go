package generic

import (
	"math"

	"github.com/selfattn/attn/generic/tile"
)

// A RowEdit is what is done to the scores of a query before they become weights, and what stands beside them. The zero
// value is nothing.
type RowEdit struct {
	SoftCap  float32   // scores become SoftCap * tanh(score/SoftCap); 0 is no cap
	Slope    float32   // then Slope times the distance to a key is subtracted
	Position int       // of the query among the keys, to which distances are counted
	Bias     []float32 // and then one is added for each key, if it is not nil; -Inf hides the key
	Sink     *float32  // the logit of a sink, if it is not nil: a weight in the denominator that mixes nothing

	// Keys and values may be integers with a scale for each row, as a cache of Int8 has them.
	KeyScales   []float32 // what the score of each key is multiplied by before all edits, if it is not nil
	ValueScales []float32 // what its weight is multiplied by before it mixes its value, if it is not nil

	Drops func(key int) bool // whose weights become 0 once they are in the denominator; nil is none
	Keep  float32            // what the others are divided by, where Drops is not nil
}

// apply edits the scores of the keys from number first on.
func (e *RowEdit) apply(s []float32, first int) {
	if e.KeyScales != nil {
		for j, scale := range e.KeyScales[first:][:len(s)] {
			s[j] *= scale
		}
	}
	e.cap(s)
	e.bias(s, first)
}

// cap caps scores, and returns the slope of the cap at the last of them.
func (e *RowEdit) cap(s []float32) (slope float32) {
	if e.SoftCap == 0 {
		return 1
	}
	cap := Log2Scale(e.SoftCap)
	tile.CapRow(s, cap, 1/cap)
	return tile.CapSlope(s[len(s)-1], 1/cap)
}

// bias biases the capped scores of the keys from number first on.
func (e *RowEdit) bias(s []float32, first int) {
	if e.Slope != 0 {
		tile.AlibiRow(s, AlibiPosition(e.Position)-first, Log2Scale(e.Slope))
	}
	if e.Bias != nil {
		tile.BiasRow(s, e.Bias[first:][:len(s)])
	}
}

// drops reports whether the weight of key j becomes 0.
func (e *RowEdit) drops(j int) bool { return e.Drops != nil && e.Drops(j) }

// inverse returns what the mix of a row is multiplied by, whose sum of weights is L.
func (e *RowEdit) inverse(L float32) float32 {
	if e.Drops != nil {
		L = float32(L * e.Keep)
	}
	return tile.Inverse(L)
}

// AlibiPosition returns the position that counts as the query's for distances: from -2^30 to 2^30.
func AlibiPosition(p int) int { return max(-1<<30, min(p, 1<<30)) }

// hidden reports whether the bias hides key j.
func (e *RowEdit) hidden(j int) bool { return e.Bias != nil && e.Bias[j] == float32(math.Inf(-1)) }

// Score returns what a score, in units of log 2, of key j becomes: -Inf if the bias hides it.
func (e *RowEdit) Score(score float32, j int) float32 {
	s := []float32{score}
	e.apply(s, j)
	return s[0]
}

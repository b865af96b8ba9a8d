package check

import (
	"math/big"
	"testing"
)

// Bounds of the tests of package generic are neither too wide nor too narrow by what holds them.
func TestBounds(t *testing.T) {
	if g := Gamma(1 << 22); g != 1./3 {
		t.Errorf("Gamma(2^22) is %g, want 1/3", g)
	}
	if r := Ratio(3, big.NewFloat(2), 0.5); r != 2 {
		t.Errorf("an error of 1 is %g of the bound 0.5", r)
	}
	var w Worst
	w.Check(t, 0.5, "half of the bound")
	w.Check(t, 1, "the bound itself")
	w.Check(t, 0.75, "less")
	if w != 1 {
		t.Errorf("the worst ratio is %g, want 1", w)
	}
}

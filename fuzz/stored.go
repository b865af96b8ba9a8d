package fuzz

import (
	"math"

	"github.com/selfattn/attn/generic"
)

// An Element is what rows of keys and values are stored as: it returns how far each element of a row may be from what is read back.
type Element func(row []float32) []float64

// Float16 is 2^-11 of an element, or 2^-25; without a bound from 65520 on, which becomes infinite.
func Float16(row []float32) []float64 {
	return each(row, func(x float64) float64 {
		if x >= 65520 {
			return math.Inf(1)
		}
		return math.Max(0x1p-11*x, 0x1p-25)
	})
}

// BFloat16 is 2^-8 of an element, or 2^-134; without a bound where it may become infinite.
func BFloat16(row []float32) []float64 {
	return each(row, func(x float64) float64 {
		if x >= 0x1.ffp127 {
			return math.Inf(1)
		}
		return math.Max(0x1p-8*x, 0x1p-134)
	})
}

// Int8 is half of the scale of the row, m/127 of its largest magnitude m, and 2u*m: the scale and the quotient, of up to 127, are rounded and
// move the integer by next to nothing beside 1/2, and their product by u*m each. It is all of an element where the scale is subnormal. What
// is read back is the integer times the scale, exactly.
func Int8(row []float32) []float64 {
	most := 0.0
	for _, x := range row {
		most = math.Max(most, math.Abs(float64(x)))
	}
	return each(row, func(x float64) float64 {
		off := most/254*(1+4*u) + 2*u*most
		if most <= 127*0x1p-126*(1+2*u) {
			off = math.Max(off, x)
		}
		return off
	})
}

func each(row []float32, off func(x float64) float64) []float64 {
	all := make([]float64, len(row))
	for i, x := range row {
		all[i] = off(math.Abs(float64(x)))
	}
	return all
}

// Storing returns how far exact attention may move if keys and values are stored as some type: what comes to the bound of
// [EditedAttention] over the rows that are read back, those of Int8 as integers with KeyScales and ValueScales.
//
// A score moves by D = max |scale| * sum |q_i|*eps_ji at most, eps what a key is off by, as no edit widens the distance of two scores.
// So a weight grows or shrinks by e^2D at most, and with eps' what a value is off by
//
//	|o' - o| = |sum (P'_j - P_j)*(v_j - o) + sum P'_j*(v'_j - v_j)| <= (e^2D - 1) * sum P_j*|v_j - o| + e^2D * sum P_j*eps'_j
//
// where the last sum is max eps'_j at most, however large D is; a sink has the value 0 and no error. With dropout values, and eps', are those that
// [EditedAttention] says.
func Storing(q []float32, k, v [][]float32, scale float32, e *generic.RowEdit, as Element) (bound []float64) {
	if len(k) == 0 {
		return nil
	}
	bound = make([]float64, len(v[0]))
	k, v, numbers := visible(k, v, e)
	var t []float64
	var D, z float64
	top := math.Inf(-1)
	for j, key := range k {
		var dot, off float64
		for i, eps := range as(key) {
			dot += float64(q[i]) * float64(key[i])
			if q[i] != 0 {
				off += math.Abs(float64(q[i])) * eps
			}
		}
		s, _, _ := edit(e, numbers[j], float64(scale)*dot, 0)
		t, top, D = append(t, s), math.Max(top, s), math.Max(D, math.Abs(float64(scale))*off)
	}
	if e.Sink != nil && !math.IsInf(float64(*e.Sink), -1) {
		t, top = append(t, float64(*e.Sink)), math.Max(top, float64(*e.Sink))
	}
	for _, s := range t {
		z += math.Exp(s - top)
	}
	off := make([][]float64, len(v))
	for j := range v {
		off[j] = as(v[j])
	}
	for c := range bound {
		var o, far, moved, most float64
		for j, s := range t {
			if j < len(v) {
				o += math.Exp(s-top) / z * factor(e, numbers[j]) * float64(v[j][c])
			}
		}
		for j, s := range t {
			p, x := math.Exp(s-top)/z, 0.0
			if j < len(v) {
				f := factor(e, numbers[j])
				x = f * float64(v[j][c])
				if f > 0 {
					moved += p * f * off[j][c]
					most = math.Max(most, f*off[j][c])
				}
			}
			far += p * math.Abs(x-o)
		}
		bound[c] = math.Min(math.Exp(2*D)*moved, most)
		if far > 0 {
			bound[c] += math.Expm1(2*D) * far
		}
		bound[c] *= oracle(len(t) + len(q))
	}
	return bound
}

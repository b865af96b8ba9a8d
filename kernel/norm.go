package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
)

// LayerNorm sets each row of dst to (x - mean)/sqrt(variance + eps) * gain + bias, with the mean and the
// variance of the row of x: the mean of the squares of x - mean. gain and bias have an element for each
// column; nil is a gain of 1 and no bias. dst may be x.
//
// It returns an error that names the argument, before it writes, if shapes, strides or lengths of Data are
// wrong, eps is negative, infinite or NaN, or dst shares memory with gain, bias or, without being x, with x.
//
// A row with a NaN or an infinity becomes NaN; so does one whose sum, or sum of the squares of x - mean, overflows,
// and one of equal elements where eps is 0.
//
// The mean is found in two steps, the second of which sums what the first one left, so that a large mean
// costs nothing. With u = 2^-24, n columns, k = min(ceil(n/32) + 5, 99 + n/2^20) and y the exact result before
// gain and bias, the error is to first order at most u*(k+7)*(1+|y|)*|gain| + u*|result|, barring underflow of
// squares, while the mean of |x| is less than 2^20/k standard deviations.
func LayerNorm(dst, x Matrix, gain, bias []float32, eps float32) error {
	dst, x, err := checkNorm(dst, x, eps, columnVector{"gain", gain}, columnVector{"bias", bias})
	if err != nil {
		return err
	}
	var sum, squares [tile.Lanes]float32
	for i := range x.Rows {
		row := x.Data[i*x.Stride:][:x.Cols]
		asm.Moments(row, 0, &sum, &squares)
		m := tile.Mean(asm.Fold(&sum), x.Cols)
		asm.Moments(row, m, &sum, &squares)
		norm := tile.LayerNorm(m, asm.Fold(&sum), asm.Fold(&squares), x.Cols, eps)
		normalize(dst.Data[i*dst.Stride:], row, gain, bias, &norm)
	}
	return nil
}

// RMSNorm sets each row of dst to x/sqrt(mean of x^2 + eps) * gain. gain has an element for each column;
// nil is a gain of 1. dst may be x.
//
// It returns an error as [LayerNorm] does. A row with a NaN or an infinity becomes NaN; so does one whose sum of
// squares overflows, and one of zeros where eps is 0.
//
// With u = 2^-24, n columns and k = min(ceil(n/32) + 5, 99 + n/2^20), the error is to first order at most
// u*(k/2 + 5)*|result|, barring underflow.
func RMSNorm(dst, x Matrix, gain []float32, eps float32) error {
	dst, x, err := checkNorm(dst, x, eps, columnVector{"gain", gain})
	if err != nil {
		return err
	}
	var sum, squares [tile.Lanes]float32
	for i := range x.Rows {
		row := x.Data[i*x.Stride:][:x.Cols]
		asm.Moments(row, 0, &sum, &squares)
		norm := tile.RMSNorm(asm.Fold(&squares), x.Cols, eps)
		normalize(dst.Data[i*dst.Stride:], row, gain, nil, &norm)
	}
	return nil
}

// A columnVector is a vector with an element for each column, or nil.
type columnVector struct {
	name string
	data []float32
}

func checkNorm(dst, x Matrix, eps float32, vectors ...columnVector) (d, r Matrix, err error) {
	d, r = dst, x
	if err = r.resolve("x"); err != nil {
		return d, r, err
	}
	if err = d.resolve("dst"); err != nil {
		return d, r, err
	}
	if d.Rows != r.Rows || d.Cols != r.Cols {
		return d, r, fmt.Errorf("attn: dst is %d x %d, want %d x %d as x", d.Rows, d.Cols, r.Rows, r.Cols)
	}
	if !(eps >= 0 && eps <= math.MaxFloat32) {
		return d, r, fmt.Errorf("attn: eps is %g, want a finite number of 0 or more", eps)
	}
	for _, v := range vectors {
		if v.data != nil && len(v.data) != r.Cols {
			return d, r, fmt.Errorf("attn: %s has %d elements, want %d, the columns of x", v.name, len(v.data), r.Cols)
		}
		if d.footprint().meets(vectorFootprint(v.data)) {
			return d, r, fmt.Errorf("attn: dst.Data shares memory with %s", v.name)
		}
	}
	if r.Cols == 0 {
		d.Rows, r.Rows = 0, 0
	}
	same := r.Rows > 0 && &d.Data[0] == &r.Data[0] && (d.Stride == r.Stride || r.Rows == 1)
	if !same && d.footprint().meets(r.footprint()) {
		return d, r, fmt.Errorf("attn: dst.Data shares memory with x.Data and is not x")
	}
	return d, r, nil
}

// What stands for a gain or a bias that is nil, so much of it at a time.
var (
	noGain = filled(1)
	noBias = filled(tile.NegZero)
)

func filled(v float32) *[1024]float32 {
	x := new([1024]float32)
	for i := range x {
		x[i] = v
	}
	return x
}

func normalize(dst, x, gain, bias []float32, norm *[3]float32) {
	dst = dst[:len(x)]
	if gain != nil && bias != nil {
		asm.Normalize(dst, x, gain, bias, norm)
		return
	}
	for first := 0; first < len(x); {
		n := min(len(noGain), len(x)-first)
		g, b := noGain[:n], noBias[:n]
		if gain != nil {
			g = gain[first:][:n]
		}
		if bias != nil {
			b = bias[first:][:n]
		}
		asm.Normalize(dst[first:][:n], x[first:][:n], g, b, norm)
		first += n
	}
}

package tile

import "math"

// Elements of other types are stored for their size, and converted to float32, which is exact. Those of int8 have
// scales: of an element, which is rounded then, or of a score or a weight. Writing rounds to nearest even.

// HalfRows are [Rows] of 16 bits an element.
type HalfRows struct {
	Data             []uint16
	Len, Dim, Stride int
	Groups           []int // where rows lie apart, the number in Data of the first row of each group; see [GroupRows]
	Next             int   // where what is read behind the last rows begins, as seen from the first, or anything: it is prefetched
}

// OctetRows are [Rows] of 8 bits an element, with a scale for each row.
type OctetRows struct {
	Data             []int8
	Scales           []float32
	Len, Dim, Stride int
	Groups           []int // as in HalfRows
	Next             int   // as in HalfRows
}

// GroupRows are the rows of a group, which lie one behind the other where groups lie apart. Len is a multiple then, and groups
// behind those of Len are what is read next: they are prefetched.
const GroupRows = 16

// Group returns group i of rows that lie apart. Its Next is the group that is so many ahead, or the last one.
func (r HalfRows) Group(i, ahead int) HalfRows {
	row, next := r.Groups[i], r.Groups[min(i+ahead, len(r.Groups)-1)]
	return HalfRows{Data: r.Data[row*r.Stride:], Len: GroupRows, Dim: r.Dim, Stride: r.Stride, Next: (next - row) * r.Stride}
}

// Group is that of HalfRows.
func (r OctetRows) Group(i, ahead int) OctetRows {
	row, next := r.Groups[i], r.Groups[min(i+ahead, len(r.Groups)-1)]
	return OctetRows{Data: r.Data[row*r.Stride:], Scales: r.Scales[row:], Len: GroupRows, Dim: r.Dim, Stride: r.Stride, Next: (next - row) * r.Stride}
}

// StoredRows is the least number of rows that [RowScoresFloat16] and its like take.
const StoredRows = 16

// RowScoresFloat16 is [RowScores] with keys of binary16: StoredRows or more, whose Dim is a multiple
// of 16.
func RowScoresFloat16(s, q []float32, w, rows int, k HalfRows) {
	RowScores(s, q, w, rows, k.wide(FromFloat16), k.Next)
}

// RowScoresBFloat16 is [RowScoresFloat16] with keys of bfloat16.
func RowScoresBFloat16(s, q []float32, w, rows int, k HalfRows) {
	RowScores(s, q, w, rows, k.wide(FromBFloat16), k.Next)
}

// RowScoresInt8 is [RowScoresFloat16] with keys of int8: the scale of a key multiplies its scores, those with its integers.
func RowScoresInt8(s, q []float32, w, rows int, k OctetRows) {
	RowScores(s, q, w, rows, k.wide(), k.Next)
	for r := range rows {
		for j := range k.Len {
			s[r*Keys+j] *= k.Scales[row(k.Groups, j)]
		}
	}
}

// RowValuesFloat16 is [RowValues] with values of binary16, whose Dim is a multiple of 16.
func RowValuesFloat16(o, p, sum []float32, rows int, v HalfRows) {
	RowValues(o, p, sum, rows, v.wide(FromFloat16), v.Next)
}

// RowValuesBFloat16 is [RowValues] with values of bfloat16, whose Dim is a multiple of 16.
func RowValuesBFloat16(o, p, sum []float32, rows int, v HalfRows) {
	RowValues(o, p, sum, rows, v.wide(FromBFloat16), v.Next)
}

// RowValuesInt8 is [RowValues] with values of int8, whose Dim is a multiple of 16: their integers are mixed by float32(p*scale), and p is
// added to sum.
func RowValuesInt8(o, p, sum []float32, rows int, v OctetRows) {
	wide, scaled, ignored := v.wide(), make([]float32, len(p)), make([]float32, rows)
	for r := range rows {
		for j := range v.Len {
			sum[r] += p[r*Keys+j]
			scaled[r*Keys+j] = p[r*Keys+j] * v.Scales[row(v.Groups, j)]
		}
	}
	RowValues(o, scaled, ignored, rows, wide, v.Next)
}

// row returns the number in Data of row j of all, which may lie in groups.
func row(groups []int, j int) int {
	if groups == nil {
		return j
	}
	return groups[j/GroupRows] + j%GroupRows
}

// wide returns the rows as float32.
func (r HalfRows) wide(from func(dst []float32, src []uint16)) *Rows {
	wide := &Rows{Data: make([]float32, r.Len*r.Dim), Len: r.Len, Dim: r.Dim, Stride: r.Dim}
	for j := range r.Len {
		from(wide.Row(j), r.Data[row(r.Groups, j)*r.Stride:][:r.Dim])
	}
	return wide
}

// wide returns the integers of the rows as float32.
func (r OctetRows) wide() *Rows {
	wide := &Rows{Data: make([]float32, r.Len*r.Dim), Len: r.Len, Dim: r.Dim, Stride: r.Dim}
	for j := range r.Len {
		Dequantize(wide.Row(j), r.Data[row(r.Groups, j)*r.Stride:][:r.Dim], 1)
	}
	return wide
}

// ToFloat16 sets dst[i] to src[i] in IEEE 754 binary16: with subnormals, Inf from 65520 on, and NaN
// quiet, with the upper bits of its payload.
func ToFloat16(dst []uint16, src []float32) {
	for i, x := range src {
		b := math.Float32bits(x)
		sign := uint16(b >> 16 & 0x8000)
		switch b &= 1<<31 - 1; {
		case b > 0x7f800000:
			dst[i] = sign | 0x7e00 | uint16(b>>13&0x3ff)
		case b >= 0x477ff000:
			dst[i] = sign | 0x7c00
		case b < 0x38800000: // subnormal: an ulp of 1/2 is 2^-24, so that the addition rounds
			dst[i] = sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-math.Float32bits(0.5))
		default:
			dst[i] = sign | uint16((b+0xfff+b>>13&1-112<<23)>>13)
		}
	}
}

// FromFloat16 sets dst[i] to src[i], exactly.
func FromFloat16(dst []float32, src []uint16) {
	for i, h := range src {
		b := uint32(h&0x7fff) << 13
		if h&0x7c00 == 0x7c00 { // Inf and NaN
			b |= 0x7f800000
		} else {
			b = math.Float32bits(math.Float32frombits(b) * 0x1p112)
		}
		dst[i] = math.Float32frombits(b | uint32(h&0x8000)<<16)
	}
}

// ToBFloat16 sets dst[i] to the upper half of src[i], rounded: with subnormals, Inf where the
// rounding overflows, and NaN quiet.
func ToBFloat16(dst []uint16, src []float32) {
	for i, x := range src {
		b := math.Float32bits(x)
		if x != x {
			dst[i] = uint16(b>>16) | 0x40
		} else {
			dst[i] = uint16((b + 0x7fff + b>>16&1) >> 16)
		}
	}
}

// FromBFloat16 sets dst[i] to src[i], exactly.
func FromBFloat16(dst []float32, src []uint16) {
	for i, h := range src {
		dst[i] = math.Float32frombits(uint32(h) << 16)
	}
}

// ScaleInt8 returns the scale of a vector whose largest absolute value is m: m/127, 0 if that is
// subnormal, and NaN if m is infinite or NaN.
func ScaleInt8(m float32) float32 {
	s := m / 127
	switch {
	case !(m <= math.MaxFloat32):
		return m - m // NaN
	case s < 0x1p-126:
		return 0
	}
	return s
}

// QuantizeInt8 returns x/scale rounded to an integer, to even where two are as near, and 0 if scale is 0 or NaN.
func QuantizeInt8(x, scale float32) int8 {
	if !(scale > 0) {
		return 0
	}
	return int8(math.RoundToEven(float64(x / scale)))
}

// DequantizeInt8 is the value of an element.
func DequantizeInt8(q int8, scale float32) float32 { return float32(q) * scale }

// MaxAbs returns the largest |x[i]|, 0 if there is none, and NaN if one of them is.
func MaxAbs(x []float32) float32 {
	var most uint32 // as integers NaN are above all numbers
	for _, v := range x {
		most = max(most, math.Float32bits(v)&(1<<31-1))
	}
	return math.Float32frombits(most)
}

// Quantize sets dst[i] to src[i]/scale rounded to an integer, to even where two are as near. Scale is
// positive, and quotients are from -127 to 127 when they are rounded.
func Quantize(dst []int8, src []float32, scale float32) {
	for i, x := range src {
		dst[i] = QuantizeInt8(x, scale)
	}
}

// Dequantize sets dst[i] = src[i]*scale, rounded once.
func Dequantize(dst []float32, src []int8, scale float32) {
	for i, q := range src {
		dst[i] = DequantizeInt8(q, scale)
	}
}

// MatMulTileFloat16 is [MatMulTile] with panels of binary16.
func MatMulTileFloat16(c, a, start Rows, b []uint16, add bool) {
	matMulConverted(c, a, start, len(b), add, func(panel []float32, i int) { FromFloat16(panel, b[i:][:len(panel)]) })
}

// MatMulTileBFloat16 is [MatMulTile] with panels of bfloat16.
func MatMulTileBFloat16(c, a, start Rows, b []uint16, add bool) {
	matMulConverted(c, a, start, len(b), add, func(panel []float32, i int) { FromBFloat16(panel, b[i:][:len(panel)]) })
}

// MatMulTileInt8 is [MatMulTile] with panels of int8 that have a scale for each column.
func MatMulTileInt8(c, a, start Rows, b []int8, scale []float32, add bool) {
	matMulConverted(c, a, start, len(b), add, func(panel []float32, i int) {
		for j := range panel {
			panel[j] = DequantizeInt8(b[i+j], scale[i/a.Dim+j%c.Dim])
		}
	})
}

// matMulConverted is [MatMulTile] with n elements of another type, which convert, from one on, to a panel.
func matMulConverted(c, a, start Rows, n int, add bool, convert func(panel []float32, i int)) {
	panel := make([]float32, a.Dim*c.Dim)
	for i := 0; i < n; i += len(panel) {
		convert(panel, i)
		to, from := c, start
		to.Data = c.Data[i/a.Dim:]
		if start.Len > 0 {
			from.Data = start.Data[i/a.Dim:]
		}
		MatMulTile(to, a, from, panel, add)
	}
}

package main

import "github.com/selfattn/attn/gen/a64"

// Conversions between float32 and the types of stored elements, four at a time and then one by one.
func genConvert(g *gen) {
	g.Begin("toFloat16", "func(dst *uint16, src *float32, n int)",
		"toFloat16 converts n elements, as [tile.ToFloat16].")
	g.convert(2, 4, func(v a64.V) { g.FCVTN(v, v) })
	g.RET()

	g.Begin("fromFloat16", "func(dst *float32, src *uint16, n int)",
		"fromFloat16 converts n elements, as [tile.FromFloat16].")
	g.convert(4, 2, func(v a64.V) { g.FCVTL(v, v) })
	g.RET()

	g.Begin("toBFloat16", "func(dst *uint16, src *float32, n int)",
		"toBFloat16 converts n elements, as [tile.ToBFloat16].")
	half, one, quiet := g.splatBits(0x7fff), g.splatBits(1), g.splatBits(1<<22)
	g.convert(2, 4, func(v a64.V) {
		// Instead of being rounded, a NaN becomes quiet.
		number, t := g.V(), g.V()
		g.FCMEQ(number, v, v)
		g.USHR(t, v, 16)
		g.ANDV(t, t, one)
		g.ADDV(t, t, half)
		g.ANDV(t, t, number)
		g.ADDV(v, v, t)
		g.BIC(t, quiet, number)
		g.ORRV(v, v, t)
		g.SHRN16(v, v)
	})
	g.RET()

	g.Begin("fromBFloat16", "func(dst *float32, src *uint16, n int)",
		"fromBFloat16 converts n elements, as [tile.FromBFloat16].")
	g.convert(4, 2, func(v a64.V) { g.SHLL16(v, v) })
	g.RET()

	g.Begin("quantize", "func(dst *int8, src *float32, n int, scale float32)",
		"quantize divides n elements by scale and rounds them, as [tile.Quantize].")
	scale := g.ParamFloat("scale")
	g.convert(1, 4, func(v a64.V) {
		g.FDIV(v, v, scale)
		g.FCVTNS(v, v)
		g.XTN(v, v)
		g.XTNB(v, v)
	})
	g.RET()

	g.Begin("dequantize", "func(dst *float32, src *int8, n int, scale float32)",
		"dequantize multiplies n elements by scale, as [tile.Dequantize].")
	scale = g.ParamFloat("scale")
	g.convert(4, 1, func(v a64.V) {
		g.SXTLB(v, v)
		g.SXTL(v, v)
		g.SCVTF(v, v)
		g.FMUL(v, v, scale)
	})
	g.RET()

	g.Begin("maxAbs", "func(x *float32, n int) float32",
		"maxAbs returns the largest magnitude of n elements, as [tile.MaxAbs].")
	x, n, maxima := g.Param("x"), g.Param("n"), g.group(4)
	g.clear(maxima)
	// As integers, magnitudes have the order of numbers, with NaN above.
	g.Blocks(n, 4*lanes, func() {
		v := g.group(4)
		g.load(v, x, 0)
		g.Abs(v, v)
		each(g.UMAX, maxima, maxima, v)
		g.ADDI(x, x, 64)
	})
	v := g.V()
	g.Blocks(n, 1, func() {
		g.LDRS(v, mem(x, 0))
		g.FABS(v, v)
		g.UMAX(maxima[0], maxima[0], v)
		g.ADDI(x, x, 4)
	})
	each(g.UMAX, maxima[:2], maxima[:2], maxima[2:])
	g.UMAX(maxima[0], maxima[0], maxima[1])
	g.UMAXV(maxima[0], maxima[0])
	g.ResultFloat(maxima[0])
	g.RET()
}

// convert takes n elements of from bytes at src to those of to bytes at dst: those in the low lanes of a vector.
func (g *gen) convert(to, from int, op func(v a64.V)) {
	dst, src, n, v := g.Param("dst"), g.Param("src"), g.Param("n"), g.V()
	for _, count := range []int{lanes, 1} {
		g.Blocks(n, count, func() {
			g.LDRBytes(v, mem(src, 0), count*from)
			op(v)
			g.STRBytes(v, mem(dst, 0), count*to)
			g.ADDI(src, src, count*from)
			g.ADDI(dst, dst, count*to)
		})
	}
}

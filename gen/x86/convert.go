package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Conversions between float32 and the types of stored elements. What is behind the last whole vector is a vector
// that overlaps the one before; where there is not one whole vector, elements go one by one.
//
//	V0-V2 elements and scratch, V13-V15 constants
func genConvert(g *gen) {
	g.begin("toFloat16", "func(dst *uint16, src *float32, n int)", "toFloat16 converts n elements, as [tile.ToFloat16].")
	g.convert(2, 4,
		func(src, dst Mem) { g.VMOVUPS(src, g.V(0)); g.VCVTPS2PH(U8(0), g.V(0), dst) },
		func(src, dst Mem) {
			g.VMOVSS(src, X(0))
			g.VCVTPS2PH(U8(0), X(0), X(0))
			g.storeWord(X(0), dst)
		})
	g.end()

	g.begin("fromFloat16", "func(dst *float32, src *uint16, n int)", "fromFloat16 converts n elements, as [tile.FromFloat16].")
	g.convert(4, 2,
		func(src, dst Mem) { g.VCVTPH2PS(src, g.V(0)); g.VMOVUPS(g.V(0), dst) },
		func(src, dst Mem) {
			g.loadWord(src, X(0))
			g.VCVTPH2PS(X(0), X(0))
			g.VMOVSS(X(0), dst)
		})
	g.end()

	g.begin("toBFloat16", "func(dst *uint16, src *float32, n int)",
		"toBFloat16 converts n elements, as [tile.ToBFloat16].")
	g.VPBROADCASTD(g.words("half", 0x7fff), g.V(13))
	g.VPBROADCASTD(g.words("infinite", 0x7f800000), g.V(14))
	g.VPBROADCASTD(g.words("quiet", 1<<22), g.V(15))
	g.convert(2, 4,
		func(src, dst Mem) {
			g.VMOVUPS(src, g.V(0))
			g.roundBFloat16(g.V(0), g.V(1), g.V(2), g.V(13), g.V(14), g.V(15))
			g.storeWords(0, dst)
		},
		func(src, dst Mem) {
			g.VMOVSS(src, X(0))
			g.roundBFloat16(X(0), X(1), X(2), X(13), X(14), X(15))
			g.storeWord(X(0), dst)
		})
	g.end()

	g.begin("fromBFloat16", "func(dst *float32, src *uint16, n int)", "fromBFloat16 converts n elements, as [tile.FromBFloat16].")
	g.convert(4, 2,
		func(src, dst Mem) {
			g.VPMOVZXWD(src, g.V(0))
			g.VPSLLD(U8(16), g.V(0), g.V(0))
			g.VMOVUPS(g.V(0), dst)
		},
		func(src, dst Mem) {
			g.loadWord(src, X(0))
			g.VPSLLD(U8(16), X(0), X(0))
			g.VMOVSS(X(0), dst)
		})
	g.end()

	g.begin("quantize", "func(dst *int8, src *float32, n int, scale float32)",
		"quantize divides n elements by scale and rounds them, as [tile.Quantize].")
	g.VBROADCASTSS(g.param("scale"), g.V(15))
	g.convert(1, 4,
		func(src, dst Mem) {
			g.VMOVUPS(src, g.V(0))
			g.VDIVPS(g.V(15), g.V(0), g.V(0))
			g.VCVTPS2DQ(g.V(0), g.V(0))
			g.storeBytes(0, dst)
		},
		func(src, dst Mem) {
			g.VMOVSS(src, X(0))
			g.VDIVPS(X(15), X(0), X(0))
			g.VCVTPS2DQ(X(0), X(0))
			w := g.GP32()
			g.VMOVD(X(0), w)
			g.MOVB(w.As8(), dst)
		})
	g.end()

	g.begin("dequantize", "func(dst *float32, src *int8, n int, scale float32)",
		"dequantize multiplies n elements by scale, as [tile.Dequantize].")
	g.VBROADCASTSS(g.param("scale"), g.V(15))
	g.convert(4, 1,
		func(src, dst Mem) {
			g.VPMOVSXBD(src, g.V(0))
			g.VCVTDQ2PS(g.V(0), g.V(0))
			g.VMULPS(g.V(15), g.V(0), g.V(0))
			g.VMOVUPS(g.V(0), dst)
		},
		func(src, dst Mem) {
			w := g.GP32()
			g.MOVBLSX(src, w)
			g.VMOVD(w, X(0))
			g.VCVTDQ2PS(X(0), X(0))
			g.VMULPS(X(15), X(0), X(0))
			g.VMOVSS(X(0), dst)
		})
	g.end()

	g.begin("maxAbs", "func(x *float32, n int) float32",
		"maxAbs returns the largest magnitude of n elements, as [tile.MaxAbs].")
	g.maxAbs()
	g.result(X(0))
	g.end()
}

// ahead is how many bytes ahead stored elements are prefetched: those of the next call in a loop over a few rows, while
// what comes between the calls reads nothing.
const ahead = 4 << 10

// convert takes n elements of from bytes at src to those of to bytes at dst, a vector or an element at a time.
func (g *gen) convert(to, from int, vector, element func(src, dst Mem)) {
	dst, src, n, i := g.ptr("dst"), g.ptr("src"), g.ptr("n"), g.GP64()
	vec, few, one, done := g.label("vec"), g.label("few"), g.label("one"), g.label("done")
	next := func(f func(src, dst Mem)) { f(at(src, i, uint8(from), 0), at(dst, i, uint8(to), 0)) }
	g.XORQ(i, i)
	g.SUBQ(U8(g.lanes), n) // where the last vector begins
	g.JL(LabelRef(few))
	g.loop(vec)
	if from < 4 {
		g.PREFETCHT0(at(src, i, uint8(from), ahead))
	}
	next(vector)
	g.ADDQ(U8(g.lanes), i)
	g.CMPQ(i, n)
	g.JLE(LabelRef(vec))
	next0 := g.GP64() // where another vector would begin
	g.LEAQ(mem(n, g.lanes), next0)
	g.CMPQ(i, next0)
	g.JE(LabelRef(done))
	g.MOVQ(n, i)
	g.JMP(LabelRef(vec))
	g.Label(few)
	g.ADDQ(U8(g.lanes), n)
	g.JZ(LabelRef(done))
	g.Label(one)
	next(element)
	g.INCQ(i)
	g.CMPQ(i, n)
	g.JL(LabelRef(one))
	g.Label(done)
}

// loadWord loads 16 bits into a lane, and storeWord stores them.
func (g *gen) loadWord(m Mem, x reg.VecPhysical) {
	w := g.GP32()
	g.MOVWLZX(m, w)
	g.VMOVD(w, x)
}

func (g *gen) storeWord(x reg.VecPhysical, m Mem) {
	w := g.GP32()
	g.VMOVD(x, w)
	g.MOVW(w.As16(), m)
}

// storeWords stores the lanes of V i as 16 bits, without a sign; with AVX2 V1 is scratch.
func (g *gen) storeWords(i int, m Mem) {
	if g.avx512() {
		g.VPMOVDW(g.V(i), m)
		return
	}
	g.VEXTRACTI128(U8(1), Y(i), X(1))
	g.VPACKUSDW(X(1), X(i), X(i))
	g.VMOVUPS(X(i), m)
}

// storeBytes stores the lanes of V i as 8 bits; with AVX2 V1 is scratch.
func (g *gen) storeBytes(i int, m Mem) {
	if g.avx512() {
		g.VPMOVDB(g.V(i), m)
		return
	}
	g.VEXTRACTI128(U8(1), Y(i), X(1))
	g.VPACKSSDW(X(1), X(i), X(i))
	g.VPACKSSWB(X(i), X(i), X(i))
	g.VMOVQ(X(i), m)
}

// roundBFloat16 rounds x to the lower half of its lanes; t and u are scratch. Instead of being rounded, a NaN
// becomes quiet.
func (g *gen) roundBFloat16(x, t, u, half, infinite, quiet reg.VecPhysical) {
	g.VPSLLD(U8(1), x, u) // a NaN is what is above the bits of Inf, without the sign
	g.VPSRLD(U8(1), u, u)
	g.VPSUBD(u, infinite, u)
	g.VPSRAD(U8(31), u, u)
	g.VPSLLD(U8(15), x, t)
	g.VPSRLD(U8(31), t, t)
	g.VPADDD(half, t, t)
	g.VANDNPS(t, u, t)
	g.VANDPS(quiet, u, u)
	g.VPADDD(t, x, x)
	g.VORPS(u, x, x)
	g.VPSRLD(U8(16), x, x)
}

// maxAbs leaves the largest magnitude in X0. As integers, magnitudes have the order of numbers, with NaN above.
//
//	V0-V3 maxima, V4-V7 elements, V15 the bits of a magnitude
func (g *gen) maxAbs() {
	x, n := g.ptr("x"), g.ptr("n")
	block, vecs, vec, few, one, fold, done := g.label("block"), g.label("vecs"), g.label("vec"), g.label("few"), g.label("one"), g.label("fold"), g.label("done")
	g.VPBROADCASTD(g.words("magnitude", 1<<31-1), g.V(15))
	g.clear(4)
	raise := func(i int, m Mem) {
		g.VANDPS(m, g.V(15), g.V(4+i))
		g.VPMAXUD(g.V(4+i), g.V(i), g.V(i))
	}
	g.SUBQ(I8(g.lanes), n) // n-lanes are left
	g.JL(LabelRef(few))
	last := g.GP64() // vector
	g.LEAQ(at(x, n, 4, 0), last)
	g.SUBQ(I8(3*g.lanes), n)
	g.JL(LabelRef(vecs))
	g.loop(block)
	for i := range 4 {
		raise(i, mem(x, g.w()*i))
	}
	g.ADDQ(I32(4*g.w()), x)
	g.SUBQ(I8(4*g.lanes), n)
	g.JGE(LabelRef(block))
	g.Label(vecs)
	g.ADDQ(I8(3*g.lanes), n)
	g.JL(LabelRef(fold))
	g.Label(vec)
	raise(0, mem(x, 0))
	g.ADDQ(I8(g.w()), x)
	g.SUBQ(I8(g.lanes), n)
	g.JGE(LabelRef(vec))
	g.Label(fold)
	raise(1, mem(last, 0))
	g.VPMAXUD(g.V(1), g.V(0), g.V(0))
	g.VPMAXUD(g.V(3), g.V(2), g.V(2))
	g.VPMAXUD(g.V(2), g.V(0), g.V(0))
	if g.avx512() {
		g.VEXTRACTF64X4(U8(1), zmm[0], Y(1))
		g.VPMAXUD(Y(1), Y(0), Y(0))
	}
	g.VEXTRACTF128(U8(1), Y(0), X(1))
	g.VPMAXUD(X(1), X(0), X(0))
	g.VPERMILPD(U8(1), X(0), X(1))
	g.VPMAXUD(X(1), X(0), X(0))
	g.VMOVSHDUP(X(0), X(1))
	g.VPMAXUD(X(1), X(0), X(0))
	g.JMP(LabelRef(done))
	g.Label(few)
	g.ADDQ(I8(g.lanes), n)
	g.Label(one)
	g.VMOVSS(mem(x, 0), X(4))
	g.VANDPS(X(15), X(4), X(4))
	g.VPMAXUD(X(4), X(0), X(0))
	g.ADDQ(I8(4), x)
	g.DECQ(n)
	g.JNZ(LabelRef(one))
	g.Label(done)
}

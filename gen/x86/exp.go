package x86

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The constants of package generic's exponentials; generic/exp.go explains them.
const (
	magic  = 0x1.8p23
	magicB = magic + 8*127
	magic2 = magic + 126
	perLog = 0x1.715476p3
	ln2Hi  = 0x1.62e4p-4
	ln2Lo  = 0x1.7f7d1cp-23
	e3     = 0x1.555c94p-3
	e4     = 0x1.5563bp-5
	t1     = 0x1.62e43p0
	t2     = 0x1.ebfbdcp-2
	t3     = 0x1.c6af7cp-4
	t4     = 0x1.3b2dep-6
	t5     = 0x1.5f082ep-9
	t6     = 0x1.416b5p-12
	expMin = -104.5
	expMax = 89
	negMin = -88
	twoMin = -126
)

var (
	th = [8]float32{1, 0x1.172b84p0, 0x1.306fep0, 0x1.4bfdaep0, 0x1.6a09e6p0, 0x1.8ace54p0, 0x1.ae89fap0, 0x1.d5818ep0}
	tl = [8]float32{0, -0x1.c15742p-27, 0x1.4636e2p-25, -0x1.593abcp-25, 0x1.9fcef4p-26, 0x1.15506ep-27, -0x1.a94b14p-26, -0x1.822dbcp-27}
)

// The exponentials keep three constants in registers and read the others from memory: load slots
// are idle there, registers are not.
//
//	V0 least argument, V1 magic, V2 table of 2^(j/8)
//
// Each turns x into its exponential and destroys a, b and c.
func (g *gen) expConstants(least, magic float32) {
	g.VMOVUPS(g.splat(least), g.V(0))
	g.VMOVUPS(g.splat(magic), g.V(1))
	g.VMOVUPS(g.vector("th", th), g.V(2))
}

// expm is e^x for x <= 0.
func (g *gen) expm(x, a, b, c reg.VecPhysical) {
	g.VMAXPS(x, g.V(0), x)
	g.expReduce(x, a, b, c)
	g.expBiased(a)
	g.VMULPS(a, b, x)
}

// exp is e^x for any x. The scale 2^k comes in two factors, so that a subnormal result is rounded
// once.
func (g *gen) exp(x, a, b, c reg.VecPhysical) {
	g.VMAXPS(x, g.V(0), x)
	g.VMOVUPS(g.splat(expMax), a)
	g.VMINPS(x, a, x)
	g.expReduce(x, a, b, c)
	g.VPSUBD(g.V(1), a, a) // 8n
	g.VPSRAD(U8(3), a, c)  // k
	g.VPSRAD(U8(4), a, a)  // k/2
	g.VPSUBD(a, c, c)      // k - k/2
	g.VPSLLD(U8(23), a, a) // the exponents of 2^(k/2) and 2^(k-k/2)
	g.VPSLLD(U8(23), c, c)
	g.VPADDD(g.splat(1), a, a)
	g.VPADDD(g.splat(1), c, c)
	g.VMULPS(a, b, b)
	g.VMULPS(c, b, x)
}

// expReduce leaves e^x / 2^k in b and the biased 8n in the low bits of a.
func (g *gen) expReduce(x, a, b, c reg.VecPhysical) {
	g.VMOVUPS(g.splat(perLog), a)
	g.VFMADD213PS(g.V(1), x, a)          // z = x*perLog + magic
	g.VSUBPS(g.V(1), a, b)               // n
	g.VFNMADD231PS(g.splat(ln2Hi), b, x) // r = x - n*ln2Hi
	g.VFNMADD231PS(g.splat(ln2Lo), b, x) //       - n*ln2Lo
	g.VMOVUPS(g.splat(e4), b)            //
	g.VFMADD213PS(g.splat(e3), x, b)     //
	g.VFMADD213PS(g.splat(0.5), x, b)    //
	g.VMULPS(x, x, c)                    //
	g.VFMADD231PS(c, b, x)               // p = r + r^2*(1/2 + ...)
	g.expTable(a, x, b, c)
}

// expTable sets y = 2^(j/8) * (1+p) for the j in the low bits of z, the only bits of an index that
// VPERMPS looks at.
func (g *gen) expTable(z, p, y, low reg.VecPhysical) {
	g.VPERMPS(g.V(2), z, y)
	g.VPERMPS(g.vector("tl", tl), z, low)
	g.VFMADD231PS(p, y, low)
	g.VADDPS(low, y, y)
}

// expBiased turns the biased 8n in the low bits of z into 2^floor(n).
func (g *gen) expBiased(z reg.VecPhysical) {
	g.VPSRLD(U8(3), z, z)
	g.VPSLLD(U8(23), z, z)
}

// genExp: element-wise, two vectors in flight.
//
//	V0-V2 constants, V4-V7 and V8-V11 a vector each with its scratch
func genExp(g *gen) {
	g.begin("exp", "func(dst, x *float32, n int)",
		"exp sets dst[i] = e^x[i] for n elements, as [generic.Exp].")
	g.expConstants(expMin, magic)
	g.elementwise(func(x, a, b, c reg.VecPhysical) { g.exp(x, a, b, c) })
	g.end()
}

// elementwise loads n elements of x, applies op and stores them to dst. Registers as in genExp; V12
// is the mask of the tail.
func (g *gen) elementwise(op func(x, a, b, c reg.VecPhysical)) {
	dst, x, n := g.ptr("dst"), g.ptr("x"), g.ptr("n")
	pair, vec, tail, done := g.label("pair"), g.label("vec"), g.label("tail"), g.label("done")
	g.SUBQ(I8(2*g.lanes), n)
	g.JL(LabelRef(vec))
	g.loop(pair)
	for i := range 2 {
		r := 4 + 4*i
		g.VMOVUPS(mem(x, g.w()*i), g.V(r))
		op(g.V(r), g.V(r+1), g.V(r+2), g.V(r+3))
		g.VMOVUPS(g.V(r), mem(dst, g.w()*i))
	}
	g.ADDQ(I32(2*g.w()), x)
	g.ADDQ(I32(2*g.w()), dst)
	g.SUBQ(I8(2*g.lanes), n)
	g.JGE(LabelRef(pair))
	g.Label(vec)
	g.ADDQ(I8(g.lanes), n) // n-lanes are left
	g.JL(LabelRef(tail))
	g.VMOVUPS(mem(x, 0), g.V(4))
	op(g.V(4), g.V(5), g.V(6), g.V(7))
	g.VMOVUPS(g.V(4), mem(dst, 0))
	g.ADDQ(I8(g.w()), x)
	g.ADDQ(I8(g.w()), dst)
	g.SUBQ(I8(g.lanes), n)
	g.Label(tail)
	g.ADDQ(I8(g.lanes), n)
	g.JZ(LabelRef(done))
	g.tailMask(n, g.V(12))
	g.loadTail(mem(x, 0), g.V(12), g.V(4))
	op(g.V(4), g.V(5), g.V(6), g.V(7))
	g.storeTail(g.V(4), g.V(12), mem(dst, 0))
	g.Label(done)
}

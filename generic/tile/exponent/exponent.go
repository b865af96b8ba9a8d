// Package exponent has the constants of the exponentials, for package tile and for the generators of
// assembly.
//
// exp and expm share one scheme, an 8-entry table and a polynomial of degree 4: with n the multiple
// of 1/8 (in log2 units) nearest to the argument, r the rest and j = 8n mod 8,
//
//	e^x = 2^floor(n) * (Powers[j] + Powers[j]*p(r)),  p(r) = e^r - 1.
//
// exp2, whose relative error only has to match that of the products around it, does without the
// table: n is the nearest integer and the polynomial has degree 6, which is fewer instructions.
//
// Adding Magic = 1.5*2^23 rounds to nearest and leaves the integer in the low bits of the sum,
// where a table look-up and shifts find it. Constants that are added to Magic keep the exponent
// biased, so that it needs no further addition.
package exponent

const (
	Magic  = 0x1.8p23       // n in units of 1/8
	MagicB = Magic + 8*127  // the same, with the exponent biased
	Magic2 = Magic + 126    // n in units of 1, with the exponent of 2^(n-1) biased
	PerLog = 0x1.715476p3   // 8 * log2 e
	Ln2Hi  = 0x1.62e4p-4    // ln 2 / 8, in two parts: n*Ln2Hi is exact
	Ln2Lo  = 0x1.7f7d1cp-23 //
	E3     = 0x1.555c94p-3  // e^r - 1 = r + r^2*(1/2 + r*(E3 + r*E4)), |r| <= ln 2 / 16
	E4     = 0x1.5563bp-5   //
	T1     = 0x1.62e43p0    // 2 * 2^r = 2 + r*(T1 + r*(T2 + ...)), |r| <= 1/2,
	T2     = 0x1.ebfbdcp-2  // a minimax fit (Lawson's algorithm, coefficients rounded one
	T3     = 0x1.c6af7cp-4  // by one): relative error 0.05 * 2^-24
	T4     = 0x1.3b2dep-6   //
	T5     = 0x1.5f082ep-9  //
	T6     = 0x1.416b5p-12  //
	ExpMin = -104.5         // below, exp is 0
	ExpMax = 89             // above, exp is +Inf
	NegMin = -88            // below, expm is 0
	TwoMin = -126           // below, exp2 is 0
)

// Powers[j] + Rests[j] is 2^(j/8).
var (
	Powers = [8]float32{1, 0x1.172b84p0, 0x1.306fep0, 0x1.4bfdaep0, 0x1.6a09e6p0, 0x1.8ace54p0, 0x1.ae89fap0, 0x1.d5818ep0}
	Rests  = [8]float32{0, -0x1.c15742p-27, 0x1.4636e2p-25, -0x1.593abcp-25, 0x1.9fcef4p-26, 0x1.15506ep-27, -0x1.a94b14p-26, -0x1.822dbcp-27}
)

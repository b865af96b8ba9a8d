// Package angle computes roots, sines and cosines whose bits are the same on every machine. Those of package
// math are not: they are assembly on some, and products and sums are fused on others.
//
// What it computes with are sums, products that a conversion rounds, quotients, and fused multiply-adds, all
// of float64, whose results IEEE 754 prescribes.
package angle

import "math"

// Limit is the bound of the arguments of SinCos.
const Limit = 1 << 40

// The first 53 bits of pi/2, the next ones, and the rest.
const (
	halfPi1 = 0x1.921fb54442d18p+0
	halfPi2 = 0x1.1a62633145c07p-54
	halfPi3 = math.Pi/2 - halfPi1 - halfPi2
)

// The Taylor series of the sine, from the third power on, and of the cosine, from the fourth. The next terms
// are less than 2^-58 of the sums, for arguments up to pi/4.
var (
	sine = [...]float64{-1. / 6, 1. / 120, -1. / 5040, 1. / 362880, -1. / 39916800, 1. / 6227020800, -1. / 1307674368000,
		1. / 355687428096000}
	cosine = [...]float64{1. / 24, -1. / 720, 1. / 40320, -1. / 3628800, 1. / 479001600, -1. / 87178291200, 1. / 20922789888000}
)

// SinCos returns the sine and the cosine of x, for |x| < [Limit]. The errors are at most 2^-51 of the results.
func SinCos(x float64) (sin, cos float64) {
	// r = x - k*pi/2 is as small as 2^-70 at times: the sums before are exact but for the last, of what is
	// 2^-53 of them.
	k := math.RoundToEven(x * (2 / math.Pi))
	p, q := times(k, halfPi1), times(k, halfPi2)
	s := plus(x, -p.hi)
	t := plus(s.hi, -p.lo)
	r := plus(t.hi, -q.hi)
	y := r.hi + (s.lo + t.lo + r.lo - q.lo - float64(k*halfPi3))

	z := float64(y * y)
	sin = y + float64(y*float64(z*series(z, sine[:])))
	cos = 1 - float64(z/2) + float64(z*float64(z*series(z, cosine[:])))
	switch int64(k) & 3 {
	case 1:
		sin, cos = cos, -sin
	case 2:
		sin, cos = -sin, -cos
	case 3:
		sin, cos = -cos, sin
	}
	return sin, cos
}

// series returns the sum of coefficients[i] * z^i.
func series(z float64, coefficients []float64) (sum float64) {
	for i := len(coefficients) - 1; i >= 0; i-- {
		sum = float64(sum*z) + coefficients[i]
	}
	return sum
}

// Root returns base^(-n/d), for base > 0 and 0 <= n < d, rounded to nearest: what is rounded has the relative
// error 2^-90.
func Root(base float64, n, d int) float64 {
	// e^-y with y = n/d * log base, and e^-y = 2^k * e^r.
	y := logarithm(base).times(pair{float64(n), 0}).over(float64(d))
	k := math.RoundToEven(-y.hi * (1 / math.Ln2))
	r := pair{-y.hi, -y.lo}.plus(ln2.times(pair{-k, 0}))
	e := pair{1, 0}
	for i := 27; i > 0; i-- { // Taylor: |r| < 0.35, and 0.35^28/28! < 2^-140
		e = e.times(r).over(float64(i)).plus(pair{1, 0})
	}
	return math.Ldexp(e.hi, int(k))
}

// logarithm returns the natural logarithm of x > 0.
func logarithm(x float64) pair {
	f, e := math.Frexp(x)
	if f < math.Sqrt2/2 {
		f, e = 2*f, e-1
	}
	// log f = 2*artanh z, z = (f-1)/(f+1), |z| < 0.172, and artanh z = z * sum z^2i/(2i+1).
	u := plus(f, 1)
	q := (f - 1) / u.hi
	rest := math.FMA(-q, u.hi, f-1) - float64(q*u.lo)
	z := plus(q, rest/u.hi)
	zz := z.times(z)
	var s pair
	for i := 23; i >= 0; i-- {
		s = s.times(zz).plus(pair{1, 0}.over(float64(2*i + 1)))
	}
	s = s.times(z)
	return pair{2 * s.hi, 2 * s.lo}.plus(ln2.times(pair{float64(e), 0}))
}

const ln2Hi = 0x1.62e42fefa39efp-1

var ln2 = pair{ln2Hi, math.Ln2 - ln2Hi}

// A pair is the number hi + lo, lo at most half an ulp of hi (Dekker, A floating-point technique for extending
// the available precision, 1971).
type pair struct{ hi, lo float64 }

// plus returns x+y exactly.
func plus(x, y float64) pair {
	s := x + y
	t := s - x
	return pair{s, (x - (s - t)) + (y - t)}
}

// times returns x*y exactly.
func times(x, y float64) pair {
	p := float64(x * y)
	return pair{p, math.FMA(x, y, -p)}
}

// The errors of these are below 2^-102 of the largest operand or partial product.

func (x pair) plus(y pair) pair {
	s := plus(x.hi, y.hi)
	return plus(s.hi, s.lo+(x.lo+y.lo))
}

func (x pair) times(y pair) pair {
	p := times(x.hi, y.hi)
	return plus(p.hi, p.lo+(float64(x.hi*y.lo)+float64(x.lo*y.hi)))
}

func (x pair) over(n float64) pair {
	q := x.hi / n
	return plus(q, (math.FMA(-q, n, x.hi)+x.lo)/n)
}

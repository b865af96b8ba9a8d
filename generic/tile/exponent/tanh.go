package exponent

// The hyperbolic tangent is t*P(t^2)/Q(t^2) for |t| up to TanhMax, where that is 1, and it stays 1 above: no
// table, and one quotient.
const TanhMax = 0x1.05ad46p3

// TanhP and TanhQ are the coefficients of P and Q, of rising degree: a minimax fit of the relative error.
var (
	TanhP = [5]float32{1, 0x1.121362p-3, 0x1.ca683ep-9, 0x1.5a3218p-16, 0x1.cbdf48p-27}
	TanhQ = [5]float32{1, 0x1.de5efep-2, 0x1.a81558p-6, 0x1.58d026p-12, 0x1.a237c4p-21}
)

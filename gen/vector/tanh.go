package vector

import . "github.com/selfattn/attn/generic/tile/exponent"

// Tanh sets x to tanh x; a and b are scratch.
func Tanh[R any](m Machine[R], x, a, b []R) {
	m.Max(x, x, m.Load(-TanhMax))
	m.Min(x, x, m.Load(TanhMax))
	m.Mul(a, x, x)
	m.Mul(x, x, polynomial(m, b, a, &TanhP))
	m.Div(x, x, polynomial(m, b, a, &TanhQ))
}

// polynomial returns the polynomial of coefficients c at x, in y where the machine has no better place.
func polynomial[R any](m Machine[R], y, x []R, c *[5]float32) []R {
	y = m.Fill(y, c[4])
	for i := 3; i >= 0; i-- {
		y = m.Step(y, x, c[i])
	}
	return y
}

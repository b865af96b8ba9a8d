package vector

import (
	"math"

	. "github.com/selfattn/attn/generic/tile/exponent"
)

// Scratch is the number of groups that an activation takes besides x.
const Scratch = 5

// GELU sets x to x*Phi(x). The groups of s are scratch.
func GELU[R any](m Machine[R], x []R, s [Scratch][]R) {
	t := s[0]
	m.Abs(t, x)
	m.Min(t, t, m.Fill(s[1], GeluMax))
	m.MinBits(x, x, m.Const(float32(math.Copysign(0, -1)))) // x, or -0 if that is negative
	square, odd, u := s[2], m.Fill(s[3], GeluOdd[0]), m.Fill(s[1], GeluEven[0])
	m.Mul(square, t, t)
	for i := range GeluOdd[1:] {
		odd, u = m.Step(odd, square, GeluOdd[i+1]), m.Step(u, square, GeluEven[i+1])
	}
	m.MulAdd(u, odd, t)
	w := expSum(m, t, u, sumConsts{GeluC, GeluN, GeluBias}, [4][]R(s[1:]))
	m.MulSub(x, t, w)
}

// GELUTanh sets x to x/(1 + e^-2y). The groups of s are scratch.
func GELUTanh[R any](m Machine[R], x []R, s [Scratch][]R) {
	t, square := s[0], s[2]
	m.Max(x, x, m.Fill(s[1], GeluTanhMin))
	m.Min(t, x, m.Fill(s[1], GeluTanhMax))
	m.Mul(square, t, t)
	u := m.Step(m.Fill(s[1], GeluTanh3), square, GeluTanhLo)
	over(m, x, expSum(m, t, u, sumConsts{GeluTanhC, GeluTanhN, MagicB}, [4][]R(s[1:])))
}

// SiLU sets x to x/(1 + e^-x). The groups of s are scratch.
func SiLU[R any](m Machine[R], x []R, s [Scratch][]R) {
	t, a := s[0], s[1]
	m.Max(x, x, m.Fill(s[1], SiluMin))
	m.Min(t, x, m.Fill(s[1], SiluMax))
	m.Sub(a, m.Fill(s[1], 0), t)
	y, z := reduce(m, MagicB, a, s[2], s[3], s[4])
	scale(m, a, y, z)
	over(m, x, a)
}

// over sets x to x/(1+e).
func over[R any](m Machine[R], x, e []R) {
	m.Add(e, e, m.Const(1))
	m.Div(x, x, e)
}

// sumConsts are those of expSum; n is c*PerLog.
type sumConsts struct{ c, n, bias float32 }

// expSum returns e^(t*(c+u)) times the power of two that bias adds to MagicB. u, which may be in the first group of scratch, is
// destroyed.
func expSum[R any](m Machine[R], t, u []R, consts sumConsts, scratch [4][]R) []R {
	a, b, d, e := scratch[0], scratch[1], scratch[2], scratch[3]
	m.Mul(b, u, m.Const(PerLog))
	m.Add(b, b, m.Const(consts.n))
	z := m.Step(b, t, consts.bias)
	m.Sub(d, z, m.Const(consts.bias)) // k
	m.Mul(e, d, m.Const(-Ln2Hi))
	m.MulAdd(e, t, m.Const(consts.c)) // r = t*c - k*Ln2Hi
	m.MulSub(e, d, m.Const(Ln2Lo))
	m.MulAdd(e, t, u)
	y := expTable(m, z, e, a, d)
	scale(m, e, y, z)
	return e
}

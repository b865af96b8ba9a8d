package exponent

// The activations are e^a for an a that is a sum of two products, x*c + x*u, where c is a constant
// and u what a polynomial adds to it. In reduced form, a - n*ln 2/8, the large product is exact and the
// small one does not lose what it is for, so that e^a is nearly as good as that of a number.
const (
	GeluMax     = 13             // Phi(-13) is less than 2^-126
	GeluC       = -0x1.988456p-1 // ln(2*Phi(-t)) = t*(GeluC + GeluEven(t^2) + t*GeluOdd(t^2))
	GeluN       = -0x1.26aec4p3  // GeluC * PerLog
	GeluBias    = MagicB - 8     // MagicB, and the factor 1/2 of Phi(-t) = e^(...)/2
	GeluTanhMax = 10             // above, e^-2y does not change 1
	GeluTanhMin = -10.07         // below, e^-2y is +Inf
	GeluTanhC   = -0x1.988454p0  // -2y = x*(GeluTanhC + GeluTanhLo + GeluTanh3*x^2),
	GeluTanhLo  = 0x1.857936p-25 // y = sqrt(2/pi) * (x + 0.044715*x^3)
	GeluTanh3   = -0x1.2444f2p-4 //
	GeluTanhN   = -0x1.26aec2p4  // GeluTanhC * PerLog
	SiluMin     = -ExpMax        // below, e^-x is +Inf
	SiluMax     = -NegMin        // above, e^-x does not change 1
)

// The coefficients of even and of odd powers of a minimax fit like that of exp2 over 0 <= t <= 13, from the
// highest one, with the weight of what they do to the result: an absolute error of 0.04 * 2^-24 up to
// t = 1, of 0.1 * 2^-26 / Phi(-t) behind, and of 0.4% at the end.
var (
	GeluOdd  = [...]float32{-0x1.8c0d54p-35, -0x1.489862p-24, -0x1.6e0804p-17, -0x1.ce63a2p-13, 0x1.39cfaep-8, -0x1.45f2cp-2}
	GeluEven = [...]float32{0x1.85b86p-29, 0x1.379bbap-20, 0x1.104c2p-14, 0x1.2bad6ap-15, -0x1.29b1e2p-5, -0x1.435598p-28}
)

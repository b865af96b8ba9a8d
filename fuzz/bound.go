package fuzz

import (
	"math"

	"github.com/selfattn/attn/generic"
)

// Every function here returns what exact arithmetic gives, computed in float64, and a bound of the
// distance between that and the float32 result. The bound is +Inf where nothing is
// promised: an input is not finite, an intermediate result may overflow, or
// errors may be as large as the result.
//
// The model of an operation (Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapters 2
// and 3) is fl(x) = x*(1+d) + e with |d| <= u and |e| <= eta, where e is 0 for sums, and
// for products and FMAs unless the result is subnormal. A value that passes k roundings has
// the relative error gamma(k) at most, if k*u < 1.
const (
	u   = 0x1p-24  // unit roundoff of float32
	eta = 0x1p-150 // half the least subnormal
	u64 = 0x1p-53  // unit roundoff of float64

	// Errors of the exponentials that package generic promises, in ulp. An ulp is at most
	// 2u of the value.
	expULP          = 0.60 // Exp, and in Softmax
	expSubnormalULP = 0.77 // Exp below 2^-126
	exp2ULP         = 0.80 // in Attention

	// What the exponentials lose at most where they give 0.
	expFlush  = 0x1p-126 // in Softmax
	exp2Flush = 0x1p-125 // in Attention: it gives 0 below 2^-125.5
)

// gamma bounds the relative error of k roundings; +Inf where it cannot.
func gamma(k int) float64 {
	ku := float64(k) * u
	if ku >= 1 {
		return math.Inf(1)
	}
	return ku / (1 - ku)
}

// oracle is the factor by which a bound grows to cover the float64 arithmetic of the exact result and
// of the bound itself. Wherever a float32 value passes one rounding or more, its float64
// counterpart passes k or fewer, each 2^-29 times as large; 16 more are for the exponential, the
// division and the bound.
func oracle(k int) float64 { return 1 + float64(k+16)*(u64/u) }

// additions returns how many additions one of n terms passes in a sum along a vector, that to the +0 of
// its chain included: those of a chain of [generic.Lanes], of the blocks of a part, the parts of a
// span and the spans behind it, the first of which are added to +0 and change nothing, and the 5 that
// fold the lanes.
func additions(n int) int {
	const block, part, span = 1 << 10, 1 << 15, 1 << 20
	behind := func(size int) int { return max(ceilDiv(n, size)-1, 0) }
	return min(ceilDiv(n, generic.Lanes), block/generic.Lanes) + min(behind(block), part/block-1) +
		min(behind(part), span/part-1) + behind(span) + 5
}

// Dot returns the inner product of x and y and the error bound of kernel.Dot: the k [additions] that a
// product passes are FMAs in the chain.
//
//	gamma(k) * sum |x_i*y_i| + n*eta*(1+gamma(k))
//
// The second term is an underflow in each FMA, and the roundings after it.
func Dot(x, y []float32) (want, bound float64) {
	g := gamma(additions(len(x)))
	return products(x, y, func(n, size float64) float64 { return g*size + n*eta*(1+g) })
}

// Chain returns the inner product of x and y and the error bound of one element of kernel.MatMul:
//
//	E + (ceil(n/1024)-1)*u*(S+E),  S = sum |x_i*y_i|,  E = min(n, 1024)*u*S + n*eta
//
// E is what the chains of 1024 FMAs are off by, and the rest what their sum, of values that are S+E
// together at most, is off by: k additions err by at most k*u times that (the theorem below, for sums).
// One chain of n FMAs and the size S is off by n*(u*S + eta).
// Unlike gamma(n)*S it holds for every n (Jeannerod and Rump, Improved error bounds for inner products
// in floating-point arithmetic, 2013). By induction: the FMA that adds the product p to a sum s, of n-1
// products of the size S, adds an error of at most |p|, as s itself is a float32; and of eta if the
// result is subnormal, else of u*|s+p|. If |p| <= u*S+eta, the first is small enough. Otherwise
// u*|s+p| <= u*(S+|p|) + u*(n-1)*(u*S+eta), where the last term is less than u*(n-1)*|p|.
func Chain(x, y []float32) (want, bound float64) {
	return products(x, y, func(n, size float64) float64 {
		e := min(n, generic.ProductTerms)*u*size + n*eta
		return e + max(0, math.Ceil(n/generic.ProductTerms)-1)*u*(size+e)
	})
}

// products is the inner product, with a bound of n and sum |x_i*y_i|. To it comes the error of the two
// sums in float64.
func products(x, y []float32, bound func(n, size float64) float64) (want, err float64) {
	var size float64
	for i := range x {
		p := float64(x[i]) * float64(y[i]) // exact
		want += p
		size += math.Abs(p)
	}
	n := float64(len(x))
	err = bound(n, size)
	if !(size+err <= math.MaxFloat32) {
		return want, math.Inf(1)
	}
	return want, err + 2*n*u64*size
}

// Exp returns e^x and the error bound of kernel.Exp. Both are +Inf for a NaN.
func Exp(x float32) (want, bound float64) {
	want = math.Exp(float64(x)) // within an ulp of float64
	switch {
	case x != x:
		return math.Inf(1), math.Inf(1)
	case want >= 0x1p128-0x1p103: // rounds to +Inf
		return math.Inf(1), 0
	case want <= 0x1p-150: // rounds to +0
		return 0, 0
	}
	ulps := expULP
	if want < 0x1p-126 {
		ulps = expSubnormalULP
	}
	return want, ulps*ulp(want) + 2*u64*want
}

// GELU returns x*Phi(x) and the error bound of kernel.GELU. Both are +Inf for a NaN.
func GELU(x float32) (want, bound float64) {
	return activation(x, float64(x)/2*math.Erfc(-float64(x)*(math.Sqrt2/2)))
}

// GELUTanh returns x*(1+tanh(y))/2 and the error bound of kernel.GELUTanh. Both are +Inf for a NaN.
func GELUTanh(x float32) (want, bound float64) {
	v := float64(x)
	return activation(x, v/(1+math.Exp(-2*math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v))))
}

// SiLU returns x/(1 + e^-x) and the error bound of kernel.SiLU. Both are +Inf for a NaN.
func SiLU(x float32) (want, bound float64) {
	return activation(x, float64(x)/(1+math.Exp(-float64(x))))
}

// activation returns the exact value and its bound, 2 ulp or, for x < -1, the larger one of that and
// 2^-26 |x|.
func activation(x float32, exact float64) (want, bound float64) {
	switch {
	case x != x:
		return math.Inf(1), math.Inf(1)
	case math.IsInf(float64(x), -1):
		return math.Copysign(0, -1), 0
	case math.IsInf(float64(x), 1):
		return math.Inf(1), 0
	}
	bound = 2 * ulp(math.Abs(exact))
	if x < -1 {
		bound = math.Max(bound, -0x1p-26*float64(x))
	}
	return exact, bound + 4*u64*math.Abs(exact)
}

// ulp returns the distance of the float32 values around x > 0.
func ulp(x float64) float64 {
	_, e := math.Frexp(x)
	return math.Ldexp(1, max(e-24, -149))
}

// Softmax returns e^x[i] / sum_j e^x[j] and the error bounds of kernel.Softmax.
//
// With m = max x, X_i = m - x_i, p_i = e^-X_i and z = sum p_i, the exact shares are P_i = p_i/z.
// The subtraction is off by u*X_i and the exponential by 2*0.60*u, so that the computed
// weight is p_i*(1+w_i) with |w_i| <= e^(u*X_i + 1.2u) - 1, or 0 instead of less
// than 2^-126. The maximum has weight 1: z >= 1. The sum is then off by S = sum P_i*|w_i| + n*2^-126
// relatively, and by k roundings, each by a factor of at least 1-u, as a weight passes k
// [additions] but the first, to +0. One division ends it:
//
//	computed <= P_i*(1+w_i) * growth + eta, growth = (1+u) / ((1-S)*(1-u)^k)
//
// and the distance below P_i is no larger than that above.
func Softmax(x []float32) (want, bound []float64) {
	s := newShares(x)
	growth := (1 + u) / (1 - s.err) * math.Exp(s.rounded)
	want, bound = make([]float64, len(x)), make([]float64, len(x))
	for i := range x {
		logP := -s.gap[i] - math.Log(s.sum)
		want[i] = math.Exp(-s.gap[i]) / s.sum
		bound[i] = math.Inf(1)
		if s.err < 0.5 {
			bound[i] = excess(logP, s.kappa(i))*growth + want[i]*(growth-1) + (expFlush+eta)*growth
			bound[i] *= oracle(len(x))
		}
	}
	return want, bound
}

// LogSumExp returns log(sum_i e^x[i]) and the error bound of kernel.LogSumExp: the logarithm
// of the relative error of the sum, see [Softmax], one rounding to float32, and the float64 logarithm
// and addition of [tile.LogSum].
func LogSumExp(x []float32) (want, bound float64) {
	s := newShares(x)
	log := math.Log(s.sum)
	want = s.max + log
	if !(s.err < 0.5) {
		return want, math.Inf(1)
	}
	err := s.rounded - math.Log1p(-s.err)
	return want, (err+u*(math.Abs(want)+err)+eta)*oracle(len(x)) + 4*u64*(math.Abs(s.max)+log+1)
}

// shares is what the bounds of a softmax need.
type shares struct {
	gap          []float64 // X_i
	max, sum     float64   // m, z
	err, rounded float64   // of the sum: S, -log((1-u)^k)
}

func newShares(x []float32) *shares {
	s := &shares{max: math.Inf(-1), gap: make([]float64, len(x))}
	for _, v := range x {
		s.max = math.Max(s.max, float64(v)) // NaN if one is
	}
	for i, v := range x {
		s.gap[i] = s.max - float64(v)
		s.sum += math.Exp(-s.gap[i])
	}
	s.rounded = -float64(max(additions(len(x))-1, 5)) * math.Log1p(-u)
	s.err = float64(len(x)) * expFlush
	for i := range x {
		s.err += excess(-s.gap[i]-math.Log(s.sum), s.kappa(i))
	}
	return s
}

// kappa bounds the error of the logarithm of a weight.
func (s *shares) kappa(i int) float64 { return u*s.gap[i] + 2*expULP*u }

// excess is P*(e^kappa - 1), the error of a share P = e^logP if that of its logarithm is
// kappa >= 0. A vast kappa does not matter where P is hopeless.
func excess(logP, kappa float64) float64 {
	if kappa < 1 {
		return math.Exp(logP) * math.Expm1(kappa)
	}
	return math.Exp(logP + kappa)
}

// Attention returns the exact output of a query q that sees the keys k with the values v, and the
// error bounds of kernel.Attention. k and v are slices of rows, without any the result is nil. scale is
// that of [generic.AttentionRow]: 0 means 0.
//
// Let t_j = scale * q.k_j, P_j = e^t_j / sum_i e^t_i, o = sum P_j*v_j for
// one column, A_j = sum_i |q_i*k_ji|, K_j = sum_i |k_ji|, with n keys in T tiles and S spans.
//
// Scores. c = float32(scale*log2 e), q_i*c and a chain of d FMAs: a product passes d+2 roundings. An
// underflow of c costs eta*A_j, those of q_i*c eta*K_j, those of the chain d*eta:
//
//	sigma_j = gamma(d+2)*|scale|*A_j + ln2*eta*(d + K_j + A_j)*(1+gamma(d+2))
//
// Weights. The tile subtracts an integer m < 1 + its largest computed score, and with top = max(t_i+sigma_i)
// what remains is at most X_j = ln2 + top - t_j + sigma_j large. So
//
//	kappa_j = sigma_j + u*X_j + 2*0.80*u
//
// is the error of the logarithm of a weight, and that of P_j is w_j <= P_j*(e^kappa_j - 1). No maximum that
// changes adds to it: scaling by powers of two is exact. A weight that the exponential or a scale turns
// into 0 is below F = 2^-125, in units of 2^M for the final maximum M. As M < 1 + top/ln2, the sum
// of all exact weights is more than 2^-(1 + (top - max t)/ln2) = 1/D in that unit.
//
// Sums. A tile has n_t = min(n, 256) keys or fewer. A weight passes n_t - 1 additions, T_s - 1 merges of its span, T_s =
// min(T, 64), and S-1 of the spans; a weighted value n_t FMAs and as many merges, as merging into no keys is exact: n_o =
// n_t + T_s - 1 + S - 1, n_l = n_o - 1. Underflow costs eta in each FMA of the chain and twice in each of the merges, T of
// tiles and, if S > 1, S of spans, together B. With the computed sums O and L in units of the sum of all
// exact weights, W = sum w_j + n*F*D bounds the error of the weights, and
//
//	|O - o*L| <= N = sum w_j*|v_j - o| + n*F*D*max|v_j - o|
//	             + gamma(n_o) * sum (P_j + w_j)*|v_j| + gamma(n_l)*|o|*(1+W)
//	             + (n + 2B)*eta*D*(1 + |o|)*(1+gamma(n_o))
//	L >= (1-W)*(1-gamma(n_l)) - 2B*eta*D
//
// Output. O * (1/L) has two more roundings:
//
//	bound = N/L*(1+gamma(2)) + gamma(2)*|o| + eta
//
// Log-sum-exp. The computed sum, in units of the exact one, is from the bound of L to (1+W)*(1+gamma(n_l)) + 2B*eta*D, and the
// product of both is below 1: its logarithm is off by E = -log L of that bound at most. The integer m has no error, as a weight is off
// by what kappa says in units of 2^m, whatever m is. m*ln2 + log of the sum is float64, within 8 roundings of its terms, and is
// rounded once:
//
//	E + u*(|lse| + E) + eta + 8*2^-53*(|m|*ln2 + |log| + 1)
//
// where |m|*ln2 <= |max t| + H + ln2 and |log| <= log(2n) + H + E with H = top - max t. [Case.Exact] has it.
func Attention(q []float32, k, v [][]float32, scale float32) (want, bound []float64) {
	return EditedAttention(q, k, v, scale, new(generic.RowEdit))
}

// EditedAttention is [Attention] with edited scores. Keys that the bias hides count among the n, and have no other
// part in it. The edits change t_j and sigma_j, one after the other.
//
//   - A KeyScale f makes f*t of t, with one rounding: sigma' = |f|*sigma + u*(|f*t| + |f|*sigma) + ln2*eta.
//   - A cap C makes C*tanh(t/C) of t, which moves by no more than t does, nor by more than 2C. Its constants and its
//     operations are off by (1+u)^4*(1+5.06u) relatively, less than gamma(10), and by underflows:
//     sigma' = s + gamma(10)*(|t'| + s) + 3*(C+1)*eta*(1+gamma(10)), s = min(sigma, 2C).
//   - A slope and a distance d make t - a of t, a = slope*d, with two roundings of the product and one of the sum:
//     sigma' = sigma + gamma(2)*|a| + u*(|t| + sigma + |a|*(1+gamma(2))) + 2*(d+1)*eta.
//   - A bias b makes t + b: sigma' = sigma + u*|b| + u*(|t| + sigma + |b|*(1+u)) + eta.
//
// A sink is one more key with the score t_j and the value 0, of which sigma_j = u*|t_j| + eta: its logit is multiplied
// by log2 e, rounded, and its weight computed as those of keys are. It adds one merge to n_o, n_l and B, and to B that of
// the only span if S is 1.
//
// ValueScales f_j make values f_j*v_j of v_j, in o and N: of the weight p_j*f_j there is one rounding more, in n_o, and an underflow, which
// costs eta*D*|v_j|.
//
// Dropout makes values of 0 of those that are dropped, and v_j/Keep of the others, in o and N: the weights, with their errors, are those
// without it, and an underflow counts 1/Keep times. The output is O * 1/(L*Keep), with one rounding more: gamma(3) stands for gamma(2).
// Keep = 1-P is one more, of u at most, and none if P is 1/2 or more.
func EditedAttention(q []float32, k, v [][]float32, scale float32, e *generic.RowEdit) (want, bound []float64) {
	want, bound, _, _ = Kernel.attention(q, k, v, scale, e)
	return want, bound
}

// attention is [EditedAttention] for the order of operations o, and the log-sum-exp with its bound: -Inf and 0 without keys and sink.
func (o *Order) attention(q []float32, k, v [][]float32, scale float32, e *generic.RowEdit) (want, bound []float64, lse, lseBound float64) {
	all, cols := len(k), 0
	if all > 0 {
		cols = len(v[0])
		want, bound = make([]float64, cols), make([]float64, cols)
	}
	k, v, numbers := visible(k, v, e)
	sink := e.Sink != nil && !math.IsInf(float64(*e.Sink), -1)
	if len(k) == 0 && !sink {
		return want, bound, math.Inf(-1), 0
	}
	t, sigma := make([]float64, len(k)), make([]float64, len(k))
	steps := o.steps(len(q), max(1, all), sink)
	c := math.Abs(float64(scale))
	g := gamma(steps.product)
	most, top := math.Inf(-1), math.Inf(-1)
	fits := len(k) == 0 || !overflows(q, k, v, scale)
	for j, key := range k {
		var dot, a, sum float64
		for i, x := range key {
			p := float64(q[i]) * float64(x)
			dot += p
			a += math.Abs(p)
			sum += math.Abs(float64(x))
		}
		t[j] = float64(scale) * dot
		sigma[j] = g*c*a + math.Ln2*eta*(float64(len(q))+sum+a)*(1+g)
		var size float64
		t[j], sigma[j], size = edit(e, numbers[j], t[j], sigma[j])
		sigma[j] += gamma(steps.edited) * (math.Abs(t[j]) + sigma[j])
		fits = fits && size*math.Log2E <= math.MaxFloat32/2
		most = math.Max(most, t[j])
		top = math.Max(top, t[j]+sigma[j])
	}
	if sink {
		x := float64(*e.Sink)
		err := u*math.Abs(x) + eta
		t, sigma, v = append(t, x), append(sigma, err), append(v, make([]float32, cols))
		fits = fits && math.Abs(x)*math.Log2E <= math.MaxFloat32/2
		most, top = math.Max(most, x), math.Max(top, x+err)
	}

	n := len(t)
	p, w := make([]float64, n), make([]float64, n)
	var z, W float64
	for j := range t {
		z += math.Exp(t[j] - most)
	}
	for j := range t {
		logP := t[j] - most - math.Log(z)
		p[j] = math.Exp(logP)
		w[j] = excess(logP, sigma[j]+float64(steps.gap)*u*(math.Ln2+top-t[j]+sigma[j])+steps.exponentials)
		W += w[j]
	}
	if e.Drops != nil && !o.kernel {
		steps.mixed += 2 // weights are divided by Keep
	}
	if e.ValueScales != nil {
		steps.mixed++
	}
	gl, g0 := gamma(steps.weight), gamma(steps.mixed)
	D := 2 * math.Exp(top-most)
	flush := float64(n) * exp2Flush * D
	under := float64(all+2*steps.merges) * eta * D
	W += flush
	L := (1-W)*(1-gl) - under
	trusted := W < 0.5 && g0 < 0.5 && fits

	lse, lseBound = most+math.Log(z), math.Inf(1)
	if trusted && L > 0 {
		lseBound = o.logSum(lse, -math.Log(L), math.Abs(most)+top-most+math.Ln2, math.Log(float64(2*n))+top-most) * oracle(all+len(q))
	}
	if len(k) == 0 { // nothing is mixed
		return want, bound, lse, lseBound
	}
	last, once := gamma(2), 1.0
	if e.Drops != nil {
		last, once = gamma(3), 1/float64(e.Keep)
	}
	factors := make([]float64, len(v))
	for j := range numbers {
		factors[j] = factor(e, numbers[j])
	}
	for col := range want {
		var o, N, size, far, sum, scaled float64
		for j, row := range v {
			o += p[j] * factors[j] * float64(row[col])
		}
		for j, row := range v {
			x := factors[j] * float64(row[col])
			sum += math.Abs(x)
			N += w[j] * math.Abs(x-o)
			size += (p[j] + w[j]) * math.Abs(x)
			far = math.Max(far, math.Abs(x-o))
			if e.ValueScales != nil {
				scaled += math.Abs(float64(row[col])) * once
			}
		}
		N += scaled * eta * D * (1 + g0)
		largest := math.Abs(o)
		if steps.divided {
			largest += far
		}
		N += flush*far + g0*size + gl*math.Abs(o)*(1+W) + under*(once+largest)*(1+g0)
		want[col], bound[col] = o, math.Inf(1)
		if trusted && 2*sum <= math.MaxFloat32 {
			bound[col] = (N/L*(1+last) + last*math.Abs(o) + eta) * oracle(all+len(q))
		}
	}
	return want, bound, lse, lseBound
}

// factor is what its scale and dropout multiply the value of key j by.
func factor(e *generic.RowEdit, j int) float64 {
	f := 1.0
	if e.ValueScales != nil {
		f = float64(e.ValueScales[j])
	}
	switch {
	case e.Drops == nil:
		return f
	case e.Drops(j):
		return 0
	}
	return f / float64(e.Keep)
}

// logSum is the last step of the bound of a log-sum-exp: E of [Attention], and what the maximum and, but for E, the logarithm of
// the sum do not exceed.
func (o *Order) logSum(lse, E, most, log float64) float64 {
	log += E
	if o.kernel {
		return E + u*(math.Abs(lse)+E) + eta + 8*u64*(most+log+1)
	}
	E += gamma(5)*most + (10*u+gamma(2)*(1+10*u))*log + 4*eta
	return E + u*(math.Abs(lse)+E) + eta
}

// visible returns the keys that the bias of e does not hide, their values and their numbers.
func visible(k, v [][]float32, e *generic.RowEdit) (keys, values [][]float32, numbers []int) {
	keys, values, numbers = make([][]float32, 0, len(k)), make([][]float32, 0, len(k)), make([]int, 0, len(k))
	for j := range k {
		if e.Bias == nil || !math.IsInf(float64(e.Bias[j]), -1) {
			keys, values, numbers = append(keys, k[j]), append(values, v[j]), append(numbers, j)
		}
	}
	return keys, values, numbers
}

// edit returns what [EditedAttention] makes of t and sigma of key j, and what no intermediate result exceeds by
// half or more.
func edit(e *generic.RowEdit, j int, t, sigma float64) (edited, err, size float64) {
	if e.KeyScales != nil {
		f := float64(e.KeyScales[j])
		t, sigma = f*t, math.Abs(f)*sigma
		sigma += u*(math.Abs(t)+sigma) + math.Ln2*eta
	}
	if c := float64(e.SoftCap); c != 0 {
		t = c * math.Tanh(t/c)
		sigma = min(sigma, 2*c)
		sigma += gamma(10)*(math.Abs(t)+sigma) + 3*(c+1)*eta*(1+gamma(10))
	}
	size = math.Abs(t) + sigma
	if e.Slope != 0 {
		d := math.Abs(float64(generic.AlibiPosition(e.Position) - j))
		a := float64(e.Slope) * d
		size += math.Abs(a)
		sigma += gamma(2)*math.Abs(a) + u*(math.Abs(t)+sigma+math.Abs(a)*(1+gamma(2))) + 2*(d+1)*eta
		t -= a
	}
	if e.Bias != nil && e.Bias[j] != 0 { // a sum with 0 is exact
		b := float64(e.Bias[j])
		size += math.Abs(b)
		sigma += u*math.Abs(b) + u*(math.Abs(t)+sigma+math.Abs(b)*(1+u)) + eta
		t += b
	}
	return t, sigma, size
}

// Hull returns for each column the interval that attention cannot leave, however wrong its scores are:
// the same weights mix and divide, so that the output is the mean of values v_j*(1+d_j) with
//
//	|d_j| <= gamma(n_o + n_l + 2)
//
// in the notation of [Attention]. The largest weight is 1/2 or more, as the integer m is less than 1 above
// its score: underflows, at most n + 2B, count twice. The interval is infinite where scores
// or sums may overflow.
func Hull(q []float32, k, v [][]float32, scale float32) (lo, hi []float64) {
	return Kernel.hull(q, k, v, scale)
}

// hull is [Hull] for the order of operations o.
func (o *Order) hull(q []float32, k, v [][]float32, scale float32) (lo, hi []float64) {
	if len(k) == 0 {
		return nil, nil
	}
	steps := o.steps(len(q), len(k), false)
	g := gamma(steps.mixed + steps.weight + 2)
	finite := !overflows(q, k, v, scale)
	for col := range v[0] {
		least, most, size := math.Inf(1), math.Inf(-1), 0.0
		for _, row := range v {
			x := float64(row[col])
			least, most, size = math.Min(least, x), math.Max(most, x), math.Max(size, math.Abs(x))
		}
		tau := g*size + (2*float64(len(k)+2*steps.merges)*(1+size)+1)*eta*(1+g)
		if !finite {
			least, most, tau = math.Inf(-1), math.Inf(1), 0
		}
		lo, hi = append(lo, least-tau), append(hi, most+tau)
	}
	return lo, hi
}

// Mix returns what the weights of kernel.AttentionWeights, of one row, make of one column of the
// values, and how far kernel.Attention may be from that.
//
// With the computed sum L and r = fl(1/L), a weight is p_j*r*(1+d_1), |d_1| <= u, and an output is
// sum p_j*v_j*(1+d_j) * r*(1+d_2) with |d_j| <= gamma(n_o), in the notation of [Attention]: both have
// the same r. Underflows count as in [Hull], on both sides.
//
//	gamma(n_o+2) * sum weight_j*|v_j| + (4*(n+2B)*(1+max|v|) + 1)*eta*(1+gamma(n_o+2))
//
// With values of 1 it bounds the distance of the sum of the weights from 1 too: L passes fewer roundings.
func Mix(weights, v []float32) (want, bound float64) {
	_, no, merges := roundings(len(v), false)
	g, largest := gamma(no+2), 0.0
	for _, x := range v {
		largest = math.Max(largest, math.Abs(float64(x)))
	}
	return products(weights, v, func(n, size float64) float64 {
		return g*size + (4*(n+2*float64(merges))*(1+largest)+1)*eta*(1+g)
	})
}

// roundings returns n_l, n_o and B of [Attention] for n keys and, if it has one, a sink.
func roundings(n int, sink bool) (nl, no, merges int) {
	tiles, spans := ceilDiv(n, generic.TileKeys), ceilDiv(n, generic.SpanKeys)
	behind := spans - 1 // merges of spans that round
	if sink {
		behind++
	}
	no = min(n, generic.TileKeys) + min(tiles, generic.SpanKeys/generic.TileKeys) - 1 + behind
	if behind > 0 {
		return no - 1, no, tiles + spans
	}
	return no - 1, no, tiles
}

// overflows reports whether an intermediate result of attention may overflow, or an input is not finite.
//
// A scaled query and a score are at most c*|q_i| and c*sum |q_i*k_i| large, c = |scale|*log2 e, and
// 1+gamma(d+2) times as much after rounding. A sum of weighted values is no larger than sum |v_j|, as no
// weight exceeds 1; the factor 2 is more than its roundings.
func overflows(q []float32, k, v [][]float32, scale float32) bool {
	fits := func(x float64) bool { return x*(1+gamma(len(q)+2)) <= math.MaxFloat32 }
	c := math.Abs(float64(scale)) * math.Log2E
	if !fits(c) {
		return true
	}
	for _, x := range q {
		if !fits(c * math.Abs(float64(x))) {
			return true
		}
	}
	for _, key := range k {
		var score float64
		for i, x := range key {
			score += math.Abs(float64(q[i]) * float64(x))
		}
		if !fits(c * score) {
			return true
		}
	}
	sums := make([]float64, len(v[0]))
	for _, row := range v {
		for col, x := range row {
			sums[col] += math.Abs(float64(x))
		}
	}
	for _, sum := range sums {
		if !(2*sum <= math.MaxFloat32) {
			return true
		}
	}
	return false
}

func ceilDiv(x, y int) int { return (x + y - 1) / y }

// LayerNorm returns the exact row and the error bounds of kernel.LayerNorm; gain and bias may be nil.
//
// With M = mean |x_i|, m the computed mean, D_i = x_i - m, C = mean D and R^2 = mean D^2 = v + C^2, v the
// variance: |C| <= (gamma(k)+2u)*M as a term passes k [additions], and one division and rounding. Of the
// second pass d_i is off by u*|D_i|, its mean c by g*R, g = gamma(k+2), and the mean of squares by g*R^2. So
// the variance is off by e = g*R^2 + 2*|C|*g*R + (g*R)^2 and, with V = v + eps, 1/sqrt(V) relatively
// by h = 1/sqrt(1-e/V) - 1 and two roundings. What is normalized is off by
//
//	E_i = ((u*|D_i| + g*R)*(1+h+2u) + 2u*(|C|+g*R))/sqrt(V) + |y_i|*(h+3u)*(1+4u)
//
// where u*|y_i| of it is the rounding of the first FMA, and the result by |gain_i|*E_i*(1+u) + u*|result|. Underflows of d*d
// cost eta each.
func LayerNorm(x, gain, bias []float32, eps float32) (want, bound []float64) {
	n := float64(len(x))
	var sum, size float64
	for _, v := range x {
		sum += float64(v)
		size += math.Abs(float64(v))
	}
	mean := sum / n
	var variance float64
	for _, v := range x {
		d := float64(v) - mean
		variance += d * d
	}
	variance /= n
	k := additions(len(x))
	C := (gamma(k)+2*u)*size/n + eta
	g := gamma(k + 2)
	R := math.Sqrt(variance + C*C)
	e := g*R*R + 2*C*g*R + g*R*g*R + 2*eta
	return normalized(x, gain, bias, moments{mean, variance + float64(eps), e, size + n*variance + n*C*C}, func(d, V float64) float64 {
		return (u*(math.Abs(d)+C)+g*R+2*u*(C+g*R))/math.Sqrt(V) + eta
	})
}

// RMSNorm returns the exact row and the error bounds of kernel.RMSNorm, those of [LayerNorm] with C = 0 and a mean of
// squares alone; gain may be nil.
func RMSNorm(x, gain []float32, eps float32) (want, bound []float64) {
	n, squares := float64(len(x)), 0.0
	for _, v := range x {
		squares += float64(v) * float64(v)
	}
	e := gamma(additions(len(x))+2)*squares/n + 2*eta
	return normalized(x, gain, nil, moments{0, squares/n + float64(eps), e, squares}, func(_, _ float64) float64 { return 0 })
}

// moments are what a row is normalized by.
type moments struct {
	mean, V float64 // V is the variance, or mean of squares, and eps
	e       float64 // bounds the error of V
	size    float64 // bounds the sums that may overflow
}

// normalized is the last step of the norms: off bounds the error of what is multiplied by 1/sqrt(V).
func normalized(x, gain, bias []float32, m moments, off func(d, V float64) float64) (want, bound []float64) {
	mean, V := m.mean, m.V
	h := 1/math.Sqrt(1-m.e/V) - 1
	trusted := m.e < V/2 && 2*m.size <= math.MaxFloat32 && 1/math.Sqrt(V) < 0x1p120
	want, bound = make([]float64, len(x)), make([]float64, len(x))
	for i, v := range x {
		f, b := 1.0, 0.0
		if gain != nil {
			f = float64(gain[i])
		}
		if bias != nil {
			b = float64(bias[i])
		}
		y := (float64(v) - mean) / math.Sqrt(V)
		want[i], bound[i] = y*f+b, math.Inf(1)
		E := off(float64(v)-mean, V)*(1+h+2*u) + math.Abs(y)*(h+4*u)*(1+4*u) + 2*eta
		if limit := math.Abs(f)*(math.Abs(y)+E) + math.Abs(b); trusted && 2*limit <= math.MaxFloat32 {
			bound[i] = (math.Abs(f)*E*(1+u)+u*math.Abs(want[i])+eta)*oracle(2*len(x)) +
				8*u64*(float64(len(x))+16)*math.Abs(f)*(math.Abs(mean)/math.Sqrt(V)+math.Abs(y)+1)
		}
	}
	return want, bound
}

package fuzz

import (
	"math"
	"slices"

	"github.com/selfattn/attn/generic"
)

// Gradients are the exact gradients of attention for a KV head, and how far kernel.AttentionGradient may be from
// them: rows of keys, of values, and of the queries of each head.
type Gradients struct {
	DK, DV, DKBound, DVBound [][]float64
	DQ, DQBound              [][][]float64
	DBias, DBiasBound        [][][]float64 // of what is added to the scores, for each head and query by keys
	DALiBi, DALiBiBound      []float64     // of the slope of each head
	DSinks, DSinksBound      []float64     // of the sink of each head
	Trusted                  bool          // the bounds hold
}

// Gradient returns the gradients of what g takes, whose outputs, maxima and sums it does not read.
//
// In the notation of [Attention], with g_j = scale*(dO.v_j - D) and D = dO.o:
//
// Weights. The one here is exp2(s-M) * fl(1/L), one rounding more than the output's, so that it is off by
//
//	dp_j = ((P_j + w_j)*(1+gamma(2)) + F*D')/L - P_j + eta,  D' that of the weights
//
// Gradients of scores. The output is off by E_c, so that with the k [additions] of its inner product D is off by
// e = (1+u)*|scale|*(sum |dO_c|*E_c + gamma(k)*sum |dO_c|*(|o_c|+E_c) + n*eta) + u*|scale*D| + eta. A product of
// scale*dO passes the rounding of that and a chain, the start of which is -D:
//
//	dg_j = e + gamma(dv+2)*(|scale*D| + e + |scale|*sum |dO_c*v_jc|) + eta*(dv + sum |v_jc|)*(1+gamma(dv+2))
//
// A cap multiplies by its slope, 1 - t² with t = tanh: a capped score that is off by sigma makes t off by
// dt = sigma/C + gamma(3), and the slope by 2*dt + dt² + u. So the product of the three factors is off by ds_j, with two
// roundings.
//
// Sums. An element of dV or dK passes at most 64 FMAs and an addition for each block and head, one of dQ at most
// 128 FMAs and an addition for each unit of keys.
//
// Edits. An edited score has the gradient b_j = P_j*(dO.v_j - D). What is computed is scale*b_j, without the slope of the cap, and so with
// one rounding off by db_j, which 1/scale and the product with it make
//
//	db_j/|scale| + gamma(2)*(|b_j| + db_j/|scale|) + eta*(1 + |scale*b_j| + db_j)
//
// That is the bound of the bias of one score, and of n scores which share a bias the sum of theirs and gamma(n-1) of the sum of |b_j| and
// theirs. Slopes and sinks add up in float64 and are rounded once: a slope has -d_j*b_j for each score, with a distance that is rounded,
// a sink -P*D for each query that sees a key, the product rounded, where P is the weight of the sink and off by what those of keys are.
// The bounds of KV heads and members that share a slope or a sink add up.
//
// Dropout. With m_j of 0 for what is dropped and 1/Keep for the rest, dO.v_j is m_j*(dO.v_j), and the product of dO and scale
// two roundings more: that of 1/Keep, and that of its product with the scale. The output is that of dropout, see [EditedAttention].
// dV is the sum without what is dropped, whose 2 roundings more are those of 1/Keep and of the product with it. Gradients of scores that are
// dropped are -P_j*D, and weights stay what they are.
func Gradient(g *generic.AttentionGradient) *Gradients { return Kernel.gradient(g, 0) }

// gradient is [Gradient] for the order of operations o, in which so many scores at most add up to the gradient of a slope.
func (o *Order) gradient(g *generic.AttentionGradient, scores int) *Gradients {
	r := &Gradients{Trusted: true, DK: zeros(g.K), DKBound: zeros(g.K), DV: zeros(g.V), DVBound: zeros(g.V)}
	blocks, rows := 0, 0
	for _, head := range g.Queries {
		blocks += ceilDiv(len(head), generic.GradientQueries)
		rows += len(head)
	}
	roundK := gamma(min(rows, generic.GradientQueries) + blocks)
	roundQ := gamma(min(len(g.K), generic.GradientKeys) + ceilDiv(len(g.K), generic.GradientKeys))
	if !o.kernel {
		roundK, roundQ = gamma(rows+2), gamma(len(g.K)+2) // a scale may come last
	}
	roundV, keep := roundK, 1.0
	if g.Keep != 0 {
		keep = float64(g.Keep)
		roundV = gamma(min(rows, generic.GradientQueries) + blocks + 2)
		if !o.kernel {
			roundV = gamma(rows + 4)
		}
	}
	roundEdits, tiny := gamma(2), func(float64) float64 { return eta }
	if !o.kernel {
		roundEdits = gamma(scores + 2)
		size := math.Abs(float64(g.Scale)) // that of a scale which comes first or last
		tiny = func(ds float64) float64 { return eta * (2*max(1, size) + math.Abs(ds)) }
	}
	for _, head := range g.Queries {
		var dq, dqBound, db, dbBound [][]float64
		var slope, slopeBound, sink, sinkBound float64
		for i := range head {
			q := &head[i]
			x := gradientRow(o, g, q)
			r.Trusted = r.Trusted && x.trusted
			row, bound := make([]float64, len(q.Q)), make([]float64, len(q.Q))
			bias, biasBound := make([]float64, len(g.K)), make([]float64, len(g.K))
			for n, j := range x.keys {
				if q.Edit == nil || q.Edit.Drops == nil || !q.Edit.Drops(j) {
					for c, y := range q.DO {
						d := float64(y) / keep
						r.DV[j][c] += x.p[n] * d
						r.DVBound[j][c] += math.Abs(d)*(x.dp[n]+roundV*(x.p[n]+x.dp[n])) + eta*(1/keep+1)*(1+roundV)
					}
				}
				bias[j], biasBound[j] = x.db[n], x.ddb[n]
				if q.Edit != nil {
					d := math.Abs(float64(generic.AlibiPosition(q.Edit.Position) - j))
					slope -= d * x.db[n]
					slopeBound += d*(x.ddb[n]+roundEdits*(math.Abs(x.db[n])+x.ddb[n])) + eta
				}
				for c, k := range g.K[j] {
					a, b, ds, off := float64(q.Q[c]), float64(k), x.ds[n], x.dds[n]
					r.DK[j][c] += ds * a
					r.DKBound[j][c] += math.Abs(a)*(off+roundK*(math.Abs(ds)+off)) + tiny(ds)*(1+roundK)
					row[c] += ds * b
					bound[c] += math.Abs(b)*(off+roundQ*(math.Abs(ds)+off)) + tiny(ds)*(1+roundQ)
				}
			}
			dq, dqBound, db, dbBound = append(dq, row), append(dqBound, bound), append(db, bias), append(dbBound, biasBound)
			sink += x.sink
			sinkBound += x.dsink + roundEdits*(math.Abs(x.sink)+x.dsink) + eta
		}
		r.DQ, r.DQBound = append(r.DQ, dq), append(r.DQBound, dqBound)
		r.DBias, r.DBiasBound = append(r.DBias, db), append(r.DBiasBound, dbBound)
		r.DALiBi, r.DALiBiBound = append(r.DALiBi, slope), append(r.DALiBiBound, slopeBound)
		r.DSinks, r.DSinksBound = append(r.DSinks, sink), append(r.DSinksBound, sinkBound)
	}
	grow := oracle(len(g.K) + rows)
	bounds := [][]float64{r.DALiBiBound, r.DSinksBound}
	for _, rows := range append(append([][][]float64{r.DKBound, r.DVBound}, r.DQBound...), r.DBiasBound...) {
		bounds = append(bounds, rows...)
	}
	for _, row := range bounds {
		for c := range row {
			row[c] *= grow
		}
	}
	return r
}

// A scoreGradient is the exact weights of a query, the gradients of its scores times the scale and those of its edited scores, for the
// keys that it sees, the gradient of its sink, and what these may be off by.
type scoreGradient struct {
	keys                    []int
	p, dp, ds, dds, db, ddb []float64
	sink, dsink             float64
	trusted                 bool
}

func gradientRow(order *Order, g *generic.AttentionGradient, q *generic.GradientQuery) *scoreGradient {
	edits := q.Edit
	if edits == nil {
		edits = new(generic.RowEdit)
	}
	x := &scoreGradient{trusted: true}
	var k, v [][]float32
	for j := range g.K {
		if (q.Sees == nil || q.Sees(j)) && (edits.Bias == nil || !math.IsInf(float64(edits.Bias[j]), -1)) {
			x.keys, k, v = append(x.keys, j), append(k, g.K[j]), append(v, g.V[j])
		}
	}
	if len(k) == 0 {
		return x
	}
	scale := float64(g.Scale)
	size := math.Abs(scale)
	n := len(k)
	x.trusted = !overflows(q.Q, k, v, g.Scale)

	// Scores, and slopes of the cap.
	t, sigma, slope, dslope := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	sink := edits.Sink != nil && !math.IsInf(float64(*edits.Sink), -1)
	steps := order.steps(len(q.Q), len(g.K), sink)
	gs := gamma(steps.product)
	most, top := math.Inf(-1), math.Inf(-1)
	for j, key := range k {
		var dot, a, sum float64
		for c, y := range key {
			p := float64(q.Q[c]) * float64(y)
			dot, a, sum = dot+p, a+math.Abs(p), sum+math.Abs(float64(y))
		}
		t[j] = scale * dot
		sigma[j] = gs*size*a + math.Ln2*eta*(float64(len(q.Q))+sum+a)*(1+gs)
		slope[j] = 1
		if edits.SoftCap != 0 {
			c := float64(edits.SoftCap)
			capped, off, _ := edit(&generic.RowEdit{SoftCap: edits.SoftCap}, 0, t[j], sigma[j])
			d := off/c + gamma(3)
			slope[j], dslope[j] = 1-capped/c*(capped/c), 2*d+d*d+u
		}
		var largest float64
		t[j], sigma[j], largest = edit(edits, x.keys[j], t[j], sigma[j])
		sigma[j] += gamma(steps.edited) * (math.Abs(t[j]) + sigma[j])
		x.trusted = x.trusted && largest*math.Log2E <= math.MaxFloat32/2
		most, top = math.Max(most, t[j]), math.Max(top, t[j]+sigma[j])
	}
	if sink { // one more key, with a value of 0
		s := float64(*edits.Sink)
		t, sigma = append(t, s), append(sigma, u*math.Abs(s)+eta)
		x.trusted = x.trusted && math.Abs(s)*math.Log2E <= math.MaxFloat32/2
		most, top = math.Max(most, s), math.Max(top, s+sigma[n])
	}

	// Weights.
	var z, W float64
	for j := range t {
		z += math.Exp(t[j] - most)
	}
	x.p, x.dp = make([]float64, len(t)), make([]float64, len(t))
	x.ds, x.dds, x.db, x.ddb = make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	w := make([]float64, len(t))
	for j := range t {
		logP := t[j] - most - math.Log(z)
		x.p[j] = math.Exp(logP)
		kappa := sigma[j] + float64(steps.gap)*u*(math.Ln2+top-t[j]+sigma[j]) + steps.exponentials
		if !order.kernel {
			kappa += u * (math.Abs(most+math.Log(z)) + 6)
		}
		w[j] = excess(logP, kappa)
		W += w[j]
	}
	D := 2 * math.Exp(top-most)
	W += float64(len(t)) * exp2Flush * D
	L := (1-W)*(1-gamma(steps.weight)) - float64(len(g.K)+2*steps.merges)*eta*D
	x.trusted = x.trusted && W < 0.5 && L > 0
	for j := range x.dp {
		x.dp[j] = ((x.p[j]+w[j])*(1+gamma(2))+exp2Flush*D)/L - x.p[j] + eta
	}

	// Their gradients.
	hiding := *edits // with a bias of -Inf for each key that is not seen
	hiding.Bias = slices.Repeat([]float32{float32(math.Inf(-1))}, len(g.K))
	for _, j := range x.keys {
		hiding.Bias[j] = 0
		if edits.Bias != nil {
			hiding.Bias[j] = edits.Bias[j]
		}
	}
	o, E, _, _ := order.attention(q.Q, g.K, g.V, g.Scale, &hiding)
	var delta, mixed, off float64
	for c, d := range q.DO {
		y := math.Abs(float64(d))
		delta += float64(d) * o[c]
		off += y * E[c]
		x.trusted = x.trusted && !math.IsInf(E[c], 1)
		mixed += y * (math.Abs(o[c]) + E[c])
	}
	gd := gamma(additions(len(q.DO)))
	if !order.kernel {
		gd = gamma(len(q.DO) + 2)
	}
	e := (1+u)*size*(off+gd*mixed+float64(len(q.DO))*eta) + u*size*math.Abs(delta) + eta
	products, tiny := len(q.DO)+2, eta
	if !order.kernel {
		products, tiny = products+2, eta*max(1, size) // a scale may come last
	}
	if edits.Drops != nil {
		products += 2
	}
	gv := gamma(products)
	if !order.kernel {
		e = max(e, (1+u)*size*mixedDelta(x, edits, q.DO, v, gv)+u*size*math.Abs(delta)+eta)
	}
	for j, row := range v {
		dot, a, sum := weighted(edits, x.keys[j], q.DO, row)
		grad := scale * (dot - delta)
		dg := e + gv*(size*math.Abs(delta)+e+size*a) + tiny*(float64(len(row))+sum+a)*(1+gv)
		x.trusted = x.trusted && size*(mixed+a) <= math.MaxFloat32/4
		x.ds[j] = x.p[j] * grad * slope[j]
		edited := (x.p[j] + x.dp[j]) * (math.Abs(grad) + dg)
		most := edited * (slope[j] + dslope[j])
		x.dds[j] = most - math.Abs(x.ds[j]) + gamma(2)*most + 2*tiny
		db := edited - x.p[j]*math.Abs(grad) + u*edited + tiny
		x.db[j] = x.p[j] * (dot - delta)
		x.ddb[j] = db/size + gamma(2)*(math.Abs(x.db[j])+db/size) + eta*(1+edited)
	}
	if sink {
		x.sink = -x.p[n] * delta
		x.dsink = ((x.p[n]+x.dp[n])*(size*math.Abs(delta)+e)*(1+u)+tiny)/size - math.Abs(x.sink)
	}
	return x
}

// weighted returns the product of dO and what the value of key j counts as, the sum of the magnitudes of its terms, and of those
// of the value.
func weighted(e *generic.RowEdit, j int, dO, value []float32) (dot, a, sum float64) {
	f := factor(e, j)
	for c, y := range value {
		p := f * float64(dO[c]) * float64(y)
		dot, a, sum = dot+p, a+math.Abs(p), sum+f*math.Abs(float64(y))
	}
	return dot, a, sum
}

// mixedDelta bounds the error of D as the sum of P*dP: dP is off by gv*sum |dO_c*v_jc| and underflows, P by dp, and
// the sum of n by gamma(n+2).
func mixedDelta(x *scoreGradient, edits *generic.RowEdit, dO []float32, v [][]float32, gv float64) (e float64) {
	gn := gamma(len(v) + 2)
	for j, row := range v {
		dot, a, sum := weighted(edits, x.keys[j], dO, row)
		off := gv*a + eta*(float64(len(row))+sum+a)*(1+gv)
		most := (x.p[j] + x.dp[j]) * (math.Abs(dot) + off)
		e += most - x.p[j]*math.Abs(dot) + gn*most + eta
	}
	return e
}

func zeros(rows [][]float32) (all [][]float64) {
	for _, row := range rows {
		all = append(all, make([]float64, len(row)))
	}
	return all
}

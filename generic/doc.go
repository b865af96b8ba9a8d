// Package generic is the pure Go reference: it says what every bit of every kernel is. The assembly
// of each instruction set computes the same bits, only faster, and the tests compare with ==.
//
// What this package exports is public: the contract, with checked arguments, written for reading.
// Package [tile] below it has the reference of each assembly kernel, which these functions call; it
// is not public, and may change at any time.
//
// # The arithmetic contract
//
// All arithmetic is IEEE 754 binary32, rounded to nearest even, with subnormals: what Go starts every
// thread with, and what code that changes MXCSR or FPCR takes away. Where two
// roundings are meant the code says float32(x*y) + z, because the Go compiler fuses a bare x*y + z
// on some architectures; where one rounding is meant it calls [FMA].
//
//   - Chains. Every score q.k and every column of an attention tile is one chain:
//     it starts at +0 and does acc = FMA(a[i], b[i], acc) for i increasing. An
//     element of a matrix product is the sum of a chain for each [ProductTerms]
//     terms. A chain does not depend on the width of a vector or on the shape of
//     a microkernel.
//   - Lanes. [Dot] and the sum of [Softmax] use [Lanes] = 32 accumulators,
//     element i going to lane i mod 32. They fold by halves: lane l is added to
//     lane l+16, then l+8, l+4, l+2, l+1. A tail acts as if padded by +0.
//   - Levels. A lane is a chain from +0 over up to 1024 elements.
//     In longer sums the lanes of up to 32 such blocks are added up from +0 in
//     increasing order, so are those of up to 32 of these parts, and so are
//     those of these spans.
//   - Maxima are maxNum: a NaN is ignored (its own exponential brings it back).
//   - Quotients are IEEE divisions, never reciprocal estimates.
//   - Exponentials are the one operation sequence of [Exp] and of its two
//     relatives in tile/exp.go on each element; there is no other code for tails.
//
// # Attention
//
// Keys are cut into tiles of [TileKeys] at absolute multiples, counted from key 0. With c =
// float32(scale * log2 e), the visible keys of each tile yield a partial result of their own, in
// base 2:
//
//	s_j = chain over d of FMA(float32(q_d * c), k_jd, .)
//	m   = ceil(maxNum s_j), an integer: rescaling by 2^(m-m') is exact, unless it underflows
//	p_j = exp2(s_j - m)
//	l   = p_0 + p_1 + ..., in increasing j
//	o_c = chain over j of FMA(p_j, v_jc, .)
//
// Scores that are edited go through these steps between s_j and m, in this order, each only if it is asked for:
//
//	s = C * tanh(float32(s * (1/C))), C = float32(SoftCap * log2 e)           soft cap
//	s = FMA(float32(slope * log2 e), -float32(|position - j|), s)             ALiBi
//	s = FMA(bias, float32(log2 e), s), or -Inf for a bias of -Inf             bias
//
// where tanh is the one of tile/edit.go, at most 5.06 ulp off and exactly 1 from 8.18 on, and a position is between
// -2^30 and 2^30. A key with a bias of -Inf is hidden: it is no part of m, l and o.
//
// Keys and values of int8 are integers with a scale for each row, as [RowEdit] has them. Their chains are those over the integers, and
// a scale is one multiplication of what a row has in common:
//
//	s_j = float32(s_j * scale of k_j), before all edits
//	o_c = chain over j of FMA(float32(p_j * scale of v_j), v_jc, .), while l is the sum of p_j
//
// Partials are merged one by one in increasing index ([Merge]), into the state M = -Inf, L = 0, O = 0 of no keys:
//
//	M' = max(M, m); a = 2^(M-M'); b = 2^(m-M')
//	L' = FMA(l, b, float32(L*a))
//	O' = FMA(o, b, float32(O*a))
//
// So are the tiles of a span, [SpanKeys] keys at absolute multiples, and then the spans of a row, in the
// same way: a span may be computed anywhere. A row of one span is the chain of its tiles, as merging into no keys changes
// nothing. The chain of spans begins with the sink of the row, if it has one ([Sink]):
//
//	t = float32(sink * log2 e); M = ceil(t); L = exp2(t - M); O = 0
//
// The log-sum-exp of a row is (M + log2 L) * ln 2, computed in float64 and rounded once.
//
// The output is FMA(O, 1/L, +0), with 0 for 1/L where L is 0: no visible key, or only scores of
// -Inf. The addition turns -0 into +0, so that a hidden key whose weight is 0 cannot be seen even
// in the sign of a zero. An o that overflows is not rescued by a small b or a large L. Nothing in
// this depends on how queries, heads, tiles or workers are grouped, so a row has the same bits in
// prefill and in decode, alone and in a batch.
//
// With a [Dropout] weights become +0 as soon as they are in L, and the output is FMA(O, 1/float32(L * (1-P)), +0).
//
// # The gradient of attention
//
// From the gradient dO of the output come those of queries, keys and values, for each pair of a query i and a key j that
// it sees, unless L_i is 0. M_i and L_i are what the row has at its end, and s_ij is the score, edited, as above:
//
//	p_ij    = float32(exp2(s_ij - M_i) * Inverse(L_i))
//	delta_i = float32(scale * Dot(dO_i, O_i))
//	g_ij    = chain over c of FMA(float32(scale*dO_ic), v_jc, .), from -delta_i
//	ds_ij   = float32(p_ij * g_ij), times the scale of the scores
//	dV_j    : chain over i of FMA(p_ij, dO_ic, .)
//	dK_j    : chain over i of FMA(ds_ij, q_ic, .)
//	dQ_i    : chain over j of FMA(ds_ij, k_jc, .)
//
// With a [Dropout] that keeps K = 1 - P, the p_ij of dV are +0 where it drops the weight, and FMA(dV_j, 1/K, +0) is taken of the sums;
// g_ij is -delta_i where the weight is dropped, and elsewhere its chain has the scale float32(scale * (1/K)).
//
// With a soft cap ds is multiplied by its slope, FMA(-t, t, 1) with t = float32(s * (1/C)) of the capped score.
// Chains of dV and dK go over a block of [GradientQueries] queries of a head, counted from the first of the sequence, those of
// dQ over a unit of [GradientKeys] keys. They start at +0, and are added one by one to sums that start at +0: in dV and
// dK the last block first, and in a block the query heads of the group in increasing order; in dQ the units in increasing order.
//
// Biases and slopes come behind the cap, and take the ds_ij from before it is multiplied by the slope of that. The gradient of a bias
// is the sum over the pairs that it belongs to, a chain over those of a block of FMA(ds_ij, 1/scale, .),
// from +0, added in the order of dV for one KV head after the other. That of a slope is the sum of -ds_ij * |position - j|
// over j in increasing order for each row, and over all rows in increasing order, in float64, where products are exact, divided by the
// scale and rounded; that of a sink the sum over all rows that see a key of float32(-p_i * delta_i), likewise, with p_i the weight of
// the sink: float32(exp2(t - M_i) * Inverse(L_i)).
package generic

import "github.com/selfattn/attn/generic/tile"

// Lanes is the number of virtual accumulators of a reduction along a vector.
const Lanes = tile.Lanes

// TileKeys is the number of keys of an attention tile.
const TileKeys = tile.Keys

// SpanKeys is the number of keys of an attention span, which is a whole number of tiles.
const SpanKeys = 64 * TileKeys

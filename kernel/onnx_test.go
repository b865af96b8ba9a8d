package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// An onnxCase is a node Attention of ONNX, opset 23 to 25, as its conformance cases have them. Its semantics are
// written here again, in float64 and for reading, and each case is expressed by Options.
type onnxCase struct {
	name                 string
	heads, kvHeads       int
	dim, vdim            int  // 0: 8
	rank3                bool // [Batch][Len][Heads*Dim], else [Batch][Heads][Len][Dim]
	half                 bool // inputs and output are float16
	past                 int  // keys of past_key and past_value, before the others
	mask                 []int
	boolean              bool // the mask
	hides                bool // a mask of floats has elements of -Inf, a boolean one a row that is all false
	maskKeys             int  // of the mask, if it is shorter than the keys
	nonpad               []int
	causal               bool
	scale, softCap       float64
	window               *Window // Left and Right of the position of the query
	poison               bool    // values that the mask hides are NaN or infinite
	why                  string  // it cannot be expressed
	batch, queries, keys int
}

// onnxCases are those of the public suite, by its names without the prefix test_attention_, and what opset 25 adds. Where
// its names differ in the rank of the inputs alone both are run.
var onnxCases = []onnxCase{
	{name: "4d"},
	{name: "4d_gqa", heads: 9},
	{name: "4d_diff_heads_sizes", vdim: 10},
	{name: "4d_scaled", scale: 1e-2},
	{name: "4d_gqa_scaled", heads: 9, scale: 1e-2},
	{name: "4d_diff_heads_sizes_scaled", vdim: 10, scale: 1e-2},
	{name: "4d_causal", causal: true},
	{name: "4d_gqa_causal", heads: 9, causal: true},
	{name: "4d_diff_heads_sizes_causal", vdim: 10, causal: true},
	{name: "4d_attn_mask", mask: []int{4, 6}},
	{name: "4d_attn_mask_3d", mask: []int{2, 1, 4, 6}},
	{name: "4d_attn_mask_3d_causal", mask: []int{2, 1, 4, 6}, causal: true},
	{name: "4d_attn_mask_4d", mask: []int{2, 3, 4, 6}},
	{name: "4d_attn_mask_4d_causal", mask: []int{2, 3, 4, 6}, causal: true},
	{name: "4d_attn_mask_bool", mask: []int{4, 6}, boolean: true},
	{name: "4d_attn_mask_bool_4d", mask: []int{2, 3, 4, 6}, boolean: true},
	{name: "4d_attn_mask_of_keys", mask: []int{2, 1, 1, 6}, boolean: true},
	{name: "4d_attn_mask_of_heads", mask: []int{1, 3, 1, 6}},
	{name: "4d_attn_mask_short", mask: []int{4, 6}, maskKeys: 4},
	{name: "4d_attn_mask_bool_short", mask: []int{4, 6}, boolean: true, maskKeys: 4},
	{name: "4d_attn_mask_row_of_nothing", mask: []int{4, 6}, boolean: true, hides: true},
	{name: "4d_gqa_attn_mask", heads: 9, mask: []int{4, 6}},
	{name: "4d_diff_heads_sizes_attn_mask", vdim: 10, mask: []int{4, 6}},
	{name: "4d_softcap", softCap: 2},
	{name: "4d_gqa_softcap", heads: 9, softCap: 2},
	{name: "4d_diff_heads_sizes_softcap", vdim: 10, softCap: 2},
	{name: "4d_softcap_neginf_mask", softCap: 2, mask: []int{4, 6}, hides: true},
	{name: "4d_softcap_neginf_mask_poison", softCap: 2, mask: []int{4, 6}, hides: true, poison: true},
	{name: "4d_with_past_and_present", mask: []int{4, 18}, past: 12},
	{name: "4d_gqa_with_past_and_present", heads: 9, mask: []int{4, 18}, past: 12},
	{name: "4d_diff_heads_with_past_and_present", vdim: 10, mask: []int{4, 18}, past: 12},
	{name: "4d_diff_heads_with_past_and_present_mask4d", vdim: 10, mask: []int{2, 3, 4, 18}, past: 12},
	{name: "4d_causal_with_past_and_present", causal: true, past: 12},
	{name: "4d_fp16", half: true},
	{name: "4d_gqa_with_past_and_present_fp16", heads: 9, half: true, mask: []int{4, 18}, past: 12},
	{name: "4d_diff_heads_mask4d_padded_kv", vdim: 10, mask: []int{2, 3, 4, 6}, maskKeys: 4, nonpad: []int{3, 4}},
	{name: "4d_nonpad", nonpad: []int{3, 6}},
	{name: "4d_nonpad_causal", nonpad: []int{4, 6}, causal: true},
	{name: "4d_nonpad_causal_less_than_queries", nonpad: []int{2, 6}, causal: true},
	{name: "4d_nonpad_mask", nonpad: []int{5, 6}, mask: []int{2, 3, 4, 6}, boolean: true},
	{name: "4d_window", window: &Window{2, 0}, causal: true},
	{name: "4d_window_both", window: &Window{1, 2}},
	{name: "4d_window_with_past", window: &Window{5, 0}, causal: true, past: 12},
	{name: "4d_softmax_precision_double", why: "weights are float32: their error is bounded, not chosen"},
}

// reference is what the operator computes, by its text: the output, and what it calls qk_matmul_output in its modes 0 to
// 3: the products, capped, with the mask, and the weights.
func (c *onnxCase) reference(p *problem, mask func(b, h, i, j int) float64) (out [][]float64, modes [4][][]float64) {
	q, k, v := rows(p.q), rows(p.k), rows(p.v)
	scale := c.scale
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(c.dim))
	}
	for n := range q {
		b, h, i := n/c.queries/c.heads, n/c.queries%c.heads, n%c.queries
		head := (b*c.kvHeads + h/(c.heads/c.kvHeads)) * p.k.Len
		var stage [4][]float64
		offset := c.past // of the position of the query
		if c.past == 0 && c.nonpad != nil {
			offset = c.nonpad[b] - c.queries
		}
		most, sum, mix := math.Inf(-1), 0.0, make([]float64, c.vdim)
		for j := range p.k.Len {
			s := 0.0
			for d, x := range k[head+j] {
				s += float64(x) * float64(q[n][d]) * scale
			}
			stage[0] = append(stage[0], s)
			if c.softCap > 0 {
				s = c.softCap * math.Tanh(s/c.softCap)
			}
			stage[1] = append(stage[1], s)
			s += mask(b, h, i, j)
			far := j - i - offset
			if c.causal && far > 0 || c.nonpad != nil && j >= c.nonpad[b] || c.window != nil && (-far > c.window.Left || far > c.window.Right) {
				s = math.Inf(-1)
			}
			stage[2] = append(stage[2], s)
			most = math.Max(most, s)
		}
		for _, s := range stage[2] {
			if s > math.Inf(-1) {
				sum += math.Exp(s - most)
			}
		}
		for j, s := range stage[2] {
			w := 0.0
			if s > math.Inf(-1) {
				w = math.Exp(s-most) / sum
				for d, x := range v[head+j] {
					mix[d] += w * float64(x)
				}
			}
			stage[3] = append(stage[3], w)
		}
		out = append(out, mix)
		for m := range modes {
			modes[m] = append(modes[m], stage[m])
		}
	}
	return out, modes
}

// Every case of the operator that can be expressed has its result, in each mode of its fourth output; the others say why
// not.
func TestONNX(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 44))
	for _, c := range onnxCases {
		for _, rank3 := range []bool{false, true} {
			if c.why != "" {
				continue
			}
			c.rank3 = rank3
			c.run(t, r)
		}
	}
}

func (c *onnxCase) run(t *testing.T, r *rand.Rand) {
	c.batch, c.queries, c.keys, c.kvHeads = 2, 4, 6, 3
	if c.heads == 0 {
		c.heads = 3
	}
	if c.dim == 0 {
		c.dim = 8
	}
	if c.vdim == 0 {
		c.vdim = c.dim
	}
	keys := c.past + c.keys
	lay := packedLayout
	if c.rank3 {
		lay = func() layout { return blhd }
	}
	// present_key and present_value are where the caller appends to past ones: k and v are views of all of them.
	p := newProblem(r, shape{c.batch, c.heads, c.kvHeads, c.queries, keys, c.dim, c.vdim}, lay, asmtest.Normal, Options{})
	var halves [3]HalfTensor
	if c.half { // what float16 is stored in; queries and the output are converted
		for i, x := range []*Tensor{&p.q, &p.k, &p.v} {
			h := HalfTensor{Float16, make([]uint16, len(x.Data)), x.Batch, x.Heads, x.Len, x.Dim, x.BatchStride, x.HeadStride, x.LenStride}
			ToFloat16(h.Data, x.Data)
			FromFloat16(x.Data, h.Data)
			halves[i] = h
		}
	}
	o := &p.o
	o.Scale, o.SoftCap, o.Causal = float32(c.scale), float32(c.softCap), c.causal
	if c.causal || c.window != nil { // query 0 is behind the past; without a Start the last query is at the last key
		o.Start = []int{c.past}
	}
	if c.nonpad != nil {
		o.KeyLen, o.Start = c.nonpad, nil
		if c.past == 0 {
			o.Start = []int{c.nonpad[0] - c.queries, c.nonpad[1] - c.queries}
		}
	}
	o.Window = c.window
	mask := func(b, h, i, j int) float64 { return 0 }
	if c.mask != nil {
		mask = c.drawMask(r, p, keys)
	}
	if c.poison {
		for n, row := range rows(p.v) {
			hidden := true
			for i := range c.queries {
				hidden = hidden && math.IsInf(mask(n/keys/c.kvHeads, 0, i, n%keys), -1)
			}
			if hidden {
				row[0] = pick(r, nan, inf, -inf)
			}
		}
	}

	want, modes := c.reference(p, mask)
	got, tolerance := p.attend(t), 1e-5
	if c.half {
		require.NoError(t, AttentionHalf(p.dst, p.q, halves[1], halves[2], o))
		asmtest.Equal(t, got, flat(p.dst), "%s: keys and values as they are stored", c.name)
		h := make([]uint16, len(got))
		ToFloat16(h, got)
		FromFloat16(got, h)
		tolerance = 0x1p-10
	}
	for n, row := range want {
		for d, x := range row {
			require.InDelta(t, x, got[n*c.vdim+d], tolerance, "%s, rank 3 %v: row %d, column %d", c.name, c.rank3, n, d)
		}
		b, h, i := n/c.queries/c.heads, n/c.queries%c.heads, n%c.queries
		for mode, stage := range []Stage{StageScores, StageSoftCap, StageBias, StageWeights} {
			for j, s := range p.scores(t, stage, b, h, i)[0] {
				if x := modes[mode][n][j]; math.IsInf(x, -1) {
					require.Equal(t, -inf, s, "%s: mode %d, row %d, key %d", c.name, mode, n, j)
				} else {
					require.InDelta(t, x, s, 1e-5, "%s: mode %d, row %d, key %d", c.name, mode, n, j)
				}
			}
		}
	}
}

// drawMask draws a mask, which the options get as Mask or Bias, and returns what it adds to a score.
func (c *onnxCase) drawMask(r *rand.Rand, p *problem, keys int) func(b, h, i, j int) float64 {
	dims := append(make([]int, 4-len(c.mask)), c.mask...) // [1|Batch][1|Heads][1|queries][keys], missing ones are 0
	n := keys
	if c.maskKeys > 0 {
		n = c.maskKeys
	}
	size, strides := n, [3]int{}
	for d := 2; d >= 0; d-- {
		if dims[d] > 1 {
			strides[d] = size
			size *= dims[d]
		}
	}
	data := make([]float64, size)
	for x := range data {
		data[x] = r.Float64()
		if c.boolean && (r.IntN(3) == 0 || c.hides && x < n) || !c.boolean && c.hides && x%n >= n/2 {
			data[x] = math.Inf(-1)
		} else if c.boolean {
			data[x] = 0
		}
	}
	if c.boolean {
		m := &Mask{make([]bool, size), strides[0], strides[1], strides[2]}
		for x := range data {
			m.Data[x] = data[x] == 0
		}
		p.o.Mask = m
	} else {
		b := &Bias{make([]float32, size), strides[0], strides[1], strides[2]}
		for x := range data {
			b.Data[x] = float32(data[x])
		}
		p.o.Bias = b
	}
	if n < keys { // what a short mask does not have is hidden; Mask and Bias cover all keys of k, but KeyLen hides them too
		c.widen(p, n, keys)
	}
	return func(b, h, i, j int) float64 {
		if j >= n {
			return math.Inf(-1)
		}
		return data[b*strides[0]+h*strides[1]+i*strides[2]+j]
	}
}

// widen lets the keys end where a short mask does.
func (c *onnxCase) widen(p *problem, n, keys int) {
	o := &p.o
	if o.KeyLen == nil {
		o.KeyLen = []int{keys, keys}
	}
	if o.Start == nil { // it must not follow the new lengths
		o.Start = []int{c.past}
	}
	lengths := make([]int, len(o.KeyLen))
	for b, x := range o.KeyLen {
		lengths[b] = min(x, n)
	}
	o.KeyLen = lengths
	wider := func(rows int) int { return (rows-1)*n + keys } // elements that the last row would have
	if m := o.Mask; m != nil {
		m.Data = append(m.Data, make([]bool, wider(len(m.Data)/n)-len(m.Data))...)
	} else if b := o.Bias; b != nil {
		b.Data = append(b.Data, make([]float32, wider(len(b.Data)/n)-len(b.Data))...)
	}
}

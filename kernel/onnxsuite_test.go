package kernel

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A suiteCase is one of the conformance suite of the operator Attention, as testdata/onnxcases.py prints it.
type suiteCase struct {
	Name            string
	Attributes      map[string]float64
	Inputs, Outputs map[string]*suiteTensor
	RTol, ATol      float64
}

type suiteTensor struct {
	Type   string
	Shape  []int
	Data   []byte // little-endian float32 in base64
	values []float32
}

func (t *suiteTensor) UnmarshalJSON(b []byte) error {
	type plain suiteTensor
	if err := json.Unmarshal(b, (*plain)(t)); err != nil {
		return err
	}
	t.values = make([]float32, len(t.Data)/4)
	_, err := binary.Decode(t.Data, binary.LittleEndian, t.values)
	return err
}

// tensor returns t as it is: of rank 4, or of rank 3 with so many heads.
func (t *suiteTensor) tensor(heads float64) Tensor {
	s := t.Shape
	if len(s) == 4 {
		return Tensor{Data: t.values, Batch: s[0], Heads: s[1], Len: s[2], Dim: s[3]}
	}
	h := int(heads)
	return Tensor{Data: t.values, Batch: s[0], Heads: h, Len: s[1], Dim: s[2] / h, BatchStride: s[1] * s[2], HeadStride: s[2] / h, LenStride: s[2]}
}

// Each case of the suite has its outputs. ATTN_ONNX is a Python with the package onnx, which carries it.
func TestONNXSuite(t *testing.T) {
	python := os.Getenv("ATTN_ONNX")
	if python == "" {
		t.Skip("ATTN_ONNX is not a Python that has the package onnx")
	}
	out, err := exec.Command(python, "testdata/onnxcases.py").Output()
	if failed, ok := err.(*exec.ExitError); ok {
		t.Fatalf("%v: %s", err, failed.Stderr)
	}
	require.NoError(t, err)
	cases := 0
	for lines := bufio.NewReader(bytes.NewReader(out)); ; cases++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		c := &suiteCase{}
		require.NoError(t, json.Unmarshal(line, c))
		t.Run(c.Name, c.run)
	}
	t.Logf("%d cases", cases)
	require.GreaterOrEqual(t, cases, 93, "as many as onnx 1.23.2 has")
}

func (c *suiteCase) run(t *testing.T) {
	in, a := c.Inputs, c.Attributes
	want := c.Outputs["Y"].tensor(a["q_num_heads"])
	p := &problem{q: in["Q"].tensor(a["q_num_heads"]), k: in["K"].tensor(a["kv_num_heads"]), v: in["V"].tensor(a["kv_num_heads"]), dst: want}
	p.o = Options{Scale: float32(a["scale"]), SoftCap: float32(a["softcap"]), Causal: a["is_causal"] != 0}
	past := 0
	if k := in["past_key"]; k != nil {
		past = k.Shape[2]
		p.k, p.v = behind(k.tensor(0), p.k), behind(in["past_value"].tensor(0), p.v)
		require.Equal(t, bitsOf(c.Outputs["present_key"].values), bitsOf(flat(p.k)))
		require.Equal(t, bitsOf(c.Outputs["present_value"].values), bitsOf(flat(p.v)))
	}
	for b := range p.q.Batch {
		start := past
		if n := in["nonpad_kv_seqlen"]; n != nil {
			start = int(n.values[b]) - p.q.Len
			p.o.KeyLen = append(p.o.KeyLen, int(n.values[b]))
		}
		p.o.Start = append(p.o.Start, start)
	}
	p.o.Window = &Window{-1, -1}
	if n, ok := a["left_window_size"]; ok {
		p.o.Window.Left = int(n)
	}
	if n, ok := a["right_window_size"]; ok {
		p.o.Window.Right = int(n)
	}
	if m := in["attn_mask"]; m != nil {
		m.hide(&p.o, p.k.Len)
	}

	got := p.attend(t)
	typ, stored := map[string]Type{"float16": Float16, "bfloat16": BFloat16}[in["Q"].Type], in["Q"].Type != "float32"
	if stored {
		k, _ := halved(typ, p.k)
		v, _ := halved(typ, p.v)
		dst := p.dst
		dst.Data = make([]float32, len(dst.Data))
		require.NoError(t, AttentionHalf(dst, p.q, k, v, &p.o))
		require.Equal(t, bitsOf(got), bitsOf(flat(dst)), "keys and values as they are stored")
		_, dst = halved(typ, dst)
		got = flat(dst)
	}
	c.near(t, flat(want), got)
	if qk := c.Outputs["qk_matmul_output"]; qk != nil {
		stage := []Stage{StageScores, StageSoftCap, StageBias, StageWeights}[int(a["qk_matmul_output_mode"])]
		var shown []float32
		for n := range p.q.Batch * p.q.Heads * p.q.Len {
			shown = append(shown, p.scores(t, stage, n/p.q.Len/p.q.Heads, n/p.q.Len%p.q.Heads, n%p.q.Len)[0]...)
		}
		c.near(t, qk.values, shown)
	}
}

// near fails unless got is within the tolerances of the case, or within two units in the last place for bfloat16, of which the
// reference rounds each step.
func (c *suiteCase) near(t *testing.T, want, got []float32) {
	require.Len(t, got, len(want))
	relative := c.RTol
	if c.Inputs["Q"].Type == "bfloat16" {
		relative = 0x1p-6
	}
	for i, x := range want {
		y := float64(x)
		if far := math.Abs(float64(got[i]) - y); x != got[i] && !(far <= c.ATol+relative*math.Abs(y)) {
			t.Errorf("element %d is %g, want %g", i, got[i], x)
		}
	}
}

// behind returns past rows with those of x behind them, as present_key has them.
func behind(past, x Tensor) Tensor {
	y := Tensor{Batch: x.Batch, Heads: x.Heads, Len: past.Len + x.Len, Dim: x.Dim}
	before, then := rows(past), rows(x)
	for h := range x.Batch * x.Heads {
		y.Data = append(y.Data, slices.Concat(before[h*past.Len:][:past.Len]...)...)
		y.Data = append(y.Data, slices.Concat(then[h*x.Len:][:x.Len]...)...)
	}
	return y
}

// hide sets the Mask or Bias of o to m, a mask of any rank. Keys that it does not have are hidden.
func (m *suiteTensor) hide(o *Options, keys int) {
	shape := append(slices.Repeat([]int{1}, 4-len(m.Shape)), m.Shape...)
	var strides [3]int
	for d, n := 2, keys; d >= 0; n, d = n*shape[d], d-1 {
		if shape[d] > 1 {
			strides[d] = n
		}
	}
	var data []float32
	hidden := float32(0)
	if m.Type != "bool" {
		hidden = -inf
	}
	for row := range slices.Chunk(m.values, shape[3]) {
		data = append(append(data, row...), slices.Repeat([]float32{hidden}, keys-len(row))...)
	}
	if m.Type != "bool" {
		o.Bias = &Bias{data, strides[0], strides[1], strides[2]}
		return
	}
	o.Mask = &Mask{make([]bool, len(data)), strides[0], strides[1], strides[2]}
	for i, x := range data {
		o.Mask.Data[i] = x != 0
	}
}

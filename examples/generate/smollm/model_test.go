package smollm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/selfattn/attn/kernel"
)

// The shape of a small model.
const (
	testLayers, testHeads, testKVHeads, testHeadDim = 2, 4, 2, 8
	testDim, testInner, testContext                 = testHeads * testHeadDim, 24, 700
	testBase                                        = 1e4
)

// A checkpoint is a small model of random weights, as its file has it.
type checkpoint struct {
	values  map[string]any
	weights map[string][]float32
	shapes  map[string][]int
}

func newCheckpoint() *checkpoint {
	tokens, types, merges := testTokens()
	c := &checkpoint{
		values: map[string]any{
			"general.architecture": "llama", "llama.embedding_length": uint32(testDim), "llama.feed_forward_length": uint32(testInner),
			"llama.attention.head_count": uint32(testHeads), "llama.attention.head_count_kv": uint32(testKVHeads),
			"llama.rope.dimension_count": uint32(testHeadDim), "llama.context_length": uint32(testContext),
			"llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.rope.freq_base": float32(testBase),
			"llama.block_count": uint32(testLayers), "tokenizer.ggml.eos_token_id": uint32(1),
			"tokenizer.ggml.tokens": typed[string](tokens), "tokenizer.ggml.merges": typed[string](merges),
		},
		weights: map[string][]float32{}, shapes: map[string][]int{},
	}
	var kinds []int32
	for _, kind := range typed[int64](types) {
		kinds = append(kinds, int32(kind))
	}
	c.values["tokenizer.ggml.token_type"] = kinds
	r := rand.New(rand.NewPCG(3, 4))
	add := func(name string, mean, deviation float64, shape ...int) {
		size := 1
		for _, n := range shape {
			size *= n
		}
		x := make([]float32, size)
		for i := range x {
			x[i] = float32(mean + deviation*r.NormFloat64())
		}
		c.weights[name+".weight"], c.shapes[name+".weight"] = x, shape
	}
	add("token_embd", 0, 1, len(tokens), testDim)
	add("output_norm", 1, 0.2, testDim)
	for i := range testLayers {
		p := fmt.Sprintf("blk.%d.", i)
		add(p+"attn_norm", 1, 0.2, testDim)
		add(p+"ffn_norm", 1, 0.2, testDim)
		add(p+"attn_q", 0, 0.3, testDim, testDim)
		add(p+"attn_k", 0, 0.3, testKVHeads*testHeadDim, testDim)
		add(p+"attn_v", 0, 0.3, testKVHeads*testHeadDim, testDim)
		add(p+"attn_output", 0, 0.3, testDim, testDim)
		add(p+"ffn_gate", 0, 0.3, testInner, testDim)
		add(p+"ffn_up", 0, 0.3, testInner, testDim)
		add(p+"ffn_down", 0, 0.3, testDim, testInner)
	}
	return c
}

func typed[T any](list []any) []T {
	var out []T
	for _, x := range list {
		out = append(out, x.(T))
	}
	return out
}

func (c *checkpoint) file() []byte {
	tensors := map[string]ggufTensor{}
	for name, x := range c.weights {
		tensors[name] = floats(x, c.shapes[name]...)
	}
	return file(c.values, tensors)
}

func (c *checkpoint) model(t *testing.T) *Model {
	m, err := parse(c.file(), kernel.Float32)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// logits is the model in float64, as the papers write it, for what follows each token.
func (c *checkpoint) logits(ids []int) [][]float64 {
	multiply := func(x []float64, name string) []float64 {
		w := c.weights[name+".weight"]
		y := make([]float64, len(w)/len(x))
		for i := range y {
			for j := range x {
				y[i] += x[j] * float64(w[i*len(x)+j])
			}
		}
		return y
	}
	norm := func(x []float64, name string) []float64 {
		var squares float64
		for _, v := range x {
			squares += v * v / float64(len(x))
		}
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = v / math.Sqrt(squares+1e-5) * float64(c.weights[name+".weight"][i])
		}
		return y
	}
	rotate := func(x []float64, position int) []float64 {
		y := make([]float64, len(x))
		for i := 0; i < len(x); i += 2 {
			sin, cos := math.Sincos(float64(position) * math.Pow(testBase, -float64(i%testHeadDim)/testHeadDim))
			y[i], y[i+1] = x[i]*cos-x[i+1]*sin, x[i+1]*cos+x[i]*sin
		}
		return y
	}
	add := func(x, y []float64) {
		for i := range x {
			x[i] += y[i]
		}
	}
	xs := make([][]float64, len(ids))
	for i, id := range ids {
		for _, v := range c.weights["token_embd.weight"][id*testDim:][:testDim] {
			xs[i] = append(xs[i], float64(v))
		}
	}
	for layer := range testLayers {
		p := fmt.Sprintf("blk.%d.", layer)
		var keys, values [][]float64
		for i, x := range xs {
			h := norm(x, p+"attn_norm")
			q := rotate(multiply(h, p+"attn_q"), i)
			keys, values = append(keys, rotate(multiply(h, p+"attn_k"), i)), append(values, multiply(h, p+"attn_v"))
			mixed := make([]float64, testDim)
			for head := range testHeads {
				kv := head / (testHeads / testKVHeads) * testHeadDim
				var sum float64
				mix := mixed[head*testHeadDim:][:testHeadDim]
				for j := range keys {
					var score float64
					for d := range testHeadDim {
						score += q[head*testHeadDim+d] * keys[j][kv+d]
					}
					weight := math.Exp(score / math.Sqrt(testHeadDim))
					sum += weight
					for d := range mix {
						mix[d] += weight * values[j][kv+d]
					}
				}
				for d := range mix {
					mix[d] /= sum
				}
			}
			add(x, multiply(mixed, p+"attn_output"))
			h = norm(x, p+"ffn_norm")
			gate, up := multiply(h, p+"ffn_gate"), multiply(h, p+"ffn_up")
			for j := range gate {
				gate[j] *= up[j] / (1 + math.Exp(-gate[j]))
			}
			add(x, multiply(gate, p+"ffn_down"))
		}
	}
	var out [][]float64
	for _, x := range xs {
		out = append(out, multiply(norm(x, "output_norm"), "token_embd"))
	}
	return out
}

// testIDs are some tokens, more than go through the model at once.
func testIDs(n int) []int {
	r := rand.New(rand.NewPCG(5, 6))
	ids := make([]int, n)
	for i := range ids {
		ids[i] = r.IntN(36)
	}
	return ids
}

// TestReference compares with float64, and token by token with all at once: to the bit.
func TestReference(t *testing.T) {
	c := newCheckpoint()
	m := c.model(t)
	ids := testIDs(2*chunk + 5)
	want := c.logits(ids)
	one, err := m.NewText(TextOptions{Tokens: len(ids), Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		got, err := one.Read(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for j := range want[i] {
			if d := math.Abs(float64(got[j]) - want[i][j]); !(d <= 1e-4) {
				t.Fatalf("token %d, logit %d: off by %.3g", i, j, d)
			}
		}
		if i != 0 && i != 20 && i != chunk && i != len(ids)-1 {
			continue
		}
		for _, workers := range []int{1, 3} {
			all, err := m.NewText(TextOptions{Tokens: i + 1, Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			same, err := all.Read(t.Context(), ids[:i+1]...)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(same, got) {
				t.Errorf("%d tokens at once on %d workers: other bits than one by one", i+1, workers)
			}
			if all.Len() != i+1 {
				t.Errorf("%d tokens, want %d", all.Len(), i+1)
			}
		}
	}
}

// TestStored wants keys and values to take half as much memory as float16, and logits that are near, and not the same.
func TestStored(t *testing.T) {
	c := newCheckpoint()
	ids := testIDs(20)
	var bytes []int64
	var logits [][]float32
	for _, stored := range []kernel.Type{kernel.Float32, kernel.Float16} {
		m, err := parse(c.file(), stored)
		if err != nil {
			t.Fatal(err)
		}
		text, err := m.NewText(TextOptions{Tokens: len(ids)})
		if err != nil {
			t.Fatal(err)
		}
		x, err := text.Read(t.Context(), ids...)
		if err != nil {
			t.Fatal(err)
		}
		bytes, logits = append(bytes, text.caches[0].Stats().Bytes), append(logits, x)
	}
	if bytes[0] != 2*bytes[1] {
		t.Errorf("%d bytes as float32, %d as float16", bytes[0], bytes[1])
	}
	m, err := parse(c.file(), kernel.Float32)
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	text, err := m.NewText(TextOptions{Tokens: len(ids), Stored: kernel.Float16, Observe: func(layer int, q, k, v kernel.Tensor) {
		if seen = append(seen, layer); q.Len != len(ids) || k.Heads != m.kvHeads || v.Dim != m.headDim {
			t.Errorf("observed q %d, k %d, v %d", q.Len, k.Heads, v.Dim)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := text.Read(t.Context(), ids...); err != nil || len(seen) != len(m.layers) || seen[len(seen)-1] != len(m.layers)-1 {
		t.Errorf("observed layers %v: %v", seen, err)
	}
	if n := text.caches[0].Stats().Bytes; n != bytes[1] {
		t.Errorf("%d bytes with a cache of float16, want %d", n, bytes[1])
	}
	var d float64
	for i, x := range logits[0] {
		d = max(d, math.Abs(float64(x-logits[1][i])))
	}
	if !(d > 0 && d <= 0.05) {
		t.Errorf("logits differ by %.3g, want up to 0.05", d)
	}
}

func TestBytes(t *testing.T) {
	c := newCheckpoint()
	elements := 0
	for name, x := range c.weights {
		if !strings.HasSuffix(name, "norm.weight") {
			elements += len(x)
		}
	}
	if got := c.model(t).Bytes(4); got != 4*elements {
		t.Errorf("%d bytes of %d elements", got, elements)
	}
}

func TestBadText(t *testing.T) {
	m := newCheckpoint().model(t)
	for _, n := range []int{0, testContext + 1} {
		if _, err := m.NewText(TextOptions{Tokens: n}); err == nil {
			t.Errorf("no error of a text of %d tokens", n)
		}
	}
	text, err := m.NewText(TextOptions{Tokens: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, ids := range [][]int{nil, {-1}, {36}, make([]int, 11)} {
		if _, err := text.Read(t.Context(), ids...); err == nil {
			t.Errorf("no error of %d tokens", len(ids))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := text.Read(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it is canceled", err)
	}
	if text.Len() != 0 {
		t.Errorf("%d tokens after nothing but errors", text.Len())
	}
}

func TestBadCheckpoint(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*checkpoint)
		want   string
	}{
		"architecture": {func(c *checkpoint) { c.values["general.architecture"] = "gpt2" }, "type gpt2, want llama"},
		"no layers":    {func(c *checkpoint) { delete(c.values, "llama.block_count") }, "llama.block_count is <nil>"},
		"heads":        {func(c *checkpoint) { c.values["llama.attention.head_count"] = uint32(5) }, "5 heads"},
		"base":         {func(c *checkpoint) { c.values["llama.rope.freq_base"] = float32(0) }, "base 0"},
		"no tokens":    {func(c *checkpoint) { delete(c.values, "tokenizer.ggml.tokens") }, "0 tokens"},
		"no tensor":    {func(c *checkpoint) { delete(c.weights, "blk.1.ffn_up.weight") }, "blk.1.ffn_up.weight has the shape []"},
		"a shape":      {func(c *checkpoint) { c.shapes["blk.0.attn_k.weight"] = []int{8, 64} }, "blk.0.attn_k.weight has the shape [8 64], want [16 32]"},
	} {
		whole := newCheckpoint()
		whole.values = maps.Clone(whole.values)
		c.change(whole)
		if _, err := parse(whole.file(), kernel.Float32); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

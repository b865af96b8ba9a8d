package kernel_test

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// Three words of two dimensions. Their scores, unscaled, are 1 1 0, 2 3 2 and 2 4 4.
var (
	queries = []float32{1, 0, 2, 1, 2, 2}
	keys    = []float32{1, 0, 1, 1, 0, 2}
	values  = []float32{1, 2, 0, 1, 2, 0}
)

// words returns one sequence of one head, packed.
func words(data []float32) kernel.Tensor {
	return kernel.Tensor{Data: data, Len: len(data) / 2, Dim: 2}
}

// A tensor without strides is packed, and Batch and Heads are 1 if left out. A cache that grows says
// where its rows are, so that the second head stays where it is.
func ExampleTensor() {
	out := kernel.Tensor{Data: make([]float32, 2*8), Heads: 2, Len: 1, Dim: 8}
	q := kernel.Tensor{Data: make([]float32, 2*8), Heads: 2, Len: 1, Dim: 8}
	cache := kernel.Tensor{Data: make([]float32, 2*4096*8), Heads: 2, Len: 5, Dim: 8}
	fmt.Println(kernel.Attention(out, q, cache, cache, nil))

	cache.LenStride, cache.HeadStride, cache.BatchStride = 8, 4096*8, 2*4096*8
	fmt.Println(kernel.Attention(out, q, cache, cache, nil))
	// Output:
	// attn: k.Data has 65536 elements, want exactly 80 for packed [1][2][5][8]; if it has room for 4096 rows a head, set LenStride 8, HeadStride 32768, BatchStride 65536
	// <nil>
}

// Two answers go on from one prompt, whose pages they share. What each adds is its own, and one of its guesses is taken
// back. The sequences have different lengths, and one call serves both.
func ExampleCache() {
	cache, err := kernel.NewCache(kernel.CacheConfig{KVHeads: 1, Dim: 2, Tokens: 1024, PageTokens: 16})
	if err != nil {
		fmt.Println(err)
	}
	prompt := cache.NewSequence()
	if err := prompt.Append(words(keys), words(values)); err != nil {
		fmt.Println(err)
	}
	other := prompt.Fork()
	fmt.Printf("%+v\n", cache.Stats())

	// Two tokens are guessed, and the second one in vain.
	if err := other.Append(words([]float32{3, 1, 5, 5}), words([]float32{4, 4, 9, 9})); err != nil {
		fmt.Println(err)
	}
	if err := other.Truncate(4); err != nil {
		fmt.Println(err)
	}

	q := kernel.Tensor{Data: []float32{1, 0, 1, 0}, Batch: 2, Heads: 1, Len: 1, Dim: 2}
	out := kernel.Tensor{Data: make([]float32, 4), Batch: 2, Heads: 1, Len: 1, Dim: 2}
	if err := cache.Attention(out, q, []*kernel.Sequence{prompt, other}, nil); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%d tokens: %.3f\n%d tokens: %.3f\n", prompt.Len(), out.Data[:2], other.Len(), out.Data[2:])

	prompt.Release()
	other.Release()
	fmt.Println(cache.Stats().Used)
	// Output:
	// {Pages:64 Used:1 Shared:1 Bytes:16384}
	// 3 tokens: [0.797 1.203]
	// 4 tokens: [2.791 2.945]
	// 0
}

// Every word is compared with every word, and mixes their values.
func ExampleAttention() {
	out := words(make([]float32, 6))
	if err := kernel.Attention(out, words(queries), words(keys), words(values), nil); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", out.Data)
	// Output:
	// [0.797 1.203 0.745 1.000 1.000 0.663]
}

// The loss here is the first number of the last word's output, so that its gradient is 1 there, and that of the values is
// the weights of the last word.
func ExampleAttentionGradient() {
	out, grad, stats := words(make([]float32, 6)), words([]float32{0, 0, 0, 0, 1, 0}), make([]float32, 2*3)
	if err := kernel.Attention(out, words(queries), words(keys), words(values), &kernel.Options{Stats: stats}); err != nil {
		fmt.Println(err)
	}
	dq, dk, dv := words(make([]float32, 6)), words(make([]float32, 6)), words(make([]float32, 6))
	if err := kernel.AttentionGradient(&kernel.Gradient{
		Q: words(queries), K: words(keys), V: words(values), O: out, DO: grad, Stats: stats, DQ: dq, DK: dk, DV: dv,
	}, nil); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n%.3f\n%.3f\n", dq.Data, dk.Data, dv.Data)
	// Output:
	// [0.000 0.000 0.000 0.000 -0.315 0.315]
	// [0.000 0.000 -0.630 -0.630 0.630 0.630]
	// [0.108 0.000 0.446 0.000 0.446 0.000]
}

// A word sees itself and what precedes it: the first one gets its own value.
func ExampleAttention_causal() {
	out := words(make([]float32, 6))
	opts := &kernel.Options{Causal: true}
	if err := kernel.Attention(out, words(queries), words(keys), words(values), opts); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", out.Data)
	// Output:
	// [1.000 2.000 0.330 1.330 1.000 0.663]
}

// Decoding is a call with one query for each new word. Memory for 8 words is allocated once; the
// tensor says how many of them there are so far. Every row has the bits of the causal prefill.
func ExampleAttention_decode() {
	const most = 8
	k, v := words(make([]float32, 2*most)), words(make([]float32, 2*most))
	k.Len, v.Len = 0, 0
	k.LenStride, k.HeadStride, k.BatchStride = 2, 2*most, 2*most // heads stay where they are
	v.LenStride, v.HeadStride, v.BatchStride = 2, 2*most, 2*most
	out := words(make([]float32, 2))
	for i := range 3 {
		copy(k.Data[2*i:], keys[2*i:2*i+2])
		copy(v.Data[2*i:], values[2*i:2*i+2])
		k.Len++
		v.Len++
		if err := kernel.Attention(out, words(queries[2*i:2*i+2]), k, v, nil); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%.3f\n", out.Data)
	}
	// Output:
	// [1.000 2.000]
	// [0.330 1.330]
	// [1.000 0.663]
}

// Grouped queries: four query heads share two heads of keys and values, two each.
func ExampleAttention_grouped() {
	q := kernel.Tensor{Data: []float32{1, 0 /**/, 0, 1 /**/, 1, 0 /**/, 0, 1}, Batch: 1, Heads: 4, Len: 1, Dim: 2}
	k := kernel.Tensor{Data: []float32{9, 0, 0, 9 /**/, 9, 0, 0, 9}, Batch: 1, Heads: 2, Len: 2, Dim: 2}
	v := kernel.Tensor{Data: []float32{1, 2 /**/, 3, 4}, Batch: 1, Heads: 2, Len: 2, Dim: 1}
	out := kernel.Tensor{Data: make([]float32, 4), Batch: 1, Heads: 4, Len: 1, Dim: 1}
	if err := kernel.Attention(out, q, k, v, nil); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", out.Data)
	// Output:
	// [1.002 1.998 3.002 3.998]
}

// The output of one fused projection, [Len][3][Heads][Dim], is read in place by strides, and the
// result is written as [Len][Heads][Dim], which the next layer reads.
func ExampleAttention_strided() {
	const heads, length, dim = 2, 2, 1
	qkv := []float32{
		1, 2 /* q */, 3, 1 /* k */, 10, 20, /* v of token 0 */
		2, 1 /* q */, 1, 3 /* k */, 30, 40, /* v of token 1 */
	}
	view := func(part int) kernel.Tensor {
		return kernel.Tensor{Data: qkv[part*heads*dim:], Batch: 1, Heads: heads, Len: length, Dim: dim,
			HeadStride: dim, LenStride: 3 * heads * dim}
	}
	out := kernel.Tensor{Data: make([]float32, length*heads*dim), Batch: 1, Heads: heads, Len: length, Dim: dim,
		HeadStride: dim, LenStride: heads * dim}
	if err := kernel.Attention(out, view(0), view(1), view(2), nil); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", out.Data)
	// Output:
	// [12.384 39.640 10.360 37.616]
}

// Two machines have half of the keys each. What they send is merged, in any order, to the bits of a call with all keys.
func ExamplePartial() {
	const keys, dim = 2 * generic.SpanKeys, 2
	q := kernel.Tensor{Data: []float32{1, 0.5}, Len: 1, Dim: dim}
	k := kernel.Tensor{Data: make([]float32, keys*dim), Len: keys, Dim: dim}
	for i := range k.Data {
		k.Data[i] = float32(i%19) / 8
	}
	v := k
	shard := func(first int) []byte {
		half := kernel.Tensor{Data: k.Data[first*dim:][:keys/2*dim], Len: keys / 2, Dim: dim}
		var p kernel.Partial
		if err := kernel.AttentionPartial(&p, q, half, half, first, &kernel.Options{Start: []int{keys - 1}, Causal: true}); err != nil {
			panic(err)
		}
		data, err := p.MarshalBinary()
		if err != nil {
			panic(err)
		}
		return data
	}
	var all kernel.Partial
	for _, data := range [][]byte{shard(keys / 2), shard(0)} {
		var p kernel.Partial
		if err := p.UnmarshalBinary(data); err != nil {
			panic(err)
		}
		if err := all.Merge(&p); err != nil {
			panic(err)
		}
	}
	merged, whole := kernel.Tensor{Data: make([]float32, dim), Len: 1, Dim: dim}, kernel.Tensor{Data: make([]float32, dim), Len: 1, Dim: dim}
	if err := all.Finish(merged, nil); err != nil {
		panic(err)
	}
	if err := kernel.Attention(whole, q, k, v, &kernel.Options{Causal: true}); err != nil {
		panic(err)
	}
	fmt.Println(merged.Data[0] == whole.Data[0], merged.Data[1] == whole.Data[1])
	// Output: true true
}

// The shares that the second and the third word give to each word.
func ExampleAttentionWeights() {
	weights := kernel.Matrix{Rows: 2, Cols: 3, Stride: 3, Data: make([]float32, 6)}
	if err := kernel.AttentionWeights(weights, words(queries), words(keys), 0, 0, []int{1, 2}, nil); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n%.3f\n", weights.Data[:3], weights.Data[3:])
	// Output:
	// [0.248 0.503 0.248]
	// [0.108 0.446 0.446]
}

// A window of 256 tokens skips most tiles of a text of 4096. What else is said depends on the CPU.
func ExampleExplain() {
	x := kernel.Tensor{Data: make([]float32, 4096*64), Len: 4096, Dim: 64}
	plan, err := kernel.Explain(x, x, x, &kernel.Options{Causal: true, Window: &kernel.Window{Left: 255}})
	fmt.Println(err, plan.Skipped > 5*plan.Computed)
	// Output:
	// <nil> true
}

// What the second word makes of its scores with the three words.
func ExampleAttentionScores() {
	opts := &kernel.Options{Scale: 1, SoftCap: 5, Causal: true, ALiBi: []float32{0.5}}
	row := kernel.Matrix{Rows: 1, Cols: 3, Stride: 3, Data: make([]float32, 3)}
	for stage := kernel.StageScores; stage <= kernel.StageWeights; stage++ {
		if err := kernel.AttentionScores(row, words(queries), words(keys), 0, 0, []int{1}, stage, opts); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%.3f\n", row.Data)
	}
	// Output:
	// [2.000 3.000 2.000]
	// [1.900 2.685 1.900]
	// [1.400 2.685 -Inf]
	// [0.217 0.783 0.000]
}

// A layer of two heads over three tokens of a model of two dimensions.
func ExampleSelfAttention() {
	square := func(data ...float32) kernel.Matrix { return kernel.Matrix{Rows: 2, Cols: 2, Stride: 2, Data: data} }
	layer := kernel.SelfAttention{
		Heads: 2,
		WQ:    square(1, 0, 0, 1),
		WK:    square(1, 0, 0, 1),
		WV:    square(1, 1, 0, 1),
		WO:    square(1, 0, 0, 2),
		BO:    []float32{0, 1},
	}
	tokens := kernel.Matrix{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, 0, 0, 1, 1, 1}}
	out := kernel.Matrix{Rows: 3, Cols: 2, Stride: 2, Data: make([]float32, 6)}
	if err := layer.Forward(out, tokens, &kernel.Options{Causal: true}); err != nil {
		fmt.Println(err)
	}
	for i := range out.Rows {
		fmt.Printf("%.3f\n", out.Data[i*out.Stride:][:out.Cols])
	}
	// Output:
	// [1.000 3.000]
	// [0.500 3.000]
	// [0.845 3.845]
}

// A layer of one head whose query weights learn, by ten steps down the gradient, that the output be ddst: half of the square of the
// distance falls. The gradients of the other weights are not asked for.
func ExampleSelfAttention_Backward() {
	square := func(data ...float32) kernel.Matrix { return kernel.Matrix{Rows: 2, Cols: 2, Stride: 2, Data: data} }
	layer := &kernel.SelfAttention{Heads: 1, WQ: square(0, 0, 0, 0), WK: square(1, 0, 0, 1), WV: square(1, 0, 0, 1)}
	tokens := kernel.Matrix{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, 0, 0, 1, 1, 1}}
	want := []float32{1, 0, 0, 1, 1, 1}
	out, difference := tokens, tokens
	out.Data, difference.Data = make([]float32, 6), make([]float32, 6)
	var tape kernel.Tape
	for step := range 41 {
		if err := layer.ForwardTape(out, tokens, &tape, nil); err != nil {
			fmt.Println(err)
		}
		loss := float32(0)
		for i, x := range out.Data {
			difference.Data[i] = x - want[i]
			loss += difference.Data[i] * difference.Data[i] / 2
		}
		if step%10 == 0 {
			fmt.Printf("loss %.3f\n", loss)
		}
		grad := &kernel.SelfAttention{WQ: square(0, 0, 0, 0)}
		if err := layer.Backward(grad, kernel.Matrix{}, difference, &tape); err != nil {
			fmt.Println(err)
		}
		for i, g := range grad.WQ.Data {
			layer.WQ.Data[i] -= g
		}
	}
	// Output:
	// loss 0.667
	// loss 0.331
	// loss 0.228
	// loss 0.182
	// loss 0.153
}

func ExampleDot() {
	fmt.Println(kernel.Dot([]float32{1, 2, 3}, []float32{4, 5, 6}))
	// Output:
	// 32
}

// Scores become shares of 100%.
func ExampleSoftmax() {
	scores := []float32{1, 3, 6}
	kernel.Softmax(scores, scores)
	fmt.Printf("%.3f\n", scores)
	// Output:
	// [0.006 0.047 0.946]
}

func ExampleGELU() {
	x := []float32{-10, -1, 0, 1, 10}
	kernel.GELU(x, x)
	fmt.Printf("%.4f\n", x)
	// Output:
	// [-0.0000 -0.1587 0.0000 0.8413 10.0000]
}

func ExampleLayerNorm() {
	x := kernel.Matrix{Rows: 2, Cols: 4, Stride: 4, Data: []float32{1, 2, 3, 4, 1001, 1002, 1003, 1004}}
	if err := kernel.LayerNorm(x, x, nil, nil, 1e-5); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", x.Data)
	// Output:
	// [-1.342 -0.447 0.447 1.342 -1.342 -0.447 0.447 1.342]
}

func ExampleRMSNorm() {
	x := kernel.Matrix{Rows: 1, Cols: 2, Stride: 2, Data: []float32{3, 4}}
	if err := kernel.RMSNorm(x, x, []float32{1, 10}, 0); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", x.Data)
	// Output:
	// [0.849 11.314]
}

func ExampleSiLU() {
	x := []float32{-10, -1, 0, 1, 10}
	kernel.SiLU(x, x)
	fmt.Printf("%.4f\n", x)
	// Output:
	// [-0.0005 -0.2689 0.0000 0.7311 9.9995]
}

func ExampleLogSumExp() {
	fmt.Printf("%.3f\n", kernel.LogSumExp([]float32{1000, 1001, 1002})) // e^1000 alone is beyond float32
	// Output:
	// 1002.408
}

func ExampleMatMul() {
	a := kernel.Matrix{Rows: 2, Cols: 3, Stride: 3, Data: []float32{1, 2, 3, 4, 5, 6}}
	b := kernel.Matrix{Rows: 3, Cols: 1, Stride: 1, Data: []float32{1, 0, 2}}
	c := kernel.Matrix{Rows: 2, Cols: 1, Stride: 1, Data: make([]float32, 2)}
	if err := kernel.MatMul(c, a, b, nil); err != nil {
		fmt.Println(err)
	}
	fmt.Println(c.Data)
	// Output:
	// [7 16]
}

// Two tokens of one head: the first is at position 7, so seven tokens came before. The table is made once.
func ExampleRotary() {
	tables := kernel.NewRotaryTables(2048, 4, 10000, false)
	q := kernel.Tensor{Data: []float32{1, 1, 0, 0 /**/, 1, 1, 0, 0}, Len: 2, Dim: 4}
	if err := kernel.Rotary(q, tables.Cos, tables.Sin, []int{7}, tables.Interleaved); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n%.3f\n", q.Data[:4], q.Data[4:])
	// Output:
	// [0.754 0.998 0.657 0.070]
	// [-0.146 0.997 0.989 0.080]
}

// showWeights prints the weights of some of the three words.
func showWeights(opts *kernel.Options, which ...int) {
	if which == nil {
		which = []int{0, 1, 2}
	}
	rows := kernel.Matrix{Rows: len(which), Cols: 3, Stride: 3, Data: make([]float32, 3*len(which))}
	if err := kernel.AttentionWeights(rows, words(queries), words(keys), 0, 0, which, opts); err != nil {
		fmt.Println(err)
	}
	for i := range which {
		fmt.Printf("%.3f\n", rows.Data[3*i:][:3])
	}
}

// The first query is at position 1: it sees two keys, and the others all three.
func ExampleOptions_start() {
	showWeights(&kernel.Options{Causal: true, Start: []int{1}})
	// Output:
	// [0.500 0.500 0.000]
	// [0.248 0.503 0.248]
	// [0.108 0.446 0.446]
}

// Each word sees itself and the one before it.
func ExampleOptions_window() {
	showWeights(&kernel.Options{Window: &kernel.Window{Left: 1, Right: 0}})
	// Output:
	// [1.000 0.000 0.000]
	// [0.330 0.670 0.000]
	// [0.000 0.500 0.500]
}

// Of three rows two are words, and the last one is padding.
func ExampleOptions_keyLen() {
	showWeights(&kernel.Options{KeyLen: []int{2}, QueryLen: []int{2}})
	// Output:
	// [0.500 0.500 0.000]
	// [0.330 0.670 0.000]
	// [0.000 0.000 0.000]
}

// A sentence of one word, and behind it one of two.
func ExampleOptions_packed() {
	offsets := []int{0, 1, 3}
	showWeights(&kernel.Options{QueryOffsets: offsets, KeyOffsets: offsets})
	// Output:
	// [1.000 0.000 0.000]
	// [0.000 0.670 0.330]
	// [0.000 0.500 0.500]
}

// A mask of keys: strides of 0 give all queries, heads and batch members the same.
func ExampleOptions_mask() {
	showWeights(&kernel.Options{Mask: &kernel.Mask{Data: []bool{true, false, true}}})
	// Output:
	// [0.670 0.000 0.330]
	// [0.500 0.000 0.500]
	// [0.196 0.000 0.804]
}

// No score is above 1.
func ExampleOptions_softCap() {
	showWeights(&kernel.Options{Scale: 1, SoftCap: 1})
	// Output:
	// [0.405 0.405 0.189]
	// [0.330 0.340 0.330]
	// [0.326 0.337 0.337]
}

// A key that is one word further away loses 0.5.
func ExampleOptions_alibi() {
	showWeights(&kernel.Options{ALiBi: []float32{0.5}})
	// Output:
	// [0.559 0.339 0.101]
	// [0.187 0.626 0.187]
	// [0.053 0.358 0.590]
}

// A bias for each query and key; -Inf hides.
func ExampleOptions_bias() {
	hidden := float32(math.Inf(-1))
	showWeights(&kernel.Options{Bias: &kernel.Bias{QueryStride: 3, Data: []float32{
		0, 0, 0,
		1, 0, 0,
		0, 0, hidden,
	}}})
	// Output:
	// [0.401 0.401 0.198]
	// [0.473 0.353 0.174]
	// [0.196 0.804 0.000]
}

// A sink takes a share, so that those of the keys sum to less than 1.
func ExampleOptions_sinks() {
	showWeights(&kernel.Options{Sinks: []float32{1}})
	// Output:
	// [0.261 0.261 0.129]
	// [0.213 0.433 0.213]
	// [0.101 0.416 0.416]
}

// Half of the weights become 0, and the others twice as large.
func ExampleOptions_dropout() {
	showWeights(&kernel.Options{Dropout: &kernel.Dropout{P: 0.5, Seed: 1, Offset: 7}})
	// Output:
	// [0.802 0.802 0.000]
	// [0.497 1.007 0.000]
	// [0.000 0.892 0.000]
}

// What the softmax of each row divides by, as a logarithm.
func ExampleOptions_lse() {
	out := words(make([]float32, 6))
	opts := &kernel.Options{Scale: 1, LSE: make([]float32, 3)}
	if err := kernel.Attention(out, words(queries), words(keys), words(values), opts); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", opts.LSE)
	// Output:
	// [1.862 3.551 4.759]
}

// Cross attention: a token of one text asks the three tokens of another, whose keys are rotated by their positions.
func ExampleSelfAttention_memory() {
	unit := kernel.Matrix{Rows: 2, Cols: 2, Stride: 2, Data: []float32{1, 0, 0, 1}}
	layer := kernel.SelfAttention{
		WQ: unit, WK: unit, WV: unit,
		Memory: &kernel.Matrix{Rows: 3, Cols: 2, Stride: 2, Data: []float32{1, 0, 0, 1, 1, 1}},
		Rotary: kernel.NewRotaryTables(16, 2, 10000, false),
	}
	token := kernel.Matrix{Rows: 1, Cols: 2, Stride: 2, Data: []float32{1, 2}}
	out := kernel.Matrix{Rows: 1, Cols: 2, Stride: 2, Data: make([]float32, 2)}
	if err := layer.Forward(out, token, nil); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.3f\n", out.Data)
	// Output:
	// [0.687 0.983]
}

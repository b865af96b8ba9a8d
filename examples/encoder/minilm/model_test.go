package minilm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nlpodyssey/safetensors"
	"github.com/selfattn/attn/kernel"
)

// A checkpoint is a model of random weights, as its files have it.
type checkpoint map[string]safetensors.TensorView

const testVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\nd\n##e\n##f\n"

// newCheckpoint has activations as wild as those of the real model.
func newCheckpoint(t *testing.T) checkpoint {
	c := checkpoint{}
	r := rand.New(rand.NewPCG(1, 2))
	add := func(name string, mean, deviation float64, shape ...uint64) {
		size := uint64(1)
		for _, n := range shape {
			size *= n
		}
		x := make([]float32, size)
		for i := range x {
			x[i] = float32(mean + deviation*r.NormFloat64())
		}
		c.set(t, name, x, shape...)
	}
	linear := func(name string, out, in uint64) {
		add(name+".weight", 0, 1.5/math.Sqrt(float64(in)), out, in)
		add(name+".bias", 0, 0.3, out)
	}
	norm := func(name string) {
		add(name+".weight", 1, 0.2, Dim)
		add(name+".bias", 0, 0.2, Dim)
	}
	add("embeddings.word_embeddings.weight", 0, 1, uint64(strings.Count(testVocabulary, "\n")), Dim)
	add("embeddings.position_embeddings.weight", 0, 1, MaxTokens, Dim)
	add("embeddings.token_type_embeddings.weight", 0, 1, 2, Dim)
	norm("embeddings.LayerNorm")
	for i := range Layers {
		p := fmt.Sprintf("encoder.layer.%d.", i)
		for _, name := range []string{"self.query", "self.key", "self.value", "output.dense"} {
			linear(p+"attention."+name, Dim, Dim)
		}
		linear(p+"intermediate.dense", inner, Dim)
		linear(p+"output.dense", Dim, inner)
		norm(p + "attention.output.LayerNorm")
		norm(p + "output.LayerNorm")
	}
	return c
}

func (c checkpoint) set(t *testing.T, name string, x []float32, shape ...uint64) {
	b, err := binary.Append(nil, binary.LittleEndian, x)
	if err != nil {
		t.Fatal(err)
	}
	if c[name], err = safetensors.NewTensorView(safetensors.F32, shape, b); err != nil {
		t.Fatal(err)
	}
}

// get returns a tensor in float64.
func (c checkpoint) get(name string) []float64 {
	b := c[name].Data()
	x := make([]float64, len(b)/4)
	for i := range x {
		x[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
	return x
}

// load loads c from files, as users do.
func (c checkpoint) load(t *testing.T) (*Model, error) {
	folder := t.TempDir()
	data, err := safetensors.Serialize(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"model.safetensors": data, "vocab.txt": []byte(testVocabulary)} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load(folder)
}

// embed is the model in float64, as the papers write it: the tokens after each layer, the weights of each layer and
// head, and the vector.
func (c checkpoint) embed(ids []int) (layers [][][]float64, weights [][][][]float64, vector []float64) {
	norm := func(x []float64, name string) {
		var mean, variance float64
		for _, v := range x {
			mean += v / Dim
		}
		for _, v := range x {
			variance += (v - mean) * (v - mean) / Dim
		}
		gain, bias := c.get(name+".weight"), c.get(name+".bias")
		for i := range x {
			x[i] = (x[i]-mean)/math.Sqrt(variance+1e-12)*gain[i] + bias[i]
		}
	}
	multiply := func(xs [][]float64, name string) [][]float64 {
		w, bias := c.get(name+".weight"), c.get(name+".bias")
		ys := make([][]float64, len(xs))
		for i, x := range xs {
			y := slices.Clone(bias)
			for j := range y {
				y[j] += dot(x, w[j*len(x):][:len(x)])
			}
			ys[i] = y
		}
		return ys
	}
	addNorm := func(xs, ys [][]float64, name string) {
		for i := range xs {
			for j := range xs[i] {
				xs[i][j] += ys[i][j]
			}
			norm(xs[i], name)
		}
	}
	keep := func(xs [][]float64) {
		var copied [][]float64
		for _, x := range xs {
			copied = append(copied, slices.Clone(x))
		}
		layers = append(layers, copied)
	}

	word, place, kind := c.get("embeddings.word_embeddings.weight"), c.get("embeddings.position_embeddings.weight"), c.get("embeddings.token_type_embeddings.weight")
	xs := make([][]float64, len(ids))
	for i, id := range ids {
		xs[i] = make([]float64, Dim)
		for j := range xs[i] {
			xs[i][j] = word[id*Dim+j] + place[i*Dim+j] + kind[j]
		}
		norm(xs[i], "embeddings.LayerNorm")
	}
	keep(xs)
	for layer := range Layers {
		p := fmt.Sprintf("encoder.layer.%d.", layer)
		q, k, v := multiply(xs, p+"attention.self.query"), multiply(xs, p+"attention.self.key"), multiply(xs, p+"attention.self.value")
		mixed := make([][]float64, len(xs))
		for i := range mixed {
			mixed[i] = make([]float64, Dim)
		}
		var heads [][][]float64
		for h := range Heads {
			var shares [][]float64
			for i := range xs {
				w := make([]float64, len(xs))
				var sum float64
				for j := range w {
					w[j] = math.Exp(dot(q[i][h*headDim:][:headDim], k[j][h*headDim:][:headDim]) / math.Sqrt(headDim))
					sum += w[j]
				}
				for j := range w {
					w[j] /= sum
					for d := range headDim {
						mixed[i][h*headDim+d] += w[j] * v[j][h*headDim+d]
					}
				}
				shares = append(shares, w)
			}
			heads = append(heads, shares)
		}
		weights = append(weights, heads)
		addNorm(xs, multiply(mixed, p+"attention.output.dense"), p+"attention.output.LayerNorm")
		ys := multiply(xs, p+"intermediate.dense")
		for _, y := range ys {
			for i, v := range y {
				y[i] = v / 2 * math.Erfc(-v/math.Sqrt2)
			}
		}
		addNorm(xs, multiply(ys, p+"output.dense"), p+"output.LayerNorm")
		keep(xs)
	}
	vector = make([]float64, Dim)
	for _, x := range xs {
		for j := range x {
			vector[j] += x[j]
		}
	}
	length := math.Sqrt(dot(vector, vector))
	for j := range vector {
		vector[j] /= length
	}
	return layers, weights, vector
}

func dot(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

// farthest is the largest difference of two elements, NaN if there is one.
func farthest(x []float32, y []float64) (d float64) {
	for i := range x {
		d = max(d, math.Abs(float64(x[i])-y[i]))
	}
	return d
}

// TestReference compares with float64 the tokens after each layer, the weights of each head and the vectors, of texts
// that lie behind each other.
func TestReference(t *testing.T) {
	c := newCheckpoint(t)
	m, err := c.load(t)
	if err != nil {
		t.Fatal(err)
	}
	batch := [][]int{{2, 4, 5, 3}, {2, 3}, {2, 7, 8, 9, 6, 5, 3}}
	calls := 0
	var layers [][][][]float64
	var weights [][][][][]float64
	var vectors [][]float64
	for _, ids := range batch {
		l, w, v := c.embed(ids)
		layers, weights, vectors = append(layers, l), append(weights, w), append(vectors, v)
	}
	got, err := m.EmbedTokens(t.Context(), batch, Options{Workers: 1, After: func(layer int, a *Activations) {
		if layer != calls {
			t.Errorf("layer %d after %d layers", layer, calls)
		}
		calls++
		for i, ids := range batch {
			for j := range ids {
				x := a.X.Data[(a.Offsets[i]+j)*Dim:][:Dim]
				if d := farthest(x, layers[i][layer][j]); !(d <= 2e-5) {
					t.Errorf("layer %d, text %d, token %d: off by %.3g", layer, i, j, d)
				}
			}
			for h := range Heads {
				if layer == 0 {
					break
				}
				w, err := a.Weights(i, h)
				if err != nil {
					t.Fatal(err)
				}
				for j := range ids {
					if d := farthest(w.Data[j*w.Stride:][:w.Cols], weights[i][layer-1][h][j]); !(d <= 1e-5) {
						t.Errorf("layer %d, head %d, text %d, token %d: weights are off by %.3g", layer, h, i, j, d)
					}
				}
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if calls != Layers+1 {
		t.Errorf("After was called %d times, want %d", calls, Layers+1)
	}
	for i := range batch {
		if d := farthest(got[i], vectors[i]); !(d <= 5e-7) {
			t.Errorf("text %d: the vector is off by %.3g", i, d)
		}
	}
}

// TestStatic makes of static vectors, and of the places of their tokens, what is before the first layer.
func TestStatic(t *testing.T) {
	m, err := newCheckpoint(t).load(t)
	if err != nil {
		t.Fatal(err)
	}
	const text = "ae bf a z"
	pieces, x, err := m.Static(text, 6)
	if want := []string{"a", "##e", "b", "##f", "a", "[UNK]"}; err != nil || !slices.Equal(pieces, want) {
		t.Fatalf("the pieces are %q, %v, want %q", pieces, err, want)
	}
	if !slices.Equal(x[0], x[4]) {
		t.Error("a piece has two vectors")
	}
	r, err := m.Read(text, 8)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range x {
		for k, place := range m.positions[(1+i)*Dim:][:Dim] { // behind [CLS]
			v[k] += place
		}
		row := kernel.Matrix{Rows: 1, Cols: Dim, Stride: Dim, Data: v}
		if err := kernel.LayerNorm(row, row, m.norm.gain, m.norm.bias, epsilon); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(v, r.Vectors[0][1+i]) {
			t.Errorf("piece %d, %s, has other numbers before the first layer", i, pieces[i])
		}
	}
	if again, _, err := m.Static(text, 5); err == nil || !strings.Contains(err.Error(), "6 pieces, want 5 at most") {
		t.Errorf("of 5 pieces at most: %q, %v", again, err)
	}
	if _, again, _ := m.Static("a", 1); slices.Equal(again[0], x[0]) {
		t.Error("who changes a vector changes the model")
	}
}

// TestSameBits wants the bits of each text alone, on one worker, from batches, more workers and calls at once.
func TestSameBits(t *testing.T) {
	m, err := newCheckpoint(t).load(t)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"", "a", "a b c d ae af", strings.Repeat("b cef", 30), strings.Repeat("d ", 300), strings.Repeat("bef", 600)}
	var want [][]float32
	for _, text := range texts {
		v, err := m.Embed([]string{text}, Options{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, v[0])
	}
	var callers sync.WaitGroup
	for workers := range 4 {
		callers.Add(1)
		go func() {
			defer callers.Done()
			got, err := m.Embed(texts, Options{Workers: workers})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range texts {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("text %d on %d workers: other bits than alone", i, workers)
				}
			}
		}()
	}
	callers.Wait()
}

// TestContext stops it after each layer: nothing more is computed, and the next call has its vectors.
func TestContext(t *testing.T) {
	m, err := newCheckpoint(t).load(t)
	if err != nil {
		t.Fatal(err)
	}
	batch := [][]int{{2, 4, 3}, {2, 5, 6, 3}}
	want, err := m.EmbedTokens(t.Context(), batch, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for stop := range Layers + 1 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var times [Stages]time.Duration // of what is computed after the stop
		got, err := m.EmbedTokens(ctx, batch, Options{Times: &times, After: func(layer int, _ *Activations) {
			if layer > stop {
				t.Errorf("layer %d is computed after a stop behind layer %d", layer, stop)
			}
			if layer == stop {
				cancel()
				clear(times[:])
			}
		}})
		if got != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("layer %d: %d vectors, %v, want that it is canceled", stop, len(got), err)
		}
		if times != [Stages]time.Duration{} {
			t.Errorf("layer %d: stages took %v after it was canceled", stop, times)
		}
	}
	got, err := m.EmbedTokens(t.Context(), batch, Options{})
	if err != nil || !slices.EqualFunc(got, want, slices.Equal[[]float32]) {
		t.Errorf("other vectors after calls that were canceled; %v", err)
	}
}

// TestLongText wants [SEP] behind the first 511 tokens.
func TestLongText(t *testing.T) {
	m, err := newCheckpoint(t).load(t)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Embed([]string{strings.Repeat("a ", 511)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids := slices.Concat([]int{2}, slices.Repeat([]int{4}, 510), []int{3})
	want, err := m.EmbedTokens(t.Context(), [][]int{ids}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got[0], want[0]) {
		t.Error("another vector than that of 512 tokens")
	}
}

func TestBadTokens(t *testing.T) {
	m, err := newCheckpoint(t).load(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ids  []int
		want string
	}{
		{nil, "text 1 has 0 tokens"},
		{make([]int, 513), "text 1 has 513 tokens"},
		{[]int{2, -1, 3}, "text 1 has the token -1, want 0 to 9"},
		{[]int{2, 10, 3}, "text 1 has the token 10, want 0 to 9"},
	} {
		if _, err := m.EmbedTokens(t.Context(), [][]int{{2, 3}, c.ids}, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	if v, err := m.Embed(nil, Options{}); v != nil || err != nil {
		t.Errorf("no texts give %v, %v", v, err)
	}
}

func TestBadCheckpoint(t *testing.T) {
	whole := newCheckpoint(t)
	for _, c := range []struct {
		name  string
		shape []uint64 // nil for none
		want  string
	}{
		{"encoder.layer.3.output.dense.weight", nil, "no tensor encoder.layer.3.output.dense.weight"},
		{"encoder.layer.3.output.dense.weight", []uint64{inner, Dim}, "dense.weight is F32 [1536 384], want F32 [384 1536]"},
		{"embeddings.word_embeddings.weight", []uint64{11, Dim}, "want F32 [10 384]"},
	} {
		kept := whole[c.name]
		if delete(whole, c.name); c.shape != nil {
			whole.set(t, c.name, make([]float32, c.shape[0]*c.shape[1]), c.shape...)
		}
		if _, err := whole.load(t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		whole[c.name] = kept
	}
}

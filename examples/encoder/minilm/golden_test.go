package minilm_test

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/selfattn/attn/examples/encoder/documents"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
	"github.com/selfattn/attn/examples/internal/wheel/wheeltest"
	"github.com/selfattn/attn/kernel"
)

var count = flag.Int("documents", 16, "how many of the 778 documents of others TestDocuments compares")

const folder = "../model"

// farthest is the largest difference of two elements.
func farthest(x, y []float32) (d float64) {
	for i := range x {
		d = max(d, math.Abs(float64(x[i]-y[i])))
	}
	return d
}

// TestGolden holds tokens and vectors to those of Hugging Face's tokenizers and of ONNX Runtime, which ../peer.py kept.
func TestGolden(t *testing.T) {
	m := minilmtest.Model(t, folder)
	file, err := os.Open("../testdata/golden.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var texts []string
	var want [][]float32
	for lines := json.NewDecoder(file); lines.More(); {
		var line struct {
			Text   string
			IDs    []int
			Vector []byte
		}
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		ids := m.Tokenizer.Encode(line.Text)
		if n := min(len(ids), minilm.MaxTokens) - 1; !slices.Equal(ids[:n], line.IDs[:n]) || len(line.IDs) != n+1 {
			t.Errorf("%q: tokens %v, want %v", line.Text, ids, line.IDs)
		}
		vector := make([]float32, minilm.Dim)
		if _, err := binary.Decode(line.Vector, binary.LittleEndian, vector); err != nil {
			t.Fatal(err)
		}
		texts, want = append(texts, line.Text), append(want, vector)
	}
	if len(texts) != 50 {
		t.Fatalf("%d texts, want 50", len(texts))
	}
	got, err := m.Embed(texts, minilm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for i := range got {
		d := farthest(got[i], want[i])
		if !(d <= 5e-7) {
			t.Errorf("%.60q: off by %.3g", texts[i], d)
		}
		worst = max(worst, d)
	}
	t.Logf("off by %.3g at most", worst)
}

// TestDocuments holds vectors to those that others made of their documents with this model, and published.
// A document of more than 512 tokens is cut behind the 512th.
func TestDocuments(t *testing.T) {
	if testing.Short() || kernel.Backend() == "generic" {
		t.Skip("NOT RUN: seconds in assembly, minutes in pure Go")
	}
	m := minilmtest.Model(t, folder)
	wheeltest.Fetch(t, filepath.Join(folder, documents.Vectors), folder, documents.Fetch)
	all, err := documents.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 778 {
		t.Fatalf("%d documents, want 778", len(all))
	}
	n := min(*count, len(all))
	worst, cut := 0.0, 0
	for i := range n {
		document := all[i*len(all)/n]
		ids := m.Tokenizer.Encode(document.Content)
		if len(ids) > minilm.MaxTokens {
			ids = ids[:minilm.MaxTokens]
			cut++
		}
		got, err := m.EmbedTokens(t.Context(), [][]int{ids}, minilm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d := farthest(got[0], document.Vector)
		if !(d <= 1e-6) {
			t.Errorf("%s: off by %.3g", document.ID, d)
		}
		worst = max(worst, d)
	}
	t.Logf("%d documents, of which %d are cut: off by %.3g at most", n, cut, worst)
}

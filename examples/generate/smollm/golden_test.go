package smollm_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/selfattn/attn/examples/generate/smollm"
	"github.com/selfattn/attn/examples/generate/smollm/smollmtest"
	"github.com/selfattn/attn/kernel"
)

// TestGolden holds tokens to those of Hugging Face's tokenizers, and logits and what is written greedily to those of
// CTranslate2, which ../peer.py kept. Weights and cache in float16 have logits that are near behind the prompts. With -short, or in pure Go, it takes the first three prompts.
func TestGolden(t *testing.T) {
	const folder = "../model"
	smollmtest.Fetch(t, folder)
	m, err := smollm.Load(filepath.Join(folder, smollm.File), kernel.Float32)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("../testdata/golden.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	half, err := smollm.Load(filepath.Join(folder, smollm.File), kernel.Float16)
	if err != nil {
		t.Fatal(err)
	}
	prompts, worst, worstHalf := 0, 0.0, 0.0
	few := testing.Short() || kernel.Backend() == "generic"
	for lines := json.NewDecoder(file); lines.More(); prompts++ {
		var want struct {
			Prompt          string
			IDs, Best, Next []int
			Logits          []float64
		}
		if err := lines.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if ids := m.Tokenizer.Encode(want.Prompt); !slices.Equal(ids, want.IDs) {
			t.Errorf("%.40q: tokens %v, want %v", want.Prompt, ids, want.IDs)
		}
		if few && prompts >= 3 {
			continue
		}
		text, err := m.NewText(smollm.TextOptions{Tokens: len(want.IDs) + len(want.Next)})
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		greedy := smollm.NewSampler(0, 1, 0)
		for next := want.IDs; len(got) < len(want.Next); next = got[len(got)-1:] {
			logits, err := text.Read(t.Context(), next...)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 {
				for i, id := range want.Best {
					worst = max(worst, math.Abs(float64(logits[id])-want.Logits[i]))
				}
			}
			got = append(got, greedy.Next(logits))
		}
		if text, err = half.NewText(smollm.TextOptions{Tokens: len(want.IDs)}); err != nil {
			t.Fatal(err)
		}
		logits, err := text.Read(t.Context(), want.IDs...)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range want.Best {
			worstHalf = max(worstHalf, math.Abs(float64(logits[id])-want.Logits[i]))
		}
		if !slices.Equal(got, want.Next) {
			t.Errorf("%.40q: writes %v, want %v", want.Prompt, got, want.Next)
		}
	}
	if prompts != 10 {
		t.Errorf("%d prompts, want 10", prompts)
	}
	if !(worst <= 1e-4) {
		t.Errorf("logits are off by %.3g, want 1e-4", worst)
	}
	if !(worstHalf > worst && worstHalf <= 0.05) {
		t.Errorf("logits of float16 are off by %.3g, want 0.05", worstHalf)
	}
	t.Logf("logits are off by %.3g at most, those of float16 by %.3g", worst, worstHalf)
}

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
)

// command runs the program on the real model.
func command(t *testing.T, in string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), args, strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                         "want fetch, similar",
		"embd":                     `"embd" is no command`,
		"similar -model nowhere a": "go run . fetch",
	} {
		if err := run(t.Context(), strings.Fields(args), nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestSimilar(t *testing.T) {
	minilmtest.Model(t, "model")
	got := command(t, "", "similar", "I lost my keys", "It rains", "Where is my key ring?", "Keys open doors")
	const want = " 0.584  Where is my key ring?\n 0.504  Keys open doors\n 0.156  It rains\n"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := run(t.Context(), []string{"similar", "one"}, nil, io.Discard); err == nil {
		t.Error("no error of one text")
	}
}

// TestEmbed sends so many lines that they do not fit into a batch, the last one without an end.
func TestEmbed(t *testing.T) {
	m := minilmtest.Model(t, "model")
	texts := []string{strings.Repeat("word ", 8000), "", "a \xff b", "the end"}
	answers := json.NewDecoder(strings.NewReader(command(t, strings.Join(texts, "\n"), "embed")))
	for i, text := range texts {
		var got []float32
		if err := answers.Decode(&got); err != nil {
			t.Fatal(err)
		}
		want, err := m.Embed([]string{text}, minilm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want[0]) {
			t.Errorf("line %d has another vector than alone", i)
		}
	}
	if answers.More() {
		t.Error("more answers than lines")
	}
}

// TestApple wants one vector at first, and then one nearer to each kind of word.
func TestApple(t *testing.T) {
	minilmtest.Model(t, "model")
	picture := filepath.Join(t.TempDir(), "attention.svg")
	lines := strings.Split(strings.TrimSpace(command(t, "", "apple", "-picture", picture)), "\n")
	lines = lines[len(lines)-minilm.Layers-1:]
	var first, last [18]float64
	for line, x := range map[string]*[18]float64{lines[0]: &first, lines[minilm.Layers]: &last} {
		for i, field := range strings.Fields(line) {
			if _, err := fmt.Sscan(field, &x[i]); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	}
	if first[1] != 1 || last[1] > 0.75 {
		t.Errorf("apple and apple: %v before attention and %v after, want 1 and less than 0.75", first[1], last[1])
	}
	for i := 2; i < len(first); i += 2 {
		phones, juice := last[i], last[i+1]
		if first[i] != first[i+1] {
			t.Errorf("word %d is not as far from both at first: %v", i/2, first)
		}
		if isThing := i < 10; isThing != (phones > juice) {
			t.Errorf("word %d is nearer to the wrong apple: %v", i/2, last)
		}
	}
	made, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile("attention.svg")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, kept) {
		t.Error("attention.svg is not what 'go run . apple -picture attention.svg' draws")
	}
}

// TestDraw draws one token that looks at itself alone, and asks a reader of XML.
func TestDraw(t *testing.T) {
	r := &minilm.Reading{Tokens: []string{"[CLS]", "<&>", "[SEP]"}}
	for range minilm.Layers {
		r.Weights = append(r.Weights, slices.Repeat([][]float32{{0, 0, 1, 0, 1, 0, 0.5, 0, 0.5}}, minilm.Heads))
	}
	var svg bytes.Buffer
	if err := draw(&svg, []*minilm.Reading{r}, 1); err != nil {
		t.Fatal(err)
	}
	var picture struct {
		Paths []struct {
			D string `xml:"d,attr"`
		} `xml:"path"`
		Texts []string `xml:"text"`
	}
	if err := xml.Unmarshal(svg.Bytes(), &picture); err != nil {
		t.Fatal(err)
	}
	if len(picture.Paths) != 2 {
		t.Fatalf("%d shades, want those of 0.5 and of 1", len(picture.Paths))
	}
	const maps = minilm.Layers * minilm.Heads
	for i, path := range picture.Paths {
		if got := strings.Count(path.D, "M"); got != 2*maps {
			t.Errorf("shade %d: %d cells, want %d", i, got, 2*maps)
		}
	}
	if want := fmt.Sprintf("M%d %dh", left+2*cell, top); !strings.HasPrefix(picture.Paths[1].D, want) {
		t.Errorf("the first cell is %.10s, want %s", picture.Paths[1].D, want)
	}
	if got := picture.Texts[0]; got != "<&>" {
		t.Errorf("the title is %q, want <&>", got)
	}
}

// TestBench measures little of ours alone.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN: takes seconds")
	}
	minilmtest.Model(t, "model")
	got := command(t, "", "bench", "-quick")
	for _, want := range []string{"4 tokens", "32 sentences", "1 thread", "2 thread", "products"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

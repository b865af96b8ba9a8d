package main

import (
	"bytes"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/selfattn/attn/examples/encoder/documents"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/encoder/minilm/minilmtest"
	"github.com/selfattn/attn/examples/internal/wheel/wheeltest"
	"github.com/selfattn/attn/kernel"
)

const folder = "../encoder/model"

func load(t *testing.T) (*minilm.Model, []documents.Document) {
	m := minilmtest.Model(t, folder)
	wheeltest.Fetch(t, filepath.Join(folder, documents.Vectors), folder, documents.Fetch)
	all, err := documents.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	return m, all
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"": "want fetch, ask or bench", "aks": `"aks" is no command`, "ask": "wants a question", "ask -model nowhere a": "go run . fetch",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

// TestAsk asks in words that the documents do not have.
func TestAsk(t *testing.T) {
	load(t)
	for question, want := range map[string]string{
		"How do I put a chart on the page?":                 "Chart",
		"the connection is not trusted because of its keys": "Self-Signed SSL Certificates",
	} {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"ask", "-n", "3", question}, &out); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		if len(lines) < 3 || !strings.Contains(lines[0]+lines[1]+lines[2], want) {
			t.Errorf("%q: no %q in\n%s", question, want, out.String())
		}
	}
	if err := run(t.Context(), []string{"ask", "-n", "779", "a"}, io.Discard); err == nil || !strings.Contains(err.Error(), "want 1 to 778") {
		t.Errorf("%v, want that there are 778", err)
	}
}

// TestStore wants that chromem-go finds what brute force does, and that it gets vectors from the model.
func TestStore(t *testing.T) {
	m, all := load(t)
	short := slices.Clone(all[:1])
	short[0].Content, short[0].Vector = "Charts show numbers.", nil
	c, err := store(t.Context(), m, short)
	if err != nil {
		t.Fatal(err)
	}
	want, err := m.Embed([]string{"Charts show numbers."}, minilm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.GetByID(t.Context(), short[0].ID); err != nil || !slices.Equal(d.Embedding, want[0]) {
		t.Errorf("the vector of a document is not that of the model (%v)", err)
	}
	if c, err = store(t.Context(), m, all); err != nil {
		t.Fatal(err)
	}
	for _, question := range beginnings(all, 10) {
		vector, err := embedding(m)(t.Context(), question)
		if err != nil {
			t.Fatal(err)
		}
		found, err := c.QueryEmbedding(t.Context(), vector, nearest, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range brute(all, vector, nearest) {
			// The same up to the order of what is as near.
			own := slices.IndexFunc(all, func(d documents.Document) bool { return d.ID == found[i].ID })
			if own < 0 {
				t.Fatalf("%q: there is no document %q", question, found[i].ID)
			}
			for _, similarity := range []float32{found[i].Similarity, kernel.Dot(vector, all[own].Vector)} {
				if d := math.Abs(float64(similarity - kernel.Dot(vector, all[n].Vector))); d > 1e-6 {
					t.Errorf("%q: number %d is off by %g", question, i, d)
				}
			}
			if found[i].Content != all[own].Content || found[i].Metadata["title"] != all[own].Title {
				t.Errorf("%q: number %d has the text or the title of another document", question, i)
			}
		}
	}
}

// TestGraph wants that near finds almost all of what is nearest, in order.
func TestGraph(t *testing.T) {
	m, all := load(t)
	vectors, err := m.Embed(beginnings(all, 50), minilm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := graph(all, distance)
	hits := 0
	for _, v := range vectors {
		found := near(g, v, nearest, more*nearest)
		if len(found) != nearest || !slices.IsSortedFunc(found, func(a, b int) int {
			if distance(all[a].Vector, v) <= distance(all[b].Vector, v) {
				return -1
			}
			return 1
		}) {
			t.Errorf("%v are not %d documents, the nearest first", found, nearest)
		}
		want := brute(all, v, nearest)
		for _, n := range found {
			if slices.Contains(want, n) {
				hits++
			}
		}
	}
	found := float64(hits) / float64(nearest*len(vectors))
	t.Logf("%.1f%% are found", 100*found)
	if found < 0.9 { // 0.95 to 0.98: the library begins at any node
		t.Errorf("%.1f%% of the nearest are found, want 90%%", 100*found)
	}
}

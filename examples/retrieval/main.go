// Retrieval finds, among 778 pieces of a manual, those that answer a question in words of its own: the sentence encoder of
// examples/encoder under two libraries of others, chromem-go and coder/hnsw.
//
//	go run . fetch                                   # the model and the documents, 86 MB, into the model's folder
//	go run . ask "How do I put a chart on the page?"
//	go run . bench                                   # times, and how many of the nearest are found
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/coder/hnsw"
	"github.com/philippgille/chromem-go"
	"github.com/selfattn/attn/examples/encoder/documents"
	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/kernel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "retrieval:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	const usage = "want fetch, ask or bench"
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	folder := flags.String("model", "../encoder/model", "`folder` of the model and the documents")
	n := 5
	switch args[0] {
	case "fetch", "bench":
	case "ask":
		flags.IntVar(&n, "n", n, "how many `documents`")
	default:
		return fmt.Errorf("%q is no command: %s", args[0], usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "fetch" {
		return errors.Join(minilm.Fetch(ctx, *folder), documents.Fetch(ctx, *folder))
	}
	question := strings.Join(flags.Args(), " ")
	if args[0] == "ask" && question == "" {
		return errors.New("ask wants a question")
	}
	all, err := documents.Load(*folder)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w ('go run . fetch' downloads it)", err)
	} else if err != nil {
		return err
	}
	if n < 1 || n > len(all) {
		return fmt.Errorf("-n is %d, want 1 to %d", n, len(all))
	}
	m, err := minilm.Load(*folder)
	if err != nil {
		return err
	}
	if args[0] == "bench" {
		return bench(ctx, m, all, out)
	}
	return ask(ctx, m, all, question, n, out)
}

// ask prints the n documents that chromem-go finds, and how long it took to make the question a vector, and to search.
func ask(ctx context.Context, m *minilm.Model, all []documents.Document, question string, n int, out io.Writer) error {
	collection, err := store(ctx, m, all)
	if err != nil {
		return err
	}
	start := time.Now()
	vector, err := embedding(m)(ctx, question)
	if err != nil {
		return err
	}
	embedded := time.Now()
	found, err := collection.QueryEmbedding(ctx, vector, n, nil, nil)
	if err != nil {
		return err
	}
	took := time.Since(embedded)
	for _, f := range found {
		fmt.Fprintf(out, "%6.3f  %s\n", f.Similarity, f.Metadata["title"])
	}
	_, err = fmt.Fprintf(out, "\n%s: the question in %.1f ms, %d of %d documents in %.2f ms\n",
		kernel.Backend(), 1e3*embedded.Sub(start).Seconds(), n, len(all), 1e3*took.Seconds())
	return err
}

// embedding is the model as chromem-go calls one.
func embedding(m *minilm.Model) chromem.EmbeddingFunc {
	return func(_ context.Context, text string) ([]float32, error) {
		vectors, err := m.Embed([]string{text}, minilm.Options{})
		if err != nil {
			return nil, err
		}
		return vectors[0], nil
	}
}

// store returns the documents as chromem-go keeps them. A document without a vector gets that of the model.
func store(ctx context.Context, m *minilm.Model, all []documents.Document) (*chromem.Collection, error) {
	c, err := chromem.NewDB().CreateCollection("manual", nil, embedding(m))
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		err := c.AddDocument(ctx, chromem.Document{
			ID: d.ID, Content: d.Content, Embedding: d.Vector, Metadata: map[string]string{"title": d.Title},
		})
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// graph returns the documents, by number, as a graph of neighbours (Malkov and Yashunin, Hierarchical Navigable Small World graphs,
// 2018). The same documents and distance make the same layers. M is four times the library's; its EfSearch makes next to no difference.
func graph(all []documents.Document, distance hnsw.DistanceFunc) *hnsw.Graph[int] {
	g := hnsw.NewGraph[int]()
	g.Distance, g.Rng, g.M = distance, rand.New(rand.NewSource(1)), 64
	for i, d := range all {
		g.Add(hnsw.MakeNode(i, d.Vector))
	}
	return g
}

// more is how many times as many documents as are wanted the graph is asked for, to find 95% of the nearest.
const more = 30

// near returns up to n documents of g that are near to a vector, the nearest first, out of those that g finds where it is asked for more.
// The library stops looking at the first node that has brought nothing nearer than the nearest, once it has as many as it was asked for.
func near(g *hnsw.Graph[int], vector []float32, n, asked int) []int {
	found := g.Search(vector, asked)
	slices.SortFunc(found, func(a, b hnsw.Node[int]) int {
		return cmp.Compare(g.Distance(a.Value, vector), g.Distance(b.Value, vector))
	})
	var numbers []int
	for _, node := range found[:min(n, len(found))] {
		numbers = append(numbers, node.Key)
	}
	return numbers
}

// distance is that by cosine of vectors whose length is 1.
func distance(a, b []float32) float32 { return 1 - kernel.Dot(a, b) }

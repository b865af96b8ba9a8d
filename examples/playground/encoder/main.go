// Encoder is the playground with a real encoder: the layers and heads of all-MiniLM-L6-v2, from examples/encoder.
//
//	go run -C examples/encoder . fetch
//	go run -C examples/playground/encoder .
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/examples/playground/internal/page"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(page.Main(ctx, os.Args[1:], os.Stdout, load))
}

func load(folder string) (page.Encoder, error) {
	m, err := minilm.Load(folder)
	if err != nil {
		return nil, err
	}
	return encoder{m}, nil
}

// An encoder reads texts for the page.
type encoder struct{ *minilm.Model }

func (e encoder) Read(text string, most int) (*page.Reading, error) {
	r, err := e.Model.Read(text, most)
	if err != nil {
		return nil, err
	}
	return &page.Reading{Tokens: r.Tokens, Vectors: r.Vectors, Weights: r.Weights}, nil
}

// Embedserver answers requests for the vectors of texts as OpenAI's API and Hugging Face's text-embeddings-inference do, with
// the sentence encoder of examples/encoder.
//
//	go run . serve -model ../encoder/model        # fetched by 'go run . fetch' in ../encoder
//	curl localhost:8080/embed -d '{"inputs": "Hello"}'
//	go run . load -clients 16 -seconds 5          # measures it
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/selfattn/attn/examples/encoder/minilm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "embedserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	const usage = "want serve or load"
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	address := flags.String("address", "localhost:8080", "of the server")
	switch args[0] {
	case "serve":
		folder := flags.String("model", "../encoder/model", "`folder` of model.safetensors and vocab.txt")
		l := limits{Bytes: 2 << 20}
		flags.IntVar(&l.Waiting, "waiting", 1024, "the most `texts` that wait: what is beyond is refused")
		flags.IntVar(&l.Texts, "texts", 32, "the most `texts` of a request")
		flags.IntVar(&l.Batch, "batch", 64, "the most `texts` that are computed at once")
		flags.IntVar(&l.Tokens, "tokens", 2048, "the most `tokens` that are computed at once, where they are several texts")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if min(l.Waiting, l.Texts, l.Batch, l.Tokens) < 1 {
			return errors.New("-waiting, -texts, -batch and -tokens are 1 or more")
		}
		m, err := minilm.Load(*folder)
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", *address)
		if err != nil {
			return err
		}
		s := newServer(m.Tokenizer, embedWith(m), l)
		return s.run(ctx, listener, out)
	case "load":
		clients := flags.Int("clients", 16, "how many send one request after the other")
		seconds := flags.Float64("seconds", 5, "how long")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if *clients < 1 || *clients > 1000 || !(*seconds > 0 && *seconds <= 60) {
			return errors.New("-clients is 1 to 1000, -seconds up to 60")
		}
		r, err := load(ctx, "http://"+*address, *clients, time.Duration(*seconds*float64(time.Second)))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, r)
		return err
	}
	return fmt.Errorf("%q is no command: %s", args[0], usage)
}

func embedWith(m *minilm.Model) embedder {
	return func(ctx context.Context, ids [][]int) ([][]float32, error) {
		return m.EmbedTokens(ctx, ids, minilm.Options{})
	}
}

// run serves until ctx is done, and then until every request that has been accepted has its answer.
func (s *server) run(ctx context.Context, listener net.Listener, out io.Writer) error {
	var stopping atomic.Bool
	s.stopping = stopping.Load
	h := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(listener) }()
	fmt.Fprintln(out, "listening on", listener.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stopping.Store(true)
	late, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := h.Shutdown(late)
	s.batcher.stop()
	return err
}

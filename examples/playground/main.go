// Playground shows attention step by step on a page of this machine: package kernel computes every number while one looks.
//
//	go run ./examples/playground
//
// With the layers and heads of a real encoder it is the program in the folder encoder.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/selfattn/attn/examples/playground/internal/page"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(page.Main(ctx, os.Args[1:], os.Stdout, nil))
}

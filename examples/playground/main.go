// Playground shows attention step by step on a page of this machine: package kernel computes every number while one looks.
//
//	go run ./examples/playground
//
// Where the model of examples/encoder has been fetched, the page has its words, layers and heads too.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/selfattn/attn/examples/playground/internal/page"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run hands over to the program in the folder encoder where the model is there and go can build it: what reads the model is in
// a module of its own.
func run(ctx context.Context, args []string) int {
	const model, program = "examples/encoder/model", "examples/playground/encoder"
	if _, err := os.Stat(filepath.Join(model, "model.safetensors")); err == nil {
		folder, err := os.MkdirTemp("", "playground-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "playground:", err)
			return 1
		}
		defer os.RemoveAll(folder)
		binary := filepath.Join(folder, "playground.exe")
		said, err := exec.CommandContext(ctx, "go", "build", "-C", program, "-o", binary, ".").CombinedOutput()
		if err == nil {
			full := exec.CommandContext(ctx, binary, slices.Concat([]string{"-model", model}, args)...)
			full.Stdout, full.Stderr = os.Stdout, os.Stderr
			full.Cancel = func() error { return full.Process.Signal(syscall.SIGTERM) }
			full.Run()
			return full.ProcessState.ExitCode()
		}
		fmt.Fprintf(os.Stderr, "playground: without the encoder, which go cannot build: %v\n%s", err, said)
	}
	return page.Main(ctx, args, os.Stdout, nil)
}

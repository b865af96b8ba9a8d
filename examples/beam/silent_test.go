//go:build beam && unix

package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/selfattn/attn/generic"
)

// TestSilent makes a shard's file a pipe that nobody writes, so that its worker waits for ever: the batch ends with its deadline.
func TestSilent(t *testing.T) {
	b, _, _, err := random(t.TempDir(), 2*generic.SpanKeys, generic.SpanKeys)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(b.ShardFile(1)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(b.ShardFile(1), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := attend(ctx, b, 2); err == nil || ctx.Err() == nil {
		t.Errorf("%v, want that the batch is late", err)
	}
}

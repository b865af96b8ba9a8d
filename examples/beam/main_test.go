//go:build beam

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/selfattn/attn/generic"
)

func TestMain(m *testing.M) {
	start()
	os.Exit(m.Run())
}

// TestShards wants the bits of one machine whatever the shards and bundles.
func TestShards(t *testing.T) {
	for _, spans := range []int{1, 2, 4} {
		b, rows, queries, err := random(t.TempDir(), 3*generic.SpanKeys+5, spans*generic.SpanKeys)
		if err != nil {
			t.Fatal(err)
		}
		want, err := one(&b, rows, queries, 1)
		if err != nil {
			t.Fatal(err)
		}
		for bundles := 1; bundles <= b.Shards(); bundles++ {
			got, err := attend(t.Context(), b, bundles)
			if err != nil {
				t.Fatal(err)
			}
			if !same(got, want) {
				t.Errorf("%d shards in %d bundles: other bits than on one machine", b.Shards(), bundles)
			}
		}
	}
}

// TestBroken takes a shard away, and then everything: each time there is an error that names the shard, and another try succeeds.
func TestBroken(t *testing.T) {
	b, rows, queries, err := random(t.TempDir(), 3*generic.SpanKeys, generic.SpanKeys)
	if err != nil {
		t.Fatal(err)
	}
	want, err := one(&b, rows, queries, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, bundles := range []int{1, 2} {
		if err := os.Remove(b.ShardFile(1)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := attend(ctx, b, bundles); err == nil || !strings.Contains(err.Error(), "shard 1: ") || ctx.Err() != nil {
			t.Errorf("%d bundles: %v, want that shard 1 is not there", bundles, err)
		}
		cancel()
		if err := b.Write(rows, queries); err != nil {
			t.Fatal(err)
		}
		if got, err := attend(t.Context(), b, bundles); err != nil || !same(got, want) {
			t.Errorf("%d bundles: another try fails, or has other bits than one machine (%v)", bundles, err)
		}
	}
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"demo"}, &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "the bits of one machine"); n != 4 || !strings.Contains(out.String(), "shard 2: ") {
		t.Errorf("%d batches have the bits of one machine, want 4:\n%s", n, out.String())
	}
	for _, args := range [][]string{nil, {"dmeo"}, {"demo", "bench"}} {
		if err := run(t.Context(), args, io.Discard); err == nil || !strings.Contains(err.Error(), "want demo or bench") {
			t.Errorf("%q: %v, want the commands", args, err)
		}
	}
}

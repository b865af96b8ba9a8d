package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/selfattn/attn/examples/generate/smollm/smollmtest"
	"github.com/selfattn/attn/kernel"
)

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                            "want fetch, write, bench or types",
		"rite":                        `"rite" is no command`,
		"write":                       "wants a prompt",
		"write -n 0 a":                "-n is 0",
		"write -temperature -1 a":     "-temperature is -1",
		"write -temperature NaN a":    "-temperature is NaN",
		"write -top-p 0 a":            "-top-p is 0",
		"write -model nowhere prompt": "go run . fetch",
		"bench -threads 0":            "-threads is 0",
		"types -n 0":                  "-n is 0",
		"types -model nowhere":        "go run . fetch",
	} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

// TestWrite wants the text that all machines write, and the digest of the logits, which no CPU changes.
func TestWrite(t *testing.T) {
	smollmtest.Fetch(t, "model")
	var out, info bytes.Buffer
	if err := run(t.Context(), []string{"write", "-n", "3", "-digest", "The capital of France is"}, &out, &info); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "The capital of France is Paris.\n\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	const digest = "79efe1994d2744b7cd3fe13380d30c64ea49f0fd063e8e66fbc05b4cf4a9d522"
	if got := regexp.MustCompile(`logits (\w+)`).FindStringSubmatch(info.String()); got == nil || got[1] != digest {
		t.Errorf("%q, want the digest %s", info.String(), digest)
	}
}

// TestInterrupted wants the prompt, the end of its line and no error where a user stops it at once.
func TestInterrupted(t *testing.T) {
	smollmtest.Fetch(t, "model")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := run(ctx, []string{"write", "-n", "1000000", "Once upon"}, &out, io.Discard); err == nil || !strings.Contains(err.Error(), "want 1 to 8192") {
		t.Errorf("%v, want that the text is too long", err)
	}
	out.Reset()
	if err := run(ctx, []string{"write", "Once upon"}, &out, io.Discard); err != nil {
		t.Error(err)
	}
	if got := out.String(); got != "Once upon\n" {
		t.Errorf("%q, want the prompt", got)
	}
}

// TestCharacters wants every character as soon as it is whole, and what never is at the end.
func TestCharacters(t *testing.T) {
	var out bytes.Buffer
	c := &characters{out: bufio.NewWriter(&out)}
	for _, step := range [][2]string{
		{"a\xe2", "a"}, {"\x82", "a"}, {"\xacb", "a€b"}, {"\xff", "a€b\xff"}, {"\xf0\x9f\x99", "a€b\xff"}, {"\x82", "a€b\xff🙂"}, {"\xc3", "a€b\xff🙂"},
	} {
		if err := c.write([]byte(step[0])); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != step[1] {
			t.Errorf("after %q: %q, want %q", step[0], got, step[1])
		}
	}
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "a€b\xff🙂\xc3\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestBench measures little of ours alone.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN: takes seconds")
	}
	smollmtest.Fetch(t, "model")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"bench", "-quick"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"read 16", "write 2 behind 16", "float16 writes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestLost wants coarser types to lose more, on normal numbers about what their bits are, and float32 nothing.
func TestLost(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	tensor := func(heads int) kernel.Tensor {
		x := kernel.Tensor{Data: make([]float32, heads*100*16), Heads: heads, Len: 100, Dim: 16}
		for i := range x.Data {
			x.Data[i] = float32(r.NormFloat64())
		}
		return x
	}
	q, k, v := tensor(4), tensor(2), tensor(2)
	for typ, want := range map[kernel.Type][2]float64{kernel.Float32: {0, 0}, kernel.Float16: {1e-4, 1e-3}, kernel.BFloat16: {1e-3, 6e-3}, kernel.Int8: {6e-3, 3e-2}} {
		x, err := lost(q, k, v, typ)
		if err != nil || x < want[0] || x > want[1] {
			t.Errorf("type %d loses %g (%v), want %g to %g", typ, x, err, want[0], want[1])
		}
	}
}

// TestTypes wants what the README says of float16: next to nothing is lost.
func TestTypes(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN: takes seconds")
	}
	smollmtest.Fetch(t, "model")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"types", "-n", "1"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"float16         2        0.05%", "10/10", "int8            1           2%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

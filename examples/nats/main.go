// Nats decodes over keys and values that lie on several processes, or machines, behind NATS: the query goes to all shards, each answers
// with what its keys make of it, a kernel.Partial, and merged these have the bits of one machine.
//
//	go run . demo                    # four processes, one of which is killed and started again
//	go run . bench                   # 1 to 4 processes beside one call
//	go run . shard -url nats://host:4222 -number 2 -spans 4 -file keys    # a shard on another machine
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	const usage = "want demo, bench or shard"
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "demo", "bench":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if args[0] == "demo" {
			return demo(ctx, out)
		}
		return bench(ctx, out)
	case "shard":
		var s shard
		url := flags.String("url", "", "of the NATS server")
		file := flags.String("file", "", "the keys and values of this shard; it grows")
		flags.IntVar(&s.number, "number", 0, "which `shard`, from 0 on")
		flags.IntVar(&s.spans, "spans", 1, fmt.Sprintf("`spans` of %d keys of each shard", generic.SpanKeys))
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if s.number < 0 || s.spans < 1 {
			return errors.New("-number is 0 or more, -spans 1 or more")
		}
		return s.serve(ctx, *url, *file)
	}
	return fmt.Errorf("%q is no command: %s", args[0], usage)
}

// local is one machine with all keys.
type local struct{ rows []float32 }

func (l *local) attend(position int, t *token) ([]float32, error) {
	l.rows = append(l.rows[:position*rowLen], t.row...)
	out := make([]float32, heads*headDim)
	k, v := keysAndValues(l.rows)
	return out, kernel.Attention(queries(out), queries(t.query), k, v, &kernel.Options{Causal: true, Start: []int{position}, Workers: 1})
}

// demo decodes some tokens behind 60000 keys, kills a shard, and starts it again.
func demo(ctx context.Context, out io.Writer) error {
	const shards, spans, keys = 4, 1, 60000
	one := &local{randomRows(keys)}
	c, err := startCluster(ctx, shards, spans, one.rows)
	if err != nil {
		return err
	}
	defer c.stop()
	decode := func(position int) error {
		t := randomToken(position)
		want, err := one.attend(position, t)
		if err != nil {
			return err
		}
		start := time.Now()
		got, err := c.attend(ctx, position, t)
		took := time.Since(start)
		switch {
		case err != nil:
			fmt.Fprintf(out, "token %d: an error after %.1f ms: %v\n", position, 1e3*took.Seconds(), err)
		case !slices.Equal(got, want):
			return fmt.Errorf("token %d has other bits than on one machine", position)
		default:
			fmt.Fprintf(out, "token %d: %.1f ms, the bits of one machine\n", position, 1e3*took.Seconds())
		}
		return err
	}
	for i := range 3 {
		if err := decode(keys + i); err != nil {
			return err
		}
	}
	if err := c.kill(1); err != nil {
		return err
	}
	fmt.Fprintln(out, "shard 1 is killed")
	if err := decode(keys + 3); err == nil {
		return errors.New("a dead shard is not noticed")
	}
	if err := c.start(ctx, 1); err != nil {
		return err
	}
	fmt.Fprintln(out, "shard 1 is started again")
	return decode(keys + 3)
}

// bench prints how long a token takes with all keys in one call, and on 1 to 4 processes.
func bench(ctx context.Context, out io.Writer) error {
	const spans, rounds = 8, 31
	const keys = spans*generic.SpanKeys - rounds
	one := &local{randomRows(keys)}
	measure := func(attend func(position int, t *token) error) (float64, error) {
		var times []float64
		for i := range rounds {
			t := randomToken(keys + i)
			start := time.Now()
			if err := attend(keys+i, t); err != nil {
				return 0, err
			}
			times = append(times, 1e3*time.Since(start).Seconds())
		}
		slices.Sort(times)
		return times[len(times)/2], nil
	}
	alone, err := measure(func(position int, t *token) error { _, err := one.attend(position, t); return err })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %d keys, %d heads on %d of %d\n\n%-14s %8s %10s %12s\n", kernel.Backend(), keys, heads, kvHeads, headDim, "", "ms", "kB sent", "kB received")
	fmt.Fprintf(out, "%-14s %8.2f\n", "one call", alone)
	for _, shards := range []int{1, 2, 4} {
		c, err := startCluster(ctx, shards, spans/shards, one.rows[:keys*rowLen])
		if err != nil {
			return err
		}
		took, err := measure(func(position int, t *token) error { _, err := c.attend(ctx, position, t); return err })
		c.stop()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-14s %8.2f %10.1f %12.1f\n", fmt.Sprintf("%d processes", shards), took,
			float64(c.sent.Load())/1e3/rounds, float64(c.received.Load())/1e3/rounds)
	}
	return nil
}

// fileOf is where a shard of this machine has its keys.
func fileOf(folder string, number int) string {
	return filepath.Join(folder, fmt.Sprintf("shard%d", number))
}

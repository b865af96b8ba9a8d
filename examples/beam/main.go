//go:build beam

// Beam computes the attention of many queries to keys in shards as a batch of Apache Beam: each shard makes a kernel.Partial for each
// group of queries, and CombinePerKey merges those of a group to the bits of one machine. Beam takes minutes to build, so it needs a tag.
//
//	go run -tags beam . demo     # Prism, Beam's runner in this process; a shard that fails, and another try
//	go run -tags beam . bench    # 1 to 4 bundles at once beside one call
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	"github.com/selfattn/attn/examples/beam/shards"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

func init() {
	register.DoFn3x1[context.Context, int, func(int, shards.Part), error](&attendFn{})
	register.Emitter2[int, shards.Part]()
	register.Combiner3[shards.Part, shards.Part, shards.Rows](&shards.Merge{})
	register.DoFn2x1[int, shards.Rows, error](&writeFn{})
	beam.RegisterCoder(reflect.TypeFor[shards.Part](), func(p shards.Part) ([]byte, error) { return p.MarshalBinary() },
		func(data []byte) (p shards.Part, err error) { return p, p.UnmarshalBinary(data) })
	beam.RegisterCoder(reflect.TypeFor[shards.Rows](), shards.Rows.MarshalBinary,
		func(data []byte) (r shards.Rows, err error) { return r, r.UnmarshalBinary(data) })
}

func main() {
	flag.Parse() // Beam's flags: -endpoint is another runner
	start()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "beam:", err)
		os.Exit(1)
	}
}

// start makes Beam ready.
func start() {
	if *jobopts.Endpoint == "" {
		*jobopts.WorkerBinary = os.DevNull // nobody loads it; without one Beam leaves an empty file behind
	}
	beam.Init()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // what fails is an error, too
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 1 {
		switch args[0] {
		case "demo":
			return demo(ctx, out)
		case "bench":
			return bench(ctx, out)
		}
	}
	return fmt.Errorf("%q is no command: want demo or bench", strings.Join(args, " "))
}

// attendFn computes what the keys of a shard make of each group of queries.
type attendFn struct{ Batch shards.Batch }

func (f *attendFn) ProcessElement(ctx context.Context, number int, emit func(int, shards.Part)) error {
	return f.Batch.Attend(ctx, number, emit)
}

// writeFn writes what a group of queries finds into a file.
type writeFn struct{ Batch shards.Batch }

func (f *writeFn) ProcessElement(group int, r shards.Rows) error {
	data, err := r.MarshalBinary()
	if err != nil {
		return err
	}
	return os.WriteFile(foundFile(&f.Batch, group), data, 0o600)
}

// foundFile is where what a group finds is.
func foundFile(b *shards.Batch, group int) string {
	return filepath.Join(b.Folder, fmt.Sprintf("found%d", group))
}

// attend computes a batch in so many bundles of shards, and returns what the groups find. To try again after an error is safe.
//
// Each bundle is a branch of the pipeline, because Prism would process one branch in one bundle, on one goroutine.
func attend(ctx context.Context, b shards.Batch, bundles int) ([]shards.Rows, error) {
	pipeline, root := beam.NewPipelineWithRoot()
	numbers := make([][]int, min(bundles, b.Shards()))
	for i := range b.Shards() {
		numbers[i%len(numbers)] = append(numbers[i%len(numbers)], i)
	}
	var parts []beam.PCollection
	for _, n := range numbers {
		parts = append(parts, beam.ParDo(root, &attendFn{b}, beam.CreateList(root, n)))
	}
	found := beam.CombinePerKey(root, &shards.Merge{Batch: b}, beam.Flatten(root, parts...))
	beam.ParDo0(root, &writeFn{b}, found)
	for g := range b.Groups {
		if err := os.Remove(foundFile(&b, g)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	if _, err := prism.Execute(ctx, pipeline); err != nil {
		return nil, err
	}
	all := make([]shards.Rows, b.Groups)
	for g := range all {
		data, err := os.ReadFile(foundFile(&b, g))
		if err != nil {
			return nil, err
		}
		if err := all[g].UnmarshalBinary(data); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// one is what the groups find on one machine, in one call.
func one(b *shards.Batch, rows, queries []float32, workers int) ([]shards.Rows, error) {
	k, v := b.KeysAndValues(rows)
	all := make([]shards.Rows, b.Groups)
	for g := range all {
		all[g] = make(shards.Rows, b.GroupLen())
		err := kernel.Attention(b.Group(all[g]), b.Group(queries[g*b.GroupLen():]), k, v, &kernel.Options{Workers: workers})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// same is whether both have the same bits.
func same(a, b []shards.Rows) bool {
	return slices.EqualFunc(a, b, func(a, b shards.Rows) bool { return slices.Equal(a, b) })
}

// random returns a batch with its files in a folder, and what is in them.
func random(folder string, keys, shardKeys int) (b shards.Batch, rows, queries []float32, err error) {
	b = shards.Batch{Folder: folder, Heads: 8, KVHeads: 2, HeadDim: 64, Keys: keys, ShardKeys: shardKeys, Groups: 4, Queries: 64}
	r := rand.New(rand.NewPCG(1, 0))
	rows, queries = make([]float32, b.Keys*b.RowLen()), make([]float32, b.Groups*b.GroupLen())
	for _, x := range [][]float32{rows, queries} {
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
	}
	return b, rows, queries, b.Write(rows, queries)
}

// demo computes a batch, takes rows from a shard, and gives them back.
func demo(ctx context.Context, out io.Writer) error {
	folder, err := os.MkdirTemp("", "shards-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b, rows, queries, err := random(folder, 60000, generic.SpanKeys)
	if err != nil {
		return err
	}
	want, err := one(&b, rows, queries, 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d queries, %d keys in %d shards\n", b.Groups*b.Queries, b.Keys, b.Shards())
	try := func(bundles int) error {
		begin := time.Now()
		got, err := attend(ctx, b, bundles)
		took := time.Since(begin).Seconds()
		switch {
		case err != nil:
			lines := strings.Split(strings.TrimSpace(err.Error()), "\n") // Beam says first where
			fmt.Fprintf(out, "an error after %.2f s: %s\n", took, lines[len(lines)-1])
		case !same(got, want):
			return errors.New("a batch has other bits than one machine")
		default:
			fmt.Fprintf(out, "bundles at once: %d; %.2f s, the bits of one machine\n", bundles, took)
		}
		return err
	}
	for _, bundles := range []int{1, 2, 4} {
		if err := try(bundles); err != nil {
			return err
		}
	}
	if err := os.Truncate(b.ShardFile(2), 1000); err != nil {
		return err
	}
	fmt.Fprintln(out, "shard 2 loses rows")
	if err := try(2); err == nil {
		return errors.New("a broken shard is not noticed")
	}
	if err := b.Write(rows, queries); err != nil {
		return err
	}
	fmt.Fprintln(out, "shard 2 is there again")
	return try(2)
}

// bench prints how long a batch takes in one call, and in Beam with 1 to 4 bundles at once.
func bench(ctx context.Context, out io.Writer) error {
	const keys, rounds = 8 * generic.SpanKeys, 7
	folder, err := os.MkdirTemp("", "shards-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b, rows, queries, err := random(folder, keys, generic.SpanKeys)
	if err != nil {
		return err
	}
	small := b // what Beam itself takes
	small.Folder = filepath.Join(folder, "small")
	small.Keys, small.Groups, small.Queries = 1, 1, 1
	if err := errors.Join(os.Mkdir(small.Folder, 0o700), small.Write(rows[:small.RowLen()], queries[:small.GroupLen()])); err != nil {
		return err
	}
	cases := []struct {
		name  string
		run   func() error
		times []float64
	}{
		{name: "one call, 1 worker", run: func() error { _, err := one(&b, rows, queries, 1); return err }},
		{name: "one call, 2 workers", run: func() error { _, err := one(&b, rows, queries, 2); return err }},
		{name: "1 bundle", run: func() error { _, err := attend(ctx, b, 1); return err }},
		{name: "2 bundles", run: func() error { _, err := attend(ctx, b, 2); return err }},
		{name: "4 bundles", run: func() error { _, err := attend(ctx, b, 4); return err }},
		{name: "1 query, 1 key", run: func() error { _, err := attend(ctx, small, 1); return err }},
	}
	for range rounds {
		for i := range cases {
			begin := time.Now()
			if err := cases[i].run(); err != nil {
				return err
			}
			cases[i].times = append(cases[i].times, time.Since(begin).Seconds())
		}
	}
	var p shards.Part
	if err := b.Attend(ctx, 0, func(_ int, q shards.Part) { p = q }); err != nil {
		return err
	}
	data, err := p.MarshalBinary()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %d queries in %d groups, %d keys in %d shards, %d heads on %d of %d\n%d parts of %.0f kB\n\n%-20s %8s\n", kernel.Backend(),
		b.Groups*b.Queries, b.Groups, b.Keys, b.Shards(), b.Heads, b.KVHeads, b.HeadDim, b.Groups*b.Shards(), float64(len(data))/1e3, "", "s")
	for _, c := range cases {
		slices.Sort(c.times)
		fmt.Fprintf(out, "%-20s %8.3f\n", c.name, c.times[rounds/2])
	}
	return nil
}

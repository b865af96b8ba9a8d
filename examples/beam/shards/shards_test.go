package shards

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// batch is one of so many spans a shard, with its files, and what its groups find on one machine.
func batch(t *testing.T, spans int) (b Batch, want []Rows) {
	b = Batch{
		Folder: t.TempDir(), Heads: 4, KVHeads: 2, HeadDim: 16, Keys: 5*generic.SpanKeys + 77, ShardKeys: spans * generic.SpanKeys, Groups: 2, Queries: 3,
	}
	r := rand.New(rand.NewPCG(1, 0))
	rows, queries := make([]float32, b.Keys*b.RowLen()), make([]float32, b.Groups*b.GroupLen())
	for _, x := range [][]float32{rows, queries} {
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
	}
	if err := b.Write(rows, queries); err != nil {
		t.Fatal(err)
	}
	k, v := b.KeysAndValues(rows)
	for g := range b.Groups {
		out := make(Rows, b.GroupLen())
		if err := kernel.Attention(b.Group(out), b.Group(queries[g*b.GroupLen():]), k, v, nil); err != nil {
			t.Fatal(err)
		}
		want = append(want, out)
	}
	return b, want
}

// parts are those of all shards, by group, as the next worker reads them.
func parts(t *testing.T, b *Batch) [][]Part {
	groups := make([][]Part, b.Groups)
	for i := range b.Shards() {
		err := b.Attend(t.Context(), i, func(g int, p Part) {
			data, err := p.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			var read Part
			if err := read.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
			groups[g] = append(groups[g], read)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return groups
}

// TestMerge unites the parts in many orders and groupings, as workers that are done at different times do.
func TestMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 0))
	for _, spans := range []int{1, 2, 5, 6} {
		b, want := batch(t, spans)
		m := Merge{b}
		all := parts(t, &b)
		for range 20 {
			for g, parts := range all {
				accumulators := make([]Part, 1+r.IntN(3))
				for i := range accumulators {
					accumulators[i] = m.CreateAccumulator()
				}
				for _, i := range r.Perm(len(parts)) {
					a := &accumulators[r.IntN(len(accumulators))]
					var err error
					if *a, err = m.AddInput(*a, parts[i]); err != nil {
						t.Fatal(err)
					}
				}
				whole := m.CreateAccumulator()
				for _, i := range r.Perm(len(accumulators)) {
					var err error
					if whole, err = m.MergeAccumulators(whole, accumulators[i]); err != nil {
						t.Fatal(err)
					}
				}
				got, err := m.ExtractOutput(whole)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want[g]) {
					t.Fatalf("%d spans a shard: group %d has other bits than on one machine", spans, g)
				}
			}
		}
	}
}

// TestLost wants that a shard that is missing, or there twice, is an error and never an answer.
func TestLost(t *testing.T) {
	b, _ := batch(t, 2)
	m := Merge{b}
	parts := parts(t, &b)[0]
	for lost := range parts {
		var whole Part
		for i, p := range parts {
			if i != lost {
				whole, _ = m.AddInput(whole, p)
			}
		}
		if _, err := m.ExtractOutput(whole); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("want %d", b.Keys)) {
			t.Errorf("shard %d is lost: %v, want how many keys there are to be", lost, err)
		}
		if _, err := m.AddInput(whole, parts[(lost+1)%len(parts)]); err == nil || !strings.Contains(err.Error(), "are in both") {
			t.Errorf("a shard is there twice: %v, want that its keys are in both", err)
		}
	}
}

// TestAttend takes away what a shard reads. Nothing of it is emitted then.
func TestAttend(t *testing.T) {
	b, _ := batch(t, 2)
	attend := func(ctx context.Context, number int) error {
		t.Helper()
		return b.Attend(ctx, number, func(int, Part) { t.Error("it emits") })
	}
	for _, number := range []int{-1, 3} {
		if err := attend(t.Context(), number); err == nil || !strings.Contains(err.Error(), "want 0 to 2") {
			t.Errorf("shard %d: %v, want which there are", number, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := attend(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it is canceled", err)
	}
	if err := os.Truncate(b.ShardFile(2), 100); err != nil {
		t.Fatal(err)
	}
	if err := attend(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "shard 2: ") || !strings.Contains(err.Error(), "100 bytes, want ") {
		t.Errorf("%v, want that rows are lost", err)
	}
	if err := os.Remove(b.ShardFile(1)); err != nil {
		t.Fatal(err)
	}
	if err := attend(t.Context(), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that the file is not there", err)
	}
	if err := os.Remove(b.QueryFile()); err != nil {
		t.Fatal(err)
	}
	if err := attend(t.Context(), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that the queries are not there", err)
	}
}

func TestBad(t *testing.T) {
	good := Batch{Heads: 1, KVHeads: 1, HeadDim: 1, Keys: 1, ShardKeys: generic.SpanKeys, Groups: 1, Queries: 1}
	for want, b := range map[string]func(b *Batch){
		"Heads is 0": func(b *Batch) { b.Heads = 0 }, "KVHeads is -1": func(b *Batch) { b.KVHeads = -1 }, "HeadDim is 0": func(b *Batch) { b.HeadDim = 0 },
		"Keys is 0": func(b *Batch) { b.Keys = 0 }, "Groups is 0": func(b *Batch) { b.Groups = 0 }, "Queries is 0": func(b *Batch) { b.Queries = 0 },
		fmt.Sprintf("ShardKeys is %d", generic.SpanKeys+1): func(b *Batch) { b.ShardKeys++ }, "ShardKeys is 0": func(b *Batch) { b.ShardKeys = 0 },
	} {
		bad := good
		b(&bad)
		if err := bad.Write(nil, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := good.Write(make([]float32, 3), make([]float32, 1)); err == nil || !strings.Contains(err.Error(), "3 elements of rows and 1 of queries, want 2 and 1") {
		t.Errorf("%v, want how many", err)
	}
	var p Part
	for _, data := range [][]byte{nil, make([]byte, 7), make([]byte, 90)} {
		if err := p.UnmarshalBinary(data); err == nil {
			t.Errorf("%d bytes are a Part", len(data))
		}
	}
	var r Rows
	if err := r.UnmarshalBinary(make([]byte, 6)); err == nil {
		t.Error("6 bytes are Rows")
	}
}

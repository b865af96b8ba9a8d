// Package shards is attention to keys in shards as a batch computes it: what the keys of each shard make of groups of queries, and how that
// is united to the bits of one machine. It knows nothing of Beam, which calls it.
package shards

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// A Batch is what all workers are told: where keys, values and queries are, and their shapes. Files hold float32, little endian.
type Batch struct {
	Folder                  string
	Heads, KVHeads, HeadDim int
	Keys                    int // of all shards together
	ShardKeys               int // of each shard but the last, a multiple of generic.SpanKeys
	Groups, Queries         int // groups of queries, and queries of a group
}

// check returns an error unless the sizes are those of a batch.
func (b *Batch) check() error {
	for name, n := range map[string]int{"Heads": b.Heads, "KVHeads": b.KVHeads, "HeadDim": b.HeadDim, "Keys": b.Keys, "Groups": b.Groups, "Queries": b.Queries} {
		if n < 1 {
			return fmt.Errorf("%s is %d, want 1 or more", name, n)
		}
	}
	if b.ShardKeys < 1 || b.ShardKeys%generic.SpanKeys != 0 {
		return fmt.Errorf("ShardKeys is %d, want a multiple of %d", b.ShardKeys, generic.SpanKeys)
	}
	return nil
}

// Shards is how many shards there are.
func (b *Batch) Shards() int { return (b.Keys + b.ShardKeys - 1) / b.ShardKeys }

// RowLen is the elements of a row: a token's keys and then its values, the heads side by side.
func (b *Batch) RowLen() int { return 2 * b.KVHeads * b.HeadDim }

// GroupLen is the elements of the queries of a group, and of what they find: [Heads][Queries][HeadDim].
func (b *Batch) GroupLen() int { return b.Heads * b.Queries * b.HeadDim }

// ShardFile is where the rows of a shard are.
func (b *Batch) ShardFile(number int) string {
	return filepath.Join(b.Folder, fmt.Sprintf("shard%d", number))
}

// QueryFile is where the queries are, one group behind the other.
func (b *Batch) QueryFile() string { return filepath.Join(b.Folder, "queries") }

// Write writes the files that workers read. It returns an error if the batch is none, or rows and queries have other lengths.
func (b *Batch) Write(rows, queries []float32) error {
	if err := b.check(); err != nil {
		return err
	}
	if len(rows) != b.Keys*b.RowLen() || len(queries) != b.Groups*b.GroupLen() {
		return fmt.Errorf("%d elements of rows and %d of queries, want %d and %d", len(rows), len(queries), b.Keys*b.RowLen(), b.Groups*b.GroupLen())
	}
	for i := range b.Shards() {
		from, to := i*b.ShardKeys, min((i+1)*b.ShardKeys, b.Keys)
		if err := write(b.ShardFile(i), rows[from*b.RowLen():to*b.RowLen()]); err != nil {
			return err
		}
	}
	return write(b.QueryFile(), queries)
}

// Attend computes what the keys of a shard make of each group of queries. It returns an error that names the shard, and emits nothing, if
// a file is not there or has another size, and one if ctx is done.
func (b *Batch) Attend(ctx context.Context, number int, emit func(group int, p Part)) error {
	if number < 0 || number >= b.Shards() {
		return fmt.Errorf("shard %d, want 0 to %d", number, b.Shards()-1)
	}
	first := number * b.ShardKeys
	keys := min(b.ShardKeys, b.Keys-first)
	rows, err := read(b.ShardFile(number), keys*b.RowLen())
	if err != nil {
		return fmt.Errorf("shard %d: %w", number, err)
	}
	queries, err := read(b.QueryFile(), b.Groups*b.GroupLen())
	if err != nil {
		return fmt.Errorf("shard %d: %w", number, err)
	}
	k, v := b.KeysAndValues(rows)
	for g := range b.Groups {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("shard %d: %w", number, err)
		}
		p := Part{Keys: keys}
		err := kernel.AttentionPartial(&p.Partial, b.Group(queries[g*b.GroupLen():]), k, v, first, &kernel.Options{Start: []int{b.Keys}, Workers: 1})
		if err != nil {
			return fmt.Errorf("shard %d: %w", number, err)
		}
		emit(g, p)
	}
	return nil
}

// KeysAndValues are those of rows.
func (b *Batch) KeysAndValues(rows []float32) (k, v kernel.Tensor) {
	k = kernel.Tensor{Data: rows, Heads: b.KVHeads, Len: len(rows) / b.RowLen(), Dim: b.HeadDim, HeadStride: b.HeadDim, LenStride: b.RowLen()}
	v = k
	v.Data = rows[b.KVHeads*b.HeadDim:]
	return k, v
}

// Group is the queries, or what they find, of a group.
func (b *Batch) Group(x []float32) kernel.Tensor {
	return kernel.Tensor{Data: x[:b.GroupLen()], Heads: b.Heads, Len: b.Queries, Dim: b.HeadDim}
}

// A Part is what some of the keys make of a group of queries.
type Part struct {
	Keys    int // how many
	Partial kernel.Partial
}

// MarshalBinary is the keys (8 bytes, little endian) and the binary form of the Partial.
func (p *Part) MarshalBinary() ([]byte, error) {
	data, err := p.Partial.MarshalBinary()
	return append(binary.LittleEndian.AppendUint64(nil, uint64(p.Keys)), data...), err
}

// UnmarshalBinary sets p to what MarshalBinary gave.
func (p *Part) UnmarshalBinary(data []byte) error {
	if len(data) < 8 {
		return fmt.Errorf("%d bytes are no Part", len(data))
	}
	n := Part{Keys: int(binary.LittleEndian.Uint64(data))}
	if err := n.Partial.UnmarshalBinary(data[8:]); err != nil {
		return err
	}
	*p = n
	return nil
}

// Merge unites the parts of a group, in any order and any grouping. Its methods are those that Beam wants of a function that combines.
type Merge struct{ Batch Batch }

// CreateAccumulator is the part of no keys.
func (Merge) CreateAccumulator() Part { return Part{} }

// AddInput unites what there is with a part. It returns an error if both have the same keys.
func (m Merge) AddInput(a, p Part) (Part, error) { return m.MergeAccumulators(a, p) }

// MergeAccumulators unites two parts. It returns an error if both have the same keys.
func (Merge) MergeAccumulators(a, b Part) (Part, error) {
	a.Keys += b.Keys
	return a, a.Partial.Merge(&b.Partial)
}

// ExtractOutput is what the queries of the group find among all keys. It returns an error if those of a shard are missing.
func (m Merge) ExtractOutput(p Part) (Rows, error) {
	if p.Keys != m.Batch.Keys {
		return nil, fmt.Errorf("the parts of a group have %d keys, want %d", p.Keys, m.Batch.Keys)
	}
	out := make(Rows, m.Batch.GroupLen())
	return out, p.Partial.Finish(m.Batch.Group(out), nil)
}

// Rows are what the queries of a group find: [Heads][Queries][HeadDim].
type Rows []float32

// MarshalBinary is the elements, little endian.
func (r Rows) MarshalBinary() ([]byte, error) { return binary.Append(nil, binary.LittleEndian, r) }

// UnmarshalBinary sets r to what MarshalBinary gave.
func (r *Rows) UnmarshalBinary(data []byte) error {
	if len(data)%4 != 0 {
		return fmt.Errorf("%d bytes are no Rows", len(data))
	}
	*r = make(Rows, len(data)/4)
	_, err := binary.Decode(data, binary.LittleEndian, *r)
	return err
}

func write(path string, x []float32) error {
	data, err := Rows(x).MarshalBinary()
	return errors.Join(err, os.WriteFile(path, data, 0o600))
}

// read reads a file of n elements.
func read(path string, n int) ([]float32, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) != 4*n {
		return nil, fmt.Errorf("%s has %d bytes, want %d", path, len(data), 4*n)
	}
	var r Rows
	return r, r.UnmarshalBinary(data)
}

package kernel

import (
	"fmt"

	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/source"
	"github.com/selfattn/attn/kernel/internal/stages"
)

// A Plan is what a call of [Attention] does.
type Plan struct {
	Backend string // as of [Backend]
	Path    string // how sequences are cut by queries, heads and keys, and what goes row by row instead of in panels

	// Tiles of 256 keys, counted once for each panel of queries, or few queries that go row by row, of a KV head:
	// those that are computed, how many of these hide a key from some query, and those that are skipped since no
	// query of a panel sees them. Queries that see no key at all are in none. A bias of -Inf skips nothing.
	Computed, Masked, Skipped int

	Items   int // pieces of work that goroutines share
	Workers int // the most goroutines
	Scratch int // bytes of memory for them all, which pools keep for the next call
}

// String describes the plan in a line.
func (p Plan) String() string {
	return fmt.Sprintf("%s: %s for %s; %s; tiles of %d keys: %d computed, %d of them masked, %d skipped; %d bytes of scratch memory",
		p.Backend, plan.Count(p.Items, "item"), plan.Count(p.Workers, "worker"), p.Path, tile.Keys, p.Computed, p.Masked, p.Skipped, p.Scratch)
}

// Explain returns what [Attention] does with these arguments and some dst. It takes the memory of one worker, and the
// time to go through queries and tiles, and through a mask. With 0 Workers the plan depends on the calls in flight.
//
// It returns the errors of Attention, but for those about dst and what is written.
func Explain(q, k, v Tensor, opts *Options) (Plan, error) {
	o, err := opts.resolve()
	if err != nil {
		return Plan{}, err
	}
	if err := checkInputs(&q, &k, &v); err != nil {
		return Plan{}, err
	}
	if err := o.check(&q, &k, q.Len); err != nil {
		return Plan{}, err
	}
	p := Plan{Backend: Backend()}
	if q.empty() {
		return p, nil
	}
	a := stages.Arguments{Q: source.Tensor(q), K: source.Stored{Tensor: source.Tensor(k)}, V: source.Stored{Tensor: source.Tensor(v)}}
	o.arguments(&a, 0, q.Len)
	e := stages.Explain(&a)
	p.Path, p.Computed, p.Masked, p.Skipped = e.Plan.Path(), e.Tiles.Computed, e.Tiles.Masked, e.Tiles.Skipped
	p.Items, p.Workers, p.Scratch = e.Plan.Items, e.Plan.Workers, 4*e.Plan.Memory()
	if o.short(&q, &k, &v) {
		p.Path, p.Items, p.Workers, p.Scratch = "each query alone, without a plan", 1, 1, stages.ShortMemory
	}
	return p, nil
}

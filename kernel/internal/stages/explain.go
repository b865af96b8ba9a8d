package stages

import (
	"slices"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/sight"
)

// Tiles counts tiles of keys, once for each panel or few rows of a KV head that are together.
type Tiles struct {
	Computed int
	Masked   int // computed ones that hold a key which is hidden from some query and not from all
	Skipped  int // not computed, since no query sees a key
}

// add counts a tile that is computed.
func (t *Tiles) add(masked bool) {
	t.Computed++
	if masked {
		t.Masked++
	}
}

// Count, if it is not nil, is told by each worker what it has computed. Tests set it.
var Count func(Tiles)

// An Explanation is what a call will do.
type Explanation struct {
	Plan    plan.Plan
	Tiles   Tiles
	Scratch int // elements of memory of all workers
}

// Explain returns that of a call. Dst is not used.
func Explain(a *Arguments) Explanation {
	c := newCall(a)
	w := &c.own
	w.join(c)
	total, n := 0, 0
	var it plan.Item
	var seen sight.Cover
	for i := 0; i < c.plan.Items; i += n {
		n = c.plan.Together(i)
		c.plan.Item(&it, i, n)
		keys := c.sequences[it.Sequence].Keys
		if a.Lengths.KeyOffsets == nil {
			keys = a.K.Len // with those behind KeyLen
		}
		tiles := it.Keys.In(0, keys)
		if it.Split == it.Cut.Splits-1 {
			tiles.To = keys
		}
		each := plan.CeilDiv(tiles.Len(), tile.Keys)
		if it.RestRows == it.Rows {
			rows := w.rows[:it.Heads]
			for i := range rows {
				rows[i].load(c, &it, it.Head+i, it.Row, it.Rows, w.queries)
			}
			total += it.Heads * each
			w.foresee(rows, it.Keys)
			continue
		}
		panels := w.loadPanels(&it)
		total += len(panels) * each
		for i := range panels {
			sees := &panels[i].sees
			for first := sees.Any.From / tile.Keys * tile.Keys; first < sees.Any.To; first += tile.Keys {
				if sees.Cover(&seen, first, tile.Keys, &w.lanes); seen.Any.Len() > 0 {
					w.tiles.add(seen.Any != seen.All)
				}
			}
		}
		if it.RestRows > 0 {
			rows := w.rows[:1]
			rows[0].load(c, &it, it.Head, it.Row, it.RestRows, w.queries)
			total += each
			w.foresee(rows, it.Keys)
		}
	}
	e := Explanation{c.plan, w.tiles, c.scratch()}
	e.Plan.Cuts = slices.Clone(e.Plan.Cuts)
	e.Tiles.Skipped = total - e.Tiles.Computed
	w.tiles = Tiles{}
	w.leave()
	c.Release()
	return e
}

// scratch returns the elements of memory that the workers of a call take.
func (c *Call) scratch() int {
	own, shared, panels, pad := 0, 0, 0, tile.Pad(c.V.Dim)
	for i := range c.plan.Cuts {
		cut, states, spans := &c.plan.Cuts[i], 1, c.sequences[i].Keys > generic.SpanKeys
		if spans || c.Sinks != nil { // and totals
			states++
		}
		if cut.Splits > 1 {
			shared += states * c.K.Heads * cut.Rows * pad
		} else {
			own = max(own, states*cut.Heads*cut.RestRows*pad)
		}
		if spans && cut.RestRows < cut.Rows {
			panels = max(panels, (cut.Together*cut.ItemRows+c.plan.Width(cut.ItemRows))*pad)
		}
	}
	own += panels
	return c.plan.Workers*(c.plan.Scratch.Size()+own) + shared
}

// foresee counts the tiles of few rows.
func (w *worker) foresee(rows []rows, keys sight.Keys) {
	keys = keys.And(rows[0].any)
	for first := keys.From / tile.Keys * tile.Keys; first < keys.To; first += tile.Keys {
		for i, t := range w.cutParts(rows, first, 1) {
			masked := t.any != t.all
			for r := range t.rows {
				if seen := rows[i].seen(&t, r); w.Sight.Mask.Data != nil {
					masked = masked || !w.Sight.All(rows[i].mask[t.row+r]+first+seen.From, seen.Len())
				}
			}
			w.tiles.add(masked)
		}
	}
}

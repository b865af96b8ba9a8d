package stages

import (
	"slices"

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
	Plan  plan.Plan
	Tiles Tiles
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
		n = c.plan.Item(&it, i, 0)
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
			rows := w.loadRows(&it)
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
			rows := w.loadRows(&it)
			total += each
			w.foresee(rows, it.Keys)
		}
	}
	e := Explanation{c.plan, w.tiles}
	e.Plan.Cuts = slices.Clone(e.Plan.Cuts)
	e.Tiles.Skipped = total - e.Tiles.Computed
	w.tiles = Tiles{}
	w.leave()
	c.Release()
	return e
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

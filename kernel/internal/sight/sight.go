package sight

import (
	"math"
	"sort"

	"github.com/selfattn/attn/generic/tile"
)

// A Sequence is queries and the keys that they may see: rows of one batch member. Keys are counted
// from its first one.
type Sequence struct {
	Batch          int // the batch member
	Query, Queries int // the first row of the queries, and how many they are
	Key, Keys      int // the first row of the keys and values, and how many they are
	Start          int // the position of the first query among the keys
}

// Lengths are what a caller says of sequences. Without any, each batch member is one, whose queries are at
// the end of its keys.
type Lengths struct {
	Start                    []int // of each sequence, or one for all
	KeyLen, QueryLen         []int // of each batch member
	QueryOffsets, KeyOffsets []int // sequence i is the rows [o[i], o[i+1]) of the only batch member
}

// Sequences appends the sequences of tensors to s.
func (l *Lengths) Sequences(s []Sequence, batch, queries, keys int) []Sequence {
	n := batch
	if l.QueryOffsets != nil {
		n = len(l.QueryOffsets) - 1
	}
	for i := range n {
		q := Sequence{Batch: i, Queries: queries, Keys: keys}
		if l.QueryOffsets != nil {
			q.Batch, q.Query, q.Key = 0, l.QueryOffsets[i], l.KeyOffsets[i]
			q.Queries, q.Keys = l.QueryOffsets[i+1]-q.Query, l.KeyOffsets[i+1]-q.Key
		}
		if l.QueryLen != nil {
			q.Queries = l.QueryLen[i]
		}
		if l.KeyLen != nil {
			q.Keys = l.KeyLen[i]
		}
		switch len(l.Start) {
		case 0:
			q.Start = q.Keys - q.Queries
		case 1:
			q.Start = l.Start[0]
		default:
			q.Start = l.Start[i]
		}
		s = append(s, q)
	}
	return s
}

// Position returns that of query number i among the keys.
func (s *Sequence) Position(i int) int { return add(s.Start, i) }

// Cut leaves the queries that are among the n rows of q from first on, which become its only rows.
func (s *Sequence) Cut(first, n int) {
	before := clamp(first-s.Query, s.Queries)
	s.Start = add(s.Start, before)
	s.Query, s.Queries = clamp(s.Query+before-first, n), clamp(s.Query+s.Queries-first, n)
	s.Queries -= s.Query
}

// A Rule hides keys: by their distance from a query, and by a mask.
type Rule struct {
	Mask
	Causal      bool // a query sees no key behind its own position
	Window      bool // nor one that is more than Left before or Right behind it
	Left, Right int  // negative is no limit
}

// Keys are the keys [From, To).
type Keys struct{ From, To int }

// Len returns the number of keys, 0 if From is beyond To.
func (k Keys) Len() int { return max(0, k.To-k.From) }

// And returns the keys that are in both.
func (k Keys) And(o Keys) Keys { return Keys{max(k.From, o.From), min(k.To, o.To)} }

// Hull returns the keys from the first to the last of both.
func (k Keys) Hull(o Keys) Keys {
	switch {
	case k.Len() == 0:
		return o
	case o.Len() == 0:
		return k
	}
	return Keys{min(k.From, o.From), max(k.To, o.To)}
}

// In returns those of the n keys from first on, counted from first.
func (k Keys) In(first, n int) Keys { return Keys{clamp(k.From-first, n), clamp(k.To-first, n)} }

func clamp(x, n int) int { return max(0, min(x, n)) }

// Near reports whether what a query sees depends on its position.
func (r *Rule) Near() bool { return r.Causal || r.Window }

// Seen returns the keys among which query number i of a sequence sees all but those that the mask hides.
func (r *Rule) Seen(s *Sequence, i int) Keys {
	k := Keys{To: s.Keys}
	if r.Causal {
		k.To = clamp(add(s.Start, i+1), k.To)
	}
	// The sums with Start come first: those that overflow are beyond all keys with i too.
	if r.Window && r.Right >= 0 {
		k.To = clamp(add(add(s.Start, r.Right), i+1), k.To)
	}
	if r.Window && r.Left >= 0 {
		k.From = clamp(add(add(s.Start, -r.Left), i), k.To)
	}
	return k
}

// Trim leaves the queries from the first to the last that may see a key.
func (r *Rule) Trim(s *Sequence) {
	// Both ends of what is seen grow with the number of the query.
	first := s.firstQuery(func(i int) bool { return r.Seen(s, i).To > 0 })
	s.Query, s.Queries, s.Start = s.Query+first, s.Queries-first, add(s.Start, first)
	s.Queries = s.firstQuery(func(i int) bool { return r.Seen(s, i).From == s.Keys })
}

// firstQuery returns the number of the first query for which f is true, as it is for all behind it, or
// Queries.
func (s *Sequence) firstQuery(f func(i int) bool) int {
	if s.Queries > 0 && f(0) == f(s.Queries-1) { // most often
		if f(0) {
			return 0
		}
		return s.Queries
	}
	return sort.Search(s.Queries, f)
}

// add returns x+y, or the int that is next to it.
func add(x, y int) int {
	switch sum := x + y; {
	case x > 0 && y > 0 && sum < 0:
		return math.MaxInt
	case x < 0 && y < 0 && sum >= 0:
		return math.MinInt
	default:
		return sum
	}
}

// Lanes is what the queries of a panel see, one query to a lane.
type Lanes struct {
	From, To [tile.MaxPanel]int32 // the keys [From, To) of each lane
	Any, All Keys                 // from the first to the last key that some lane sees; keys that all lanes see
	mask     *Mask                // which hides keys in between, or nil
	row      [tile.MaxPanel]int   // where the mask of each lane begins
	width    int
	lower    int // the end of the keys that the first half of the lanes sees
}

// Reset forgets all lanes, and takes the rule that is theirs.
func (l *Lanes) Reset(r *Rule, width int) {
	l.Any, l.All, l.width, l.lower, l.mask = Keys{}, Keys{To: math.MaxInt}, width, 0, nil
	if r.Mask.Data != nil {
		l.mask = &r.Mask
	}
}

// SetAll says that all lanes see the same keys, and that there is no mask.
func (l *Lanes) SetAll(k Keys) {
	for r := range l.width {
		l.From[r], l.To[r] = int32(k.From), int32(k.To)
	}
	l.All, l.Any, l.lower = k, k, k.To
}

// Set says what lane r sees, and where its mask begins. After Reset each lane is set once.
func (l *Lanes) Set(r int, k Keys, mask int) {
	l.From[r], l.To[r], l.row[r] = int32(k.From), int32(k.To), mask
	if r > 0 && k == l.Any && k == l.All { // as all lanes before it
		return
	}
	if r < l.width/2 && k.To > l.lower {
		l.lower = k.To
	}
	l.All.From, l.All.To = max(l.All.From, k.From), min(l.All.To, k.To)
	switch {
	case k.From >= k.To:
	case l.Any.To == 0: // the first that sees a key
		l.Any = k
	default:
		l.Any.From, l.Any.To = min(l.Any.From, k.From), max(l.Any.To, k.To)
	}
}

// Lane returns the keys of which lane r sees all but those that the mask hides, and where that begins.
func (l *Lanes) Lane(r int) (k Keys, mask int) { return Keys{int(l.From[r]), int(l.To[r])}, l.row[r] }

// Uniform reports whether all lanes see the same keys.
func (l *Lanes) Uniform() bool { return l.Any == l.All && l.mask == nil }

// Edges are the keys, before and behind others, that some lane may see and some not. With a mask, these
// are all.
func (l *Lanes) Edges() (before, behind Keys) {
	if l.mask != nil || l.All.Len() == 0 {
		return l.Any, Keys{}
	}
	return Keys{l.Any.From, l.All.From}, Keys{l.All.To, l.Any.To}
}

// Bits sets bit r of bits[i] where lane r sees key first+i, for all lanes and n keys, but for the mask.
func (l *Lanes) Bits(bits *[tile.Keys]uint32, first, n int) {
	out := bits[:n]
	clear(out)
	seen := uint32(0) // the lanes that see the key at hand
	for r := range l.width {
		from, to, lane := int(l.From[r])-first, int(l.To[r])-first, uint32(1)<<r
		if from >= n || to <= 0 || from >= to {
			continue
		}
		// Where a lane begins to see and where it ends.
		if from <= 0 {
			seen |= lane
		} else {
			out[from] ^= lane
		}
		if to < n {
			out[to] ^= lane
		}
	}
	for i := range out {
		seen ^= out[i]
		out[i] = seen
	}
}

// Hidden returns a bit for each lane that does not see a key.
func (l *Lanes) Hidden(key int) (lanes uint32) {
	for r := range l.width {
		if k, mask := l.Lane(r); key < k.From || key >= k.To || l.mask != nil && !l.mask.sees(mask+key) {
			lanes |= 1 << r
		}
	}
	return lanes
}

// A Cover is what a panel sees of a tile, whose keys are counted from its first.
type Cover struct {
	Any, All Keys // from the first to the last key that some lane sees; keys that all lanes see
	Upper    int  // how many of the last keys of Any only the second half of the lanes sees
	Masked   bool // bits tell who sees the keys of Any, and All is empty
}

// Cover returns what the lanes see of the tile of n keys from first on. If it is Masked, bits become those of
// the keys of Any.
func (l *Lanes) Cover(first, n int, bits *[tile.Keys]uint32) Cover {
	c := Cover{Any: l.Any.In(first, n), All: l.All.In(first, n)}
	if c.Any.Len() == 0 || c.Any == c.All && l.mask == nil {
		return c
	}
	if c.All.Len() == 0 {
		c.All = Keys{c.Any.From, c.Any.From}
	}
	c.Upper = c.Any.To - max(c.Any.From, clamp(l.lower-first, c.Any.To))
	if l.mask != nil {
		l.cover(&c, first, bits)
	}
	return c
}

// cover makes c Masked, or empty, if the mask hides any key or all.
func (l *Lanes) cover(c *Cover, first int, bits *[tile.Keys]uint32) {
	n := c.Any.Len()
	all, any := l.mask.pack(bits, l.row[:l.width], first+c.Any.From, n)
	if all == 1<<l.width-1 {
		return
	}
	if c.All != c.Any && any != 0 {
		var near [tile.Keys]uint32
		l.Bits(&near, first+c.Any.From, n)
		any = 0
		for i := range n {
			bits[i] &= near[i]
			any |= bits[i]
		}
	}
	if any == 0 {
		c.Any = Keys{}
	}
	c.Masked, c.All = true, Keys{c.Any.From, c.Any.From}
}

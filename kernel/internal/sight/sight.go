package sight

import (
	"math"
	"sort"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
)

// A Sequence is queries and the keys that they may see: rows of one batch member. Keys are counted
// from its first one.
type Sequence struct {
	Batch          int // the batch member
	Query, Queries int // the first row of the queries, and how many they are
	Key, Keys      int // the first row of the keys and values, and how many they are
	Start          int // the position of the first query among the keys, as long as both are those of the caller
	Number         int // of the sequence
	moved          int // by what cuts have moved the position of the first query. Start may be so far that their sum is no int
}

// Lengths are what a caller says of sequences. Without any, each batch member is one, whose queries are at
// the end of its keys.
type Lengths struct {
	Start                    []int // of each sequence, or one for all
	KeyLen, QueryLen         []int // of each batch member; KeyLen of each sequence if there are QueryOffsets alone
	QueryOffsets, KeyOffsets []int // sequence i is the rows [o[i], o[i+1]) of the only batch member
}

// None reports whether nothing is said.
func (l *Lengths) None() bool {
	return l.Start == nil && l.KeyLen == nil && l.QueryLen == nil && l.QueryOffsets == nil && l.KeyOffsets == nil
}

// Sequences appends the sequences of tensors to s.
func (l *Lengths) Sequences(s []Sequence, batch, queries, keys int) []Sequence {
	n := batch
	if l.QueryOffsets != nil {
		n = len(l.QueryOffsets) - 1
	}
	for i := range n {
		s = append(s, Sequence{}) // set field by field where it stays: a copy of what has just been written waits for it
		q := &s[len(s)-1]
		q.Number, q.Batch, q.Queries, q.Keys = i, i, queries, keys
		if l.QueryOffsets != nil {
			q.Batch, q.Query = 0, l.QueryOffsets[i]
			q.Queries = l.QueryOffsets[i+1] - q.Query
		}
		if l.KeyOffsets != nil {
			q.Key = l.KeyOffsets[i]
			q.Keys = l.KeyOffsets[i+1] - q.Key
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
	}
	return s
}

// Position returns that of query number i among the keys, or the int that is next to it.
func (s *Sequence) Position(i int) int { return sum(s.Start, s.moved, i) }

// CountFrom makes s that of keys that begin with a number of all those from which its positions were counted.
func (s *Sequence) CountFrom(key int) { s.moved -= key }

// Cut leaves the queries that are among the n rows of q from first on, which become its only rows.
func (s *Sequence) Cut(first, n int) {
	before := clamp(first-s.Query, s.Queries)
	s.moved += before
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

// Like reports whether r differs from x in no more than its mask.
func (r *Rule) Like(x *Rule) bool {
	return r.Causal == x.Causal && r.Window == x.Window && r.Left == x.Left && r.Right == x.Right
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

// far is the distance of what is beyond all keys.
const far = math.MaxInt / 2

// reach returns how far behind its own number the keys of a query begin and end, if there are any. Numbers
// that are beyond all keys whatever the query become others that are, so that no sum overflows.
func (r *Rule) reach(s *Sequence) (from, to int) {
	from, to = -far, far
	if r.Causal {
		to = s.Position(1)
	}
	if r.Window && r.Right >= 0 {
		to = min(to, add(s.Position(r.Right), 1))
	}
	if r.Window && r.Left >= 0 {
		from = s.Position(-r.Left)
	}
	return max(-far, min(from, far)), max(-far, min(to, far))
}

// keys returns those of query number i that reaches so far.
func (s *Sequence) keys(i, from, to int) Keys {
	to = clamp(i+to, s.Keys)
	return Keys{clamp(i+from, to), to}
}

// Seen returns the keys among which query number i of a sequence sees all but those that the mask hides.
// Neither end of them is before that of the query before it.
func (r *Rule) Seen(s *Sequence, i int) Keys {
	if !r.Near() {
		return Keys{0, s.Keys}
	}
	from, to := r.reach(s)
	return s.keys(i, from, to)
}

// First returns the first key that Seen returns for query number i of a sequence, if there are any.
func (r *Rule) First(s *Sequence, i int) int {
	if !r.Window {
		return 0
	}
	return r.Seen(s, i).From
}

// Trim leaves the queries from the first to the last that may see a key.
func (r *Rule) Trim(s *Sequence) {
	if !r.Near() && s.Keys > 0 { // most often
		return
	}
	first := s.firstQuery(func(i int) bool { return r.Seen(s, i).To > 0 })
	s.Query, s.Queries, s.moved = s.Query+first, s.Queries-first, s.moved+first
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

// sum returns x+y+z, or the int that is next to it.
func sum(x, y, z int) int {
	if (x < 0) == (y < 0) {
		y, z = z, y // x+y is an int, unless all three have one sign
	}
	return add(add(x, y), z)
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

// Rows are neighbouring rows of a sequence, of which each query has as many as query heads share its keys.
type Rows struct {
	Query, Number int // the query of the first row, and the number of the row among its own
	Group         int // rows of a query
	Behind        int // rows behind the first one
	Before        int // how often the first one comes before that
}

// Next leaves the first row out, unless it is the last one.
func (at *Rows) Next() {
	if at.Before > 0 {
		at.Before--
		return
	}
	if at.Behind == 0 {
		return
	}
	at.Behind--
	if at.Number++; at.Number == at.Group {
		at.Query, at.Number = at.Query+1, 0
	}
}

// query returns the number of the query of a lane, where the rows begin with lane 0.
func (at *Rows) query(lane int) int {
	row := at.Number + max(0, min(lane-at.Before, at.Behind))
	if at.Group == 1 {
		return at.Query + row
	}
	return at.Query + row/at.Group
}

// Lanes is what the queries of a panel see, one query to a lane.
type Lanes struct {
	Any, All Keys               // from the first to the last key that some lane sees; keys that all lanes see
	rows     Rows               // of the lanes
	from, to int                // how far behind its own number the keys of a query begin and end
	sequence *Sequence          // of the rows
	mask     *Mask              // which hides keys in between, or nil
	row      [tile.MaxPanel]int // where the mask of each lane begins
	width    int
	lower    int // the end of the keys that the first half of the lanes sees
}

// Load sets the lanes to rows of a sequence, which is kept. Those behind the last row repeat it.
func (l *Lanes) Load(r *Rule, s *Sequence, rows *Rows, width int) {
	l.width, l.mask, l.sequence = width, nil, s
	if r.Mask.Data != nil {
		l.mask = &r.Mask
	}
	// Field by field, as a copy of what has just been written waits for it.
	l.rows.Query, l.rows.Number, l.rows.Group, l.rows.Behind, l.rows.Before = rows.Query, rows.Number, rows.Group, rows.Behind, rows.Before
	if !r.Near() { // most often
		l.from, l.to = -far, far
		l.Any = Keys{0, s.Keys}
		l.All, l.lower = l.Any, s.Keys
		return
	}
	l.from, l.to = r.reach(s)
	first, last := l.keys(0), l.keys(width-1)
	l.Any, l.All, l.lower = Keys{first.From, last.To}, Keys{last.From, first.To}, l.keys(width/2-1).To
}

// SetMask says where the mask of a lane begins.
func (l *Lanes) SetMask(lane, at int) { l.row[lane] = at }

// Lane returns the keys of which a lane sees all but those that the mask hides, and where that begins.
func (l *Lanes) Lane(lane int) (k Keys, mask int) { return l.keys(lane), l.row[lane] }

func (l *Lanes) keys(lane int) Keys { return l.sequence.keys(l.rows.query(lane), l.from, l.to) }

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
	at, all := &l.rows, uint32(uint64(1)<<l.width-1)
	// 64 bits on all machines: the rows of as many queries as a tile has keys may overflow 32.
	rows, before, group := int64(min(at.Behind+1, l.width-at.Before)), int64(at.Before), int64(at.Group)
	// How many rows have begun to see keys, and have ceased to, at the first key; with each key it is those of a query more.
	passed := func(reach int) int64 {
		return max(-int64(n), min(int64(first+1-reach-at.Query), rows))*group - int64(at.Number)
	}
	come, gone := passed(l.from), passed(l.to)
	some, i := clamp(l.sequence.Keys-first, n), 0
	for ; i < some && gone <= 0; i++ {
		bits[i] = all
		gone += group
	}
	if group == 1 && i < some && gone < rows { // most often
		lanes := &narrowLanes
		if l.width > asm.NarrowPanel {
			lanes = &wideLanes
		}
		m := copy(bits[i:some], lanes[before+gone:before+rows])
		i, gone = i+m, gone+int64(m)
	}
	for ; i < some && gone < rows; i++ {
		bits[i] = all &^ (1<<((before+gone)&31) - 1)
		gone += group
	}
	clear(bits[i:n])
	for i = 0; i < some && come < rows; i++ {
		if come <= 0 {
			bits[i] = 0
		} else {
			bits[i] &= 1<<((before+come)&31) - 1
		}
		come += group
	}
}

// Bit r of element i of narrowLanes and wideLanes is set if lane r of a panel is lane i or behind it.
var narrowLanes, wideLanes = lanesFrom(asm.NarrowPanel), lanesFrom(tile.MaxPanel)

func lanesFrom(width int) (lanes [tile.MaxPanel]uint32) {
	for r := range width {
		lanes[r] = uint32(uint64(1)<<width - uint64(1)<<r)
	}
	return lanes
}

// Hidden returns a bit for each lane that does not see a key.
func (l *Lanes) Hidden(key int) (lanes uint32) {
	for r := range l.width {
		if k, mask := l.Lane(r); key < k.From || key >= k.To || l.mask != nil && !l.mask.Sees(mask+key) {
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

// Cover sets c to what the lanes see of the tile of n keys from first on. If it is Masked, bits become those of
// the keys of Any.
func (l *Lanes) Cover(c *Cover, first, n int, bits *[tile.Keys]uint32) {
	c.Any, c.All, c.Upper, c.Masked = l.Any.In(first, n), l.All.In(first, n), 0, false
	if c.Any.Len() == 0 || c.Any == c.All && l.mask == nil {
		return
	}
	if c.All.Len() == 0 {
		c.All = Keys{c.Any.From, c.Any.From}
	}
	c.Upper = c.Any.To - max(c.Any.From, clamp(l.lower-first, c.Any.To))
	if l.mask != nil {
		l.cover(c, first, bits)
	}
}

// cover makes c Masked, or empty, if the mask hides any key or all.
func (l *Lanes) cover(c *Cover, first int, bits *[tile.Keys]uint32) {
	first += c.Any.From
	n := c.Any.Len()
	seen := asm.PackMask(bits, l.mask.Data[first:], &l.row, l.width, n)
	if seen == tile.SeenAll {
		return
	}
	if c.All != c.Any && seen == tile.SeenSome {
		var near [tile.Keys]uint32
		l.Bits(&near, first, n)
		any := uint32(0)
		for i := range n {
			bits[i] &= near[i]
			any |= bits[i]
		}
		if any == 0 {
			seen = tile.SeenNone
		}
	}
	if seen == tile.SeenNone {
		c.Any = Keys{}
	}
	c.Masked, c.All = true, Keys{c.Any.From, c.Any.From}
}

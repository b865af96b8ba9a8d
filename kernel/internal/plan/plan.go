package plan

import (
	"fmt"
	"strings"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/queue"
	"github.com/selfattn/attn/kernel/internal/sight"
	"github.com/selfattn/attn/kernel/internal/source"
)

const (
	// NarrowPanel is the width of a panel for up to as many queries, and of all panels but those of
	// AVX-512.
	NarrowPanel = asm.NarrowPanel

	// blockRows queries go through a tile of keys one panel after the other, so that keys and values come
	// from memory once for all of them, and from L2 for each panel. Where values are copied, twice as many
	// share the copy.
	blockRows = 64

	// MaxPanels is the most panels of an item.
	MaxPanels = 2 * blockRows / NarrowPanel

	// fewKeys elements of keys, or less, of a head are neighbours of those of the next in any layout: an item
	// of one such head is less work than to begin it.
	fewKeys = 2048

	// RowKeys keys are taken at once by the kernels for rows, and less than that one by one.
	RowKeys = 8

	// ReadingRows queries are as slow as the reading of their keys, and fewer are not faster.
	ReadingRows = 5

	// StretchTiles tiles, of one KV head or of several, meet few queries together: all their keys are read
	// before their values. They are the share of a worker where the keys of a call are split.
	StretchTiles = 8

	// farRows elements or more between the rows of v make each tile of them be copied: its columns are
	// read group by group, and rows so far apart share few sets of the caches. Wide panels read larger
	// groups, and gain nothing.
	farRows = 512

	// page is a page of memory, in elements.
	page = 1024
)

// A Shape is all that a plan depends on.
type Shape struct {
	Q, K, V   *source.Tensor // without their Data
	Copied    bool           // panels may have to take each tile of keys and values from a copy
	Sequences []sight.Sequence
	Sight     *sight.Rule
	Workers   int  // at most
	Wide      int  // queries of the widest panel that this CPU has
	Scalar    bool // the queries of a panel are computed one by one
	Sinks     bool // the chain of the spans of a row begins with its sink
}

// A Plan is how a call is cut into items, which are numbered through all sequences.
type Plan struct {
	Cuts    []Cut // one for each sequence
	Items   int
	Workers int // goroutines that share the items
	Useful  int // goroutines that the work is worth
	Group   int // query heads of a KV head
	Wide    int // queries of the widest panel
	Shared  int // KV heads of all sequences, or 0 where no two items share the merging of a head
	Scratch Scratch
	States  int // elements of memory for the outputs of rows and spans that a worker merges by itself
	Merging int // elements of memory for the outputs of rows and spans that workers merge together, those of the Shared heads

	kvHeads   int
	keyStride int // elements from one key to the next
}

// A Cut is how the work of a sequence is cut. An item is some queries of one or several KV heads, for
// all query heads that share them, against all keys or, where these are split among items, some of them.
type Cut struct {
	Rows       int  // queries of a KV head, those of all its query heads
	RestRows   int  // how many of Rows, the first ones, go row by row
	ItemRows   int  // queries of an item and KV head
	RowItems   int  // items along the queries of a KV head
	Together   int  // items of neighbouring queries that are computed at once
	Heads      int  // KV heads of an item
	HeadGroups int  // items along the KV heads
	Stretch    int  // tiles of a KV head that meet rows together
	Splits     int  // items along the keys
	SplitKeys  int  // keys of a split, of which the last one may have less
	CopyValues bool // panels take each tile of values from a copy
	First      int  // the number of the first item
	FirstRun   int  // the number of the first run of items, of which each group of KV heads is one
}

// Scratch is the memory of one worker, in elements.
type Scratch struct{ Queries, Outputs, Values, Keys, Scores, Mixes int }

// Set makes p the plan of a call. Of what it was, the memory of its Cuts alone is left.
func (p *Plan) Set(s *Shape) {
	p.Cuts, p.Items, p.Shared, p.States, p.Merging = p.Cuts[:0], 0, 0, 0, 0
	p.Group, p.Wide, p.kvHeads = s.Q.Heads/s.K.Heads, s.Wide, s.K.Heads
	p.keyStride = s.K.LenStride
	// A tile of a panel, and one of rows that are computed again, some of which may be scored in vain.
	p.Scratch = Scratch{Scores: tile.Keys * tile.MaxPanel, Mixes: 2 * tile.MaxRows * tile.Pad(s.V.Dim), Keys: RowKeys * s.K.Dim}
	work, runs := 0.0, 0
	for i := range s.Sequences {
		q := &s.Sequences[i]
		p.Cuts = append(p.Cuts, Cut{})
		c := &p.Cuts[i]
		p.cut(c, s, q)
		c.FirstRun = runs
		if c.RowItems > 0 {
			runs += c.HeadGroups
		}
		p.Items += c.HeadGroups * c.RowItems * c.Splits
		if c.Splits > 1 {
			p.Shared = len(s.Sequences) * s.K.Heads
		}
		p.Scratch.add(s, c, q, p.ScoreRows(c.RestRows))
		p.addStates(s, c, q)
		work += float64(float64(s.K.Heads) * float64(s.Q.Dim+s.V.Dim) * float64(q.Keys) * float64(max(c.Rows, ReadingRows)))
	}
	p.Useful = queue.Useful(work)
	p.Workers = min(s.Workers, p.Useful, p.Items)
}

// cut sets c to how a sequence is cut.
func (p *Plan) cut(c *Cut, s *Shape, q *sight.Sequence) {
	rows := q.Queries * p.Group
	c.Rows, c.RestRows, c.Heads, c.Splits, c.SplitKeys, c.First = rows, s.restRows(rows, q), 1, 1, q.Keys, p.Items
	if c.RestRows < rows {
		c.ItemRows = p.Width(blockRows)
		c.Together = blockRows / c.ItemRows
		if s.Copied && rows > blockRows {
			c.Together *= 2
		} else if c.CopyValues = c.ItemRows == NarrowPanel && s.V.LenStride >= farRows && rows > blockRows; c.CopyValues {
			c.Together *= 2
		}
		c.RowItems = CeilDiv(rows, c.ItemRows)
	} else {
		c.ItemRows, c.Together, c.RowItems = rows, 1, min(1, rows)
		// Heads that are neighbours in memory go together, unless that leaves fewer items to several
		// workers.
		neighbours := s.K.HeadStride < s.K.LenStride || s.V.HeadStride < s.V.LenStride || q.Keys*s.K.Dim <= fewKeys
		if neighbours && (s.Workers == 1 || q.Keys >= StretchTiles*tile.Keys) {
			c.Heads = min(s.K.Heads, StretchTiles)
		}
	}
	c.HeadGroups = CeilDiv(s.K.Heads, c.Heads)
	c.Stretch = StretchTiles / c.Heads
	if s.Workers > 1 && c.RestRows == rows && len(s.Sequences)*c.HeadGroups < 4*s.Workers {
		c.SplitKeys = c.Stretch * tile.Keys
		c.Splits = max(1, CeilDiv(q.Keys, c.SplitKeys))
	}
}

// restRows returns how many of the n queries of a KV head go row by row: those before full panels, if
// they are few and a panel for them would take longer, or a wide panel for them and the queries of a
// narrow one. The times are 1/100 ns of a core of Zen 4, of which the ratios matter, without what is the
// same either way. They fit the times of 1 to 8 queries beside 0, 16 and 32, with up to 256 keys and 128
// elements, causal or not, with AVX-512 and AVX2. Of 640 shapes, since items place their rows once, what is chosen takes
// more than 1.05 times as long as the other way in 14, and 1.15 times at most.
func (s *Shape) restRows(n int, q *sight.Sequence) int {
	t := n % NarrowPanel
	if t == 0 || t > tile.MaxRows {
		return 0
	}
	if s.Scalar {
		return t
	}
	group := s.Q.Heads / s.K.Heads
	seen := func(row int) sight.Keys { return s.Sight.Seen(q, row/group) }
	const most = 4096 // more keys decide nothing else
	first, last := seen(0), seen(t-1)
	keys := min(first.Hull(last).Len(), most)
	dims := s.Q.Dim + s.V.Dim
	rows, panel := 28000+3300*t, 20500+(70+24*dims)*keys
	if t > 1 { // one reads its keys at the speed of memory
		rows += 5 * dims * keys
	}
	if PadRows(t) > 4 {
		rows += 7 * dims * keys
	}
	apart := first != last
	if apart { // rows mix alone what others do not see
		rows += 4000 * t
	}
	if (n-t)%s.Wide > 0 { // a narrow panel becomes a wide one
		panel = 22 * dims * min(first.Hull(seen(t+NarrowPanel-1)).Len(), most)
		if apart { // half of it does not meet the last keys
			panel -= 250 * dims
		}
	} else {
		if apart { // some keys are hidden
			panel += 7000
		}
		if n == t { // no panel is there to begin with
			panel += 18500
		}
	}
	if rows <= panel {
		return t
	}
	return 0
}

// add makes room for a cut.
func (m *Scratch) add(s *Shape, c *Cut, q *sight.Sequence, scoreRows int) {
	lanes := CeilDiv(max(c.Together*c.ItemRows, c.Heads*NarrowPanel), tile.MaxPanel) * tile.MaxPanel
	m.Queries = max(m.Queries, lanes*tile.Pad(s.Q.Dim))
	m.Outputs = max(m.Outputs, lanes*tile.Pad(s.V.Dim))
	if c.CopyValues || s.Copied {
		m.Values = tile.Keys * s.V.Dim
	}
	if s.Copied {
		m.Keys = tile.Keys * s.K.Dim
	}
	if c.RestRows > 0 {
		rows := c.Heads * min(c.Stretch, CeilDiv(q.Keys, tile.Keys)) * scoreRows
		m.Scores = max(m.Scores, rows*tile.Keys)
		m.Mixes = max(m.Mixes, rows*tile.Pad(s.V.Dim))
	}
}

// addStates makes room for what rows of a cut merge: the output of a span and, where spans or a sink come before it, that of all.
func (p *Plan) addStates(s *Shape, c *Cut, q *sight.Sequence) {
	states, spans, pad := 1, q.Keys > generic.SpanKeys, tile.Pad(s.V.Dim)
	if spans || s.Sinks {
		states = 2
	}
	if c.Splits > 1 {
		p.Merging += states * s.K.Heads * c.Rows * pad
		return
	}
	panels := 0 // rows of panels, which merge only spans: those of all panels, into which one panel at a time is added
	if spans && c.RestRows < c.Rows {
		panels = c.Together*c.ItemRows + p.Width(c.ItemRows)
	}
	p.States = max(p.States, (states*c.Heads*c.RestRows+panels)*pad)
}

// Memory returns how many elements the workers take together.
func (p *Plan) Memory() int { return p.Workers*(p.Scratch.Size()+p.States) + p.Merging }

// Width returns the width of the next panel for n more queries: the widest one that they fill by more
// than half.
func (p *Plan) Width(n int) int {
	if n > NarrowPanel {
		return p.Wide
	}
	return NarrowPanel
}

// PadRows returns how many queries are computed for n that go row by row.
func PadRows(n int) int {
	switch {
	case n <= 1:
		return n
	case n <= 4:
		return 4
	}
	return tile.MaxRows
}

// ScoreRows is the function for the keys of the call.
func (p *Plan) ScoreRows(n int) int { return ScoreRows(n, p.keyStride) }

// ScoreRows is PadRows for scores with keys so far apart. The kernel for one query reads 16 keys side by side, that for four
// 8: as many as a set of L1 has ways, if the keys are a multiple of a page apart.
func ScoreRows(n, stride int) int {
	if n == 1 && stride > 0 && stride%page == 0 {
		return 4
	}
	return PadRows(n)
}

// An Item is one or several neighbouring items.
type Item struct {
	Cut         *Cut
	Sequence    int        // its number
	Head, Heads int        // the first KV head, and how many
	Row, Rows   int        // the first query of each KV head, and how many
	RestRows    int        // how many of Rows, the first ones, go row by row
	Keys        sight.Keys // that the item is compared with
	Split       int        // the number of Keys among the splits of the sequence
}

// find returns the sequence of item i.
func (p *Plan) find(i int) (sequence int) {
	lo, hi := 1, len(p.Cuts) // the cuts below lo begin at i or before, those from hi on behind it
	for lo < hi {
		if mid := (lo + hi) / 2; p.Cuts[mid].First <= i {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// Run returns the run of item i, in which neighbours are computed together or, if they are splits of
// the keys of the same queries, in turn: the run's number, its first item, how many it has, and the most
// that are computed at once.
func (p *Plan) Run(i int) (number, first, n, together int) {
	c := &p.Cuts[p.find(i)]
	n = c.RowItems * c.Splits
	run := i - c.First
	if n > 1 {
		run /= n
	}
	return c.FirstRun + run, c.First + run*n, n, c.Together
}

// Item sets it to the n items from i on, as many as Run allows, or if n is 0 to as many as are best computed at once, and returns
// how many they are.
func (p *Plan) Item(it *Item, i, n int) int {
	it.Sequence, it.Split = p.find(i), 0
	c := &p.Cuts[it.Sequence]
	it.Cut = c
	number := i - c.First // in the order of KV heads, then of queries, then of keys
	if c.Splits > 1 {
		number, it.Split = number/c.Splits, number%c.Splits
	}
	group := number
	if number = 0; c.RowItems > 1 {
		group, number = group/c.RowItems, group%c.RowItems
	}
	if n == 0 {
		n = min(c.Together, c.RowItems-number)
	}
	it.Head = group * c.Heads
	it.Heads = min(c.Heads, p.kvHeads-it.Head)
	// Items are full but for the one of the first queries. The last queries see the most keys when causal: they go first.
	end := c.Rows - number*c.ItemRows
	it.Row = max(0, end-n*c.ItemRows)
	it.Rows, it.RestRows = end-it.Row, 0
	if it.Row == 0 {
		it.RestRows = c.RestRows
	}
	it.Keys = sight.Keys{From: it.Split * c.SplitKeys, To: (it.Split + 1) * c.SplitKeys}
	return n
}

// String describes the plan in a line.
func (p Plan) String() string {
	return fmt.Sprintf("%s for %s; %s", Count(p.Items, "item"), Count(p.Workers, "worker"), p.Path())
}

// Count returns a number of things in words, as "1 item" or "2 items".
func Count(n int, one string) string {
	if n != 1 {
		one += "s"
	}
	return fmt.Sprint(n, " ", one)
}

// Path describes how sequences are cut.
func (p *Plan) Path() string {
	var b strings.Builder
	for i := 0; i < len(p.Cuts); {
		c, n := p.Cuts[i], 1
		for ; i+n < len(p.Cuts) && p.Cuts[i+n].like(c); n++ {
		}
		i += n
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		queries := "queries"
		if c.Rows == 1 {
			queries = "query"
		}
		fmt.Fprintf(&b, "%s: %d %s of each of %s, %d an item", Count(n, "sequence"), c.Rows, queries, Count(p.kvHeads, "KV head"), c.ItemRows)
		if c.Together > 1 {
			fmt.Fprintf(&b, ", %d items together", c.Together)
		}
		switch {
		case c.RestRows == c.Rows:
			b.WriteString(", row by row")
		case c.RestRows > 0:
			fmt.Fprintf(&b, ", the first %d row by row", c.RestRows)
		}
		if c.CopyValues {
			b.WriteString(", values copied")
		}
		if c.Heads > 1 {
			fmt.Fprintf(&b, ", %d KV heads together", c.Heads)
		}
		if c.Splits > 1 {
			fmt.Fprintf(&b, ", keys in %d splits", c.Splits)
		}
	}
	return b.String()
}

// like reports whether two cuts differ in no more than the numbers of their items.
func (c Cut) like(d Cut) bool {
	c.First, c.FirstRun = d.First, d.FirstRun
	return c == d
}

// Size returns the number of elements.
func (m Scratch) Size() int { return m.Queries + m.Outputs + m.Values + m.Keys + m.Scores + m.Mixes }

// CeilDiv returns how many pieces of a size n is cut into, the last of which may be smaller.
func CeilDiv(n, size int) int { return (n + size - 1) / size }

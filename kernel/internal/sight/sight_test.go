package sight

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic/tile"
	"github.com/stretchr/testify/require"
)

// sees is the definition: whether query i of a sequence sees a key.
func sees(r Rule, s *Sequence, i, key int) bool {
	at := new(big.Int).Add(big.NewInt(int64(s.Start)), big.NewInt(int64(i)))
	return 0 <= key && key < s.Keys && near(r, at.Sub(at, big.NewInt(int64(key))))
}

// near is the definition of a rule but for its mask: whether a query sees the key that is so many before it.
func near(r Rule, before *big.Int) bool {
	return !(r.Causal && before.Sign() < 0 ||
		r.Window && r.Left >= 0 && before.Cmp(big.NewInt(int64(r.Left))) > 0 ||
		r.Window && r.Right >= 0 && new(big.Int).Neg(before).Cmp(big.NewInt(int64(r.Right))) > 0)
}

func TestSeen(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 30))
	far := func(near int) int { // at times so far that sums overflow
		if r.IntN(10) == 0 {
			return []int{math.MinInt, math.MinInt + 20, math.MaxInt - 20, math.MaxInt}[r.IntN(4)]
		}
		return r.IntN(2*near) - near
	}
	for range 3000 {
		s := Sequence{Queries: 1 + r.IntN(40), Keys: r.IntN(40), Start: far(60)}
		rule := Rule{Causal: r.IntN(2) == 0, Window: r.IntN(2) == 0, Left: far(20), Right: far(20)}
		for i := range s.Queries {
			k := rule.Seen(&s, i)
			for key := -1; key <= s.Keys; key++ {
				require.Equal(t, sees(rule, &s, i, key), k.From <= key && key < k.To, "%+v %+v: query %d, key %d", rule, s, i, key)
			}
			require.True(t, 0 <= k.From && k.From <= k.To && k.To <= s.Keys, "%v", k)
		}
		// What is left keeps what it sees, and begins and ends with a query that sees something.
		left := s
		rule.Trim(&left)
		for i := range s.Queries {
			j := i - (left.Query - s.Query)
			k := rule.Seen(&s, i)
			if 0 <= j && j < left.Queries {
				require.Equal(t, k, rule.Seen(&left, j), "%+v %+v: query %d", rule, s, i)
			} else {
				require.Zero(t, k.Len(), "%+v %+v: query %d", rule, s, i)
			}
			if left.Queries > 0 && rule.Left >= 0 && rule.Right >= 0 && (j == 0 || j == left.Queries-1) {
				require.Positive(t, k.Len(), "%+v %+v: query %d", rule, s, i)
			}
		}
	}
}

// TestCut takes queries out of a sequence whose keys are those from a number on, and wants them to see of these what they saw.
func TestCut(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 30))
	far := func(n int) int { // at times so far that sums overflow
		return []int{r.IntN(n), r.IntN(n), math.MaxInt - r.IntN(n), math.MinInt + r.IntN(n), -r.IntN(n)}[r.IntN(5)]
	}
	seen := 0
	for range 1500 {
		s := Sequence{Query: r.IntN(9), Queries: 1 + r.IntN(20), Keys: 1 + r.IntN(40), Start: far(60)}
		rule := Rule{Causal: r.IntN(2) == 0, Window: r.IntN(2) == 0, Left: far(40), Right: far(40)}
		firstKey, first, n := max(0, far(40)), r.IntN(20), r.IntN(20)
		cut := s
		cut.Cut(first, n)
		cut.CountFrom(firstKey)
		require.True(t, 0 <= cut.Query && 0 <= cut.Queries && cut.Query+cut.Queries <= n, "%+v of %d rows", cut, n)
		for i := range cut.Queries {
			query := first + cut.Query + i - s.Query // its number before
			position := new(big.Int).Add(big.NewInt(int64(s.Start)), big.NewInt(int64(query)))
			position.Sub(position, big.NewInt(int64(firstKey)))
			if position.IsInt64() && position.Int64() == int64(int(position.Int64())) {
				require.Equal(t, int(position.Int64()), cut.Position(i))
			}
			k := rule.Seen(&cut, i)
			for key := range cut.Keys {
				before := new(big.Int).Sub(position, big.NewInt(int64(key)))
				require.Equal(t, near(rule, before), k.From <= key && key < k.To, "%+v from row %d and key %d on, %+v: query %d, key %d", s, first, firstKey, rule, query, key)
			}
			if 0 < k.Len() && k.Len() < cut.Keys {
				seen++
			}
		}
	}
	require.Greater(t, seen, 300)
}

func TestSequences(t *testing.T) {
	for _, c := range []struct {
		l    Lengths
		want []Sequence
	}{
		{Lengths{}, []Sequence{{0, 0, 5, 0, 9, 4, 0, 0}, {1, 0, 5, 0, 9, 4, 1, 0}}},
		{Lengths{Start: []int{-3}}, []Sequence{{0, 0, 5, 0, 9, -3, 0, 0}, {1, 0, 5, 0, 9, -3, 1, 0}}},
		{Lengths{Start: []int{0, 7}}, []Sequence{{0, 0, 5, 0, 9, 0, 0, 0}, {1, 0, 5, 0, 9, 7, 1, 0}}},
		{Lengths{KeyLen: []int{8, 0}, QueryLen: []int{5, 2}}, []Sequence{{0, 0, 5, 0, 8, 3, 0, 0}, {1, 0, 2, 0, 0, -2, 1, 0}}},
		{Lengths{QueryOffsets: []int{1, 1, 3, 5}, KeyOffsets: []int{0, 4, 4, 9}}, []Sequence{{0, 1, 0, 0, 4, 4, 0, 0}, {0, 1, 2, 4, 0, -2, 1, 0}, {0, 3, 2, 4, 5, 3, 2, 0}}},
		{Lengths{QueryOffsets: []int{1, 1, 5}, KeyLen: []int{3, 7}}, []Sequence{{0, 1, 0, 0, 3, 3, 0, 0}, {0, 1, 4, 0, 7, 3, 1, 0}}},
	} {
		require.Equal(t, c.want, c.l.Sequences(nil, 2, 5, 9), "%+v", c.l)
	}
}

func TestKeys(t *testing.T) {
	contains := func(k Keys, key int) bool { return k.From <= key && key < k.To }
	r := rand.New(rand.NewPCG(2, 30))
	for range 1500 {
		a, b := Keys{r.IntN(12), r.IntN(12)}, Keys{r.IntN(12), r.IntN(12)}
		first, n := r.IntN(12), r.IntN(12)
		count := 0
		for key := range 24 {
			if contains(a, key) {
				count++
			}
			require.Equal(t, contains(a, key) && contains(b, key), contains(a.And(b), key), "%v and %v", a, b)
			if contains(a, key) || contains(b, key) {
				require.True(t, contains(a.Hull(b), key), "hull of %v and %v", a, b)
			}
			require.Equal(t, contains(a, first+key) && key < n, contains(a.In(first, n), key), "%v in %d keys from %d on", a, n, first)
		}
		require.Equal(t, count, a.Len(), "%v", a)
		if h := a.Hull(b); h.Len() > 0 {
			for _, end := range []int{h.From, h.To - 1} {
				require.True(t, contains(a, end) || contains(b, end), "hull of %v and %v: %v", a, b, h)
			}
		} else {
			require.Zero(t, a.Len()+b.Len())
		}
	}
}

// rows are drawn of a sequence that may be longer than a tile and begin before its keys.
func rows(r *rand.Rand) (s Sequence, at Rows) {
	s = Sequence{Queries: 1 + r.IntN(60), Keys: 1 + r.IntN(100), Start: r.IntN(100) - 20}
	at = Rows{Query: r.IntN(s.Queries), Group: 1 + r.IntN(3)}
	at.Number = r.IntN(at.Group)
	at.Behind = s.Queries*at.Group - 1 - at.Query*at.Group - at.Number
	return s, at
}

// rule is drawn of all that depend on positions. Windows are at times too short to have a key in common.
func rule(r *rand.Rand) Rule {
	return Rule{Causal: r.IntN(2) == 0, Window: r.IntN(2) == 0, Left: r.IntN(40) - 2, Right: r.IntN(40) - 2}
}

// Rows are those of one query after the other, up to the last one.
func TestNext(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 30))
	for range 100 {
		_, at := rows(r)
		for i, first := at.Query*at.Group+at.Number, at; ; i++ {
			require.Equal(t, [3]int{i / at.Group, i % at.Group, first.Behind - (i - first.Query*at.Group - first.Number)}, [3]int{at.Query, at.Number, at.Behind})
			if at.Behind == 0 {
				break
			}
			at.Next()
		}
		last := at
		at.Next()
		require.Equal(t, last, at)
		at = Rows{Group: 1, Behind: 2, Before: 1} // the first one twice
		at.Next()
		require.Equal(t, Rows{Group: 1, Behind: 2}, at)
	}
}

// The rows of the queries that end at the keys of a tile may be more than an int of 32 bits counts.
func TestLanesOfManyHeads(t *testing.T) {
	s := Sequence{Queries: 2, Keys: tile.Keys, Start: tile.Keys - 2}
	rule := Rule{Causal: true}
	const group = 1 << 24
	var l Lanes
	l.Load(&rule, &s, &Rows{Number: group - 2, Group: group, Behind: group + 1}, asm.NarrowPanel) // two rows of the first query
	var bits [tile.Keys]uint32
	l.Bits(&bits, 0, tile.Keys)
	for key, lanes := range bits {
		if key < tile.Keys-1 {
			require.Equal(t, uint32(1<<asm.NarrowPanel-1), lanes, "key %d", key)
		} else {
			require.Equal(t, uint32(1<<asm.NarrowPanel-4), lanes, "the last key, of the second query")
		}
	}
}

// What lanes see of a tile, against what each query sees, for all rules; the mask of each begins anywhere.
func TestLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 30))
	alike, apart := 0, 0
	for range 2000 {
		width := []int{asm.NarrowPanel, asm.PanelWidth(tile.MaxPanel)}[r.IntN(2)]
		s, at := rows(r)
		rule := rule(r)
		rule.Trim(&s)
		if at.Query >= s.Queries {
			continue
		}
		at.Behind = s.Queries*at.Group - 1 - at.Query*at.Group - at.Number
		if r.IntN(2) == 0 {
			rule.Mask.Data = make([]bool, 200)
			for i, density := 0, r.IntN(5); i < len(rule.Mask.Data); i++ {
				rule.Mask.Data[i] = r.IntN(5) < density || density == 4
			}
		}
		at.Before = r.IntN(4) * r.IntN(2)
		var l Lanes
		l.Load(&rule, &s, &at, width)
		same := r.IntN(2)
		var masks [tile.MaxPanel]int
		for lane := range width {
			masks[lane] = r.IntN(1+same*20) + lane*same
			l.SetMask(lane, masks[lane])
			got, mask := l.Lane(lane)
			require.Equal(t, rule.Seen(&s, at.Query), got, "lane %d of %+v, %+v", lane, s, rule)
			require.Equal(t, masks[lane], mask)
			at.Next()
		}
		first, n := r.IntN(60), 1+r.IntN(60)
		masked := func(lane, key int) bool { return rule.Mask.Data != nil && !rule.Mask.Data[masks[lane]+key] }
		lanes, bits := [tile.Keys]uint32{1, 2, 3}, [tile.Keys]uint32{1, 2, 3} // of a tile before
		c := Cover{Keys{1, 2}, Keys{3, 4}, 5, true}
		l.Cover(&c, first, n, &lanes)
		l.Bits(&bits, first, n)
		if l.Uniform() {
			alike++
		} else if l.All.Len() == 0 {
			apart++
		}
		any, lower := Keys{}, 0
		for key := range n {
			hidden, near := l.Hidden(first+key), uint32(0)
			for lane := range width {
				k, _ := l.Lane(lane)
				far := first+key < k.From || first+key >= k.To
				require.Equal(t, far || masked(lane, first+key), hidden>>lane&1 == 1)
				require.Equal(t, far, bits[key]>>lane&1 == 0, "key %d of %+v", key, l)
				if !far {
					near |= 1 << lane
				}
			}
			if near != 0 {
				any = any.Hull(Keys{key, key + 1})
			}
			if near&(1<<(width/2)-1) != 0 {
				lower = key + 1
			}
			if c.Masked && c.Any.From <= key && key < c.Any.To {
				require.Equal(t, hidden, ^lanes[key-c.Any.From]&(1<<width-1), "key %d of %+v", key, l)
			}
			if hidden == 0 && !c.Masked {
				require.True(t, c.All.From <= key && key < c.All.To, "all lanes see key %d: %+v", key, c)
			} else if hidden != 0 {
				require.False(t, c.All.From <= key && key < c.All.To, "a lane does not see key %d: %+v", key, c)
			}
		}
		if !c.Masked {
			require.Equal(t, any.Len(), c.Any.Len(), "%+v of %+v", c, l)
			if any.Len() > 0 {
				require.Equal(t, any, c.Any)
				require.True(t, c.Any.From <= c.All.From && c.All.From <= c.All.To && c.All.To <= c.Any.To, "%+v", c)
			}
		}
		if c.Any != c.All {
			require.Equal(t, any.To-max(any.From, lower), c.Upper, "keys that the second half alone sees: %+v of %+v", c, l)
		}
	}
	require.True(t, alike > 100 && apart > 15, "%d alike, %d of which no key is seen by all", alike, apart)
}

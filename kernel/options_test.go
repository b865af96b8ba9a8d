package kernel

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/stretchr/testify/require"
)

// A rowView is one query row among the keys, by the words of the options.
type rowView struct {
	b, h, i  int    // the row of q and dst
	from, to int    // the rows of k and v that its sequence has
	at       int    // the position of the query
	exists   bool   // it is in a sequence, before the end of its queries
	sees     []bool // which of them the query sees
}

// views lists all rows of a problem. It decides key by key what Options say.
func (p *problem) views() (all []rowView) {
	for b := range p.q.Batch {
		for h := range p.q.Heads {
			for i := range p.q.Len {
				v := rowView{b: b, h: h, i: i}
				all = append(all, v)
				p.see(&all[len(all)-1])
			}
		}
	}
	return all
}

func (p *problem) see(v *rowView) {
	o, member, first, queries := &p.o, v.b, 0, p.q.Len
	v.to = p.k.Len
	if o.QueryOffsets != nil {
		for member = 0; member < len(o.QueryOffsets)-1; member++ {
			if o.QueryOffsets[member] <= v.i && v.i < o.QueryOffsets[member+1] {
				break
			}
		}
		if member == len(o.QueryOffsets)-1 {
			v.to = 0
			return
		}
		first = o.QueryOffsets[member]
		queries = o.QueryOffsets[member+1] - first
		v.from, v.to = o.KeyOffsets[member], o.KeyOffsets[member+1]
	}
	if o.KeyLen != nil {
		v.to = o.KeyLen[member]
	}
	if o.QueryLen != nil {
		queries = o.QueryLen[member]
	}
	start := v.to - v.from - queries
	if len(o.Start) == 1 {
		start = o.Start[0]
	} else if o.Start != nil {
		start = o.Start[member]
	}
	v.at, v.exists = start+v.i-first, v.i-first < queries
	at, edit := v.at, p.edit(v)
	v.sees = make([]bool, v.to-v.from)
	for j := range v.sees {
		hidden := o.Mask != nil && !o.Mask.Data[v.b*o.Mask.BatchStride+v.h*o.Mask.HeadStride+v.i*o.Mask.QueryStride+v.from+j]
		hidden = hidden || edit.Bias != nil && edit.Bias[j] == -inf
		v.sees[j] = !hidden && v.exists && (!o.Causal || j <= at)
		if w := o.Window; w != nil {
			v.sees[j] = v.sees[j] && (w.Left < 0 || at-j <= w.Left) && (w.Right < 0 || j-at <= w.Right)
		}
	}
}

// rowWeights are the weights of the keys of k.
func (p *problem) rowWeights(v rowView) []float32 {
	_, weights, _, _ := p.rowOf(v)
	return weights
}

// rowOf computes the output, the weights, the maximum and the sum of a view by the contract of package generic: in
// each tile of keys, counted from the first of the sequence, those that are seen go in order.
func (p *problem) rowOf(v rowView) (out, weights []float32, max, sum float32) {
	one := func(x Tensor, head int) [][]float32 { // the rows of one head
		x = explicit(x)
		x.Data, x.Batch, x.Heads = x.Data[v.b*x.BatchStride+head*x.HeadStride:], 1, 1
		return rows(x)
	}
	k, values := one(p.k, v.h/(p.q.Heads/p.k.Heads)), one(p.v, v.h/(p.q.Heads/p.k.Heads))
	q := make([]float32, p.q.Dim)
	copy(q, one(p.q, v.h)[v.i])
	tile.Scale(q, q, generic.Log2Scale(p.scale()))
	weights = make([]float32, p.k.Len)
	var visible []int                                    // keys
	maxima, edit := make([]float32, p.k.Len), p.edit(&v) // maxima of their tiles
	all, span := newState(p.v.Dim), newState(p.v.Dim)
	if edit.Sink != nil && v.exists {
		all.max, all.sum = generic.Sink(*edit.Sink)
	}
	for first := 0; first < len(v.sees); first += generic.TileKeys {
		s, sum, o := []float32{}, float32(0), make([]float32, p.v.Dim)
		var tileValues [][]float32
		var seen []int
		for j := first; j < min(first+generic.TileKeys, len(v.sees)); j++ {
			if v.sees[j] {
				score := float32(0)
				for c, x := range k[v.from+j] {
					score = generic.FMA(q[c], x, score)
				}
				s, tileValues, seen = append(s, edit.Score(score, j)), append(tileValues, values[v.from+j]), append(seen, v.from+j)
			}
		}
		visible = append(visible, seen...)
		m := tile.RowWeights(s)
		for j, w := range s {
			if sum += w; edit.Drops != nil && edit.Drops(seen[j]-v.from) {
				w = 0
			}
			weights[seen[j]], maxima[seen[j]] = w, m
			for c, x := range tileValues[j] {
				o[c] = generic.FMA(w, x, o[c])
			}
		}
		span.merge(&state{m, sum, o})
		if next := first + generic.TileKeys; next%generic.SpanKeys == 0 || next >= len(v.sees) {
			all.merge(span)
			span = newState(p.v.Dim)
		}
	}
	inverse := tile.Inverse(all.sum)
	if edit.Drops != nil {
		inverse = tile.Inverse(float32(all.sum * edit.Keep))
	}
	for _, j := range visible {
		_, _, b := generic.Merge(all.max, maxima[j])
		weights[j] = generic.FMA(weights[j]*b, inverse, 0)
	}
	tile.Scale(all.mix, all.mix, inverse)
	return all.mix, weights, all.max, all.sum
}

// rowScores are the scores of the keys of k after a stage before weights.
func (p *problem) rowScores(v rowView, stage Stage) []float32 {
	scores, edit := make([]float32, p.k.Len), p.edit(&v)
	if stage < StageBias {
		*edit = generic.RowEdit{SoftCap: edit.SoftCap}
	}
	if stage < StageSoftCap {
		edit.SoftCap = 0
	}
	q := make([]float32, p.q.Dim)
	copy(q, rows(p.q)[(v.b*p.q.Heads+v.h)*p.q.Len+v.i])
	tile.Scale(q, q, generic.Log2Scale(p.scale()))
	for j, key := range rows(p.k)[(v.b*p.k.Heads+v.h/(p.q.Heads/p.k.Heads))*p.k.Len:][:p.k.Len] {
		if stage == StageBias && (j < v.from || j >= v.to || !v.sees[j-v.from]) {
			scores[j] = -inf
			continue
		}
		score := float32(0)
		for c, x := range key {
			score = generic.FMA(q[c], x, score)
		}
		scores[j] = float32(float64(edit.Score(score, j-v.from)) * math.Ln2)
	}
	return scores
}

// A state is M, L and O of package generic.
type state struct {
	max, sum float32
	mix      []float32
}

func newState(dim int) *state { return &state{-inf, 0, make([]float32, dim)} }

func (s *state) merge(t *state) {
	var a, b float32
	s.max, a, b = generic.Merge(s.max, t.max)
	s.sum = generic.MergeSum(s.sum, t.sum, a, b)
	tile.MergeRow(s.mix, t.mix, a, b)
}

// checkViews holds a call to the bits of row, and its log-sum-exp and weights too.
func (p *problem) checkViews(t *testing.T, r *rand.Rand) {
	t.Helper()
	p.o.LSE = make([]float32, p.q.Batch*p.q.Heads*p.q.Len)
	p.o.Stats = make([]float32, 2*len(p.o.LSE))
	got := p.attend(t)
	var want, lse, stats []float32
	for _, v := range p.views() {
		out, _, max, sum := p.rowOf(v)
		want, lse, stats = append(want, out...), append(lse, tile.LogSum2(max, sum)), append(stats, max, sum)
	}
	got2, got3 := p.o.LSE, p.o.Stats
	p.o.LSE, p.o.Stats = nil, nil // too long to print
	asmtest.Equal(t, want, got, "%v", p)
	asmtest.Equal(t, lse, got2, "LSE of %v", p)
	asmtest.Equal(t, stats, got3, "Stats of %v", p)
	if p.o.LSE = got2; r.IntN(2) == 0 { // one without the other
		p.o.LSE, p.o.Stats = nil, got3
	}
	asmtest.Equal(t, want, p.attend(t), "%v", p)
	p.o.LSE, p.o.Stats = nil, nil
	asmtest.Equal(t, stats, got3, "Stats alone of %v", p)
	for range 3 {
		v := p.views()[r.IntN(len(lse))]
		for j, w := range p.weights(t, v.b, v.h, v.i)[0] {
			if j < v.from || j >= v.to || !v.sees[j-v.from] {
				require.Equal(t, uint32(0), math.Float32bits(w), "weight of key %d of row %+v of %v", j, v, p)
			}
		}
		asmtest.Equal(t, p.rowWeights(v), p.weights(t, v.b, v.h, v.i)[0], "weights of %+v of %v", v, p)
		for stage := StageScores; stage < StageWeights; stage++ {
			asmtest.Equal(t, p.rowScores(v, stage), p.scores(t, stage, v.b, v.h, v.i)[0], "stage %d of %+v of %v", stage, v, p)
		}
	}
}

// randomOptions draws what hides keys from queries.
func randomOptions(r *rand.Rand, s shape) Options {
	o := Options{Causal: r.IntN(2) == 0, Workers: 1 + r.IntN(4)}
	if r.IntN(2) == 0 {
		near := pick(r, 3, 20, edge, 3*edge)
		o.Window = &Window{r.IntN(near) - 1, r.IntN(near) - 1}
	}
	lengths := func(n, most int) (x []int) {
		for range n {
			x = append(x, pick(r, 0, most, r.IntN(most+1)))
		}
		return x
	}
	members := s.batch
	switch r.IntN(3) {
	case 0:
		o.KeyLen = lengths(s.batch, s.lk)
		if r.IntN(2) == 0 {
			o.QueryLen = lengths(s.batch, s.lq)
		}
	case 1:
		if s.batch > 1 {
			break
		}
		members = 1 + r.IntN(5)
		offsets := func(most int) []int {
			x := []int{pick(r, 0, r.IntN(most+1))}
			for range members {
				x = append(x, x[len(x)-1]+r.IntN(most-x[len(x)-1]+1)/pick(r, 1, 3))
			}
			return x
		}
		o.QueryOffsets, o.KeyOffsets = offsets(s.lq), offsets(s.lk)
	}
	if r.IntN(2) == 0 {
		o.Mask = randomMask(r, s)
	}
	if r.IntN(4) == 0 {
		o.Dropout = &Dropout{pick[float32](r, 0, 0.1, 0.5, 0.99), r.Uint64(), r.Uint64()}
	}
	if r.IntN(2) == 0 {
		randomEdit(r, s, &o)
	}
	switch r.IntN(4) {
	case 0:
		o.Start = []int{r.IntN(2*s.lk+2) - s.lk/2}
	case 1:
		for range members {
			o.Start = append(o.Start, r.IntN(2*s.lk+2)-s.lk/2)
		}
	}
	return o
}

// randomMask draws a mask: sparse, dense, of whole tiles, or of no false element, with strides of 0 at times.
func randomMask(r *rand.Rand, s shape) *Mask {
	m, n := &Mask{}, s.lk+r.IntN(3)
	for _, d := range []struct {
		stride *int
		size   int
	}{{&m.QueryStride, s.lq}, {&m.HeadStride, s.heads}, {&m.BatchStride, s.batch}} {
		if r.IntN(3) > 0 {
			*d.stride = n
			n *= d.size
		}
	}
	m.Data = make([]bool, n)
	run, density := pick(r, 1, 1, 40, 2*edge), r.Float32()*1.4
	for i := 0; i < n; i += run {
		visible := r.Float32() < density
		for j := i; j < min(i+run, n); j++ {
			m.Data[j] = visible
		}
	}
	return m
}

// Whatever hides keys, in any combination, each row has the bits of the contract.
func TestOptionsRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 40))
	for range trials(150) {
		kvHeads := 1 + r.IntN(3)
		s := shape{1 + r.IntN(2), kvHeads * (1 + r.IntN(4)), kvHeads, 1 + r.IntN(60), 1 + r.IntN(pick(r, 20, 20, 2*edge+44)), 1 + r.IntN(20), 1 + r.IntN(20)}
		if r.IntN(3) == 0 {
			s.lq = 1 + r.IntN(3) // decoding
		}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Kind(r.IntN(int(asmtest.Kinds))), randomOptions(r, s))
		p.checkViews(t, r)
	}
	for range trials(6) { // keys that are split among workers
		s := shape{1, 2, 1, 1 + r.IntN(3), plan.StretchTiles*edge + r.IntN(2*plan.StretchTiles*edge), 4, 4}
		newProblem(r, s, packedLayout, asmtest.Normal, randomOptions(r, s)).checkViews(t, r)
	}
}

// A packed sequence has the bits of a call of its own.
func TestPackedAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 40))
	for range trials(60) {
		s := shape{1, 4, 2, 100, 3*edge + 7, 8, 8}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, Options{
			Causal: r.IntN(2) == 0, QueryOffsets: []int{0, 1, 20, 20, 61, 99}, KeyOffsets: []int{3, 4, 2 * edge, 2*edge + 5, 2*edge + 9, 3 * edge}, Workers: 1 + r.IntN(3),
		})
		got := p.dst
		require.NoError(t, Attention(got, p.q, p.k, p.v, &p.o))
		for i := range len(p.o.QueryOffsets) - 1 {
			q, n := p.o.QueryOffsets[i], p.o.QueryOffsets[i+1]-p.o.QueryOffsets[i]
			k, keys := p.o.KeyOffsets[i], p.o.KeyOffsets[i+1]-p.o.KeyOffsets[i]
			alone := &problem{dst: newTensor(r, 1, 4, n, 8, bhld, asmtest.Normal), q: view(p.q, 0, 1, 0, 4, q, n), k: view(p.k, 0, 1, 0, 2, k, keys), v: view(p.v, 0, 1, 0, 2, k, keys), o: Options{Causal: p.o.Causal}}
			if n > 0 {
				asmtest.Equal(t, alone.attend(t), flat(view(got, 0, 1, 0, 4, q, n)), "sequence %d of %v", i, p)
			}
		}
	}
}

// Options that do not fit or contradict each other are refused by their name and the value.
func TestBadOptions(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 40))
	p := newProblem(r, shape{2, 4, 2, 5, 9, 8, 8}, packedLayout, asmtest.Normal, Options{})
	one := newProblem(r, shape{1, 4, 2, 5, 9, 8, 8}, packedLayout, asmtest.Normal, Options{})
	inPlace, both := *p, make([]float32, 120)
	inPlace.dst = p.q
	for _, c := range []struct {
		p    *problem
		o    Options
		want []string
	}{
		{p, Options{Start: []int{}}, []string{"Start", "0 elements"}},
		{p, Options{Start: []int{1, 2, 3}}, []string{"Start", "3 elements", "2 batch members"}},
		{p, Options{KeyLen: []int{}}, []string{"KeyLen", "0 elements", "want 2"}},
		{p, Options{KeyLen: []int{1}}, []string{"KeyLen", "1 elements", "want 2"}},
		{p, Options{KeyLen: []int{9, 10}}, []string{"KeyLen[1] is 10", "0 to 9"}},
		{p, Options{KeyLen: []int{-1, 9}}, []string{"KeyLen[0] is -1", "0 to 9"}},
		{p, Options{QueryLen: []int{6, 0}}, []string{"QueryLen[0] is 6", "0 to 5"}},
		{p, Options{QueryLen: []int{5}}, []string{"QueryLen", "1 elements"}},
		{p, Options{QueryOffsets: []int{0, 5}, KeyOffsets: []int{0, 9}}, []string{"Batch is 2", "QueryOffsets"}},
		{one, Options{QueryOffsets: []int{0, 5}}, []string{"QueryOffsets has 2", "KeyOffsets 0"}},
		{one, Options{KeyOffsets: []int{0, 5}}, []string{"QueryOffsets has 0", "KeyOffsets 2"}},
		{one, Options{QueryOffsets: []int{0, 5}, KeyOffsets: []int{0, 5, 9}}, []string{"QueryOffsets has 2", "KeyOffsets 3"}},
		{one, Options{QueryOffsets: []int{}, KeyOffsets: []int{}}, []string{"QueryOffsets has 0"}},
		{one, Options{QueryOffsets: []int{0, 3, 2}, KeyOffsets: []int{0, 5, 9}}, []string{"QueryOffsets[2] is 2", "3 to 5"}},
		{one, Options{QueryOffsets: []int{0, 3, 5}, KeyOffsets: []int{-1, 5, 9}}, []string{"KeyOffsets[0] is -1", "0 to 9"}},
		{one, Options{QueryOffsets: []int{0, 3, 6}, KeyOffsets: []int{0, 5, 9}}, []string{"QueryOffsets[2] is 6", "3 to 5"}},
		{one, Options{QueryOffsets: []int{0, 5}, KeyOffsets: []int{0, 9}, KeyLen: []int{9}}, []string{"KeyLen has 1", "KeyOffsets"}},
		{one, Options{QueryOffsets: []int{0, 5}, KeyOffsets: []int{0, 9}, QueryLen: []int{5}}, []string{"QueryLen 1", "QueryOffsets"}},
		{one, Options{QueryOffsets: []int{0, 5}, KeyOffsets: []int{0, 9}, Start: []int{1, 2}}, []string{"Start has 2", "1 sequences"}},
		{p, Options{Mask: &Mask{Data: make([]bool, 44), QueryStride: 9}}, []string{"Mask.Data has 44", "want 45"}},
		{p, Options{Mask: &Mask{Data: make([]bool, 400), QueryStride: -9}}, []string{"Mask.QueryStride is -9"}},
		{p, Options{Mask: &Mask{Data: make([]bool, 400), HeadStride: -1}}, []string{"Mask.HeadStride is -1"}},
		{p, Options{Mask: &Mask{Data: make([]bool, 400), BatchStride: math.MaxInt, HeadStride: math.MaxInt}}, []string{"Mask.Data has 400", "int"}},
		{p, Options{Mask: &Mask{}}, []string{"Mask.Data has 0", "want 9"}},
		{p, Options{LSE: make([]float32, 41)}, []string{"LSE has 41", "[2][4][5]"}},
		{p, Options{LSE: []float32{}}, []string{"LSE has 0", "[2][4][5]"}},
		{p, Options{SoftCap: -1}, []string{"SoftCap is -1"}},
		{p, Options{SoftCap: nan}, []string{"SoftCap is NaN"}},
		{p, Options{SoftCap: inf}, []string{"SoftCap is +Inf"}},
		{p, Options{SoftCap: 0x1p-126}, []string{"SoftCap is 1.17", "2^-125"}},
		{p, Options{SoftCap: 0x1p126}, []string{"SoftCap is 8.5", "2^125"}},
		{p, Options{ALiBi: []float32{1}}, []string{"ALiBi has 1 elements", "want 4"}},
		{p, Options{ALiBi: []float32{}}, []string{"ALiBi has 0 elements", "want 4"}},
		{p, Options{ALiBi: []float32{1, 1, nan, 1}}, []string{"ALiBi[2] is NaN"}},
		{p, Options{ALiBi: []float32{1, 1, 1, 3e38}}, []string{"ALiBi[3] is 3e+38"}},
		{p, Options{Sinks: []float32{1}}, []string{"Sinks has 1 elements", "want 4"}},
		{p, Options{Sinks: []float32{}}, []string{"Sinks has 0 elements", "want 4"}},
		{p, Options{Sinks: []float32{1, 1, nan, -inf}}, []string{"Sinks[2] is NaN"}},
		{p, Options{Sinks: []float32{1, inf, 1, 1}}, []string{"Sinks[1] is +Inf"}},
		{p, Options{Sinks: []float32{1, 1, -inf, 3e38}}, []string{"Sinks[3] is 3e+38"}},
		{p, Options{Bias: &Bias{}}, []string{"Bias.Data has 0", "want 9"}},
		{p, Options{Bias: &Bias{Data: make([]float32, 44), QueryStride: 9}}, []string{"Bias.Data has 44", "want 45"}},
		{p, Options{Bias: &Bias{Data: make([]float32, 400), BatchStride: -1}}, []string{"Bias.BatchStride is -1"}},
		{p, Options{Bias: &Bias{Data: make([]float32, 400), QueryStride: math.MaxInt}}, []string{"Bias.Data has 400", "int"}},
		{p, Options{Dropout: &Dropout{P: 1}}, []string{"Dropout.P is 1"}},
		{p, Options{Dropout: &Dropout{P: nan}}, []string{"Dropout.P is NaN"}},
		{p, Options{LSE: p.q.Data[:40], Bias: &Bias{Data: p.q.Data}}, []string{"LSE", "Bias.Data"}},
		{p, Options{LSE: p.dst.Data[:40]}, []string{"LSE", "dst.Data"}},
		{p, Options{LSE: p.k.Data[:40]}, []string{"LSE", "k.Data"}},
		{p, Options{Stats: make([]float32, 79)}, []string{"Stats has 79", "[2][4][5][2]"}},
		{p, Options{Stats: make([]float32, 81)}, []string{"Stats has 81", "[2][4][5][2]"}},
		{p, Options{Stats: []float32{}}, []string{"Stats has 0", "[2][4][5][2]"}},
		{p, Options{Stats: p.v.Data[:80]}, []string{"Stats", "v.Data"}},
		{p, Options{Stats: both[:80], LSE: both[79:119]}, []string{"Stats", "LSE"}},
		{&inPlace, Options{Stats: both[:80]}, []string{"dst.Data", "q.Data", "Stats"}},
	} {
		before := append([]float32(nil), c.p.dst.Data...)
		err := Attention(c.p.dst, c.p.q, c.p.k, c.p.v, &c.o)
		require.Error(t, err, "%+v", c.o)
		for _, part := range append(c.want, "attn: ") {
			require.True(t, strings.Contains(err.Error(), part), "%q of %q", part, err)
		}
		asmtest.Equal(t, before, c.p.dst.Data, "dst after %v", err)
		if c.o.LSE == nil && c.o.Stats == nil {
			w := newMatrix(r, 1, 9, 9, asmtest.Normal)
			require.Equal(t, err, AttentionWeights(w, c.p.q, c.p.k, 0, 0, []int{0}, &c.o))
			require.Equal(t, err, AttentionScores(w, c.p.q, c.p.k, 0, 0, []int{0}, StageScores, &c.o), "also of options that come later")
		}
	}
	far := Tensor{Batch: 1, Heads: 1, Len: 1<<30 + 1, Dim: 1}
	require.EqualError(t, (&Options{ALiBi: []float32{1}}).check(&far, &far, 1), "attn: k.Len is 1073741825 with Options.ALiBi, want at most 1073741824")
}

// A key that is hidden never matters, whatever k and v hold there, on any path; where it is visible, its row is
// NaN.
func TestHiddenByOptions(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 40))
	for range trials(120) {
		s := shape{1, 4, 2, pick(r, 1, 3, 8, 20, 50), pick(r, 9, 40, edge+30, 3*edge), 1 + r.IntN(20), 1 + r.IntN(20)}
		p := newProblem(r, s, func() layout { return anyLayout(r) }, asmtest.Normal, randomOptions(r, s))
		want := p.attend(t)
		bad := map[int]bool{}
		for range 1 + r.IntN(5) {
			key := r.IntN(s.lk)
			bad[key] = true
			for head := range s.kvHeads {
				row := rows(p.v)[head*s.lk+key]
				row[r.IntN(len(row))] = pick(r, nan, float32(math.Inf(1)), float32(math.Inf(-1)))
				if r.IntN(2) == 0 {
					rows(p.k)[head*s.lk+key][0] = nan
				}
			}
		}
		got := p.attend(t)
		for n, v := range p.views() {
			touched := false
			for j, sees := range v.sees {
				touched = touched || sees && bad[v.from+j]
			}
			if out := got[n*s.vdim:][:s.vdim]; touched {
				require.False(t, allFinite(out), "row %+v of %v", v, p)
			} else {
				asmtest.Equal(t, want[n*s.vdim:][:s.vdim], out, "row %+v of %v", v, p)
			}
		}
	}
}

func allFinite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// Weights of one member do not list the others, which may be more than memory.
func TestWeightsOfVastBatch(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 40))
	p := newProblem(r, shape{1, 4, 2, 5, 9, 8, 8}, packedLayout, asmtest.Normal, Options{Causal: true, Mask: randomMask(r, shape{1, 4, 2, 5, 9, 8, 8})})
	want := p.weights(t, 0, 3, 4)[0]
	for _, x := range []*Tensor{&p.q, &p.k} {
		*x = explicit(*x)
		x.Batch, x.BatchStride = math.MaxInt/1024, 0
	}
	p.o.Mask.BatchStride = 0
	asmtest.Equal(t, want, p.weights(t, math.MaxInt/1024-1, 3, 4)[0], "the last member")
}

// A bool that unsafe code has set to a byte other than 0 and 1 is true, and touches no other key or lane.
func TestMaskBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 40))
	for _, lq := range []int{1, 5, 16, 40} {
		s := shape{1, 2, 1, lq, edge + 20, 8, 8}
		p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Mask: &Mask{Data: make([]bool, lq*s.lk), QueryStride: s.lk}})
		data := unsafe.Slice((*byte)(unsafe.Pointer(&p.o.Mask.Data[0])), len(p.o.Mask.Data))
		for i := range data {
			data[i] = byte(r.IntN(2))
		}
		want := p.attend(t)
		for i := range data {
			if data[i] != 0 {
				data[i] = byte(1 + r.IntN(255))
			}
		}
		asmtest.Equal(t, want, p.attend(t), "%d queries", lq)
	}
}

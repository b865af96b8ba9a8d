package fuzz

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"

	"github.com/selfattn/attn/generic"
)

// A Case is a call of attention: for each query the values, mixed by the softmax of its scores,
//
//	softmax(edit(Scale * q.k)) . v
//
// All tensors are packed, in row-major order. In sizes 0 is 1 for Batch and Heads, Heads for KVHeads and Dim for VDim.
// What an [Implementation] is given has none of these zeros, and no Scale of 0.
type Case struct {
	Batch, Heads, KVHeads int // query head h has the keys and values of head h / (Heads/KVHeads)
	Queries, Keys         int
	Dim, VDim             int // elements of a query and a key, and of a value

	Q  []float32 // [Batch][Heads][Queries][Dim]
	K  []float32 // [Batch][KVHeads][Keys][Dim]
	V  []float32 // [Batch][KVHeads][Keys][VDim]
	DO []float32 // the gradient of the output, [Batch][Heads][Queries][VDim]; nil if no gradients are asked for

	Scale   float32   // of the scores; 0 is 1/sqrt(Dim)
	SoftCap float32   // scores s become SoftCap * tanh(s/SoftCap); 0 is none
	ALiBi   []float32 // a slope for each head: slope times the distance of query and key is subtracted; nil is none
	Bias    []float32 // is added behind these, [Batch][Heads][Queries][Keys]; -Inf hides a key; nil is none
	Sinks   []float32 // a logit for each head, whose weight mixes nothing; nil is none

	// Dropout drops weights once they are in the denominator, by the numbers of batch member, head and rows of the tensors:
	// Dropout.Drops says which. The log-sum-exp is that without it. nil drops none.
	Dropout *generic.Dropout

	// Query i of a batch member is at position Start + i among the keys.
	Causal                   bool    // a query at position p sees the keys j <= p
	Window                   *Window // and those near p; nil is no limit
	Start                    []int   // one for each member; nil is the number of its keys less that of its queries
	KeyLen, QueryLen         []int   // how many rows of each member exist; nil is all
	QueryOffsets, KeyOffsets []int   // sequences packed into one member: i has rows [o[i], o[i+1]), and positions from 0; nil is none
	Mask                     []bool  // false hides a key, [Batch][Heads][Queries][Keys]; nil hides none
}

// A Window is the keys from p-Left to p+Right of a query at position p. A negative number is no limit.
type Window struct{ Left, Right int }

// resolve returns c without zeros that stand for something else, or an error that names what does not fit.
func (c *Case) resolve() (*Case, error) {
	r := *c
	for _, x := range []struct {
		name string
		size *int
		or   int
	}{{"Batch", &r.Batch, 1}, {"Heads", &r.Heads, 1}, {"KVHeads", &r.KVHeads, max(1, c.Heads)}, {"Dim", &r.Dim, 0}, {"VDim", &r.VDim, c.Dim}} {
		if *x.size == 0 {
			*x.size = x.or
		}
		if *x.size < 1 {
			return nil, fmt.Errorf("attn: Case.%s is %d, want 1 or more", x.name, *x.size)
		}
	}
	if r.Queries < 0 || r.Keys < 0 {
		return nil, fmt.Errorf("attn: Case.Queries is %d and Keys %d, want 0 or more", r.Queries, r.Keys)
	}
	if r.Heads%r.KVHeads != 0 {
		return nil, fmt.Errorf("attn: Case.Heads is %d, want a multiple of KVHeads, %d", r.Heads, r.KVHeads)
	}
	if d := r.Dropout; d != nil && !(d.P >= 0 && d.P < 1) {
		return nil, fmt.Errorf("attn: Case.Dropout.P is %g, want 0 to less than 1", d.P)
	}
	if r.Scale == 0 {
		r.Scale = float32(1 / math.Sqrt(float64(r.Dim)))
	}
	members := r.Batch
	if r.QueryOffsets != nil || r.KeyOffsets != nil {
		members = len(r.QueryOffsets) - 1
		if r.Batch != 1 || r.KeyLen != nil || r.QueryLen != nil || members < 0 || len(r.KeyOffsets) != members+1 {
			return nil, fmt.Errorf("attn: Case.QueryOffsets has %d elements and KeyOffsets %d, want as many, 1 or more, a Batch of 1, and no KeyLen and QueryLen", len(r.QueryOffsets), len(r.KeyOffsets))
		}
	}
	for _, x := range []struct {
		name     string
		have     int // elements
		shape    []int
		required bool
	}{
		{"Q", len(r.Q), []int{r.Batch, r.Heads, r.Queries, r.Dim}, true},
		{"K", len(r.K), []int{r.Batch, r.KVHeads, r.Keys, r.Dim}, true},
		{"V", len(r.V), []int{r.Batch, r.KVHeads, r.Keys, r.VDim}, true},
		{"DO", len(r.DO), []int{r.Batch, r.Heads, r.Queries, r.VDim}, r.DO != nil},
		{"Bias", len(r.Bias), []int{r.Batch, r.Heads, r.Queries, r.Keys}, r.Bias != nil},
		{"Mask", len(r.Mask), []int{r.Batch, r.Heads, r.Queries, r.Keys}, r.Mask != nil},
		{"ALiBi", len(r.ALiBi), []int{r.Heads}, r.ALiBi != nil},
		{"Sinks", len(r.Sinks), []int{r.Heads}, r.Sinks != nil},
		{"Start", len(r.Start), []int{members}, r.Start != nil},
		{"KeyLen", len(r.KeyLen), []int{members}, r.KeyLen != nil},
		{"QueryLen", len(r.QueryLen), []int{members}, r.QueryLen != nil},
	} {
		all := 1
		for _, n := range x.shape {
			if n > 0 && all > math.MaxInt/n {
				return nil, fmt.Errorf("attn: Case.%s is %v: its size overflows int", x.name, x.shape)
			}
			all *= n
		}
		if x.required && x.have != all {
			return nil, fmt.Errorf("attn: Case.%s has %d elements, want %d, %v", x.name, x.have, all, x.shape)
		}
	}
	for _, x := range []struct {
		name   string
		values []int
		lo, hi int
		rising bool
	}{
		{"KeyLen", r.KeyLen, 0, r.Keys, false}, {"QueryLen", r.QueryLen, 0, r.Queries, false},
		{"KeyOffsets", r.KeyOffsets, 0, r.Keys, true}, {"QueryOffsets", r.QueryOffsets, 0, r.Queries, true},
		{"Start", r.Start, -1 << 30, 1 << 30, false},
	} {
		for i, v := range x.values {
			if v < x.lo || v > x.hi {
				return nil, fmt.Errorf("attn: Case.%s[%d] is %d, want %d to %d", x.name, i, v, x.lo, x.hi)
			}
			if x.rising {
				x.lo = v
			}
		}
	}
	return &r, nil
}

// A sequence is the rows of a batch member that see each other: [first, end) of queries and keys, of which only
// some exist, and the position of the first query.
type sequence struct {
	queries, keys [2]int
	exist         int // queries
	start         int
}

// sequences returns those of batch member b of a resolved case.
func (c *Case) sequences(b int) (all []sequence) {
	if c.QueryOffsets != nil {
		for i := range len(c.QueryOffsets) - 1 {
			s := sequence{queries: [2]int(c.QueryOffsets[i : i+2]), keys: [2]int(c.KeyOffsets[i : i+2])}
			s.exist = s.queries[1] - s.queries[0]
			s.start = s.keys[1] - s.keys[0] - s.exist
			if c.Start != nil {
				s.start = c.Start[i]
			}
			all = append(all, s)
		}
		return all
	}
	s := sequence{queries: [2]int{0, c.Queries}, keys: [2]int{0, c.Keys}, exist: c.Queries}
	if c.KeyLen != nil {
		s.keys[1] = c.KeyLen[b]
	}
	if c.QueryLen != nil {
		s.exist = c.QueryLen[b]
	}
	s.start = s.keys[1] - s.exist
	if c.Start != nil {
		s.start = c.Start[b]
	}
	return []sequence{s}
}

// edit returns what is done to the scores of query i of a sequence, with a bias for each of its keys or, if all are 0, none, and
// how many of these it sees.
func (c *Case) edit(b, h int, s sequence, i int) (e *generic.RowEdit, sees int) {
	e = &generic.RowEdit{SoftCap: c.SoftCap, Position: s.start + i, Bias: make([]float32, s.keys[1]-s.keys[0])}
	if c.ALiBi != nil {
		e.Slope = c.ALiBi[h]
	}
	if c.Sinks != nil {
		e.Sink = &c.Sinks[h]
	}
	if c.Dropout != nil {
		drops := c.Dropout.Drops(b, h, s.queries[0]+i)
		e.Drops, e.Keep = func(key int) bool { return drops(s.keys[0] + key) }, c.Dropout.Keep()
	}
	at := ((b*c.Heads+h)*c.Queries+s.queries[0]+i)*c.Keys + s.keys[0]
	for j := range e.Bias {
		distance := int64(j) - int64(e.Position)
		hidden := i >= s.exist || c.Causal && distance > 0 || c.Mask != nil && !c.Mask[at+j]
		if w := c.Window; w != nil {
			hidden = hidden || w.Left >= 0 && distance < -int64(w.Left) || w.Right >= 0 && distance > int64(w.Right)
		}
		if c.Bias != nil {
			e.Bias[j] = c.Bias[at+j]
		}
		if hidden {
			e.Bias[j] = float32(math.Inf(-1))
		}
		if !math.IsInf(float64(e.Bias[j]), -1) {
			sees++
		}
	}
	if sees == len(e.Bias) && c.Bias == nil {
		e.Bias = nil
	}
	return e, sees
}

// A Bounded is a tensor in float64, and how far each element of a float32 result may be from it: +Inf where
// nothing is promised, since errors may be as large as the result or something may overflow.
type Bounded struct{ Want, Bound []float64 }

func bounded(n int) Bounded { return Bounded{make([]float64, n), make([]float64, n)} }

// Worst returns the largest error of got in units of its bound, and of which element that is. It panics if
// the lengths differ.
func (b *Bounded) Worst(got []float32) (ratio float64, at int) {
	if len(got) != len(b.Want) {
		panic(fmt.Sprintf("attn: got has %d elements, want %d", len(got), len(b.Want)))
	}
	for i, x := range got {
		if math.IsInf(b.Bound[i], 1) {
			continue
		}
		if r := Ratio(x, b.Want[i], b.Bound[i]); r > ratio {
			ratio, at = r, i
		}
	}
	return ratio, at
}

// Exact is what a [Case] gives, laid out as its tensors are. Rows of the output that see no key, that do not exist or are in no
// sequence are zeros.
type Exact struct {
	Out Bounded // [Batch][Heads][Queries][VDim]

	// LSE is the log-sum-exp of the scores of each row, the logarithm of what the softmax divides by, the sink
	// included: [Batch][Heads][Queries]. It is -Inf for a row that sees no key and has no sink, and for one that does not exist.
	LSE Bounded

	// Low and High are what no element of the output is below or above, however wrong the scores: the least and the
	// largest value, and the rounding of their mean; infinite where something may overflow.
	Low, High []float64

	DQ, DK, DV            Bounded // the gradients of Q, K and V, empty if DO is nil
	DBias, DALiBi, DSinks Bounded // those of Bias, ALiBi and Sinks, empty if DO or these are nil
}

// Exact returns what c gives, and the bound for what computes it in order o; an error if lengths do not fit.
func (c *Case) Exact(o *Order) (*Exact, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, err
	}
	n := c.Batch * c.Heads * c.Queries * c.VDim
	x := &Exact{Out: bounded(n), LSE: bounded(c.Batch * c.Heads * c.Queries), Low: make([]float64, n), High: make([]float64, n)}
	for i := range x.LSE.Want {
		x.LSE.Want[i] = math.Inf(-1)
	}
	if c.DO != nil {
		x.DQ, x.DK, x.DV = bounded(len(c.Q)), bounded(len(c.K)), bounded(len(c.V))
		x.DBias, x.DALiBi, x.DSinks = bounded(len(c.Bias)), bounded(len(c.ALiBi)), bounded(len(c.Sinks))
	}
	for b := range c.Batch {
		for h := range c.KVHeads {
			for _, s := range c.sequences(b) {
				c.exact(x, o, b, h, s)
			}
		}
	}
	return x, nil
}

// exact is Exact for the queries of a sequence that share a KV head.
func (c *Case) exact(x *Exact, o *Order, b, kvHead int, s sequence) {
	rows := func(x []float32, dim int) [][]float32 {
		first := (b*c.KVHeads+kvHead)*c.Keys + s.keys[0]
		return chunks(x[first*dim:][:(s.keys[1]-s.keys[0])*dim], dim)
	}
	k, v := rows(c.K, c.Dim), rows(c.V, c.VDim)
	group := c.Heads / c.KVHeads
	g := &generic.AttentionGradient{K: k, V: v, Scale: c.Scale}
	if c.Dropout != nil {
		g.Keep = c.Dropout.Keep()
	}
	for h := kvHead * group; h < (kvHead+1)*group; h++ {
		var head []generic.GradientQuery
		for i := range s.queries[1] - s.queries[0] {
			row := (b*c.Heads+h)*c.Queries + s.queries[0] + i
			q := c.Q[row*c.Dim:][:c.Dim]
			e, sees := c.edit(b, h, s, i)
			if c.DO != nil {
				head = append(head, generic.GradientQuery{Q: q, DO: c.DO[row*c.VDim:][:c.VDim], O: make([]float32, c.VDim), Edit: e})
			}
			if i >= s.exist {
				continue
			}
			want, bound, lse, lseBound := o.attention(q, k, v, c.Scale, e)
			x.LSE.Want[row], x.LSE.Bound[row] = lse, lseBound
			if sees == 0 {
				continue
			}
			copy(x.Out.Want[row*c.VDim:], want)
			copy(x.Out.Bound[row*c.VDim:], bound)
			keys, values := k, v
			if e.Bias != nil {
				keys, values, _ = visible(k, v, e)
			}
			lo, hi := o.hull(q, keys, values, c.Scale)
			for col := range lo {
				if e.Sink != nil || e.Drops != nil { // a value of 0
					lo[col], hi[col] = min(lo[col], 0), max(hi[col], 0)
				}
				if e.Drops != nil { // a rounding more, or two
					lo[col], hi[col] = lo[col]/float64(e.Keep)*(1+gamma(3)), hi[col]/float64(e.Keep)*(1+gamma(3))
				}
				// Edited scores may overflow, and so may values that are divided by what is kept.
				if math.IsInf(bound[col], 1) && (c.SoftCap != 0 || c.ALiBi != nil || c.Bias != nil || c.Dropout != nil) {
					lo[col], hi[col] = math.Inf(-1), math.Inf(1)
				}
			}
			copy(x.Low[row*c.VDim:], lo)
			copy(x.High[row*c.VDim:], hi)
		}
		g.Queries = append(g.Queries, head)
	}
	if c.DO == nil {
		return
	}
	r := o.gradient(g, c.Batch*c.Queries*c.Keys)
	add := func(to Bounded, at int, want, bound float64) {
		to.Want[at] += want
		if bound += to.Bound[at]; !r.Trusted || !(math.Abs(to.Want[at])+bound <= math.MaxFloat32) {
			bound = math.Inf(1)
		}
		to.Bound[at] = bound
	}
	put := func(to Bounded, first int, want, bound [][]float64) {
		for i, row := range want {
			for col, y := range row {
				add(to, first+i*len(row)+col, y, bound[i][col])
			}
		}
	}
	first := (b*c.KVHeads+kvHead)*c.Keys + s.keys[0]
	put(x.DK, first*c.Dim, r.DK, r.DKBound)
	put(x.DV, first*c.VDim, r.DV, r.DVBound)
	for i := range group {
		head := kvHead*group + i
		row := (b*c.Heads+head)*c.Queries + s.queries[0]
		put(x.DQ, row*c.Dim, r.DQ[i], r.DQBound[i])
		if c.Bias != nil {
			for n, want := range r.DBias[i] {
				put(x.DBias, (row+n)*c.Keys+s.keys[0], [][]float64{want}, r.DBiasBound[i][n:])
			}
		}
		if c.ALiBi != nil {
			add(x.DALiBi, head, r.DALiBi[i], r.DALiBiBound[i])
		}
		if c.Sinks != nil {
			add(x.DSinks, head, r.DSinks[i], r.DSinksBound[i])
		}
	}
}

// A Deviation is how far an output is from the exact one: the largest over its elements.
type Deviation struct {
	Error, Bound float64 // relative to the largest value, in units of 2^-24
	Ratio        float64 // Error divided by Bound, element by element; at most 1 if the result is right
	InHull       bool    // every element is from Low to High
}

// Measure compares an output of c with the exact one. Where the bound is +Inf Ratio counts nothing. It returns an error if
// lengths do not fit.
func (c *Case) Measure(o *Order, out []float32) (d Deviation, err error) {
	x, err := c.Exact(o)
	if err == nil && len(out) != len(x.Out.Want) {
		err = fmt.Errorf("attn: out has %d elements, want %d", len(out), len(x.Out.Want))
	}
	if err != nil {
		return d, err
	}
	return x.measure(c, out), nil
}

func (x *Exact) measure(c *Case, out []float32) (d Deviation) {
	largest := 0.0
	for _, v := range c.V {
		largest = math.Max(largest, math.Abs(float64(v)))
	}
	d.InHull = true
	for i, got := range out {
		y := float64(got)
		err := math.Abs(y - x.Out.Want[i])
		if y != y {
			err = math.Inf(1)
		}
		d.InHull = d.InHull && x.Low[i] <= y && y <= x.High[i]
		d.Error = math.Max(d.Error, err/(u*largest))
		d.Bound = math.Max(d.Bound, x.Out.Bound[i]/(u*largest))
	}
	d.Ratio, _ = x.Out.Worst(out)
	return d
}

// NewRow draws a case of one query, of n keys, and of 16 elements. Its scores are normal with the standard
// deviation size, and its values uniform in [0, 1): with one sign, so that rounding errors of sums
// show.
func NewRow(seed uint64, n int, size float64) *Case {
	const dim = 16
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	c := &Case{
		Queries: 1, Keys: n, Dim: dim, VDim: dim, Scale: 0.25, // 1/sqrt(16)
		Q: make([]float32, dim), K: make([]float32, n*dim), V: make([]float32, n*dim),
	}
	norm := 0.0
	for i := range c.Q {
		c.Q[i] = float32(r.NormFloat64())
		norm += float64(c.Q[i]) * float64(c.Q[i])
	}
	for i, x := range c.Q {
		c.Q[i] = float32(float64(x) * size / (0.25 * math.Sqrt(norm)))
	}
	for i := range c.K {
		c.K[i] = float32(r.NormFloat64())
	}
	for i := range c.V {
		c.V[i] = r.Float32()
	}
	return c
}

// Ratio returns the error of got divided by its bound. A NaN is infinitely far away.
func Ratio(got float32, want, bound float64) float64 {
	switch {
	case float64(got) == want:
		return 0
	case got != got:
		return math.Inf(1)
	}
	return math.Abs(float64(got)-want) / bound
}

// chunks returns the rows of n elements.
func chunks(x []float32, n int) [][]float32 {
	return slices.AppendSeq(make([][]float32, 0, ceilDiv(len(x), n)), slices.Chunk(x, n))
}

// String returns c as Go code, without what is zero.
func (c *Case) String() string {
	var fields []string
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsZero() {
			text := fmt.Sprintf("%#v", f.Interface())
			if f.Kind() == reflect.Pointer {
				text = fmt.Sprintf("&%#v", f.Elem().Interface())
			}
			text = strings.ReplaceAll(text, "-Inf", "float32(math.Inf(-1))")
			fields = append(fields, v.Type().Field(i).Name+": "+text)
		}
	}
	return "fuzz.Case{" + strings.Join(fields, ", ") + "}"
}

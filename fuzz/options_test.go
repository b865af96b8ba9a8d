package fuzz

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel"
)

func FuzzOptionsArguments(f *testing.F) { fuzzArguments(f, drawOptionsCall) }

// An optionsModel says key by key what options mean, with positions of any size.
type optionsModel struct {
	q, k, v                      kernel.Tensor // resolved
	qRows, kRows, vRows, dstRows [][]float32
	o                            kernel.Options
}

// legal reports whether options fit the shapes.
func (m *optionsModel) legal() bool {
	o, n := &m.o, m.q.Batch
	if !legalOptions(*o) || o.SoftCap != 0 && !(o.SoftCap >= 0x1p-125 && o.SoftCap <= 0x1p125) {
		return false
	}
	if o.QueryOffsets != nil || o.KeyOffsets != nil {
		n = len(o.QueryOffsets) - 1
		if n < 0 || len(o.KeyOffsets) != n+1 || m.q.Batch != 1 || o.KeyLen != nil || o.QueryLen != nil || !rising(o.QueryOffsets, m.q.Len) || !rising(o.KeyOffsets, m.k.Len) {
			return false
		}
	}
	if o.Start != nil && len(o.Start) != 1 && len(o.Start) != n || !within0(o.KeyLen, n, m.k.Len) || !within0(o.QueryLen, n, m.q.Len) {
		return false
	}
	if o.ALiBi != nil && len(o.ALiBi) != m.q.Heads {
		return false
	}
	for _, slope := range o.ALiBi {
		if c := float64(slope) * math.Log2E; !(math.Abs(c) <= math.MaxFloat32) {
			return false
		}
	}
	if o.Sinks != nil && len(o.Sinks) != m.q.Heads {
		return false
	}
	for _, logit := range o.Sinks {
		if c := float64(logit) * math.Log2E; !(c <= math.MaxFloat32) {
			return false
		}
	}
	read := [][][]float32{m.qRows, m.kRows, m.vRows, {o.ALiBi}, {o.Sinks}}
	if b := o.Bias; b != nil {
		if !m.covers(len(b.Data), b.BatchStride, b.HeadStride, b.QueryStride) {
			return false
		}
		for i := range m.q.Batch {
			for h := range m.q.Heads {
				for r := range m.q.Len {
					read = append(read, [][]float32{b.Data[i*b.BatchStride+h*b.HeadStride+r*b.QueryStride:][:m.k.Len]})
				}
			}
		}
	}
	if x := o.Mask; x != nil && !m.covers(len(x.Data), x.BatchStride, x.HeadStride, x.QueryStride) {
		return false
	}
	rows := m.q.Batch * m.q.Heads * m.q.Len
	if o.LSE != nil && len(o.LSE) != rows || o.Stats != nil && len(o.Stats) != 2*rows {
		return false
	}
	same := sameRows(m.dstRows, m.qRows)
	if same && o.Stats == nil {
		read[0] = nil
	}
	return apart(m.dstRows, append(read, [][]float32{o.LSE, o.Stats})...) && apart([][]float32{o.LSE}, append(read, m.qRows, [][]float32{o.Stats})...) &&
		apart([][]float32{o.Stats}, append(read, m.qRows)...)
}

// rising reports whether offsets of so many rows do not decrease.
func rising(offsets []int, rows int) bool {
	least := 0
	for _, x := range offsets {
		if x < least || x > rows {
			return false
		}
		least = x
	}
	return true
}

// within0 reports whether there is a length from 0 to most for each of n members, or none at all.
func within0(lengths []int, n, most int) bool {
	for _, x := range lengths {
		if x < 0 || x > most {
			return false
		}
	}
	return lengths == nil || len(lengths) == n
}

// covers reports whether n elements with the strides have one for each query and key.
func (m *optionsModel) covers(n int, strides ...int) bool {
	last := big.NewInt(int64(m.k.Len))
	for i, size := range [...]int{m.q.Batch, m.q.Heads, m.q.Len} {
		if strides[i] < 0 {
			return false
		}
		last.Add(last, new(big.Int).Mul(big.NewInt(int64(max(0, size-1))), big.NewInt(int64(strides[i]))))
	}
	if m.q.Len == 0 { // nothing is looked up, but sizes are ints
		return last.Cmp(big.NewInt(math.MaxInt)) <= 0
	}
	return last.Cmp(big.NewInt(int64(n))) <= 0
}

// edit returns what is done to the scores of a row with all rows of k, of which its sequence has [from, to): keys that
// are hidden have a bias of -Inf. A row that does not exist has no sink.
func (m *optionsModel) edit(b, h, i int) (e generic.RowEdit, from, to int) {
	o, member, first, queries := &m.o, b, 0, m.q.Len
	to = m.k.Len
	e = generic.RowEdit{SoftCap: o.SoftCap, Bias: make([]float32, m.k.Len)}
	hidden := float32(math.Inf(-1))
	if o.QueryOffsets != nil {
		member = 0
		for member < len(o.QueryOffsets)-1 && !(o.QueryOffsets[member] <= i && i < o.QueryOffsets[member+1]) {
			member++
		}
		if member == len(o.QueryOffsets)-1 { // of no sequence
			for j := range e.Bias {
				e.Bias[j] = hidden
			}
			return e, 0, 0
		}
		first, queries = o.QueryOffsets[member], o.QueryOffsets[member+1]-o.QueryOffsets[member]
		from, to = o.KeyOffsets[member], o.KeyOffsets[member+1]
	}
	if o.QueryLen != nil {
		queries = o.QueryLen[member]
	}
	if o.KeyLen != nil {
		to = o.KeyLen[member]
	}
	start := to - from - queries
	if o.Start != nil {
		start = o.Start[member%len(o.Start)]
	}
	at := new(big.Int).Add(big.NewInt(int64(start)), big.NewInt(int64(i-first)))
	if e.Position = math.MaxInt; at.IsInt64() && at.Int64() <= math.MaxInt {
		e.Position = int(max(math.MinInt, at.Int64()))
	}
	if o.ALiBi != nil {
		e.Slope = o.ALiBi[h]
	}
	if o.Sinks != nil && i-first < queries {
		e.Sink = &o.Sinks[h]
	}
	for j := range e.Bias {
		near := new(big.Int).Sub(big.NewInt(int64(j-from)), at) // how far the key is behind the query
		sees := from <= j && j < to && i-first < queries && (!o.Causal || near.Sign() <= 0)
		if w := o.Window; w != nil {
			sees = sees && (w.Left < 0 || near.Cmp(big.NewInt(-int64(w.Left))) >= 0) && (w.Right < 0 || near.Cmp(big.NewInt(int64(w.Right))) <= 0)
		}
		if x := o.Mask; x != nil {
			sees = sees && x.Data[b*x.BatchStride+h*x.HeadStride+i*x.QueryStride+j]
		}
		if x := o.Bias; x != nil {
			e.Bias[j] = x.Data[b*x.BatchStride+h*x.HeadStride+i*x.QueryStride+j]
		}
		if !sees {
			e.Bias[j] = hidden
		}
	}
	e.Bias = e.Bias[from:]
	return e, from, to
}

// A modelRow is a row by the contract of package generic.
type modelRow struct {
	out, weights []float32
	stages       [kernel.StageWeights][]float32 // scores in natural units
	max, sum     float32
}

func (m *optionsModel) row(b, h, i int) (r modelRow) {
	e, from, to := m.edit(b, h, i)
	scale := m.o.Scale
	if scale == 0 {
		scale = float32(1 / math.Sqrt(float64(m.q.Dim)))
	}
	q := make([]float32, m.q.Dim)
	for c, x := range m.qRows[(b*m.q.Heads+h)*m.q.Len+i] {
		q[c] = x * generic.Log2Scale(scale)
	}
	head := (b*m.k.Heads + h/(m.q.Heads/m.k.Heads)) * m.k.Len
	score := make([]float32, m.k.Len)
	capped := generic.RowEdit{SoftCap: e.SoftCap}
	natural := func(x float32) float32 { return float32(float64(x) * math.Ln2) }
	for j, key := range m.kRows[head:][:m.k.Len] {
		for c, x := range key {
			score[j] = generic.FMA(q[c], x, score[j])
		}
		biased := float32(math.Inf(-1))
		if from <= j && j < to {
			biased = e.Score(score[j], j-from)
		}
		r.stages[kernel.StageScores] = append(r.stages[kernel.StageScores], natural(score[j]))
		r.stages[kernel.StageSoftCap] = append(r.stages[kernel.StageSoftCap], natural(capped.Score(score[j], 0)))
		r.stages[kernel.StageBias] = append(r.stages[kernel.StageBias], natural(biased))
		score[j] = biased
	}
	r.weights, r.out, r.max = make([]float32, m.k.Len), make([]float32, m.v.Dim), float32(math.Inf(-1))
	var sinkSum float32
	sinkMax := r.max
	if e.Sink != nil {
		sinkMax, sinkSum = generic.Sink(*e.Sink)
	}
	maxima := make([]float32, m.k.Len)
	for j := from; j < to; j += generic.TileKeys { // all of one span

		n := min(generic.TileKeys, to-j)
		s := make([]float32, n, n+15)
		copy(s, score[j:])
		max, sum, mix := tile.RowWeights(s), float32(0), make([]float32, m.v.Dim)
		for t, w := range s {
			if e.Bias[j+t-from] == float32(math.Inf(-1)) {
				continue
			}
			sum += w
			r.weights[j+t], maxima[j+t] = w, max
			for c, x := range m.vRows[head+j+t] {
				mix[c] = generic.FMA(w, x, mix[c])
			}
		}
		var before, after float32
		r.max, before, after = generic.Merge(r.max, max)
		r.sum = generic.MergeSum(r.sum, sum, before, after)
		tile.MergeRow(r.out, mix, before, after)
	}
	var before, after float32
	r.max, before, after = generic.Merge(sinkMax, r.max)
	r.sum = generic.MergeSum(sinkSum, r.sum, before, after)
	mix := make([]float32, m.v.Dim)
	tile.MergeRow(mix, r.out, before, after)
	r.out = mix
	tile.Scale(r.out, r.out, tile.Inverse(r.sum))
	for j, w := range r.weights {
		if from <= j && j < to && e.Bias[j-from] != float32(math.Inf(-1)) {
			_, _, b := generic.Merge(r.max, maxima[j])
			r.weights[j] = generic.FMA(w*b, tile.Inverse(r.sum), 0)
		}
	}
	m.plain(&r, e, b, h, i, from, to)
	return r
}

// plain panics unless a row of moderate numbers is what the formulas of the options say in float64.
func (m *optionsModel) plain(r *modelRow, e generic.RowEdit, b, h, i, from, to int) {
	scale := float64(m.o.Scale)
	if scale == 0 {
		scale = 1 / math.Sqrt(float64(m.q.Dim))
	}
	if math.Abs(scale) > 10 {
		return // a product that is next to 0 may have any score
	}
	head := (b*m.k.Heads + h/(m.q.Heads/m.k.Heads)) * m.k.Len
	scores, most := make([]float64, to-from), math.Inf(-1)
	for j := range scores {
		s := 0.0
		for c, x := range m.qRows[(b*m.q.Heads+h)*m.q.Len+i] {
			s += float64(x) * float64(m.kRows[head+from+j][c])
		}
		if s *= scale; e.SoftCap != 0 {
			s = float64(e.SoftCap) * math.Tanh(s/float64(e.SoftCap))
		}
		if e.Slope != 0 {
			s -= float64(e.Slope) * math.Abs(float64(generic.AlibiPosition(e.Position))-float64(j))
		}
		scores[j] = s + float64(e.Bias[j])
		if most = max(most, scores[j]); !(scores[j] < 1000) || scores[j] < -1000 && !math.IsInf(scores[j], -1) {
			return // the weights are not those of moderate numbers
		}
	}
	sum, mix := 0.0, make([]float64, m.v.Dim)
	if e.Sink != nil {
		if !(float64(*e.Sink) < 1000) || *e.Sink < -1000 && *e.Sink > -math.MaxFloat32 {
			return
		}
		most = max(most, float64(*e.Sink))
		sum = math.Exp(float64(*e.Sink) - most)
	}
	for j, s := range scores {
		if w := math.Exp(s - most); w > 0 {
			sum += w
			for c, x := range m.vRows[head+from+j] {
				mix[c] += w * float64(x)
			}
		}
	}
	for c, x := range mix {
		if sum > 0 {
			x /= sum
		}
		if math.Abs(x-float64(r.out[c])) > 1e-3 {
			panic(fmt.Errorf("the contract gives %g for column %d of head %d, query %d, and plain arithmetic %g", r.out[c], c, h, i, x))
		}
	}
}

// bools returns n elements that begin or end at a page that must not be touched.
func (m *memory) bools(n int) []bool {
	x := m.block(max(1, (n+3)/4))
	data := unsafe.Slice((*bool)(unsafe.Pointer(&x[0])), 4*len(x))
	density := m.s.Int(0, 9)
	for i := range data {
		data[i] = m.s.Int(0, 9) <= density
	}
	if m.s.Bool() {
		return data[:n]
	}
	return data[len(data)-n:]
}

// positions draws a number for each of n members, or one for all.
func (s *source) positions(n, most int) (x []int) {
	if s.Bool() {
		n = 1
	}
	for range n {
		if x = append(x, s.Int(-most, 2*most)); s.Int(0, 4) == 0 {
			x[len(x)-1] = s.Wild()
		}
	}
	return x
}

// strides draws those of what has an element for each query and key, of which there are n.
func (s *source) strides(batch, heads, queries, keys int) (b, h, q, n int) {
	n = keys + s.Int(0, 2)
	for _, d := range [...]struct {
		stride *int
		size   int
	}{{&q, queries}, {&h, heads}, {&b, batch}} {
		if s.Bool() {
			*d.stride, n = n, n*max(1, d.size)
		}
	}
	return b, h, q, n
}

// drawAllOptions draws any of the options for a shape, most often some that fit, and what makes them fit less.
func drawAllOptions(m *memory, o *kernel.Options, batch, heads, queries, keys int) (changes []func()) {
	s := m.s
	rarely := func() bool { return s.Int(0, 2) == 0 }
	*o = drawOptions(s)
	// spoils adds changes of an option, one of which is made at times: all options are as likely.
	spoils := func(all ...func()) { changes = append(changes, func() { all[s.Int(0, len(all)-1)]() }) }
	spoils(s.change(&o.Workers), s.changeScale(&o.Scale))
	each := func(x *[]int) {
		all := []func(){func() { *x = []int{} }, func() { *x = append(*x, s.Wild()) }}
		for i := range *x {
			all = append(all, s.change(&(*x)[i]))
		}
		spoils(all...)
	}
	lengths := func(most int) (x []int) {
		for range batch {
			x = append(x, s.Int(0, most))
		}
		return x
	}
	members := batch
	switch s.Int(0, 4) {
	case 0:
		o.KeyLen = lengths(keys)
	case 1:
		o.KeyLen, o.QueryLen = lengths(keys), lengths(queries)
	case 2, 3:
		if s.Int(0, 5) == 0 { // which contradicts
			*[...]*[]int{&o.KeyLen, &o.QueryLen}[s.Int(0, 1)] = lengths(min(queries, keys))
		}
		if batch > 1 && s.Int(0, 3) > 0 {
			break
		}
		members = s.Int(1, 4)
		offsets := func(most int) []int {
			x := []int{s.Int(0, most)}
			for range members {
				x = append(x, s.Int(x[len(x)-1], most))
			}
			return x
		}
		o.QueryOffsets, o.KeyOffsets = offsets(queries), offsets(keys)
	}
	if rarely() {
		o.Start = s.positions(members, keys+1)
	}
	for _, x := range [...]*[]int{&o.KeyLen, &o.QueryLen, &o.QueryOffsets, &o.KeyOffsets, &o.Start} {
		each(x)
	}
	if rarely() {
		o.Window = &kernel.Window{Left: s.Int(-1, keys), Right: s.Int(-1, keys)}
		if s.Int(0, 3) == 0 {
			o.Window.Left, o.Window.Right = s.Wild(), s.Wild()
		}
	}
	if rarely() {
		x := &kernel.Mask{}
		var n int
		x.BatchStride, x.HeadStride, x.QueryStride, n = s.strides(batch, heads, queries, keys)
		x.Data, o.Mask = m.bools(n), x
		spoils(s.change(&x.BatchStride), s.change(&x.HeadStride), s.change(&x.QueryStride), func() { x.Data = x.Data[:max(0, len(x.Data)-s.Int(1, 9))] }, func() { x.Data = nil })
	}
	others := []*[]float32{&m.blocks[0], &o.LSE, &o.Stats, &o.ALiBi}
	if rarely() {
		x := &kernel.Bias{}
		var n int
		x.BatchStride, x.HeadStride, x.QueryStride, n = s.strides(batch, heads, queries, keys)
		x.Data, o.Bias = m.operand(n), x
		for range s.Int(0, 5) {
			if n > 0 {
				x.Data[s.Int(0, n-1)] = [...]float32{float32(math.Inf(-1)), float32(math.Inf(-1)), float32(math.NaN()), float32(math.Inf(1))}[s.Int(0, 3)]
			}
		}
		others = append(others, &x.Data)
		spoils(s.change(&x.BatchStride), s.change(&x.HeadStride), s.change(&x.QueryStride), m.changeData(&x.Data, others...))
	}
	if rarely() {
		o.SoftCap = [...]float32{0.5, 3, 50, 0x1p-125, 0x1p125}[s.Int(0, 4)]
	}
	spoils(func() {
		o.SoftCap = [...]float32{-1, 0x1p-126, 0x1.000002p125, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}[s.Int(0, 5)]
	})
	if rarely() {
		o.ALiBi = m.operand(heads)
		spoils(func() {
			if len(o.ALiBi) > 0 {
				o.ALiBi[0] = [...]float32{2.4e38, float32(math.NaN()), float32(math.Inf(-1))}[s.Int(0, 2)]
			}
		})
	}
	if rarely() {
		o.Sinks = m.operand(heads)
		spoils(func() {
			if len(o.Sinks) > 0 {
				o.Sinks[len(o.Sinks)-1] = [...]float32{2.4e38, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), -1e30}[s.Int(0, 4)]
			}
		})
	}
	if rarely() {
		o.LSE = m.operand(batch * heads * queries)
	}
	if rarely() {
		o.Stats = m.operand(2 * batch * heads * queries)
	}
	for _, x := range [...]*[]float32{&o.ALiBi, &o.Sinks, &o.LSE, &o.Stats} {
		spoils(m.changeData(x, others...), func() { *x = []float32{} })
	}
	if o.LSE != nil && o.Stats != nil {
		spoils(func() { o.LSE = o.Stats[min(len(o.LSE), len(o.Stats)):] })
	}
	return changes
}

// drawOptionsCall draws a call with any options: of Attention, or of AttentionScores for one row.
func drawOptionsCall(t testing.TB, s *source) call {
	m := newMemory(t, s)
	batch, kvHeads, group := s.Int(1, 2), s.Int(1, 2), s.Int(1, 3)
	queries, keys, dim, vdim := s.Size(0, 40, 3, 40), s.Size(0, 300, 9, 40, 300), s.Int(1, 9), s.Int(1, 9)
	heads := kvHeads * group
	model := &optionsModel{}
	q, k, v := m.newOperand(batch, heads, queries, dim, false), m.newOperand(batch, kvHeads, keys, dim, false), m.newOperand(batch, kvHeads, keys, vdim, false)
	dst := m.newOperand(batch, heads, queries, vdim, true)
	if s.Int(0, 9) == 0 {
		dst = q
	}
	o := &model.o
	s.spoil(drawAllOptions(m, o, batch, heads, queries, keys)...)

	var ok [4]bool
	var dst1 kernel.Tensor
	model.q, model.qRows, ok[0] = resolved(q, false)
	model.k, model.kRows, ok[1] = resolved(k, false)
	model.v, model.vRows, ok[2] = resolved(v, false)
	dst1, model.dstRows, ok[3] = resolved(dst, true)
	tensors := ok == [4]bool{true, true, true, true} && dst1.Dim == model.v.Dim && apart(model.dstRows, model.kRows, model.vRows) &&
		(apart(model.dstRows, model.qRows) || sameRows(model.dstRows, model.qRows))
	c := call{memory: m, legal: tensors && model.legal(), args: []any{dst, q, k, v, *o}}
	named := func(err error) error {
		if tensors && err != nil && !strings.Contains(err.Error(), "Options.") {
			panic(fmt.Errorf("an error of options that names none: %w", err))
		}
		return err
	}

	if queries > 0 && s.Int(0, 3) == 0 { // the scores of one row
		b, h, i, stage := s.Int(0, batch-1), s.Int(0, heads-1), s.Int(0, queries-1), kernel.Stage(s.Int(0, int(kernel.StageWeights)))
		out := kernel.Matrix{Rows: 1, Cols: keys, Stride: keys, Data: m.block(keys)}
		// Nothing but out is written: what else is, or only read by later stages, may share its memory.
		model.dstRows, model.vRows = nil, nil
		o.LSE, o.Stats = nil, nil
		c.legal = ok[0] && ok[1] && model.legal()
		tensors = ok[0] && ok[1]
		model.vRows = make([][]float32, len(model.kRows))
		model.v = kernel.Tensor{}
		c.args = append(c.args, b, h, i, stage)
		c.run = func() error { return named(kernel.AttentionScores(out, q, k, b, h, []int{i}, stage, o)) }
		c.expect = func() {
			r := model.row(b, h, i)
			copy(out.Data, append(r.stages[:], r.weights)[stage])
		}
		return c
	}
	c.run = func() error {
		plan, err := kernel.Explain(q, k, v, o)
		if c.legal && err != nil {
			return fmt.Errorf("Explain: %w", err)
		}
		if c.legal && (plan.Masked > plan.Computed || plan.Skipped < 0) {
			panic(fmt.Errorf("Explain: %v", plan))
		}
		return named(kernel.Attention(dst, q, k, v, o))
	}
	c.expect = func() {
		var all []modelRow
		for b := range model.q.Batch {
			for h := range heads {
				for i := range queries {
					all = append(all, model.row(b, h, i))
				}
			}
		}
		for n, r := range all {
			copy(model.dstRows[n], r.out)
			if o.LSE != nil {
				o.LSE[n] = tile.LogSum2(r.max, r.sum)
			}
			if o.Stats != nil {
				o.Stats[2*n], o.Stats[2*n+1] = r.max, r.sum
			}
		}
	}
	return c
}

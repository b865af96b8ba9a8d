package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/selfattn/attn/bench/internal/naive"
	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
)

// errCliffs says that a scan has found cliffs.
var errCliffs = errors.New("there are cliffs")

// A surface is the time of a kernel at every combination of some lengths.
type surface struct {
	name string
	axes []axis
	call func(at []int) quiet.Timer // prepares the call with a length of each axis

	// rival, if not nil, is another way to do the same, and rate what a call may take beside it.
	rival     func(at []int) quiet.Timer
	rivalName string
	rate      allowance
}

type axis struct {
	name    string
	lengths []int // increasing

	// slope, if not nil, is what a call may take beside one that is longer on this axis.
	slope *allowance
}

// An allowance is what a call may take beside another one: so many times its time, and a constant.
type allowance struct {
	times  float64
	beside time.Duration
}

// excess is the time of a call over what it may take beside one of time b: a cliff if it is more than 1.
func (a allowance) excess(t, b float64) float64 { return t / (a.times*b + a.beside.Seconds()) }

var (
	flat    = &allowance{times: 1.05}
	tail    = &allowance{1.05, 20 * time.Nanosecond} // of a vector: what is left over goes another way
	noDelay = allowance{1.05, 100 * time.Nanosecond} // 5% as nothing can be compared more exactly
)

// span returns the numbers from first to last.
func span(first, last int) (x []int) {
	for i := first; i <= last; i++ {
		x = append(x, i)
	}
	return x
}

// surfaces are what is scanned.
func surfaces() []surface {
	dims := axis{"d", []int{4, 8, 12, 16, 20, 24, 32, 48, 64, 80, 96, 128}, flat}
	queries, keys := axis{"n", span(1, 128), flat}, axis{"keys", span(1, 64), flat}
	var all []surface
	for _, causal := range []bool{false, true} {
		all = append(all, surface{
			name: fmt.Sprintf("Attention/causal=%v", causal), axes: []axis{queries, keys, dims},
			call: func(at []int) quiet.Timer { return small(1, at[0], at[1], at[2], causal) },
		})
	}
	for _, heads := range []int{1, 64} {
		all = append(all, surface{
			name: fmt.Sprintf("Attention/heads=%d", heads),
			axes: []axis{{"n", []int{1, 2, 3, 4, 8}, nil}, {"keys", []int{1, 2, 3, 4, 8, 9}, nil}, {"d", dims.lengths, nil}},
			call: func(at []int) quiet.Timer { return small(heads, at[0], at[1], at[2], false) },
			rate: noDelay, rivalName: "plain Go",
			rival: func(at []int) quiet.Timer { return smallNaive(heads, at[0], at[1], at[2]) },
		})
	}
	all = append(all, surface{
		name: "Attention/causal=true/NaN in the first key",
		axes: []axis{{"n", []int{16, 32, 33, 64, 128, 256, 512}, nil}, {"d", []int{16, 64, 128}, nil}},
		call: func(at []int) quiet.Timer { return spoiled(at[0], at[1], float32(math.NaN())) },
		rate: allowance{times: 1.3}, rivalName: "without it",
		rival: func(at []int) quiet.Timer { return spoiled(at[0], at[1], 0) },
	})

	n := axis{"n", span(1, 64), tail}
	vector := func(name string, ours, plain func(dst, x []float32)) {
		on := func(f func(dst, x []float32)) func(at []int) quiet.Timer {
			return func(at []int) quiet.Timer {
				dst, x := operand(0, at[0]), operand(1, at[0])
				return repeat(func() { f(dst, x) })
			}
		}
		all = append(all, surface{name: name, axes: []axis{n}, call: on(ours), rival: on(plain), rivalName: "plain Go", rate: noDelay})
	}
	var sum float32
	vector("Dot", func(x, y []float32) { sum += kernel.Dot(x, y) }, func(x, y []float32) { sum += naive.Dot(x, y) })
	vector("Exp", kernel.Exp, naive.Exp)
	vector("Softmax", kernel.Softmax, naive.Softmax)
	vector("LogSumExp", func(_, x []float32) { sum += kernel.LogSumExp(x) }, func(_, x []float32) { sum += naive.LogSumExp(x) })
	softmaxRows := func(f func(dst, x []float32, cols int)) func(at []int) quiet.Timer {
		return func(at []int) quiet.Timer {
			dst, x := operand(0, at[0]*at[1]), operand(1, at[0]*at[1])
			return repeat(func() { f(dst, x, at[1]) })
		}
	}
	all = append(all, surface{
		name: "SoftmaxRows", axes: []axis{{"rows", []int{16, 256}, nil}, {"cols", span(1, 64), nil}},
		call: softmaxRows(kernel.SoftmaxRows), rate: noDelay, rivalName: "plain Go",
		rival: softmaxRows(func(dst, x []float32, cols int) {
			for ; len(x) > 0; dst, x = dst[cols:], x[cols:] {
				naive.Softmax(dst[:cols], x[:cols])
			}
		}),
	})

	product := func(at []int) (c, a, b kernel.Matrix) {
		view := func(i, rows, cols int) kernel.Matrix {
			return kernel.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: operand(i, rows*cols)}
		}
		return view(0, at[0], at[2]), view(1, at[0], at[1]), view(2, at[1], at[2])
	}
	return append(all, surface{
		name: "MatMul", rate: noDelay, rivalName: "plain Go",
		axes: []axis{
			{"m", span(1, 64), flat}, {"k", []int{1, 4, 16, 64, 256}, nil},
			{"n", []int{1, 4, 8, 15, 16, 17, 31, 32, 48, 64, 100, 256}, nil},
		},
		call: func(at []int) quiet.Timer {
			c, a, b := product(at)
			return repeat(func() { selected.matMul(c, a, b, 1) })
		},
		rival: func(at []int) quiet.Timer {
			c, a, b := product(at)
			return repeat(func() { naive.MatMul(c.Data, a.Data, b.Data, a.Rows, a.Cols, b.Cols) })
		},
	})
}

// operands are the memory that all calls work on.
var operands [4][]float32

// operand returns n elements of the operand i, of which 0 is written.
func operand(i, n int) []float32 {
	if len(operands[i]) < n {
		operands[i] = random(n, uint64(i))
	}
	return operands[i][:n:n]
}

// small is attention of packed tensors on the calling goroutine.
func small(heads, n, keys, d int, causal bool) quiet.Timer {
	view := func(i, n int) kernel.Tensor {
		return kernel.Tensor{Data: operand(i, heads*n*d), Batch: 1, Heads: heads, Len: n, Dim: d}
	}
	dst, q, k, v, o := view(0, n), view(1, n), view(2, keys), view(3, keys), &kernel.Options{Causal: causal, Workers: 1}
	return repeat(func() { selected.step(dst, q, k, v, o) })
}

func smallNaive(heads, n, keys, d int) quiet.Timer {
	size := heads * n * d
	dst, q, k, v := operand(0, size), operand(1, size), operand(2, heads*keys*d), operand(3, heads*keys*d)
	weights := make([]float32, keys)
	return repeat(func() {
		for h := range heads {
			from, to, first, last := h*n*d, (h+1)*n*d, h*keys*d, (h+1)*keys*d
			naive.AttentionIn(weights, dst[from:to], q[from:to], k[first:last], v[first:last], d, false)
		}
	})
}

// spoiled is causal attention whose first key holds x.
func spoiled(n, d int, x float32) quiet.Timer {
	t := packed(1, n, d, 1)
	k, dst := t, t
	k.Data, dst.Data = slices.Clone(t.Data), make([]float32, len(t.Data))
	k.Data[0] = x
	o := &kernel.Options{Causal: true, Workers: 1}
	return repeat(func() { selected.step(dst, t, k, t, o) })
}

// A cliff is a call that takes longer than it may.
type cliff struct {
	surface string
	at      []int
	axis    int   // on which a longer call is faster, or -1
	faster  []int // that call, or nil beside a rival
	times   float64
	excess  float64 // of its time over what is allowed
	seconds float64
	like    int // it, and what seems to be a cliff at the same length
}

// A scanner looks for cliffs.
type scanner struct {
	passes int // over a surface, before what seems to be a cliff is measured again
	rounds int // of that
	sample time.Duration
	all    bool // report each cliff, not one of each length
}

func runCliffs(args []string, stdout, stderr io.Writer) error {
	o := newOptions("bench cliffs", stderr)
	each := o.Bool("all", false, "confirm and list each cliff, not one of each length: minutes")
	if err := o.Parse(args); err != nil {
		return err
	}
	filter, err := regexp.Compile(*o.pattern)
	if err != nil {
		return err
	}
	s := scanner{passes: 3, rounds: 25, sample: 20 * time.Microsecond}
	chosen := slices.DeleteFunc(surfaces(), func(f surface) bool { return !filter.MatchString(f.name) })
	if len(chosen) == 0 {
		return fmt.Errorf("no scan matches %q", *o.pattern)
	}
	if *o.quick {
		s = scanner{passes: 1, rounds: 3, sample: 5 * time.Microsecond}
		for i := range chosen {
			for j, a := range chosen[i].axes {
				chosen[i].axes[j].lengths = thin(a.lengths, 5)
			}
		}
	}
	s.all = *each
	cliffs, points := s.scan(chosen, stderr)
	fmt.Fprintf(stdout, "%s: %d calls, %d cliffs\n", kernel.Backend(), points, len(cliffs))
	if len(cliffs) > 0 {
		writeRows(stdout, cliffRows(chosen, cliffs))
	}
	if len(cliffs) > 0 && !*o.quick { // of which a moment's noise must fail nothing
		return errCliffs
	}
	return nil
}

// thin returns n of the lengths at most, the first and the last among them.
func thin(lengths []int, n int) (some []int) {
	n = min(n, len(lengths))
	for i := range n {
		some = append(some, lengths[i*(len(lengths)-1)/max(1, n-1)])
	}
	return some
}

// scan returns the cliffs of surfaces, and how many calls were looked at.
func (s scanner) scan(all []surface, log io.Writer) (cliffs []cliff, points int) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	p := newProgress(log, len(all)*(s.passes+1))
	for _, f := range all {
		runtime.GC()
		n := f.size()
		points += n
		times, rivals := make([]float64, n), make([]float64, n)
		for pass := range s.passes {
			p.step(fmt.Sprintf("%s: %d calls, pass %d", f.name, n, pass+1))
			least := func(t *float64, run quiet.Timer) {
				if x := s.time(run, s.repetitions(run)); pass == 0 || x < *t {
					*t = x
				}
			}
			for i := range n {
				least(&times[i], f.call(f.at(i)))
				if f.rival != nil {
					least(&rivals[i], f.rival(f.at(i)))
				}
			}
		}
		suspects := f.suspects(times, rivals)
		p.step(fmt.Sprintf("%s: %d seem to be cliffs", f.name, len(suspects)))
		// The likeliest first, until one of its kind is confirmed.
		slices.SortStableFunc(suspects, func(a, b cliff) int { return -cmp.Compare(a.excess, b.excess) })
		like, done := map[[2]int]int{}, map[[2]int]bool{}
		for _, c := range suspects {
			like[c.kind()]++
		}
		for _, c := range suspects {
			if c.like = like[c.kind()]; (s.all || !done[c.kind()]) && s.confirm(f, &c) {
				cliffs = append(cliffs, c)
				done[c.kind()] = true
			}
		}
	}
	p.end()
	return cliffs, points
}

// kind is the axis of c and its length there, which cliffs often have in common.
func (c cliff) kind() [2]int {
	if c.axis < 0 {
		return [2]int{-1, c.at[len(c.at)-1]}
	}
	return [2]int{c.axis, c.at[c.axis]}
}

func (f surface) size() int {
	n := 1
	for _, a := range f.axes {
		n *= len(a.lengths)
	}
	return n
}

// at returns the lengths of call i. The last axis is the fastest.
func (f surface) at(i int) []int {
	at := make([]int, len(f.axes))
	for j, a := range slices.Backward(f.axes) {
		at[j] = a.lengths[i%len(a.lengths)]
		i /= len(a.lengths)
	}
	return at
}

// suspects are what cliffs the times suggest: for each call and axis the longer call that takes the least.
func (f surface) suspects(times, rivals []float64) (all []cliff) {
	for i, t := range times {
		at := f.at(i)
		if f.rival != nil {
			if x := f.rate.excess(t, rivals[i]); x > 1 {
				all = append(all, cliff{surface: f.name, at: at, axis: -1, seconds: t, excess: x})
			}
		}
		step := 1
		for j, a := range slices.Backward(f.axes) {
			best := i
			for n, k := slices.Index(a.lengths, at[j])+1, i+step; n < len(a.lengths); n, k = n+1, k+step {
				if times[k] < times[best] {
					best = k
				}
			}
			if a.slope != nil && a.slope.excess(t, times[best]) > 1 {
				x := a.slope.excess(t, times[best])
				all = append(all, cliff{surface: f.name, at: at, axis: j, faster: f.at(best), seconds: t, excess: x})
			}
			step *= len(a.lengths)
		}
	}
	return all
}

// confirm measures both calls of c in turns, twice, and says whether it is a cliff each time.
func (s scanner) confirm(f surface, c *cliff) bool {
	allowed, other := f.rate, f.rival
	if c.axis >= 0 {
		allowed, other = *f.axes[c.axis].slope, func([]int) quiet.Timer { return f.call(c.faster) }
	}
	a, b := f.call(c.at), other(c.at)
	reps := max(s.repetitions(a), s.repetitions(b))
	for range 2 {
		var times, excess []float64
		for range s.rounds {
			x, y := s.time(a, reps), s.time(b, reps)
			times, excess = append(times, x/y), append(excess, allowed.excess(x, y))
		}
		c.times, c.excess = quiet.Summarize(times).Median, quiet.Summarize(excess).Median
		if !(c.excess > 1) {
			return false
		}
	}
	return true
}

// repetitions of a call take at least the time of a sample.
func (s scanner) repetitions(run quiet.Timer) int {
	reps := 1
	for s.time(run, reps)*float64(reps) < s.sample.Seconds() && reps < 1<<20 {
		reps *= 2
	}
	return reps
}

// time returns the seconds of a call, after one that brings its operands to the caches and its branches to
// the predictors.
func (s scanner) time(run quiet.Timer, reps int) float64 {
	run(1)
	return run(reps) / float64(reps)
}

// cliffRows are a table of cliffs, the worst of each surface and axis first.
func cliffRows(all []surface, cliffs []cliff) [][]string {
	surface := func(c cliff) int {
		return slices.IndexFunc(all, func(f surface) bool { return f.name == c.surface })
	}
	slices.SortStableFunc(cliffs, func(a, b cliff) int {
		return cmp.Or(surface(a)-surface(b), a.axis-b.axis, -cmp.Compare(a.excess, b.excess))
	})
	rows := [][]string{{"kernel", "call", "ns", "beside", "times as long", "like it"}}
	for _, c := range cliffs {
		f := all[surface(c)]
		beside := f.rivalName
		if c.axis >= 0 {
			beside = f.describe(c.faster, c.axis)
		}
		rows = append(rows, []string{c.surface, f.describe(c.at, -1), fmt.Sprintf("%.4g", c.seconds*1e9), beside,
			fmt.Sprintf("%.2f", c.times), fmt.Sprint(c.like)})
	}
	return rows
}

// describe names the lengths of a call, or that of one axis.
func (f surface) describe(at []int, only int) string {
	var parts []string
	for j, a := range f.axes {
		if only < 0 || only == j {
			parts = append(parts, fmt.Sprintf("%s=%d", a.name, at[j]))
		}
	}
	return strings.Join(parts, " ")
}

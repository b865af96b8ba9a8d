package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/kernel"
)

const (
	affordable = 0.6e9 // the most flops of a call that plain Go can be asked for again and again
	brief      = 0.1e9 // the most of a smoke test
)

// A benchmark is a kernel at one shape.
type benchmark struct {
	kernel  string
	shape   string // keys of benchstat: n=512/d=64
	workers int
	flops   float64 // of a call
	bytes   float64 // that a call reads, if reading is its limit, else 0
	traffic float64 // bytes that a call has to read or write once, at least
	unit    unit
	elems   int // that the unit perElem divides by
	target  target
	peers   bool // whether other libraries run it too

	// setup makes the operands and prepares i to work on them, on the benchmark's workers or on one.
	setup func(i impl, workers int) (job, error)
}

// A job is a benchmark that is ready to run.
type job struct {
	run  quiet.Timer
	read []float32 // the memory whose reading is the limit, or nil
	out  []float32 // what run computes, or nil

	// check returns the largest error of some elements of a result, as a fraction of what rounding can
	// explain: of the bound that package fuzz computes. It is nil if out is.
	check func(out []float32) float64

	digest uint64 // of what another process computed, or 0
}

func (b benchmark) name() string { return b.kernel + "/" + b.shape }

// sampled is what jobs of b do, for package quiet to time.
func (b benchmark) sampled(jobs []job) quiet.Work {
	w := quiet.Work{Amount: b.work(), Workers: b.workers, Read: jobs[0].read, Flops: b.flops}
	for _, j := range jobs {
		w.Runs = append(w.Runs, j.run)
	}
	return w
}

// work is what a call does, in what its limit counts.
func (b benchmark) work() float64 {
	if b.bytes > 0 {
		return b.bytes
	}
	return b.flops
}

// speed converts a rate, of work a second, to the unit of b.
func (b benchmark) speed(rate float64) float64 {
	switch b.unit {
	case perElem:
		return b.work() / rate / float64(b.elems) * 1e9
	case perCall:
		return b.work() / rate * 1e9
	case gflops:
		rate *= b.flops / b.work()
	}
	return rate / 1e9
}

type unit string

const (
	gflops  unit = "GFLOP/s"
	gbytes  unit = "GB/s"
	perElem unit = "ns/elem"
	perCall unit = "ns"
)

// A target is what a benchmark must reach. The zero value is none.
type target struct {
	Of    quantity `json:"of,omitempty"`
	Value float64  `json:"value,omitempty"`
}

type quantity string

const (
	fraction quantity = "fraction" // of the limit, at least
	speedUp  quantity = "speed-up" // over one worker, at least
	nanosecs quantity = "ns"       // a call, at most
)

// benchmarks are all that the processors of this process can run, in the order of the table. On
// Zen 4 the target of long attention is higher.
func benchmarks(zen4 bool) []benchmark {
	processors := runtime.GOMAXPROCS(0)
	var all []benchmark
	all = append(all,
		dot(64, target{nanosecs, 10}),
		dot(1024, target{}),
		dot(3072, target{fraction, 0.90}),
		dot(1<<14, target{fraction, 0.90}),
		dot(1<<24, target{fraction, 0.90}),

		// An exponential is counted by the slots of the multipliers that it takes, 2 flops each in the
		// peak loop: 7 FMAs and 3 products, or 2 in softmax, whose results are at most 1. The
		// targets are 0.45 and 0.80 ns at a peak of 100 GFLOP/s.
		row("Exp", 20, target{fraction, 20 / 45.}, func(i impl, dst, x []float32) { i.exp(dst, x) }),
		// At most 0.60 ns for GELU at a peak of 118 GFLOP/s.
		row("GELU", 50, target{fraction, 50 / 70.8}, func(i impl, dst, x []float32) { i.gelu(dst, x) }),
		row("GELUTanh", 30, target{}, func(i impl, dst, x []float32) { i.geluTanh(dst, x) }),
		row("SiLU", 20, target{}, func(i impl, dst, x []float32) { i.silu(dst, x) }),
		row("Softmax", 18, target{fraction, 18 / 80.}, func(i impl, dst, x []float32) { i.softmax(dst, x) }),
		row("LogSumExp", 18, target{}, func(i impl, _, x []float32) { runtime.KeepAlive(i.logSumExp(x)) }),
		// At most 0.35 ns.
		norm("LayerNorm", func(i impl, dst, x kernel.Matrix, gain, bias []float32) { i.layerNorm(dst, x, gain, bias) }),
		norm("RMSNorm", func(i impl, dst, x kernel.Matrix, gain, _ []float32) { i.rmsNorm(dst, x, gain) }),
	)
	all = append(all, matMul(256, 1, target{}), matMul(256, 2, target{}))
	for _, n := range []int{512, 1024, 2048} {
		all = append(all, matMul(n, 1, target{fraction, 0.90}), matMul(n, 2, target{}))
	}
	for _, kn := range weightShapes {
		for _, rows := range weightRows {
			all = append(all, product(kn[0], kn[1], rows, kernel.Float32, 1))
		}
	}
	for _, typ := range []kernel.Type{kernel.Float16, kernel.BFloat16, kernel.Int8} {
		for _, kn := range [][2]int{{384, 1536}, {4096, 4096}} {
			for _, rows := range []int{1, 16} {
				all = append(all, product(kn[0], kn[1], rows, typ, 1))
			}
		}
	}
	for _, s := range sharedWeights {
		all = append(all, product(s[0], s[1], s[2], kernel.Float32, 2))
	}
	twice := target{speedUp, 1.85}
	for _, causal := range []bool{false, true} {
		for _, n := range []int{128, 512, 2048} {
			for _, d := range []int{64, 128} {
				one := target{fraction, 0.85}
				switch {
				case causal && n < 512:
					one = target{}
				case !causal && n >= 512 && zen4:
					one.Value = 0.90
				case !causal && n >= 512:
					one.Value = 0.88
				}
				all = append(all, prefill(1, n, d, causal, 1, one), prefill(1, n, d, causal, 2, twice))
			}
		}
	}
	for _, d := range []int{64, 128} {
		all = append(all, prefill(8, 512, d, false, 2, twice))
	}

	// What charts show: the length, the dimension, the workers.
	for _, n := range []int{256, 1024, 4096, 8192} {
		for _, causal := range []bool{false, true} {
			all = append(all, prefill(1, n, 64, causal, 1, target{}))
		}
	}
	for _, d := range []int{32, 48, 64, 80, 96, 128, 192, 256} {
		all = append(all, prefill(8, 512, d, false, 1, target{}))
	}
	for workers := 1; workers <= processors; workers *= 2 {
		all = append(all, prefill(8, 2048, 64, false, workers, target{}))
	}
	all = append(all, prefill(8, 2048, 64, false, processors, target{}))

	for _, keys := range []int{4096, 16384} {
		for _, d := range []int{64, 128} {
			for _, group := range []int{1, 4} {
				var goal target
				if keys == 16384 && d == 128 {
					goal = target{fraction, map[int]float64{1: 0.90, 4: 0.75}[group]}
				}
				all = append(all, decode(keys, d, group, 1, 1, packedKV, goal), decode(keys, d, group, 1, 2, packedKV, goal))
			}
		}
	}
	for _, keys := range []int{1024, 65536, 131072} {
		for _, group := range []int{1, 4, 8} {
			all = append(all, decode(keys, 128, group, 1, 1, packedKV, target{}))
		}
	}
	for _, group := range []int{1, 4} {
		for _, keys := range []int{1024, 16384} {
			all = append(all, decode(keys, 128, group, 1, 1, tokenKV, target{}))
		}
	}
	for _, queries := range []int{2, 4, 8} {
		all = append(all, decode(4096, 128, 1, queries, 1, packedKV, target{}))
	}
	for _, workers := range []int{1, 2} {
		all = append(all, generate(512, 128, 8, 4, workers))
		for _, packed := range []bool{false, true} {
			all = append(all, layer(1, 1024, 8, workers, packed), layer(128, 256, 4, workers, packed), layer(512, 512, 8, workers, packed))
		}
	}

	for _, c := range cacheCases {
		for typ := range typeNames {
			all = append(all, cached(c.keys, c.group, c.page, c.workers, kernel.Type(typ)))
		}
	}
	for typ := range typeNames[:kernel.Int8] {
		all = append(all, halves(2048, 2048, kernel.Type(typ)), halves(1, 16384, kernel.Type(typ)))
	}

	all = append(all, optionCases()...)
	all = append(all, gradients(zen4)...)

	// What other libraries do too, on one worker and on all.
	peers := func(b benchmark) {
		b.peers = true
		if i := slices.IndexFunc(all, func(a benchmark) bool { return a.name() == b.name() }); i >= 0 {
			all[i].peers = true
		} else {
			all = append(all, b)
		}
	}
	for _, workers := range []int{1, processors} {
		for _, n := range []int{128, 512, 2048, 8192} {
			heads := 8
			if n == 8192 {
				heads = 2
			}
			for _, causal := range []bool{false, true} {
				for _, d := range []int{64, 128} {
					peers(prefill(heads, n, d, causal, workers, target{}))
				}
			}
		}
		for _, d := range []int{64, 128} {
			for _, group := range []int{1, 4} {
				peers(decode(16384, d, group, 1, workers, packedKV, target{}))
			}
		}
		peers(matMul(512, workers, target{}))
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(b benchmark) bool {
		drop := b.workers > processors || seen[b.name()]
		seen[b.name()] = true
		return drop
	})
}

func dot(n int, goal target) benchmark {
	b := benchmark{kernel: "Dot", shape: fmt.Sprintf("n=%d", n), workers: 1, unit: gbytes, target: goal, peers: true}
	b.flops, b.bytes, b.traffic = 2*float64(n), 8*float64(n), 8*float64(n)
	if goal.Of == nanosecs {
		b.unit = perCall
	}
	b.setup = func(i impl, _ int) (job, error) {
		xy := random(2*n, 1)
		run := func(reps int) { runtime.KeepAlive(i.dot(reps, xy[:n], xy[n:])) }
		return job{run: quiet.Timed(run), read: xy}, nil
	}
	return b
}

// row is a kernel of exponentials over a row that is in L1 with its result.
func row(name string, flops int, goal target, call func(i impl, dst, x []float32)) benchmark {
	const n = 2048
	b := benchmark{kernel: name, workers: 1, unit: perElem, elems: n, target: goal, peers: slices.Contains([]string{"Exp", "Softmax", "LogSumExp"}, name)}
	b.shape = fmt.Sprintf("n=%d", n)
	b.flops, b.traffic = float64(flops*n), 8*n
	b.setup = func(i impl, _ int) (job, error) {
		dst, x := make([]float32, n), random(n, 1)
		return job{run: repeat(func() { call(i, dst, x) })}, nil
	}
	return b
}

// norm normalizes rows that are in L1 with its result. An element is counted as 12 flops.
func norm(name string, call func(i impl, dst, x kernel.Matrix, gain, bias []float32)) benchmark {
	const rows, n, flops = 4, 384, 12
	b := benchmark{kernel: name, workers: 1, unit: perElem, elems: rows * n, target: target{fraction, flops / (0.35 * 118)}}
	b.shape = fmt.Sprintf("n=%d", n)
	b.flops, b.traffic = flops*rows*n, 8*rows*n
	b.setup = func(i impl, _ int) (job, error) {
		dst, x, gain, bias := matrix(rows, n, 1), matrix(rows, n, 2), random(n, 3), random(n, 4)
		return job{run: repeat(func() { call(i, dst, x, gain, bias) })}, nil
	}
	return b
}

// The products of transformers: terms and columns of weights, and the rows that meet them.
var (
	weightShapes = [][2]int{{384, 384}, {384, 1536}, {1536, 384}, {576, 1536}, {768, 3072}, {4096, 4096}}
	weightRows   = []int{1, 2, 4, 8, 16, 17, 32, 128, 512}

	// Terms, columns and rows of those that two workers share.
	sharedWeights = [][3]int{{1024, 4096, 1}, {4096, 4096, 1}, {384, 1536, 17}, {384, 1536, 128}, {768, 3072, 128}}
)

// product multiplies rows by weights, which are constant. Its limit is that of computing, or that of reading the
// weights from where they are if that takes longer.
func product(terms, columns, rows int, typ kernel.Type, workers int) benchmark {
	b := benchmark{kernel: "MatMulPacked", workers: workers, unit: gflops, peers: typ == kernel.Float32}
	b.shape = fmt.Sprintf("k=%d/n=%d/m=%d/workers=%d", terms, columns, rows, workers)
	size := 4
	if typ != kernel.Float32 {
		b.shape += "/type=" + []string{kernel.Float16: "f16", kernel.BFloat16: "bf16", kernel.Int8: "i8"}[typ]
		size = map[kernel.Type]int{kernel.Float16: 2, kernel.BFloat16: 2, kernel.Int8: 1}[typ]
	}
	b.flops, b.bytes = 2*float64(rows)*float64(terms)*float64(columns), float64(size*terms*columns)
	b.traffic = b.bytes + 4*float64(rows*(terms+columns))
	switch fits := 4*terms*columns < 16<<20; {
	case workers > 1:
		b.target = target{speedUp, 1.9}
	case rows >= 16 && fits:
		b.target = target{fraction, 0.95}
	default:
		b.target = target{fraction, 0.85}
	}
	b.setup = func(i impl, workers int) (job, error) {
		c, x, w := matrix(rows, columns, 1), matrix(rows, terms, 2), matrix(terms, columns, 3)
		run, err := i.product(c, x, w, typ, workers)
		check := func(out []float32) (worst float64) {
			column := make([]float32, terms)
			for _, e := range []int{0, columns - 1, rows*columns/2 + columns/3, rows*columns - 1} {
				for p := range column {
					column[p] = w.Data[p*columns+e%columns]
				}
				roundTo(typ, column)
				want, bound := fuzz.Chain(x.Data[e/columns*terms:][:terms], column)
				worst = max(worst, math.Abs(float64(out[e])-want)/bound)
			}
			return worst
		}
		return job{run: run, read: w.Data[:size*terms*columns/4], out: c.Data, check: check}, err
	}
	return b
}

// roundTo rounds a column of weights to a type.
func roundTo(typ kernel.Type, column []float32) {
	halves, bytes := make([]uint16, len(column)), make([]int8, len(column))
	switch typ {
	case kernel.Float16:
		kernel.ToFloat16(halves, column)
		kernel.FromFloat16(column, halves)
	case kernel.BFloat16:
		kernel.ToBFloat16(halves, column)
		kernel.FromBFloat16(column, halves)
	case kernel.Int8:
		kernel.Dequantize(column, bytes, kernel.Quantize(bytes, column))
	}
}

func matMul(n, workers int, goal target) benchmark {
	b := benchmark{kernel: "MatMul", workers: workers, unit: gflops, target: goal}
	b.shape = fmt.Sprintf("n=%d/workers=%d", n, workers)
	b.flops, b.traffic = 2*float64(n)*float64(n)*float64(n), 12*float64(n)*float64(n)
	b.setup = func(i impl, workers int) (job, error) {
		c, x, y := matrix(n, n, 1), matrix(n, n, 2), matrix(n, n, 3)
		check := func(out []float32) (worst float64) {
			column := make([]float32, n)
			for _, e := range []int{0, n - 1, n*n/2 + n/3, n*n - 1} {
				for p := range column {
					column[p] = y.Data[p*n+e%n]
				}
				want, bound := fuzz.Chain(x.Data[e/n*n:][:n], column)
				worst = max(worst, math.Abs(float64(out[e])-want)/bound)
			}
			return worst
		}
		return job{run: repeat(func() { i.matMul(c, x, y, workers) }), out: c.Data, check: check}, nil
	}
	return b
}

// prefill is attention of n queries with as many keys. Of one long head 128 queries are timed, so that a call is
// shorter than most disturbances.
func prefill(heads, n, d int, causal bool, workers int, goal target) benchmark {
	b := benchmark{kernel: "Attention", workers: workers, unit: gflops, target: goal}
	b.shape = fmt.Sprintf("n=%d/d=%d/heads=%d/causal=%v/workers=%d", n, d, heads, causal, workers)
	pairs := n * n // of a query and a key that it sees
	if causal {
		pairs = n * (n + 1) / 2
	}
	queries := n
	if n >= 2048 && workers == 1 && !causal && heads == 1 {
		queries = 128
		pairs = queries * n
		b.shape += fmt.Sprintf("/queries=%d", queries)
	}
	b.flops = 4 * float64(heads*pairs*d)
	b.traffic = 8 * float64(heads*d*(queries+n))
	b.setup = func(i impl, workers int) (job, error) {
		q, k, v := packed(heads, queries, d, 1), packed(heads, n, d, 2), packed(heads, n, d, 3)
		return i.attend(q, k, v, &kernel.Options{Causal: causal, Workers: workers})
	}
	return b
}

// cacheLayout is the order of the keys and values that are decoded.
type cacheLayout string

const (
	packedKV cacheLayout = "packed" // [Heads][Len][Dim]
	tokenKV  cacheLayout = "tokens" // [Len][Heads][Dim]
)

// decode is attention of one query in each of group query heads on each of 8 KV heads, or of several causal ones
// at the end of the keys, as when guessed tokens are verified.
func decode(keys, d, group, queries, workers int, cache cacheLayout, goal target) benchmark {
	const heads = 8
	b := benchmark{kernel: "Decode", workers: workers, unit: gbytes, target: goal}
	b.shape = fmt.Sprintf("kv=%d/d=%d/heads=%d/group=%d/workers=%d", keys, d, heads*group, group, workers)
	pairs := queries*keys - queries*(queries-1)/2 // of a query and a key that it sees
	if queries > 1 {
		b.shape += fmt.Sprintf("/queries=%d", queries)
	}
	if cache != packedKV {
		b.shape += fmt.Sprintf("/cache=%s", cache)
	}
	b.flops = 4 * float64(pairs*d*heads*group)
	b.bytes = 8 * float64(keys*d*heads)
	b.traffic = b.bytes + 8*float64(heads*group*queries*d)
	b.setup = func(i impl, workers int) (job, error) {
		size := keys * d * heads
		kv := random(2*size, 2)
		k := kernel.Tensor{Data: kv[:size], Batch: 1, Heads: heads, Len: keys, Dim: d}
		if cache == tokenKV {
			k.LenStride, k.HeadStride, k.BatchStride = heads*d, d, size
		}
		v := k
		v.Data = kv[size:]
		j, err := i.attend(packed(heads*group, queries, d, 1), k, v, &kernel.Options{Causal: queries > 1, Workers: workers})
		j.read = kv
		return j, err
	}
	return b
}

// typeNames are the types of package kernel.
var typeNames = []string{kernel.Float32: "float32", kernel.Float16: "float16", kernel.BFloat16: "bfloat16", kernel.Int8: "int8"}

// cacheCases are the contexts, groups of query heads, pages and workers of decoding from a cache, of every type.
var cacheCases = func() (all []struct{ keys, group, page, workers int }) {
	add := func(keys, page, workers int, groups ...int) {
		for _, group := range groups {
			all = append(all, struct{ keys, group, page, workers int }{keys, group, page, workers})
		}
	}
	for _, keys := range []int{1024, 4096, 16384, 131072} {
		add(keys, 128, 1, 1, 4, 8)
	}
	add(16384, 16, 1, 1, 4, 8)
	add(16384, 128, 2, 1, 4)
	return all
}()

// cached is decoding from a cache, of 8 KV heads of 128, whose pages were taken at random. Bytes are those that are stored. Other
// libraries, which have no pages, keep all keys of a head, and all values, one behind the other.
func cached(keys, group, page, workers int, typ kernel.Type) benchmark {
	const heads, d = 8, 128
	b := benchmark{kernel: "Cache", workers: workers, unit: gbytes}
	b.shape = fmt.Sprintf("kv=%d/d=%d/heads=%d/group=%d/page=%d/workers=%d/type=%s", keys, d, heads*group, group, page, workers, typeNames[typ])
	b.flops = 4 * float64(keys*d*heads*group)
	b.bytes = 2 * float64(keys*heads) * [...]float64{4 * d, 2 * d, 2 * d, d + 4}[typ]
	b.traffic = b.bytes + 8*float64(heads*group*d)
	b.peers = keys == 16384 && page == 128 && group <= 4
	b.setup = func(i impl, workers int) (job, error) {
		// Others have a page each, and release them in a random order, so that one is free at a time.
		c, err := kernel.NewCache(kernel.CacheConfig{KVHeads: heads, Dim: d, Tokens: keys, PageTokens: page, Type: typ})
		if err != nil {
			return job{}, err
		}
		var some [8]kernel.Tensor // pages of keys and values
		for j := range some {
			some[j] = packed(heads, page, d, uint64(j))
		}
		others := make([]*kernel.Sequence, keys/page)
		for j := range others {
			others[j] = c.NewSequence()
			must(others[j].Append(some[0], some[0]))
		}
		s := c.NewSequence()
		order := rand.New(rand.NewPCG(1, 2)).Perm(len(others))
		for _, j := range order {
			others[j].Release()
			must(s.Append(some[j%4], some[4+j%4]))
		}
		seqs := []*kernel.Sequence{s}
		q, dst := packed(heads*group, 1, d, 1), packed(heads*group, 1, d, 1)
		o := &kernel.Options{Workers: workers}
		// Types are not the same in all libraries, nor are scales: ggml adds up values in float16.
		tolerance := rounding
		if typ != kernel.Float32 {
			tolerance = 1. / 64
		}
		check := near(tolerance, func() []float32 {
			ours := packed(heads*group, 1, d, 1)
			selected.cache(c, ours, q, seqs, o)
			return ours.Data
		})
		j := job{read: random(int(b.bytes)/4, 9), out: dst.Data, check: check}
		if i.kept == nil {
			j.run = repeat(func() { i.cache(c, dst, q, seqs, o) })
			return j, nil
		}
		k, v := packed(heads, keys, d, 1), packed(heads, keys, d, 1)
		for n := range keys / page {
			for h := range heads {
				to, from := (h*keys+n*page)*d, h*page*d
				copy(k.Data[to:], some[order[n]%4].Data[from:][:page*d])
				copy(v.Data[to:], some[4+order[n]%4].Data[from:][:page*d])
			}
		}
		j.run, err = i.kept(dst, q, k, v, typ, o)
		return j, err
	}
	return b
}

// halves is attention on one worker over keys and values [Len][Heads][Dim] of 8 heads of 128 that are stored as typ.
func halves(queries, keys int, typ kernel.Type) benchmark {
	const heads, d = 8, 128
	b := benchmark{kernel: "Half", workers: 1, unit: gflops}
	b.shape = fmt.Sprintf("queries=%d/kv=%d/d=%d/heads=%d/type=%s", queries, keys, d, heads, typeNames[typ])
	b.flops = 4 * float64(queries*keys*d*heads)
	size := 4.0
	if typ != kernel.Float32 {
		size = 2
	}
	b.traffic = 2*float64(keys*d*heads)*size + 8*float64(heads*queries*d)
	if queries == 1 {
		b.unit, b.bytes = gbytes, 2*float64(keys*d*heads)*size
	}
	b.setup = func(i impl, workers int) (j job, err error) {
		if b.bytes > 0 {
			j.read = random(int(b.bytes)/4, 9)
		}
		q, dst, o := packed(heads, queries, d, 1), packed(heads, queries, d, 1), &kernel.Options{Workers: workers}
		k, v := packed(heads, keys, d, 2), packed(heads, keys, d, 3)
		for _, t := range []*kernel.Tensor{&k, &v} {
			t.LenStride, t.HeadStride, t.BatchStride = heads*d, d, keys*heads*d
		}
		if typ == kernel.Float32 {
			j.run = repeat(func() { i.step(dst, q, k, v, o) })
			return j, nil
		}
		half := func(t kernel.Tensor) kernel.HalfTensor {
			h := kernel.HalfTensor{Type: typ, Data: make([]uint16, len(t.Data)), Batch: 1, Heads: heads, Len: keys, Dim: d,
				LenStride: t.LenStride, HeadStride: t.HeadStride, BatchStride: t.BatchStride}
			if typ == kernel.Float16 {
				kernel.ToFloat16(h.Data, t.Data)
			} else {
				kernel.ToBFloat16(h.Data, t.Data)
			}
			return h
		}
		hk, hv := half(k), half(v)
		j.run = repeat(func() { i.half(dst, q, hk, hv, o) })
		return j, nil
	}
	return b
}

// generate decodes n tokens one after the other, each of which is appended to the cache of keys and
// values first. The cache has room for twice as many: its heads do not follow one another.
func generate(n, d, heads, group, workers int) benchmark {
	b := benchmark{kernel: "Generate", workers: workers, unit: gflops}
	b.shape = fmt.Sprintf("n=%d/d=%d/heads=%d/group=%d/workers=%d", n, d, heads, group, workers)
	b.flops = 4 * float64(n*(n+1)/2*d*heads)
	b.traffic = 8 * float64(n*d*(heads/group)+n*d*heads)
	b.setup = func(i impl, workers int) (job, error) {
		kvHeads, room := heads/group, 2*n*d
		q, news := packed(heads, 1, d, 1), random(2*kvHeads*d, 2)
		cache := random(2*kvHeads*room, 3)
		view := func(x []float32) kernel.Tensor {
			return kernel.Tensor{Data: x, Batch: 1, Heads: kvHeads, Dim: d,
				LenStride: d, HeadStride: room, BatchStride: kvHeads * room}
		}
		k, v := view(cache[:kvHeads*room]), view(cache[kvHeads*room:])
		dst := packed(heads, 1, d, 1)
		o := &kernel.Options{Workers: workers}
		return job{run: repeat(func() {
			for t := range n {
				for h := range kvHeads {
					copy(k.Data[h*room+t*d:][:d], news[h*d:])
					copy(v.Data[h*room+t*d:][:d], news[(kvHeads+h)*d:])
				}
				k.Len, v.Len = t+1, t+1
				i.step(dst, q, k, v, o)
			}
		})}, nil
	}
	return b
}

// layer is self-attention with its four projections.
func layer(tokens, model, heads, workers int, packed bool) benchmark {
	b := benchmark{kernel: "SelfAttention", workers: workers, unit: gflops}
	b.shape = fmt.Sprintf("tokens=%d/model=%d/heads=%d/workers=%d", tokens, model, heads, workers)
	if packed {
		b.shape += "/packed=true"
	}
	b.flops = 8*float64(tokens*model*model) + 4*float64(tokens*tokens*model)
	b.traffic = 4 * float64(4*model*model+2*tokens*model)
	b.setup = func(i impl, workers int) (job, error) {
		w := func(seed uint64) kernel.Matrix { return matrix(model, model, seed) }
		l := &kernel.SelfAttention{Heads: heads, WQ: w(1), WK: w(2), WV: w(3), WO: w(4)}
		if packed {
			must(l.Pack(nil))
		}
		dst, x := matrix(tokens, model, 5), matrix(tokens, model, 6)
		o := &kernel.Options{Workers: workers}
		return job{run: repeat(func() { i.layer(l, dst, x, o) })}, nil
	}
	return b
}

func repeat(f func()) quiet.Timer {
	return quiet.Timed(func(reps int) {
		for range reps {
			f()
		}
	})
}

func packed(heads, n, d int, seed uint64) kernel.Tensor {
	return kernel.Tensor{Data: random(heads*n*d, seed), Batch: 1, Heads: heads, Len: n, Dim: d}
}

func matrix(rows, cols int, seed uint64) kernel.Matrix {
	m := kernel.Matrix{Rows: rows, Cols: cols, Stride: cols, Data: random(rows*cols, seed)}
	for i := range m.Data { // as trained weights are: scores stay moderate
		m.Data[i] /= 16
	}
	return m
}

// random returns n normal values, the same ones again after a prime number of them: making them must
// not take longer than the benchmark, and no two rows should be alike.
func random(n int, seed uint64) []float32 {
	const period = 65521
	r := rand.New(rand.NewPCG(1, seed))
	x := make([]float32, n)
	hugePages(x)
	for i := range min(n, period) {
		x[i] = float32(r.NormFloat64())
	}
	for i := period; i < n; i *= 2 {
		copy(x[i:], x[:i])
	}
	return x
}

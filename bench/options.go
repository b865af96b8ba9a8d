package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/selfattn/attn/kernel"
)

// What an option costs is measured against attention without it, in turns: the implementation named plain runs what
// an option is compared with, and the lead over it is how much of its speed is left.

// plain is attention without the option.
func plain() impl { return impl{name: "plain", parallel: true, options: selected.step} }

// optionCases are the benchmarks of each option.
func optionCases() (all []benchmark) {
	for _, d := range []int{64, 128} {
		for _, n := range []int{512, 2048} {
			for _, queries := range []int{min(n, 512), 1} {
				names := []string{"mask", "true", "keys", "bias", "biaskeys", "alibi", "cap"}
				if queries == 1 {
					names = []string{"keys", "window", "alibi"}
				}
				for _, name := range names {
					all = append(all, option(name, n, queries, d))
				}
			}
		}
	}
	return append(all, windowed(8192, 256, 64), sentences(64, 12, 32), mixed(64, 12, 32))
}

// option is attention of some of n queries with n keys. Others do those with a mask or a bias of full shape too.
func option(name string, n, queries, d int) benchmark {
	heads := 1
	if queries == 1 {
		heads = 8
	}
	b := benchmark{kernel: "Options", shape: fmt.Sprintf("option=%s/n=%d/d=%d/queries=%d", name, n, d, queries), workers: 1, unit: gflops}
	b.flops = 4 * float64(heads*queries*n*d)
	b.traffic = 8 * float64(heads*d*(queries+n))
	b.peers = queries > 1 && (name == "mask" || name == "bias")
	b.setup = func(i impl, workers int) (job, error) {
		o := kernel.Options{Workers: workers}
		if i.name != plain().name {
			set(&o, name, n, queries, heads)
		}
		q, k, v := packed(heads, queries, d, 1), packed(heads, n, d, 2), packed(heads, n, d, 3)
		dst := packed(heads, queries, d, 4)
		if i.name == plain().name {
			return job{run: repeat(func() { i.options(dst, q, k, v, &o) })}, nil
		}
		check := near(rounding, func() []float32 {
			ours := packed(heads, queries, d, 4)
			selected.options(ours, q, k, v, &o)
			return ours.Data
		})
		if i.masked != nil {
			run, err := i.masked(dst, q, k, v, &o)
			return job{run: run, out: dst.Data, check: check}, err
		}
		return job{run: repeat(func() { i.options(dst, q, k, v, &o) }), out: dst.Data, check: check}, nil
	}
	return b
}

// set sets an option for some of n queries of each head. Nine of ten keys are visible, but where all are.
func set(o *kernel.Options, name string, n, queries, heads int) {
	mask := make([]bool, queries*n)
	for i, x := range random(len(mask), 5) {
		mask[i] = x < 1.28
	}
	switch name {
	case "mask":
		o.Mask = &kernel.Mask{Data: mask, QueryStride: n}
	case "true":
		for i := range mask {
			mask[i] = true
		}
		o.Mask = &kernel.Mask{Data: mask, QueryStride: n}
	case "keys":
		o.Mask = &kernel.Mask{Data: mask[:n]}
	case "bias":
		o.Bias = &kernel.Bias{Data: random(queries*n, 6), QueryStride: n}
	case "biaskeys":
		o.Bias = &kernel.Bias{Data: random(n, 6)}
	case "alibi":
		o.ALiBi = make([]float32, heads)
		for h := range o.ALiBi {
			o.ALiBi[h] = 0.01
		}
	case "cap":
		o.SoftCap = 30
	case "window": // of all keys
		o.Window = &kernel.Window{Left: n, Right: -1}
	}
}

// windowed is a causal window, compared with as many queries that see as many keys as the window and what is cut off
// beside it: those between the first key of the first query of a panel and the last one of the last.
func windowed(n, window, d int) benchmark {
	seen := window + 31
	b := benchmark{kernel: "Options", shape: fmt.Sprintf("option=windowed/n=%d/d=%d/window=%d", n, d, window), workers: 1, unit: gflops}
	b.flops = 4 * float64(n*seen*d)
	b.traffic = 16 * float64(n*d)
	b.setup = func(i impl, workers int) (job, error) {
		o := kernel.Options{Workers: workers}
		q, k, v := packed(1, n, d, 1), packed(1, n, d, 2), packed(1, n, d, 3)
		if i.name == plain().name {
			k, v = packed(1, seen, d, 2), packed(1, seen, d, 3)
		} else {
			o.Causal, o.Window = true, &kernel.Window{Left: window - 1, Right: -1}
		}
		dst := packed(1, n, d, 4)
		return job{run: repeat(func() { i.options(dst, q, k, v, &o) })}, nil
	}
	return b
}

// sentenceLengths are those of many sentences of 5 to 60 tokens, which follow each other in no order.
func sentenceLengths(count int) (lengths []int) {
	for i := range count {
		lengths = append(lengths, 5+i*55/(count-1))
	}
	rand.New(rand.NewPCG(1, 3)).Shuffle(count, func(i, j int) { lengths[i], lengths[j] = lengths[j], lengths[i] })
	return lengths
}

// tokens is x with tokens of the heads side by side, [Batch][Len][Heads][Dim].
func tokens(batch, heads, n, d int, seed uint64) kernel.Tensor {
	x := packed(batch*heads, n, d, seed)
	x.Batch, x.Heads, x.LenStride, x.HeadStride, x.BatchStride = batch, heads, heads*d, d, n*heads*d
	return x
}

// pack returns attention of packed sentences of some lengths.
func pack(i impl, lengths []int, heads, d, workers int) func() {
	offsets := []int{0}
	for _, n := range lengths {
		offsets = append(offsets, offsets[len(offsets)-1]+n)
	}
	n := offsets[len(lengths)]
	q, k, v, dst := tokens(1, heads, n, d, 1), tokens(1, heads, n, d, 2), tokens(1, heads, n, d, 3), tokens(1, heads, n, d, 4)
	o := kernel.Options{Workers: workers, QueryOffsets: offsets, KeyOffsets: offsets}
	return func() { i.options(dst, q, k, v, &o) }
}

// sentences are packed, compared with as many that are padded to the longest, with a mask of keys.
func sentences(count, heads, d int) benchmark {
	lengths, all, pairs := sentenceLengths(count), 0, 0
	for _, n := range lengths {
		all, pairs = all+n, pairs+n*n
	}
	b := benchmark{kernel: "Options", shape: fmt.Sprintf("option=packed/sentences=%d/heads=%d/d=%d", count, heads, d), workers: 1, unit: gflops}
	b.flops = 4 * float64(pairs*heads*d)
	b.traffic = 16 * float64(all*heads*d)
	b.setup = func(i impl, workers int) (job, error) {
		if i.name != plain().name {
			return job{run: repeat(pack(i, lengths, heads, d, workers))}, nil
		}
		most := slices.Max(lengths)
		mask := make([]bool, count*most)
		for s, n := range lengths {
			for j := range n {
				mask[s*most+j] = true
			}
		}
		o := kernel.Options{Workers: workers, Mask: &kernel.Mask{Data: mask, BatchStride: most}}
		x := func(seed uint64) kernel.Tensor { return tokens(count, heads, most, d, seed) }
		q, k, v, dst := x(1), x(2), x(3), x(4)
		return job{run: repeat(func() { i.options(dst, q, k, v, &o) })}, nil
	}
	return b
}

// mixed are sentences that are packed, compared with batches of equal ones, some for each length: what packing different lengths
// together costs.
func mixed(count, heads, d int) benchmark {
	const equal = 8
	b := sentences(count, heads, d)
	b.shape = strings.Replace(b.shape, "packed", "mixed", 1)
	b.flops *= equal
	b.traffic *= equal
	b.setup = func(i impl, workers int) (job, error) {
		lengths := sentenceLengths(count)
		batches := slices.Repeat([]func(){pack(i, lengths, heads, d, workers)}, equal)
		if i.name == plain().name {
			batches = nil
			for _, n := range lengths {
				batches = append(batches, pack(i, slices.Repeat([]int{n}, equal), heads, d, workers))
			}
		}
		return job{run: repeat(func() {
			for _, run := range batches {
				run()
			}
		})}, nil
	}
	return b
}

// losses is what each option takes from plain attention, or gives.
func (rep report) losses() (t table) {
	t.caption = "Options: speed in turns with attention without them (windowed: with as many keys; packed: with padded sentences; mixed: with sentences of equal lengths)"
	t.rows = [][]string{{"option", "shape", "of plain", "loss"}}
	for _, r := range rep.Results {
		if r.Impl == plain().name {
			_, shape, _ := strings.Cut(r.Shape, "/")
			t.rows = append(t.rows, []string{r.key("option"), strings.ReplaceAll(shape, "/", " "), fmt.Sprintf("%.3fx", r.Lead.Median), fmt.Sprintf("%.1f%%", 100*(1/r.Lead.Median-1))})
		}
	}
	return t
}

package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/selfattn/attn/asm/limit"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// A speedPlan says what to time and for how long.
type speedPlan struct {
	sizes   []int
	dim     int
	sample  time.Duration // for each implementation and size, or one call if that takes longer
	longest time.Duration // a call expected to take longer is left out
}

// A problem is one head: rows queries, all n of them or a block, against n keys and values, all random.
type problem struct {
	rows, n, d int
	q, k, v    []float32
}

func newProblem(n, d int) problem {
	r := rand.New(rand.NewPCG(1, 2))
	normal := func() []float32 {
		x := make([]float32, n*d)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	return problem{n, n, d, normal(), normal(), normal()}
}

// block returns the problem of at most rows queries from first on.
func (p problem) block(first, rows int) problem {
	p.rows = min(rows, p.n-first)
	p.q = p.q[first*p.d:][:p.rows*p.d]
	return p
}

func (p problem) flops() float64 { return 4 * float64(p.rows) * float64(p.n) * float64(p.d) }

func (p problem) scale() float32 { return float32(1 / math.Sqrt(float64(p.d))) }

// naive is attention as a first version in Go would be: all scores, their
// softmax, the mix, three plain loops each.
func naive(dst []float32, p problem) error {
	rows, n, d := p.rows, p.n, p.d
	scores := make([]float32, rows*n)
	for i := range rows {
		for j := range n {
			var sum float32
			for c := range d {
				sum += p.q[i*d+c] * p.k[j*d+c]
			}
			scores[i*n+j] = sum * p.scale()
		}
	}
	for i := range rows {
		row := scores[i*n:][:n]
		largest := slices.Max(row)
		var sum float32
		for j, s := range row {
			row[j] = float32(math.Exp(float64(s - largest)))
			sum += row[j]
		}
		for j := range row {
			row[j] /= sum
		}
	}
	clear(dst)
	for i := range rows {
		for j := range n {
			for c := range d {
				dst[i*d+c] += scores[i*n+j] * p.v[j*d+c]
			}
		}
	}
	return nil
}

// reference is package generic, which is written to be read.
func reference(dst []float32, p problem) error {
	for i := range p.rows {
		generic.AttentionRow(dst[i*p.d:][:p.d], p.q[i*p.d:][:p.d], p.k, p.v, p.n, p.d, p.d, p.scale())
	}
	return nil
}

// backend is package kernel on one core.
func backend(dst []float32, p problem) error {
	view := func(x []float32, rows int) kernel.Tensor {
		return kernel.Tensor{Data: x, Batch: 1, Heads: 1, Len: rows, Dim: p.d}
	}
	return kernel.Attention(view(dst, p.rows), view(p.q, p.rows), view(p.k, p.n), view(p.v, p.n), &kernel.Options{Workers: 1})
}

// A contestant is an implementation of attention.
type contestant struct {
	name    string
	run     func(dst []float32, p problem) error
	rows    int     // queries of a call
	perFlop float64 // seconds that a flop took last
}

// run times every implementation at every size and prints a table.
func (s speedPlan) run(w, progress io.Writer) error {
	contestants := []*contestant{
		{name: "naive Go", run: naive, rows: math.MaxInt}, // the whole N x N
		{name: "package generic", run: reference, rows: 16},
		{name: "kernel, " + kernel.Backend(), run: backend, rows: 128},
	}
	fmt.Fprintf(w, "SPEED OF ONE HEAD, d = %d, on one core: GFLOP/s (share of the FMA peak at that moment)\n\n", s.dim)
	fmt.Fprintf(w, "  %6s", "N")
	for _, c := range contestants {
		fmt.Fprintf(w, "%22s", c.name)
	}
	fmt.Fprintf(w, "%22s\n", "max |naive - kernel|")

	peaks := []float64{peak()}
	var skipped []string
	for _, c := range contestants {
		// The first call fills caches and pools, and says how long the others take.
		p := newProblem(64, s.dim)
		dst := make([]float32, len(p.q))
		for range 2 {
			start := time.Now()
			if err := c.run(dst, p); err != nil {
				return err
			}
			c.perFlop = time.Since(start).Seconds() / p.flops()
		}
	}
	for _, n := range s.sizes {
		p := newProblem(n, s.dim)
		outs := make([][]float32, len(contestants))
		line := fmt.Sprintf("  %6d", n)
		for i, c := range contestants {
			if expected := c.perFlop * p.flops(); expected > s.longest.Seconds() {
				line += fmt.Sprintf("%22s", "-")
				skipped = append(skipped, fmt.Sprintf("%s at N = %d, about %.0f s", c.name, n, expected))
				continue
			}
			report(progress, fmt.Sprintf("timing %s, N = %d", c.name, n))
			outs[i] = make([]float32, len(p.q))
			rates, ratios, peak, err := s.time(c, outs[i], p)
			if err != nil {
				return err
			}
			peaks = append(peaks, peak...)
			line += fmt.Sprintf("%13s (%5.1f%%)", digits(median(rates)/1e9), 100*median(ratios))
		}
		report(progress, "")
		difference, err := compare(outs[0], outs[1], outs[2])
		if err != nil {
			return fmt.Errorf("at N = %d: %w", n, err)
		}
		fmt.Fprintf(w, "%s%22s\n", line, difference)
	}

	fmt.Fprintf(w, "\n  Flops are 4*N*N*d. Medians of %v or more; each call stands between two samples of the peak.\n", s.sample)
	fmt.Fprintf(w, "  A call takes all queries in naive Go, up to 16 in generic and 128 in kernel, against all N keys.\n")
	slices.Sort(peaks)
	fmt.Fprintf(w, "  The peak itself: median %.1f GFLOP/s, 10th to 90th percentile %.1f to %.1f.\n",
		median(peaks)/1e9, peaks[len(peaks)/10]/1e9, peaks[len(peaks)*9/10]/1e9)
	if kernel.Backend() == "generic" {
		fmt.Fprintf(w, "  No machine code was selected here: the peak is that of multiplications and additions in plain Go.\n")
	}
	for _, text := range skipped {
		fmt.Fprintf(w, "  - left out, as a call would take over %v: %s.\n", s.longest, text)
	}
	return nil
}

// time computes the whole problem, and goes on for the time of a sample, in short turns: some
// calls of c, each a block of queries, then the peak. rates and peaks are flops a second.
func (s speedPlan) time(c *contestant, dst []float32, p problem) (rates, ratios, peaks []float64, err error) {
	peaks = append(peaks, peak())
	first := 0
	for begin := time.Now(); first < p.n || time.Since(begin) < s.sample; {
		// A short call is repeated for about as long as a sample of the peak.
		block := p.block(first%p.n, c.rows)
		calls := max(1, int(peakSample.Seconds()/(c.perFlop*block.flops())))
		start := time.Now()
		for range calls {
			if err := c.run(dst[first%p.n*p.d:][:len(block.q)], block); err != nil {
				return nil, nil, nil, err
			}
		}
		rate := float64(calls) * block.flops() / time.Since(start).Seconds()
		before := peaks[len(peaks)-1]
		peaks = append(peaks, peak())
		rates = append(rates, rate)
		ratios = append(ratios, 2*rate/(before+peaks[len(peaks)-1]))
		first += block.rows
	}
	c.perFlop = 1 / median(rates)
	return rates, ratios, peaks, nil
}

const peakSample = 300 * time.Microsecond

// peak measures the most multiply-adds that a core does now, in flops a second.
func peak() float64 {
	flops, start := 0, time.Now()
	for time.Since(start) < peakSample {
		flops += limit.FMA()
	}
	return float64(flops) / time.Since(start).Seconds()
}

// compare checks the results of one problem, those that there are: generic and the backend have
// the same bits, and naive rounds differently but not by much. It returns the largest difference of the latter.
func compare(naive, generic, backend []float32) (difference string, err error) {
	if generic != nil && backend != nil {
		if err := sameBits(backend, generic); err != nil {
			return "", err
		}
	}
	if naive == nil || backend == nil {
		return "-", nil
	}
	var most float64
	for i := range naive {
		most = max(most, math.Abs(float64(naive[i])-float64(backend[i])))
	}
	// Outputs are mixes of values of about 1; the rounding of a hundred
	// scores of that size and of thousands of additions stays far below this.
	const tolerance = 1e-5
	if !(most < tolerance) {
		return "", fmt.Errorf("naive Go and %s differ by %g, want less than %g", kernel.Backend(), most, tolerance)
	}
	return fmt.Sprintf("%.1e", most), nil
}

// report replaces the line of progress on a terminal, and appends a line elsewhere.
func report(w io.Writer, text string) {
	if isTerminal(w) {
		fmt.Fprintf(w, "\r\x1b[K%s", text)
	} else if text != "" {
		fmt.Fprintln(w, text)
	}
}

// digits formats a rate with three significant digits, or one decimal if that is more.
func digits(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.1f", x)
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

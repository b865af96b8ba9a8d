package main

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

// Every benchmark that -quick keeps prints a fraction of its limit. On a busy machine a limit can be
// missed by far, so what is out of range is measured again; what is wrong stays out of range.
func TestQuick(t *testing.T) {
	want := map[string]bool{}
	for _, b := range benchmarks(false) {
		if b.flops <= brief {
			want[b.name()] = true
		}
	}
	require.Greater(t, len(want), 20)
	pattern := ""
	for try := 0; len(want) > 0; try++ {
		require.Less(t, try, 10, "fractions out of range: %v", want)
		var out bytes.Buffer
		require.NoError(t, run([]string{"-quick", "-json", "-run", pattern}, &out, io.Discard))
		var rep report
		require.NoError(t, json.Unmarshal(out.Bytes(), &rep))
		require.Equal(t, kernel.Backend(), rep.Machine.Backend)
		require.Positive(t, rep.Machine.Peak[0])
		require.Positive(t, rep.Machine.Read[0])
		require.Len(t, rep.Results, len(want))
		var again []string
		for _, r := range rep.Results {
			name := r.Kernel + "/" + r.Shape
			require.Contains(t, want, name)
			require.Positive(t, r.Speed, name)
			require.GreaterOrEqual(t, r.All.N, r.Quiet.N, name)
			most := 1.2
			if r.Unit == gbytes { // two streams, as of Dot, get up to a third more from memory than plain reading
				most = 1.9
			}
			inRange := func(s quiet.Summary) bool { return s.Median > 0 && s.Median < most }
			if inRange(r.All) && (r.Quiet.N == 0 || inRange(r.Quiet)) {
				delete(want, name)
			} else {
				again = append(again, regexp.QuoteMeta(name))
			}
		}
		pattern = "^(" + strings.Join(again, "|") + ")$"
	}
}

func TestTable(t *testing.T) {
	var out, progress bytes.Buffer
	require.NoError(t, run([]string{"-quick", "-run", "^Exp/|^Dot/n=64$"}, &out, &progress))
	require.Equal(t, "[1/2] Dot/n=64\n[2/2] Exp/n=2048\n", progress.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 6, out.String())
	require.Contains(t, lines[0], "backend "+kernel.Backend())
	require.Regexp(t, `^one worker: FMA peak [\d.]+ GFLOP/s`, lines[1])
	require.Regexp(t, `^kernel +shape +speed +quiet \(IQR\) +all \(IQR\) +quiet of +speed-up +target`, lines[3])
	require.Regexp(t, `^Dot +n=64 +[\d.e+]+ ns +.*\d\.\d{3} \(\d\.\d{3}\) +\d+/\d+`, lines[4])
	require.Regexp(t, `^Exp +n=2048 +[\d.e+]+ ns/elem +.*\d\.\d{3} \(\d\.\d{3}\) +\d+/\d+`, lines[5])
}

func TestFlags(t *testing.T) {
	require.Error(t, run([]string{"-run", "("}, io.Discard, io.Discard))
	require.Error(t, run([]string{"-nonsense"}, io.Discard, io.Discard))
	require.Error(t, run([]string{"-run", "no such benchmark"}, io.Discard, io.Discard))
}

// Verdicts follow the quiet samples, and all samples only where none is quiet.
func TestVerdict(t *testing.T) {
	var meter quiet.Meter
	meter.Probe(1)
	const loud = 0 // a canary that cannot be quiet
	const calm = 2 // or must be
	samples := func(canary, value float64) []quiet.Sample {
		return []quiet.Sample{{Rate: 1e9 * value, Fraction: value, SpeedUp: value, Canary: canary}}
	}
	atLeast := benchmark{unit: gflops, flops: 1, workers: 1, target: target{fraction, 0.9}}
	twice := benchmark{unit: gflops, flops: 1, workers: 2, target: target{speedUp, 1.85}}
	atMost := benchmark{unit: perCall, flops: 1, workers: 1, target: target{nanosecs, 10}}
	for _, c := range []struct {
		b       benchmark
		samples []quiet.Sample
		want    string
	}{
		{atLeast, samples(calm, 0.9), "ok"},
		{atLeast, samples(calm, 0.89), "short"},
		{atLeast, samples(loud, 0.89), "noisy"},
		{atLeast, samples(loud, 0.91), "ok"},
		{atLeast, append(samples(loud, 0.1), samples(calm, 0.95)...), "ok"},
		{atLeast, append(samples(loud, 1.1), samples(calm, 0.8)...), "short"},
		{twice, samples(calm, 1.9), "ok"},
		{twice, samples(calm, 1.8), "short"},
		{atMost, samples(calm, 0.2), "ok"},     // 5 ns
		{atMost, samples(calm, 0.05), "short"}, // 20 ns
		{benchmark{unit: gflops}, samples(calm, 0.1), ""},
	} {
		require.Equal(t, c.want, conclude(c.b, &meter, c.samples).Verdict, "%+v %+v", c.b.target, c.samples)
	}
}

// All implementations compute the same, so that comparing their speed means something.
func TestBaselinesAgree(t *testing.T) {
	close := func(want, got []float32, what string) {
		t.Helper()
		require.InDeltaSlice(t, want, got, 1e-4, what)
	}
	for _, i := range baselines() {
		x, y := random(1000), random(2000)[1000:]
		require.InDelta(t, selected.dot(3, x, y), i.dot(3, x, y), 1e-2, i.name)
		require.InDelta(t, selected.logSumExp(x), i.logSumExp(x), 1e-4, i.name)
		want, got := make([]float32, 1000), make([]float32, 1000)
		for _, f := range [][2]func(dst, x []float32){{selected.exp, i.exp}, {selected.softmax, i.softmax}} {
			f[0](want, x)
			f[1](got, x)
			close(want, got, i.name)
		}

		a, b, c, d := matrix(7, 33), matrix(33, 32), matrix(7, 32), matrix(7, 32)
		selected.matMul(c, a, b, 1)
		i.matMul(d, a, b, 1)
		close(c.Data, d.Data, i.name+" matMul")

		for _, causal := range []bool{false, true} {
			const queries, keys, dim, heads, group = 5, 150, 16, 2, 3
			tensor := func(heads, n, seed int) kernel.Tensor {
				data := random(seed + heads*n*dim)[seed:]
				return kernel.Tensor{Data: data, Batch: 1, Heads: heads, Len: n, Dim: dim}
			}
			q, k, v := tensor(heads*group, queries, 1), tensor(heads, keys, 2), tensor(heads, keys, 3)
			want, got := tensor(heads*group, queries, 4), tensor(heads*group, queries, 5)
			o := &kernel.Options{Causal: causal, Workers: 1}
			selected.attention(want, q, k, v, o)
			i.attention(got, q, k, v, o)
			close(want.Data, got.Data, i.name+" attention")
		}
	}
}

package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/stretchr/testify/require"
)

// clock is a surface of calls that last as time says, in seconds, and up to noise longer.
func clock(noise float64, slope *allowance, time func(at []int) float64) surface {
	r := rand.New(rand.NewPCG(1, 1))
	return surface{
		name: "clock", axes: []axis{{"n", span(1, 20), slope}, {"d", []int{4, 8}, nil}},
		call: func(at []int) quiet.Timer {
			return func(reps int) float64 { return float64(reps) * time(at) * (1 + noise*r.Float64()) }
		},
	}
}

var scanned = scanner{passes: 2, rounds: 25, sample: time.Microsecond}

// A length that takes longer than a longer one is found, with the noise of a busy machine too, and nothing else
// is.
func TestScan(t *testing.T) {
	rising := func(at []int) float64 { return 1e-7 * float64(at[0]) / float64(at[1]) }
	for _, noise := range []float64{0, 0.04, 0.3} {
		cliffs, points := scanned.scan([]surface{clock(noise, flat, rising)}, io.Discard)
		require.Empty(t, cliffs, "d has no slope")
		require.Equal(t, 40, points)

		late := func(at []int) float64 {
			if at[0] == 7 && at[1] == 8 {
				return 10 * rising(at)
			}
			return rising(at)
		}
		cliffs, _ = scanned.scan([]surface{clock(noise, flat, late)}, io.Discard)
		require.Len(t, cliffs, 1)
		require.Equal(t, []int{7, 8}, cliffs[0].at)
		require.Equal(t, []int{8, 8}, cliffs[0].faster)
		require.InDelta(t, 70./8, cliffs[0].times, 3*noise+1e-9)
	}
	for _, c := range []struct {
		late  float64 // times as long as the next length
		slope *allowance
		want  int
	}{{1.04, flat, 0}, {1.06, flat, 1}, {1.1, tail, 0}, {1.4, tail, 1}, {1.4, nil, 0}} {
		f := clock(0, c.slope, func(at []int) float64 {
			if at[0] == 20 || at[1] == 4 {
				return 1e-7
			}
			return 1e-7 * c.late
		})
		cliffs, _ := scanned.scan([]surface{f}, io.Discard)
		require.Len(t, cliffs, c.want*19, "%+v", c)
	}
}

// Of each length the likeliest is confirmed, or with all each.
func TestScanAll(t *testing.T) {
	f := clock(0, flat, func(at []int) float64 { return 1e-7 * float64(40-at[0]) * float64(at[1]) })
	for _, all := range []bool{false, true} {
		s := scanned
		s.all = all
		cliffs, _ := s.scan([]surface{f}, io.Discard)
		want := 18
		if all {
			want *= 2
		}
		require.Len(t, cliffs, want)
		rows := cliffRows([]surface{f}, cliffs)
		require.Len(t, rows, want+1)
		require.Contains(t, rows[1], "n=1 d=4")
		require.Contains(t, rows[1], "n=20")
		require.Contains(t, rows[1], "1.95")
		require.Equal(t, "2", rows[1][5])
	}
}

// A call may take as long as its rival, and a constant.
func TestScanRival(t *testing.T) {
	const rival = 1e-6
	for _, c := range []struct {
		time float64
		rate allowance
		want bool
	}{
		{1.14e-6, noDelay, false}, {1.16e-6, noDelay, true}, {1.29e-6, allowance{times: 1.3}, false}, {1.31e-6, allowance{times: 1.3}, true},
	} {
		f := clock(0, nil, func([]int) float64 { return c.time })
		f.rate, f.rivalName = c.rate, "the other"
		f.rival = clock(0, nil, func([]int) float64 { return rival }).call
		cliffs, _ := scanned.scan([]surface{f}, io.Discard)
		require.Equal(t, c.want, len(cliffs) > 0, "%+v", c)
		if c.want {
			require.Contains(t, cliffRows([]surface{f}, cliffs)[1], "the other")
		}
	}
}

// What one pass took for a cliff is none if it does not last.
func TestScanMoment(t *testing.T) {
	calls := map[int]int{}
	f := clock(0, flat, func(at []int) float64 {
		if calls[at[0]]++; at[0] == 3 && calls[3] < 12 {
			return 1e-5
		}
		return 1e-6
	})
	s := scanned
	s.passes = 1
	cliffs, _ := s.scan([]surface{f}, io.Discard)
	require.Empty(t, cliffs)
	require.Greater(t, calls[3], 12, "it was suspected")
}

// Every surface can be called, and its rival computes the same.
func TestCliffs(t *testing.T) {
	var out, log bytes.Buffer
	require.NoError(t, runCliffs([]string{"-quick"}, &out, &log))
	require.Regexp(t, `calls, \d+ cliffs`, out.String())
	for _, f := range surfaces() {
		require.Contains(t, log.String(), f.name)
	}
	require.Error(t, runCliffs([]string{"-run", "no such scan"}, &out, io.Discard))

	for _, f := range surfaces() {
		if f.rivalName != "plain Go" {
			continue
		}
		for _, i := range []int{0, f.size() / 2, f.size() - 1} {
			at := f.at(i)
			var outs [2][]float32
			for j, prepare := range []func([]int) quiet.Timer{f.call, f.rival} {
				run := prepare(at)
				clear(operands[0])
				run(1)
				outs[j] = slices.Clone(operands[0])
			}
			require.InDeltaSlice(t, outs[0], outs[1], 1e-3, "%s %v", f.name, at)
		}
	}
}

func TestThin(t *testing.T) {
	require.Equal(t, []int{1, 16, 32, 48, 64}, thin(span(1, 64), 5))
	require.Equal(t, []int{3, 4}, thin([]int{3, 4}, 5))
	require.Equal(t, []int{3}, thin([]int{3}, 5))
}

func TestProgress(t *testing.T) {
	var log bytes.Buffer
	p := newProgress(&log, 2)
	p.step("first")
	p.step("second")
	p.end()
	require.Regexp(t, `^1/2 first \(0s\)\n2/2 second \(0s, about 0s left\)\n$`, log.String())
	require.NotContains(t, log.String(), "\r")
}

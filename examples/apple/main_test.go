package main

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/stretchr/testify/require"
)

func vocabularyOf(t *testing.T) glove.Vocabulary {
	voc, err := glove.Load()
	require.NoError(t, err)
	return voc
}

func TestHeldOutWordsAreHeldOut(t *testing.T) {
	voc := vocabularyOf(t)
	for _, s := range appleSentences {
		require.Equal(t, "apple", s.words[apple])
		for _, word := range slices.Concat(s.expected.words, s.versus.words) {
			require.NotContains(t, s.words, word)
			require.Contains(t, voc.Vectors, word)
		}
	}
}

// The weights of a row sum to 1, and mixing the vectors by them gives the output.
func TestAttend(t *testing.T) {
	voc := vocabularyOf(t)
	for _, s := range appleSentences {
		for _, scale := range scales {
			n := len(s.words)
			x, err := voc.Embed(s.words)
			require.NoError(t, err)
			out, weights, err := attend(x, n, scale.value)
			require.NoError(t, err)
			for i := range n {
				row, sum := weights[i*n:][:n], 0.
				for _, w := range row {
					sum += float64(w)
				}
				require.InDelta(t, 1, sum, 1e-6)
				require.Equal(t, slices.Max(row), row[i], "a word sees itself most")
				for c := range dim {
					mix := 0.
					for j, w := range row {
						mix += float64(w) * float64(x[j*dim+c])
					}
					require.InDelta(t, mix, out[i*dim+c], 2e-6)
				}
			}
		}
	}
}

func TestSameBits(t *testing.T) {
	require.NoError(t, sameBits([]float32{1, 2}, []float32{1, 2}))
	require.ErrorContains(t, sameBits([]float32{1, 2}, []float32{1, math.Nextafter32(2, 3)}), "element 1")
}

// The verdict follows the numbers, whatever they are.
func TestVerdict(t *testing.T) {
	s := appleSentences[0]
	change := func(iphone, phone, laptop, fruits float64) map[string]float64 {
		return map[string]float64{
			"iphone": iphone, "phone": phone, "laptop": laptop,
			"fruit": fruits, "banana": fruits, "lemon": fruits,
		}
	}
	for _, test := range []struct {
		name          string
		e             effect
		weights, move string
	}{
		{"saturated", effect{weights: []float32{1e-9, 1, 2e-9}, change: change(1e-8, 0, 0, -2e-8)},
			"leads by 20.0, so the other words share 3e-09", "stays where it was: no cosine changes by more than 2e-08"},
		{"toward", effect{weights: []float32{.05, .8, .15}, change: change(.1, .2, .3, -.1), toward: .2, away: -.1},
			"keeps 80% and is selective: phones weighs 3.00 times love", "moves toward devices (devices +0.200, fruits -0.100 on"},
		{"toward but", effect{weights: []float32{.3, .4, .3}, change: change(-.1, .2, .3, -.1), toward: .133, away: -.1},
			"the largest weight is 1.33 times the smallest", ", but away from iphone."},
		{"away", effect{weights: []float32{.15, .8, .05}, change: change(-.1, -.1, -.1, 0), toward: -.1},
			"love weighs 3.00 times phones", "does not move toward devices as one would expect (devices -0.100"},
		{"toward both", effect{weights: []float32{.15, .8, .05}, change: change(.1, .1, .1, .2), toward: .1, away: .2},
			"love weighs", "does not move toward devices"},
	} {
		weights, move := test.e.verdict(s)
		require.Contains(t, weights, test.weights, test.name)
		require.Contains(t, move, test.move, test.name)
	}
}

func TestHeatMap(t *testing.T) {
	require.Equal(t, []int{0, 0, 1, 4, 4}, []int{level(0, 5), level(.19, 5), level(.2, 5), level(.99, 5), level(1, 5)})
	draw := func(n int, colours bool) string {
		words := slices.Repeat([]string{"watermelons"}, n)
		m := heatMap{"title", slices.Repeat([]float32{.25}, n*n)}
		var out bytes.Buffer
		drawHeatMaps(&out, words, []heatMap{m, m, m}, colours)
		return out.String()
	}
	for n := 1; n <= maxWords; n++ {
		plain := draw(n, false)
		require.Equal(t, 3*n*n, strings.Count(plain, "0.25"), n)
		requireNarrow(t, plain)
		require.NotContains(t, plain, "\x1b")
		// The same figures in the same columns, but for the shades.
		escapes := regexp.MustCompile(`\x1b\[[0-9;]*m`)
		coloured := draw(n, true)
		require.Equal(t, 3*n*n, strings.Count(coloured, "\x1b[48;5;54;38;5;255m"), n)
		requireNarrow(t, escapes.ReplaceAllString(coloured, ""))
	}
}

func requireNarrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), screenWidth, line)
	}
}

func TestQuick(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.NoError(t, run([]string{"-quick"}, &stdout, &stderr))
	text := stdout.String()
	requireNarrow(t, text)
	require.NotContains(t, text, "\x1b", "no colours where there is no terminal")
	for _, want := range []string{
		"'love apple phones'", "'love apple juice'", "scale 1/√100", "scale 1/100", "iphone", "lemon", "equal weights",
		"Saturated:", "is selective: phones weighs", "is selective: juice weighs", "Apple moves toward devices", "Apple moves toward fruits",
		"same bits", "naive Go", "package generic", "kernel, ", "The peak itself",
	} {
		require.Contains(t, text, want)
	}
	require.Regexp(t, `(?m)^     128 .*%`, text)
	require.Regexp(t, `(?m)^     256 `, text)
	require.Contains(t, stderr.String(), "N = 128\n")
}

// What would take too long is left out, and the table says so.
func TestLeftOut(t *testing.T) {
	var stdout, stderr bytes.Buffer
	plan := speedPlan{sizes: []int{65}, dim: 3, longest: time.Nanosecond}
	require.NoError(t, plan.run(&stdout, &stderr))
	require.Regexp(t, `(?m)^      65( +-){4}$`, stdout.String())
	require.Contains(t, stdout.String(), "left out, as a call would take over 1ns: naive Go at N = 65")
	require.Empty(t, stderr.String())
}

// All three implementations compute the same, also when only a block of queries is asked for.
func TestContestants(t *testing.T) {
	p := newProblem(37, 20)
	all := make([][]float32, 3)
	for i, f := range []func([]float32, problem) error{naive, reference, backend} {
		all[i] = make([]float32, len(p.q))
		require.NoError(t, f(all[i], p))
		block := p.block(30, 16)
		require.Equal(t, 7, block.rows)
		part := make([]float32, len(block.q))
		require.NoError(t, f(part, block))
		require.Equal(t, all[i][30*20:], part)
	}
	difference, err := compare(all[0], all[1], all[2])
	require.NoError(t, err)
	require.Regexp(t, `e-0[78]$`, difference)

	all[0][5] += 1e-4
	_, err = compare(all[0], all[1], all[2])
	require.ErrorContains(t, err, "naive")
	all[0][5] = float32(math.NaN())
	_, err = compare(all[0], nil, all[2])
	require.ErrorContains(t, err, "naive")
	all[1][5] += 1e-6
	_, err = compare(nil, all[1], all[2])
	require.ErrorContains(t, err, "element 5")
}

func TestWords(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.NoError(t, run([]string{"-words", "River bank boat"}, &stdout, &stderr))
	requireNarrow(t, stdout.String())
	require.Contains(t, stdout.String(), "'river bank boat'")
	require.Contains(t, stdout.String(), "nearest words")
	require.NotContains(t, stdout.String(), "GFLOP")

	stdout.Reset()
	require.NoError(t, run([]string{"-vocab"}, &stdout, &stderr))
	requireNarrow(t, stdout.String())
	require.Equal(t, vocabularyOf(t).Words, strings.Fields(stdout.String()))
}

func TestBadArguments(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-words", "I love apple"}, `no vector of "i" among the 120 words; -vocab lists them`},
		{[]string{"-words", " "}, "has 0 words"},
		{[]string{"-words", strings.Repeat("love ", maxWords+1)}, "has 11 words, want 1 to 10"},
		{[]string{"love", "apple"}, `unexpected argument "love"`},
		{[]string{"-sizes", "128,x"}, `-sizes has "x"`},
		{[]string{"-sizes", "0"}, `-sizes has "0"`},
		{[]string{"-dim", "2000"}, "-dim is 2000"},
		{[]string{"-speed"}, "not defined"},
	} {
		var stdout, stderr bytes.Buffer
		require.ErrorContains(t, run(test.args, &stdout, &stderr), test.want)
		require.Empty(t, stdout.String())
	}
}

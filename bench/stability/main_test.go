package main

import (
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/kernel"
	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	file := filepath.Join(t.TempDir(), "stability.png")
	ok, err := run(&out, file, true)
	require.NoError(t, err)
	require.True(t, ok, out.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3+4*len(sizes)+(4+14)+(4+4*4)+(4+3*4)+(4+2), "a title, a heading, and lengths of 1, 16, 256 and 4096; then options, types, gradients and sums")

	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	picture, err := png.Decode(f)
	require.NoError(t, err)
	require.Equal(t, 1200, picture.Bounds().Dx())
	for _, colour := range []color.Color{blue, orange, green, pink, grey} { // each has left its lines
		found := false
		want := [3]uint32{}
		want[0], want[1], want[2], _ = colour.RGBA()
		for x := range picture.Bounds().Dx() {
			for y := range picture.Bounds().Dy() {
				r, g, b, _ := picture.At(x, y).RGBA()
				found = found || [3]uint32{r, g, b} == want
			}
		}
		require.True(t, found, colour)
	}
}

func TestChartNeedsAKnownFormat(t *testing.T) {
	points := []point{
		{keys: 1, size: chartSize, attn: 1, plain: 2, bound: 3}, {keys: chartKeys, size: chartSize, attn: 1, plain: 2, bound: 3},
		{keys: chartKeys, size: 10, attn: 1, plain: 2, bound: 3},
	}
	curves := []curve{{name: "of one", keys: []int{1, 9}, errors: []float64{1e-7, 1e-6}, bound: []float64{1e-5, 1e-5}}}
	require.ErrorContains(t, drawChart("stability.gif", points, curves, curves), ".png or .svg")
	require.NoError(t, drawChart(filepath.Join(t.TempDir(), "stability.svg"), points, curves, curves))
}

func TestWrongResults(t *testing.T) {
	require.True(t, point{ratio: 1, inHull: true}.ok())
	require.False(t, point{ratio: 1.01, inHull: true}.ok())
	require.False(t, point{ratio: math.Inf(1), inHull: true}.ok())
	require.False(t, point{}.ok())
	require.Contains(t, verdict(false), "WRONG")
	require.Empty(t, verdict(true))

	// What is stored as fewer bits is not what it was, but that is within its bound of what it has become.
	c := fuzz.NewRow(1, 100, 1)
	for _, typ := range []kernel.Type{kernel.Float16, kernel.BFloat16, kernel.Int8} {
		require.Greater(t, deviation(c, cached(c, typ)).Ratio, 1.0)
	}
}

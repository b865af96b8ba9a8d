package main

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	file := filepath.Join(t.TempDir(), "stability.png")
	ok, err := run(&out, file, true)
	require.NoError(t, err)
	require.True(t, ok, out.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3+4*len(sizes)+4+2, "a title, a heading, and lengths of 1, 16, 256 and 4096; the same of sums, and two lengths")

	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	picture, err := png.Decode(f)
	require.NoError(t, err)
	require.Equal(t, 1200, picture.Bounds().Dx())
	for _, s := range series { // each line has left its colour
		found := false
		want := [3]uint32{}
		want[0], want[1], want[2], _ = s.colour.RGBA()
		for x := range picture.Bounds().Dx() {
			for y := range picture.Bounds().Dy() {
				r, g, b, _ := picture.At(x, y).RGBA()
				found = found || [3]uint32{r, g, b} == want
			}
		}
		require.True(t, found, s.name)
	}
}

func TestChartNeedsAKnownFormat(t *testing.T) {
	points := []point{
		{keys: 1, size: chartSize, attn: 1, plain: 2, bound: 3}, {keys: chartKeys, size: chartSize, attn: 1, plain: 2, bound: 3},
		{keys: chartKeys, size: 10, attn: 1, plain: 2, bound: 3},
	}
	require.ErrorContains(t, drawChart("stability.gif", points), ".png or .svg")
	require.NoError(t, drawChart(filepath.Join(t.TempDir(), "stability.svg"), points))
}

func TestWrongResults(t *testing.T) {
	require.True(t, point{ratio: 1, inHull: true}.ok())
	require.False(t, point{ratio: 1.01, inHull: true}.ok())
	require.False(t, point{ratio: math.Inf(1), inHull: true}.ok())
	require.False(t, point{}.ok())
}

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	screenWidth = 100
	margin      = "  "
	labelWidth  = 12
	cellWidth   = 8
	gap         = "    "

	// maxWords is how many words a heat map on the screen can have.
	maxWords = (screenWidth - len(margin) - labelWidth) / cellWidth
)

// A heatMap is a square matrix of attention weights: row i shows how word i shares out its attention.
type heatMap struct {
	title   string
	weights []float32
}

// ramp is a scale from cold to hot in the 256 colours of a terminal, and shades its replacement.
var (
	ramp   = []int{16, 17, 18, 54, 90, 126, 162, 167, 203, 209, 215, 222}
	shades = []string{"   ", "░░░", "▒▒▒", "▓▓▓", "███"}
)

// drawHeatMaps draws maps of the same words, as many side by side as fit.
func drawHeatMaps(w io.Writer, words []string, maps []heatMap, colours bool) {
	n := len(words)
	width := n*cellWidth + len(gap)
	abreast := min(max(1, (screenWidth-len(margin)-labelWidth+len(gap))/width), len(maps))
	for len(maps) > 0 {
		row := maps[:min(abreast, len(maps))]
		maps = maps[len(row):]
		var titles, heads []string
		for _, m := range row {
			titles = append(titles, fmt.Sprintf("%-*s", n*cellWidth, m.title))
			head := ""
			for _, word := range words {
				head += fmt.Sprintf("%-*.*s", cellWidth, cellWidth-1, word)
			}
			heads = append(heads, head)
		}
		writeLine(w, "", titles)
		writeLine(w, "", heads)
		for i, word := range words {
			var lines []string
			for _, m := range row {
				line := ""
				for _, weight := range m.weights[i*n:][:n] {
					line += cell(weight, colours)
				}
				lines = append(lines, line)
			}
			writeLine(w, word, lines)
		}
		fmt.Fprintln(w)
	}
}

func writeLine(w io.Writer, label string, parts []string) {
	line := fmt.Sprintf("%-*.*s%s", labelWidth, labelWidth-2, label, strings.Join(parts, gap))
	fmt.Fprintln(w, margin+strings.TrimRight(line, " "))
}

// cell draws a weight between 0 and 1.
func cell(weight float32, colours bool) string {
	if !colours {
		return fmt.Sprintf("%s%.2f ", shades[level(weight, len(shades))], weight)
	}
	i := level(weight, len(ramp))
	ink := 255
	if i > len(ramp)/2 {
		ink = 16 // black on the bright half
	}
	return fmt.Sprintf("\x1b[48;5;%d;38;5;%dm  %.2f  \x1b[0m", ramp[i], ink, weight)
}

// level cuts [0, 1] into n equal parts.
func level(weight float32, n int) int { return min(max(int(weight*float32(n)), 0), n-1) }

// isTerminal reports whether w is a character device.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// wantsColours reports whether w is a terminal whose user wants colours (https://no-color.org).
func wantsColours(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

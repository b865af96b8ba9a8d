package main

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/selfattn/attn/examples/encoder/minilm"
)

// Pixels of the picture.
const (
	cell   = 10 // a weight
	gap    = 8  // between maps
	left   = 60 // names of layers
	top    = 52 // the sentence, and names of heads
	legend = 50 // names of tokens
)

// shades is how many colours there are between nothing and all of the attention.
const shades = 32

// draw writes an SVG: for each sentence a row of maps for each layer, a map for each head. Row i of a map is how token
// i shares its attention. What word gives to the token behind it is framed.
func draw(w io.Writer, sentences []*minilm.Reading, word int) error {
	out := bufio.NewWriter(w)
	var body strings.Builder
	var paths [shades + 1]strings.Builder
	y := 0
	width := 0
	for _, s := range sentences {
		n := len(s.Tokens)
		side := n*cell + gap
		width = max(width, left+minilm.Heads*side+legend)
		label(&body, gap, y+20, "start", 14, strings.Join(s.Tokens[1:n-1], " "))
		y += top
		for head := range minilm.Heads {
			label(&body, left+head*side+n*cell/2, y-gap, "middle", 11, fmt.Sprint("head ", head+1))
		}
		for layer := range minilm.Layers {
			label(&body, left-gap, y+n*cell/2+4, "end", 11, fmt.Sprint("layer ", layer+1))
			for head, weights := range s.Weights[layer] {
				x := left + head*side
				for i, weight := range weights {
					shade := int(math.Round(float64(weight) * shades))
					fmt.Fprintf(&paths[shade], "M%d %dh%dv%dh-%dz", x+i%n*cell, y+i/n*cell, cell, cell, cell)
				}
				fmt.Fprintf(&body, `<rect x="%d" y="%d" width="%d" height="%d" class="map"/>`+"\n", x, y, n*cell, n*cell)
				fmt.Fprintf(&body, `<rect x="%d" y="%d" width="%d" height="%d" class="word"/>`+"\n", x+(word+1)*cell, y+word*cell, cell, cell)
			}
			if layer == 0 {
				for i, token := range s.Tokens {
					label(&body, left+minilm.Heads*side, y+i*cell+cell-2, "start", 9, token)
				}
			}
			y += side
		}
	}
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">`+"\n", width, y)
	fmt.Fprintln(out, `<style>.map{fill:none;stroke:#bbb} .word{fill:none;stroke:#e60;stroke-width:1.5}</style>`)
	fmt.Fprintf(out, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, y)
	for shade := range paths {
		if shade > 0 && paths[shade].Len() > 0 {
			// From white to a dark blue.
			t := float64(shade) / shades
			fmt.Fprintf(out, `<path fill="rgb(%.0f,%.0f,%.0f)" d="%s"/>`+"\n", 255-247*t, 255-206*t, 255-148*t, paths[shade].String())
		}
	}
	fmt.Fprint(out, body.String(), "</svg>\n")
	return out.Flush()
}

// label writes text at a point, anchored at its "start", "middle" or "end".
func label(out *strings.Builder, x, y int, anchor string, size int, text string) {
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="%s" font-size="%d">`, x, y, anchor, size)
	xml.EscapeText(out, []byte(text))
	out.WriteString("</text>\n")
}

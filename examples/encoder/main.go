// Encoder turns texts into vectors with the sentence encoder all-MiniLM-L6-v2, in Go alone.
//
//	go run . fetch                                   # the model, 84 MB, into the folder model
//	go run . similar "I lost my keys" "Where is my key ring?" "Keys open doors" "It rains"
//	go run . embed < texts                           # a vector in JSON for each line
//	go run . apple -picture attention.svg            # what attention does to a word
//	go run . bench -python path/to/python            # beside ONNX Runtime
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/selfattn/attn/examples/encoder/minilm"
	"github.com/selfattn/attn/kernel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "encoder:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	const usage = "want fetch, similar, embed, apple or bench"
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	folder := flags.String("model", "model", "`folder` of model.safetensors and vocab.txt")
	var picture, python string
	var quick bool
	switch args[0] {
	case "fetch", "similar", "embed":
	case "apple":
		flags.StringVar(&picture, "picture", "", "draw the attention of all heads into this SVG `file`")
	case "bench":
		flags.StringVar(&python, "python", "", "measure ONNX Runtime too, with this `interpreter`; peer.py says what it needs")
		flags.BoolVar(&quick, "quick", false, "few and short samples")
	default:
		return fmt.Errorf("%q is no command: %s", args[0], usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "fetch" {
		return minilm.Fetch(ctx, *folder)
	}
	m, err := minilm.Load(*folder)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w ('go run . fetch' downloads the model)", err)
	} else if err != nil {
		return err
	}
	switch args[0] {
	case "similar":
		return similar(m, flags.Args(), out)
	case "embed":
		return embed(m, in, out)
	case "apple":
		return apple(m, picture, out)
	default:
		return bench(m, *folder, python, quick, out)
	}
}

// similar prints how similar the other texts are to the first one, in descending order.
func similar(m *minilm.Model, texts []string, out io.Writer) error {
	if len(texts) < 2 {
		return errors.New("similar wants two texts or more")
	}
	vectors, err := m.Embed(texts, minilm.Options{})
	if err != nil {
		return err
	}
	type match struct {
		cosine float32
		text   string
	}
	var matches []match
	for i, text := range texts[1:] {
		matches = append(matches, match{kernel.Dot(vectors[0], vectors[i+1]), text})
	}
	slices.SortStableFunc(matches, func(a, b match) int { return cmp.Compare(b.cosine, a.cosine) })
	for _, match := range matches {
		fmt.Fprintf(out, "%6.3f  %s\n", match.cosine, match.text)
	}
	return nil
}

// embed prints the vector of each line. Lines are taken together while they have no more than some thousand tokens.
func embed(m *minilm.Model, in io.Reader, out io.Writer) error {
	const most = 32 << 10 // bytes of a batch, but for its last line
	lines, answers := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		var batch []string
		var end error
		for size := 0; size < most && end == nil; {
			var line string
			if line, end = lines.ReadString('\n'); line != "" {
				batch = append(batch, strings.TrimSuffix(line, "\n"))
				size += len(line)
			}
		}
		vectors, err := m.Embed(batch, minilm.Options{})
		if err != nil {
			return err
		}
		for _, v := range vectors {
			if err := json.NewEncoder(answers).Encode(v); err != nil {
				return err
			}
		}
		if end == io.EOF {
			return answers.Flush()
		} else if end != nil {
			return end
		}
	}
}

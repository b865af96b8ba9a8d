// Apple shows what self-attention does to real words, and how fast it is here.
//
// The sentences 'love apple phones' and 'love apple juice' go through attention as
// GloVe vectors, with Q = K = V = X and no learned weights, at three scales. The
// weights are drawn as heat maps, and apple's vector is compared before and after with words
// that are in neither sentence. Then W_Q, W_K and W_V are learned from other sentences, and what these two
// become is shown before and after. Then naive Go, package generic and this machine's
// backend are timed, as fractions of the FMA peak.
//
//	go run ./examples/apple
//	go run ./examples/apple -words "river bank boat"
//	go run ./examples/apple -sizes 512,2048 -dim 128
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selfattn/attn/examples/internal/glove"
	"github.com/selfattn/attn/kernel"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "apple:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("apple", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sentence := flags.String("words", "", "show this `sentence` instead, without the speed unless -sizes is given")
	list := flags.Bool("vocab", false, "list the words that a sentence can have")
	sizes := flags.String("sizes", "", "sequence lengths N to time, a `list` (default 128,256,512,1024,2048,4096)")
	headDim := flags.Int("dim", 64, "head `dimension` to time, 1 to 1024")
	quick := flags.Bool("quick", false, "a few seconds in all: shorter samples, and N = 128,256 by default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q (put a sentence in quotes)", flags.Arg(0))
	}
	plan := speedPlan{sample: 600 * time.Millisecond, longest: 4 * time.Second, dim: *headDim}
	lengths, starts := "128,256,512,1024,2048,4096", learnStarts
	if *quick {
		starts = 1
		plan.sample, plan.longest = 50*time.Millisecond, 500*time.Millisecond
		lengths = "128,256"
	}
	if *sizes != "" {
		lengths = *sizes
	}
	if err := plan.parse(lengths); err != nil {
		return err
	}
	voc, err := glove.Load()
	if err != nil {
		return err
	}
	if *list {
		for line := range slices.Chunk(voc.Words, 8) {
			for _, word := range line[:len(line)-1] {
				fmt.Fprintf(stdout, "%-12s", word)
			}
			fmt.Fprintln(stdout, line[len(line)-1])
		}
		return nil
	}

	var page bytes.Buffer // nothing is printed if a word is unknown
	colours := wantsColours(stdout)
	fmt.Fprintf(&page, "SELF-ATTENTION ON REAL WORDS: GloVe, d = %d, Q = K = V = X, nothing learned; backend %s\n\n",
		dim, kernel.Backend())
	fmt.Fprint(&page, "A row shows how its word shares out its attention over the columns, softmax(scale * X.X^T).\n")
	fmt.Fprint(&page, "Scores are sums of d products: they grow with d, and the usual 1/√d keeps softmax from saturating.\n\n")
	if *sentence != "" {
		if err := showSentence(&page, voc, strings.Fields(strings.ToLower(*sentence)), colours); err != nil {
			return err
		}
	} else {
		for _, s := range appleSentences {
			if err := s.show(&page, voc, colours); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(&page, "Every output above has the same bits from the %s backend as from package generic.\n", kernel.Backend())
	if *sentence == "" {
		fmt.Fprintln(&page)
		if err := showLearning(&page, voc, starts, colours); err != nil {
			return err
		}
	}
	if _, err := page.WriteTo(stdout); err != nil {
		return err
	}
	if *sentence != "" && *sizes == "" {
		return nil
	}
	fmt.Fprintln(stdout)
	return plan.run(stdout, stderr)
}

// parse reads the list of sequence lengths and checks the head dimension.
func (p *speedPlan) parse(sizes string) error {
	for field := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 || n > 1<<16 {
			return fmt.Errorf("-sizes has %q, want numbers from 1 to %d with commas between", field, 1<<16)
		}
		p.sizes = append(p.sizes, n)
	}
	if p.dim < 1 || p.dim > 1024 {
		return fmt.Errorf("-dim is %d, want 1 to 1024", p.dim)
	}
	return nil
}

// Generate writes on from a prompt with the language model SmolLM2-135M, in Go alone.
//
//	go run . fetch                                   # the model, 98 MB, into the folder model
//	go run . write "The capital of France is"
//	go run . write -chat -temperature 0.7 "Why is the sky blue?"
//	go run . bench -python path/to/python            # beside CTranslate2
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/selfattn/attn/examples/generate/smollm"
	"github.com/selfattn/attn/kernel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// A job is what write does.
type job struct {
	prompt      string
	chat        bool
	most        int
	temperature float64
	topP        float64
	seed        uint64
	half        bool
	digest      bool
}

const system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

func run(ctx context.Context, args []string, out, info io.Writer) error {
	const usage = "want fetch, write, bench or types"
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	folder := flags.String("model", "model", "`folder` of "+smollm.File)
	var j job
	var python string
	var quick bool
	var threads int
	switch args[0] {
	case "fetch":
	case "types":
		flags.IntVar(&j.most, "n", 16, "`tokens` to write behind each prompt")
	case "write":
		flags.BoolVar(&j.chat, "chat", false, "answer the prompt, instead of going on with it")
		flags.IntVar(&j.most, "n", 100, "the most `tokens` to write")
		flags.Float64Var(&j.temperature, "temperature", 0, "0 takes the likeliest token; more draws less likely ones more often")
		flags.Float64Var(&j.topP, "top-p", 0.95, "draw among the likeliest tokens that have this `share` together")
		flags.Uint64Var(&j.seed, "seed", 1, "of the draws")
		flags.BoolVar(&j.half, "half", false, "keep weights, keys and values as float16: faster, and not quite the same")
		flags.BoolVar(&j.digest, "digest", false, "print the SHA-256 of all logits too, which is the same on every CPU")
	case "bench":
		flags.StringVar(&python, "python", "", "measure CTranslate2 too, with this `interpreter`; peer.py says what it needs")
		flags.IntVar(&threads, "threads", 1, "of both")
		flags.BoolVar(&quick, "quick", false, "few and short samples")
	default:
		return fmt.Errorf("%q is no command: %s", args[0], usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	path := filepath.Join(*folder, smollm.File)
	switch args[0] {
	case "fetch":
		return smollm.Fetch(ctx, *folder)
	case "types":
		if j.most < 1 {
			return fmt.Errorf("-n is %d, want 1 or more", j.most)
		}
		m, err := load(path, kernel.Float32)
		if err != nil {
			return err
		}
		texts, err := prompts()
		if err != nil {
			return err
		}
		return types(ctx, m, texts, j.most, out)
	case "bench":
		if threads < 1 {
			return fmt.Errorf("-threads is %d, want 1 or more", threads)
		}
		return bench(ctx, *folder, python, threads, quick, out)
	}
	j.prompt = strings.Join(flags.Args(), " ")
	switch {
	case j.prompt == "":
		return errors.New("write wants a prompt")
	case j.most < 1:
		return fmt.Errorf("-n is %d, want 1 or more", j.most)
	case !(j.temperature >= 0 && j.temperature <= 100):
		return fmt.Errorf("-temperature is %g, want 0 to 100", j.temperature)
	case !(j.topP > 0 && j.topP <= 1):
		return fmt.Errorf("-top-p is %g, want more than 0, and 1 at most", j.topP)
	}
	stored := kernel.Float32
	if j.half {
		stored = kernel.Float16
	}
	m, err := load(path, stored)
	if err != nil {
		return err
	}
	return j.write(ctx, m, out, info)
}

func load(path string, stored kernel.Type) (*smollm.Model, error) {
	m, err := smollm.Load(path, stored)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w ('go run . fetch' downloads the model)", err)
	}
	return m, err
}

// write prints the tokens as they come, until the model ends its answer, they are enough, or ctx is done.
func (j job) write(ctx context.Context, m *smollm.Model, out, info io.Writer) error {
	ids := m.Tokenizer.Encode(j.prompt)
	if j.chat {
		var err error
		if ids, err = m.Tokenizer.Chat(system, j.prompt); err != nil {
			return err
		}
	}
	text, err := m.NewText(smollm.TextOptions{Tokens: len(ids) + j.most})
	if err != nil {
		return err
	}
	stream := &characters{out: bufio.NewWriter(out)}
	if !j.chat {
		stream.write([]byte(j.prompt))
	}
	sampler := smollm.NewSampler(float32(j.temperature), float32(j.topP), j.seed)
	digest := sha256.New()
	start := time.Now()
	var read, written time.Duration
	n := 0
	for next := ids; ; n++ {
		logits, err := text.Read(ctx, next...)
		if errors.Is(err, context.Canceled) {
			break
		} else if err != nil {
			return err
		}
		if err := binary.Write(digest, binary.LittleEndian, logits); err != nil {
			return err
		}
		if n == 0 {
			read = time.Since(start)
		}
		written = time.Since(start) - read
		id := sampler.Next(logits)
		if n == j.most || id == m.End {
			break
		}
		if err := stream.write(m.Tokenizer.Append(nil, id)); err != nil {
			return err
		}
		next = []int{id}
	}
	if err := stream.end(); err != nil {
		return err
	}
	fmt.Fprintf(info, "\n%s: %d tokens read in %.2f s, %d written, %.1f a second\n",
		kernel.Backend(), len(ids), read.Seconds(), n, float64(n)/max(written.Seconds(), 1e-9))
	if j.digest {
		fmt.Fprintf(info, "logits %x\n", digest.Sum(nil))
	}
	return nil
}

// characters writes bytes as soon as they make whole characters.
type characters struct {
	out  *bufio.Writer
	rest []byte
}

func (c *characters) write(b []byte) error {
	c.rest = append(c.rest, b...)
	whole := 0
	for whole < len(c.rest) && utf8.FullRune(c.rest[whole:]) {
		_, n := utf8.DecodeRune(c.rest[whole:])
		whole += n
	}
	c.out.Write(c.rest[:whole]) // an error comes again from Flush
	c.rest = append(c.rest[:0], c.rest[whole:]...)
	return c.out.Flush()
}

// end writes what is left, and ends the line.
func (c *characters) end() error {
	c.out.Write(append(c.rest, '\n'))
	return c.out.Flush()
}

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/selfattn/attn/asm/limit"
	"github.com/selfattn/attn/examples/generate/smollm"
	"github.com/selfattn/attn/examples/internal/peer"
	"github.com/selfattn/attn/kernel"
)

//go:embed peer.py
var peerScript string

// golden are prompts with their tokens.
//
//go:embed testdata/golden.jsonl
var golden string

func prompts() ([][]int, error) {
	var all [][]int
	for lines := json.NewDecoder(strings.NewReader(golden)); lines.More(); {
		var line struct{ IDs []int }
		if err := lines.Decode(&line); err != nil {
			return nil, fmt.Errorf("golden.jsonl: %w", err)
		}
		all = append(all, line.IDs)
	}
	return all, nil
}

// bench prints how fast prompts are read and tokens written, with weights and cache in float32 and in float16, and beside
// it CTranslate2 in float32 on the same weights, which takes turns. Figures are medians, the ratios' too.
func bench(ctx context.Context, folder, python string, threads int, quick bool, out io.Writer) error {
	texts, err := prompts()
	if err != nil {
		return err
	}
	long := texts[len(texts)-1] // of some hundred tokens
	rounds, lengths, write, compared := 15, []int{16, 128, 512}, 16, 100
	if quick {
		rounds, lengths, write, compared = 1, []int{16, 32}, 2, 2
	}
	exact, err := smollm.Load(filepath.Join(folder, smollm.File), kernel.Float32)
	if err != nil {
		return err
	}
	half, err := smollm.Load(filepath.Join(folder, smollm.File), kernel.Float16)
	if err != nil {
		return err
	}
	b := &benchmark{ctx: ctx, workers: threads, rounds: rounds, exact: exact, half: half}
	if python != "" {
		if b.peer, err = peer.Start("CTranslate2", python, peerScript, folder, "serve", fmt.Sprint(threads)); err != nil {
			return err
		}
		defer b.peer.Stop()
	}
	fmt.Fprintf(out, "%s, %d thread(s), tokens a second\n\n", kernel.Backend(), threads)
	fmt.Fprintf(out, "%-28s %9s %9s %9s %12s %9s %9s\n", "", "float32", "CT2", "ratio", "of reading", "float16", "ratio")
	for _, n := range lengths {
		if err := b.row(out, fmt.Sprintf("read %d", n), long[:n], 0); err != nil {
			return err
		}
	}
	for _, n := range lengths[:len(lengths)-1] {
		if err := b.row(out, fmt.Sprintf("write %d behind %d", write, n), long[:n], write); err != nil {
			return err
		}
	}
	fmt.Fprintln(out)
	return differences(ctx, exact, half, texts, compared, out)
}

type benchmark struct {
	ctx             context.Context
	workers, rounds int
	exact, half     *smollm.Model
	peer            *peer.Peer // nil for none
}

// ours reads ids, and then writes n tokens, and returns the seconds of what is asked for: of writing if n is not 0.
func (b *benchmark) ours(m *smollm.Model, ids []int, n int) (float64, []int, error) {
	text, err := m.NewText(smollm.TextOptions{Tokens: len(ids) + n, Workers: b.workers})
	if err != nil {
		return 0, nil, err
	}
	start := time.Now()
	logits, err := text.Read(b.ctx, ids...)
	if err != nil || n == 0 {
		return time.Since(start).Seconds(), nil, err
	}
	var tokens []int
	greedy := smollm.NewSampler(0, 1, 0)
	start = time.Now()
	for range n {
		tokens = append(tokens, greedy.Next(logits))
		if logits, err = text.Read(b.ctx, tokens[len(tokens)-1]); err != nil {
			return 0, nil, err
		}
	}
	return time.Since(start).Seconds(), tokens, nil
}

// theirs is ours of the peer: writing is what n tokens more take.
func (b *benchmark) theirs(ids []int, n int) (float64, []int, error) {
	if n == 0 {
		a, err := b.ask(ids, 0)
		return a.Seconds, nil, err
	}
	one, err := b.ask(ids, 1)
	if err != nil {
		return 0, nil, err
	}
	more, err := b.ask(ids, n+1)
	return more.Seconds - one.Seconds, more.Tokens, err
}

// row measures reading ids, or writing n tokens behind them, and prints a line.
func (b *benchmark) row(out io.Writer, name string, ids []int, n int) error {
	count := float64(max(n, 1))
	if n == 0 {
		count = float64(len(ids))
	}
	var exact, half, other, ratios, gains, shares []float64
	const enough = 8 * time.Second
	begin := time.Now()
	for round := 0; round <= b.rounds && (round < 4 || time.Since(begin) < enough); round++ {
		seconds, tokens, err := b.ours(b.exact, ids, n)
		if err != nil {
			return err
		}
		faster, _, err := b.ours(b.half, ids, n)
		if err != nil {
			return err
		}
		var reading float64
		if n > 0 {
			reading = readingTime(b.exact.Bytes(4), b.workers) * count
		}
		var peer float64
		if b.peer != nil {
			var same []int
			if peer, same, err = b.theirs(ids, n); err != nil {
				return err
			}
			if n > 0 && !slices.Equal(same[:n], tokens) {
				return fmt.Errorf("%s: CTranslate2 writes %v, and not %v", name, same, tokens)
			}
		}
		if round == 0 {
			continue // caches and pools are cold
		}
		exact, half, other = append(exact, count/seconds), append(half, count/faster), append(other, count/peer)
		ratios, gains, shares = append(ratios, peer/seconds), append(gains, seconds/faster), append(shares, reading/seconds)
	}
	fmt.Fprintf(out, "%-28s %9.1f", name, median(exact))
	if b.peer != nil {
		fmt.Fprintf(out, " %9.1f %9.2f", median(other), median(ratios))
	} else {
		fmt.Fprintf(out, " %9s %9s", "", "")
	}
	if n > 0 {
		fmt.Fprintf(out, " %12.2f", median(shares))
	} else {
		fmt.Fprintf(out, " %12s", "")
	}
	fmt.Fprintf(out, " %9.1f %9.2f\n", median(half), median(gains))
	return nil
}

// memory is larger than the caches.
var memory = sync.OnceValue(func() []float32 {
	x := make([]float32, 64<<20)
	hugePages(x)
	for i := range x {
		x[i] = 1
	}
	return x
})

// readingTime is how many seconds workers need to read some bytes of memory. The second of two times counts: what has not been
// touched for a while may have been taken from this machine, and comes back slowly.
func readingTime(bytes, workers int) float64 {
	x := memory()
	var seconds float64
	for range 2 {
		var done sync.WaitGroup
		start := time.Now()
		for w := range workers {
			done.Add(1)
			go func() {
				defer done.Done()
				limit.Read(x[w*len(x)/workers : (w+1)*len(x)/workers])
			}()
		}
		done.Wait()
		seconds = time.Since(start).Seconds()
	}
	return seconds * float64(bytes) / float64(4*len(x))
}

// differences prints what float16 changes: of logits behind the same text, which is what float32 writes of n tokens, and where
// the texts part.
func differences(ctx context.Context, exact, half *smollm.Model, texts [][]int, n int, out io.Writer) error {
	all, where := parting{}, ""
	for prompt, ids := range texts {
		a, err := exact.NewText(smollm.TextOptions{Tokens: len(ids) + n})
		if err != nil {
			return err
		}
		b, err := half.NewText(smollm.TextOptions{Tokens: len(ids) + n})
		if err != nil {
			return err
		}
		p, err := part(ctx, a, b, ids, n)
		if err != nil {
			return err
		}
		all.add(p)
		if p.at > 0 {
			where += fmt.Sprintf("prompt %d parts at token %d: %q for %q, whose logits differ by %.3g in float32\n", prompt+1, p.at,
				exact.Tokenizer.Append(nil, p.other), exact.Tokenizer.Append(nil, p.id), p.by)
		}
	}
	_, err := fmt.Fprintf(out, "float16 writes %d of %d tokens as float32 does behind the same text; logits differ by up to %.3g\n%s",
		all.same, n*len(texts), all.farthest, where)
	return err
}

// A parting is how two texts go on behind the same tokens.
type parting struct {
	same      int     // tokens that both write
	farthest  float64 // logits are from each other
	at        int     // the number of the first token that is not the same, from 1 on, or 0
	id, other int     // that of the first text, and of the second
	by        float32 // how much more likely the first text takes its own, in logits
}

// add adds the numbers of another prompt.
func (p *parting) add(o parting) { p.same, p.farthest = p.same+o.same, max(p.farthest, o.farthest) }

// part lets both texts read ids, and then what the first one writes of n tokens.
func part(ctx context.Context, a, b *smollm.Text, ids []int, n int) (p parting, err error) {
	greedy := smollm.NewSampler(0, 1, 0)
	for i := range n {
		x, err := a.Read(ctx, ids...)
		if err != nil {
			return p, err
		}
		y, err := b.Read(ctx, ids...)
		if err != nil {
			return p, err
		}
		for j := range x {
			p.farthest = max(p.farthest, math.Abs(float64(x[j]-y[j])))
		}
		id, other := greedy.Next(x), greedy.Next(y)
		switch {
		case other == id:
			p.same++
		case p.at == 0:
			p.at, p.id, p.other, p.by = i+1, id, other, x[id]-x[other]
		}
		ids = []int{id}
	}
	return p, nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// ask lets the peer read ids and write n tokens.
func (b *benchmark) ask(ids []int, n int) (a peerAnswer, err error) {
	err = b.peer.Ask([]any{ids, n}, &a)
	return a, err
}

// A peerAnswer is what peer.py answers.
type peerAnswer struct {
	Seconds float64
	Tokens  []int
}

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress says what is being measured: a bar on a terminal, and a line for each step in a log.
type progress struct {
	w     io.Writer
	bar   *progressbar.ProgressBar // nil in a log
	n     int
	begun int
	start time.Time
}

// newProgress returns the progress of n steps.
func newProgress(w io.Writer, n int) *progress {
	p := &progress{w: w, n: n, start: time.Now()}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(n, progressbar.OptionSetWriter(w), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
	}
	return p
}

// step begins the next step, and ends the one before.
func (p *progress) step(name string) {
	done := p.begun
	p.begun++
	if p.bar != nil {
		p.bar.Describe(name)
		p.bar.Set(done)
		return
	}
	spent, left := time.Since(p.start), ""
	if done > 0 {
		left = fmt.Sprintf(", about %v left", (spent / time.Duration(done) * time.Duration(p.n-done)).Round(time.Second))
	}
	fmt.Fprintf(p.w, "%d/%d %s (%v%s)\n", p.begun, p.n, name, spent.Round(time.Second), left)
}

// end ends the last step.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Set(p.begun)
		fmt.Fprintln(p.w)
	}
}

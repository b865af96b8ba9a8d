// Package peer runs libraries in Python, beside which examples are measured.
package peer

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// A Peer is a script at work, a child process that answers requests: each is a value in JSON, and so is its answer. Between them
// it is stopped, where the system can: threads of libraries stay awake for some 10 ms, and would take cores from what is measured.
type Peer struct {
	library string
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	err     strings.Builder
}

// Start starts the script of a library with arguments.
func Start(library, python, script string, args ...string) (*Peer, error) {
	p := &Peer{library: library, cmd: exec.Command(python, append([]string{"-c", script}, args...)...)}
	p.cmd.Stderr = &p.err
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.in, p.out = in, json.NewDecoder(out)
	return p, nil
}

// Stop ends the child.
func (p *Peer) Stop() {
	resume(p.cmd.Process)
	p.in.Close()
	p.cmd.Wait()
}

// Ask sends a request and receives the answer. A failure ends the child, and says what it said last.
func (p *Peer) Ask(request, answer any) error {
	resume(p.cmd.Process)
	err := json.NewEncoder(p.in).Encode(request)
	if err == nil {
		err = p.out.Decode(answer)
	}
	pause(p.cmd.Process)
	if err != nil {
		p.Stop()
		return fmt.Errorf("%s: %w\n%s", p.library, err, p.err.String())
	}
	return nil
}

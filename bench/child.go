package main

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/selfattn/attn/bench/internal/quiet"
	"github.com/selfattn/attn/kernel"
)

// Libraries in Python, other backends of package kernel and other revisions of it run in child processes that
// wait for requests, so that they take turns with this process. Requests and answers are lines of
// JSON; peers/peer.py describes them, and serve answers those that name a benchmark.

type request struct {
	// Python prepares attention of the operands in Dir.
	Shape   *attentionShape `json:"shape,omitempty"`
	Product *productShape   `json:"product,omitempty"` // instead of attention
	Case    *caseShape      `json:"case,omitempty"`    // one of package fuzz, which is computed at once
	Dir     string          `json:"dir,omitempty"`

	// Go prepares a benchmark.
	Benchmark string `json:"benchmark,omitempty"`
	Workers   int    `json:"workers,omitempty"`

	Reps int `json:"reps,omitempty"` // runs what was prepared
}

type attentionShape struct {
	Queries int  `json:"queries"`
	Keys    int  `json:"keys"`
	Dim     int  `json:"dim"`
	Heads   int  `json:"heads"`
	KVHeads int  `json:"kvHeads"`
	Causal  bool `json:"causal"`
	Workers int  `json:"workers"`

	Mask     string `json:"mask,omitempty"`     // "bool" or "bias": there is an operand of [queries][keys], 1 where a key is visible, or what is added
	Type     string `json:"type,omitempty"`     // of typeNames: keys and values are kept in a cache
	Gradient bool   `json:"gradient,omitempty"` // what is timed is the gradient of q, k and v, of which the first is the output
}

type productShape struct {
	Rows    int `json:"rows"`
	Terms   int `json:"terms"`
	Columns int `json:"columns"`
	Workers int `json:"workers"`
}

type caseShape struct {
	Batch   int      `json:"batch"`
	Heads   int      `json:"heads"`
	KVHeads int      `json:"kvHeads"`
	Queries int      `json:"queries"`
	Keys    int      `json:"keys"`
	Dim     int      `json:"dim"`
	VDim    int      `json:"vdim"`
	Scale   float32  `json:"scale"`
	SoftCap float32  `json:"softCap"`
	Causal  bool     `json:"causal"`
	Workers int      `json:"workers"`
	LSE     bool     `json:"lse"`
	Inputs  []string `json:"inputs"`
}

type answer struct {
	Version     string  `json:"version,omitempty"` // at the start
	Unsupported string  `json:"unsupported,omitempty"`
	Digest      uint64  `json:"digest,omitempty"` // of the output
	Seconds     float64 `json:"seconds,omitempty"`
}

// A child is a process that answers requests.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	err     bytes.Buffer
	version string
}

// start starts a child and waits until it is ready. A failure says what the child said last.
func start(name string, args, env []string) (*child, error) {
	c := &child{cmd: exec.Command(name, args...)}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = &c.err
	apart(c.cmd)
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.in, c.out = in, json.NewDecoder(bufio.NewReader(out))
	var a answer
	if err := c.out.Decode(&a); err != nil {
		return nil, c.failure(err)
	}
	c.version = a.Version
	pause(c.cmd.Process)
	return c, nil
}

// stop ends the child.
func (c *child) stop() {
	resume(c.cmd.Process)
	c.in.Close()
	c.cmd.Wait()
}

func (c *child) failure(err error) error {
	c.stop()
	said := strings.Split(strings.TrimSpace(c.err.String()), "\n")
	return errors.New(cmp.Or(said[len(said)-1], err.Error()))
}

// ask resumes the child for one answer.
func (c *child) ask(r request) (a answer, err error) {
	resume(c.cmd.Process)
	defer pause(c.cmd.Process)
	line, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return a, c.failure(err)
	}
	if err := c.out.Decode(&a); err != nil {
		return a, c.failure(err)
	}
	if a.Unsupported != "" {
		return a, fmt.Errorf("%w: %s", errUnsupported, a.Unsupported)
	}
	return a, nil
}

// run is the timer of what was prepared. A child that dies takes the benchmark with it.
func (c *child) run(reps int) (seconds float64) {
	a, err := c.ask(request{Reps: reps})
	must(err)
	return a.Seconds
}

//go:embed peers/peer.py
var peerScript string

// pythonPeers are the names that peers/peer.py knows.
var pythonPeers = []string{"torch", "openvino", "ort-mha", "ort-gqa", "ort-attention", "ggml"}

// pythonPeer starts one of them.
func pythonPeer(python, name string) (impl, *child, error) {
	c, err := start(python, []string{"-c", peerScript, name}, nil)
	if err != nil {
		return impl{}, nil, err
	}
	return impl{
		name: name, version: c.version, parallel: true,
		attention: func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
			return c.prepare(request{Shape: shapeOf(q, k, o)}, map[string][]float32{"q": q.Data, "k": k.Data, "v": v.Data}, dst.Data)
		},
		masked: func(dst, q, k, v kernel.Tensor, o *kernel.Options) (quiet.Timer, error) {
			shape, mask := shapeOf(q, k, o), make([]float32, q.Len*k.Len)
			switch {
			case o.Mask != nil:
				shape.Mask = "bool"
				for i := range mask {
					if o.Mask.Data[i] {
						mask[i] = 1
					}
				}
			default:
				shape.Mask = "bias"
				copy(mask, o.Bias.Data)
			}
			return c.prepare(request{Shape: shape}, map[string][]float32{"q": q.Data, "k": k.Data, "v": v.Data, "mask": mask}, dst.Data)
		},
		kept: func(dst, q, k, v kernel.Tensor, typ kernel.Type, o *kernel.Options) (quiet.Timer, error) {
			shape := shapeOf(q, k, o)
			shape.Type = typeNames[typ]
			return c.prepare(request{Shape: shape}, map[string][]float32{"q": q.Data, "k": k.Data, "v": v.Data}, dst.Data)
		},
		backward: func(g *kernel.Gradient, o *kernel.Options) (quiet.Timer, error) {
			shape := shapeOf(g.Q, g.K, o)
			shape.Gradient = true
			return c.prepare(request{Shape: shape}, map[string][]float32{"q": g.Q.Data, "k": g.K.Data, "v": g.V.Data, "do": g.DO.Data}, g.DQ.Data)
		},
		product: func(c2, a, b kernel.Matrix, typ kernel.Type, workers int) (quiet.Timer, error) {
			if typ != kernel.Float32 {
				return nil, errUnsupported
			}
			shape := &productShape{a.Rows, a.Cols, b.Cols, workers}
			return c.prepare(request{Product: shape}, map[string][]float32{"a": a.Data, "b": b.Data}, c2.Data)
		},
	}, c, nil
}

func shapeOf(q, k kernel.Tensor, o *kernel.Options) *attentionShape {
	return &attentionShape{Queries: q.Len, Keys: k.Len, Dim: q.Dim, Heads: q.Heads, KVHeads: k.Heads, Causal: o.Causal, Workers: o.Workers}
}

// prepare hands operands to a child in Python, and returns the timer of what it makes of them; out is its first
// result.
func (c *child) prepare(r request, operands map[string][]float32, out []float32) (quiet.Timer, error) {
	return c.run, c.exchange(r, operands, map[string][]float32{"out": out})
}

// exchange hands operands to a child in Python, and sets its results.
func (c *child) exchange(r request, operands, results map[string][]float32) error {
	dir, err := os.MkdirTemp("", "attn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, x := range operands {
		b, _ := binary.Append(nil, binary.NativeEndian, x)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	r.Dir = dir
	if _, err := c.ask(r); err != nil {
		return err
	}
	for name, x := range results {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if len(b) != 4*len(x) {
			return fmt.Errorf("attn: %s has %d bytes, want %d elements", name, len(b), len(x))
		}
		if _, err := binary.Decode(b, binary.NativeEndian, x); err != nil {
			return err
		}
	}
	return nil
}

// goPeer starts a benchmark binary as a child, which must compute the same bits as this process.
func goPeer(name, path string, env ...string) (impl, *child, error) {
	c, err := start(path, []string{"serve"}, env)
	if err != nil {
		return impl{}, nil, err
	}
	return impl{
		name: name, parallel: true,
		remote: func(b benchmark, workers int) (job, error) {
			a, err := c.ask(request{Benchmark: b.name(), Workers: workers})
			return job{run: c.run, digest: a.Digest}, err
		},
	}, c, nil
}

// otherBackends are the assembly backends that this machine has beside the selected one, each with what
// makes package kernel select it.
func otherBackends() map[string]string {
	if runtime.GOARCH == "amd64" && selected.name == "avx512" {
		return map[string]string{"avx2": "GODEBUG=cpu.avx512f=off"}
	}
	return nil
}

// serve answers requests until in ends.
func serve(in io.Reader, out io.Writer) error {
	debug.SetGCPercent(-1)
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	if err := answers.Encode(answer{Version: selected.name}); err != nil {
		return err
	}
	byName := map[string]benchmark{}
	for _, b := range benchmarks(false) {
		byName[b.name()] = b
	}
	var prepared job
	for {
		var r request
		if err := requests.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		if r.Reps > 0 {
			a.Seconds = prepared.run(r.Reps)
		} else {
			prepared = job{} // to be collected
			runtime.GC()
			b, ok := byName[r.Benchmark]
			err := errUnsupported
			if ok {
				prepared, err = b.on(selected, r.Workers)
			}
			if err != nil {
				a.Unsupported = err.Error()
			} else if prepared.out != nil {
				prepared.run(1)
				a.Digest = digest(prepared.out)
			}
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

// digest is equal for equal bits.
func digest(x []float32) uint64 {
	h := fnv.New64a()
	binary.Write(h, binary.LittleEndian, x)
	return h.Sum64()
}

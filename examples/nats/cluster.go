package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// A cluster is a NATS server in this process, and shards that are processes of this machine.
type cluster struct {
	spans          int // of a shard
	timeout        time.Duration
	sent, received atomic.Int64 // bytes of requests and answers

	server    *server.Server
	nc        *nats.Conn
	folder    string
	processes []*exec.Cmd
}

// startCluster starts shards that have rows of all keys.
func startCluster(ctx context.Context, shards, spans int, rows []float32) (c *cluster, err error) {
	c = &cluster{spans: spans, timeout: 5 * time.Second, processes: make([]*exec.Cmd, shards)}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	if c.folder, err = os.MkdirTemp("", "shards-"); err != nil {
		return c, err
	}
	if c.server, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}); err != nil {
		return c, err
	}
	c.server.Start()
	if !c.server.ReadyForConnections(10 * time.Second) {
		return c, errors.New("the NATS server does not start")
	}
	if c.nc, err = nats.Connect(c.server.ClientURL()); err != nil {
		return c, err
	}
	for i := range shards {
		all := spans * generic.SpanKeys * rowLen
		from := min(i*all, len(rows))
		data, err := binary.Append(nil, binary.LittleEndian, rows[from:min(from+all, len(rows))])
		if err != nil {
			return c, err
		}
		if err := os.WriteFile(fileOf(c.folder, i), data, 0o600); err != nil {
			return c, err
		}
		if err := c.start(ctx, i); err != nil {
			return c, err
		}
	}
	return c, nil
}

// start starts the process of a shard, and waits until it answers.
func (c *cluster) start(ctx context.Context, number int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p := exec.Command(self, "shard", "-url", c.server.ClientURL(), "-number", fmt.Sprint(number), "-spans", fmt.Sprint(c.spans),
		"-file", fileOf(c.folder, number))
	p.Stderr = os.Stderr
	if err := p.Start(); err != nil {
		return err
	}
	c.processes[number] = p
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := c.nc.Request(subject(number), nil, time.Second) // which one that has just been killed may still get
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// kill ends the process of a shard at once.
func (c *cluster) kill(number int) error {
	p := c.processes[number]
	c.processes[number] = nil
	err := p.Process.Kill()
	p.Wait() // says that it was killed
	return err
}

// stop ends all.
func (c *cluster) stop() {
	for i, p := range c.processes {
		if p != nil {
			c.kill(i)
		}
	}
	if c.nc != nil {
		c.nc.Close()
	}
	if c.server != nil {
		c.server.Shutdown()
	}
	if c.folder != "" {
		os.RemoveAll(c.folder)
	}
}

// attend stores a token and returns what its query finds among all keys up to its position: the bits of kernel.Attention over them.
// It returns an error that names the shard if one is not there, fails, or does not answer within the timeout. To ask again is safe.
func (c *cluster) attend(ctx context.Context, position int, t *token) ([]float32, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	last := position / (c.spans * generic.SpanKeys)
	type answer struct {
		partial kernel.Partial
		err     error
	}
	answers := make(chan answer, last+1)
	for i := range last + 1 {
		var row []float32
		if i == last {
			row = t.row
		}
		data := request(position, t.query, row)
		c.sent.Add(int64(len(data)))
		go func() {
			var a answer
			a.partial, a.err = c.ask(ctx, i, data)
			answers <- a
		}()
	}
	var all kernel.Partial
	for range last + 1 {
		a := <-answers
		if a.err != nil {
			return nil, a.err
		}
		if err := all.Merge(&a.partial); err != nil {
			return nil, err
		}
	}
	out := make([]float32, heads*headDim)
	return out, all.Finish(queries(out), nil)
}

// ask returns what a shard answers.
func (c *cluster) ask(ctx context.Context, number int, data []byte) (p kernel.Partial, err error) {
	m, err := c.nc.RequestWithContext(ctx, subject(number), data)
	if err == nil {
		if text := m.Header.Get(failed); text != "" {
			err = errors.New(text)
		} else {
			err = p.UnmarshalBinary(m.Data)
		}
		c.received.Add(int64(len(m.Data)))
	}
	if err != nil {
		return p, fmt.Errorf("shard %d: %w", number, err)
	}
	return p, nil
}

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// The shape of the layer, and the elements of a row: the keys of a token and then its values, the heads side by side.
const (
	heads, kvHeads, headDim = 8, 2, 64
	rowLen                  = 2 * kvHeads * headDim
)

// A token is what a layer computes of the newest token: the query of all heads, and its row.
type token struct{ query, row []float32 }

func randomToken(position int) *token {
	r := rand.New(rand.NewPCG(2, uint64(position)))
	return &token{normal(r, heads*headDim), normal(r, rowLen)}
}

// randomRows are those of n tokens.
func randomRows(n int) []float32 { return normal(rand.New(rand.NewPCG(1, 0)), n*rowLen) }

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// queries are a row of heads, of queries or of what they find.
func queries(x []float32) kernel.Tensor {
	return kernel.Tensor{Data: x, Heads: heads, Len: 1, Dim: headDim}
}

// keysAndValues are those of rows.
func keysAndValues(rows []float32) (k, v kernel.Tensor) {
	k = kernel.Tensor{Data: rows, Heads: kvHeads, Len: len(rows) / rowLen, Dim: headDim, HeadStride: headDim, LenStride: rowLen}
	v = k
	v.Data = rows[min(kvHeads*headDim, len(rows)):]
	return k, v
}

// A shard has the rows of some spans, in memory and in a file, which a shard that takes its place reads.
type shard struct {
	number, spans int

	mutex sync.Mutex
	file  *os.File
	rows  []float32
}

// first is the number of its first key.
func (s *shard) first() int { return s.number * s.spans * generic.SpanKeys }

// subject is where a shard listens.
func subject(number int) string { return "attn.shard." + strconv.Itoa(number) }

// failed is the header of an answer that is an error.
const failed = "Error"

// serve answers until ctx is done.
func (s *shard) serve(ctx context.Context, url, path string) (err error) {
	if err := s.open(path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.file.Close()) }()
	lost := make(chan struct{})
	nc, err := nats.Connect(url, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(lost) }))
	if err != nil {
		return err
	}
	defer nc.Close()
	if _, err := nc.Subscribe(subject(s.number), func(m *nats.Msg) {
		answer := nats.NewMsg(m.Reply)
		var err error
		if answer.Data, err = s.answer(m.Data); err != nil {
			answer.Header.Set(failed, err.Error())
		}
		nc.PublishMsg(answer) // who waits in vain has a deadline
	}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-lost:
		return errors.New("the NATS server is gone")
	}
}

// open reads the rows that are there.
func (s *shard) open(path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n := len(data) / (4 * rowLen) // a row that is there in part is sent again
	if most := s.spans * generic.SpanKeys; n > most {
		return fmt.Errorf("%s has %d rows, want up to %d", path, n, most)
	}
	s.rows = make([]float32, n*rowLen, s.spans*generic.SpanKeys*rowLen)
	if _, err := binary.Decode(data, binary.LittleEndian, s.rows); err != nil {
		return err
	}
	s.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

// A request is the position of the newest token (8 bytes), its query and, for the shard that it belongs to, its row. An empty one asks
// whether somebody is there.
func request(position int, query, row []float32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(position))
	b, _ = binary.Append(b, binary.LittleEndian, query) // floats have a size
	b, _ = binary.Append(b, binary.LittleEndian, row)
	return b
}

// answer stores the row of a request, if it has one, and returns what the keys up to its position make of the query. To answer the same
// request again changes nothing.
func (s *shard) answer(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	const short, long = 8 + 4*heads*headDim, 8 + 4*(heads*headDim+rowLen)
	if len(data) != short && len(data) != long {
		return nil, fmt.Errorf("a request of %d bytes, want %d or %d", len(data), short, long)
	}
	position := binary.LittleEndian.Uint64(data)
	floats := make([]float32, (len(data)-8)/4)
	if _, err := binary.Decode(data[8:], binary.LittleEndian, floats); err != nil {
		return nil, err
	}
	query, row := floats[:heads*headDim], floats[heads*headDim:]
	s.mutex.Lock()
	defer s.mutex.Unlock()
	first, have := s.first(), len(s.rows)/rowLen
	if position < uint64(first) || position > 1<<40 {
		return nil, fmt.Errorf("position %d, want %d or more, the first key of the shard", position, first)
	}
	n := min(int(position)+1-first, s.spans*generic.SpanKeys) // rows that the query sees
	if len(row) > 0 {
		if at := int(position) - first; at >= n || at > have {
			return nil, fmt.Errorf("the row of position %d, want up to %d", position, first+min(have, s.spans*generic.SpanKeys-1))
		} else if err := s.store(at, row); err != nil {
			return nil, err
		}
		have = len(s.rows) / rowLen
	}
	if have < n {
		return nil, fmt.Errorf("%d rows are lost: there are %d of %d", n-have, have, n)
	}
	k, v := keysAndValues(s.rows[:n*rowLen])
	var p kernel.Partial
	err := kernel.AttentionPartial(&p, queries(query), k, v, first, &kernel.Options{Causal: true, Start: []int{int(position)}, Workers: 1})
	if err != nil {
		return nil, err
	}
	return p.MarshalBinary()
}

// store sets row number at, which is there or is the next one. The file has it first.
func (s *shard) store(at int, row []float32) error {
	b, err := binary.Append(nil, binary.LittleEndian, row)
	if err != nil {
		return err
	}
	if _, err := s.file.WriteAt(b, int64(at*len(b))); err != nil {
		return err
	}
	s.rows = s.rows[:max(len(s.rows), (at+1)*rowLen)]
	copy(s.rows[at*rowLen:], row)
	return nil
}

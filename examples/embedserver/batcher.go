package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

var (
	errOverloaded = errors.New("model is overloaded")
	errStopped    = errors.New("the server stops")
)

// An embedder returns the vectors of texts, or ctx.Err() when ctx is done before.
type embedder func(ctx context.Context, ids [][]int) ([][]float32, error)

// A batcher packs the texts that wait into one call of the model, in the order in which they came: while a batch is
// computed, the next one gathers.
type batcher struct {
	embed                              embedder
	mostWaiting, mostTexts, mostTokens int                     // texts that wait; of a batch, texts and tokens
	batch                              func(texts, tokens int) // is told of each batch

	mutex   sync.Mutex
	arrived sync.Cond // something waits, or it stops
	waiting []*text
	stopped bool
	done    chan struct{}
}

// A text waits for its vector.
type text struct {
	ctx    context.Context // of who waits
	ids    []int
	answer chan<- answer // has room for it
	index  int
}

type answer struct {
	index  int
	vector []float32
	err    error
}

// start computes batches until stop.
func (b *batcher) start() {
	b.arrived.L = &b.mutex
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		for {
			batch, ids := b.next()
			if batch == nil {
				return
			}
			vectors, err := b.call(batch, ids)
			for i, t := range batch {
				a := answer{index: t.index, err: err}
				if err == nil {
					a.vector = vectors[i]
				}
				t.answer <- a
			}
		}
	}()
}

// call is embed, of which a panic is an error: those who wait get an answer. It stops when nobody waits any more.
func (b *batcher) call(batch []*text, ids [][]int) (vectors [][]float32, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var left atomic.Int64
	for _, t := range batch {
		defer context.AfterFunc(t.ctx, func() {
			if left.Add(1) == int64(len(batch)) {
				cancel()
			}
		})()
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	if vectors, err = b.embed(ctx, ids); err == nil && len(vectors) != len(ids) {
		err = fmt.Errorf("%d vectors of %d texts", len(vectors), len(ids))
	}
	return vectors, err
}

// next waits for texts and takes a batch of them, or nil when nothing waits and b has been stopped. Texts for which nobody
// waits any more are left out.
func (b *batcher) next() (batch []*text, ids [][]int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	tokens := 0
	for len(batch) == 0 {
		for len(b.waiting) == 0 {
			if b.stopped {
				return nil, nil
			}
			b.arrived.Wait()
		}
		for len(b.waiting) > 0 && len(batch) < b.mostTexts {
			t := b.waiting[0]
			if t.ctx.Err() == nil {
				if len(batch) > 0 && tokens+len(t.ids) > b.mostTokens {
					break
				}
				batch, ids = append(batch, t), append(ids, t.ids)
				tokens += len(t.ids)
			}
			b.waiting[0] = nil
			b.waiting = b.waiting[1:]
		}
	}
	b.batch(len(batch), tokens)
	return batch, ids
}

// vectors waits for the vectors of texts. All of them are taken, or none, and then the error is errOverloaded; where ctx
// is done before, it is ctx.Err(): what has not been begun is not computed, and a batch that nobody else waits for stops.
func (b *batcher) vectors(ctx context.Context, texts [][]int) ([][]float32, error) {
	answers := make(chan answer, len(texts))
	b.mutex.Lock()
	switch {
	case b.stopped:
		b.mutex.Unlock()
		return nil, errStopped
	case len(b.waiting)+len(texts) > b.mostWaiting:
		b.mutex.Unlock()
		return nil, errOverloaded
	}
	for i, ids := range texts {
		b.waiting = append(b.waiting, &text{ctx, ids, answers, i})
	}
	b.mutex.Unlock()
	b.arrived.Signal()

	vectors := make([][]float32, len(texts))
	for range texts {
		select {
		case a := <-answers:
			if a.err != nil {
				return nil, a.err
			}
			vectors[a.index] = a.vector
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return vectors, nil
}

// size is how many texts wait.
func (b *batcher) size() int {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return len(b.waiting)
}

// stop refuses what comes, and returns when what waited has its answers.
func (b *batcher) stop() {
	b.mutex.Lock()
	b.stopped = true
	b.mutex.Unlock()
	b.arrived.Signal()
	<-b.done
}

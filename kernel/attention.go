package kernel

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/selfattn/attn/generic"
)

// Options of [Attention]. The zero value is plain scaled dot-product attention.
type Options struct {
	// Scale multiplies the scores; 0 means 1/sqrt(Dim of q).
	Scale float32

	// Causal hides the future, with q at the end of k: query i sees the keys
	// j <= i + (Len of k - Len of q).
	Causal bool

	// Workers is the number of goroutines that share the work; 0 means GOMAXPROCS, and
	// 1 runs on the calling goroutine and does not allocate. Results do not depend on it.
	Workers int
}

// Attention computes dst = softmax(scale * Q.K^T + mask) . V for every batch and head: each
// query, compared with every key that it sees, mixes their values by the shares of the softmax. opts may be nil.
//
//	q   [Batch][Heads][Lq][Dim]      k   [Batch][KV heads][Lk][Dim]
//	dst [Batch][Heads][Lq][VDim]     v   [Batch][KV heads][Lk][VDim]
//
// Heads is a multiple of the KV heads (grouped-query attention): query head h
// uses KV head h / (Heads / KV heads). Dims are 1 to 1024. All layouts that a
// [Tensor] describes are read and written in place; multiples of 16 in Dim
// are fastest. dst may be q itself (the same view), and must not share
// memory with an input otherwise.
//
// A query that sees no key gives zeros. Keys that are hidden from a query never influence it,
// whatever k and v hold there. A NaN or +Inf in a visible score makes that row NaN, and
// no other one. Attention needs memory for a few tiles per worker, whatever Lq and Lk are.
//
// It returns an error that names the argument, before it writes, if
// shapes, strides, lengths of Data, overlaps or options are wrong.
//
// The algorithm is online softmax over tiles of keys (Milakov and Gimelshein,
// Online normalizer calculation for softmax, 2018; Dao et al., FlashAttention, 2022). Package generic
// defines its arithmetic. With u = 2^-24, d = Dim, c = scale, A the largest
// sum_i |q_i*k_i| and X the largest difference of two scores of a row,
// the error of an output is at most about u*(2*c*(d+2)*A + 2*X + 6) times the spread of the values that
// it mixes, plus u*(T + Lk/128 + 4) times their largest magnitude, T = min(Lk, 128).
func Attention(dst, q, k, v Tensor, opts *Options) error {
	var o Options
	if opts != nil {
		o = *opts
	}
	workers, err := workerCount(o.Workers)
	if err != nil {
		return err
	}
	if dst, q, k, v, err = checkAttention(dst, q, k, v, o); err != nil {
		return err
	}
	if q.empty() {
		return nil
	}
	j := jobs.Get().(*job)
	j.plan(dst, q, k, v, o, workers)
	j.run(min(workers, j.items))
	j.dst, j.q, j.k, j.v = Tensor{}, Tensor{}, Tensor{}, Tensor{} // keep no data alive
	jobs.Put(j)
	return nil
}

// checkAttention resolves the tensors and checks that they fit together.
func checkAttention(dst, q, k, v Tensor, o Options) (_, _, _, _ Tensor, err error) {
	fail := func(format string, args ...any) (_, _, _, _ Tensor, err error) {
		return dst, q, k, v, fmt.Errorf("attn: "+format, args...)
	}
	for _, t := range []struct {
		name string
		t    *Tensor
	}{{"dst", &dst}, {"q", &q}, {"k", &k}, {"v", &v}} {
		if *t.t, err = t.t.resolve(t.name); err != nil {
			return dst, q, k, v, err
		}
	}
	if err := checkQueryKey(q, k, o); err != nil {
		return dst, q, k, v, err
	}
	switch {
	case v.Batch != q.Batch:
		return fail("v.Batch is %d, want %d as of q", v.Batch, q.Batch)
	case dst.Batch != q.Batch:
		return fail("dst.Batch is %d, want %d as of q", dst.Batch, q.Batch)
	case dst.Heads != q.Heads:
		return fail("dst.Heads is %d, want %d as of q", dst.Heads, q.Heads)
	case v.Heads != k.Heads:
		return fail("v.Heads is %d, want %d as of k", v.Heads, k.Heads)
	case dst.Len != q.Len:
		return fail("dst.Len is %d, want %d as of q", dst.Len, q.Len)
	case v.Len != k.Len:
		return fail("v.Len is %d, want %d as of k", v.Len, k.Len)
	case dst.Dim != v.Dim:
		return fail("dst.Dim is %d, want %d as of v", dst.Dim, v.Dim)
	}
	if overlap(dst.Data, k.Data) || overlap(dst.Data, v.Data) {
		return fail("dst.Data shares memory with k.Data or v.Data")
	}
	same := q.Dim == dst.Dim && q.BatchStride == dst.BatchStride && q.HeadStride == dst.HeadStride && q.LenStride == dst.LenStride
	if overlap(dst.Data, q.Data) && !(same && &dst.Data[0] == &q.Data[0]) {
		return fail("dst.Data shares memory with q.Data without being the same view")
	}
	return dst, q, k, v, nil
}

// checkQueryKey checks that resolved queries, keys and options fit together.
func checkQueryKey(q, k Tensor, o Options) error {
	switch {
	case k.Batch != q.Batch:
		return fmt.Errorf("attn: k.Batch is %d, want %d as of q", k.Batch, q.Batch)
	case k.Heads == 0 && q.Heads != 0 || k.Heads != 0 && q.Heads%k.Heads != 0:
		return fmt.Errorf("attn: k.Heads is %d, want a divisor of %d, the heads of q", k.Heads, q.Heads)
	case k.Dim != q.Dim:
		return fmt.Errorf("attn: k.Dim is %d, want %d as of q", k.Dim, q.Dim)
	case k.Len > math.MaxInt32:
		return fmt.Errorf("attn: k.Len is %d, want at most %d", k.Len, math.MaxInt32)
	case o.Scale != o.Scale || math.IsInf(float64(o.Scale), 0):
		return fmt.Errorf("attn: Options.Scale is %g, want a finite number", o.Scale)
	}
	return nil
}

// A job is one call of Attention, cut into items that workers take one by one. An item is a
// block of queries of one KV head, with all query heads of its group, and all the keys or, if
// few queries face many keys, a span of them.
type job struct {
	dst, q, k, v Tensor
	scale        float32 // of the queries, in log2 units
	causal       bool
	group        int // query heads per KV head
	rows         int // queries of a KV head: Lq * group, query-major
	blockRows    int // queries of a block
	blocks       int // blocks of a KV head
	byRow        bool
	keySpans     int // spans of spanTiles tiles, of byRow
	spans        int // spans that are items of their own: keySpans or 1
	items        int
	merges       []merge // of each KV head, if spans > 1
	next         atomic.Int64
	wait         sync.WaitGroup
}

var jobs = sync.Pool{New: func() any { return new(job) }}

const (
	genericWidth = 16

	// panelsPerBlock panels go through a tile of keys together, so that K and V come
	// from memory once for all of them and from L2 for each.
	panelsPerBlock = 4

	// fewRows queries or less read their keys row by row: a panel would be mostly padding.
	fewRows = 8

	// spanTiles tiles are the share of one worker if the keys of few queries are split.
	spanTiles = 8
)

func (j *job) plan(dst, q, k, v Tensor, o Options, workers int) {
	scale := o.Scale
	if scale == 0 {
		scale = float32(1 / math.Sqrt(float64(q.Dim)))
	}
	j.dst, j.q, j.k, j.v = dst, q, k, v
	j.scale = generic.Log2Scale(scale)
	j.causal = o.Causal
	j.group = q.Heads / k.Heads
	j.rows = q.Len * j.group
	j.next.Store(0)

	heads := q.Batch * k.Heads
	j.byRow = j.rows <= fewRows
	j.blockRows, j.spans = j.rows, 1
	if !j.byRow {
		// Smaller blocks where there would be too few for all workers.
		for p := panelsPerBlock; p > 0; p /= 2 {
			j.blockRows = p * panelWidth()
			if workers == 1 || heads*ceilDiv(j.rows, j.blockRows) >= 4*workers {
				break
			}
		}
	} else {
		j.keySpans = max(1, ceilDiv(k.Len, spanTiles*generic.TileKeys))
		if workers > 1 && heads < 4*workers {
			j.spans = j.keySpans
		}
	}
	j.blocks = ceilDiv(j.rows, j.blockRows)
	j.items = heads * j.blocks * j.spans
	if j.spans > 1 {
		j.prepareMerges(heads)
	}
}

func (j *job) run(workers int) {
	for range workers - 1 {
		j.wait.Add(1)
		go j.help()
	}
	j.work()
	j.wait.Wait()
}

func (j *job) help() {
	defer j.wait.Done()
	j.work()
}

func (j *job) work() {
	w := scratch.Get().(*worker)
	w.size(j)
	for {
		i := int(j.next.Add(1)) - 1
		if i >= j.items {
			break
		}
		span := i % j.spans
		i /= j.spans
		// The last queries see the most keys when causal: they go first.
		block := j.blocks - 1 - i%j.blocks
		i /= j.blocks
		b, head := i/j.k.Heads, i%j.k.Heads
		if j.byRow {
			w.rowItem(j, b, head, span)
		} else {
			w.panelBlock(j, b, head, block*j.blockRows)
		}
	}
	scratch.Put(w)
}

// A worker is the scratch memory of one goroutine.
type worker struct {
	memory  []float32 // what the slices below are cut from
	q, acc  []float32 // panels of queries, and of outputs so far
	s       []float32 // scores and weights: of a tile, or of parts
	partial []float32 // mixes of parts
	parts   [spanTiles * fewRows]part
	merge   merge
	panels  [panelsPerBlock]panel
	ignored generic.Panel
}

var scratch = sync.Pool{New: func() any { return new(worker) }}

// size provides memory for the shapes of j.
func (w *worker) size(j *job) {
	lanes := ceilDiv(j.blockRows, panelWidth()) * panelWidth()
	q, acc := lanes*generic.Pad(j.q.Dim), lanes*generic.Pad(j.v.Dim)
	s, partial := generic.TileKeys*panelWidth(), generic.Pad(j.v.Dim)
	if j.byRow {
		slots := min(spanTiles, ceilDiv(j.k.Len, generic.TileKeys)) * j.rows
		s, partial = max(s, slots*generic.TileKeys), slots*partial
	}
	w.memory = aligned(w.memory, q+acc+s+partial)
	rest := w.memory
	cut := func(n int) (part []float32) {
		part, rest = rest[:n:n], rest[n:]
		return part
	}
	w.q, w.acc, w.s, w.partial = cut(q), cut(acc), cut(s), cut(partial)
}

// aligned returns buf or new memory with room for n elements from the start of a cache line.
func aligned(buf []float32, n int) []float32 {
	if cap(buf) >= n {
		return buf[:n]
	}
	const line = 16 // elements
	buf = make([]float32, n+line)
	skip := -(uintptr(unsafe.Pointer(&buf[0])) / 4) % line
	return buf[skip:][:n]
}

// workerCount checks Options.Workers.
func workerCount(n int) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("attn: Options.Workers is %d, want 0 or more", n)
	}
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return n, nil
}

func ceilDiv(x, y int) int { return (x + y - 1) / y }

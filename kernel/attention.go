package kernel

import (
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/queue"
)

// Options of [Attention]. The zero value is plain scaled dot-product attention.
type Options struct {
	// Scale multiplies the scores; 0 means 1/sqrt(Dim of q).
	Scale float32

	// Causal hides the future, with q at the end of k: query i sees the keys j <= i + (Len of k -
	// Len of q).
	Causal bool

	// Workers is the most goroutines that share the work: 1 runs on the calling goroutine and,
	// once its scratch memory is there, does not allocate; 0 adapts, so that calls in flight share the
	// GOMAXPROCS processors and, where there are as many, each runs on its own goroutine. Results do
	// not depend on it. Calls of less than 0.1 ms are not shared. The other goroutines end with the call, but for one thing: while calls
	// follow each other closely, they keep their threads busy for up to about 0.1 ms, to be ready for
	// the next. Where calls do not, they do so after one call in 16.
	Workers int
}

// Attention computes dst = softmax(scale * Q.K^T + mask) . V for every batch and head: each query,
// compared with every key that it sees, mixes their values by the shares of the softmax. opts may
// be nil.
//
//	q   [Batch][Heads][Lq][Dim]      k   [Batch][KV heads][Lk][Dim]
//	dst [Batch][Heads][Lq][VDim]     v   [Batch][KV heads][Lk][VDim]
//
// Heads is a multiple of the KV heads (grouped-query attention): query head h uses KV head h /
// (Heads / KV heads). Dims are 1 to 1024. All layouts that a [Tensor] describes are read and
// written in place; multiples of 16 in Dim are fastest. dst may be q itself (the same view), and
// must not share an element with an input otherwise: the views of one fused buffer may take turns,
// row by row.
//
// A query that sees no key gives zeros. Keys that are hidden from a query never influence it,
// whatever k and v hold there. A NaN or +Inf in a visible score makes that row NaN, and no other
// one. A score of -Inf means a weight of 0, and so may one whose weight is below 2^-124 of the largest;
// the value counts all the same if it is NaN or infinite, as 0 times that is NaN. Attention needs
// memory for a few tiles per worker, whatever Lq and Lk are.
//
// Finite queries and keys have finite scores while |scale*q_i| and sum_i |scale*q_i*k_i| are below
// 2.3e38 (scores are computed in units of log 2, which are 1.44 times as large); beyond that a score
// may overflow to NaN, +Inf or -Inf. Finite values have finite mixes while sum_j |v_j|, over the keys that
// the query sees, is below 2^127 in each column: their weights are at most 1, and what is divided by
// the sum of the weights is the mix. Beyond that an output may become infinite or NaN.
//
// It returns an error that names the argument, before it writes, if shapes, strides, lengths of
// Data, overlaps or options are wrong.
//
// The algorithm is online softmax over tiles of keys (Milakov and Gimelshein, Online normalizer
// calculation for softmax, 2018; Dao et al., FlashAttention, 2022). Package generic defines its
// arithmetic. With u = 2^-24, d = Dim, c = |scale|, A the largest sum_i |q_i*k_i| and X the largest
// difference of two scores of a row, the error of an output is, to first order in u and where nothing
// underflows, at most u*(c*(d+2)*A + X + 3) times the difference of the largest and the least value that it
// mixes, plus 2*u*(T + Lk/256 + 3) times their largest magnitude, T = min(Lk, 256). Package fuzz has the rigorous
// bound of an instance, of all orders and with underflows, and tests that it holds.
func Attention(dst, q, k, v Tensor, opts *Options) error {
	o, workers, err := opts.resolve()
	if err != nil {
		return err
	}
	if dst, q, k, v, err = checkAttention(dst, q, k, v); err != nil {
		return err
	}
	if q.empty() {
		return nil
	}
	j := jobs.Get().(*job)
	j.plan(dst, q, k, v, o, queue.Workers(workers))
	queue.Share(j.call(o), j)
	j.release()
	return nil
}

// A job is one call of Attention, cut into items that workers claim. An item is some queries of one
// KV head, with all query heads of its group, and all the keys or, if few queries face many keys, a
// span of them.
type job struct {
	dst, q, k, v Tensor
	scale        float32 // of the queries, in log2 units
	causal       bool
	group        int  // query heads per KV head
	rows         int  // queries of a KV head: Lq * group, query-major
	few          int  // the last of them, which are computed row by row
	byRow        bool // all of them
	itemRows     int  // queries of an item
	block        int  // items that are computed together
	copyV        bool
	heads        int // KV heads of an item: more than one if byRow, and their keys are neighbours
	tiles        int // of a span of keys
	keySpans     int
	perHead      int // items of as many KV heads; if byRow 1, or keySpans
	items        int
	workers      int
	useful       int     // workers that the work is worth
	merges       []merge // of each KV head, if its spans are items
}

var jobs = sync.Pool{New: func() any { return new(job) }}

// release puts j back, without keeping data alive.
func (j *job) release() {
	j.dst, j.q, j.k, j.v = Tensor{}, Tensor{}, Tensor{}, Tensor{}
	jobs.Put(j)
}

const (
	// narrowPanel is the width of a panel for few queries, and of all panels but those of AVX-512.
	narrowPanel = asm.NarrowPanel

	// blockRows queries go through a tile of keys together, so that K and V come from memory once
	// for all of them and from L2 for each of their panels.
	blockRows = 64

	// farRows elements or more between the rows of v make each tile of them be copied: its columns
	// are read group by group, and rows so far apart share few sets of the caches. The blocks are
	// twice as large then. Wide panels read larger groups, and gain nothing.
	farRows = 512

	// spanTiles tiles, of one KV head or several, are the share of one worker if the keys of few
	// queries are split.
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

	heads := q.Batch * k.Heads
	j.few = fewQueries(j.rows, k.Len)
	j.byRow, j.copyV = j.few == j.rows, false
	// Heads that are neighbours in memory go together, unless that leaves fewer items to several workers.
	j.heads = 1
	neighbours := k.HeadStride < k.LenStride || v.HeadStride < v.LenStride
	if j.byRow && neighbours && (workers == 1 || k.Len >= spanTiles*generic.TileKeys) {
		j.heads = min(k.Heads, spanTiles)
	}
	j.tiles = spanTiles / j.heads
	j.keySpans = max(1, ceilDiv(k.Len, j.tiles*generic.TileKeys))
	groups := q.Batch * ceilDiv(k.Heads, j.heads)
	if j.byRow {
		j.itemRows, j.block, j.perHead = j.rows, 1, 1
		if workers > 1 && groups < 4*workers {
			j.perHead = j.keySpans
		}
	} else {
		j.itemRows = asm.PanelWidth(blockRows)
		j.block = blockRows / j.itemRows
		if j.copyV = j.itemRows == narrowPanel && v.LenStride >= farRows && j.rows > blockRows; j.copyV {
			j.block *= 2
		}
		j.perHead = ceilDiv(j.rows, j.itemRows)
	}
	j.items = groups * j.perHead
	// Few queries are as slow as the reading of their keys: as slow as 5.
	j.workers, j.useful = workers, usefulWorkers(heads*(q.Dim+v.Dim), k.Len, max(j.rows, 5))
	if j.byRow && j.perHead > 1 {
		j.prepareMerges(heads)
	}
}

// call returns how the items of j are shared.
func (j *job) call(o Options) queue.Call {
	return queue.Call{
		Items: j.items, Group: j.perHead, Block: j.block, Workers: j.workers, Useful: j.useful,
		Adapt: o.Workers == 0, Turns: j.byRow && j.perHead > 1,
	}
}

// Work computes items of j on one goroutine.
func (j *job) Work(h *queue.Hand) {
	w := scratch.Get().(*worker)
	w.size(j)
	w.hand = h
	for {
		i, n, ok := h.Next()
		if !ok {
			break
		}
		if j.byRow {
			group, groups := i/j.perHead, ceilDiv(j.k.Heads, j.heads)
			head := group % groups * j.heads
			w.rowItem(j, group/groups, head, min(j.heads, j.k.Heads-head), i%j.perHead)
		} else {
			// The other workers are likely to take as many items before this one takes the next.
			w.panelBlock(j, j.blockAt(i, n), j.blockAt(i+n*h.Workers(), j.block))
		}
	}
	w.hand = nil
	clear(w.ahead[:cap(w.ahead)]) // do not keep the tensors
	scratch.Put(w)
}

// A worker is the scratch memory of one goroutine.
type worker struct {
	hand    *queue.Hand
	memory  []float32 // what the slices below are cut from
	q, acc  []float32 // panels of queries, and of outputs so far
	v       []float32 // a tile of values, if copied
	s       []float32 // scores and weights: of a tile, or of parts
	partial []float32 // mixes of parts
	parts   [spanTiles]part
	merges  [spanTiles]merge // of the KV heads of an item
	panels  [2 * blockRows / narrowPanel]panel
	ignored tile.Panel
	ahead   []tile.Rows // what the next block begins with
	taken   int         // how many of these are read ahead already
}

var scratch = sync.Pool{New: func() any { return &worker{ahead: make([]tile.Rows, 0, 16)} }}

// size provides memory for the shapes of j.
func (w *worker) size(j *job) {
	lanes := ceilDiv(max(j.block*j.itemRows, j.heads*narrowPanel), tile.MaxPanel) * tile.MaxPanel
	q, acc := lanes*tile.Pad(j.q.Dim), lanes*tile.Pad(j.v.Dim)
	s, partial := generic.TileKeys*tile.MaxPanel, tile.Pad(j.v.Dim)
	if j.few > 0 {
		slots := j.heads * min(j.tiles, ceilDiv(j.k.Len, generic.TileKeys)) * j.scoreRows(j.few)
		s, partial = max(s, slots*generic.TileKeys), slots*partial
	}
	v := 0
	if j.copyV {
		v = generic.TileKeys * j.v.Dim
	}
	w.memory = aligned(w.memory, q+acc+v+s+partial)
	w.q, w.acc = cut(w.memory, q)
	w.acc, w.v = cut(w.acc, acc)
	w.v, w.s = cut(w.v, v)
	w.s, w.partial = cut(w.s, s)
}

// cut splits x after n elements.
func cut(x []float32, n int) (head, tail []float32) { return x[:n:n], x[n:] }

// aligned returns buf or new memory with room for n elements from the start of a cache line. What was too
// little becomes half as much again at least, so that a size that grows step by step allocates rarely.
func aligned(buf []float32, n int) []float32 {
	if cap(buf) >= n {
		return buf[:n]
	}
	const line = 16 // elements
	buf = make([]float32, max(n, cap(buf)+cap(buf)/2)+line)
	skip := -(uintptr(unsafe.Pointer(&buf[0])) / 4) % line
	return buf[skip:][:n]
}

// resolve returns the options, of which o may be nil, and its Workers.
func (o *Options) resolve() (Options, int, error) {
	if o == nil {
		o = new(Options)
	}
	if s := generic.Log2Scale(o.Scale); s-s != 0 {
		return *o, 0, fmt.Errorf("attn: Options.Scale is %g, want a finite number of a magnitude below 2.3e38", o.Scale)
	}
	workers, err := workerCount("Options", o.Workers)
	return *o, workers, err
}

// workerCount checks the field Workers of options of that name.
func workerCount(name string, n int) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("attn: %s.Workers is %d, want 0 or more", name, n)
	}
	return n, nil
}

// usefulWorkers returns how many workers x*y*z multiply-adds are worth: one for each 0.1 ms, at 25
// of them a nanosecond.
func usefulWorkers(x, y, z int) int {
	const each = 25 * 100_000
	n, ok := product(x, y)
	if ok {
		n, ok = product(n, z)
	}
	if !ok {
		return queue.MaxWorkers
	}
	return min(queue.MaxWorkers, 1+n/each)
}

func ceilDiv(x, y int) int { return (x + y - 1) / y }

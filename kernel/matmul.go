package kernel

import (
	"fmt"
	"sync"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
	"github.com/selfattn/attn/kernel/internal/queue"
)

// MatMulOptions are the options of [MatMul]. The zero value is a plain product on all cores.
type MatMulOptions struct {
	// Workers is the number of goroutines that share the work, as in [Options]. Results do not
	// depend on it.
	Workers int
}

// MatMul computes the matrix product c = a.b, with c of a.Rows x b.Cols and a.Cols = b.Rows. opts
// may be nil.
//
// Each element is one chain of fused multiply-adds in increasing index, so that with u = 2^-24 and
// n = a.Cols its error is at most n*(u*sum |a_ik*b_kj| + 2^-150), unless a partial sum of the products
// overflows. If n is 0, c becomes 0.
//
// It returns an error that names the argument, before it writes, if shapes, strides, lengths of Data
// or options are wrong, or c shares an element with a or b.
func MatMul(c, a, b Matrix, opts *MatMulOptions) error {
	if opts == nil {
		opts = new(MatMulOptions)
	}
	workers, err := workerCount("MatMulOptions", opts.Workers)
	if err != nil {
		return err
	}
	if c, a, b, err = checkMatMul(c, a, b); err != nil {
		return err
	}
	matMul(c, a, b, false, workers)
	return nil
}

func checkMatMul(c, a, b Matrix) (_, _, _ Matrix, err error) {
	if c, err = c.resolve("c"); err != nil {
		return
	}
	if a, err = a.resolve("a"); err != nil {
		return
	}
	if b, err = b.resolve("b"); err != nil {
		return
	}
	switch {
	case b.Rows != a.Cols:
		err = fmt.Errorf("attn: b is %d x %d, want %d rows, the columns of a", b.Rows, b.Cols, a.Cols)
	case c.Rows != a.Rows || c.Cols != b.Cols:
		err = fmt.Errorf("attn: c is %d x %d, want %d x %d, the rows of a by the columns of b", c.Rows, c.Cols, a.Rows, b.Cols)
	default:
		if name := shared(c.footprint(), operand{"a.Data", a.footprint()}, operand{"b.Data", b.footprint()}); name != "" {
			err = fmt.Errorf("attn: c.Data shares memory with %s", name)
		}
	}
	return c, a, b, err
}

// The blocks of a matrix product: a packed panel of b (blockK x 16 or 32) is read again and again
// while it meets blockM rows of a, which stay in L2 while they meet blockN columns of b. Rows of a
// that lie a multiple of a page apart would share few sets of the caches: they are copied.
const (
	blockK = 512
	blockM = 96
	blockN = 2048
	page   = 1024 // elements
)

// lowRows rows of c or less meet b as it lies in memory, lowBlock rows of it at a time, in groups of
// lowGroup: to pack b would take longer than to multiply by it.
const (
	lowRows  = 16
	lowGroup = 4
	lowBlock = 64
)

// matMul computes c = a.b, or c += a.b, of checked matrices. workers is as in [Options].
func matMul(c, a, b Matrix, add bool, workers int) {
	if len(c.Data) == 0 {
		return
	}
	if a.Cols == 0 {
		if !add {
			for i := range c.Rows {
				zero(c.Data[i*c.Stride:][:c.Cols])
			}
		}
		return
	}
	p := products.Get().(*matrixProduct)
	p.c, p.a, p.b, p.add = c, a, b, add
	call := queue.Call{Useful: queue.Useful(float64(c.Rows) * float64(c.Cols) * float64(a.Cols)), Adapt: workers == 0}
	workers = min(queue.Workers(workers), call.Useful)
	// Items are blocks of columns, and of rows too where those are too few.
	p.m, p.n = c.Rows, min(blockN, c.Cols)
	if workers > 1 {
		for p.n > 4*tile.MaxPanel && ceilDiv(c.Cols, p.n) < 2*workers {
			p.n = ceilDiv(p.n/2, tile.MaxPanel) * tile.MaxPanel
		}
		for p.m > blockM && ceilDiv(c.Cols, p.n)*ceilDiv(c.Rows, p.m) < 4*workers {
			p.m = ceilDiv(p.m, 2)
		}
	}
	p.columns = ceilDiv(c.Cols, p.n)
	call.Items, call.Workers = p.columns*ceilDiv(c.Rows, p.m), workers
	queue.Share(call, p)
	p.c, p.a, p.b = Matrix{}, Matrix{}, Matrix{}
	products.Put(p)
}

// A matrixProduct is one call of matMul, cut into items of m x n elements of c.
type matrixProduct struct {
	c, a, b Matrix
	add     bool
	m, n    int
	columns int
}

var products = sync.Pool{New: func() any { return new(matrixProduct) }}

// Work computes items of p on one goroutine.
func (p *matrixProduct) Work(h *queue.Hand) {
	buf := packs.Get().(*packed)
	k, low := min(blockK, p.a.Cols), p.c.Rows <= lowRows
	buf.a = memory.Aligned(buf.a, k*min(blockM, p.m))
	buf.b = memory.Aligned(buf.b, max(k, lowRows)*ceilDiv(p.n, tile.MaxPanel)*tile.MaxPanel)
	for {
		i, _, ok := h.Next()
		if !ok {
			break
		}
		if low {
			p.lowItem(buf, i*p.n)
		} else {
			p.item(buf, i/p.columns*p.m, i%p.columns*p.n)
		}
	}
	packs.Put(buf)
}

// packed is the scratch memory of one goroutine.
type packed struct {
	a       []float32                       // a block of a
	b       []float32                       // a block of b, in panels, or of c
	c       [blockM * tile.MaxPanel]float32 // the last columns of c, if less than a panel, or rows of a
	ignored [lowGroup]float32               // sums
}

var packs = sync.Pool{New: func() any { return new(packed) }}

// item computes the elements of c from (row, col) on.
func (p *matrixProduct) item(buf *packed, row, col int) {
	m, n := min(p.m, p.c.Rows-row), min(p.n, p.c.Cols-col)
	for first := 0; first < p.a.Cols; first += blockK {
		k := min(blockK, p.a.Cols-first)
		add := p.add || first > 0
		pack(buf.b, p.b.Data[first*p.b.Stride+col:], p.b.Stride, k, n)
		for i := row; i < row+m; i += blockM {
			rows := min(blockM, row+m-i)
			a, lda := p.a.Data[i*p.a.Stride+first:], p.a.Stride
			if lda%page == 0 {
				for r := range rows {
					copy(buf.a[r*k:][:k], a[r*lda:])
				}
				a, lda = buf.a, k
			}
			for j, width := 0, 0; j < n; j += width {
				width = asm.PanelWidth(n - j)
				c, b := p.c.Data[i*p.c.Stride+col+j:], buf.b[j*k:]
				block := tile.Rows{Data: a, Len: rows, Dim: k, Stride: lda}
				if j+width <= n {
					asm.MatMulTile(tile.Rows{Data: c, Len: rows, Dim: width, Stride: p.c.Stride}, block, b, add)
					continue
				}
				for r := range rows {
					copy(buf.c[r*width:], c[r*p.c.Stride:][:n-j])
				}
				asm.MatMulTile(tile.Rows{Data: buf.c[:], Len: rows, Dim: width, Stride: width}, block, b, add)
				for r := range rows {
					copy(c[r*p.c.Stride:][:n-j], buf.c[r*width:])
				}
			}
		}
	}
}

// lowItem computes the columns of c from col on as the mixes of values that rows of b are.
func (p *matrixProduct) lowItem(buf *packed, col int) {
	m, n := p.c.Rows, min(p.n, p.c.Cols-col)
	ld := tile.Pad(n)
	for i := range m {
		row := buf.b[i*ld:][:n]
		if clear(row); p.add {
			copy(row, p.c.Data[i*p.c.Stride+col:])
		}
	}
	for first := 0; first < p.a.Cols; first += lowBlock {
		k := min(lowBlock, p.a.Cols-first)
		b := p.b.Data[first*p.b.Stride+col:]
		for i := 0; i < m; i += lowGroup {
			rows := min(lowGroup, m-i)
			for r := range rows {
				copy(buf.c[r*generic.TileKeys:][:k], p.a.Data[(i+r)*p.a.Stride+first:])
			}
			v := tile.Rows{Data: b, Len: k, Dim: n, Stride: p.b.Stride}
			asm.RowValues(buf.b[i*ld:], buf.c[:], buf.ignored[:], plan.PadRows(rows), v)
		}
	}
	for i := range m {
		copy(p.c.Data[i*p.c.Stride+col:][:n], buf.b[i*ld:])
	}
}

// pack copies k rows of n columns into panels, padded by zeros: a few rows at a time, so that
// neither b nor the panels are touched in too many places.
func pack(dst, b []float32, stride, k, n int) {
	const few = 8
	for first := 0; first < k; first += few {
		last := min(first+few, k)
		for j, width := 0, 0; j < n; j += width {
			width = asm.PanelWidth(n - j)
			for i := first; i < last; i++ {
				from, to := b[i*stride+j:], dst[j*k+i*width:]
				switch {
				case j+width > n:
					c := copy(to[:width], from[:n-j])
					clear(to[c:width])
				case width == asm.NarrowPanel:
					*(*[asm.NarrowPanel]float32)(to) = [asm.NarrowPanel]float32(from)
				default:
					*(*[tile.MaxPanel]float32)(to) = [tile.MaxPanel]float32(from)
				}
			}
		}
	}
}

func ceilDiv(x, y int) int { return (x + y - 1) / y }

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

// MatMulOptions are the options of [MatMul] and [MatMulPacked]. The zero value is a plain product on
// all cores.
type MatMulOptions struct {
	// TransA and TransB take the transpose of a or b: a is stored with a row for each column of the
	// factor, b with a row for each column of c.
	TransA, TransB bool

	// Add adds the product to c, instead of replacing c.
	Add bool

	// Bias, an element for each column of c, is added to every row. It must not share memory with c.
	Bias []float32

	// Workers is the number of goroutines that share the work, as in [Options]. Results do not
	// depend on it.
	Workers int
}

// MatMul computes the matrix product c = a.b, with c of a.Rows x b.Cols and a.Cols = b.Rows, rows and
// columns of a factor that is transposed being swapped. opts may be nil.
//
// Element (i, j) is the sum (s_0 + s_1) + ..., from the left, where s_t is a chain of fused multiply-adds
// of [generic.ProductTerms] terms, or what is left, in increasing index. s_0 starts from the bias and the
// others from +0; with Add the sum is ((c_ij + s_0) + s_1) + ... instead. Without terms s_0 is what it
// starts from. With u = 2^-24, n terms and S = sum |a_ik*b_kj| + |bias_j|, chains are off by at most E =
// min(n, 1024)*u*S + n*2^-150 together, and the element by E + (ceil(n/1024)-1)*u*(S+E), or with Add by
// E + ceil(n/1024)*u*(S+E+|c_ij|), unless a partial sum overflows.
//
// It returns an error that names the argument, before it writes, if shapes, strides, lengths of Data
// or options are wrong, or c shares an element with a, b or the bias.
func MatMul(c, a, b Matrix, opts *MatMulOptions) error {
	if opts == nil {
		opts = new(MatMulOptions)
	}
	p := newProduct()
	if err := p.checkAll(&c, &a, &b, opts); err != nil {
		p.release()
		return err
	}
	p.run()
	return nil
}

// A matrixProduct is m x n elements of k terms, checked.
type matrixProduct struct {
	c, a           Matrix
	b              Matrix    // or
	packed         *Packed   // instead, of which
	from           int       // is the first column, where a panel begins
	transA, transB bool      // what is stored is the transpose
	flip           bool      // of c too, whose rows are m nevertheless
	bias           []float32 // an element a column of c, or nil
	add            bool
	workers        int
	m, n, k        int
}

// checkAll sets the arguments, if they are right.
func (p *matrixProduct) checkAll(c, a, b *Matrix, opts *MatMulOptions) error {
	p.b, p.transB = *b, opts.TransB
	if err := p.b.resolve("b"); err != nil {
		return err
	}
	if err := p.check(c, a, opts); err != nil {
		return err
	}
	if overlap(p.c.Data, p.b.Data) && p.c.footprint().meets(p.b.footprint()) {
		return fmt.Errorf("attn: c.Data shares memory with b.Data")
	}
	return nil
}

// check sets the arguments besides b, if they are right.
func (p *matrixProduct) check(c, a *Matrix, opts *MatMulOptions) error {
	p.c, p.a, p.workers = *c, *a, opts.Workers
	if err := checkWorkers("MatMulOptions", opts.Workers); err != nil {
		return err
	}
	if err := p.c.resolve("c"); err != nil {
		return err
	}
	if err := p.a.resolve("a"); err != nil {
		return err
	}
	p.transA, p.add, p.bias = opts.TransA, opts.Add, opts.Bias
	p.k, p.n = p.b.Rows, p.b.Cols
	if p.packed != nil {
		p.k, p.n = p.packed.rows, p.packed.cols
	}
	if p.transB {
		p.k, p.n = p.n, p.k
	}
	p.m = a.Rows
	terms := a.Cols
	if p.transA {
		p.m, terms = terms, p.m
	}
	switch {
	case terms != p.k && p.transB:
		return fmt.Errorf("attn: b is %d x %d and transposed, want %d columns, the %s of a", p.n, p.k, terms, sides[!p.transA])
	case terms != p.k:
		return fmt.Errorf("attn: b is %d x %d, want %d rows, the %s of a", p.k, p.n, terms, sides[!p.transA])
	case c.Rows != p.m || c.Cols != p.n:
		return fmt.Errorf("attn: c is %d x %d, want %d x %d, the %s of a by the %s of b", c.Rows, c.Cols, p.m, p.n, sides[p.transA], sides[!p.transB])
	case opts.Bias != nil && len(opts.Bias) != p.n:
		return fmt.Errorf("attn: MatMulOptions.Bias has %d elements, want %d, the columns of c", len(opts.Bias), p.n)
	}
	switch {
	case overlap(p.c.Data, p.a.Data) && p.c.footprint().meets(p.a.footprint()):
		return fmt.Errorf("attn: c.Data shares memory with a.Data")
	case overlap(p.c.Data, p.bias) && p.c.footprint().meets(vectorFootprint(p.bias)):
		return fmt.Errorf("attn: c.Data shares memory with MatMulOptions.Bias")
	}
	return nil
}

// sides are what the rows, or with true the columns, of a factor are in what is stored.
var sides = map[bool]string{false: "rows", true: "columns"}

// The blocks of a matrix product. A block of a, blockM x ProductTerms, stays in L2 while it meets one
// packed panel of b after the other (ProductTerms x 16 or 32), which the first tile that reads it packs.
// Panels of blockB elements at most are kept for the next block. Rows of a that lie a multiple of a page
// apart would share few sets of the caches: they are copied.
const (
	blockM = 96
	blockB = 1 << 20
	page   = 1024 // elements
)

// lowRows rows of c or less, fewer than a tile has, meet b as it lies in memory, lowBlock rows of it at a
// time, in groups of lowGroup: to pack b would take longer than to multiply by it.
const (
	lowRows  = 11
	lowGroup = 4
	lowBlock = 64
	lowFull  = 512 // the most columns in full panels that AVX2 packs from 6 rows on
)

// low reports whether m rows of n columns are low. AVX2, whose tiles have 6 rows, packs b for fewer: for 6 and from 9 on or, in
// full panels, which the first tile packs while it reads them, for 7 and 8, too, unless columns are many.
func low(m, n int) bool {
	if asm.Backend() == "avx2" {
		return m <= 5 || m <= 8 && m != 6 && (n > lowFull || n%asm.NarrowPanel != 0)
	}
	return m <= lowRows
}

// isPanel reports whether b lies in memory as a panel does: nothing is to be packed.
func (p *matrixProduct) isPanel() bool {
	return p.packed == nil && !p.transB && p.n == p.b.Stride && p.n == asm.PanelWidth(p.n)
}

// Up to fewColumns columns of c may be computed as rows of its transpose: the long operand is read once, as panels of its
// rows, instead of meeting a panel of hardly any columns.
const fewColumns = 8

// turns reports whether the transpose takes less time. If no factor is transposed and there is no bias, the columns of b become
// the queries of scores: that pays where they need no padding, or are padded to fewer than the rows of c. Elsewhere it pays
// where they are padded to no more than these rows are.
func (p *matrixProduct) turns() bool {
	if p.packed != nil || p.n > fewColumns {
		return false
	}
	rows := plan.PadRows(p.n)
	if p.transA || p.transB || p.bias != nil {
		return rows <= plan.PadRows(p.m)
	}
	return rows == p.n || rows < p.m
}

// compute computes a product of checked arguments.
func (p *matrixProduct) compute() {
	s := newProduct()
	s.matrixProduct = *p
	s.run()
}

// run computes the product and releases p.
func (p *sharedProduct) run() {
	switch {
	case len(p.c.Data) == 0:
	case p.k == 0:
		p.empty()
	default:
		p.turn()
		p.share()
	}
	p.release()
}

// share cuts the product into items, and shares them.
func (p *sharedProduct) share() {
	// A row takes as long as four, which read as much.
	useful := queue.Useful(float64(max(p.m, 4)) * float64(p.n) * float64(p.k))
	workers := min(queue.Workers(p.workers), useful)
	// Items are blocks of columns, and of rows too where those are too few.
	p.rows, p.cols = p.m, p.n
	if p.packed == nil {
		p.cols = min(p.n, blockB/tile.Pad(min(p.k, generic.ProductTerms))/tile.MaxPanel*tile.MaxPanel)
	}
	if workers > 1 {
		for p.cols > 4*tile.MaxPanel && plan.CeilDiv(p.n, p.cols) < 2*workers {
			p.cols = plan.CeilDiv(p.cols/2, tile.MaxPanel) * tile.MaxPanel
		}
		for p.rows > blockM && plan.CeilDiv(p.n, p.cols)*plan.CeilDiv(p.m, p.rows) < 4*workers {
			p.rows = plan.CeilDiv(p.rows, 2)
		}
	}
	p.columns = plan.CeilDiv(p.n, p.cols)
	p.desk.Share(queue.Call{Items: p.columns * plan.CeilDiv(p.m, p.rows), Workers: workers, Useful: useful, Adapt: p.workers == 0}, p)
}

// turn takes the transpose of a product of few columns.
func (p *matrixProduct) turn() {
	switch {
	case p.packed != nil && p.packed.few != nil:
		p.transB, p.transA = !p.transA, false
		p.a, p.b, p.packed = Matrix{p.n, p.k, p.k, p.packed.few[p.from*p.k:]}, p.a, nil
	case p.turns():
		p.transA, p.transB = !p.transB, !p.transA
		p.a, p.b = p.b, p.a
	default:
		return
	}
	p.m, p.n, p.flip = p.n, p.m, true
}

// empty computes a product without terms.
func (p *matrixProduct) empty() {
	for i := range p.c.Rows {
		row := p.c.Data[i*p.c.Stride:][:p.c.Cols]
		if !p.add {
			memory.Clear(row)
			memory.Copy(row, p.bias)
			continue
		}
		for j := range row {
			s := float32(0)
			if p.bias != nil {
				s = p.bias[j]
			}
			row[j] += s
		}
	}
}

// A sharedProduct is a product that is cut into items of rows x cols elements.
type sharedProduct struct {
	matrixProduct
	desk       queue.Desk
	rows, cols int
	columns    int // of items
}

var products = sync.Pool{New: func() any { return new(sharedProduct) }}

// newProduct returns a product without arguments, for one run or release.
func newProduct() *sharedProduct { return products.Get().(*sharedProduct) }

// release puts p back, without keeping data alive.
func (p *sharedProduct) release() {
	p.matrixProduct = matrixProduct{}
	products.Put(p)
}

// Work computes items of p on one goroutine.
func (p *sharedProduct) Work(h *queue.Hand) {
	buf := packs.Get().(*packing)
	for {
		i, _, ok := h.Next()
		if !ok {
			break
		}
		row, col := i/p.columns*p.rows, i%p.columns*p.cols
		switch {
		case p.packed != nil:
			p.item(buf, row, col)
		case p.m <= fewColumns && p.transB && p.bias == nil:
			p.scoreItem(buf, col)
		case low(p.m, p.n) && !p.transB && !p.flip && !p.isPanel():
			p.lowItem(buf, col)
		default:
			p.item(buf, row, col)
		}
	}
	packs.Put(buf)
}

// packing is the scratch memory of one goroutine.
type packing struct {
	a       []float32                           // a block of a
	b       []float32                           // a block of b, in panels, or of c
	c       [blockM * tile.MaxPanel]float32     // a tile of c, or rows of a
	start   [fewColumns * tile.MaxPanel]float32 // what chains start from
	offset  [tile.MaxPanel]int
	ignored [lowGroup]float32 // sums
}

var packs = sync.Pool{New: func() any { return new(packing) }}

// item computes the elements of c from (row, col) on.
func (p *sharedProduct) item(buf *packing, row, col int) {
	m, n := min(p.rows, p.m-row), min(p.cols, p.n-col)
	blocks := plan.CeilDiv(m, blockM)
	for first := 0; first < p.k; first += generic.ProductTerms {
		k := min(generic.ProductTerms, p.k-first)
		if p.packed == nil {
			buf.b = memory.Aligned(buf.b, tile.Pad(k)*plan.CeilDiv(n, tile.MaxPanel)*tile.MaxPanel)
		}
		for i, block := row, 0; block < blocks; block++ {
			rows := (m + block) / blocks // equal, or one more
			a := p.block(buf, i, rows, first, k)
			var b panel
			for j, columns := 0, 0; j < n; j += columns {
				if p.packed != nil {
					columns = p.packed.panel(&b, p.from+col+j, n-j, first, k)
					p.tiles(buf, &a, &b, col+j, columns)
					continue
				}
				columns = asm.PanelWidth(n - j)
				dst := buf.b[j*k:]
				if blocks == 1 {
					dst = buf.b // which stays in L2
				}
				b = panel{floats: dst[:k*columns], width: columns}
				switch from := p.b.Data[min(first*p.b.Stride+col+j, len(p.b.Data)):]; {
				case p.isPanel():
					b.floats = from[:k*columns]
				case block > 0:
				case p.transB:
					packTransposed(dst, Matrix{p.b.Rows, k, p.b.Stride, p.b.Data[first:]}, col+j, columns, &buf.offset)
				case columns <= n-j && !p.flip:
					b.loose = tile.Rows{Data: from, Len: k, Dim: columns, Stride: p.b.Stride}
				default:
					pack(dst, from, p.b.Stride, k, min(columns, n-j))
				}
				p.tiles(buf, &a, &b, col+j, columns)
			}
			i += rows
		}
	}
}

// A block is some terms of rows of a.
type block struct {
	tile.Rows
	i, first int // the first row, and the first term
}

// block returns k terms of rows of a: where they are, or a copy of them.
func (p *matrixProduct) block(buf *packing, i, rows, first, k int) block {
	if !p.transA && p.a.Stride%page != 0 {
		return block{tile.Rows{Data: p.a.Data[i*p.a.Stride+first:], Len: rows, Dim: k, Stride: p.a.Stride}, i, first}
	}
	if !p.transA {
		return block{copyRows(&buf.a, tile.Rows{Data: p.a.Data[i*p.a.Stride+first:], Len: rows, Dim: k, Stride: p.a.Stride}), i, first}
	}
	a := tile.Rows{Len: rows, Dim: k, Stride: tile.Pad(k) + apart}
	buf.a = memory.Aligned(buf.a, rows*a.Stride)
	a.Data = buf.a
	for t, width := 0, 0; t < k; t += width {
		width = asm.PanelWidth(k - t)
		for q := range width {
			buf.offset[q] = (first+min(t+q, k-1))*p.a.Stride + i
		}
		asm.PackPanel(buf.c[:], p.a.Data, &buf.offset, width, rows, 1)
		for r := range rows {
			copy(a.Row(r)[t:], buf.c[r*width:][:width])
		}
	}
	return block{a, i, first}
}

// tiles computes the tiles of a block of a and panels of b, which are elements of c from column j on: of so many columns,
// of which c may lack the last ones of a single panel.
func (p *matrixProduct) tiles(buf *packing, a *block, b *panel, j, columns int) {
	i, width, left, add := a.i, b.width, min(columns, p.n-j), p.add || a.first > 0
	t := Float32
	if p.packed != nil {
		t = p.packed.storedType
	}
	var start tile.Rows
	if p.bias != nil && a.first == 0 {
		start = tile.Rows{Data: buf.start[:], Len: a.Len, Dim: width}
		switch {
		case p.flip:
			start.Stride = width
			for r := range a.Len {
				for x := range width {
					start.Data[r*width+x] = p.bias[i+r]
				}
			}
		case left == columns:
			start.Data = p.bias[j:]
		default:
			clear(start.Data[copy(start.Data, p.bias[j:]):width])
		}
	}
	if !p.flip && left == columns {
		b.multiply(t, tile.Rows{Data: p.c.Data[i*p.c.Stride+j:], Len: a.Len, Dim: width, Stride: p.c.Stride}, a.Rows, start, add)
		return
	}
	c := tile.Rows{Data: buf.c[:], Len: a.Len, Dim: width, Stride: width}
	if add {
		for r := range a.Len {
			if !p.flip {
				copy(c.Row(r), p.c.Data[(i+r)*p.c.Stride+j:][:left])
				continue
			}
			for x := range left {
				c.Data[r*width+x] = p.c.Data[(j+x)*p.c.Stride+i+r]
			}
		}
	}
	b.multiply(t, c, a.Rows, start, add)
	for r := range a.Len {
		if !p.flip {
			copy(p.c.Data[(i+r)*p.c.Stride+j:][:left], c.Row(r))
			continue
		}
		for x := range left {
			p.c.Data[(j+x)*p.c.Stride+i+r] = c.Data[r*width+x]
		}
	}
}

// Copies have so many elements between their rows that these share no cache sets.
const apart = 16

// copyRows copies rows to where they do not share cache sets.
func copyRows(buf *[]float32, x tile.Rows) tile.Rows {
	y := tile.Rows{Len: x.Len, Dim: x.Dim, Stride: tile.Pad(x.Dim) + apart}
	*buf = memory.Aligned(*buf, y.Len*y.Stride)
	y.Data = *buf
	for i := range x.Len {
		copy(y.Row(i), x.Row(i))
	}
	return y
}

// queries returns k terms of the rows of a side by side, padded to as many rows, and the distance from
// term to term: where they are, or a copy of them.
func (p *matrixProduct) queries(buf *packing, rows, first, k int) ([]float32, int) {
	if p.m == rows && p.transA {
		return p.a.Data[first*p.a.Stride:], p.a.Stride
	}
	if p.m == 1 && (!p.transA || p.a.Stride == 1) {
		a := p.a.Data[first:][:k]
		if rows > 1 { // the others, which do not count, begin with its next terms
			buf.a = memory.Aligned(buf.a, k+rows-1)
			clear(buf.a[copy(buf.a, a):])
			a = buf.a
		}
		return a, 1
	}
	buf.a = memory.Aligned(buf.a, k*rows)
	clear(buf.a)
	if p.transA {
		for t := range k {
			copy(buf.a[t*rows:][:p.m], p.a.Data[(first+t)*p.a.Stride:])
		}
		return buf.a, rows
	}
	for r := range p.m {
		for t, x := range p.a.Data[r*p.a.Stride+first:][:k] {
			buf.a[t*rows+r] = x
		}
	}
	return buf.a, rows
}

// manyKeys are worth the padding of one query to four, where they lie a multiple of a page apart. Less than that are
// copied.
const manyKeys = 64

// scoreItem computes the columns of c from col on as the scores of queries, the rows of a, against keys, the
// stored rows of b, whose chains start from +0.
func (p *sharedProduct) scoreItem(buf *packing, col int) {
	n, rows := min(p.cols, p.n-col), plan.PadRows(p.m)
	if n >= manyKeys {
		rows = plan.ScoreRows(p.m, p.b.Stride)
	}
	for first := 0; first < p.k; first += generic.ProductTerms {
		k, add := min(generic.ProductTerms, p.k-first), p.add || first > 0
		queries, width := p.queries(buf, rows, first, k)
		for j := col; j < col+n; j += tile.Keys {
			keys := tile.Rows{Data: p.b.Data[j*p.b.Stride+first:], Len: min(tile.Keys, col+n-j), Dim: k, Stride: p.b.Stride}
			count := keys.Len
			switch {
			case 1 < count && count < plan.RowKeys: // as RowKeys, of which the others are anything
				stride := tile.Pad(k)
				buf.b = memory.Aligned(buf.b, plan.RowKeys*stride)
				for i := range count {
					copy(buf.b[i*stride:][:k], keys.Row(i))
				}
				keys = tile.Rows{Data: buf.b, Len: plan.RowKeys, Dim: k, Stride: stride}
			case rows == 1 && count > plan.RowKeys && p.b.Stride%page == 0:
				keys = copyRows(&buf.b, keys)
			}
			asm.RowScores(buf.c[:], queries, width, rows, &keys, keys.Len*keys.Stride)
			for r := range p.m {
				at, step := r*p.c.Stride+j, 1
				if p.flip {
					at, step = j*p.c.Stride+r, p.c.Stride
				}
				for _, s := range buf.c[r*tile.Keys:][:count] {
					if c := &p.c.Data[at]; add {
						*c += s
					} else {
						*c = s
					}
					at += step
				}
			}
		}
	}
}

// lowItem computes the columns of c from col on as the mixes of values that rows of b are.
func (p *sharedProduct) lowItem(buf *packing, col int) {
	n := min(p.cols, p.n-col)
	ld := tile.Pad(n)
	buf.b = memory.Aligned(buf.b, plan.CeilDiv(p.m, lowGroup)*lowGroup*ld)
	for first := 0; first < p.k; first += lowBlock {
		begin := first%generic.ProductTerms == 0
		if begin { // a chain
			for i := range p.m {
				row := buf.b[i*ld:][:n]
				if clear(row); p.bias != nil && first == 0 {
					copy(row, p.bias[col:])
				}
			}
		}
		k := min(lowBlock, p.k-first)
		v := tile.Rows{Data: p.b.Data[first*p.b.Stride+col:], Len: k, Dim: n, Stride: p.b.Stride}
		for i := 0; i < p.m; i += lowGroup {
			rows := min(lowGroup, p.m-i)
			for r := range rows {
				weights := buf.c[r*generic.TileKeys:][:k]
				if !p.transA {
					copy(weights, p.a.Data[(i+r)*p.a.Stride+first:])
					continue
				}
				for t := range weights {
					weights[t] = p.a.Data[(first+t)*p.a.Stride+i+r]
				}
			}
			asm.RowValues(buf.b[i*ld:], buf.c[:], buf.ignored[:], plan.PadRows(rows), &v, v.Len*v.Stride)
		}
		if end := first + k; end%generic.ProductTerms == 0 || end == p.k {
			add := p.add || end > generic.ProductTerms
			for i := range p.m {
				row, sums := p.c.Data[i*p.c.Stride+col:][:n], buf.b[i*ld:][:n]
				if !add {
					memory.Copy(row, sums)
					continue
				}
				for j, s := range sums {
					row[j] += s
				}
			}
		}
	}
}

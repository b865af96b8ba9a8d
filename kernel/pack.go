package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
	"github.com/selfattn/attn/kernel/internal/plan"
)

// PackOptions are the options of [Pack].
type PackOptions struct {
	// Trans takes the transpose of b: it is stored with a row for each column of the factor, as PyTorch
	// and safetensors store weights, [out][in].
	Trans bool

	// Type is what the elements are stored as: the product is that by the values that they have then,
	// which [ToFloat16], [ToBFloat16] and, for each column by itself, [Quantize] round to. Products of
	// a few rows are bound by reading b: where it comes from memory, half the bytes take half the time.
	Type Type
}

// Packed is the second factor of a matrix product in the layout that [MatMulPacked] reads fastest. It
// never changes, and any number of goroutines may use it at once.
type Packed struct {
	rows, cols int
	width      int // of the panels but the last
	storedType Type
	panels     panel     // for each block of ProductTerms rows, its panels side by side, or
	few        []float32 // the transpose, of few columns
}

// A panel is packed elements of one of the types, of one or more panels of a width, one behind the other.
type panel struct {
	width  int
	floats []float32
	halves []uint16
	bytes  []int8
	scale  []float32 // of each column, of bytes
	loose  tile.Rows // what to pack into floats first, if anything
}

// multiply is [tile.MatMulTile] for elements of a type.
func (b *panel) multiply(t Type, c, a, start tile.Rows, add bool) {
	switch t {
	case Float16:
		asm.MatMulTileFloat16(c, a, start, b.halves, add)
	case BFloat16:
		asm.MatMulTileBFloat16(c, a, start, b.halves, add)
	case Int8:
		asm.MatMulTileInt8(c, a, start, b.bytes, b.scale, add)
	default:
		if b.loose.Len > 0 {
			asm.MatMulPack(c, a, start, b.loose, b.floats, add)
			return
		}
		asm.MatMulTile(c, a, start, b.floats, add)
	}
}

// Pack copies b into the layout of its own that [MatMulPacked] takes, for a factor that many products
// share: so these need not pack it again and again, as [MatMul] has to. b may change afterwards. opts may
// be nil.
//
// A Packed takes as much memory as the elements of b in their type, up to a multiple of 16 columns, or as
// float32 where there are no more than 8. From 256 KiB on, Linux is asked for huge pages, of which the first and
// the last may hold other memory of the heap too.
//
// It returns an error that names the argument if shape, stride, length of Data or options are wrong.
func Pack(b Matrix, opts *PackOptions) (*Packed, error) { return packNamed("b", b, opts) }

// packNamed is Pack of an argument of this name.
func packNamed(name string, b Matrix, opts *PackOptions) (*Packed, error) {
	if opts == nil {
		opts = new(PackOptions)
	}
	if err := b.resolve(name); err != nil {
		return nil, err
	}
	if opts.Type < Float32 || opts.Type > Int8 {
		return nil, fmt.Errorf("attn: PackOptions.Type is %d, want Float32, Float16, BFloat16 or Int8", opts.Type)
	}
	p := &Packed{rows: b.Rows, cols: b.Cols, width: asm.PanelWidth(tile.MaxPanel), storedType: opts.Type}
	if opts.Trans {
		p.rows, p.cols = b.Cols, b.Rows
	}
	if b.Data == nil {
		return p, nil
	}
	if p.cols <= fewColumns {
		p.few = make([]float32, p.rows*p.cols)
		for j := range p.cols {
			column := p.few[j*p.rows:][:p.rows]
			if opts.Trans {
				memory.Copy(column, b.Data[j*b.Stride:][:p.rows])
			} else {
				for i := range column {
					column[i] = b.Data[i*b.Stride+j]
				}
			}
			opts.Type.round(column)
		}
		return p, nil
	}
	size, ok := product(p.rows, p.padded())
	const slack = 15 * tile.MaxPanel // which packTransposed may write
	if !ok || size > math.MaxInt/4-slack {
		return nil, fmt.Errorf("attn: %s is %d x %d: the size of its panels overflows int", name, b.Rows, b.Cols)
	}
	var block []float32 // that is stored in another type
	switch opts.Type {
	case Float32:
		p.panels.floats = memory.Huge(memory.Aligned[float32](nil, size+slack))
	case Int8:
		p.panels.bytes = memory.Huge(make([]int8, size))
		p.panels.scale = make([]float32, p.padded())
		p.scales(b, opts.Trans)
	default:
		p.panels.halves = memory.Huge(make([]uint16, size))
	}
	if opts.Type != Float32 {
		block = make([]float32, min(p.rows, generic.ProductTerms)*p.padded()+slack)
	}
	var offset [tile.MaxPanel]int
	for first := 0; first < p.rows; first += generic.ProductTerms {
		k, at := min(generic.ProductTerms, p.rows-first), first*p.padded()
		if opts.Type == Float32 {
			block = p.panels.floats[at:]
		}
		if opts.Trans {
			for j, width := 0, 0; j < p.cols; j += width {
				width = p.widthAt(j)
				packTransposed(block[j*k:], Matrix{b.Rows, k, b.Stride, b.Data[first:]}, j, width, &offset)
			}
		} else {
			pack(block, b.Data[first*b.Stride:], b.Stride, k, p.cols)
		}
		p.store(block, at, k)
	}
	return p, nil
}

// scales sets the scale of each column.
func (p *Packed) scales(b Matrix, trans bool) {
	for i := range b.Rows {
		for j, x := range b.Data[i*b.Stride:][:b.Cols] {
			column := j
			if trans {
				column = i
			}
			p.panels.scale[column] = largest(p.panels.scale[column], x)
		}
	}
	for j, most := range p.panels.scale {
		p.panels.scale[j] = tile.ScaleInt8(most)
	}
}

// store converts the panels of k rows to what is stored, from element at on.
func (p *Packed) store(block []float32, at, k int) {
	block = block[:k*p.padded()]
	switch p.storedType {
	case Float16:
		asm.ToFloat16(p.panels.halves[at:], block)
	case BFloat16:
		asm.ToBFloat16(p.panels.halves[at:], block)
	case Int8:
		for j, width := 0, 0; j < p.cols; j += width {
			width = p.widthAt(j)
			for i, x := range block[j*k:][:k*width] {
				p.panels.bytes[at+j*k+i] = tile.QuantizeInt8(x, p.panels.scale[j+i%width])
			}
		}
	}
}

// round rounds a column to the values of a type.
func (t Type) round(column []float32) {
	switch t {
	case Float16, BFloat16:
		h := make([]uint16, len(column))
		if t == Float16 {
			ToFloat16(h, column)
			FromFloat16(column, h)
		} else {
			ToBFloat16(h, column)
			FromBFloat16(column, h)
		}
	case Int8:
		q := make([]int8, len(column))
		Dequantize(column, q, Quantize(q, column))
	}
}

// MatMulPacked is [MatMul] with a b that [Pack] has packed: with the same bits. TransB is an error, as b
// was transposed, if at all, by Pack.
func MatMulPacked(c, a Matrix, b *Packed, opts *MatMulOptions) error {
	if opts == nil {
		opts = new(MatMulOptions)
	}
	if b == nil {
		return fmt.Errorf("attn: b is nil, want what Pack returned")
	}
	if opts.TransB {
		return fmt.Errorf("attn: MatMulOptions.TransB is set, want PackOptions.Trans when b is packed")
	}
	p := newProduct()
	p.packed = b
	if err := p.check(&c, &a, opts); err != nil {
		p.release()
		return err
	}
	p.run()
	return nil
}

// padded is the number of columns of all panels.
func (p *Packed) padded() int {
	last := p.cols % p.width
	if last > 0 && last <= asm.NarrowPanel {
		return p.cols - last + asm.NarrowPanel
	}
	return plan.CeilDiv(p.cols, p.width) * p.width
}

// widthAt is the width of the panel whose columns begin with j.
func (p *Packed) widthAt(j int) int {
	if p.cols-j <= asm.NarrowPanel {
		return asm.NarrowPanel
	}
	return p.width
}

// panel sets b to k rows, from first on, of the panels that hold columns from j on, n at most but of the last panel, and
// returns how many columns these are.
func (p *Packed) panel(b *panel, j, n, first, k int) (columns int) {
	b.width, columns = p.width, n/p.width*p.width
	if columns == 0 {
		b.width = p.widthAt(j)
		columns = b.width
	}
	at := first*p.padded() + j*k
	switch size := columns * k; p.storedType {
	case Float32:
		b.floats = p.panels.floats[at:][:size]
	case Int8:
		b.bytes, b.scale = p.panels.bytes[at:][:size], p.panels.scale[j:][:columns]
	default:
		b.halves = p.panels.halves[at:][:size]
	}
	return columns
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

// packTransposed copies the rows of b from row on into a panel of them. Where b has no more rows the panel repeats the last
// one. dst has room for [tile.Pad] of b's columns.
func packTransposed(dst []float32, b Matrix, row, width int, offset *[tile.MaxPanel]int) {
	for r := range width {
		offset[r] = min(row+r, b.Rows-1) * b.Stride
	}
	asm.PackPanel(dst, b.Data, offset, width, b.Cols, 1)
}

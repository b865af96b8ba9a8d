package kernel

import (
	"fmt"
	"math"

	"github.com/selfattn/attn/asm"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/generic/tile"
	"github.com/selfattn/attn/kernel/internal/memory"
)

// PackOptions are the options of [Pack].
type PackOptions struct {
	// Trans takes the transpose of b: it is stored with a row for each column of the factor, as PyTorch
	// and safetensors store weights, [out][in].
	Trans bool
}

// Packed is the second factor of a matrix product in the layout that [MatMulPacked] reads fastest. It
// never changes, and any number of goroutines may use it at once.
type Packed struct {
	rows, cols int
	width      int       // of the panels but the last
	panels     []float32 // for each block of ProductTerms rows, its panels side by side, or
	few        []float32 // the transpose, of few columns
}

// Pack copies b into the layout of its own that [MatMulPacked] takes, for a factor that many products
// share: so these need not pack it again and again, as [MatMul] has to. b may change afterwards. opts may
// be nil.
//
// A Packed takes as much memory as b, up to a multiple of 16 columns where it has more than 8.
//
// It returns an error that names the argument if shape, stride or length of Data are wrong.
func Pack(b Matrix, opts *PackOptions) (*Packed, error) {
	if opts == nil {
		opts = new(PackOptions)
	}
	b, err := b.resolve("b")
	if err != nil {
		return nil, err
	}
	p := &Packed{rows: b.Rows, cols: b.Cols, width: asm.PanelWidth(tile.MaxPanel)}
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
				continue
			}
			for i := range column {
				column[i] = b.Data[i*b.Stride+j]
			}
		}
		return p, nil
	}
	size, ok := product(p.rows, p.padded())
	const slack = 15 * tile.MaxPanel // which packTransposed may write
	if !ok || size > math.MaxInt/4-slack {
		return nil, fmt.Errorf("attn: b is %d x %d: the size of its panels overflows int", b.Rows, b.Cols)
	}
	p.panels = memory.Aligned(nil, size+slack)
	var offset [tile.MaxPanel]int
	for first := 0; first < p.rows; first += generic.ProductTerms {
		k := min(generic.ProductTerms, p.rows-first)
		if !opts.Trans {
			pack(p.panels[first*p.padded():], b.Data[first*b.Stride:], b.Stride, k, p.cols)
			continue
		}
		for j, width := 0, 0; j < p.cols; j += width {
			var to []float32
			to, width = p.panel(j, first, k)
			packTransposed(to, b, j, first, k, width, &offset)
		}
	}
	return p, nil
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
	p := matrixProduct{packed: b}
	if err := p.check(c, a, opts); err != nil {
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
	return ceilDiv(p.cols, p.width) * p.width
}

// panel returns the panel of k rows from first on whose columns begin with j, and its width.
func (p *Packed) panel(j, first, k int) (b []float32, width int) {
	width = p.width
	if p.cols-j <= asm.NarrowPanel {
		width = asm.NarrowPanel
	}
	return p.panels[first*p.padded()+j*k:], width
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

// packTransposed copies k columns from first on, of the rows of b from row on, into a panel of these rows.
// Where b has no more rows the panel repeats the last one. dst has room for [tile.Pad] of k.
func packTransposed(dst []float32, b Matrix, row, first, k, width int, offset *[tile.MaxPanel]int) {
	for r := range width {
		offset[r] = min(row+r, b.Rows-1)*b.Stride + first
	}
	asm.PackPanel(dst, b.Data, offset, width, k, 1)
}

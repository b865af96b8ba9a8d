package avx2

import (
	"golang.org/x/sys/cpu"

	"github.com/selfattn/attn/generic"
)

// Supported reports whether this CPU and its operating system have AVX2 and FMA.
// x/sys/cpu checks the operating system for AVX and AVX2, not for FMA.
var Supported = cpu.X86.HasAVX && cpu.X86.HasAVX2 && cpu.X86.HasFMA

// PanelWidth is the number of queries of a panel.
const PanelWidth = 16

// part is the number of elements that one call of an element-wise kernel takes: a multiple of
// 32, and less than 30 us even from memory.
const part = 1 << 15

// Dot is [generic.Dot].
//
//go:noinline
func Dot(x, y []float32) float32 {
	y = y[:len(x)]
	if len(x) == 0 {
		return 0
	}
	if len(x) <= part {
		return dot(&x[0], &y[0], len(x))
	}
	var acc [generic.Lanes]float32
	for len(x) > 0 {
		n := min(len(x), part)
		addDot(&acc, x[:n], y)
		x, y = x[n:], y[n:]
	}
	return fold(&acc[0])
}

//go:noinline
func addDot(acc *[generic.Lanes]float32, x, y []float32) { dotAdd(&acc[0], &x[0], &y[0], len(x)) }

// Exp is [generic.Exp].
//
//go:noinline
func Exp(dst, x []float32) {
	dst = dst[:len(x)]
	for len(x) > 0 {
		n := min(len(x), part)
		expPart(dst, x[:n])
		dst, x = dst[n:], x[n:]
	}
}

//go:noinline
func expPart(dst, x []float32) { exp(&dst[0], &x[0], len(x)) }

// Max is [generic.Max].
//
//go:noinline
func Max(x []float32) float32 {
	if len(x) <= part {
		return maxPart(x)
	}
	m := maxPart(x[:part])
	for x = x[part:]; len(x) > 0; {
		n := min(len(x), part)
		m = max32(maxPart(x[:n]), m)
		x = x[n:]
	}
	return m
}

func max32(x, m float32) float32 {
	if x > m {
		return x
	}
	return m
}

//go:noinline
func maxPart(x []float32) float32 {
	if len(x) == 0 {
		return generic.Max(nil)
	}
	return maximum(&x[0], len(x))
}

// ExpSum is [generic.ExpSum].
//
//go:noinline
func ExpSum(dst, x []float32, m float32, sum *[generic.Lanes]float32) {
	dst = dst[:len(x)]
	for len(x) > 0 {
		n := min(len(x), part)
		expSumPart(dst, x[:n], m, sum)
		dst, x = dst[n:], x[n:]
	}
}

//go:noinline
func expSumPart(dst, x []float32, m float32, sum *[generic.Lanes]float32) {
	expSum(&dst[0], &x[0], len(x), m, &sum[0])
}

// SumExp is [generic.SumExp].
//
//go:noinline
func SumExp(x []float32, m float32, sum *[generic.Lanes]float32) {
	for len(x) > 0 {
		n := min(len(x), part)
		sumExpPart(x[:n], m, sum)
		x = x[n:]
	}
}

//go:noinline
func sumExpPart(x []float32, m float32, sum *[generic.Lanes]float32) {
	sumExp(&x[0], len(x), m, &sum[0])
}

// Div is [generic.Div].
//
//go:noinline
func Div(dst, x []float32, d float32) {
	dst = dst[:len(x)]
	for len(x) > 0 {
		n := min(len(x), part)
		divPart(dst, x[:n], d)
		dst, x = dst[n:], x[n:]
	}
}

//go:noinline
func divPart(dst, x []float32, d float32) { div(&dst[0], &x[0], len(x), d) }

// Scale is [generic.Scale].
//
//go:noinline
func Scale(dst, x []float32, f float32) {
	dst = dst[:len(x)]
	for len(x) > 0 {
		n := min(len(x), part)
		scalePart(dst, x[:n], f)
		dst, x = dst[n:], x[n:]
	}
}

//go:noinline
func scalePart(dst, x []float32, f float32) { scale(&dst[0], &x[0], len(x), f) }

// Fold is [generic.Fold].
//
//go:noinline
func Fold(sum *[generic.Lanes]float32) float32 { return fold(&sum[0]) }

// groups writes n as 5*fives + 6*sixes + rest, the tiles of the microkernels, with
// rest < 5, and 0 for n >= 20.
func groups(n int) (fives, sixes, rest int) {
	for ; ; rest++ {
		fives = (6 - (n-rest)%6) % 6
		if 5*fives <= n-rest {
			return fives, (n - rest - 5*fives) / 6, rest
		}
	}
}

// MatMulTile is [generic.MatMulTile].
//
//go:noinline
func MatMulTile(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, add bool) {
	flag := 0
	if add {
		flag = 1
	}
	fives, sixes, rest := groups(m)
	matMulTile(&c[0], ldc, &a[0], lda, &b[0], k, flag, fives, sixes, rest)
}

// PackPanel is [generic.PackPanel] for w = 16.
//
//go:noinline
func PackPanel(dst, src []float32, offset *[generic.MaxPanel]int, dim int, scale float32) {
	packPanel(&dst[0], &src[0], &offset[0], dim, scale)
}

// ScoreTile is [generic.ScoreTile] for w = 16.
//
//go:noinline
func ScoreTile(s []float32, st *generic.Panel, q, k []float32, dim, n, stride int) {
	fives, sixes, rest := groups(n)
	scoreTile(&s[0], &st.TileMax[0], &q[0], &k[0], dim, stride, fives, sixes, rest)
}

// MaskTile is [generic.MaskTile] for w = 16.
//
//go:noinline
func MaskTile(s []float32, st *generic.Panel, limit *[generic.MaxPanel]int32, n, first int) {
	maskTile(&s[0], &st.TileMax[0], &limit[0], n, first)
}

// SoftmaxTile is [generic.SoftmaxTile] for w = 16.
//
//go:noinline
func SoftmaxTile(s []float32, st *generic.Panel, n int) { softmaxTile(&s[0], &st.TileMax[0], n) }

// ValueTile is [generic.ValueTile] for w = 16.
//
//go:noinline
func ValueTile(acc, p, v []float32, st *generic.Panel, dim, n, stride int) {
	fives, sixes, rest := groups(dim)
	valueTile(&acc[0], &p[0], &v[0], &st.TileMax[0], n, stride, fives, sixes, rest)
}

// FinishPanel is [generic.FinishPanel] for w = 16.
//
//go:noinline
func FinishPanel(dst []float32, offset *[generic.MaxPanel]int, acc []float32, st *generic.Panel, dim int) (nan bool) {
	return finishPanel(&dst[0], &offset[0], &acc[0], &st.TileMax[0], dim) != 0
}

// RowScores is [generic.RowScores] for rows = 1 and 4.
//
//go:noinline
func RowScores(s, q, k []float32, w, rows, dim, n, stride int) {
	block := 16
	if rows == 4 {
		block = 8
	}
	// blocks computes n blocks of keys from j on; each key is step from the one before.
	ahead := 4 * stride * prefetchDistance(dim)
	blocks := func(j, n, step, half int) {
		if rows == 4 {
			wrap := 4*stride - 128*((dim+31)/32)
			rowScores4(&s[j], &q[0], &k[j*stride], w, dim, step, n, ahead, wrap, 0)
		} else {
			wrap := 4*stride - 256*((dim+63)/64)
			rowScores1(&s[j], &q[0], &k[j*stride], w, dim, step, half, n, ahead, wrap, 0)
		}
	}
	switch {
	case n < 8:
		// 8 times the same key: the next one overwrites the surplus.
		for j := range n {
			blocks(j, 1, 0, 8)
		}
	case n < block: // two overlapping halves
		blocks(0, 1, stride, n-8)
	default:
		if n%block != 0 { // the last block overlaps the one before
			blocks(n-block, 1, stride, 8)
		}
		blocks(0, n/block, stride, 8)
	}
}

// prefetchDistance is the number of rows of dim elements from where K or V is read to where it is
// prefetched, into L2: 16 rows, or more to make 16 KiB.
func prefetchDistance(dim int) int { return max(16, 4096/dim) }

// RowWeights is [generic.RowWeights].
//
//go:noinline
func RowWeights(s []float32) (m float32) { return rowWeights(&s[0], len(s)) }

// RowValues is [generic.RowValues] for rows = 1 and 4.
//
//go:noinline
func RowValues(o, p, v []float32, rows, dim, n, stride int) (sum [4]float32) {
	clear(o[:rows*generic.Pad(dim)])
	ahead := 4 * stride * prefetchDistance(dim)
	if rows == 4 {
		rowValues4(&o[0], &p[0], &v[0], &sum[0], dim, n, stride, ahead)
	} else {
		rowValues1(&o[0], &p[0], &v[0], &sum[0], dim, n, stride, ahead)
	}
	return sum
}

// MergeRow is [generic.MergeRow] for a multiple of 8 elements.
//
//go:noinline
func MergeRow(acc, o []float32, a, b float32) { mergeRow(&acc[0], &o[0], len(o), a, b) }

// FMALoop does n steps of the most FMAs that the CPU can do and returns the flops.
//
//go:noinline
func FMALoop(n int) (flops int) {
	if n > 0 {
		fmaLoop(n)
	}
	return 192 * n
}

// ReadLoop loads all of x, a multiple of 64 elements.
//
//go:noinline
func ReadLoop(x []float32) {
	if len(x) > 0 {
		readLoop(&x[0], len(x))
	}
}

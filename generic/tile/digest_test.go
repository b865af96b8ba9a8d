package tile

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/selfattn/attn/generic/internal/check"
	"github.com/selfattn/attn/generic/tile/exponent"
	"github.com/stretchr/testify/require"
)

// digests are those of the kernels, committed once: whatever the machine, the compiler or the version, these are the bits.
// Package asmtest has those of the others, and holds each implementation to these kernels.
var digests = map[string]uint64{
	"Gelu":                 0xa2d6d0d34626d866,
	"GeluTanh":             0x55e0ea9c3ea91e2f,
	"Silu":                 0x59906f074cc37941,
	"Float16":              0xe25f77002aceebff,
	"BFloat16":             0xfc22bdbe817e1e7b,
	"Int8":                 0xb81de61e696b9b00,
	"norms and logarithms": 0xdf7aaa9c0463d29f,
	"products":             0xab66917a358ce679,
	"stored rows":          0xbe4cccaacaa83e33,
	"ScaleTile":            0x7b68620065b0f763,
	"panels":               0xb322f4e19f3c6517,
}

// drawn returns n values of many magnitudes, or edges, made of integers: equal everywhere.
func drawn(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		if x[i] = math.Float32frombits(r.Uint32()&(1<<31|1<<23-1) | (130-r.Uint32N(16))<<23); r.IntN(40) == 0 {
			x[i] = check.Edges[r.IntN(len(check.Edges))]
		}
	}
	return x
}

func drawnRows(r *rand.Rand, n, dim int) Rows {
	return Rows{Data: drawn(r, n*(dim+3)), Len: n, Dim: dim, Stride: dim + 3}
}

// numbers converts integers, each to a number of its own.
func numbers[T int8 | uint16 | uint32](x []T) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(uint32(v) % (1 << 24))
	}
	return y
}

func TestDigests(t *testing.T) {
	got := map[string]uint64{}
	r := rand.New(rand.NewPCG(1, 71))

	// Activations, halves and octets, of all kinds of arguments.
	x := make([]float32, 1<<16)
	for i := range x {
		x[i] = math.Float32frombits(uint32(i)<<16 | uint32(i)*40503&0xffff)
	}
	for i := range uint32(1 << 12) { // ties of both halves
		x = append(x, math.Float32frombits(0x3f800000|i<<12))
	}
	x = append(append(x, check.Edges...), 0x1p-14, 65519, 65520)
	near := append(drawn(r, 1<<12), exponent.GeluTanhMin, exponent.SiluMin) // where activations do most
	y, z := make([]float32, len(x)), make([]float32, len(near))
	for name, f := range map[string]func(dst, x []float32){"Gelu": Gelu, "GeluTanh": GeluTanh, "Silu": Silu} {
		f(y, x)
		f(z, near)
		got[name] = check.Digest(y, z)
	}
	halves, octets := make([]uint16, len(x)), make([]int8, len(x))
	back := make([]float32, len(x))
	ToFloat16(halves, x)
	FromFloat16(back, halves)
	got["Float16"] = check.Digest(numbers(halves), back)
	ToBFloat16(halves, x)
	FromBFloat16(back, halves)
	got["BFloat16"] = check.Digest(numbers(halves), back)
	var scales []float32
	for _, m := range append([]float32{127, 0x1p-119, 0x1p-120, 127 * 0x1p-126}, check.Edges...) {
		scales = append(scales, ScaleInt8(m), MaxAbs([]float32{m}), MaxAbs([]float32{1, -m, 2}))
	}
	for _, scale := range []float32{0, 0.25, 0x1p-126, 3} {
		within := make([]float32, len(octets)) // of what the scale can be for
		for i := range within {
			if within[i] = max(-127*scale, min(x[i], 127*scale)); x[i] != x[i] {
				within[i] = scale / 2
			}
		}
		Quantize(octets, within, scale)
		Dequantize(back, octets, scale)
		scales = append(append(scales, numbers(octets)...), back...)
	}
	got["Int8"] = check.Digest(scales)

	// Sums, of which long ones have levels, and norms.
	many := drawn(r, 1<<20+3*SumPart+5)
	for i, v := range many {
		many[i] = max(-1, min(v, 1))
		if v != v {
			many[i] = 0.5
		}
	}
	long := []float32{Dot(many, many), Dot(many[:1<<20], many[5:]), Dot(many[:SumPart], many[7:])}
	var sum, squares [Lanes]float32
	var norms []float32
	for _, n := range []int{1, 31, 33, 70, 100} {
		v := drawn(r, n)
		for i := range v { // no edges: sums that are numbers
			v[i] = max(-64, min(v[i], 64)) + 0.25
			if v[i] != v[i] {
				v[i] = 1
			}
		}
		Moments(v, 0.5, &sum, &squares)
		for _, norm := range []Norm{LayerNorm(0.5, Fold(&sum), Fold(&squares), n, 0.125), RMSNorm(Fold(&squares), n, 0.125), RMSNorm(check.PosInf, n, 1), LayerNorm(1, 8, 2, 4, 0.5)} {
			dst := make([]float32, n)
			Normalize(dst, v, v, drawn(r, n), &norm)
			norms = append(append(norms, norm[:]...), dst...)
		}
		norms = append(append(append(norms, sum[:]...), squares[:]...), Mean(Fold(&sum), n))
	}
	for _, s := range append([]float32{2, 1000, 1 << 20}, check.Edges...) {
		a, b := Sink(s)
		norms = append(norms, LogSum(s, 3), LogSum(3, s), LogSum2(s, 5), LogSum2(2, s), Inverse(s), a, b)
	}
	got["norms and logarithms"] = check.Digest(norms, long)

	// Products whose factors are stored in all ways.
	const m, w, k = 7, 16, 21
	var products [][]float32
	a, start := drawnRows(r, m, k), drawnRows(r, m, w)
	one := Rows{Data: a.Row(0), Len: 1, Dim: k}
	scale := drawn(r, 2*w)
	b16, b8, b := make([]uint16, 2*k*w), make([]int8, 2*k*w), drawnRows(r, k, w)
	for i := range b16 {
		b16[i], b8[i] = uint16(r.Uint32()), int8(r.Uint32())
	}
	for _, begin := range []Rows{{}, start} {
		for _, add := range []bool{false, true} {
			if add && begin.Data == nil {
				continue
			}
			var row Rows
			if begin.Data != nil {
				row = Rows{Data: drawn(r, 2*w), Len: 1, Dim: w}
			}
			for _, f := range []func(c Rows){
				func(c Rows) { MatMulTileFloat16(c, a, begin, b16[:k*w], add) }, func(c Rows) { MatMulTileBFloat16(c, a, begin, b16[:k*w], add) },
				func(c Rows) { MatMulTileInt8(c, a, begin, b8[:k*w], scale, add) },
				func(c Rows) { MatMulTile(c, a, begin, drawn(r, k*w), add) },
				func(c Rows) {
					dst := make([]float32, k*w)
					MatMulPack(c, a, begin, b, dst, add)
					products = append(products, dst)
				},
			} {
				c := drawnRows(r, m, w)
				f(c)
				products = append(products, c.Data)
			}
			for _, f := range []func(c Rows){
				func(c Rows) { MatMulTileFloat16(c, one, row, b16, add) }, func(c Rows) { MatMulTileBFloat16(c, one, row, b16, add) },
				func(c Rows) { MatMulTileInt8(c, one, row, b8, scale, add) }, func(c Rows) { MatMulTile(c, one, row, drawn(r, 2*k*w), add) },
			} {
				c := Rows{Data: drawn(r, 2*w), Len: 1, Dim: w}
				f(c)
				products = append(products, c.Data)
			}
		}
	}
	got["products"] = check.Digest(products...)

	// Rows as they are stored.
	const n, dim = StoredRows + 3, 16
	var stored [][]float32
	half := HalfRows{Data: b16[:n*dim], Len: n, Dim: dim, Stride: dim}
	octet := OctetRows{Data: b8[:n*dim], Scales: drawn(r, n), Len: n, Dim: dim, Stride: dim}
	for _, rows := range []int{1, 4} {
		q, p := drawn(r, rows*dim), drawn(r, rows*Keys)
		for _, f := range []func(s, o, sum []float32){
			func(s, o, sum []float32) {
				RowScoresFloat16(s, q, rows, rows, half)
				RowValuesFloat16(o, p, sum, rows, half)
			},
			func(s, o, sum []float32) {
				RowScoresBFloat16(s, q, rows, rows, half)
				RowValuesBFloat16(o, p, sum, rows, half)
			},
			func(s, o, sum []float32) {
				RowScoresInt8(s, q, rows, rows, octet)
				RowValuesInt8(o, p, sum, rows, octet)
			},
		} {
			s, o, sum := make([]float32, rows*Keys), make([]float32, rows*dim), make([]float32, rows)
			f(s, o, sum)
			stored = append(stored, s, o, sum)
		}
	}
	got["stored rows"] = check.Digest(stored...)

	// Edits, masks, gradients and dropout of panels.
	var panels [][]float32
	for _, w := range []int{8, 16, 32} {
		const n = 45
		s := drawn(r, n*w)
		var offset [MaxPanel]int
		var position [MaxPanel]int32
		for i := range offset {
			offset[i], position[i] = i*(n+1), int32(i*3+10)
		}
		floats := func() *[MaxPanel]float32 { return (*[MaxPanel]float32)(drawn(r, MaxPanel)) }
		var st Panel
		st.Reset(w)
		edits := []func(){
			func() { CapTile(s, &st, n, 1.5, 1/1.5) }, func() { AlibiTile(s, &st, &position, floats(), n, 20) },
			func() { BiasTile(s, &st, drawn(r, MaxPanel*(n+1)), &offset, n) }, func() { BiasKeys(s, &st, drawn(r, n), n) },
		}
		for _, edit := range edits {
			edit()
			panels = append(panels, append([]float32(nil), s...), append([]float32(nil), st.TileMax[:w]...))
		}
		row := append([]float32(nil), s[:n]...)
		CapRow(row, 0.75, 1/0.75)
		AlibiRow(row, 12, 0.5)
		BiasRow(row, drawn(r, n))
		panels = append(panels, row)

		bytes := make([]byte, MaxPanel*(n+1))
		mask := unsafe.Slice((*bool)(unsafe.Pointer(&bytes[0])), len(bytes))
		for _, values := range [][]byte{{0}, {0, 1}, {0, 1, 0x7f, 0x80, 0xff}, {1}} { // whatever is not 0 is true
			for i := range bytes {
				bytes[i] = values[r.IntN(len(values))]
			}
			var lanes [Keys]uint32
			seen := PackMask(&lanes, mask, &offset, w, n)
			hidden := append([]float32(nil), s[:n]...)
			hides := map[bool]float32{true: 1}[HideRow(hidden, mask[3:])]
			panels = append(panels, numbers(lanes[:]), hidden, []float32{float32(seen), hides})
			rows := Rows{Data: append([]float32(nil), s...), Len: n, Dim: w, Stride: w}
			ClearTile(rows, &lanes)
			start := floats()
			ds := drawnRows(r, n, w)
			GradDrop(ds, rows, start, &lanes)
			HideTile(s, &st, &lanes, n)
			panels = append(panels, rows.Data, ds.Data, append([]float32(nil), s...))
		}

		p, ds := drawnRows(r, n, w), drawnRows(r, n, w)
		v, c, a := drawnRows(r, n, 5), drawnRows(r, n, w), drawnRows(r, n, 9)
		GradWeight(p, drawn(r, n*w), floats(), floats())
		GradTile(ds, p, drawn(r, 5*w), floats(), v)
		panels = append(panels, p.Data, append([]float32(nil), ds.Data...))
		GradCap(ds, drawn(r, n*w), 0.5)
		RowsTile(c, a, Rows{Data: ds.Data, Len: 9, Dim: w, Stride: ds.Stride}, Rows{})
		columns := drawnRows(r, 9, w)
		ColsTile(columns, a, ds)
		panels = append(panels, ds.Data, c.Data, columns.Data)

		draw := Draw{Batch: 3, Width: w, Dropout: NewDropout(0.3, 1<<50+9, 77)}
		for i := range draw.Query {
			draw.Query[i], draw.Head[i] = uint32(1000+i), uint32(i/3)
		}
		dropped := make([]uint32, 28)
		DrawTile(dropped, &draw, 1<<20)
		panels = append(panels, numbers(dropped), numbers([]uint32{draw.Four(1, 2, 3, 5)}))
		for _, keys := range draw.Keys {
			panels = append(panels, numbers(keys[:]))
		}
	}
	got["panels"] = check.Digest(panels...)

	// Scores and weights that are scaled.
	r = rand.New(rand.NewPCG(2, 71))
	var scaled [][]float32
	for _, w := range []int{8, 16, 32} {
		const n = 45
		s := drawn(r, n*w)
		var st Panel
		st.Reset(w)
		ScaleTile(s, &st, drawn(r, n), n)
		scaled = append(scaled, s, st.TileMax[:w])
	}
	got["ScaleTile"] = check.Digest(scaled...)

	for name, x := range got {
		t.Logf("%q: %#016x,", name, x)
	}
	require.Equal(t, digests, got)
}

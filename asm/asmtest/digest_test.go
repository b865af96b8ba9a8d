package asmtest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/selfattn/attn/generic/tile"
)

// The digests of many results, committed once. The other tests compare an implementation with the
// reference in the same process; these compare architectures, compilers and versions.
var golden = map[string]uint64{
	"Div":                 0xbc70919768822f2f,
	"Dot":                 0x1b8cbf62ad4941ae,
	"Dot of many":         0x72d482d532f085fd,
	"Exp":                 0x82d4cd33f336badd,
	"ExpSum":              0x677ce0596787164a,
	"ExpSum lanes":        0x9f3384298c358643,
	"MatMulTile":          0xdd6f70ffc4d5d291,
	"Max":                 0x7def08cb83ae89f1,
	"Moments":             0x8bf0771d2e4bf95b,
	"Normalize":           0x154c5334a2fcd86d,
	"Rotary":              0x9f52aa48a6c653fd,
	"Scale":               0x90903f966b61a03c,
	"ScaleTile":           0x0d8187774ae4ba3e,
	"SumExp":              0xab351c729c0795ec,
	"attention by panels": 0x55e463bec0c7a674,
	"attention by rows":   0xafb6819652d14f48,
	"edits of scores":     0xb0db3c530a6a82d9,
	"stored rows":         0x037d2dc729183620,
}

// draw returns n values of magnitudes from 2^-24 to 2, with edges strewn in or not. They are made
// of integers: floating-point operations on the way could be fused on some machines.
func draw(r *rand.Rand, n int, edges bool) []float32 {
	x := make([]float32, n)
	for i := range x {
		if edges && r.IntN(64) == 0 {
			x[i] = Edges[r.IntN(len(Edges))]
		} else {
			x[i] = math.Float32frombits(r.Uint32()&(1<<31|1<<23-1) | (127-r.Uint32N(24))<<23)
		}
	}
	return x
}

// digest returns the digest of some results, all NaN being one.
func digest(results ...[]float32) uint64 {
	h := fnv.New64a()
	var b [4]byte
	for _, x := range results {
		for _, v := range x {
			w := math.Float32bits(v)
			if v != v {
				w = 0x7fc00000
			}
			binary.LittleEndian.PutUint32(b[:], w)
			h.Write(b[:])
		}
	}
	return h.Sum64()
}

// digests runs the kernels of an implementation. None of them depends on the width of its panels.
func digests(impl Impl) map[string]uint64 {
	r := rand.New(rand.NewPCG(13, 14))
	d := map[string]uint64{}

	x := make([]float32, 1<<20) // all signs, exponents and NaN
	for i := range x {
		x[i] = math.Float32frombits(uint32(i) * 4097)
	}
	y := make([]float32, len(x))
	impl.Exp(y, x)
	d["Exp"] = digest(y)
	for i, v := range x {
		x[i] = math.Float32frombits(math.Float32bits(v) | 1<<31)
	}
	var sum, sumOnly [tile.Lanes]float32
	impl.ExpSum(y, x, 0, &sum)
	d["ExpSum"] = digest(y)
	finite := draw(r, 1<<18, false)
	impl.ExpSum(y[:len(finite)], finite, 2, &sumOnly)
	d["ExpSum lanes"] = digest(sumOnly[:], []float32{impl.Fold(&sumOnly)})
	sum = [tile.Lanes]float32{}
	impl.SumExp(finite, 2, &sum)
	d["SumExp"] = digest(sum[:])

	var dots, maxima, div, scale []float32
	for n := range 1000 {
		x, y := draw(r, n, n%3 == 0), draw(r, n, false)
		dots, maxima = append(dots, impl.Dot(x, y)), append(maxima, impl.Max(x))
		out := make([]float32, n)
		impl.Div(out, x, 0.7)
		div = append(div, out...)
		impl.Scale(out, x, 0.7)
		scale = append(scale, out...)
	}
	var long []float32
	many := draw(rand.New(rand.NewPCG(15, 16)), 1<<20+3<<15+5000, false)
	for _, n := range []int{1 << 10, 1<<10 + 1, 5000, 1 << 15, 1<<15 + 1, 1<<17 + 77, 1 << 20, 1<<20 + 1, len(many) - 1} {
		long = append(long, impl.Dot(many[:n], many[1:][:n]))
	}
	d["Dot of many"] = digest(long)
	out := make([]float32, len(many))
	var moments, squares [tile.Lanes]float32
	impl.Moments(many, 0.3, &moments, &squares)
	d["Moments"] = digest(moments[:], squares[:])
	impl.Normalize(out, many, many, many, &[3]float32{0.3, 0.7, 0.1})
	d["Normalize"] = digest(out)
	d["Dot"], d["Max"], d["Div"], d["Scale"] = digest(dots), digest(maxima), digest(div), digest(scale)

	d["MatMulTile"] = digest(product(impl, r))
	d["attention by panels"] = digest(byPanels(impl, r))
	d["attention by rows"] = digest(byRows(impl, r, 1), byRows(impl, r, 4))
	d["edits of scores"] = digest(edits(impl, rand.New(rand.NewPCG(19, 20))))
	d["ScaleTile"] = digest(scaled(impl, rand.New(rand.NewPCG(25, 26))))
	d["Rotary"] = digest(rotations(impl, rand.New(rand.NewPCG(21, 22))))
	d["stored rows"] = digest(storedRowsOf(impl))
	return d
}

// scaled returns the scores of 32 queries that have been scaled by panel, and the maxima.
func scaled(impl Impl, r *rand.Rand) (out []float32) {
	const queries, n = 32, tile.Keys - 3
	w := impl.PanelWidth
	scores, scale := draw(r, queries*n, true), draw(r, n, true)
	for q := 0; q < queries; q += w {
		s := make([]float32, n*w)
		for i := range w {
			for j := range n {
				s[j*w+i] = scores[(q+i)*n+j]
			}
		}
		var st tile.Panel
		st.Reset(w)
		impl.ScaleTile(s, &st, scale, n)
		for i := range w {
			for j := range n {
				out = append(out, s[j*w+i])
			}
			out = append(out, st.TileMax[i])
		}
	}
	return out
}

// edits returns the scores of 32 queries after all edits, by panel and by row, and the maxima.
func edits(impl Impl, r *rand.Rand) (out []float32) {
	const queries, n, first, cap = 32, tile.Keys - 3, 5 * tile.Keys, float32(1.25)
	w := impl.PanelWidth
	scores, bias, keys := draw(r, queries*n, true), draw(r, queries*n, true), draw(r, n, true)
	for q := 0; q < queries; q += w {
		var offset [tile.MaxPanel]int
		var position [tile.MaxPanel]int32
		var slope [tile.MaxPanel]float32
		s := make([]float32, n*w)
		for i := range w {
			offset[i], position[i], slope[i] = (q+i)*n, int32(first+n/2+q+i), float32(q+i-3)/64
			for j := range n {
				s[j*w+i] = scores[(q+i)*n+j]
			}
		}
		var st tile.Panel
		st.Reset(w)
		impl.CapTile(s, &st, n, cap, 1/cap)
		impl.AlibiTile(s, &st, &position, &slope, n, first)
		impl.BiasTile(s, &st, bias, &offset, n)
		impl.BiasKeys(s, &st, keys, n)
		for i := range w {
			row := append(scores[(q+i)*n:][:n:n], make([]float32, 3)...)[:n]
			impl.CapRow(row, cap, 1/cap)
			impl.AlibiRow(row, int(position[i])-first, slope[i])
			impl.BiasRow(row, bias[(q+i)*n:][:n])
			impl.BiasRow(row, keys)
			for j := range n {
				out = append(out, s[j*w+i], row[j])
			}
			out = append(out, st.TileMax[i])
		}
	}
	return out
}

// rotations returns rows of many lengths, half-split and interleaved.
func rotations(impl Impl, r *rand.Rand) (out []float32) {
	const n, most = 9, 70
	for cols := 1; cols <= most; cols++ {
		rows := func(dim int) tile.Rows {
			return tile.Rows{Data: draw(r, n*dim, cols%3 == 0), Len: n, Dim: dim, Stride: dim}
		}
		x := rows(2 * cols)
		impl.Rotary(x, rows(cols), rows(cols), cols%2 == 0)
		out = append(out, x.Data...)
	}
	return out
}

// product returns 100 rows of 64 columns, in two blocks of k.
func product(impl Impl, r *rand.Rand) []float32 {
	const m, n, k = 100, 64, 300
	w := impl.PanelWidth
	a, b, c := draw(r, m*k, false), draw(r, k*n, false), make([]float32, m*n)
	packed := make([]float32, k*w)
	for col := 0; col < n; col += w {
		for p := range k {
			copy(packed[p*w:][:w], b[p*n+col:])
		}
		const half = 150
		to := tile.Rows{Data: c[col:], Len: m, Dim: w, Stride: n}
		impl.MatMulTile(to, tile.Rows{Data: a, Len: m, Dim: half, Stride: k}, tile.Rows{}, packed[:half*w], false)
		impl.MatMulTile(to, tile.Rows{Data: a[half:], Len: m, Dim: k - half, Stride: k}, to, packed[half*w:], false)
	}
	return c
}

// byPanels returns the attention of 32 queries over tiles of keys, the last of which is masked.
func byPanels(impl Impl, r *rand.Rand) []float32 {
	const queries, dim, last = 32, 45, 101
	w, pad := impl.PanelWidth, tile.Pad(dim)
	const keys = 2*tile.Keys + last
	q, k, v := draw(r, queries*dim, false), draw(r, keys*dim, false), draw(r, keys*dim, false)
	dst := make([]float32, queries*dim)
	for first := 0; first < queries; first += w {
		var offset [tile.MaxPanel]int
		var limit [tile.MaxPanel]int
		for i := range w {
			offset[i], limit[i] = (first+i)*dim, keys-queries+first+i
		}
		packed, acc, s := make([]float32, pad*w), make([]float32, pad*w), make([]float32, tile.Keys*w)
		impl.PackPanel(packed, q, &offset, w, dim, 3)
		var st tile.Panel
		st.Reset(w)
		for j := 0; j < keys; j += tile.Keys {
			n := min(tile.Keys, keys-j)
			impl.ScoreTile(s, &st, packed, &tile.Rows{Data: k[j*dim:], Len: n, Dim: dim, Stride: dim}, 0, &tile.Rows{})
			if n == last {
				for i := range w {
					st.TileMax[i] = negInf
				}
				var lanes [tile.Keys]uint32
				for key := range n {
					for i := range w {
						if j+key < limit[i] {
							lanes[key] |= 1 << i
						}
					}
				}
				impl.HideTile(s, &st, &lanes, n)
			}
			impl.SoftmaxTile(s, &st, n)
			impl.ValueTile(acc, s, &st, &tile.Rows{Data: v[j*dim:], Len: n, Dim: dim, Stride: dim}, 0, &tile.Rows{})
		}
		impl.FinishPanel(dst, &offset, acc, &st, dim)
	}
	return dst
}

// byRows returns the attention of rows queries over many tiles of keys, without the last quotient.
func byRows(impl Impl, r *rand.Rand, rows int) []float32 {
	const dim, keys = 45, 20*tile.Keys + 99
	pad := tile.Pad(dim)
	q, k, v := draw(r, rows*dim, false), draw(r, keys*dim, false), draw(r, keys*dim, false)
	s, o, acc := make([]float32, rows*tile.Keys), make([]float32, rows*pad), make([]float32, rows*pad)
	M, L := make([]float32, rows), make([]float32, rows)
	for i := range M {
		M[i] = negInf
	}
	for j := 0; j < keys; j += tile.Keys {
		n := min(tile.Keys, keys-j)
		impl.RowScores(s, q, rows, rows, &tile.Rows{Data: k[j*dim:], Len: n, Dim: dim, Stride: dim}, n*dim)
		m := make([]float32, rows)
		for i := range rows {
			m[i] = impl.RowWeights(s[i*tile.Keys:][:n])
		}
		l := make([]float32, rows)
		clear(o)
		impl.RowValues(o, s, l, rows, &tile.Rows{Data: v[j*dim:], Len: n, Dim: dim, Stride: dim}, n*dim)
		for i := range rows {
			var a, b float32
			M[i], a, b = tile.Merge(M[i], m[i])
			L[i] = tile.MergeSum(L[i], l[i], a, b)
			impl.MergeRow(acc[i*pad:][:pad], o[i*pad:][:pad], a, b)
		}
	}
	out := append(M, L...)
	for i := range rows {
		out = append(out, acc[i*pad:][:dim]...)
	}
	return out
}

// storedRowsOf returns the scores and mixes of all types of stored elements.
func storedRowsOf(impl Impl) (out []float32) {
	const dim, n = 48, 77
	r := rand.New(rand.NewPCG(23, 24))
	float16 := tile.HalfRows{Data: make([]uint16, n*dim), Len: n, Dim: dim, Stride: dim}
	tile.ToFloat16(float16.Data, draw(r, n*dim, false))
	bfloat16 := float16
	bfloat16.Data = make([]uint16, n*dim)
	tile.ToBFloat16(bfloat16.Data, draw(r, n*dim, false))
	octets := tile.OctetRows{Data: make([]int8, n*dim), Scales: draw(r, n, false), Len: n, Dim: dim, Stride: dim}
	for i := range octets.Data {
		octets.Data[i] = int8(r.Uint32())
	}
	for _, rows := range []int{1, 4} {
		q, p := draw(r, rows*dim, false), draw(r, rows*tile.Keys, false)
		results := func(f func(s, o, sum []float32)) {
			s, o, sum := make([]float32, rows*tile.Keys), make([]float32, rows*dim), make([]float32, rows)
			f(s, o, sum)
			out = append(append(append(out, s...), o...), sum...)
		}
		results(func(s, o, sum []float32) {
			impl.RowScoresFloat16(s, q, rows, rows, float16)
			impl.RowValuesFloat16(o, p, sum, rows, float16)
		})
		results(func(s, o, sum []float32) {
			impl.RowScoresBFloat16(s, q, rows, rows, bfloat16)
			impl.RowValuesBFloat16(o, p, sum, rows, bfloat16)
		})
		results(func(s, o, sum []float32) {
			impl.RowScoresInt8(s, q, rows, rows, octets)
			impl.RowValuesInt8(o, p, sum, rows, octets)
		})
	}
	return out
}

func TestDigests(t *testing.T) {
	check := func(t *testing.T, impl Impl) {
		got := digests(impl)
		for name, want := range golden {
			if got[name] != want {
				t.Errorf("%s: the digest is %#016x, want %#016x", name, got[name], want)
			}
		}
		if len(got) != len(golden) {
			t.Errorf("%d digests, want %d: %#v", len(got), len(golden), got)
		}
	}
	for _, w := range []int{16, 32} {
		t.Run(fmt.Sprintf("generic %d", w), func(t *testing.T) { check(t, Generic(w)) })
	}
	Run(t, check)
}

package x86

import (
	"math/bits"
	"strings"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The matrix product broadcasts the rows of A in place; B is packed in panels of two vectors of
// columns. Tiles are of any height up to Big rows: the rows of a block are dealt out evenly, so that
// no tile is left with a few of them.
//
// Panels of smaller elements are converted as they are loaded.
//
// While the first tile reads the panel, it prefetches what lies ahead of it into L2, line by line.
func genMatMul(g *gen) {
	g.matMulPack()
	if !g.avx512() {
		g.f16c()
	}
	for _, t := range []stored{
		{element: "*float32", size: 4},
		{name: "Float16", element: "*uint16", size: 2, load: func(m Mem, to reg.VecPhysical) { g.VCVTPH2PS(m, to) }},
		{name: "BFloat16", element: "*uint16", size: 2, load: func(m Mem, to reg.VecPhysical) {
			g.VPMOVZXWD(m, to)
			g.VPSLLD(U8(16), to, to)
		}},
		{name: "Int8", element: "*int8", size: 1, scale: " scale *float32,", load: func(m Mem, to reg.VecPhysical) {
			g.VPMOVSXBD(m, to)
			g.VCVTDQ2PS(to, to)
		}},
	} {
		g.matMulTile(t)
		g.matMulRow(t)
		if !g.avx512() && t.scale == "" { // int8 waits for its conversions, twice a panel as with two tiles
			g.matMulWide(t)
		}
	}
}

// A stored type is what the elements of a panel are.
type stored struct {
	name, element string
	size          int                             // bytes
	scale         string                          // the parameter of what to multiply each column by, or ""
	load          func(m Mem, to reg.VecPhysical) // loads a vector as float32, or nil if it is
}

// matMulRow is the product of one row by two panels at a time, as the two chains of one would wait for
// their FMAs. The next call reads what lies behind either panel: so memory is read in two streams that go on, which the hardware
// reads ahead. Two neighbours, behind which each stream jumps over a panel, were read at .79 instead of .93 (float16). Prefetches are for
// pages of 4 KiB, at whose ends the hardware stops.
//
//	V0-V3 sums, V4 a broadcast of a, V5 converted elements, V6-V9 scales
func (g *gen) matMulRow(t stored) {
	g.begin("matMulRow"+t.name, "func(c, a, start *float32, b "+t.element+","+t.scale+" k, apart, add, distance int)",
		"matMulRow"+t.name+" computes the columns of two panels, of which the second is the apart-th behind the first, for a row of a",
		"product, as [tile.MatMulTile"+t.name+"]. It prefetches some of what lies the distance, in bytes, behind both.")
	c, a, s, b, k, apart, distance := g.ptr("c"), g.ptr("a"), g.ptr("start"), g.ptr("b"), g.ptr("k"), g.ptr("apart"), g.ptr("distance")
	row, vector := 2*g.lanes*t.size, g.lanes*t.size // bytes of b
	second := g.GP64()                              // panel
	g.MOVQ(k, second)
	g.IMULQ(apart, second)
	g.IMUL3Q(I32(row), second, second)
	g.ADDQ(b, second)
	g.IMUL3Q(I32(2*g.w()), apart, apart)
	columns := func(p reg.GPVirtual, i int) Mem { // vector i of 4
		if i < 2 {
			return mem(p, g.w()*i)
		}
		return at(p, apart, 1, g.w()*(i-2))
	}
	if t.scale != "" {
		scale := g.ptr("scale")
		for i := range 4 {
			g.VMOVUPS(columns(scale, i), g.V(6+i))
		}
	}
	panels := []reg.GPVirtual{b, second}
	step := func(i int) {
		g.VBROADCASTSS(mem(a, 4*i), g.V(4))
		for p, at := range panels {
			for h := range 2 {
				from := mem(at, row*i+vector*h)
				if t.load == nil {
					g.VFMADD231PS(from, g.V(4), g.V(2*p+h))
					continue
				}
				t.load(from, g.V(5))
				if t.scale != "" {
					g.VMULPS(g.V(6+2*p+h), g.V(5), g.V(5))
				}
				g.VFMADD231PS(g.V(5), g.V(4), g.V(2*p+h))
			}
		}
	}
	next := func(n int) {
		g.ADDQ(I8(4*n), a)
		for _, at := range panels {
			g.ADDQ(I32(row*n), at)
		}
	}
	g.startSums(s, 4, func() {
		for i := range 4 {
			g.VMOVUPS(columns(s, i), g.V(i))
		}
	})
	far := 512 // bytes from one prefetch to the next: those of each line are in the way of the hardware's
	if t.scale != "" {
		far = 64 // int8 waits for its conversions
	}
	g.inSteps(k, 8, func(n int) {
		for _, panel := range panels {
			for line := 0; n > 1 && line < n*row; line += far {
				g.PREFETCHT1(at(panel, distance, 1, line))
			}
		}
		for i := range n {
			step(i)
		}
		next(n)
	})
	g.storeSums(4, g.V, func(i int) Mem { return columns(c, i) })
	g.end()
}

// startSums sets V0 to V(n-1) as load does, which reads them from where s points, or to 0 where s is nil.
func (g *gen) startSums(s reg.GPVirtual, n int, load func()) {
	zero, set := g.label("zero"), g.label("set")
	g.TESTQ(s, s)
	g.JZ(LabelRef(zero))
	load()
	g.JMP(LabelRef(set))
	g.Label(zero)
	g.clear(n)
	g.Label(set)
}

// inSteps takes k steps, which it counts down: first those that are left of a multiple of most, a power of two, one by one.
func (g *gen) inSteps(k reg.GPVirtual, most int, steps func(n int)) {
	single, many, loop, done := g.label("single"), g.label("many"), g.label("loop"), g.label("done")
	singles := g.GP64()
	g.MOVQ(k, singles)
	g.ANDQ(U8(most-1), singles)
	g.JZ(LabelRef(many))
	g.Label(single)
	steps(1)
	g.DECQ(singles)
	g.JNZ(LabelRef(single))
	g.Label(many)
	g.SHRQ(U8(bits.TrailingZeros(uint(most))), k)
	g.JZ(LabelRef(done))
	g.loop(loop)
	steps(most)
	g.DECQ(k)
	g.JNZ(LabelRef(loop))
	g.Label(done)
}

// storeSums stores n vectors of sums where to says, added to what is there if the parameter add says so.
func (g *gen) storeSums(n int, sum func(i int) reg.VecPhysical, to func(i int) Mem) {
	store := g.label("store")
	g.CMPQ(g.param("add"), U8(0))
	g.JE(LabelRef(store))
	for i := range n {
		g.VADDPS(to(i), sum(i), sum(i))
	}
	g.Label(store)
	for i := range n {
		g.VMOVUPS(sum(i), to(i))
	}
}

// matMulWide is three rows by two panels, which leaves tiles of 4 to 6 rows where their number is 1 to 3 more than a multiple of 6: three rows
// by one panel have 6 chains of FMAs, and 4 cycles of latency want 8. The panels are in L2, as other tiles have just read them.
//
//	V0-V11 sums, V12 b, V13-V15 broadcasts of a
func (g *gen) matMulWide(t stored) {
	const rows = 3
	g.begin("matMulWide"+t.name, "func(c *float32, ldc int, a *float32, lda int, b "+t.element+", k int, start *float32, lds, add int)",
		"matMulWide"+t.name+" computes the columns of two panels for three rows of a product, as [tile.MatMulTile"+t.name+"].")
	c, ldc, a, lda, b, k := g.ptr("c"), g.elems("ldc"), g.ptr("a"), g.elems("lda"), g.ptr("b"), g.ptr("k")
	s, lds := g.ptr("start"), g.elems("lds")
	row, vector := 2*g.lanes*t.size, g.lanes*t.size // bytes of b
	second := g.GP64()                              // panel
	g.MOVQ(k, second)
	g.IMUL3Q(I32(row), second, second)
	g.ADDQ(b, second)
	sum := func(r, i int) reg.VecPhysical { return g.V(4*r + i) }
	step := func(i int) {
		for r := range rows {
			from := mem(a, 4*i)
			if r > 0 {
				from = at(a, lda, uint8(r), 4*i)
			}
			g.VBROADCASTSS(from, g.V(13+r))
		}
		for p, panel := range []reg.GPVirtual{b, second} {
			for h := range 2 {
				if from := mem(panel, row*i+vector*h); t.load == nil {
					g.VMOVUPS(from, g.V(12))
				} else {
					t.load(from, g.V(12))
				}
				for r := range rows {
					g.VFMADD231PS(g.V(12), g.V(13+r), sum(r, 2*p+h))
				}
			}
		}
	}
	next := func(steps int) {
		g.ADDQ(I8(4*steps), a)
		g.ADDQ(I32(row*steps), b)
		g.ADDQ(I32(row*steps), second)
	}
	g.startSums(s, 4*rows, func() {
		for r := range rows {
			for i := range 4 {
				g.VMOVUPS(mem(s, g.w()*i), sum(r, i))
			}
			g.ADDQ(lds, s)
		}
	})
	g.inSteps(k, 4, func(n int) {
		for i := range n {
			step(i)
		}
		next(n)
	})
	for r := range rows {
		g.storeSums(4, func(i int) reg.VecPhysical { return sum(r, i) }, func(i int) Mem { return mem(c, g.w()*i) })
		g.ADDQ(ldc, c)
	}
	g.end()
}

// matMulPack is the first tile of a panel that is not packed: it packs what it reads, and prefetches the
// next panel, to which each row of b leads on. So packing waits for nothing.
func (g *gen) matMulPack() {
	g.begin("matMulPack", "func(c *float32, ldc int, a *float32, lda int, b *float32, ldb int, dst *float32, k int, start *float32, lds, add int)",
		"matMulPack computes the columns of a panel for one tile of a product, as [tile.MatMulPack].")
	a := g.rowPointers(g.elems("lda"))
	b, b3, dst, ldb := g.ptr("b"), g.GP64(), g.ptr("dst"), g.elems("ldb")
	g.LEAQ(at(b, ldb, 2, 0), b3)
	g.ADDQ(ldb, b3)
	from := func(step, disp int) Mem {
		switch step {
		case 0:
			return mem(b, disp)
		case 3:
			return mem(b3, disp)
		}
		return at(b, ldb, uint8(step), disp)
	}
	step := 0
	t := &gemm{
		gen:    g,
		load:   func(s, half int) Mem { step = s; return from(s, g.w()*half) },
		scalar: func(row, step int) Mem { return a.at(row, 4*step) },
		convert: func(m Mem, half int, to reg.VecPhysical) {
			g.VMOVUPS(m, to)
			g.VMOVUPS(to, mem(dst, g.row()*step+g.w()*half))
			if half == 0 {
				for line := 0; line < g.row(); line += 64 {
					g.PREFETCHT1(from(step, g.row()+line))
				}
			}
		},
	}
	n, s, lds := g.GP64(), g.ptr("start"), g.elems("lds")
	g.point(a, g.ptr("a"), g.Big)
	single, four, loop, done := g.label("single"), g.label("four"), g.label("loop"), g.label("done")
	g.startSums(s, 2*g.Big, func() {
		for r := range g.Big {
			for h := range 2 {
				g.VMOVUPS(mem(s, g.w()*h), g.V(2*r+h))
			}
			g.ADDQ(lds, s)
		}
	})
	next := func(steps int) {
		for range steps {
			g.ADDQ(ldb, b)
			g.ADDQ(ldb, b3)
		}
		g.ADDQ(I32(g.row()*steps), dst)
		g.shift(a, g.Big, 4*steps)
	}
	g.MOVQ(g.param("k"), n)
	g.ANDQ(U8(3), n)
	g.JZ(LabelRef(four))
	g.Label(single)
	t.steps(g.Big, 1)
	next(1)
	g.DECQ(n)
	g.JNZ(LabelRef(single))
	g.Label(four)
	g.MOVQ(g.param("k"), n)
	g.SHRQ(U8(2), n)
	g.JZ(LabelRef(done))
	g.loop(loop)
	t.steps(g.Big, 4)
	next(4)
	g.DECQ(n)
	g.JNZ(LabelRef(loop))
	g.Label(done)
	c, ldc := g.ptr("c"), g.elems("ldc")
	for row := range g.Big {
		g.storeSums(2, func(h int) reg.VecPhysical { return g.V(2*row + h) }, func(h int) Mem { return mem(c, g.w()*h) })
		g.ADDQ(ldc, c)
	}
	g.end()
}

// f16c asks the CPU for VCVTPH2PS, which AVX-512 has and every CPU with AVX2 so far.
func (g *gen) f16c() {
	g.begin("f16c", "func() bool", "f16c reports whether the CPU converts float16: bit 29 of ECX of CPUID 1.")
	g.MOVL(U32(1), reg.EAX)
	g.XORL(reg.ECX, reg.ECX)
	g.CPUID()
	g.SHRL(U8(29), reg.ECX)
	g.ANDL(U8(1), reg.ECX)
	g.MOVB(reg.CL, g.resultAddr())
	g.RET()
}

// matMulTile emits the product with a panel of elements of a type.
func (g *gen) matMulTile(t stored) {
	name := "matMulTile" + t.name
	g.begin(name, "func(c *float32, ldc int, a *float32, lda int, b "+t.element+","+t.scale+" k int, start *float32, lds, add, distance, height, higher, tiles int)",
		name+" computes the columns of a panel for tiles of height rows of a product, the first higher ones",
		"of one row more, as [tile."+strings.ToUpper(name[:1])+name[1:]+"]. While it reads b, it prefetches what lies the distance, in bytes, further on.")
	row, vector := 2*g.lanes*t.size, g.lanes*t.size // bytes of b
	var convert func(m Mem, half int, to reg.VecPhysical)
	if t.load != nil {
		convert = func(m Mem, half int, to reg.VecPhysical) {
			switch t.load(m, to); {
			case t.scale == "":
			case g.avx512():
				g.VMULPS(g.spare(4+half), to, to)
			default:
				g.VMULPS(mem(g.scales, g.w()*half), to, to)
			}
		}
	}
	if t.scale != "" {
		g.scales = g.ptr("scale")
		if g.avx512() {
			for h := range 2 {
				g.VMOVUPS(mem(g.scales, g.w()*h), g.spare(4+h))
			}
		}
	}
	c0, a0, k, distance := g.ptr("c"), g.ptr("a"), g.ptr("k"), g.ptr("distance")
	b, c, ldc := g.GP64(), g.GP64(), g.elems("ldc")
	a := g.rowPointers(g.elems("lda"))
	fetch := func(rows, from, to int) { // the lines of these steps, or two of them for a tile so small that it is the only one
		apart := 64
		if rows <= g.Big/2 {
			apart = max(64, row*(to-from)/2)
		}
		for line := row * from; line < row*to; line += apart {
			g.PREFETCHT1(at(b, distance, 1, line))
		}
	}
	tiles := &gemm{
		gen:     g,
		k:       k,
		load:    func(step, half int) Mem { return mem(b, row*step+vector*half) },
		scalar:  func(row, step int) Mem { return a.at(row, 4*step) },
		convert: convert,
		start: func(rows int) {
			g.MOVQ(g.param("b"), b)
			fetch(rows, 0, 4)
			g.point(a, a0, rows)
			// The next tile of C comes from far away.
			next := g.GP64()
			g.MOVQ(c0, next)
			g.advance(next, ldc, rows)
			for range rows {
				for line := 0; line < g.row(); line += 64 {
					g.PREFETCHT0(mem(next, line))
				}
				g.ADDQ(ldc, next)
			}
			g.MOVQ(g.param("start"), next)
			g.startSums(next, 2*rows, func() {
				lds := g.elems("lds")
				for r := range rows {
					for h := range 2 {
						g.VMOVUPS(mem(next, g.w()*h), g.V(2*r+h))
					}
					g.ADDQ(lds, next)
				}
				g.MOVQ(next, g.param("start"))
			})
			g.MOVQ(c0, c)
		},
		next: func(rows, steps int) {
			g.ADDQ(I32(row*steps), b)
			fetch(rows, 4-steps, 4)
			g.shift(a, rows, 4*steps)
		},
		finish: func(row int) {
			set := g.label("set")
			g.CMPQ(g.param("add"), U8(0))
			g.JE(LabelRef(set))
			for h := range 2 {
				g.VADDPS(mem(c, g.w()*h), g.V(2*row+h), g.V(2*row+h))
			}
			g.Label(set)
			for h := range 2 {
				g.VMOVUPS(g.V(2*row+h), mem(c, g.w()*h))
			}
			g.ADDQ(ldc, c)
		},
	}
	tile, even := g.label("tile"), g.label("even")
	height := g.GP64()
	g.Label(tile)
	g.MOVQ(g.param("height"), height)
	g.CMPQ(g.param("higher"), U8(0))
	g.JE(LabelRef(even))
	g.INCQ(height)
	g.DECQ(g.param("higher"))
	g.Label(even)
	end := g.label("end")
	for rows := g.Big; rows > 0; rows-- {
		next := g.label("next")
		if rows > 1 {
			g.CMPQ(height, U8(rows))
			g.JNE(LabelRef(next))
		}
		tiles.tile(rows)
		g.advance(a0, a.stride, rows)
		if rows > 1 {
			g.JMP(LabelRef(end))
		}
		g.Label(next)
	}
	g.Label(end)
	g.MOVQ(c, c0)
	g.XORQ(distance, distance)
	g.DECQ(g.param("tiles"))
	g.JNZ(LabelRef(tile))
	g.end()
}

package tile

// Gradients add up over blocks of so many queries and units of so many keys, both at absolute multiples.
const (
	GradientQueries = 64
	GradientKeys    = Keys / 2
)

// The kernels of the gradient work on a step: queries of a head, up to GradientQueries, one to a column, and the keys of
// a tile, one to a row. Panels of queries are side by side.

// GradWeight turns the scores of a panel into weights, p[j][r] = exp2(s[j*w+r] - max[r]) * inverse[r], where w is
// p.Dim.
func GradWeight(p Rows, s []float32, max, inverse *[MaxPanel]float32) {
	for j := range p.Len {
		row := p.Row(j)
		for r := range row {
			row[r] = GradientWeight(s[j*p.Dim+r], max[r], inverse[r])
		}
	}
}

// GradientWeight is what [GradWeight] makes of a score.
func GradientWeight(s, max, inverse float32) float32 { return float32(exp2(s-max) * inverse) }

// GradTile computes the gradients of the scores of a panel, ds[j][r] = p[j][r] * (chain over i < v.Dim of
// FMA(do[i*w+r], v[j][i], .) from start[r]), where w is ds.Dim. Rows of p are as far apart as those of ds.
func GradTile(ds, p Rows, do []float32, start *[MaxPanel]float32, v Rows) {
	for j := range v.Len {
		row, weights := ds.Row(j), p.Row(j)
		for r := range row {
			g := start[r]
			for i, x := range v.Row(j) {
				g = FMA(do[i*ds.Dim+r], x, g)
			}
			row[r] = float32(weights[r] * g)
		}
	}
}

// GradDrop sets ds[j][r] to p[j][r]*start[r], which is what is left of it without the weight p, unless bit r of lanes[j] is set.
// Rows of p are as far apart as those of ds.
func GradDrop(ds, p Rows, start *[MaxPanel]float32, lanes *[Keys]uint32) {
	for j, kept := range lanes[:ds.Len] {
		row, weights := ds.Row(j), p.Row(j)
		for r := range row {
			if kept>>r&1 == 0 {
				row[r] = float32(weights[r] * start[r])
			}
		}
	}
}

// GradCap multiplies the gradients of a panel by the slopes of the cap that its capped scores s had.
func GradCap(ds Rows, s []float32, inverse float32) {
	for j := range ds.Len {
		row := ds.Row(j)
		for r := range row {
			row[r] = float32(row[r] * CapSlope(s[j*ds.Dim+r], inverse))
		}
	}
}

// CapSlope is the slope of cap * tanh(x/cap) where that is s, and inverse is 1/cap: 1 - tanh².
func CapSlope(s, inverse float32) float32 {
	t := float32(s * inverse)
	return FMA(-t, t, 1)
}

// ClearTile sets x[j][r] to +0 unless bit r of lanes[j] is set.
func ClearTile(x Rows, lanes *[Keys]uint32) {
	for j, seen := range lanes[:x.Len] {
		row := x.Row(j)
		for r := range row {
			if seen>>r&1 == 0 {
				row[r] = 0
			}
		}
	}
}

// RowsTile adds a product to columns of c, c[j][x] += chain over i < a.Dim of FMA(a[j][i], b[i][x], .). c and a
// have as many rows, and b has a.Dim of them.
func RowsTile(c, a, b, ahead Rows) {
	for j := range c.Len {
		row := c.Row(j)
		for x := range row {
			s := float32(0)
			for i, v := range a.Row(j) {
				s = FMA(v, b.Data[i*b.Stride+x], s)
			}
			row[x] += s
		}
	}
}

// ColsTile adds a product with the transpose of a to columns of c, c[i][x] += chain over j < a.Len of FMA(a[j][i],
// b[j][x], .). c has a.Dim rows, and a and b have as many.
func ColsTile(c, a, b Rows) {
	for i := range c.Len {
		row := c.Row(i)
		for x := range row {
			s := float32(0)
			for j := range a.Len {
				s = FMA(a.Data[j*a.Stride+i], b.Data[j*b.Stride+x], s)
			}
			row[x] += s
		}
	}
}

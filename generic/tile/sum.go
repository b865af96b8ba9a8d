package tile

// A long sum has levels, so that its error grows with none of them but the last: the lanes of
// [SumBlock] elements are chains, the lanes of the 32 blocks of a part are added up one by one, so
// are those of the 32 parts of a span, and then the spans. Blocks, parts and spans lie at absolute
// multiples. A term passes 32 + 31 + 31 additions and one for each span, 2^20 elements.
const (
	SumBlock = 1 << 10
	SumPart  = 1 << 15 // what one call of the assembly adds up
	sumSpan  = 32      // parts
)

// A LongSum adds up the lanes of parts of [SumPart] elements, of which the last may be shorter. The
// zero value is an empty sum.
type LongSum struct {
	parts       int
	span, total [Lanes]float32
}

// Add adds the lanes of the next part.
func (s *LongSum) Add(part *[Lanes]float32) {
	addLanes(&s.span, part)
	if s.parts++; s.parts%sumSpan == 0 {
		addLanes(&s.total, &s.span)
		s.span = [Lanes]float32{}
	}
}

// Lanes returns the lanes of the sum.
func (s *LongSum) Lanes() [Lanes]float32 {
	sum := s.total
	addLanes(&sum, &s.span)
	return sum
}

// longSum returns the lanes of a sum of n terms, of which chain returns those from first to last.
func longSum(n int, chain func(first, last int) [Lanes]float32) [Lanes]float32 {
	if n <= SumBlock { // no addition: -0 stays
		return chain(0, n)
	}
	var s LongSum
	for first := 0; first < n; first += SumPart {
		var part [Lanes]float32
		end := min(first+SumPart, n)
		for b := first; b < end; b += SumBlock {
			block := chain(b, min(b+SumBlock, end))
			addLanes(&part, &block)
		}
		s.Add(&part)
	}
	return s.Lanes()
}

func addLanes(sum, x *[Lanes]float32) {
	for l, v := range x {
		sum[l] += v
	}
}

// Fold adds up the lanes by halves: lane l to l+16, then 8, 4, 2, 1.
func Fold(sum *[Lanes]float32) float32 {
	v := *sum
	for h := Lanes / 2; h > 0; h /= 2 {
		for l := range h {
			v[l] += v[l+h]
		}
	}
	return v[0]
}

package avx2

import (
	"testing"

	"github.com/selfattn/attn/generic/tile"
)

// Every number of rows is cut into tiles of 6, 5 and one of less; none is left over, and
// the slow rest is needed for few numbers only.
func TestGroups(t *testing.T) {
	for n := range 2000 {
		small, big, rest := groups(n)
		if small < 0 || big < 0 || rest < 0 || rest > 4 || 5*small+6*big+rest != n || n >= 20 && rest != 0 {
			t.Errorf("groups(%d) = %d of 5, %d of 6, rest %d", n, small, big, rest)
		}
	}
}

// Each page that rows touch is looked up, once, wherever they begin.
func TestPagesOf(t *testing.T) {
	const page = 4096
	for _, rows := range []tile.Rows{
		{Len: 1, Dim: 1, Stride: 0}, {Len: 5, Dim: 64, Stride: 64}, {Len: 256, Dim: 64, Stride: 64}, {Len: 32, Dim: 256, Stride: 512},
		{Len: 32, Dim: 256, Stride: 1000}, {Len: 7, Dim: 3, Stride: 1024}, {Len: 32, Dim: 256, Stride: 2048},
	} {
		for first := uintptr(page); first < 2*page; first += 60 {
			touched, found := map[uintptr]bool{}, map[uintptr]bool{}
			for r := range rows.Len {
				begin := first + uintptr(4*r*rows.Stride)
				touched[begin/page] = true
				if 4*rows.Stride < page { // of rows that are further apart, the first page each is enough
					for at := begin; at < begin+uintptr(4*rows.Dim); at += 4 {
						touched[at/page] = true
					}
				}
			}
			pages, step := pagesOf(first, &rows)
			for i := range pages {
				found[(first+uintptr(i*step))/page] = true
			}
			if len(found) != pages {
				t.Errorf("%v at %d: some page is looked up twice", rows, first)
			}
			for at := range touched {
				if !found[at] {
					t.Errorf("%v at %d: page %d is not looked up", rows, first, at)
				}
			}
		}
	}
}

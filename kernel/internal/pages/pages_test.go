package pages

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A pool is as a list of counts.
func TestPool(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 80))
	for n := range 20 {
		p, has := New(n), make([]int, n)
		for i := range n {
			require.Equal(t, int32(i), p.Take(-1), "in increasing order")
			has[i] = 1
		}
		for range 1000 * n {
			free, shared := 0, 0
			for _, h := range has {
				free += max(0, 1-h)
				shared += min(1, max(0, h-1))
			}
			require.Equal(t, []int{n, free, shared}, []int{p.Len(), p.Free(), p.Shared()})
			switch page := r.IntN(n); {
			case has[page] == 0:
				after := r.IntN(n+1) - 1
				got := int(p.Take(int32(after)))
				require.Zero(t, has[got], "a page that is not free")
				if after >= 0 && after+1 < n && has[after+1] == 0 {
					require.Equal(t, after+1, got)
				}
				has[got] = 1
			case r.IntN(3) == 0:
				p.Share(int32(page))
				has[page]++
			default:
				require.Equal(t, has[page] == 1, p.Alone(int32(page)))
				p.Drop(int32(page))
				if has[page]--; has[page] == 0 && r.IntN(4) == 0 {
					require.Equal(t, int32(page), p.Take(-1), "the warmest")
					has[page] = 1
				}
			}
		}
	}
}

package kernel

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/selfattn/attn/asm/asmtest"
	"github.com/stretchr/testify/require"
)

// Without being cancelled, a call with a context is like one without.
func TestContextUnused(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 50))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, s := range []shape{{1, 2, 1, 70, 300, 8, 8}, {1, 2, 2, 1, 20 * edge, 8, 8}} {
		for workers := range 4 {
			p := newProblem(r, s, packedLayout, asmtest.Normal, Options{Workers: workers})
			want := p.attend(t)
			for _, c := range []context.Context{ctx, context.Background()} {
				require.NoError(t, AttentionContext(c, p.dst, p.q, p.k, p.v, &p.o))
				asmtest.Equal(t, want, flat(p.dst), "%v", p)
			}
		}
	}
	p := newProblem(r, shape{1, 2, 1, 7, 30, 8, 8}, packedLayout, asmtest.Normal, Options{})
	p.k.Dim = 7
	cancel()
	err := AttentionContext(ctx, p.dst, p.q, p.k, p.v, &p.o)
	require.ErrorContains(t, err, "k.D", "wrong arguments are said first")
	ctx = nil
	require.EqualError(t, AttentionContext(ctx, p.dst, p.q, p.q, p.q, &p.o), "attn: ctx is nil, want a context")
}

// A call that has been cancelled before computes next to nothing, and one that is cancelled meanwhile returns
// soon, by each path and with any number of workers; afterwards calls are as ever.
func TestContextCancelled(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 50))
	goroutines := runtime.NumGoroutine()
	n := 4000
	if Backend() == "generic" || asmtest.Race || asmtest.Emulated {
		n /= 8
	}
	for _, c := range []struct {
		name string
		s    shape
	}{
		{"panels", shape{1, 2, 1, n, n, 64, 64}},
		{"rows", shape{16, 8, 8, 1, 5 * n, 16, 16}},
		{"split rows", shape{1, 1, 1, 4, n * edge, 8, 8}},
	} {
		p := newProblem(r, c.s, packedLayout, asmtest.Normal, Options{})
		for _, workers := range []int{1, 2, 0} {
			o := Options{Workers: workers}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			require.ErrorIs(t, AttentionContext(ctx, p.dst, p.q, p.k, p.v, &o), context.Canceled)

			start := time.Now()
			require.NoError(t, AttentionContext(context.Background(), p.dst, p.q, p.k, p.v, &o))
			whole := time.Since(start)
			var late []time.Duration
			for try := 0; try < 10*trials(5) && len(late) < trials(5); try++ {
				ctx, cancel := context.WithCancel(context.Background())
				var at time.Time
				time.AfterFunc(whole/8, func() { at = time.Now(); cancel() })
				err := AttentionContext(ctx, p.dst, p.q, p.k, p.v, &o)
				if err == nil {
					cancel()
					continue // it was faster
				}
				require.ErrorIs(t, err, context.Canceled)
				late = append(late, time.Since(at))
			}
			if len(late) == 0 {
				continue
			}
			slices.Sort(late)
			t.Logf("%s, %d workers: %v after being cancelled (median of %d), of %v", c.name, workers, late[len(late)/2], len(late), whole)
			if !asmtest.Emulated && Backend() != "generic" && !asmtest.Race {
				// 2 ms on a quiet machine. On a busy one anything takes longer, so the fastest counts, beside the
				// time of the whole call, of which 7/8 would be left if nobody looked.
				require.Less(t, late[0], max(2*time.Millisecond, whole/2), "%s, %d workers: %v", c.name, workers, late)
			}
		}
	}
	p := newProblem(r, shape{1, 2, 1, 70, 20 * edge, 8, 8}, packedLayout, asmtest.Normal, Options{Workers: 2})
	p.check(t)
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
}

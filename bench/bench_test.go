package main

import (
	"fmt"
	"sync"
	"testing"

	"github.com/selfattn/attn/bench/internal/quiet"
)

// Names are keys: "benchstat -col /impl" compares the implementations, and two files compare
// machines or versions. With -tags purego the selected implementation is the reference.

func BenchmarkDot(b *testing.B)           { benchmarkKernel(b, "Dot") }
func BenchmarkExp(b *testing.B)           { benchmarkKernel(b, "Exp") }
func BenchmarkSoftmax(b *testing.B)       { benchmarkKernel(b, "Softmax") }
func BenchmarkLogSumExp(b *testing.B)     { benchmarkKernel(b, "LogSumExp") }
func BenchmarkMatMul(b *testing.B)        { benchmarkKernel(b, "MatMul") }
func BenchmarkAttention(b *testing.B)     { benchmarkKernel(b, "Attention") }
func BenchmarkDecode(b *testing.B)        { benchmarkKernel(b, "Decode") }
func BenchmarkSelfAttention(b *testing.B) { benchmarkKernel(b, "SelfAttention") }

// benchmarkKernel runs the shapes of a kernel with every implementation that has it and can afford them.
func benchmarkKernel(b *testing.B, kernel string) {
	for _, c := range benchmarks(false) {
		if c.kernel != kernel {
			continue
		}
		for i, impl := range append([]impl{selected}, baselines()...) {
			missing := impl.layer == nil && kernel == "SelfAttention"
			if i > 0 && (missing || c.workers > 1 || c.flops > affordable) {
				continue
			}
			// Operands are made once, and only if the name is asked for.
			work := sync.OnceValue(func() quiet.Work { return c.setup(impl) })
			b.Run(fmt.Sprintf("impl=%s/%s", impl.name, c.shape), func(b *testing.B) {
				w := work()
				b.ReportAllocs()
				b.SetBytes(int64(c.bytes))
				w.Run(1)
				b.ResetTimer()
				w.Run(b.N)
				b.StopTimer()
				b.ReportMetric(c.speed(c.work()*float64(b.N)/b.Elapsed().Seconds()), string(c.unit))
			})
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names are keys: "benchstat -col /impl" compares the implementations, and two files compare machines,
// versions or backends (GODEBUG=cpu.avx512f=off). With -tags purego the selected implementation is the
// reference.

func BenchmarkDot(b *testing.B)           { benchmarkKernel(b, "Dot") }
func BenchmarkExp(b *testing.B)           { benchmarkKernel(b, "Exp") }
func BenchmarkSoftmax(b *testing.B)       { benchmarkKernel(b, "Softmax") }
func BenchmarkLogSumExp(b *testing.B)     { benchmarkKernel(b, "LogSumExp") }
func BenchmarkMatMul(b *testing.B)        { benchmarkKernel(b, "MatMul") }
func BenchmarkMatMulPacked(b *testing.B)  { benchmarkKernel(b, "MatMulPacked") }
func BenchmarkLayerNorm(b *testing.B)     { benchmarkKernel(b, "LayerNorm") }
func BenchmarkRMSNorm(b *testing.B)       { benchmarkKernel(b, "RMSNorm") }
func BenchmarkAttention(b *testing.B)     { benchmarkKernel(b, "Attention") }
func BenchmarkDecode(b *testing.B)        { benchmarkKernel(b, "Decode") }
func BenchmarkCache(b *testing.B)         { benchmarkKernel(b, "Cache") }
func BenchmarkHalf(b *testing.B)          { benchmarkKernel(b, "Half") }
func BenchmarkGenerate(b *testing.B)      { benchmarkKernel(b, "Generate") }
func BenchmarkSelfAttention(b *testing.B) { benchmarkKernel(b, "SelfAttention") }

// benchmarkKernel runs the shapes of a kernel with every implementation in Go that has it and can afford them.
func benchmarkKernel(b *testing.B, kernel string) {
	impls := append([]impl{selected}, append(goPeers(), baselines()...)...)
	for _, c := range benchmarks(false) {
		if c.kernel != kernel {
			continue
		}
		for _, impl := range impls {
			if !c.runsOn(impl) {
				continue
			}
			// Operands are made once, and only if the name is asked for.
			prepare := sync.OnceValues(func() (job, error) { return c.on(impl, c.workers) })
			b.Run(fmt.Sprintf("impl=%s/%s", impl.name, c.shape), func(b *testing.B) {
				j, err := prepare()
				if errors.Is(err, errUnsupported) {
					b.SkipNow()
				}
				require.NoError(b, err)
				b.ReportAllocs()
				b.SetBytes(int64(c.bytes))
				j.run(1)
				b.ResetTimer()
				j.run(b.N)
				b.StopTimer()
				b.ReportMetric(c.speed(c.work()*float64(b.N)/b.Elapsed().Seconds()), string(c.unit))
			})
		}
	}
}

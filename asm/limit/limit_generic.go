//go:build (!amd64 && !arm64) || purego

package limit

func fma() int { return scalarFMA() }

func read(x []float32) { scalarRead(x) }

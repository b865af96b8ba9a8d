package main

import (
	"fmt"
	"io"
	"math"

	"github.com/selfattn/attn/fuzz"
	"github.com/selfattn/attn/generic"
	"github.com/selfattn/attn/kernel"
)

// sums prints the errors of sums along vectors of equal elements, which one chain of additions gets
// most wrong, relative to the result and in units of 2^-24. Next to kernel's are those of 32 lanes that are one
// chain each, however long.
func sums(out io.Writer, quick bool) (ok bool) {
	fmt.Fprintf(out, "\nErrors of sums of equal elements, relative and in units of 2^-24.\n\n")
	fmt.Fprintf(out, "%10s %14s %14s %14s %24s\n", "elements", "Dot, 32 chains", "Dot", "bound", "sum of Softmax's shares")
	ok = true
	for _, n := range []int{1 << 10, 1 << 15, 128_256, 1 << 20, 1 << 24, 1 << 26} {
		if quick && n > 1<<15 {
			continue
		}
		x := make([]float32, n)
		for i := range x {
			x[i] = 0.1
		}
		want, bound := fuzz.Dot(x, x)
		units := func(got float64) float64 { return math.Abs(got/want-1) * 0x1p24 }
		dot, most := units(float64(kernel.Dot(x, x))), bound/want*0x1p24
		chain := units(chains(x))
		kernel.Softmax(x, x)
		total := 0.0
		for _, share := range x {
			total += float64(share)
		}
		ok = ok && dot <= most
		fmt.Fprintf(out, "%10d %14.3g %14.3g %14.3g %24s\n", n, chain, dot, most, fmt.Sprintf("1 %+.1e", total-1))
	}
	return ok
}

// chains returns the sum of the squares of equal elements in 32 lanes that are one chain each.
func chains(x []float32) float64 {
	lane := float32(0)
	for range len(x) / generic.Lanes {
		lane = generic.FMA(x[0], x[0], lane)
	}
	return generic.Lanes * float64(lane) // equal lanes fold without an error
}

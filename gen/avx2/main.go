// Command avx2 generates asm/avx2:
//
//	go run ./avx2 ../asm/avx2
package main

import "github.com/selfattn/attn/gen/x86"

func main() { x86.Main(x86.AVX2) }

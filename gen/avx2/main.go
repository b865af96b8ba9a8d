// Command avx2 generates asm/internal/avx2:
//
//	go run ./avx2 ../asm/internal/avx2
package main

import "github.com/selfattn/attn/gen/x86"

func main() { x86.Main(x86.AVX2) }

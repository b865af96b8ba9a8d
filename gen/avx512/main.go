// Command avx512 generates asm/internal/avx512:
//
//	go run ./avx512 ../asm/internal/avx512
package main

import "github.com/selfattn/attn/gen/x86"

func main() { x86.Main(x86.AVX512) }

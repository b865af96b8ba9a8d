// Command avx512 generates asm/avx512:
//
//	go run ./avx512 ../asm/avx512
package main

import "github.com/selfattn/attn/gen/x86"

func main() { x86.Main(x86.AVX512) }

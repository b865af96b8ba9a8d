// Command asm generates the dispatch of package asm, the table of asmtest and what mutate leaves
// alone:
//
//	go run ./asm ../asm
package main

import (
	"log"
	"os"

	"github.com/selfattn/attn/gen/spec"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: asm directory")
	}
	if err := spec.Write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

